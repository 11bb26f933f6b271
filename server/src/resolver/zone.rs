//! The zone in a signed packet: every question about it answered as RFC 1034 section 4.3.2 and RFC 4592 say. Pure.

use std::collections::BTreeMap;

use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::{
    name::{Route, Suffixes, move_zone, zone_name},
    negative::{limit_ttl, soa},
};
use crate::{message::read_records, signed_packet::SignedPacket};

/// Deepest owner that is kept, in labels. Bounds the work of one lookup: nothing is held at longer names, so the way
/// up from one starts here.
const MAX_DEPTH: usize = 32;

/// The records of one packet that are inside of its key's zone, by owner.
#[derive(Debug, Clone)]
pub struct Zone {
    apex: Name,
    /// Seconds since 1970, as SOA serials often are.
    serial: u32,
    nodes: BTreeMap<Name, Vec<Record>>,
}

/// What a zone says to a question.
#[derive(Debug, Clone, PartialEq)]
pub enum Lookup {
    /// The RRset that was asked for; a wildcard's has the name that was asked for.
    Records(Vec<Record>),
    /// A CNAME record, and where it points.
    Alias(Box<Record>, Name),
    /// The packet says nothing, but these name servers hold more of the zone.
    Delegated(Delegation),
    /// The name exists, without such a record.
    NoData,
    /// There is no such name.
    NoName,
}

/// NS records in a packet: part of the zone lives on servers of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Delegation {
    /// Where the delegated part starts.
    pub at: Name,
    /// Names of its servers.
    pub servers: Vec<Name>,
    /// Whether the packet itself has the name that was looked up, so that only the type is missing.
    pub is_held: bool,
}

impl Zone {
    /// Reads the records of a packet. Foreign owners, other classes and malformed records are left out: a packet is
    /// signed by its key, which has no say over other names.
    pub fn parse(packet: &SignedPacket) -> Self {
        let apex = zone_name(packet.key());
        let mut zone = Self {
            serial: u32::try_from(packet.timestamp() / 1_000_000).unwrap_or(u32::MAX),
            nodes: BTreeMap::new(),
            apex,
        };
        for mut record in read_records(packet.dns()) {
            if record.dns_class != DNSClass::IN || is_about_messages(record.record_type()) {
                continue;
            }
            let Some(owner) = zone.own_spelling(&record.name, packet) else {
                continue;
            };
            record.name = owner.clone();
            let set = zone.nodes.entry(owner).or_default();
            if !set.iter().any(|held| held.data == record.data) {
                set.push(record);
            }
        }
        zone
    }

    /// The zone's name: the key in its canonical spelling.
    pub fn apex(&self) -> &Name {
        &self.apex
    }

