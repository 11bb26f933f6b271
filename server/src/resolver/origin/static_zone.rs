//! What an origin holds besides keys, answered as RFC 1034 section 4.3.2, RFC 4592 and RFC 6672 say.

use std::{collections::BTreeMap, ops::Bound};

use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RData, Record, RecordType, rdata::CNAME},
};

use super::{Origin, OriginAnswer};
use crate::resolver::zone::dname_target;

/// The records of a zone, by owner in lower case. In the order of names, what is below a name comes right behind it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct StaticZone(BTreeMap<Name, Vec<Record>>);

impl StaticZone {
    /// Takes a record, once. TTLs that differ within a set count as the lowest (RFC 2181 section 5.2).
    pub(super) fn add(&mut self, mut record: Record) {
        record.name = record.name.to_lowercase();
        let node = self.0.entry(record.name.clone()).or_default();
        if node.iter().any(|other| other.data == record.data) {
            return;
        }
        let is_of_set = |other: &&mut Record| other.record_type() == record.record_type();
        let ttl = node.iter_mut().filter(is_of_set).map(|other| other.ttl).min();
        let ttl = ttl.map_or(record.ttl, |ttl| ttl.min(record.ttl));
        node.iter_mut().filter(is_of_set).for_each(|other| other.ttl = ttl);
        record.ttl = ttl;
        node.push(record);
    }

    /// The records of a type at a name.
    pub(super) fn set(&self, name: &Name, record_type: RecordType) -> impl Iterator<Item = &Record> {
        let node = self.0.get(name).into_iter().flatten();
        node.filter(move |record| record.record_type() == record_type)
    }

    /// RFC 4592 section 2.2.2: a name exists when it has records or when a name below it has.
    fn exists(&self, name: &Name) -> bool {
        let mut from = self.0.range::<Name, _>((Bound::Included(name), Bound::Unbounded));
        from.next().is_some_and(|(owner, _)| name.zone_of(owner))
    }

    /// Addresses of those of these servers that the zone itself has.
    pub(super) fn addresses<'a>(
        &'a self,
        servers: impl IntoIterator<Item = &'a Record>,
    ) -> impl Iterator<Item = &'a Record> {
        let targets = servers.into_iter().filter_map(|server| match &server.data {
            RData::NS(target) => Some(&target.0),
            _ => None,
        });
        targets.flat_map(|target| self.set(target, RecordType::A).chain(self.set(target, RecordType::AAAA)))
    }
}

impl Origin {
    /// What the zone file and the configuration say of `name`, which is in the origin and none of a key's. Its case does not
    /// matter; records of the answer have it as it is.
    pub fn from_file(&self, name: &Name, record_type: RecordType) -> OriginAnswer {
        let (above, labels) = (self.apex.iter().len(), name.iter().len());
        let mut encloser = &self.apex;
        let ancestors: Vec<Name> = (above..=labels).map(|count| name.trim_to(count)).collect();
        for ancestor in &ancestors {
            let is_itself = ancestor.iter().len() == labels;
            let servers: Vec<&Record> = self.zone.set(ancestor, RecordType::NS).collect();
            // RFC 4035 section 3.1.4.1: the parent, which is this zone, answers for DS.
            let is_parents = is_itself && record_type == RecordType::DS;
            if !servers.is_empty() && *ancestor != self.apex && !is_parents {
                return self.referral(ancestor, &servers);
            }
            if !self.zone.exists(ancestor) {
                // RFC 6672 section 3.2: before any wildcard.
                return match self.zone.set(encloser, RecordType::DNAME).next() {
                    Some(renaming) => self.renamed(renaming, encloser, name),
                    None => self.at_wildcard(encloser, name, record_type),
                };
            }
            encloser = ancestor;
        }
        self.at_node(name, name, record_type)
    }

    /// RFC 4592 section 3.3.1: the wildcard of the closest encloser, and of no other.
    fn at_wildcard(&self, encloser: &Name, name: &Name, record_type: RecordType) -> OriginAnswer {
        match encloser.prepend_label("*") {
            Ok(wildcard) if self.zone.exists(&wildcard) => self.at_node(&wildcard, name, record_type),
            _ => self.no(ResponseCode::NXDomain, u32::MAX),
        }
    }

    /// Answers from the records of `node`, given the name `owner`.
    fn at_node(&self, node: &Name, owner: &Name, record_type: RecordType) -> OriginAnswer {
        let named = |record: &Record| at(record, owner);
        let set: Vec<&Record> = self.zone.set(node, record_type).collect();
        if !set.is_empty() {
            let mut answer =
                OriginAnswer::new(ResponseCode::NoError, set.iter().copied().map(named).collect());
            if record_type == RecordType::NS {
                answer.additionals = self.zone.addresses(set).cloned().collect();
            }
            return answer;
        }
        match self.zone.set(node, RecordType::CNAME).next() {
            Some(alias) => {
                let follow = match &alias.data {
                    RData::CNAME(target) => Some(target.0.to_lowercase()),
                    _ => None,
                };
                OriginAnswer { follow, ..OriginAnswer::new(ResponseCode::NoError, vec![named(alias)]) }
            }
            None => self.no(ResponseCode::NoError, u32::MAX),
        }
    }

    /// Leads to the name servers of a part that others hold. DS records go along, as no proof of their absence can.
    fn referral(&self, cut: &Name, servers: &[&Record]) -> OriginAnswer {
        let named = |record: &Record| at(record, cut);
        let proofs = self.zone.set(cut, RecordType::DS);
        OriginAnswer {
            authorities: servers.iter().copied().chain(proofs).map(named).collect(),
            additionals: self.zone.addresses(servers.iter().copied()).cloned().collect(),
            is_authoritative: false,
            ..OriginAnswer::new(ResponseCode::NoError, Vec::new())
        }
    }

    /// RFC 6672 section 3.2: the DNAME record, and the CNAME record that follows from it.
    fn renamed(&self, renaming: &Record, owner: &Name, name: &Name) -> OriginAnswer {
        let Some(target) = dname_target(&renaming.data) else {
            return self.no(ResponseCode::NoError, u32::MAX);
        };
        let renaming = at(renaming, owner);
        let depth = name.iter().len() - owner.iter().len();
        match Name::from_labels(name.iter().take(depth).chain(target.iter())) {
            Ok(target) => {
                let data = RData::CNAME(CNAME(target.clone()));
                let alias = Record::from_rdata(name.clone(), renaming.ttl, data);
                OriginAnswer {
                    follow: Some(target.to_lowercase()),
                    ..OriginAnswer::new(ResponseCode::NoError, vec![renaming, alias])
                }
            }
            // RFC 6672 section 2.2.
            Err(_) => OriginAnswer::new(ResponseCode::YXDomain, vec![renaming]),
        }
    }
}

/// A record with another owner.
fn at(record: &Record, owner: &Name) -> Record {
    Record::from_rdata(owner.clone(), record.ttl, record.data.clone())
}
