//! Questions in parameters and answers in JSON, as Google and Cloudflare have them. Pure: a question becomes a message
//! that goes the way of all messages, and its reply becomes JSON.

use std::{borrow::Cow, io, str::FromStr};

use domain::{
    base::{
        Message, MessageBuilder, Name, ParsedRecord, Rtype, ToName,
        message::RecordSection,
        opt::exterr::ExtendedError,
        rdata::UnknownRecordData,
        zonefile_fmt::{DisplayKind, ZonefileFmt},
    },
    rdata::AllRecordData,
};
use percent_encoding::percent_decode_str;
use serde::{Serialize, Serializer};

use super::{Refusal, SiteBody, negotiate::Format};
use crate::edge::held::Permit;

/// Bytes of JSON for one reply. A byte of a message becomes up to five, and its 65,535 seldom that many; but names that
/// a message has once may stand in every record.
const MAX_SIZE: usize = 512 << 10;

/// Most replies fit.
const FIRST_ROOM: usize = 512;

/// Announced in the question, in bytes. Says nothing over HTTP, where nothing is cut.
const UDP_SIZE: u16 = 1232;

/// The value of a parameter, decoded. Of several the first counts.
pub(super) fn parameter<'a>(parameters: &'a str, name: &str) -> Option<Cow<'a, str>> {
    let value = parameters.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    // What is no text cannot be a value of any parameter here.
    Some(percent_decode_str(value).decode_utf8().unwrap_or(Cow::Borrowed("\u{fffd}")))
}

/// The form that `ct` asks for, which counts more than `Accept`.
pub(super) fn wanted_format(parameters: &str) -> Option<Format> {
    match &*parameter(parameters, "ct")? {
        "application/dns-message" | "application/dns-udpwireformat" => Some(Format::Message),
        "application/dns-json" => Some(Format::DnsJson),
        "application/json" | "application/x-javascript" => Some(Format::Json),
        _ => None,
    }
}

/// The message that asks what `name`, `type`, `cd` and `do` ask. Other parameters change nothing.
pub(super) fn question(parameters: &str) -> Result<Vec<u8>, Refusal> {
    let name = parameter(parameters, "name").ok_or(Refusal::NoQuestion)?;
    let record_type = match parameter(parameters, "type") {
        Some(text) if !text.is_empty() => record_type(&text).ok_or(Refusal::Question)?,
        _ => Rtype::A,
    };
    let name = if name == "." {
        Name::root_vec()
    } else {
        Name::<Vec<u8>>::from_str(&name).map_err(|_| Refusal::Question)?
    };
    message(&name, record_type, is_set(parameters, "cd"), is_set(parameters, "do")).ok_or(Refusal::Question)
}

fn message(
    name: &Name<Vec<u8>>,
    record_type: Rtype,
    checking_disabled: bool,
    dnssec_ok: bool,
) -> Option<Vec<u8>> {
    let mut message = MessageBuilder::new_vec();
    message.header_mut().set_rd(true);
    // The JSON has the flag in any case: without this it would say that nothing was validated (RFC 6840 section 5.7).
    message.header_mut().set_ad(true);
    message.header_mut().set_cd(checking_disabled);
    let mut message = message.question();
    message.push((name, record_type)).ok()?;
    let mut message = message.additional();
    message
        .opt(|opt| {
            opt.set_udp_payload_size(UDP_SIZE);
            opt.set_dnssec_ok(dnssec_ok);
            Ok(())
        })
        .ok()?;
    Some(message.finish())
}

/// A type by its number or its name, in any case.
fn record_type(text: &str) -> Option<Rtype> {
    let by_number = text.parse().ok().map(Rtype::from_int);
    by_number.or_else(|| Rtype::from_str(&text.to_ascii_uppercase()).ok())
}

fn is_set(parameters: &str, name: &str) -> bool {
    parameter(parameters, name).is_some_and(|value| value == "1" || value.eq_ignore_ascii_case("true"))
}

/// A reply as others have it. Their names and their order.
#[derive(Serialize)]
struct Reply<'a> {
    #[serde(rename = "Status")]
    status: u16,
    #[serde(rename = "TC")]
    truncated: bool,
    #[serde(rename = "RD")]
    recursion_desired: bool,
    #[serde(rename = "RA")]
    recursion_available: bool,
    #[serde(rename = "AD")]
    authentic_data: bool,
    #[serde(rename = "CD")]
    checking_disabled: bool,
    #[serde(rename = "Question")]
    question: Vec<Question>,
    #[serde(rename = "Answer", skip_serializing_if = "Records::is_empty")]
    answer: Records<'a>,
    #[serde(rename = "Authority", skip_serializing_if = "Records::is_empty")]
    authority: Records<'a>,
    #[serde(rename = "Additional", skip_serializing_if = "Records::is_empty")]
    additional: Records<'a>,
    /// Why there is no better answer (RFC 8914).
    #[serde(rename = "Comment", skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
}

