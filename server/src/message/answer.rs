//! What is answered: records from the resolver, and their wire form.

use std::time::Duration;

use hickory_proto::{
    op::ResponseCode,
    rr::{RData, Record, RecordType},
    serialize::binary::{BinEncodable, BinEncoder},
};

use super::{
    HEADER_SIZE, MAX_STREAM_SIZE, MAX_UDP_SIZE, Question,
    encoded::{EncodedAnswer, Mark, Section},
    options::LARGEST_OPT_SIZE,
};

/// The text of an extended error is cut here, in bytes: it is for people, and must leave room for records.
const MAX_ERROR_TEXT: usize = 120;

/// Type and class behind the question's name, in bytes.
const QUESTION_TAIL_SIZE: usize = 4;

/// Why an answer is not a plain one (RFC 8914). Only sent to clients that speak EDNS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtendedError {
    /// INFO-CODE, from the registry of RFC 8914.
    pub code: u16,
    /// For people: what happened and what to do.
    pub text: String,
}

/// What the resolver says to a question, before it is bytes.
#[derive(Debug, Clone)]
pub struct Answer {
    /// NOERROR, NXDOMAIN, SERVFAIL, …
    pub code: ResponseCode,
    /// Answer section, chains in order.
    pub answers: Vec<Record>,
    /// Authority section.
    pub authorities: Vec<Record>,
    /// Additional section, without OPT.
    pub additionals: Vec<Record>,
    /// Whether an upstream that we trust vouches for the data.
    pub authentic: bool,
    /// The reason of a failure or of a stale answer.
    pub extended_error: Option<ExtendedError>,
    /// How long this may be given to others who ask the same; zero for never.
    pub lifetime: Duration,
}

/// How old an answer is when it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// So many seconds, by which its TTLs have come down (RFC 1035 section 3.2.1).
    Seconds(u32),
    /// Past its time, and nothing newer can be had (RFC 8767).
    Stale,
}

/// How a reply reaches its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// In one datagram, cut to what the client takes.
    Datagram,
    /// On a connection.
    Stream {
        /// How long it stays open while idle, for clients that ask (RFC 7828). Not said where another protocol has
        /// the say over the connection, as HTTP has.
        idle_timeout: Option<Duration>,
        /// Whether nobody on the way can read it. Then its length is hidden as well, if the client hid its own
        /// (RFC 8467).
        is_encrypted: bool,
    },
}

impl ExtendedError {
    /// `text` is cut to what fits beside the records.
    pub fn new(code: u16, text: impl Into<String>) -> Self {
        let mut text = text.into();
        let end = (0..=MAX_ERROR_TEXT.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or(0));
        Self { code, text }
    }
}

impl Answer {
    /// An answer without records.
    pub fn empty(code: ResponseCode) -> Self {
        Self {
            code,
            answers: Vec::new(),
            authorities: Vec::new(),
            additionals: Vec::new(),
            authentic: false,
            extended_error: None,
            lifetime: Duration::ZERO,
        }
    }

    /// Encodes the answer to `question`. What does not fit a message of 65,535 bytes becomes SERVFAIL.
    pub fn encode(&self, question: &Question) -> EncodedAnswer {
        self.try_encode(question).unwrap_or_else(|| {
            let failure = Self {
                extended_error: Some(ExtendedError::new(0, "the answer does not fit a message")),
                ..Self::empty(ResponseCode::ServFail)
            };
            failure.try_encode(question).unwrap_or_else(|| {
                EncodedAnswer::new(&Self::empty(ResponseCode::ServFail), &[], &question_only(question))
            })
        })
    }

    fn try_encode(&self, question: &Question) -> Option<EncodedAnswer> {
        let mut bytes = Vec::with_capacity(MAX_UDP_SIZE / 2);
        let mut marks = Vec::new();
        let mut encoder = BinEncoder::new(&mut bytes);
        encoder.emit_vec(&[0; HEADER_SIZE]).ok()?;
        // In lower case, as all owners are, so that they compress to it; `write` restores the client's spelling.
        question.name().emit(&mut encoder).ok()?;
        encoder.emit_u16(question.record_type().into()).ok()?;
        encoder.emit_u16(question.class().into()).ok()?;
        for (section, records) in [
            (Section::Answer, &self.answers),
            (Section::Authority, &self.authorities),
            (Section::Additional, &self.additionals),
        ] {
            let mut before: Option<&Record> = None;
            for record in records {
                let start = encoder.offset();
                record.emit(&mut encoder).ok()?;
                marks.push(Mark {
                    start: u16::try_from(start).ok()?,
                    ttl: 0,
                    section,
                    required: match section {
                        Section::Answer => true,
                        Section::Authority => self.answers.is_empty() || !is_about_servers(record),
                        Section::Additional => false,
                    },
                    continues: before.is_some_and(|before| is_same_set(before, record)),
                });
                before = Some(record);
            }
        }
        if encoder.offset() > MAX_STREAM_SIZE - LARGEST_OPT_SIZE - MAX_ERROR_TEXT {
            return None;
        }
        for mark in &mut marks {
            let owner_end = super::frame::skip_name(&bytes, usize::from(mark.start))?;
            mark.ttl = u16::try_from(owner_end + 4).ok()?;
        }
        let count = |section| marks.iter().filter(|mark| mark.section == section).count() as u16;
        let counts = [Section::Answer, Section::Authority, Section::Additional].map(count);
        super::encoded::set_counts(&mut bytes, counts);
        Some(EncodedAnswer::new(self, &marks, &bytes))
    }
}

/// RFC 2181 section 5; a signature belongs to the set it signs only by its type, so it counts as a set of its own.
fn is_same_set(one: &Record, other: &Record) -> bool {
    one.record_type() == other.record_type()
        && one.record_type() != RecordType::RRSIG
        && one.dns_class == other.dns_class
        && one.name == other.name
}

/// The name servers of an answer's zone, which nobody needs who has the answer. What else stands in the authority
/// section is the SOA of an absence or the proof of a wildcard (RFC 4035 section 3.1.3.3).
fn is_about_servers(record: &Record) -> bool {
    match &record.data {
        RData::NS(_) => true,
        RData::Unknown { code: RecordType::RRSIG, rdata } => {
            rdata.anything.starts_with(&u16::from(RecordType::NS).to_be_bytes())
        }
        _ => false,
    }
}

fn question_only(question: &Question) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_SIZE + question.wire_name().len() + QUESTION_TAIL_SIZE);
    bytes.extend_from_slice(&[0; HEADER_SIZE]);
    question.write(&mut bytes);
    bytes
}
