//! An answer in wire form, copied and patched for each client that asks. This is what a cached answer costs, so that
//! nothing here allocates.

use std::time::Duration;

use hickory_proto::op::ResponseCode;

use super::{
    Age, Answer, ExtendedError, HEADER_SIZE, MAX_STREAM_SIZE, MAX_UDP_SIZE, Query, Reply,
    edns::{OPT_SIZE, Options},
    stale_info_code, u16_at,
};
use crate::base::view::View;

/// TTL of records that are past their time, in seconds (RFC 8767 section 5.2).
pub const STALE_TTL: u32 = 30;

/// How long what is past its time is served before anyone is asked again (RFC 8767 section 5).
pub const STALE_RECHECK: Duration = Duration::from_secs(30);

const STALE_TEXT: &[u8] = b"this is the last known answer: nobody who knows could be asked";

/// An [`Answer`] in wire form, without OPT, with the places that differ from client to client known.
#[derive(Debug, Clone)]
pub struct EncodedAnswer(Box<[u8]>);

/// An [`EncodedAnswer`] that lies in somebody's memory: one piece of bytes, since a cache holds millions of them.
///
/// Code and flags, length of the extended error, number of marks; then extended error, marks, message.
/// The counts in the message's header are those of all records.
#[derive(Debug, Clone, Copy)]
pub struct EncodedBytes<'a>(&'a [u8]);

/// Where a record starts and where its TTL lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    pub(super) start: u16,
    pub(super) ttl: u16,
    pub(super) section: Section,
    /// Whether an answer without it has to say that it is cut.
    pub(super) required: bool,
    /// Whether it continues the RRset of the record before it.
    pub(super) continues: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Answer,
    Authority,
    Additional,
}

const HEAD_SIZE: usize = 5;
const MARK_SIZE: usize = 5;

/// What a byte can say of the length of an extended error, which is cut to half of it when it is made.
const MAX_TEXT_SIZE: usize = 253;

/// Codes take twelve bits.
const AUTHENTIC: u16 = 1 << 15;

/// This server is the one that says it.
const AUTHORITATIVE: u16 = 1 << 12;

/// Of the twelve.
const CODE: u16 = AUTHORITATIVE - 1;

/// It is what fits a datagram of a larger answer.
const FOR_DATAGRAMS: u16 = 1 << 14;

/// Something that the client needs is missing.
const CUT: u16 = 1 << 13;

/// The parts of an answer in wire form.
struct Parts<'a> {
    authentic: bool,
    authoritative: bool,
    is_cut: bool,
    code: ResponseCode,
    /// Code and text; empty for none.
    error: &'a [u8],
    marks: &'a [[u8; MARK_SIZE]],
    message: &'a [u8],
}

impl EncodedAnswer {
    pub(super) fn new(answer: &Answer, marks: &[Mark], message: &[u8]) -> Self {
        let error = answer.extended_error.as_ref();
        let text = |error: &'_ ExtendedError| error.text.len().min(MAX_TEXT_SIZE);
        let error_size = error.map_or(0, |error| 2 + text(error));
        let authentic = if answer.authentic { AUTHENTIC } else { 0 };
        let authoritative = if answer.authoritative { AUTHORITATIVE } else { 0 };
        let mut bytes = Vec::with_capacity(HEAD_SIZE + error_size + marks.len() * MARK_SIZE + message.len());
        bytes.extend_from_slice(&(u16::from(answer.code) & CODE | authentic | authoritative).to_be_bytes());
        bytes.push(error_size as u8);
        bytes.extend_from_slice(&(marks.len() as u16).to_be_bytes());
        if let Some(error) = error {
            bytes.extend_from_slice(&error.code.to_be_bytes());
            bytes.extend_from_slice(&error.text.as_bytes()[..text(error)]);
        }
        marks.iter().for_each(|mark| bytes.extend_from_slice(&mark.to_bytes()));
        bytes.extend_from_slice(message);
        Self(bytes.into())
    }

    /// The bytes, to be kept.
    pub fn bytes(&self) -> EncodedBytes<'_> {
        EncodedBytes(&self.0)
    }

    /// The code, with its extended bits.
    pub fn code(&self) -> ResponseCode {
        self.bytes().code()
    }

    /// Appends the reply to `query`, as [`EncodedBytes::write`].
    pub fn write(&self, query: &Query, reply: Reply, age: Age, out: &mut Vec<u8>) {
        self.bytes().write(query, reply, age, out);
    }
}

impl<'a> EncodedBytes<'a> {
    /// Takes what [`EncodedBytes::as_slice`] gave.
    pub(crate) fn from_slice(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// For keeping a copy.
    pub(crate) fn as_slice(self) -> &'a [u8] {
        self.0
    }