/// The records of a section. Each is read when it is written, so that not all of them are in memory as text.
struct Records<'a>(RecordSection<'a, [u8]>);

impl<'a> Records<'a> {
    fn iter(&self) -> impl Iterator<Item = ParsedRecord<'a, [u8]>> {
        self.0.filter_map(Result::ok).filter(|record| record.rtype() != Rtype::OPT)
    }

    fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

impl Serialize for Records<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(|record| record_of(&record)))
    }
}

#[derive(Serialize)]
struct Question {
    name: String,
    #[serde(rename = "type")]
    record_type: u16,
}

#[derive(Serialize)]
pub(super) struct Record {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) record_type: u16,
    #[serde(rename = "TTL")]
    ttl: u32,
    /// As zone files write it.
    pub(super) data: String,
}

/// The JSON that says what `reply`, a message, says, as long as there is leave to hold it besides what `permit` has leave
/// for.
pub(super) fn write(reply: &[u8], permit: Permit) -> Result<SiteBody, Refusal> {
    let beside = permit.bytes();
    let mut text = Text { bytes: Vec::new(), beside, permit, refusal: Refusal::Busy };
    let written = text_of(reply).ok_or(Refusal::Busy)?;
    // The end of the line is for terminals: a prompt would stand behind the last bracket.
    let ended = serde_json::to_writer(&mut text, &written).map_err(io::Error::from);
    match ended.and_then(|()| io::Write::write_all(&mut text, b"\n")) {
        Ok(()) => Ok(SiteBody::new(text.bytes, text.permit)),
        Err(_) => Err(text.refusal),
    }
}

/// JSON as it is written: leave comes before room.
struct Text {
    bytes: Vec<u8>,
    /// Bytes of the permit that are for something else.
    beside: usize,
    permit: Permit,
    /// Why it is not written on.
    refusal: Refusal,
}

