//! What is answered: records from the resolver, encoded once, then copied and patched for each client that asks.

use std::time::Duration;

use hickory_proto::{
    op::ResponseCode,
    rr::{RData, Record, RecordType},
    serialize::binary::{BinEncodable, BinEncoder},
};

use super::{HEADER_SIZE, MAX_STREAM_SIZE, MAX_UDP_SIZE, Query, Question, TYPE_OPT};

const OPTION_TCP_KEEPALIVE: u16 = 11;
const OPTION_EXTENDED_ERROR: u16 = 15;

/// The text of an extended error is cut here, in bytes: it is for people, and must leave room for records.
const MAX_ERROR_TEXT: usize = 120;

/// Type and class behind the question's name, and the fixed part of an OPT record, in bytes.
const QUESTION_TAIL_SIZE: usize = 4;
const OPT_SIZE: usize = 11;

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

/// An [`Answer`] in wire form, without OPT, with the places that differ from client to client known.
#[derive(Debug)]
pub struct EncodedAnswer {
    bytes: Box<[u8]>,
    marks: Box<[Mark]>,
    code: ResponseCode,
    authentic: bool,
    extended_error: Option<ExtendedError>,
}

/// Where a record starts and where its TTL lies.
#[derive(Debug, Clone, Copy)]
struct Mark {
    start: u16,
    ttl: u16,
    section: Section,
    /// Whether an answer without it has to say that it is cut.
    required: bool,
    /// Whether it continues the RRset of the record before it.
    continues: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Section {
    Answer,
    Authority,
    Additional,
}

/// How a reply reaches its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// In one datagram, cut to what the client takes.
    Datagram,
    /// On a connection that stays open for this long while idle.
    Stream {
        /// Told to clients that ask for it (RFC 7828).
        idle_timeout: Duration,
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
            failure.try_encode(question).unwrap_or_else(|| EncodedAnswer {
                bytes: question_only(question).into(),
                marks: Box::default(),
                code: ResponseCode::ServFail,
                authentic: false,
                extended_error: None,
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
        if encoder.offset() > MAX_STREAM_SIZE - OPT_SIZE - MAX_ERROR_TEXT - 16 {
            return None;
        }
        for mark in &mut marks {
            let owner_end = super::frame::skip_name(&bytes, usize::from(mark.start))?;
            mark.ttl = u16::try_from(owner_end + 4).ok()?;
        }
        Some(EncodedAnswer {
            bytes: bytes.into(),
            marks: marks.into(),
            code: self.code,
            authentic: self.authentic,
            extended_error: self.extended_error.clone(),
        })
    }
}

impl EncodedAnswer {
    /// Bytes of memory that this answer holds.
    pub fn size(&self) -> usize {
        let text = self.extended_error.as_ref().map_or(0, |error| error.text.len());
        size_of::<Self>() + self.bytes.len() + size_of_val(&*self.marks) + text
    }

    /// The code, with its extended bits.
    pub fn code(&self) -> ResponseCode {
        self.code
    }

    /// Appends the reply to `query` to `out`, `age` seconds after this was encoded. The query asks the question
    /// that this answers; its id, flags and spelling come from the client, and TTLs count down (RFC 1035 section 3.2.1).
    pub fn write(&self, query: &Query, reply: Reply, age: u32, out: &mut Vec<u8>) {
        let options = self.options(query, reply);
        let edns_size = query.edns.map_or(0, |_| OPT_SIZE + options.len());
        let limit = match reply {
            Reply::Datagram => query.udp_limit(),
            Reply::Stream { .. } => MAX_STREAM_SIZE,
        };
        let (kept, truncated) = self.fit(limit.saturating_sub(edns_size));
        let end = match self.marks.get(kept) {
            Some(mark) => usize::from(mark.start),
            None => self.bytes.len(),
        };

        let start = out.len();
        out.extend_from_slice(&self.bytes[..end]);
        let message = &mut out[start..];
        let name = query.question.wire_name();
        message[HEADER_SIZE..HEADER_SIZE + name.len()].copy_from_slice(name);
        for mark in &self.marks[..kept] {
            let at = usize::from(mark.ttl);
            if let Some(ttl) = message[at..].first_chunk_mut::<4>() {
                *ttl = u32::from_be_bytes(*ttl).saturating_sub(age).to_be_bytes();
            }
        }
        let counts = [Section::Answer, Section::Authority, Section::Additional]
            .map(|section| self.marks[..kept].iter().filter(|mark| mark.section == section).count() as u16);
        let header = self.header(query, truncated, counts);
        message[..HEADER_SIZE].copy_from_slice(&header);
        if query.edns.is_some() {
            self.write_opt(query, &options, out);
        }
    }

    /// How many records fit into `limit` bytes in whole RRsets, and whether one was left out that the client needs
    /// (RFC 2181 section 9: TC is for required data alone).
    fn fit(&self, limit: usize) -> (usize, bool) {
        if self.bytes.len() <= limit {
            return (self.marks.len(), false);
        }
        let mut kept = 0;
        for (index, mark) in self.marks.iter().enumerate() {
            if usize::from(mark.start) > limit {
                break;
            }
            if !mark.continues {
                kept = index;
            }
        }
        (kept, self.marks[kept..].iter().any(|mark| mark.required))
    }

    fn header(&self, query: &Query, truncated: bool, counts: [u16; 3]) -> [u8; HEADER_SIZE] {
        let mut header = [0; HEADER_SIZE];
        header[..2].copy_from_slice(&query.id.to_be_bytes());
        header[2] = 0x80 | u8::from(truncated) << 1 | u8::from(query.recursion_desired);
        // RFC 6840 section 5.8: AD only for those who show that they understand it.
        let authentic = self.authentic && (query.authentic_data || query.dnssec_ok());
        header[3] =
            0x80 | u8::from(authentic) << 5 | u8::from(query.checking_disabled) << 4 | self.code.low();
        header[5] = 1;
        for (index, count) in counts.into_iter().enumerate() {
            header[6 + 2 * index..8 + 2 * index].copy_from_slice(&count.to_be_bytes());
        }
        if query.edns.is_some() {
            let additionals = counts[2].saturating_add(1);
            header[10..12].copy_from_slice(&additionals.to_be_bytes());
        }
        header
    }

    fn options(&self, query: &Query, reply: Reply) -> Vec<u8> {
        let mut options = Vec::new();
        let Some(edns) = query.edns else {
            return options;
        };
        let mut push = |code: u16, parts: &[&[u8]]| {
            let length: usize = parts.iter().map(|part| part.len()).sum();
            options.extend_from_slice(&code.to_be_bytes());
            options.extend_from_slice(&(length as u16).to_be_bytes());
            parts.iter().for_each(|part| options.extend_from_slice(part));
        };
        if let Some(error) = &self.extended_error {
            push(OPTION_EXTENDED_ERROR, &[&error.code.to_be_bytes(), error.text.as_bytes()]);
        }
        if let Reply::Stream { idle_timeout } = reply
            && edns.tcp_keepalive
        {
            let units = u16::try_from(idle_timeout.as_millis() / 100).unwrap_or(u16::MAX);
            push(OPTION_TCP_KEEPALIVE, &[&units.to_be_bytes()]);
        }
        options
    }

    fn write_opt(&self, query: &Query, options: &[u8], out: &mut Vec<u8>) {
        out.push(0);
        out.extend_from_slice(&TYPE_OPT.to_be_bytes());
        out.extend_from_slice(&(MAX_UDP_SIZE as u16).to_be_bytes());
        // RFC 3225 section 3: DO is copied.
        out.extend_from_slice(&[self.code.high(), 0, u8::from(query.dnssec_ok()) << 7, 0]);
        out.extend_from_slice(&(options.len() as u16).to_be_bytes());
        out.extend_from_slice(options);
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