    /// All records, by owner.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.nodes.values().flatten()
    }

    /// Looks up `name`, in lower case and inside of the zone. What the packet itself holds is signed and comes
    /// first; its name servers are asked for the rest.
    pub fn lookup(&self, name: &Name, record_type: RecordType) -> Lookup {
        let found = self.lookup_held(name, record_type);
        // RFC 4035 section 3.1.4.1: the parent, which is this packet, answers for DS where a delegation starts.
        let is_parents = record_type == RecordType::DS && !self.set(name, RecordType::NS).is_empty();
        let delegation = match found {
            Lookup::NoData if !is_parents => self.delegation(name, true),
            Lookup::NoName => self.delegation(name, false),
            _ => None,
        };
        delegation.map_or(found, Lookup::Delegated)
    }

    /// The SOA for answers that say no: the packet's own, or one made up. `negative_ttl` in seconds.
    pub fn soa(&self, negative_ttl: u32) -> Record {
        let own = self.set(&self.apex, RecordType::SOA).into_iter().next();
        own.map(limit_ttl).unwrap_or_else(|| soa(&self.apex, self.serial, negative_ttl))
    }

    /// The RRset at `name`, without aliases and wildcards.
    pub fn set(&self, name: &Name, record_type: RecordType) -> Vec<Record> {
        let node = self.nodes.get(name).into_iter().flatten();
        node.filter(|record| record.record_type() == record_type).cloned().collect()
    }

    fn lookup_held(&self, name: &Name, record_type: RecordType) -> Lookup {
        if let Some(found) = self.lookup_node(name, name, record_type) {
            return found;
        }
        if self.exists(name) {
            return Lookup::NoData;
        }
        // RFC 4592 section 3.3.1: the wildcard of the closest encloser, and of no other.
        let mut encloser = name.base_name().trim_to(MAX_DEPTH);
        while !self.exists(&encloser) && !encloser.is_root() {
            encloser = encloser.base_name();
        }
        let Ok(wildcard) = encloser.prepend_label(b"*".as_slice()) else {
            return Lookup::NoName;
        };
        match self.lookup_node(&wildcard, name, record_type) {
            Some(found) => found,
            // A wildcard that only has names below it covers others all the same, with nothing.
            None if self.exists(&wildcard) => Lookup::NoData,
            None => Lookup::NoName,
        }
    }

    /// Answers from the records of `node`, given the name `owner`. `None` where there are none at all.
    fn lookup_node(&self, node: &Name, owner: &Name, record_type: RecordType) -> Option<Lookup> {
        let held = self.nodes.get(node)?;
        let named = |record: &Record| {
            let mut record = record.clone();
            record.name = owner.clone();
            record
        };
        let mut set: Vec<Record> =
            held.iter().filter(|record| record.record_type() == record_type).map(named).collect();
        // RFC 2181 section 5.2: TTLs that differ within a set count as the lowest.
        if let Some(ttl) = set.iter().map(|record| record.ttl).min() {
            set.iter_mut().for_each(|record| record.ttl = ttl);
            return Some(Lookup::Records(set));
        }
        // RFC 1034 section 3.6.2 lets nothing stand beside a CNAME, but at the apex people want both: the exact
        // type wins, and of several CNAMEs the first.
        let alias = held.iter().find_map(|record| match &record.data {
            RData::CNAME(target) => Some(Lookup::Alias(Box::new(named(record)), target.0.to_lowercase())),
            _ => None,
        });
        Some(alias.unwrap_or(Lookup::NoData))
    }

    /// RFC 4592 section 2.2.2: a name exists when it has records or when a name below it has.
    pub fn exists(&self, name: &Name) -> bool {
        *name == self.apex || self.nodes.keys().any(|owner| name.zone_of(owner))
    }

    /// The closest NS records at or above `name`.
    fn delegation(&self, name: &Name, is_held: bool) -> Option<Delegation> {
        let mut at = name.trim_to(MAX_DEPTH);
        loop {
            let servers: Vec<Name> = self
                .set(&at, RecordType::NS)
                .into_iter()
                .filter_map(|record| match record.data {
                    RData::NS(server) => Some(server.0.to_lowercase()),
                    _ => None,
                })
                .collect();
            if !servers.is_empty() {
                return Some(Delegation { at, servers, is_held });
            }
            if at == self.apex || at.is_root() {
                return None;
            }
            at = at.base_name();
        }
    }

    /// `owner` in the canonical spelling of the zone, or `None` where it belongs to someone else.
    fn own_spelling(&self, owner: &Name, packet: &SignedPacket) -> Option<Name> {
        let owner = if self.apex.zone_of(owner) {
            owner.clone()
        } else {
            match Suffixes::default().classify(owner) {
                Route::PublicKey(found) if found.key == *packet.key() => {
                    move_zone(owner, &found.apex, &self.apex)?
                }
                _ => return None,
            }
        };
        (owner.iter().count() <= MAX_DEPTH).then_some(owner)
    }
}

/// A record as the client asked for it: names in the zone `from`, as owner and as target, are moved to `to`.
pub fn present(mut record: Record, from: &Name, to: &Name) -> Record {
    if from == to {
        return record;
    }
    let shift = |name: &mut Name| {
        if let Some(moved) = move_zone(name, from, to) {
            *name = moved;
        }
    };
    shift(&mut record.name);
    match &mut record.data {
        RData::CNAME(target) => shift(&mut target.0),
        RData::NS(target) => shift(&mut target.0),
        RData::PTR(target) => shift(&mut target.0),
        RData::MX(data) => shift(&mut data.exchange),
        RData::SRV(data) => shift(&mut data.target),
        RData::SVCB(data) => shift(&mut data.target_name),
        RData::HTTPS(data) => shift(&mut data.0.target_name),
        RData::NAPTR(data) => shift(&mut data.replacement),
        RData::SOA(data) => {
            shift(&mut data.mname);
            shift(&mut data.rname);
        }
        _ => {}
    }
    record
}

/// Types that only mean something inside of one message or transfer, never in a zone (RFC 6895 section 3.1).
fn is_about_messages(record_type: RecordType) -> bool {
    let code = u16::from(record_type);
    code == 0 || record_type == RecordType::OPT || (128..=255).contains(&code)
}

#[cfg(test)]
mod tests;
