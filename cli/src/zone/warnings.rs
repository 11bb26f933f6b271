//! What is allowed in a zone, and probably not meant.

use std::collections::BTreeMap;

use hickory_proto::rr::{
    Name, RData, Record, RecordType,
    rdata::{HTTPS, svcb::SvcParamKey},
};
use pkdns::{
    config,
    resolver::zone::{Zone, ZoneAnswer},
};
use pkdns_dht::signed_packet::PublicKey;

use super::answers::{ANY_LABEL, End, text_name, too_long, type_name, walk};

/// What looks wrong.
pub(super) enum Warning {
    /// Hardly anybody means it.
    Mistake(String),
    /// Some mean it.
    Note(String),
}

/// Says what looks wrong in a zone of `key`, in the order of its names.
pub(super) fn warnings(zone: &Zone, key: &PublicKey) -> Vec<Warning> {
    let mut sets: BTreeMap<(Name, RecordType), Vec<Record>> = BTreeMap::new();
    for record in zone.records() {
        sets.entry((record.name.clone(), record.record_type())).or_default().push(record);
    }
    let mut warnings = Vec::new();
    for ((owner, record_type), set) in sets {
        let name = format!("{} {}", text_name(&owner, key), type_name(&set, key).unwrap_or_default());
        warnings.extend(ttl_warnings(&name, &set));
        if record_type == RecordType::CNAME && owner == *zone.apex() {
            warnings.push(Warning::Mistake(format!(
                "{name}: a CNAME of the key itself is not understood by all resolvers; write the addresses, or an \
                 HTTPS record with priority 0"
            )));
        }
        if u16::from(record_type) == 99 {
            warnings.push(Warning::Mistake(format!(
                "{name}: nobody asks for this type any more (RFC 7208); write it as TXT"
            )));
        }
        if record_type == RecordType::DNAME {
            let renaming = renaming_warning(zone, key, &owner);
            warnings.extend(renaming.map(|warning| Warning::Mistake(format!("{name}: {warning}"))));
        }
        if owner == *zone.apex() {
            let copied = copied_warning(zone, key, record_type, &set);
            warnings.extend(copied.map(|warning| Warning::Mistake(format!("{name}: {warning}"))));
        }
        warnings.extend(set.iter().filter_map(|record| {
            target_warning(zone, key, record).map(|warning| Warning::Mistake(format!("{name}: {warning}")))
        }));
    }
    warnings
}

/// What a zone of another place brings along.
fn copied_warning(zone: &Zone, key: &PublicKey, record_type: RecordType, set: &[Record]) -> Option<String> {
    match record_type {
        RecordType::SOA => Some(
            "resolvers make one up for a packet; if it was copied from another zone, take it out".to_string(),
        ),
        RecordType::NS => {
            let outside = set.iter().find_map(|record| match &record.data {
                RData::NS(server) if !zone.apex().zone_of(&server.0.to_lowercase()) => Some(&server.0),
                _ => None,
            })?;
            Some(format!(
                "whatever this zone does not hold is asked of {}, which has to serve the key; if these records were copied \
                 from another zone, take them out",
                text_name(outside, key)
            ))
        }
        _ => None,
    }
}

/// What is wrong with a DNAME record, which speaks of the names below its own and not of that one.
fn renaming_warning(zone: &Zone, key: &PublicKey, owner: &Name) -> Option<String> {
    let below = |name: &Name| name.prepend_label(ANY_LABEL).ok();
    let any = below(owner)?;
    let ZoneAnswer::Renamed(_, Some((_, target))) = zone.lookup(&any, RecordType::A) else { return None };
    let target = target.base_name();
    let has_names_below = |name: &Name| {
        zone.records().map(|record| record.name).find(|other| name.zone_of(other) && other != name)
    };
    if let Some(hidden) = has_names_below(owner) {
        return Some(format!(
            "{} stands below it, where other programs see nothing but this DNAME (RFC 6672 section 2.4): take one of them out",
            text_name(&hidden, key)
        ));
    }
    let is_there = missing_dot(&target, zone).is_empty() || zone.exists(&target);
    match walk(zone, &any, RecordType::ANY).end {
        End::Endless | End::TooLong(_) => Some("the names below it lead back to themselves".to_string()),
        End::NoName if is_there && has_names_below(&target).is_none() => Some(format!(
            "there are no names below {}, and a DNAME is about those alone: for {} itself, write a CNAME",
            text_name(&target, key),
            text_name(owner, key)
        )),
        _ => None,
    }
}

