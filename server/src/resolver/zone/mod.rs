//! The zone in a signed packet: every question about it answered as RFC 1034 section 4.3.2 and RFC 4592 say. Pure.
//!
//! A packet is the work of strangers, and one query may lead through a dozen of them. So of each only the owners are
//! looked at, and the data of the few records that an answer needs.

mod owners;

use std::collections::HashSet;

use ahash::RandomState;
use hickory_proto::{
    rr::{
        DNSClass, Name, RData, Record, RecordType,
        rdata::{CNAME, NULL},
    },
    serialize::binary::{BinDecodable, BinDecoder, BinEncodable},
};
use owners::{Common, Owner, OwnerReader, Owners};
use pkdns_dht::signed_packet::SignedPacket;

use super::{
    name::{move_zone, with_suffix_of, zone_name},
    negative::{limit_ttl, soa},
};
use crate::base::message::{UnreadRecord, find_records};

/// Deepest owner that is kept, in labels. Bounds the work of one lookup: nothing is held at longer names, so the way
/// up from one starts here.
const MAX_DEPTH: usize = 32;

/// Records that are read where one is needed, until one of them is not malformed: several CNAME records at one name are
/// a mistake of their owner, as are several that nobody can read.
const MAX_TRIES: usize = 4;

/// NS records that are read for a delegation. The resolver asks four servers at most.
const MAX_SERVERS: usize = 16;

/// The records of one packet that are inside of its key's zone.
#[derive(Debug, Clone)]
pub struct Zone {
    apex: Name,
    /// Seconds since 1970, as SOA serials often are.
    serial: u32,
    packet: SignedPacket,
    owners: Owners,
    /// In the order of the packet.
    records: Vec<(Owner, UnreadRecord)>,
}

/// What a zone says to a question.
#[derive(Debug, Clone, PartialEq)]
pub enum ZoneAnswer {
    /// The RRset that was asked for; a wildcard's has the name that was asked for.
    Records(Vec<Record>),
    /// A CNAME record, and where it points.
    Alias(Box<Record>, Name),
    /// A DNAME record above the name, and the CNAME record that follows from it (RFC 6672), with where that points. None where
    /// the new name is too long.
    Renamed(Box<Record>, Option<(Box<Record>, Name)>),
    /// The packet says nothing, but these name servers hold more of the zone.
    Delegated(Delegation),
    /// The name exists, without such a record.
    NoData,
    /// There is no such name.
    NxDomain,
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
    /// Finds the records of a packet. Foreign owners and other classes are left out: a packet is signed by its key, which
    /// has no say over other names. So are malformed records, once one of them is looked at.
    pub fn parse(packet: &SignedPacket) -> Self {
        #[cfg(test)]
        PARSED.with(|count| count.set(count.get() + 1));
        let mut owners = OwnerReader::new(packet.dns(), packet.key().as_bytes());
        let is_data =
            |record: &UnreadRecord| record.class == DNSClass::IN && !is_about_messages(record.record_type);
        let records = find_records(packet.dns())
            .filter(is_data)
            .filter_map(|record| Some((owners.read(record.start.into())?, record)))
            .collect();
        Self {
            apex: zone_name(packet.key()),
            serial: u32::try_from(packet.timestamp() / 1_000_000).unwrap_or(u32::MAX),
            packet: packet.clone(),
            records,
            owners: owners.finish(),
        }
    }

    /// The zone's name: the key in its canonical spelling.
    pub fn apex(&self) -> &Name {
        &self.apex
    }

    /// All records, by owner. Reads each of them.
    pub fn records(&self) -> impl Iterator<Item = Record> {
        let mut seen = HashSet::with_hasher(RandomState::new());
        let mut records: Vec<Record> = self
            .records
            .iter()
            .filter_map(|(owner, record)| {
                let labels = self.owners.labels(self.packet.dns(), *owner).chain(self.apex.iter());
                let name = Name::from_labels(labels).ok()?.to_lowercase();
                Some(Record::from_rdata(name, record.ttl, self.data(record)?))
            })
            .filter(|record| seen.insert((record.name.clone(), record.data.clone())))
            .collect();
        records.sort_by(|one, other| one.name.cmp(&other.name));
        records.into_iter()
    }

