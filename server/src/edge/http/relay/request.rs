//! What is read from a request: the key, the policy, conditions, the packet.

use std::{
    net::IpAddr,
    time::{Duration, UNIX_EPOCH},
};

use axum::{
    body::Body,
    http::{HeaderMap, header},
};
use percent_encoding::percent_decode_str;
use pkdns_dht::signed_packet::{PublicKey, SignedPacket};
use tokio::time::timeout;

use super::{
    super::{
        json::parameter,
        request_body::{Unreadable, read_body},
    },
    answer::Answer,
};
use crate::edge::held::Budget;

/// Bytes of a body that are read. A packet has 1072 at most; the 32 of its key are read for the sake of a better answer.
const MAX_BODY_SIZE: usize = 1104;

/// A packet is read within this time. What is left of a request's time is enough to store it.
const BODY_DEADLINE: Duration = Duration::from_secs(4);

/// Characters of a key in z-base-32.
const KEY_LENGTH: usize = 52;

/// So many letters and digits in a row are an attempt at a key: one that was cut short, in hexadecimal, or behind a scheme.
const LIKE_A_KEY: usize = 40;

/// Where a client wants its packet from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Policy {
    /// From what is held, whatever its age.
    CacheOnly,
    /// From what is held while it is fresh.
    CacheFirst,
    /// From the network.
    NetworkOnly,
}

impl Policy {
    pub(super) fn read(query: &str) -> Result<Self, Answer> {
        match parameter(query, "policy").as_deref() {
            None | Some("CacheFirst") => Ok(Self::CacheFirst),
            Some("CacheOnly") => Ok(Self::CacheOnly),
            Some("NetworkOnly") => Ok(Self::NetworkOnly),
            Some(_) => Err(Answer::BadRequest("policy= is CacheOnly, CacheFirst or NetworkOnly.")),
        }
    }
}

/// Whether a path may be meant as that of a key, sound or not.
pub(super) fn is_meant_as_key(path: &str) -> bool {
    let bytes: Vec<u8> = percent_decode_str(path).collect();
    bytes.split(|byte| !byte.is_ascii_alphanumeric()).any(|run| run.len() >= LIKE_A_KEY)
}

pub(super) fn read_key(text: &str) -> Result<PublicKey, Answer> {
    let key = if text.len() == KEY_LENGTH { PublicKey::try_from(text).ok() } else { None };
    key.ok_or(Answer::BadRequest(
        "The path is not a key: 52 characters of z-base-32 that are a point of the curve.",
    ))
}

/// Whether the client has this packet. Times of HTTP are whole seconds and those of packets microseconds: who repeats
/// `Last-Modified` gets the packet, which may have been replaced within that second.
pub(super) fn is_known(headers: &HeaderMap, packet: &SignedPacket) -> bool {
    let time = headers.get(header::IF_MODIFIED_SINCE).and_then(|value| value.to_str().ok());
    let time = time.and_then(|text| httpdate::parse_http_date(text).ok());
    let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.is_some_and(|since| since >= Duration::from_micros(packet.timestamp()))
}

/// The timestamp of the packet that may be replaced. Anything but a number is no condition of this protocol.
pub(super) fn cas(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::IF_MATCH)?.to_str().ok()?.trim().trim_matches('"').parse().ok()
}

/// The packet of `key` in a body that says how long it is, or is read as far as a packet goes.
pub(super) async fn read_packet(
    key: PublicKey,
    body: Body,
    client: IpAddr,
    budget: &Budget,
) -> Result<SignedPacket, Answer> {
    let Ok(read) = timeout(BODY_DEADLINE, read_body(body, MAX_BODY_SIZE, client, budget)).await else {
        return Err(Answer::TooSlow);
    };
    let (body, _permit) = read.map_err(|unreadable| match unreadable {
        Unreadable::TooLarge => Answer::TooLarge,
        Unreadable::Incomplete => Answer::BadRequest("The body is not complete."),
        Unreadable::Held => Answer::Busy,
    })?;
    let packet = SignedPacket::from_payload(key, &body).map_err(Answer::Invalid)?;
    match packet.is_readable() {
        true => Ok(packet),
        false => Err(Answer::BadRequest("The DNS message of the packet cannot be read.")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use pkdns_dht::signed_packet::Keypair;

    fn headers(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    fn packet(timestamp: u64) -> SignedPacket {
        SignedPacket::sign(&Keypair::from_secret_key(&[1; 32]), timestamp, &[0; 12]).unwrap()
    }

    #[test]
    fn seconds_are_compared_with_microseconds() {
        let second = 1_000_000;
        for (timestamp, known) in
            [(second - 1, true), (second, true), (second + 1, false), (u64::MAX >> 1, false), (0, true)]
        {
            let since = headers(header::IF_MODIFIED_SINCE, "Thu, 01 Jan 1970 00:00:01 GMT");
            assert_eq!(is_known(&since, &packet(timestamp)), known, "{timestamp}");
        }
        for odd in ["", "1", "Fri, 31 Dec 9999 23:59:60 GMT", "Thu, 01 Jan 1960 00:00:01 GMT"] {
            assert!(!is_known(&headers(header::IF_MODIFIED_SINCE, odd), &packet(1)), "{odd}");
        }
    }

    #[test]
    fn a_condition_is_a_timestamp_in_quotes_or_without() {
        for (value, expected) in
            [("17", Some(17)), ("\"17\"", Some(17)), ("*", None), ("W/\"a\"", None), ("-1", None)]
        {
            assert_eq!(cas(&headers(header::IF_MATCH, value)), expected, "{value}");
        }
        assert_eq!(cas(&HeaderMap::new()), None);
    }

    #[test]
    fn what_browsers_and_robots_look_for_is_not_meant_as_a_key() {
        let key = Keypair::from_secret_key(&[1; 32]).to_z32();
        let escaped = format!("/%{:x}{}", key.as_bytes()[0], &key[1..]);
        let (cut, hexadecimal) = (key[..51].to_owned(), "8a".repeat(32));
        for like_a_key in [&key, &cut, &hexadecimal, &format!("pk:{key}"), &format!("{key}.key"), &escaped] {
            assert!(is_meant_as_key(&format!("/{like_a_key}")), "{like_a_key}");
        }
        for other in [
            "/favicon.ico",
            "/robots.txt",
            "/metrics",
            "/nothing",
            "/",
            "/%ff",
            "/apple-touch-icon-precomposed.png",
        ] {
            assert!(!is_meant_as_key(other), "{other}");
        }
    }

    proptest! {
        #[test]
        fn any_path_query_and_message_is_read_or_refused(text in ".{0,80}", dns in prop::collection::vec(any::<u8>(), 0..1000)) {
            let _ = (is_meant_as_key(&text), read_key(&text), Policy::read(&text));
            let _ = SignedPacket::sign(&Keypair::from_secret_key(&[1; 32]), 1, &dns).unwrap().is_readable();
        }
    }
}
