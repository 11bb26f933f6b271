//! Lines of the query log. Pure.

use std::{
    fmt::Write,
    net::IpAddr,
    time::{Duration, SystemTime},
};

use hickory_proto::op::ResponseCode;
use serde::Serialize;
use time::OffsetDateTime;

use super::{KEPT_BITS_V4, KEPT_BITS_V6, Protocol, counts::Count};
use crate::base::{
    config::QueryLogFormat,
    message::{Question, code_name},
    metrics::Source,
};

/// A query that is to be written.
#[derive(Debug, Clone)]
pub(super) struct Record {
    /// When it came.
    pub(super) time: SystemTime,
    pub(super) client: Client,
    pub(super) protocol: Protocol,
    pub(super) question: Option<Question>,
    pub(super) code: Option<ResponseCode>,
    pub(super) extended_error: Option<u16>,
    pub(super) source: Source,
    pub(super) took: Duration,
    /// Of the reply, in bytes.
    pub(super) size: usize,
}

/// Who asked, as far as that is written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Client {
    /// The address of its network; what was cut off is zero.
    Network(IpAddr),
    Address(IpAddr),
}

/// What a line says, in its order.
#[derive(Debug, Serialize)]
pub(super) struct Line {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) time: String,
    pub(super) client: String,
    pub(super) transport: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub(super) record_type: Option<String>,
    pub(super) code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) extended_error: Option<u16>,
    pub(super) source: &'static str,
    pub(super) microseconds: u64,
    pub(super) bytes: usize,
}

/// What a line of counts says.
#[derive(Debug, Serialize)]
struct CountLine<'a> {
    time: &'a str,
    seconds: u64,
    code: &'static str,
    source: &'static str,
    queries: u64,
}

impl Line {
    pub(super) fn of(record: &Record) -> Self {
        let question = record.question.as_ref();
        Self {
            time: timestamp(record.time),
            client: match record.client {
                Client::Network(address @ IpAddr::V4(_)) => format!("{address}/{KEPT_BITS_V4}"),
                Client::Network(address @ IpAddr::V6(_)) => format!("{address}/{KEPT_BITS_V6}"),
                Client::Address(address) => address.to_string(),
            },
            transport: record.protocol.as_str(),
            name: question.map(|question| name(question.wire_name())),
            record_type: question.map(|question| question.record_type().to_string()),
            code: record.code.map_or("none", |code| code_name(code).unwrap_or("other")),
            extended_error: record.extended_error,
            source: record.source.as_str(),
            microseconds: u64::try_from(record.took.as_micros()).unwrap_or(u64::MAX),
            bytes: record.size,
        }
    }

    /// Appends the line.
    pub(super) fn write(&self, format: QueryLogFormat, out: &mut String) {
        match format {
            QueryLogFormat::Json => json(self, out),
            QueryLogFormat::Logfmt => self.logfmt(out),
        }
        out.push('\n');
    }

    /// None of the values has a space, a quote or a `=` in it.
    fn logfmt(&self, out: &mut String) {
        let Self { time, client, transport, code, source, microseconds, bytes, .. } = self;
        // Text takes whatever is written.
        let _ = write!(out, "time={time} client={client} transport={transport}");
        if let Some((name, record_type)) = self.name.as_ref().zip(self.record_type.as_ref()) {
            let _ = write!(out, " name={name} type={record_type}");
        }
        let _ = write!(out, " code={code}");
        if let Some(error) = self.extended_error {
            let _ = write!(out, " extended_error={error}");
        }
        let _ = write!(out, " source={source} microseconds={microseconds} bytes={bytes}");
    }
}

/// Appends a line of counts, of the `interval` before `time`.
pub(super) fn write_count(
    count: &Count,
    time: SystemTime,
    interval: Duration,
    format: QueryLogFormat,
    out: &mut String,
) {
    let (time, seconds, Count { code, source, queries }) = (&timestamp(time), interval.as_secs(), *count);
    match format {
        QueryLogFormat::Json => json(&CountLine { time, seconds, code, source, queries }, out),
        QueryLogFormat::Logfmt => {
            let _ =
                write!(out, "time={time} seconds={seconds} code={code} source={source} queries={queries}");
        }
    }
    out.push('\n');
}

fn json(line: &impl Serialize, out: &mut String) {
    // What has texts and numbers in it can be written.
    out.push_str(&serde_json::to_string(line).unwrap_or_default());
}

