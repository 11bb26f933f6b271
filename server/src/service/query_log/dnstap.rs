//! Messages of dnstap, <https://dnstap.info>: its schema `dnstap.proto`, as far as it is used. Pure.

use std::{
    net::IpAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use prost::Message;

use super::Protocol;

/// The payload is a message; there is no other.
const TYPE_MESSAGE: i32 = 1;

const FAMILY_INET: i32 = 1;
const FAMILY_INET6: i32 = 2;

const PROTOCOL_UDP: i32 = 1;
const PROTOCOL_TCP: i32 = 2;
const PROTOCOL_DOT: i32 = 3;
const PROTOCOL_DOH: i32 = 4;

/// What was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A query, as it came from a client.
    ClientQuery = 5,
    /// The reply to a client.
    ClientResponse = 6,
}

/// A message that a collector is to see.
#[derive(Debug, Clone)]
pub(super) struct Tapped {
    pub(super) kind: Kind,
    /// As far as the collector may know it.
    pub(super) client: IpAddr,
    pub(super) protocol: Protocol,
    /// When the query came.
    pub(super) asked: SystemTime,
    /// From then to when this was seen.
    pub(super) took: Duration,
    pub(super) message: Box<[u8]>,
}

#[derive(Clone, PartialEq, Message)]
struct Payload {
    #[prost(bytes = "vec", optional, tag = "1")]
    identity: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "2")]
    version: Option<Vec<u8>>,
    #[prost(message, optional, tag = "14")]
    message: Option<Seen>,
    #[prost(int32, required, tag = "15")]
    kind: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Seen {
    #[prost(int32, required, tag = "1")]
    kind: i32,
    #[prost(int32, optional, tag = "2")]
    family: Option<i32>,
    #[prost(int32, optional, tag = "3")]
    protocol: Option<i32>,
    #[prost(bytes = "vec", optional, tag = "4")]
    query_address: Option<Vec<u8>>,
    #[prost(uint64, optional, tag = "8")]
    query_seconds: Option<u64>,
    #[prost(fixed32, optional, tag = "9")]
    query_nanoseconds: Option<u32>,
    #[prost(bytes = "vec", optional, tag = "10")]
    query: Option<Vec<u8>>,
    #[prost(uint64, optional, tag = "12")]
    response_seconds: Option<u64>,
    #[prost(fixed32, optional, tag = "13")]
    response_nanoseconds: Option<u32>,
    #[prost(bytes = "vec", optional, tag = "14")]
    response: Option<Vec<u8>>,
}

/// The payload of a frame, from a server that goes by `identity` and `version`.
pub(super) fn encode(tapped: Tapped, identity: &str, version: &str) -> Vec<u8> {
    let Tapped { kind, client, protocol, asked, took, message } = tapped;
    let asked = asked.duration_since(UNIX_EPOCH).unwrap_or_default();
    let answered = asked.saturating_add(took);
    let (family, address) = match client {
        IpAddr::V4(address) => (FAMILY_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (FAMILY_INET6, address.octets().to_vec()),
    };
    let mut seen = Seen {
        kind: kind as i32,
        family: Some(family),
        protocol: Some(match protocol {
            Protocol::Udp => PROTOCOL_UDP,
            Protocol::Tcp => PROTOCOL_TCP,
            Protocol::Tls => PROTOCOL_DOT,
            Protocol::Http => PROTOCOL_DOH,
        }),
        query_address: Some(address),
        query_seconds: Some(asked.as_secs()),
        query_nanoseconds: Some(asked.subsec_nanos()),
        ..Seen::default()
    };
    match kind {
        Kind::ClientQuery => seen.query = Some(message.into()),
        Kind::ClientResponse => {
            seen.response_seconds = Some(answered.as_secs());
            seen.response_nanoseconds = Some(answered.subsec_nanos());
            seen.response = Some(message.into());
        }
    }
    let payload = Payload {
        identity: Some(identity.into()),
        version: Some(version.into()),
        message: Some(seen),
        kind: TYPE_MESSAGE,
    };
    payload.encode_to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_written_field_by_field_as_the_schema_says() {
        let tapped = Tapped {
            kind: Kind::ClientResponse,
            client: "192.0.2.0".parse().unwrap(),
            protocol: Protocol::Http,
            asked: UNIX_EPOCH + Duration::new(5, 7),
            took: Duration::from_secs(1),
            message: Box::new([0xab]),
        };
        let seen = [
            &[0x08, 6, 0x10, 1, 0x18, 4, 0x22, 4, 192, 0, 2, 0, 0x40, 5, 0x4d, 7, 0, 0, 0][..],
            &[0x60, 6, 0x6d, 7, 0, 0, 0, 0x72, 1, 0xab],
        ]
        .concat();
        let expected = [&[0x0a, 2, b'm', b'e', 0x12, 1, b'1', 0x72, seen.len() as u8], &seen[..], &[0x78, 1]];
        assert_eq!(encode(tapped, "me", "1"), expected.concat());
    }
}