fn ttl_warnings(name: &str, set: &[Record]) -> Vec<Warning> {
    let cache = config::Cache::default();
    let ttls = || set.iter().map(|record| record.ttl);
    let (Some(least), Some(most)) = (ttls().min(), ttls().max()) else {
        return Vec::new();
    };
    let mut warnings = Vec::new();
    if least != most {
        warnings.push(Warning::Mistake(format!(
            "{name}: the TTLs differ, and all count as the lowest, {least} s"
        )));
    }
    if u64::from(least) < cache.ttl_seconds {
        warnings.push(Warning::Note(format!(
            "{name}: a TTL of {least} s is short; resolvers look for a new packet every {} s at most, unless set otherwise",
            cache.ttl_seconds
        )));
    }
    if u64::from(most) > cache.max_ttl_seconds {
        warnings.push(Warning::Note(format!(
            "{name}: a TTL of {most} s is long; some will see a change only after {} hours",
            most / 3600
        )));
    }
    warnings
}

/// What is wrong with the name that a record points to.
fn target_warning(zone: &Zone, key: &PublicKey, record: &Record) -> Option<String> {
    let (target, may_be_alias) = match &record.data {
        RData::CNAME(target) => return alias_warning(zone, key, &record.name, target),
        RData::MX(data) => (data.exchange.clone(), false),
        RData::SRV(data) => (data.target.clone(), false),
        RData::NS(target) => (target.0.clone(), false),
        RData::HTTPS(HTTPS(data)) | RData::SVCB(data) => {
            let has_hints = data
                .svc_params
                .iter()
                .any(|(parameter, _)| matches!(parameter, SvcParamKey::Ipv4Hint | SvcParamKey::Ipv6Hint));
            match &data.target_name {
                target if has_hints => return lost_name(zone, key, target),
                // Its own name (RFC 9460 section 2.5.2).
                target if target.is_root() && data.svc_priority > 0 => (record.name.clone(), true),
                target => (target.clone(), true),
            }
        }
        _ => return None,
    };
    let target = target.to_lowercase();
    // The root says that there is none (RFC 7505, RFC 2782).
    if target.is_root() || !zone.apex().zone_of(&target) {
        return None;
    }
    let shown = text_name(&target, key);
    let by_type = [RecordType::A, RecordType::AAAA].map(|address| walk(zone, &target, address));
    if by_type.iter().any(|walk| !walk.aliases.is_empty()) && !may_be_alias {
        return Some(format!(
            "{shown} is a CNAME, which mail servers and others refuse here; name its target"
        ));
    }
    let may_exist = |end: &End| matches!(end, End::Records(_) | End::Outside(_) | End::Delegated(_));
    let is_nothing = !by_type.iter().any(|walk| may_exist(&walk.end));
    is_nothing.then(|| format!("{shown} has no address{}", missing_dot(&target, zone)))
}

fn alias_warning(zone: &Zone, key: &PublicKey, owner: &Name, target: &Name) -> Option<String> {
    let shown = text_name(&target.to_lowercase(), key);
    // Whoever asks for the owner has one link more to follow.
    let end = match walk(zone, &owner.to_lowercase(), RecordType::ANY).end {
        End::TooLong(links) => End::TooLong(links),
        _ => walk(zone, &target.to_lowercase(), RecordType::ANY).end,
    };
    match end {
        End::NoName => Some(format!("{shown} does not exist{}", missing_dot(target, zone))),
        End::Endless => Some("this chain of CNAME records has no end".to_string()),
        End::TooLong(links) => Some(too_long(links)),
        _ => None,
    }
}

/// A target that nobody has to look up, as its addresses stand beside it: only a name of another zone without its last dot
/// is worth a word.
fn lost_name(zone: &Zone, key: &PublicKey, target: &Name) -> Option<String> {
    let target = target.to_lowercase();
    let is_lost = zone.apex().zone_of(&target)
        && !missing_dot(&target, zone).is_empty()
        && walk(zone, &target, RecordType::ANY).end == End::NoName;
    is_lost.then(|| format!("{} does not exist{}", text_name(&target, key), missing_dot(&target, zone)))
}

/// A hint for names such as `mx.example.com` that should have ended in a dot.
fn missing_dot(target: &Name, zone: &Zone) -> &'static str {
    if target.num_labels() > zone.apex().num_labels() + 1 {
        "; a name of another zone needs a dot at its end"
    } else {
        ""
    }
}
