//! What a relay says: status, headers and body.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use pkdns_dht::signed_packet::{InvalidPacket, SignedPacket};

use super::cors::{INVALID_SEQ, STORED_NODES};
use crate::{base::message::find_records, resolver::denied::Denial, sources::packets::Found};

/// When this server last heard of the packet (RFC 7089).
const MEMENTO_DATETIME: HeaderName = HeaderName::from_static("memento-datetime");

/// Least and greatest time for which others may keep a packet, in seconds.
const MIN_AGE: u32 = 300;
const MAX_AGE: u32 = 86_400;

/// The last second that a date of HTTP can name, since 1970. A timestamp is its owner's word, and may be any number.
const LAST_SECOND: u64 = 253_402_300_799;

/// Who is at the limit of this server comes again after so many seconds.
const RETRY_AFTER: u32 = 1;

/// Whose way of asking it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `/<key>`
    Pkarr,
    /// `/pkarr/<key>`
    Iroh,
}

impl Form {
    fn media_type(self) -> &'static str {
        match self {
            Self::Pkarr => "application/pkarr.org/relays#payload",
            Self::Iroh => "application/x-pkarr-signed-packet",
        }
    }
}

/// The outcome of a request. Owns its status.
#[derive(Debug)]
pub(super) enum Answer {
    /// The packet.
    Found(Found),
    /// The client has it.
    NotModified(Found),
    /// No packet, or one of this timestamp whose DNS message nobody can read.
    Absent { unreadable: Option<u64> },
    /// Whether there is a packet, nobody can say.
    Unreachable,
    /// It is on so many nodes of the DHT.
    Stored { nodes: u32 },
    /// What is known of the key is newer, or of the same time.
    NotMostRecent,
    /// What is known of the key is not what the client expected.
    CasFailed,
    /// The DHT could not be asked, or refused.
    NotStored(String),
    /// Too many packets are on their way to the DHT.
    Busy,
    /// The client's quota is spent.
    OverQuota { retry_after: u32 },
    /// Something that is not of this protocol, and what.
    BadRequest(&'static str),
    /// Not a packet of its key.
    Invalid(InvalidPacket),
    /// Longer than any packet.
    TooLarge,
    /// The body does not come.
    TooSlow,
    /// The key is on a deny list.
    Denied(Denial),
}

impl Answer {
    /// For a client that asks in this form.
    pub(super) fn response(self, form: Form) -> Response {
        match self {
            Self::Found(found) => {
                let mut response = described(&found, Body::from(found.packet.to_payload()));
                set(&mut response, header::CONTENT_TYPE, HeaderValue::from_static(form.media_type()));
                response
            }
            Self::NotModified(found) => {
                let mut response = described(&found, Body::empty());
                *response.status_mut() = StatusCode::NOT_MODIFIED;
                response
            }
            Self::Stored { nodes } => {
                let mut response = StatusCode::NO_CONTENT.into_response();
                set(&mut response, STORED_NODES, nodes.into());
                response
            }
            Self::Absent { unreadable: None } => {
                said(StatusCode::NOT_FOUND, "The key has published nothing.")
            }
            Self::Absent { unreadable: Some(timestamp) } => {
                let mut response = said(StatusCode::NOT_FOUND, "What the key has published cannot be read.");
                set(&mut response, INVALID_SEQ, timestamp.into());
                response
            }
            Self::Unreachable => {
                later(StatusCode::SERVICE_UNAVAILABLE, "The DHT cannot be asked now.", RETRY_AFTER)
            }
            Self::NotMostRecent => said(
                StatusCode::CONFLICT,
                "A newer packet of this key, or another of the same time, is known.",
            ),
            Self::CasFailed => said(
                StatusCode::PRECONDITION_FAILED,
                "The packet of this key is not the one that If-Match names: read it again.",
            ),
            Self::NotStored(why) => said(StatusCode::INTERNAL_SERVER_ERROR, &format!("Not stored: {why}.")),
            Self::Busy => later(
                StatusCode::TOO_MANY_REQUESTS,
                "Too many packets are on their way to the DHT: wait a little.",
                RETRY_AFTER,
            ),
            Self::OverQuota { retry_after } => {
                later(StatusCode::TOO_MANY_REQUESTS, "Too many requests: wait a little.", retry_after)
            }
            Self::BadRequest(why) => said(StatusCode::BAD_REQUEST, why),
            Self::Invalid(why) => said(StatusCode::BAD_REQUEST, &format!("Refused: {why}.")),
            Self::TooLarge => {
                said(StatusCode::PAYLOAD_TOO_LARGE, "A packet has 1072 bytes at most, without its key.")
            }
            // RFC 7725.
            Self::Denied(denial) => {
                said(StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS, &format!("Denied: {}.", denial.text()))
            }
            Self::TooSlow => said(StatusCode::REQUEST_TIMEOUT, "The packet did not arrive in time."),
        }
    }
}

/// With what there is to say of the packet.
fn described(found: &Found, body: Body) -> Response {
    let mut response = Response::new(body);
    let max_age = format!("public, max-age={}", max_age(&found.packet));
    let modified = UNIX_EPOCH.checked_add(Duration::from_micros(found.packet.timestamp()));
    let seen = SystemTime::now().checked_sub(found.age);
    for (name, value) in [
        (header::CACHE_CONTROL, max_age),
        (header::LAST_MODIFIED, http_date(modified)),
        (MEMENTO_DATETIME, http_date(seen)),
    ] {
        if let Ok(value) = HeaderValue::try_from(value) {
            set(&mut response, name, value);
        }
    }
    set(&mut response, header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn max_age(packet: &SignedPacket) -> u32 {
    let smallest = find_records(packet.dns()).map(|record| record.ttl).min();
    smallest.unwrap_or(MIN_AGE).clamp(MIN_AGE, MAX_AGE)
}

/// Times that a date of HTTP cannot name are the first or the last that it can.
fn http_date(time: Option<SystemTime>) -> String {
    let last = Duration::from_secs(LAST_SECOND);
    let since = time.map_or(last, |time| time.duration_since(UNIX_EPOCH).unwrap_or_default());
    httpdate::fmt_http_date(UNIX_EPOCH + since.min(last))
}

/// For whoever reads it in a log.
fn said(status: StatusCode, text: &str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (status, headers, format!("{text}\n")).into_response()
}

fn later(status: StatusCode, text: &str, seconds: u32) -> Response {
    let mut response = said(status, text);
    set(&mut response, header::RETRY_AFTER, seconds.into());
    response
}

fn set(response: &mut Response, name: HeaderName, value: HeaderValue) {
    response.headers_mut().insert(name, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_has_a_date() {
        let micros = |micros| UNIX_EPOCH.checked_add(Duration::from_micros(micros));
        for (time, date) in [
            (micros(0), "Thu, 01 Jan 1970 00:00:00 GMT"),
            (micros(1_700_000_000_999_999), "Tue, 14 Nov 2023 22:13:20 GMT"),
            (micros(LAST_SECOND * 1_000_000), "Fri, 31 Dec 9999 23:59:59 GMT"),
            (micros(300_000_000_000_000_000), "Fri, 31 Dec 9999 23:59:59 GMT"),
            (micros(u64::MAX), "Fri, 31 Dec 9999 23:59:59 GMT"),
            (UNIX_EPOCH.checked_sub(Duration::from_secs(1)), "Thu, 01 Jan 1970 00:00:00 GMT"),
            (None, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(http_date(time), date, "{time:?}");
        }
    }
}
