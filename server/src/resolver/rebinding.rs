//! Optional protection against DNS rebinding: addresses of the own network removed from answers that come from outside.

use std::{collections::HashSet, mem};

use ahash::RandomState;
use hickory_proto::rr::{Name, Record, RecordType};

use super::{
    Resolver,
    chain::{Chain, Resolved},
    error::Caveat,
};
use crate::base::{
    access::is_private,
    config,
    message::{Query, absolute_name, addresses},
};

/// Has addresses of a special range, and where there is NAT64 those with its prefix: to be seen is what they are for
/// (RFC 7050, RFC 8880).
const IPV4_ONLY: &str = "ipv4only.arpa";

/// Which answers are filtered, and which names never.
#[derive(Debug)]
pub(super) struct RebindProtection {
    icann: bool,
    keys: bool,
    exempt: Vec<Name>,
}

impl RebindProtection {
    pub(super) fn new(settings: &config::RebindProtection) -> Self {
        let names = settings.exempt.iter().map(String::as_str).chain([IPV4_ONLY]);
        let exempt = names.filter_map(absolute_name).collect();
        Self { icann: settings.icann, keys: settings.keys, exempt }
    }

    /// Whether private addresses of keys are taken out.
    pub(super) fn filters_keys(&self) -> bool {
        self.keys
    }

    /// Whether a record of a key is taken out of every answer.
    pub(super) fn withholds(&self, record: &Record) -> bool {
        self.keys && is_inner(record)
    }

    /// Takes private addresses out of an answer to a question for `asked`. All that had a say in it counts, not who came
    /// last: an alias would else lead around this. Only the name that was asked for can be exempt, because that is the
    /// one by which a browser tells apart whose page it shows.
    pub(super) fn filter(&self, asked: &Name, chain: &mut Chain) {
        let is_exempt = || self.exempt.iter().any(|exempt| exempt.zone_of(asked));
        if !(self.keys && chain.by_key || self.icann && chain.by_upstream && !is_exempt()) {
            return;
        }
        let count = chain.answer.answers.len();
        let answer = &mut chain.answer;
        for records in [&mut answer.answers, &mut answer.authorities, &mut answer.additionals] {
            remove_private(records);
        }
        if chain.answer.answers.len() < count {
            chain.caveat = Some(Caveat::Filtered);
            // Nobody else vouches for what is left.
            chain.answer.authentic = false;
        }
    }
}

impl Resolver {
    /// The one end of every chain, wherever it led: what may not be said is taken out of it.
    pub(super) fn end(&self, query: &Query, chain: &mut Chain) -> Resolved {
        self.0.rebind_protection.filter(&query.question.name(), chain);
        mem::replace(chain, Chain::new()).finish(query.question.record_type())
    }
}

fn is_inner(record: &Record) -> bool {
    addresses(&record.data).into_iter().any(is_private)
}

fn remove_private(records: &mut Vec<Record>) {
    let mut owners: HashSet<Name, RandomState> = HashSet::default();
    records.retain(|record| {
        let is_inner = is_inner(record);
        if is_inner && !owners.contains(&record.name) {
            owners.insert(record.name.clone());
        }
        !is_inner
    });
    // What is left of a set no longer fits its signature.
    if !owners.is_empty() {
        records.retain(|record| record.record_type() != RecordType::RRSIG || !owners.contains(&record.name));
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::{
        op::ResponseCode,
        rr::{RData, rdata::A},
    };

    use super::*;

    const KEY: &str = "8qhdp5s8jjmxmqam3bpg9kzeg7x8teztuwrfgxw5ikn9z5bt15uy.";

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn record(text: &str) -> Record {
        Record::from_rdata(name("a.example.com."), 60, RData::A(A(text.parse().unwrap())))
    }

    fn filter(icann: bool, keys: bool, exempt: &[&str]) -> RebindProtection {
        let exempt = exempt.iter().map(|name| (*name).to_owned()).collect();
        RebindProtection::new(&config::RebindProtection { icann, keys, exempt })
    }

    #[test]
    fn whatever_a_chain_leads_through_only_the_name_that_was_asked_for_is_exempt() {
        // Who asked is ICANN's and exempt, ICANN's, or a key's; who had a say on the way. A name that is answered from
        // the table of special names has neither, and leads nowhere.
        let (exempt, icann, key) = ("nas.corp.example.", "www.example.com.", KEY);
        let well_known = "ipv4only.arpa.";
        for (asked, by_key, by_upstream, kept) in [
            // With which protection the private address stays: none, `icann`, `keys`, both.
            (exempt, false, true, [true, true, true, true]),
            (exempt, true, true, [true, true, false, false]),
            (well_known, false, true, [true, true, true, true]),
            (icann, false, true, [true, false, true, false]),
            (icann, true, true, [true, false, false, false]),
            (key, true, false, [true, true, false, false]),
            (key, true, true, [true, false, false, false]),
            ("localhost.", false, false, [true, true, true, true]),
        ] {
            for (protection, kept) in
                [(false, false), (true, false), (false, true), (true, true)].into_iter().zip(kept)
            {
                let mut chain = Chain::new();
                (chain.by_key, chain.by_upstream) = (by_key, by_upstream);
                chain.answer.authentic = true;
                let records = || vec![record("192.168.1.10"), record("192.0.2.1")];
                chain.append(ResponseCode::NoError, records(), records());
                chain.answer.additionals = records();
                filter(protection.0, protection.1, &["corp.example"]).filter(&name(asked), &mut chain);
                let what = format!("{asked} by_key {by_key} by_upstream {by_upstream} {protection:?}");
                let left = if kept { 2 } else { 1 };
                let answer = &chain.answer;
                for records in [&answer.answers, &answer.authorities, &answer.additionals] {
                    assert_eq!(records.len(), left, "{what}");
                }
                assert_eq!(answer.authentic, kept, "{what}");
                assert_eq!(chain.caveat.is_none(), kept, "{what}");
            }
        }
    }

    #[test]
    fn a_key_can_be_exempt_from_the_filter_of_icann_names_only() {
        let mut chain = Chain::new();
        (chain.by_key, chain.by_upstream) = (true, true);
        chain.append(ResponseCode::NoError, vec![record("192.168.1.10")], Vec::new());
        filter(true, false, &[KEY]).filter(&name(KEY), &mut chain);
        assert_eq!(chain.answer.answers.len(), 1);
        filter(true, true, &[KEY]).filter(&name(KEY), &mut chain);
        assert_eq!(chain.answer.answers.len(), 0);
    }
}