    /// Looks up `name`, in lower case and inside of the zone. What the packet itself holds is signed and comes
    /// first; its name servers are asked for the rest.
    pub fn lookup(&self, name: &Name, record_type: RecordType) -> ZoneAnswer {
        self.lookup_below(&self.apex, name, record_type)
    }

    /// As [`Zone::lookup`], for a name with another spelling of the key or a suffix: `apex` is what it ends in. Records of
    /// the answer stand at `name`; what they and a delegation lead to is in the zone's own spelling.
    pub(super) fn lookup_below(&self, apex: &Name, name: &Name, record_type: RecordType) -> ZoneAnswer {
        let Some(labels) = labels(name, apex) else {
            return ZoneAnswer::NxDomain;
        };
        let common = self.common(&labels);
        let found = self.lookup_held(&common, &labels, name, record_type);
        // RFC 4035 section 3.1.4.1: the parent, which is this packet, answers for DS where a delegation starts.
        let is_parents =
            || record_type == RecordType::DS && self.at(&common, RecordType::NS).next().is_some();
        let delegation = match found {
            ZoneAnswer::NoData if !is_parents() => self.delegation(&common, &labels, true),
            ZoneAnswer::NxDomain => self.delegation(&common, &labels, false),
            _ => None,
        };
        delegation.map_or(found, ZoneAnswer::Delegated)
    }

    /// The SOA for answers that say no: the packet's own, or one made up. `negative_ttl` in seconds.
    pub fn soa(&self, negative_ttl: u32) -> Record {
        let common = self.common(&[]);
        let own = self
            .at(&common, RecordType::SOA)
            .take(MAX_TRIES)
            .find_map(|record| Some(Record::from_rdata(self.apex.clone(), record.ttl, self.data(record)?)));
        own.map(limit_ttl).unwrap_or_else(|| soa(&self.apex, self.serial, negative_ttl))
    }

    /// The RRset at `name`, without aliases and wildcards.
    pub fn set(&self, name: &Name, record_type: RecordType) -> Vec<Record> {
        labels(name, &self.apex)
            .map(|labels| self.rrset(&self.common(&labels), name, record_type))
            .unwrap_or_default()
    }

    /// RFC 4592 section 2.2.2: a name exists when it has records or when a name below it has.
    pub fn exists(&self, name: &Name) -> bool {
        labels(name, &self.apex).is_some_and(|labels| self.deepest(&self.common(&labels)) == labels.len())
    }

    fn lookup_held(
        &self,
        common: &Common<'_>,
        labels: &[&[u8]],
        name: &Name,
        record_type: RecordType,
    ) -> ZoneAnswer {
        if let Some(found) = self.lookup_node(common, name, record_type) {
            return found;
        }
        // RFC 4592 section 3.3.1: the wildcard of the closest encloser, and of no other.
        let encloser = self.deepest(common);
        let Some(above) = labels.get(..encloser).filter(|_| encloser < labels.len()) else {
            return ZoneAnswer::NoData;
        };
        // RFC 6672 section 3.2: before any wildcard.
        if let Some(renamed) = self.lookup_renamed(above, name, labels.len() - encloser) {
            return renamed;
        }
        let wildcard: Vec<&[u8]> = above.iter().copied().chain([b"*".as_slice()]).collect();
        let common = self.common(&wildcard);
        match self.lookup_node(&common, name, record_type) {
            Some(found) => found,
            // A wildcard that only has names below it covers others all the same, with nothing.
            None if self.deepest(&common) == wildcard.len() => ZoneAnswer::NoData,
            None => ZoneAnswer::NxDomain,
        }
    }

