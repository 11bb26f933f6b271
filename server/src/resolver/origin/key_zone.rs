//! The zone of a key as a part of an origin.
//!
//! It is no zone of its own there: it has neither SOA nor NS, and what its packet leaves to name servers of the key is
//! NODATA. These serve `<key>`, and not `<key>.<origin>`: a resolver that was referred to them would find them lame, and
//! say SERVFAIL. That is also why such a name is not denied as a whole: nobody here knows what is below it.

use hickory_proto::{
    op::ResponseCode,
    rr::{
        Name, RData, Record, RecordType,
        rdata::svcb::{SVCB, SvcParamKey, SvcParamValue},
    },
};

use super::{Origin, OriginAnswer};
use crate::{
    base::{access::is_private, message::addresses},
    resolver::{
        name::{KeyName, Suffixes, move_zone},
        zone::{Zone, ZoneAnswer, dname_target, try_each_target},
    },
};

impl Origin {
    /// What the packet of a key says of `name`, which is in the part of the origin that is the key's. Its case does not matter;
    /// records of the answer have it as it is, and the TTLs of the packet. `negative_ttl` in seconds is how long absence
    /// may be believed at most.
    pub fn from_packet(
        &self,
        zone: &Zone,
        asked: &KeyName,
        name: &Name,
        record_type: RecordType,
        negative_ttl: u32,
    ) -> OriginAnswer {
        // No packet has records of the type zero.
        let held_type = match record_type {
            RecordType::SOA | RecordType::NS | RecordType::DS => RecordType::ZERO,
            other => other,
        };
        let shown = |record: Record| self.shown(record, zone, asked);
        let answer = |answers: Vec<Record>| OriginAnswer::new(ResponseCode::NoError, answers);
        match zone.lookup_below(&asked.apex, name, held_type) {
            ZoneAnswer::Records(records) => {
                let records: Vec<Record> = records.into_iter().filter_map(shown).collect();
                Some(answer(records)).filter(|answer| !answer.answers.is_empty())
            }
            ZoneAnswer::Alias(record, _) => shown(*record).and_then(follow),
            ZoneAnswer::Renamed(renaming, alias) => shown(*renaming).map(|renaming| match alias {
                // RFC 6672 section 2.2.
                None => OriginAnswer::new(ResponseCode::YXDomain, vec![renaming]),
                Some((alias, _)) => match shown(*alias).and_then(follow) {
                    None => OriginAnswer::new(ResponseCode::YXDomain, vec![renaming]),
                    // A client that followed the DNAME record by itself has to come to the same name.
                    Some(mut alias) => {
                        if leads_to(&renaming, name, alias.follow.as_ref()) {
                            alias.answers.insert(0, renaming);
                        }
                        alias
                    }
                },
            }),
            ZoneAnswer::Delegated(_) | ZoneAnswer::NoData => None,
            ZoneAnswer::NxDomain => return self.no(ResponseCode::NXDomain, negative_ttl),
        }
        .unwrap_or_else(|| self.no(ResponseCode::NoError, negative_ttl))
    }

    /// A record as the world may see it; `None` where it may not.
    fn shown(&self, mut record: Record, zone: &Zone, asked: &KeyName) -> Option<Record> {
        let is_placed = try_each_target(&mut record.data, |target| match self.placed(target, zone, asked) {
            Some(placed) => {
                *target = placed;
                true
            }
            None => false,
        });
        (is_placed && (self.allow_private || leave_out_private(&mut record.data))).then_some(record)
    }

    /// Where the world finds a name that the packet leads to: those of keys are in this origin. `None` where it would be too
    /// long.
    fn placed(&self, target: &Name, zone: &Zone, asked: &KeyName) -> Option<Name> {
        if self.apex.zone_of(target) {
            return Some(target.clone());
        }
        if zone.apex().zone_of(target) {
            return move_zone(target, zone.apex(), &asked.apex);
        }
        in_origin(target, &self.apex, &self.suffixes)
    }
}

/// A name with the suffix of the origin at `apex`, if it is a key's and ends in the key or in one of `suffixes`. `None` where
/// it would be too long.
pub(super) fn in_origin(target: &Name, apex: &Name, suffixes: &Suffixes) -> Option<Name> {
    match suffixes.key_labels(target) {
        Some(count) => Name::from_labels(target.iter().take(count).chain(apex.iter())).ok(),
        None => Some(target.clone()),
    }
}

/// The answer that an alias is.
fn follow(alias: Record) -> Option<OriginAnswer> {
    let RData::CNAME(target) = &alias.data else { return None };
    let follow = Some(target.0.to_lowercase());
    Some(OriginAnswer { follow, ..OriginAnswer::new(ResponseCode::NoError, vec![alias]) })
}

/// Whether a DNAME record makes `target` of `name`.
fn leads_to(renaming: &Record, name: &Name, target: Option<&Name>) -> bool {
    let depth = name.iter().len().saturating_sub(renaming.name.iter().len());
    dname_target(&renaming.data)
        .and_then(|below| Name::from_labels(name.iter().take(depth).chain(below.iter())).ok())
        .is_some_and(|made| Some(&made) == target)
}

/// Takes addresses out that mean nothing to the world. False where nothing is left that means anything.
fn leave_out_private(data: &mut RData) -> bool {
    match data {
        RData::SVCB(data) => leave_out_private_hints(data),
        RData::HTTPS(data) => leave_out_private_hints(&mut data.0),
        other => !addresses(other).into_iter().any(is_private),
    }
}

fn leave_out_private_hints(data: &mut SVCB) -> bool {
    let mut emptied = Vec::new();
    data.svc_params.retain_mut(|(key, value)| {
        let is_left = match value {
            SvcParamValue::Ipv4Hint(hints) => {
                hints.0.retain(|hint| !is_private(hint.0.into()));
                !hints.0.is_empty()
            }
            SvcParamValue::Ipv6Hint(hints) => {
                hints.0.retain(|hint| !is_private(hint.0.into()));
                !hints.0.is_empty()
            }
            _ => true,
        };
        if !is_left {
            emptied.push(*key);
        }
        is_left
    });
    // RFC 9460 section 8: without a parameter that it says is mandatory, the record is malformed.
    let needs = |(_, value): &(SvcParamKey, SvcParamValue)| match value {
        SvcParamValue::Mandatory(keys) => keys.0.iter().any(|key| emptied.contains(key)),
        _ => false,
    };
    !data.svc_params.iter().any(needs)
}
