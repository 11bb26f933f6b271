//! What two answers to one question differ in, and what no answer of pkdns may be whatever others say.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fmt,
};

use domain::base::{Name, Rtype, name::ToName};
use pkdns::message::LONGEST_TTL;
use pkdns_testing::support::client::Transport;

use crate::{
    questions::Question,
    reply::{Record, Reply, set},
};

/// Most that pkdns sends in a datagram, in bytes (RFC 9715 section 3.1).
pub(crate) const MAX_UDP_SIZE: usize = 1232;

/// Who is compared with whom; what is ours comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pair {
    /// pkdns and Unbound, which both forward to BIND.
    Unbound,
    /// pkdns and BIND itself, asked over TCP.
    Source,
    /// Unbound that validates behind pkdns, and Unbound that validates without pkdns before it.
    ValidatorBehind,
    /// pkdns behind Unbound that validates, and that Unbound.
    BehindValidator,
}

/// Two answers to a question, and what BIND says to it over TCP, which is the whole truth.
pub(crate) struct Case<'a> {
    pub(crate) pair: Pair,
    pub(crate) question: &'a Question,
    pub(crate) ours: &'a Reply,
    pub(crate) theirs: &'a Reply,
    pub(crate) source: &'a Reply,
    /// How many seconds an answer may have been kept for.
    pub(crate) oldest: u32,
}