    /// Answers from the DNAME record of the node `above`, of which `name` is `depth` labels below.
    fn lookup_renamed(&self, above: &[&[u8]], name: &Name, depth: usize) -> Option<ZoneAnswer> {
        let node = self.common(above);
        let (ttl, data, target) = self.at(&node, RecordType::DNAME).take(MAX_TRIES).find_map(|record| {
            let data = self.data(record)?;
            let target = dname_target(&data)?;
            Some((record.ttl, data, target))
        })?;
        let owner = Name::from_labels(name.iter().skip(depth)).ok()?;
        let alias = Name::from_labels(name.iter().take(depth).chain(target.iter())).ok().map(|target| {
            let target = target.to_lowercase();
            let alias = Record::from_rdata(name.clone(), ttl, RData::CNAME(CNAME(target.clone())));
            (Box::new(alias), target)
        });
        Some(ZoneAnswer::Renamed(Box::new(Record::from_rdata(owner, ttl, data)), alias))
    }

    /// Answers from the records of the node that was compared, given the name `owner`. `None` where there is nothing to
    /// answer with.
    fn lookup_node(&self, node: &Common<'_>, owner: &Name, record_type: RecordType) -> Option<ZoneAnswer> {
        let mut set = self.rrset(node, owner, record_type);
        // RFC 2181 section 5.2: TTLs that differ within a set count as the lowest.
        if let Some(ttl) = set.iter().map(|record| record.ttl).min() {
            set.iter_mut().for_each(|record| record.ttl = ttl);
            return Some(ZoneAnswer::Records(set));
        }
        // RFC 1034 section 3.6.2 lets nothing stand beside a CNAME, but at the apex people want both: the exact
        // type wins, and of several CNAMEs the first.
        self.at(node, RecordType::CNAME).take(MAX_TRIES).find_map(|record| {
            let data = self.data(record)?;
            let RData::CNAME(target) = &data else { return None };
            let target = target.0.to_lowercase();
            Some(ZoneAnswer::Alias(Box::new(Record::from_rdata(owner.clone(), record.ttl, data)), target))
        })
    }

    /// The closest NS records at or above the name that was compared.
    fn delegation(&self, common: &Common<'_>, labels: &[&[u8]], is_held: bool) -> Option<Delegation> {
        let is_servers = |(owner, record): &&(Owner, UnreadRecord)| {
            record.record_type == RecordType::NS && common.is_above(*owner)
        };
        let mut sets: Vec<_> = self.records.iter().filter(is_servers).collect();
        sets.sort_by_key(|(owner, _)| std::cmp::Reverse(common.shared(*owner)));
        let mut servers = Vec::new();
        let mut depth = None;
        for (owner, record) in sets.into_iter().take(MAX_SERVERS) {
            let shared = common.shared(*owner);
            if depth.is_some_and(|depth| depth != shared) {
                break;
            }
            let Some(RData::NS(server)) = self.data(record) else { continue };
            let server = server.0.to_lowercase();
            depth = Some(shared);
            if !servers.contains(&server) {
                servers.push(server);
            }
        }
        let above = labels.get(..depth?)?.iter().rev().copied().chain(self.apex.iter());
        Some(Delegation { at: Name::from_labels(above).ok()?, servers, is_held })
    }

    /// The records of the node that was compared and of this type, read, each once, with the name `owner`.
    fn rrset(&self, node: &Common<'_>, owner: &Name, record_type: RecordType) -> Vec<Record> {
        let read =
            |record: &UnreadRecord| Some(Record::from_rdata(owner.clone(), record.ttl, self.data(record)?));
        let records: Vec<Record> = self.at(node, record_type).filter_map(read).collect();
        if records.len() < 2 {
            return records;
        }
        let mut seen = HashSet::with_capacity_and_hasher(records.len(), RandomState::new());
        let is_first: Vec<bool> = records.iter().map(|record| seen.insert(&record.data)).collect();
        records
            .into_iter()
            .zip(is_first)
            .filter_map(|(record, is_first)| is_first.then_some(record))
            .collect()
    }

    fn at(&self, node: &Common<'_>, record_type: RecordType) -> impl Iterator<Item = &UnreadRecord> {
        let is_there = move |(owner, record): &&(Owner, UnreadRecord)| {
            record.record_type == record_type && node.is_same(*owner)
        };
        self.records.iter().filter(is_there).map(|(_, record)| record)
    }

