//! How "no" is said: the SOA that tells a client how long to remember it (RFC 2308).

use std::time::Duration;

use hickory_proto::{
    op::ResponseCode,
    rr::{
        Name, RData, Record,
        rdata::{HINFO, SOA},
    },
};

use crate::base::message::Answer;

/// TTL of the record that stands for ANY, in seconds.
const ANY_TTL: u32 = 3600;

/// A SOA for a zone that has none of its own. `serial` is the zone's age as its owner counts it; `negative_ttl`, in
/// seconds, is how long absence may be believed.
pub(super) fn soa(apex: &Name, serial: u32, negative_ttl: u32) -> Record {
    // Without a name server of its own, the zone names itself; nobody reads the mailbox.
    let mailbox = Name::from_labels([b"nobody".as_slice(), b"invalid"]).unwrap_or_else(|_| Name::root());
    let data = SOA::new(apex.clone(), mailbox, serial, 3600, 600, 604_800, negative_ttl);
    Record::from_rdata(apex.clone(), negative_ttl, RData::SOA(data))
}

/// A zone's own SOA as it goes into an answer that says no: its TTL is at most its MINIMUM (RFC 2308 section 3).
pub(super) fn limit_ttl(mut record: Record) -> Record {
    if let RData::SOA(soa) = &record.data {
        record.ttl = record.ttl.min(soa.minimum);
    }
    record
}

/// RFC 8482 section 4.2: ANY gets one record that says so, and no amplifier is made of us.
pub(super) fn any(name: Name) -> Answer {
    let data = RData::HINFO(HINFO::new("RFC8482".into(), String::new()));
    let mut answer = Answer::empty(ResponseCode::NoError);
    answer.answers = vec![Record::from_rdata(name, ANY_TTL, data)];
    answer.lifetime = Duration::from_secs(ANY_TTL.into());
    answer
}