/// UTC, as in RFC 3339.
fn timestamp(time: SystemTime) -> String {
    let time = OffsetDateTime::from(time);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z",
        time.year(),
        u8::from(time.month()),
        time.day(),
        time.hour(),
        time.minute(),
        time.second(),
        time.microsecond()
    )
}

/// A name in lower case as in zone files, with all that a line or a terminal could take for something else as `\DDD` (RFC
/// 1035 section 5.1).
fn name(mut wire: &[u8]) -> String {
    let mut text = String::with_capacity(wire.len());
    while let Some((length @ 1.., rest)) = wire.split_first() {
        let (label, rest) = rest.split_at_checked(usize::from(*length)).unwrap_or((rest, &[]));
        for byte in label {
            match byte {
                b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'*' | b'/' | b'+' | b':' => {
                    text.push(char::from(*byte))
                }
                b'A'..=b'Z' => text.push(char::from(byte.to_ascii_lowercase())),
                _ => {
                    let _ = write!(text, "\\{byte:03}");
                }
            }
        }
        text.push('.');
        wire = rest;
    }
    if text.is_empty() { ".".into() } else { text }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use hickory_proto::rr::{DNSClass, Name, RecordType};

    use super::*;

    fn record() -> Record {
        let name = Name::from_ascii("Example.com.").unwrap();
        Record {
            time: UNIX_EPOCH + Duration::from_micros(1_764_415_147_001_002),
            client: Client::Network("192.0.2.0".parse().unwrap()),
            protocol: Protocol::Tls,
            question: Question::new(&name, RecordType::AAAA, DNSClass::IN),
            code: Some(ResponseCode::NXDomain),
            extended_error: Some(19),
            source: Source::Stale,
            took: Duration::from_micros(1234),
            size: 99,
        }
    }

    fn written(record: &Record, format: QueryLogFormat) -> String {
        let mut out = String::new();
        Line::of(record).write(format, &mut out);
        out
    }

    #[test]
    fn a_line_says_who_asked_what_and_what_became_of_it() {
        let record = record();
        assert_eq!(
            written(&record, QueryLogFormat::Logfmt),
            "time=2025-11-29T11:19:07.001002Z client=192.0.2.0/24 transport=dot name=example.com. type=AAAA \
             code=NXDOMAIN extended_error=19 source=stale microseconds=1234 bytes=99\n"
        );
        assert_eq!(
            written(&record, QueryLogFormat::Json),
            "{\"time\":\"2025-11-29T11:19:07.001002Z\",\"client\":\"192.0.2.0/24\",\"transport\":\"dot\",\
             \"name\":\"example.com.\",\"type\":\"AAAA\",\"code\":\"NXDOMAIN\",\"extended_error\":19,\
             \"source\":\"stale\",\"microseconds\":1234,\"bytes\":99}\n"
        );
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let client = Client::Address("2001:db8::1".parse().unwrap());
        let record = Record { client, question: None, code: None, extended_error: None, size: 0, ..record() };
        let line = written(&record, QueryLogFormat::Logfmt);
        assert!(line.contains("client=2001:db8::1 transport=dot code=none source=stale micro"), "{line}");
        let json: serde_json::Value = serde_json::from_str(&written(&record, QueryLogFormat::Json)).unwrap();
        assert!(json.get("name").is_none() && json.get("extended_error").is_none(), "{json}");
    }

    #[test]
    fn no_name_breaks_a_line() {
        assert_eq!(name(b"\0"), ".");
        assert_eq!(name(b"\x03a.b\x01\\\0"), "a\\046b.\\092.");
        for byte in 0..=255 {
            let text = name(&[1, byte, 0]);
            let is_plain = |c: char| c.is_ascii_graphic() && !"\"=".contains(c);
            assert!(text.chars().all(is_plain), "{text}");
        }
    }

    #[test]
    fn counts_are_lines_too() {
        let count = Count { code: "NOERROR", source: "cache", queries: 7 };
        let (mut text, mut json) = (String::new(), String::new());
        let minute = Duration::from_secs(60);
        write_count(&count, UNIX_EPOCH, minute, QueryLogFormat::Logfmt, &mut text);
        write_count(&count, UNIX_EPOCH, minute, QueryLogFormat::Json, &mut json);
        assert_eq!(text, "time=1970-01-01T00:00:00.000000Z seconds=60 code=NOERROR source=cache queries=7\n");
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((json["queries"].as_u64(), json["source"].as_str()), (Some(7), Some("cache")));
    }
}
