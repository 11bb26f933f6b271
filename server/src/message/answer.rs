//! What is answered: records from the resolver, and their wire form.

use std::time::Duration;

use hickory_proto::{
    ProtoError,
    op::ResponseCode,
    rr::{Name, RData, Record, RecordType},
    serialize::binary::{BinEncodable, BinEncoder, NameEncoding},
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

/// Names of more labels than this are written out: to look for each of their ends among those of all names before
/// takes longer than all the rest. Names of IPv6 addresses have 34.
const MAX_COMPRESSED_LABELS: u8 = 40;

/// What a pointer in a message reaches (RFC 1035 section 4.1.4).
const MAX_POINTER: usize = 0x3fff;

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
        let asked = question.name();
        asked.emit(&mut encoder).ok()?;
        encoder.emit_u16(question.record_type().into()).ok()?;
        encoder.emit_u16(question.class().into()).ok()?;
        let mut owners = Owners { asked: &asked, alias: None };
        for (section, records) in [
            (Section::Answer, &self.answers),
            (Section::Authority, &self.authorities),
            (Section::Additional, &self.additionals),
        ] {
            let mut before: Option<(&Record, Option<u16>)> = None;
            for record in records {
                let start = encoder.offset();
                let owner = owners.place(&record.name);
                owners.alias = emit_record(record, owner, &mut encoder).ok()?.or(owners.alias);
                marks.push(Mark {
                    start: u16::try_from(start).ok()?,
                    ttl: 0,
                    section,
                    required: match section {
                        Section::Answer => true,
                        Section::Authority => self.answers.is_empty() || !is_about_servers(record),
                        Section::Additional => false,
                    },
                    continues: before.is_some_and(|(before, place)| {
                        is_same_kind(before, record)
                            && (owner.is_some() && owner == place || before.name == record.name)
                    }),
                });
                before = Some((record, owner));
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

/// Names that most records stand at, and where they lie: nobody has to look for them.
struct Owners<'a> {
    asked: &'a Name,
    /// What the alias before leads to.
    alias: Option<(&'a Name, u16)>,
}

impl Owners<'_> {
    /// Where the name is written already; `None` where that is not known.
    fn place(&self, name: &Name) -> Option<u16> {
        // The root is shorter than a pointer.
        if name.is_root() {
            return None;
        }
        // Of an alias in capitals nobody gets the spelling as well.
        let alias = self.alias.filter(|(target, _)| target.eq_case(name)).map(|(_, at)| at);
        alias.or_else(|| self.asked.eq_case(name).then_some(HEADER_SIZE as u16))
    }
}

/// Writes a record, its owner as a pointer where that is known. Returns the name that it leads to, and where that lies.
fn emit_record<'a>(
    record: &'a Record,
    owner: Option<u16>,
    encoder: &mut BinEncoder<'_>,
) -> Result<Option<(&'a Name, u16)>, ProtoError> {
    match owner {
        Some(at) => encoder.emit_u16(0xc000 | at)?,
        None => record.name.emit(&mut encoder.with_name_encoding(encoding_of(&record.name)))?,
    }
    encoder.emit_u16(record.record_type().into())?;
    encoder.emit_u16(record.dns_class.into())?;
    encoder.emit_u32(record.ttl)?;
    let length = encoder.place::<u16>()?;
    let start = encoder.offset();
    let encoding = longest_name(&record.data).map_or(NameEncoding::Compressed, encoding_of);
    record.data.emit(&mut encoder.with_name_encoding(encoding))?;
    // More does not fit a message either, which is seen at its end.
    let size = u16::try_from(encoder.len_since_place(&length)).unwrap_or(u16::MAX);
    length.replace(encoder, size)?;
    Ok(match &record.data {
        RData::CNAME(target) if start <= MAX_POINTER => Some((&target.0, start as u16)),
        _ => None,
    })
}

fn encoding_of(name: &Name) -> NameEncoding {
    let is_long = name.num_labels() > MAX_COMPRESSED_LABELS;
    if is_long { NameEncoding::Uncompressed } else { NameEncoding::Compressed }
}

/// Of the names in the data that may be compressed.
fn longest_name(data: &RData) -> Option<&Name> {
    match data {
        RData::CNAME(target) => Some(&target.0),
        RData::NS(target) => Some(&target.0),
        RData::PTR(target) => Some(&target.0),
        RData::MX(data) => Some(&data.exchange),
        RData::SOA(data) => [&data.mname, &data.rname].into_iter().max_by_key(|name| name.num_labels()),
        _ => None,
    }
}

/// RFC 2181 section 5, but for the owner; a signature belongs to the set it signs only by its type, so it counts as a
/// set of its own.
fn is_same_kind(one: &Record, other: &Record) -> bool {
    one.record_type() == other.record_type()
        && one.record_type() != RecordType::RRSIG
        && one.dns_class == other.dns_class
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

#[cfg(test)]
mod tests {
    use hickory_proto::{
        op::Message,
        rr::{
            DNSClass,
            rdata::{A, CNAME, NS},
        },
    };

    use super::*;
    use crate::message::Query;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn address(owner: &Name, number: u32) -> Record {
        Record::from_rdata(owner.clone(), 60, RData::A(A(number.into())))
    }

    /// The size of the message, whose records have to be those of the answer.
    fn size(question: &Question, answers: Vec<Record>) -> usize {
        let answer = Answer { answers, ..Answer::empty(ResponseCode::NoError) };
        let query = Query {
            id: 1,
            recursion_desired: true,
            authentic_data: false,
            checking_disabled: false,
            question: question.clone(),
            edns: None,
            is_proven: false,
            reply_cookie: None,
        };
        let mut out = Vec::new();
        let stream = Reply::Stream { idle_timeout: None, is_encrypted: false };
        answer.encode(question).write(&query, stream, Age::Seconds(0), &mut out);
        assert!(Message::from_vec(&out).unwrap().answers == answer.answers, "other records");
        out.len()
    }

    #[test]
    fn however_many_records_stand_at_the_name_or_behind_its_alias_their_owners_are_pointers() {
        let asked = name("a-rather-long-name-that-is-asked-for.example.com.");
        let target = name("what-its-alias-leads-to.example.net.");
        let question = Question::new(&asked, RecordType::A, DNSClass::IN).unwrap();
        let direct: Vec<Record> = (0..3000).map(|number| address(&asked, number)).collect();
        assert!(size(&question, direct) < 100 + 3000 * 16);
        let alias = Record::from_rdata(asked, 60, RData::CNAME(CNAME(target.clone())));
        let behind = (0..3000).map(|number| address(&target, number));
        assert!(size(&question, [alias].into_iter().chain(behind).collect()) < 200 + 3000 * 16);
    }

    #[test]
    fn long_names_are_written_out_and_looked_for_by_nobody() {
        let long = |label: &str| {
            let end = name(&format!("{label}.example.com."));
            std::iter::successors(Some(end), |name| name.prepend_label("x").ok()).nth(45).unwrap()
        };
        let (asked, target, other) = (long("a"), long("b"), long("c"));
        let question = Question::new(&asked, RecordType::NS, DNSClass::IN).unwrap();
        // 45 labels of one letter before "a.example.com".
        let whole = 45 * 2 + 2 + 8 + 4 + 1;
        let written = size(
            &question,
            vec![
                Record::from_rdata(asked, 60, RData::CNAME(CNAME(target.clone()))),
                Record::from_rdata(target, 60, RData::NS(NS(other.clone()))),
                address(&other, 1),
            ],
        );
        let pointed = 2 * (2 + 10 + whole);
        assert_eq!(written, HEADER_SIZE + whole + QUESTION_TAIL_SIZE + pointed + whole + 10 + 4);
    }

    #[test]
    fn the_root_is_no_pointer() {
        let question = Question::new(&Name::root(), RecordType::NS, DNSClass::IN).unwrap();
        let records: Vec<Record> = ["a.", "b."]
            .map(|server| Record::from_rdata(Name::root(), 60, RData::NS(NS(name(server)))))
            .into();
        assert_eq!(size(&question, records), HEADER_SIZE + 5 + 2 * (11 + 3));
    }
}