    /// Labels below the apex of the deepest name that exists at or above the one that was compared. Of records that
    /// nobody can read only a few are found out.
    fn deepest(&self, common: &Common<'_>) -> usize {
        let mut malformed = [None; MAX_TRIES];
        for tried in 0..=MAX_TRIES {
            let is_left = |(at, _): &(usize, &(Owner, UnreadRecord))| !malformed.contains(&Some(*at));
            let records = self.records.iter().enumerate().filter(is_left);
            let Some((at, (owner, record))) = records.max_by_key(|(_, (owner, _))| common.shared(*owner))
            else {
                break;
            };
            let depth = common.shared(*owner);
            let Some(place) = malformed.get_mut(tried).filter(|_| depth > 0) else {
                return depth;
            };
            if self.data(record).is_some() {
                return depth;
            }
            *place = Some(at);
        }
        0
    }

    fn data(&self, record: &UnreadRecord) -> Option<RData> {
        #[cfg(test)]
        READS.with(|count| count.set(count.get() + 1));
        record.data(self.packet.dns())
    }

    fn common(&self, labels: &[&[u8]]) -> Common<'_> {
        self.owners.common(self.packet.dns(), labels)
    }
}

/// The labels of `name` below `apex`, those next to it first.
fn labels<'a>(name: &'a Name, apex: &Name) -> Option<Vec<&'a [u8]>> {
    let above = apex.iter().count();
    apex.zone_of(name).then(|| name.iter().rev().skip(above).collect())
}

/// A record as the client asked for it: names in the zone `from`, as owner and as target, are moved to `to`.
pub fn present(mut record: Record, from: &Name, to: &Name) -> Record {
    if from == to {
        return record;
    }
    if let Some(moved) = move_zone(&record.name, from, to) {
        record.name = moved;
    }
    present_data(&mut record.data, from, to);
    record
}

/// Moves the names that a record leads to. Those of other keys get the suffix that was asked with, without which a client
/// cannot look them up.
pub(super) fn present_data(data: &mut RData, from: &Name, to: &Name) {
    try_each_target(data, |name| {
        if let Some(moved) = move_zone(name, from, to).or_else(|| with_suffix_of(name, to)) {
            *name = moved;
        }
        true
    });
}

/// Changes the names that a record leads to, until `change` says of one that it cannot. Whether all of them could be changed.
pub(super) fn try_each_target(data: &mut RData, mut change: impl FnMut(&mut Name) -> bool) -> bool {
    match data {
        RData::CNAME(target) => change(&mut target.0),
        RData::NS(target) => change(&mut target.0),
        RData::PTR(target) => change(&mut target.0),
        RData::MX(data) => change(&mut data.exchange),
        RData::SRV(data) => change(&mut data.target),
        RData::SVCB(data) => change(&mut data.target_name),
        RData::HTTPS(data) => change(&mut data.0.target_name),
        RData::NAPTR(data) => change(&mut data.replacement),
        RData::SOA(data) => change(&mut data.mname) && change(&mut data.rname),
        RData::Unknown { code: RecordType::DNAME, .. } => dname_target(data).is_none_or(|mut target| {
            let is_changed = change(&mut target);
            if let Ok(bytes) = target.to_bytes() {
                *data = RData::Unknown { code: RecordType::DNAME, rdata: NULL::with(bytes) };
            }
            is_changed
        }),
        _ => true,
    }
}

/// Where a DNAME record leads, of which hickory knows the bytes alone. `None` where they are no name.
pub(super) fn dname_target(data: &RData) -> Option<Name> {
    let RData::Unknown { code: RecordType::DNAME, rdata } = data else { return None };
    let mut decoder = BinDecoder::new(&rdata.anything);
    let target = Name::read(&mut decoder).ok()?;
    decoder.is_empty().then_some(target)
}

/// Types that only mean something inside of one message or transfer, never in a zone (RFC 6895 section 3.1).
fn is_about_messages(record_type: RecordType) -> bool {
    let code = u16::from(record_type);
    code == 0 || record_type == RecordType::OPT || (128..=255).contains(&code)
}

#[cfg(test)]
thread_local! {
    /// How many packets this thread has read.
    pub(super) static PARSED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
    /// How many records this thread has read the data of.
    static READS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

#[cfg(test)]
mod tests;