    /// The code, with its extended bits.
    pub fn code(self) -> ResponseCode {
        let code = self.head() & CODE;
        ResponseCode::from((code >> 4) as u8, (code & 0x0f) as u8)
    }

    /// Whether it gives records at all, and not only the word that there are none.
    pub(crate) fn is_positive(self) -> bool {
        let answers = u16_at(self.parts().message, 6).unwrap_or_default();
        self.code() == ResponseCode::NoError && (answers > 0 || self.is_cut())
    }

    /// The question in wire form, its name in lower case.
    pub(crate) fn question(self) -> &'a [u8] {
        let message = self.parts().message;
        let end = super::frame::skip_name(message, HEADER_SIZE).map_or(HEADER_SIZE, |end| end + 4);
        message.get(HEADER_SIZE..end).unwrap_or_default()
    }

    /// What clients get of this over UDP, for keeping it without the rest: the RRsets that fit any datagram, or nothing but
    /// that it is cut.
    pub(crate) fn for_datagrams(self) -> EncodedAnswer {
        let parts = self.parts();
        let (kept, is_cut) = parts.fit(MAX_UDP_SIZE);
        let kept = if is_cut { 0 } else { kept };
        let end = parts.marks.get(kept).map_or(parts.message.len(), |mark| usize::from(Mark::start(mark)));
        let (marks, message) = (&parts.marks[..kept], &parts.message[..end]);
        let head = self.head() | FOR_DATAGRAMS | if is_cut { CUT } else { 0 };
        let size = HEAD_SIZE + parts.error.len() + marks.len() * MARK_SIZE + message.len();
        let mut bytes = Vec::with_capacity(size);
        bytes.extend_from_slice(&head.to_be_bytes());
        bytes.push(parts.error.len() as u8);
        bytes.extend_from_slice(&(marks.len() as u16).to_be_bytes());
        bytes.extend_from_slice(parts.error);
        marks.iter().for_each(|mark| bytes.extend_from_slice(mark));
        let message_at = bytes.len();
        bytes.extend_from_slice(message);
        set_counts(&mut bytes[message_at..], counts(marks));
        EncodedAnswer(bytes.into())
    }

    /// Whether this is only what [`EncodedBytes::for_datagrams`] gave.
    pub(crate) fn is_for_datagrams(self) -> bool {
        self.head() & FOR_DATAGRAMS != 0
    }

    /// Whether it tells every client over UDP to ask again over TCP.
    pub(crate) fn is_cut(self) -> bool {
        self.head() & CUT != 0
    }

    /// Appends the reply to `query` to `out`. The query asks the question that this answers; its id, flags and
    /// spelling come from the client, and TTLs are those of this `age`.
    pub fn write(self, query: &Query, reply: Reply, age: Age, out: &mut Vec<u8>) {
        let parts = self.parts();
        let options = parts.options(query, reply, age);
        let edns_size = query.edns.map_or(0, |_| OPT_SIZE + options.size());
        let limit = match reply {
            Reply::Datagram => query.udp_limit(),
            Reply::Stream { .. } => MAX_STREAM_SIZE,
        };
        let (kept, truncated) = parts.fit(limit.saturating_sub(edns_size));
        let end = match parts.marks.get(kept) {
            Some(mark) => usize::from(Mark::start(mark)),
            None => parts.message.len(),
        };

        let start = out.len();
        out.extend_from_slice(&parts.message[..end]);
        let message = &mut out[start..];
        let name = query.question.wire_name();
        message[HEADER_SIZE..HEADER_SIZE + name.len()].copy_from_slice(name);
        let kept_marks = &parts.marks[..kept];
        for mark in kept_marks {
            let at = usize::from(Mark::ttl(mark));
            if let Some(ttl) = message[at..].first_chunk_mut::<4>() {
                *ttl = age.ttl(u32::from_be_bytes(*ttl)).to_be_bytes();
            }
        }
        if kept < parts.marks.len() {
            set_counts(message, counts(kept_marks));
        }
        parts.patch_header(message, query, truncated || parts.is_cut);
        if query.edns.is_some() {
            let padding = options.padding(out.len() - start);
            options.write(parts.code, query.dnssec_ok(), padding, out);
        }
    }

    /// Code and flags.
    fn head(self) -> u16 {
        u16_at(self.0, 0).unwrap_or_default()
    }

    /// Our own bytes: what is missing is empty.
    fn parts(self) -> Parts<'a> {
        let (head, rest) = self.0.split_at_checked(HEAD_SIZE).unwrap_or_default();
        let error_size = head.get(2).copied().map_or(0, usize::from);
        let count = u16_at(head, 3).map_or(0, usize::from);
        let (error, rest) = rest.split_at_checked(error_size).unwrap_or_default();
        let (marks, message) = rest.split_at_checked(count * MARK_SIZE).unwrap_or_default();
        Parts {
            authentic: self.head() & AUTHENTIC != 0,
            authoritative: self.head() & AUTHORITATIVE != 0,
            is_cut: self.head() & CUT != 0,
            code: self.code(),
            error,
            marks: marks.as_chunks().0,
            message,
        }
    }
}

