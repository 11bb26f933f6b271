//! How long a reply may be kept by whoever gets it.

use super::{
    HEADER_SIZE,
    frame::{Frame, skip_name},
    u16_at,
};

const TYPE_SOA: u16 = 6;
const NO_ERROR: u8 = 0;
const NX_DOMAIN: u8 = 3;

/// The greatest time to live (RFC 2181 section 8), in seconds.
const MAX_TTL: u32 = 0x7fff_ffff;

/// Longest TTL in an answer, in seconds: a day, as Unbound and other resolvers have it. RFC 2181 section 8 allows 68 years, and
/// RFC 8767 section 4 a cap; whoever has put such a number into a zone by mistake is not to wait for the end of each cache.
pub const LONGEST_TTL: u32 = 86_400;

/// In the third byte of the header.
const TRUNCATED: u8 = 0x02;

/// How long the reply in wire form may be kept, in seconds: the smallest TTL of its answers, and for an absence the
/// lesser of the SOA's TTL and MINIMUM (RFC 2308 section 5). `None` for failures and for what cannot be read: those
/// are not kept.
pub fn freshness(reply: &[u8]) -> Option<u32> {
    let (flags, code) = (reply.get(2)?, reply.get(3)? & 0x0f);
    if flags & TRUNCATED != 0 || !matches!(code, NO_ERROR | NX_DOMAIN) || u16_at(reply, 4)? != 1 {
        return None;
    }
    let mut at = skip_name(reply, HEADER_SIZE)? + 4;
    let (mut least, mut denied) = (None, false);
    let mut keep = |seconds: u32| least = Some(least.map_or(seconds, |least: u32| least.min(seconds)));
    for _ in 0..u16_at(reply, 6)? {
        let record = Frame::read(reply, at)?;
        at = record.end;
        keep(ttl(record.ttl));
    }
    for _ in 0..u16_at(reply, 8)? {
        let record = Frame::read(reply, at)?;
        at = record.end;
        if record.record_type == TYPE_SOA {
            keep(ttl(record.ttl).min(ttl(*record.data.last_chunk::<4>()?)));
            denied = true;
        }
    }
    // An absence that nobody vouches for is not kept.
    if code == NX_DOMAIN && !denied { None } else { least }
}

/// With the top bit set it is zero.
fn ttl(bytes: [u8; 4]) -> u32 {
    let seconds = u32::from_be_bytes(bytes);
    if seconds > MAX_TTL { 0 } else { seconds }
}

#[cfg(test)]
mod tests {
    use hickory_proto::{
        op::{Message, MessageType, OpCode, Query, ResponseCode},
        rr::{
            Name, RData, Record, RecordType,
            rdata::{A, CNAME, NS, SOA},
        },
    };
    use proptest::prelude::*;

    use super::*;
    use crate::base::message::read_message;

    fn name() -> Name {
        Name::from_ascii("www.example.com.").unwrap()
    }

    fn address(ttl: u32) -> Record {
        Record::from_rdata(name(), ttl, RData::A(A::new(192, 0, 2, 1)))
    }

    fn alias(ttl: u32) -> Record {
        Record::from_rdata(name(), ttl, RData::CNAME(CNAME(name())))
    }

    fn soa(ttl: u32, minimum: u32) -> Record {
        Record::from_rdata(name(), ttl, RData::SOA(SOA::new(name(), name(), 1, 2, 3, 4, minimum)))
    }

    fn delegation(ttl: u32) -> Record {
        Record::from_rdata(name(), ttl, RData::NS(NS(name())))
    }

    fn reply(code: ResponseCode, answers: &[Record], authorities: &[Record]) -> Vec<u8> {
        let mut message = Message::new(7, MessageType::Response, OpCode::Query);
        message.metadata.response_code = code;
        message.add_query(Query::query(name(), RecordType::A));
        message.answers = answers.to_vec();
        message.authorities = authorities.to_vec();
        message.add_additional(address(1));
        message.to_vec().unwrap()
    }

    #[test]
    fn the_smallest_time_counts_of_what_the_answer_rests_on() {
        use ResponseCode::{FormErr, NXDomain, NoError, NotImp, Refused, ServFail};
        for (what, code, answers, authorities, seconds) in [
            ("one answer", NoError, &[address(300)][..], &[][..], Some(300)),
            ("a chain", NoError, &[alias(60), alias(20), address(300)], &[], Some(20)),
            ("an answer that has run out", NoError, &[address(0)], &[], Some(0)),
            ("name servers say nothing of the answer", NoError, &[address(300)], &[delegation(5)], Some(300)),
            ("no such type, MINIMUM", NoError, &[], &[soa(900, 77)], Some(77)),
            ("no such type, TTL of the SOA", NoError, &[], &[soa(30, 77)], Some(30)),
            ("no such name", NXDomain, &[], &[delegation(5), soa(900, 77)], Some(77)),
            ("a chain to no such type", NoError, &[alias(60)], &[soa(900, 77)], Some(60)),
            ("a chain to no such name", NXDomain, &[alias(300)], &[soa(900, 77)], Some(77)),
            ("no such type, nobody says so", NoError, &[], &[delegation(5)], None),
            ("no such name, nobody says so", NXDomain, &[alias(300)], &[], None),
            ("SERVFAIL", ServFail, &[address(300)], &[soa(900, 77)], None),
            ("REFUSED", Refused, &[], &[], None),
            ("NOTIMP", NotImp, &[], &[], None),
            ("FORMERR", FormErr, &[], &[], None),
        ] {
            assert_eq!(freshness(&reply(code, answers, authorities)), seconds, "{what}");
        }
    }

    #[test]
    fn a_cut_answer_is_not_kept() {
        let mut bytes = reply(ResponseCode::NoError, &[address(300)], &[]);
        bytes[2] |= TRUNCATED;
        assert_eq!(freshness(&bytes), None);
    }

    #[test]
    fn a_bare_header_is_not_kept() {
        assert_eq!(freshness(&[0, 7, 0x80, 0x80, 0, 0, 0, 0, 0, 0, 0, 0]), None);
    }

    #[test]
    fn a_time_with_the_top_bit_set_is_zero() {
        let mut bytes = reply(ResponseCode::NoError, &[address(0x7fff_ffff)], &[]);
        assert_eq!(freshness(&bytes), Some(0x7fff_ffff));
        let at = bytes.windows(4).position(|ttl| ttl == [0x7f, 0xff, 0xff, 0xff]).unwrap();
        bytes[at] = 0x80;
        assert_eq!(freshness(&bytes), Some(0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(50_000))]

        #[test]
        fn whatever_comes_is_kept_no_longer_than_its_answers(
            garbage in prop::collection::vec(any::<u8>(), 0..200),
            times in prop::collection::vec(any::<u32>(), 0..4),
            is_real in any::<bool>(),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let mut bytes = garbage;
            if is_real {
                let answers: Vec<_> = times.iter().map(|ttl| address(*ttl)).collect();
                bytes = reply(ResponseCode::NoError, &answers, &[soa(900, 77)]);
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let (Some(seconds), Ok(message)) = (freshness(&bytes), read_message(&bytes)) {
                prop_assert!(matches!(u16::from(message.code) & 0x0f, 0 | 3));
                prop_assert!(message.answers.iter().all(|record| record.ttl >= seconds));
            }
        }
    }
}