impl io::Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let size = self.bytes.len() + bytes.len();
        if size > self.bytes.capacity() {
            let room = size.max(2 * self.bytes.capacity()).clamp(FIRST_ROOM, MAX_SIZE);
            if size > MAX_SIZE || !self.permit.resize(self.beside + room) {
                self.refusal = if size > MAX_SIZE { Refusal::TooLongForJson } else { Refusal::Held };
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            self.bytes.reserve_exact(room - self.bytes.len());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn text_of(reply: &[u8]) -> Option<Reply<'_>> {
    let message = Message::from_slice(reply).ok()?;
    let header = message.header();
    let question = message.question().filter_map(Result::ok).map(|question| Question {
        name: question.qname().fmt_with_dot().to_string(),
        record_type: question.qtype().to_int(),
    });
    let opt = message.opt();
    let extended = opt.as_ref().map_or(0, |opt| opt.rcode(header).to_int() & 0xff0);
    let reason = opt.as_ref().and_then(|opt| opt.opt().first::<ExtendedError<_>>());
    Some(Reply {
        status: u16::from(header.rcode().to_int()) | extended,
        truncated: header.tc(),
        recursion_desired: header.rd(),
        recursion_available: header.ra(),
        authentic_data: header.ad(),
        checking_disabled: header.cd(),
        question: question.collect(),
        answer: Records(message.answer().ok()?),
        authority: Records(message.authority().ok()?),
        additional: Records(message.additional().ok()?),
        comment: reason.map(|reason| {
            let text = reason.text_slice().map(String::from_utf8_lossy).unwrap_or_default();
            format!("{text} (extended error {})", reason.code().to_int()).trim_start().to_owned()
        }),
    })
}

pub(super) fn record_of(record: &ParsedRecord<'_, [u8]>) -> Record {
    // Data that does not follow the format of its type is shown as bytes (RFC 3597 section 5).
    let data = match record.to_any_record::<AllRecordData<_, _>>() {
        Ok(parsed) => parsed.data().display_zonefile(DisplayKind::Simple).to_string(),
        Err(_) => match record.to_record::<UnknownRecordData<_>>() {
            Ok(Some(raw)) => raw.data().display_zonefile(DisplayKind::Simple).to_string(),
            _ => String::new(),
        },
    };
    Record {
        name: record.owner().fmt_with_dot().to_string(),
        record_type: record.rtype().to_int(),
        ttl: record.ttl().as_secs(),
        data,
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, sync::LazyLock};

    use bytes::Bytes;
    use futures_util::FutureExt;
    use http_body_util::BodyExt;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        base::metrics::{Reason, Refusals},
        edge::held::Budget,
    };

    /// A reply with one record at `a\.b.example` whose data has these bytes.
    fn reply(record_type: u16, data: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
        bytes.extend_from_slice(b"\x03a.b\x07example\x00\x00\x01\x00\x01\xc0\x0c");
        bytes.extend_from_slice(&record_type.to_be_bytes());
        bytes.extend_from_slice(&[0, 1, 0, 0, 0, 9]);
        bytes.extend_from_slice(&(data.len() as u16).to_be_bytes());
        bytes.extend_from_slice(data);
        bytes
    }

    fn budget(bytes: usize) -> Budget {
        Budget::new(bytes, Refusals::default())
    }

    fn write_within(budget: &Budget, reply: &[u8]) -> Result<Bytes, Refusal> {
        let permit = budget.take(Ipv4Addr::LOCALHOST.into(), 0, Reason::Unread).unwrap();
        let body = write(reply, permit)?;
        Ok(body.collect().now_or_never().unwrap().unwrap().to_bytes())
    }

    fn written(reply: &[u8]) -> Value {
        static BUDGET: LazyLock<Budget> = LazyLock::new(|| budget(64 << 20));
        let line = write_within(&BUDGET, reply).unwrap();
        assert_eq!(line.iter().position(|byte| *byte == b'\n'), Some(line.len() - 1), "one line");
        serde_json::from_slice(&line).unwrap()
    }

    /// A reply of 65 kB whose question has a name of 200 bytes that stands before each of the records.
    fn many_records_of_a_long_name() -> Vec<u8> {
        let mut bytes = vec![0, 0, 0x81, 0x80, 0, 1, 0x0f, 0xa0, 0, 0, 0, 0];
        for _ in 0..4 {
            bytes.push(49);
            bytes.extend([0; 49]);
        }
        bytes.extend([0, 0, 1, 0, 1]);
        for _ in 0..4000 {
            bytes.extend(b"\xc0\x0c\x00\x01\x00\x01\0\0\0\x09\x00\x04\xc0\0\x02\x01");
        }
        bytes
    }

    #[test]
    fn a_reply_that_is_too_long_in_json_is_refused_before_there_is_room_for_it() {
        let budget = budget(64 << 20);
        assert_eq!(write_within(&budget, &many_records_of_a_long_name()), Err(Refusal::TooLongForJson));
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn json_is_written_as_long_as_there_is_leave_to_hold_it() {
        let text = reply(16, &[&[255; 256][..]; 200].concat());
        let size = write_within(&budget(64 << 20), &text).unwrap().len();
        assert!(size > 4 * 256 * 200, "{size}");
        let refusals = Refusals::default();
        let small = Budget::new(size, refusals.clone());
        assert_eq!(write_within(&small, &text), Err(Refusal::Held));
        assert_eq!((small.held(), refusals.count(Reason::Unread)), (0, 1));
    }

    #[test]
    fn data_is_written_as_zone_files_write_it() {
        for (record_type, data, text) in [
            (1, &[192, 0, 2, 1][..], "192.0.2.1"),
            (5, b"\xc0\x10", "example."),
            (6, b"\x01n\x00\x01h\x00\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04\0\0\0\x05", "n. h. 1 2 3 4 5"),
            (13, b"\x07RFC8482\x00", "\"RFC8482\" \"\""),
            (15, b"\x00\x0a\x04mail\xc0\x10", "10 mail.example."),
            (16, b"\x05a \"\\b\x00\x02\xc3\xbc", "\"a \\\"\\\\b\" \"\" \"\\195\\188\""),
            (28, &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], "2001:db8::1"),
            (33, b"\x00\x00\x00\x05\x01\xbb\x03x.y\x00", "0 5 443 x\\.y."),
            (43, b"\x00\x01\x0d\x02\xab\xcd", "1 13 2 ABCD"),
            (
                65,
                b"\x00\x01\x00\x00\x01\x00\x06\x02h2\x02h3\x00\x03\x00\x02\x20\xfb",
                "1 . alpn=h2,h3 port=8443",
            ),
            (257, b"\x00\x05issueca.example", "0 issue \"ca.example\""),
            (65280, b"\x01\x02\xff", "\\# 3 01 02 ff"),
            // What breaks the rules of its type.
            (1, b"\x01\x02\x03", "\\# 3 01 02 03"),
            (16, b"\x09short", "\\# 6 09 73 68 6f 72 74"),
            (65, b"", "\\# 0"),
        ] {
            assert_eq!(
                written(&reply(record_type, data))["Answer"],
                json!([{"name": "a\\.b.example.", "type": record_type, "TTL": 9, "data": text}])
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(50_000))]

        #[test]
        fn any_data_of_any_type_can_be_written(
            record_type in prop_oneof![0_u16..70, 255_u16..260, any::<u16>()],
            data in prop::collection::vec(any::<u8>(), 0..60),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let mut bytes = reply(record_type, &data);
            prop_assert_eq!(&written(&bytes)["Question"][0]["name"], "a\\.b.example.");
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = write_within(&budget(1 << 20), &bytes);
        }

        #[test]
        fn any_parameters_are_a_question_or_refused(parameters in "(name|type|cd|do|ct|[a-z]{0,3})=[ -~]{0,30}&name=[ -~]{1,80}") {
            if let Ok(message) = question(&parameters) {
                prop_assert_eq!(Message::from_octets(&message[..]).unwrap().question().count(), 1);
            }
            let _ = wanted_format(&parameters);
        }
    }
}
