//! What a resolver answers from a zone, for each name and type.

use std::collections::BTreeSet;

use hickory_proto::{
    op::{Message, OpCode},
    rr::{Name, Record, RecordType},
};
use pkdns::{
    message::MAX_CHAIN,
    resolver::zone::{Zone, ZoneAnswer},
};
use pkdns_dht::signed_packet::PublicKey;
use serde::Serialize;

use crate::records;

/// A label that stands for all that a wildcard covers.
pub(super) const ANY_LABEL: &[u8] = b"any-other-name";

/// One line of the resolver's view.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Answer {
    /// Relative to the key, which is `@`.
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) record_type: String,
    /// Seconds; `None` for an answer without records of this zone.
    pub(super) ttl: Option<u32>,
    pub(super) answer: String,
}

/// Where a question leads.
#[derive(Debug, PartialEq)]
pub(super) enum End {
    Records(Vec<Record>),
    NoData,
    NoName,
    /// Another zone, which holds the rest of the chain.
    Outside(Name),
    /// Name servers of a part of this zone.
    Delegated(Vec<Name>),
    /// A chain that leads back into itself.
    Endless,
    /// A chain of this many links, more than a resolver follows.
    TooLong(usize),
}

/// The CNAME records on the way, and what is at its end.
pub(super) struct Walk {
    pub(super) aliases: Vec<Record>,
    pub(super) end: End,
}

/// Follows a question through the zone.
pub(super) fn walk(zone: &Zone, name: &Name, record_type: RecordType) -> Walk {
    let (mut aliases, mut name) = (Vec::new(), name.clone());
    let mut visited = BTreeSet::new();
    let end = loop {
        if !zone.apex().zone_of(&name) {
            break End::Outside(name);
        }
        match zone.lookup(&name, record_type) {
            ZoneAnswer::Records(records) => break End::Records(records),
            ZoneAnswer::NoData => break End::NoData,
            ZoneAnswer::NxDomain => break End::NoName,
            ZoneAnswer::Delegated(delegation) => break End::Delegated(delegation.servers),
            // As many names as the zone has, and those that its wildcards and DNAME records make of them.
            ZoneAnswer::Alias(..) | ZoneAnswer::Renamed(..) if !visited.insert(name.clone()) => {
                break End::Endless;
            }
            // The name is too long with the new end.
            ZoneAnswer::Renamed(_, None) => break End::NoName,
            ZoneAnswer::Renamed(_, Some((record, target))) => {
                aliases.push(*record);
                name = target;
            }
            ZoneAnswer::Alias(record, target) => {
                aliases.push(*record);
                name = target;
            }
        }
    };
    let end = match end {
        End::Endless => End::Endless,
        _ if aliases.len() > MAX_CHAIN => End::TooLong(aliases.len()),
        end => end,
    };
    Walk { aliases, end }
}

/// All answers of a zone of `key` that are more than "no".
pub(super) fn answers(zone: &Zone, key: &PublicKey) -> Vec<Answer> {
    let records: Vec<Record> = zone.records().collect();
    let owners: BTreeSet<&Name> = records.iter().map(|record| &record.name).collect();
    let types: BTreeSet<RecordType> = records.iter().map(Record::record_type).collect();
    let mut answers: Vec<Answer> =
        owners.iter().flat_map(|owner| name_answers(zone, key, owner, &types)).collect();
    if let Ok(other) = zone.apex().prepend_label(ANY_LABEL) {
        let answer = match walk(zone, &other, RecordType::A).end {
            End::NoName => Some("NXDOMAIN".to_string()),
            End::Delegated(servers) => Some(asked_of(&servers, key)),
            // There is a wildcard, which is listed.
            _ => None,
        };
        let name = "any other".to_string();
        answers.extend(answer.map(|answer| Answer {
            name,
            record_type: "any".to_string(),
            ttl: None,
            answer,
        }));
    }
    answers
}

fn name_answers(zone: &Zone, key: &PublicKey, owner: &Name, types: &BTreeSet<RecordType>) -> Vec<Answer> {
    let asked = if owner.is_wildcard() {
        owner.base_name().prepend_label(ANY_LABEL).unwrap_or_else(|_| owner.clone())
    } else {
        owner.clone()
    };
    let name = text_name(owner, key);
    let mut answers: Vec<Answer> = types
        .iter()
        // Whoever asks for the type CNAME gets what the other lines begin with.
        .filter(|record_type| **record_type != RecordType::CNAME)
        .filter_map(|record_type| {
            let Walk { aliases, end } = walk(zone, &asked, *record_type);
            let End::Records(records) = end else { return None };
            let ttl = aliases.iter().chain(&records).map(|record| record.ttl).min();
            let data = texts(&records, key).join(", ");
            Some(Answer {
                name: name.clone(),
                record_type: type_name(&records, key).unwrap_or_else(|| record_type.to_string()),
                ttl,
                answer: format!("{}{data}", chain(&aliases, key)),
            })
        })
        .collect();
    // A type that nothing has shows where the rest leads.
    let Walk { aliases, end } = walk(zone, &asked, RecordType::ANY);
    let answer = match end {
        End::Outside(target) => Some(format!("what {} has", text_name(&target, key))),
        End::Delegated(servers) => Some(asked_of(&servers, key)),
        End::Endless => Some("SERVFAIL: the chain of CNAME records has no end".to_string()),
        End::TooLong(links) => Some(too_long(links)),
        End::NoName => Some("NXDOMAIN: the target does not exist".to_string()),
        End::NoData if answers.is_empty() => Some("nothing".to_string()),
        End::NoData | End::Records(_) => None,
    };
    answers.extend(answer.map(|answer| Answer {
        name,
        record_type: if answers.is_empty() { "any" } else { "any other" }.to_string(),
        ttl: aliases.iter().map(|record| record.ttl).min(),
        answer: match aliases.as_slice() {
            // Long chains begin like short ones.
            [first, _, ..] if answer.starts_with("SERVFAIL") => {
                format!("{}{answer}", chain(std::slice::from_ref(first), key))
            }
            aliases => format!("{}{answer}", chain(aliases, key)),
        },
    }));
    answers
}

/// What to say of a chain that resolvers give up on.
pub(super) fn too_long(links: usize) -> String {
    format!("SERVFAIL: the chain of CNAME records has {links} links, and resolvers follow {MAX_CHAIN}")
}

fn asked_of(servers: &[Name], key: &PublicKey) -> String {
    let servers: Vec<String> = servers.iter().map(|server| text_name(server, key)).collect();
    format!("what {} says", servers.join(" or "))
}

fn chain(aliases: &[Record], key: &PublicKey) -> String {
    texts(aliases, key).iter().map(|target| format!("CNAME {target}, ")).collect()
}

/// The data of records, with names relative to the key.
pub(super) fn texts(records: &[Record], key: &PublicKey) -> Vec<String> {
    let read = read(records, key);
    read.iter().map(|record| records::relative_data(&record.data, key)).collect()
}

/// A name relative to the key.
pub(super) fn text_name(name: &Name, key: &PublicKey) -> String {
    records::relative_data(&records::escaped_labels(name.iter()), key)
}

/// The type of records of one type.
pub(super) fn type_name(records: &[Record], key: &PublicKey) -> Option<String> {
    read(records, key).into_iter().next().map(|record| record.record_type)
}

fn read(records: &[Record], key: &PublicKey) -> Vec<records::TextRecord> {
    let mut message = Message::response(0, OpCode::Query);
    message.add_answers(records.iter().cloned());
    message.to_vec().map(|dns| records::read(&dns, key)).unwrap_or_default()
}