impl<'a> Parts<'a> {
    fn options(&self, query: &Query, reply: Reply, age: Age) -> Options<'a> {
        let error = match age {
            Age::Seconds(_) => self.error.split_first_chunk().map(|(code, text)| (*code, text)),
            Age::Stale => Some((stale_info_code(self.code).to_be_bytes(), STALE_TEXT)),
        };
        // Whoever is not served may be a forged address, at which no more is sent than has to be.
        let is_brief = query.view == View::Origin && reply == Reply::Datagram && !query.is_proven;
        let error = error.map(|(code, text)| (code, if is_brief { &[] } else { text }));
        Options::new(error, query, reply)
    }

    /// How many records fit into `limit` bytes in whole RRsets, and whether one was left out that the client needs
    /// (RFC 2181 section 9: TC is for required data alone).
    fn fit(&self, limit: usize) -> (usize, bool) {
        if self.message.len() <= limit {
            return (self.marks.len(), false);
        }
        let mut kept = 0;
        for (index, mark) in self.marks.iter().enumerate() {
            if usize::from(Mark::start(mark)) > limit {
                break;
            }
            if !Mark::continues(mark) {
                kept = index;
            }
        }
        (kept, self.marks[kept..].iter().any(Mark::is_required))
    }

    fn patch_header(&self, message: &mut [u8], query: &Query, truncated: bool) {
        let Some(header) = message.first_chunk_mut::<HEADER_SIZE>() else { return };
        header[..2].copy_from_slice(&query.id.to_be_bytes());
        header[2] = 0x80
            | u8::from(self.authoritative) << 2
            | u8::from(truncated) << 1
            | u8::from(query.recursion_desired);
        // RFC 6840 section 5.8: AD only for those who show that they understand it.
        let authentic = self.authentic && (query.authentic_data || query.dnssec_ok());
        header[3] = recursion_available(query.view)
            | u8::from(authentic) << 5
            | u8::from(query.checking_disabled) << 4
            | self.code.low();
        header[5] = 1;
        if query.edns.is_some() {
            let additionals = u16::from_be_bytes([header[10], header[11]]).saturating_add(1);
            header[10..].copy_from_slice(&additionals.to_be_bytes());
        }
    }
}

/// RA in the byte of a header that holds it.
pub(super) fn recursion_available(view: View) -> u8 {
    u8::from(view.offers_recursion()) << 7
}

fn counts(marks: &[[u8; MARK_SIZE]]) -> [u16; 3] {
    let count = |section| marks.iter().filter(|mark| Mark::section(mark) == section).count() as u16;
    [Section::Answer, Section::Authority, Section::Additional].map(count)
}

/// Sets the number of records of the three sections in a message's header.
pub(super) fn set_counts(message: &mut [u8], counts: [u16; 3]) {
    for (place, count) in message.iter_mut().skip(6).zip(counts.iter().flat_map(|count| count.to_be_bytes()))
    {
        *place = count;
    }
}

impl Age {
    fn ttl(self, ttl: u32) -> u32 {
        match self {
            Self::Seconds(seconds) => ttl.saturating_sub(seconds),
            Self::Stale => ttl.min(STALE_TTL),
        }
    }
}

impl Mark {
    fn to_bytes(self) -> [u8; MARK_SIZE] {
        let [start_high, start_low] = self.start.to_be_bytes();
        let [ttl_high, ttl_low] = self.ttl.to_be_bytes();
        let section = match self.section {
            Section::Answer => 0,
            Section::Authority => 1,
            Section::Additional => 2,
        };
        let flags = section | u8::from(self.required) << 2 | u8::from(self.continues) << 3;
        [start_high, start_low, ttl_high, ttl_low, flags]
    }

    fn start(bytes: &[u8; MARK_SIZE]) -> u16 {
        u16::from_be_bytes([bytes[0], bytes[1]])
    }

    fn ttl(bytes: &[u8; MARK_SIZE]) -> u16 {
        u16::from_be_bytes([bytes[2], bytes[3]])
    }

    fn section(bytes: &[u8; MARK_SIZE]) -> Section {
        match bytes[4] & 3 {
            0 => Section::Answer,
            1 => Section::Authority,
            _ => Section::Additional,
        }
    }

    fn is_required(bytes: &[u8; MARK_SIZE]) -> bool {
        bytes[4] & 1 << 2 != 0
    }

    fn continues(bytes: &[u8; MARK_SIZE]) -> bool {
        bytes[4] & 1 << 3 != 0
    }
}
