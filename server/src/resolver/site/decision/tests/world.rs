//! Keys, their packets, and names of others.

use std::{collections::HashMap, time::Duration};

use hickory_proto::{
    rr::{RData, rdata::CNAME},
    serialize::binary::{BinEncodable, BinEncoder},
};
use pkdns_dht::signed_packet::{Keypair, SignedPacket};

use super::super::*;
use crate::{
    base::message::absolute_name,
    resolver::{site::at_hand::OutsideAddresses, zone::Zone},
    sources::packets::Found,
};

const HASH: &str = "d2abde240d7cd3ee6b4b28c54df034b97983a1d16e8a410e4561cb106618e971";

fn keypair(name: &str) -> Keypair {
    let mut seed = [0; 32];
    seed[..name.len()].copy_from_slice(name.as_bytes());
    Keypair::from_secret_key(&seed)
}

/// Replaces `{alice}` with the key of that name, and `{hash}`.
fn filled(text: &str) -> String {
    let mut parts = text.split('{');
    let first = parts.next().unwrap_or_default().to_string();
    parts.fold(first, |text, part| {
        let (name, rest) = part.split_once('}').unwrap();
        let value = if name == "hash" { HASH.into() } else { keypair(name).public_key().to_z32() };
        text + &value + rest
    })
}

/// The other way round, for keys of these names.
fn named(text: &str) -> String {
    ["alice", "bob", "carol"].iter().fold(text.to_string(), |text, name| {
        text.replace(&keypair(name).public_key().to_z32(), &format!("{{{name}}}"))
    })
}

/// Reads `OWNER TTL TYPE DATA`.
fn record(line: &str, zone: &Name) -> Record {
    let mut words = line.splitn(4, ' ').map(str::trim);
    let mut word = || words.next().unwrap();
    let (owner, ttl, record_type, data) = (word(), word(), word(), word());
    let owner = match owner {
        "@" => zone.clone(),
        owner => Name::from_ascii(owner).unwrap().append_domain(zone).unwrap(),
    };
    let data = match record_type {
        "CNAME" => RData::CNAME(CNAME(absolute_name(data).unwrap())),
        other => RData::try_from_str(other.parse().unwrap(), data).unwrap(),
    };
    Record::from_rdata(owner, ttl.parse().unwrap(), data)
}

/// What there is in the world: `key NAME`, with the records of its packet below it, and lines `outside NAME ADDRESS…`.
#[derive(Default)]
pub(super) struct World {
    packets: HashMap<[u8; 32], Arc<KnownZone>>,
    denied: Vec<[u8; 32]>,
    outside: HashMap<Name, OutsideAddresses>,
}

impl World {
    pub(super) fn read(text: &str) -> Self {
        let mut world = Self::default();
        let mut keys: Vec<(&str, Vec<String>)> = Vec::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            match line.split_once(' ').unwrap() {
                ("key", name) => keys.push((name, Vec::new())),
                ("denied", name) => world.denied.push(keypair(name).public_key().to_bytes()),
                ("outside", rest) => {
                    let mut words = rest.split(' ');
                    let name = absolute_name(words.next().unwrap()).unwrap();
                    let addresses = words.map(|word| word.parse().unwrap()).collect();
                    world.outside.insert(name, OutsideAddresses { addresses, ttl: 50 });
                }
                _ => keys.last_mut().unwrap().1.push(filled(line)),
            }
        }
        for (name, lines) in keys {
            let keypair = keypair(name);
            let zone = absolute_name(&keypair.public_key().to_z32()).unwrap();
            let records: Vec<Record> = lines.iter().map(|line| record(line, &zone)).collect();
            let mut dns = Vec::new();
            let mut encoder = BinEncoder::new(&mut dns);
            encoder.emit_vec(&[0, 0, 0x80, 0, 0, 0, 0, records.len() as u8, 0, 0, 0, 0]).unwrap();
            records.iter().for_each(|record| record.emit(&mut encoder).unwrap());
            let packet = SignedPacket::sign(&keypair, 1_700_000_000_000_000, &dns).unwrap();
            let zone = Zone::parse(&packet);
            let (age, fresh_for, refresh_in) = (Duration::ZERO, Duration::from_secs(300), Duration::MAX);
            let found = Found { packet, age, fresh_for, refresh_in, stale: None };
            world.packets.insert(keypair.public_key().to_bytes(), Arc::new(KnownZone { zone, found }));
        }
        world
    }

    /// Decides until nothing is missing; returns what was decided, and what was needed for it.
    pub(super) fn decide(&self, wanted: Wanted, name: &str) -> (Result<Decided, SiteError>, Vec<Need>) {
        let (mut at_hand, mut needs) = (AtHand::default(), Vec::new());
        let (name, suffixes) = (absolute_name(&filled(name)).unwrap(), Suffixes::new(["key"]));
        let may_dial = |address: SocketAddr| !crate::base::access::is_private(address.ip());
        loop {
            let need = match decide(wanted, &name, &at_hand, &suffixes, &may_dial) {
                Ok(decided) => return (Ok(decided), needs),
                Err(Undecided::No(error)) => return (Err(error), needs),
                Err(Undecided::Needs(need)) => *need,
            };
            assert!(!needs.contains(&need), "{need:?} is asked for again");
            needs.push(need.clone());
            match need {
                Need::Key(asked) => {
                    let bytes = asked.key.to_bytes();
                    let standing = match self.packets.get(&bytes) {
                        _ if self.denied.contains(&bytes) => Standing::Denied,
                        Some(known) => Standing::Known(known.clone()),
                        None => Standing::Absent,
                    };
                    at_hand.add_key(asked.key, standing);
                }
                Need::Addresses(name) => {
                    let found = self.outside.get(&name).cloned().unwrap_or_default();
                    at_hand.add_outside(name, found);
                }
            }
        }
    }

    pub(super) fn say(&self, wanted: Wanted, name: &str) -> String {
        match self.decide(wanted, name).0 {
            Err(error) => format!("{error:?}"),
            Ok(Decided { site, ttl, by_others }) => {
                let addresses: Vec<String> = site.addresses.iter().map(ToString::to_string).collect();
                let key = site.proof.key.map(|key| format!(" key {key}")).unwrap_or_default();
                let certificates = match site.proof.certificates.len() {
                    0 => String::new(),
                    count => format!(" tlsa {count}"),
                };
                let others = if by_others { " others" } else { "" };
                let end_point = site.end_point.to_ascii();
                let said =
                    format!("{end_point} {}{key}{certificates} ttl {ttl}{others}", addresses.join(" "));
                named(&said)
            }
        }
    }
}
