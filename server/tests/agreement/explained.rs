//! The disagreements that are no faults, and why.

use domain::base::Rtype;
use pkdns::message::LONGEST_TTL;
use pkdns_testing::support::client::Transport;

use crate::{
    compare::{Case, Difference, MAX_UDP_SIZE, OnlyIn, Pair},
    reply::{Record, Reply, Timed},
};

const IN: u16 = 1;
const NOERROR: u16 = 0;
const SERVFAIL: u16 = 2;
const NXDOMAIN: u16 = 3;
const REFUSED: u16 = 5;

/// A kind of disagreement.
pub(crate) struct Explained {
    /// What is seen.
    pub(crate) what: &'static str,
    /// Why it is as it should be.
    pub(crate) why: &'static str,
    /// Between whom.
    between: &'static [Pair],
    /// Whether a disagreement is of this kind. The question alone does not make it so: the answers have to be those that are
    /// expected.
    is_this: fn(&Case<'_>, &Difference<'_>) -> bool,
}

use Pair::{BehindValidator, Source, Unbound, ValidatorBehind};

/// Every kind. One that no longer occurs in all questions does not belong here.
pub(crate) const EXPLAINED: &[Explained] = &[
    Explained {
        what: "ANY is answered with one HINFO record, whether the name exists or not",
        why: "RFC 8482 section 4.2: nobody can use pkdns to send large answers to others",
        between: &[Unbound, Source, BehindValidator],
        is_this: |case, _| case.question.record_type == Rtype::ANY && is_hinfo(case),
    },
    Explained {
        what: "a validator behind pkdns gets nothing for ANY in a signed zone",
        why: "RFC 8482 section 4.2: the HINFO record has no signature, and nobody asks a validator for ANY to use the answer",
        between: &[ValidatorBehind],
        is_this: |case, _| {
            case.question.record_type == Rtype::ANY && (case.ours.code == SERVFAIL || is_hinfo(case))
        },
    },
    Explained {
        what: "types that are only asked for, and types that stand for something else, are refused",
        why: "RFC 6895 section 3.1: 128 to 255, OPT and 0 are no types of records; others say FORMERR or NOTIMP, or ask on",
        between: &[Unbound, Source, BehindValidator],
        is_this: |case, _| is_for_questions(case) && case.ours.code == REFUSED && is_empty(case),
    },
    Explained {
        what: "a validator gets no answer to a question for type 0 through pkdns",
        why: "RFC 6895 section 3.1: it is no type of records, and pkdns refuses it",
        between: &[ValidatorBehind],
        is_this: |case, _| is_for_questions(case) && case.ours.code == SERVFAIL,
    },
    Explained {
        what: "a failure comes with the aliases that lead there",
        why: "RFC 6604 section 3: the code is that of the end of the chain, and the chain may stand with it, as BIND sends it",
        between: &[Unbound, ValidatorBehind, BehindValidator],
        is_this: |case, difference| {
            let are_both_failures = case.ours.code == SERVFAIL && case.theirs.code == SERVFAIL;
            let is_chain = |only: &OnlyIn<'_>| case.source_has(&only.ours) && case.source_has(&only.theirs);
            match difference {
                Difference::Answers(only) | Difference::Authorities(only) => {
                    are_both_failures && is_chain(only)
                }
                Difference::Cut => are_both_failures && case.question.transport == Transport::Udp,
                Difference::Code | Difference::Flag(_) | Difference::Ttl(..) => false,
            }
        },
    },
    Explained {
        what: "a datagram of more than 1232 bytes is cut, whatever the client offers",
        why: "RFC 9715 section 3.1: larger ones may be fragmented, and fragments get lost and forged; 1232 fits the least MTU of IPv6",
        between: &[Unbound, BehindValidator],
        is_this: |case, difference| {
            *difference == Difference::Cut && case.ours.truncated && case.theirs.size > MAX_UDP_SIZE
        },
    },
    Explained {
        what: "an answer comes with the name servers of its zone, as BIND sends it",
        why: "RFC 1034 section 4.3.2 step 4 puts them there; Unbound leaves them out (minimal-responses)",
        between: &[Unbound],
        is_this: |case, difference| match difference {
            Difference::Authorities(only) => {
                let is_extra = only.theirs.is_empty() && only.ours.iter().all(is_about_servers);
                is_extra && case.ours.code == NOERROR && case.source_has(&only.ours)
            }
            _ => false,
        },
    },
    Explained {
        what: "in a datagram, the name servers of its zone are left out for room",
        why: "RFC 2181 section 9: nobody needs them who has the answer, so that it is not cut",
        between: &[Source],
        is_this: |case, difference| match difference {
            Difference::Authorities(only) => {
                let is_left_out = only.ours.is_empty() && only.theirs.iter().all(is_about_servers);
                is_left_out && case.ours.code == NOERROR && case.question.transport == Transport::Udp
            }
            _ => false,
        },
    },
    Explained {
        what: "Unbound follows an alias that it holds, where a type that stands beside the alias is asked for",
        why: "RFC 4035 section 2.5: RRSIG, NSEC and KEY stand beside a CNAME, so that BIND answers at the alias, and pkdns with it",
        between: &[Unbound, BehindValidator, ValidatorBehind],
        is_this: |case, _| {
            let beside = [Rtype::RRSIG, Rtype::NSEC, Rtype::KEY, Rtype::SIG, Rtype::NXT];
            let [one, other] = [case.ours, case.theirs].map(|reply| reply.answers.iter().any(is_alias));
            beside.contains(&case.question.record_type) && one != other
        },
    },
    Explained {
        what: "where BIND gives a chain up, Unbound goes on with what it holds",
        why: "RFC 1034 section 5.2.2 leaves the number of aliases open: BIND ends after eleven, and with it pkdns, which asks once",
        between: &[Unbound, ValidatorBehind, BehindValidator],
        is_this: |case, _| {
            let is_given_up = case.source.code == SERVFAIL && case.source.answers.iter().any(is_alias);
            is_given_up && [case.ours.code, case.theirs.code].contains(&SERVFAIL)
        },
    },
    Explained {
        what: "Unbound gives an alias that a DNAME made no time, or a minute",
        why: "RFC 6672 section 3.1 gives it the TTL of the DNAME, as BIND does; it was 0 in RFC 2672",
        between: &[Unbound, ValidatorBehind, BehindValidator],
        is_this: |case, difference| match difference {
            Difference::Ttl(alias, ours, theirs) => {
                let is_above =
                    |dname: &Record| dname.record_type == Rtype::DNAME && alias.owner.ends_with(&dname.owner);
                let is_made = case.source.answers.iter().any(|(record, _)| is_above(record));
                is_made && alias.record_type == Rtype::CNAME && *ours.min(theirs) <= 60
            }
            _ => false,
        },
    },
    Explained {
        what: "Unbound takes a DNAME on the way for the answer to a question for DNAME",
        why: "RFC 6672 section 3.2 step 3 C: the name is renamed, and what is asked for is looked for there, as BIND does it",
        between: &[Unbound, ValidatorBehind, BehindValidator],
        is_this: |case, _| {
            let mut records = case.ours.answers.iter().chain(&case.theirs.answers);
            let is_on_the_way =
                |record: &Record| record.record_type == Rtype::DNAME && record.owner != case.question.name;
            case.question.record_type == Rtype::DNAME && records.any(|(record, _)| is_on_the_way(record))
        },
    },
    Explained {
        what: "an answer that fits no message is a failure",
        why: "RFC 7766 section 8 has no larger ones; BIND cuts it over TCP as well, where nobody can ask for more",
        between: &[Source],
        is_this: |case, _| case.source.truncated && case.ours.code == SERVFAIL && is_empty(case),
    },
    Explained {
        what: "no time of more than a day is told",
        why: "RFC 2181 section 8 leaves a cap to resolvers; Unbound has the same one, and BIND one of a week where it resolves",
        between: &[Source],
        is_this: |case, difference| match difference {
            Difference::Ttl(_, ours, theirs) => {
                (*ours..=ours + case.oldest).contains(&LONGEST_TTL) && *theirs > LONGEST_TTL
            }
            _ => false,
        },
    },
    Explained {
        what: "Unbound tells no time of absence of more than an hour",
        why: "RFC 2308 section 5: the time of a SOA record is handed on; whatever it is, pkdns keeps an absence for no longer than that",
        between: &[Unbound],
        is_this: |case, difference| match difference {
            Difference::Ttl(_, ours, theirs) => {
                ours > theirs && (*theirs..=theirs + case.oldest).contains(&3600)
            }
            _ => false,
        },
    },
    Explained {
        what: "a datagram with names of more than 40 labels may be cut where others have just room",
        why: "RFC 1035 section 4.1.4: compression is a choice; such names are not compressed, as each label costs a look",
        between: &[Unbound, BehindValidator],
        is_this: |case, difference| {
            let is_long = |(record, _): &Timed| record.owner.iter().count() > 40;
            *difference == Difference::Cut && case.ours.truncated && case.theirs.records().any(is_long)
        },
    },
    Explained {
        what: "reserved names are answered without asking, each in its own words",
        why: "RFC 6761, RFC 6303 and RFC 7686 say that they exist or not, and leave SOA, NS and TTL to whoever answers",
        between: &[Unbound, Source, BehindValidator],
        is_this: |case, difference| {
            let is_said = |code| code == NOERROR || code == NXDOMAIN;
            let is_there = |reply: &Reply| reply.code == NOERROR && !reply.answers.is_empty();
            let is_reserved = case.question.kind == "names that are reserved" && is_said(case.ours.code);
            is_reserved
                && match difference {
                    // They agree about which have addresses or names.
                    Difference::Code | Difference::Answers(_) if case.pair != Source => {
                        let is_soa = case.question.record_type == Rtype::SOA;
                        is_soa || !is_there(case.ours) && !is_there(case.theirs)
                    }
                    // Through pkdns a validator gets what it can prove, and from Unbound a zone of Unbound's own.
                    Difference::Flag("ad") => case.pair == BehindValidator && case.ours.authentic_data,
                    Difference::Cut | Difference::Flag(_) => false,
                    _ => true,
                }
        },
    },
    Explained {
        what: "every class but IN is refused",
        why: "RFC 1035 section 3.2.4: nothing here has another; BIND and Unbound tell their version, and take ANY for IN or for an error",
        between: &[Unbound, Source, BehindValidator],
        is_this: |case, _| case.question.class != IN && case.ours.code == REFUSED && is_empty(case),
    },
    Explained {
        what: "nobody is asked where the client does not want it, and what is held is given",
        why: "RFC 1035 section 4.1.1; BIND knows all by itself",
        between: &[Source],
        is_this: |case, _| !case.question.recursion_desired && case.ours.code == REFUSED && is_empty(case),
    },
    Explained {
        what: "Unbound refuses a question that nobody is to be asked",
        why: "RFC 1035 section 4.1.1 has it answered from what is held; Unbound hides what others have asked for",
        between: &[Unbound, BehindValidator],
        is_this: |case, _| !case.question.recursion_desired && case.theirs.code == REFUSED,
    },
];

impl Explained {
    pub(crate) fn explains(&self, case: &Case<'_>, difference: &Difference<'_>) -> bool {
        self.between.contains(&case.pair) && (self.is_this)(case, difference)
    }
}

fn is_hinfo(case: &Case<'_>) -> bool {
    let answers = &case.ours.answers;
    answers.len() == 1 && answers.iter().all(|(record, _)| record.record_type == Rtype::HINFO)
}

fn is_for_questions(case: &Case<'_>) -> bool {
    matches!(case.question.record_type.to_int(), 0 | 41 | 128..=254)
}

fn is_empty(case: &Case<'_>) -> bool {
    case.ours.records().next().is_none()
}

fn is_alias((record, _): &Timed) -> bool {
    record.record_type == Rtype::CNAME
}

fn is_about_servers(record: &&Record) -> bool {
    let is_signature = record.record_type == Rtype::RRSIG;
    record.record_type == Rtype::NS
        || is_signature && record.data.starts_with(&Rtype::NS.to_int().to_be_bytes())
}