/// One thing that they do not agree about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Difference<'a> {
    Code,
    Flag(&'static str),
    /// Only one of them is cut.
    Cut,
    Answers(OnlyIn<'a>),
    Authorities(OnlyIn<'a>),
    /// The TTLs of a record, ours and theirs, are further apart than answers are old.
    Ttl(&'a Record, u32, u32),
}

/// Records that only one of two answers has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OnlyIn<'a> {
    pub(crate) ours: Vec<&'a Record>,
    pub(crate) theirs: Vec<&'a Record>,
}

impl<'a> Case<'a> {
    pub(crate) fn differences(&self) -> Vec<Difference<'a>> {
        let (ours, theirs) = (self.ours, self.theirs);
        let mut differences = Vec::new();
        let mut note = |differs: bool, difference| differs.then(|| differences.push(difference));
        note(ours.code != theirs.code, Difference::Code);
        for (flag, one, other) in [
            ("rd", ours.recursion_desired, theirs.recursion_desired),
            ("ra", ours.recursion_available, theirs.recursion_available),
            ("cd", ours.checking_disabled, theirs.checking_disabled),
        ] {
            note(one != other, Difference::Flag(flag));
        }
        // With CD nothing is validated, and who says AD all the same has happened to do so before (RFC 4035 section 3.2.2).
        let is_by_chance =
            self.question.checking_disabled && !matches!(self.pair, Pair::Unbound | Pair::Source);
        note(!is_by_chance && ours.authentic_data != theirs.authentic_data, Difference::Flag("ad"));
        // BIND was asked over TCP, where there is room.
        let is_comparable = self.pair != Pair::Source || self.question.transport == Transport::Tcp;
        note(is_comparable && ours.truncated != theirs.truncated, Difference::Cut);
        if !ours.truncated && !theirs.truncated {
            for (kind, one, other) in [
                (Difference::Answers as fn(_) -> _, ours.answer_set(), theirs.answer_set()),
                (Difference::Authorities, ours.authority_set(), theirs.authority_set()),
            ] {
                let only = OnlyIn {
                    ours: one.difference(&other).copied().collect(),
                    theirs: other.difference(&one).copied().collect(),
                };
                note(one != other, kind(only));
            }
        }
        let known: HashMap<&Record, u32> = theirs.records().map(|(record, ttl)| (record, *ttl)).collect();
        for (record, ours) in self.ours.records() {
            let Some(theirs) = known.get(record) else { continue };
            note(ours.abs_diff(*theirs) > self.oldest, Difference::Ttl(record, *ours, *theirs));
        }
        differences
    }

    /// Whether BIND has said all of these records to this question.
    pub(crate) fn source_has(&self, records: &[&Record]) -> bool {
        let said: BTreeSet<&Record> = self.source.records().map(|(record, _)| record).collect();
        records.iter().all(|record| said.contains(record))
    }
}

/// What is wrong with an answer of pkdns by itself, or beside what BIND says over TCP. `oldest` is how many seconds an
/// answer may have been kept for, where nobody else has kept it before.
pub(crate) fn faults(question: &Question, reply: &Reply, source: &Reply, oldest: Option<u32>) -> Vec<String> {
    let mut faults = Vec::new();
    let mut hold = |holds: bool, rule: &str| (!holds).then(|| faults.push(rule.to_owned()));
    hold(!reply.authoritative, "what others know is not authoritative here");
    hold(reply.recursion_available, "recursion is available");
    hold(reply.recursion_desired == question.recursion_desired, "RD comes back");
    hold(reply.checking_disabled == question.checking_disabled, "CD comes back");
    hold(
        reply.dnssec_ok == question.edns.map(|(_, dnssec_ok)| dnssec_ok),
        "OPT goes to those who sent one, with their DO",
    );
    let is_udp = question.transport == Transport::Udp;
    let room = if is_udp { question.room().min(MAX_UDP_SIZE) } else { question.room() };
    hold(reply.size <= room, "no answer is larger than what was offered");
    hold(!reply.truncated || is_udp, "there is nothing to cut on a connection");
    hold(set(&reply.answers).len() == reply.answers.len(), "no record stands there twice");
    hold(is_in_order(question, reply), "an alias stands before what it leads to");
    for (record, _) in reply.records() {
        let is_of_dnssec = [Rtype::RRSIG, Rtype::NSEC, Rtype::NSEC3].contains(&record.record_type);
        let is_wanted = question.dnssec_ok() || record.record_type == question.record_type;
        hold(!is_of_dnssec || is_wanted, "signatures and proofs go to those who set DO");
    }
    let known: HashMap<&Record, u32> = source.records().map(|(record, ttl)| (record, *ttl)).collect();
    for (record, ttl) in reply.records() {
        let Some(most) = known.get(record).map(|ttl| LONGEST_TTL.min(*ttl)) else { continue };
        let least = oldest.map_or(0, |oldest| most.saturating_sub(oldest));
        hold(
            (least..=most).contains(ttl),
            &format!("the TTL of {record} is {ttl}, and {most} at its source"),
        );
    }
    for section in [&reply.answers, &reply.authorities, &reply.additionals] {
        let mut ttls = HashMap::new();
        for (record, ttl) in section.iter().filter(|(record, _)| record.record_type != Rtype::RRSIG) {
            let first = *ttls.entry((&record.owner, record.record_type)).or_insert(*ttl);
            hold(first == *ttl, "the records of a set have one TTL (RFC 2181 section 5.2)");
        }
    }
    if oldest.is_some() {
        let is_part = !reply.truncated || set(&reply.answers).is_subset(&source.answer_set());
        hold(is_part, "what is left of a cut answer is part of the whole");
        let is_known = reply.additionals.iter().all(|(record, _)| known.contains_key(record));
        hold(is_known, "what is additional came from the source");
    }
    faults
}

/// Whether each owner is the name that was asked for, or one that a record before leads to.
fn is_in_order(question: &Question, reply: &Reply) -> bool {
    let mut reached = HashSet::from([question.name.clone()]);
    reply.answers.iter().all(|(record, _)| {
        let is_above = || reached.iter().any(|name| name.ends_with(&record.owner));
        let is_dname = record.record_type == Rtype::DNAME
            || record.record_type == Rtype::RRSIG
                && record.data.starts_with(&Rtype::DNAME.to_int().to_be_bytes());
        let is_reached = reached.contains(&record.owner) || is_dname && is_above();
        if record.record_type == Rtype::CNAME {
            reached.extend(Name::from_octets(record.data.as_slice()).map(|name| name.to_vec()));
        }
        is_reached
    })
}

impl fmt::Display for Difference<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (section, only) = match self {
            Self::Code => return f.write_str("the code"),
            Self::Flag(flag) => return write!(f, "the flag {flag}"),
            Self::Cut => return f.write_str("whether it is cut"),
            Self::Ttl(record, ours, theirs) => return write!(f, "the TTL, {ours} and {theirs}, of {record}"),
            Self::Answers(only) => ("answer", only),
            Self::Authorities(only) => ("authority", only),
        };
        write!(f, "the {section} section")?;
        for (whose, records) in [("ours", &only.ours), ("theirs", &only.theirs)] {
            for record in records.iter().take(4) {
                write!(f, "\n      only {whose}: {record}")?;
            }
            if records.len() > 4 {
                write!(f, "\n      only {whose}: {} in all", records.len())?;
            }
        }
        Ok(())
    }
}
