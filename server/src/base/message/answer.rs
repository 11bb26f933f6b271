//! What is answered: records from the resolver, and their wire form.

use std::time::Duration;

use hickory_proto::{
    ProtoError,
    op::ResponseCode,
    rr::{Name, RData, Record, RecordType},
    serialize::binary::{BinEncodable, BinEncoder, NameEncoding},
};

use super::{
    ExtendedError, HEADER_SIZE, LONGEST_TTL, MAX_STREAM_SIZE, MAX_UDP_SIZE, Question,
    edns::LARGEST_OPT_SIZE,
    encoded::{EncodedAnswer, Mark, Section},
    extended_error::MAX_ERROR_TEXT,
    info_code,
    names::{Names, Owners},
};

/// Type and class behind the question's name, in bytes.
const QUESTION_TAIL_SIZE: usize = 4;

/// Names of more labels than this are written out, unless the message does not fit otherwise: to look for each of their
/// ends takes longer than all the rest. Names of IPv6 addresses have 34.
const MAX_COMPRESSED_LABELS: u8 = 40;

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
    /// Whether this server is the one that says it: AA (RFC 1035 section 4.1.1).
    pub authoritative: bool,
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

impl Answer {
    /// An answer without records.
    pub fn empty(code: ResponseCode) -> Self {
        Self {
            code,
            answers: Vec::new(),
            authorities: Vec::new(),
            additionals: Vec::new(),
            authentic: false,
            authoritative: false,
            extended_error: None,
            lifetime: Duration::ZERO,
        }
    }

    /// Encodes the answer to `question`. What does not fit a message of 65,535 bytes goes without its additional section,
    /// which nobody has to have, or becomes SERVFAIL.
    pub fn encode(&self, question: &Question) -> EncodedAnswer {
        let ways = [
            (MAX_COMPRESSED_LABELS, &self.additionals[..]),
            (u8::MAX, &self.additionals[..]),
            (u8::MAX, &[][..]),
        ];
        let encoded = ways.into_iter().find_map(|(labels, rest)| self.try_encode(question, labels, rest));
        encoded.unwrap_or_else(|| {
            let failure = Self {
                extended_error: Some(ExtendedError::new(
                    info_code::OTHER,
                    "the answer does not fit a message",
                )),
                ..Self::empty(ResponseCode::ServFail)
            };
            failure.try_encode(question, MAX_COMPRESSED_LABELS, &[]).unwrap_or_else(|| {
                EncodedAnswer::new(&Self::empty(ResponseCode::ServFail), &[], &question_only(question))
            })
        })
    }

    /// The records, with their sections and whether a client has to have them. A datagram holds as many as fit from the first
    /// on, so that name servers, which nobody has to have, come after the proofs that stand in the same section.
    fn in_order<'a>(
        &'a self,
        additionals: &'a [Record],
    ) -> impl Iterator<Item = (Section, bool, &'a Record)> {
        let with = |section, required| move |record| (section, required, record);
        let is_required = |record: &&Record| self.answers.is_empty() || !is_about_servers(record);
        let required = self.authorities.iter().filter(is_required);
        let about_servers = self.authorities.iter().filter(move |record| !is_required(record));
        self.answers
            .iter()
            .map(with(Section::Answer, true))
            .chain(required.map(with(Section::Authority, true)))
            .chain(about_servers.map(with(Section::Authority, false)))
            .chain(additionals.iter().map(with(Section::Additional, false)))
    }

    fn try_encode(
        &self,
        question: &Question,
        most_labels: u8,
        additionals: &[Record],
    ) -> Option<EncodedAnswer> {
        let mut bytes = Vec::with_capacity(MAX_UDP_SIZE / 2);
        let mut marks = Vec::new();
        let mut encoder = BinEncoder::new(&mut bytes);
        encoder.emit_vec(&[0; HEADER_SIZE]).ok()?;
        // In lower case, as all owners are, so that they compress to it; `write` restores the client's spelling.
        let asked = question.name();
        let mut names = Names::new(most_labels);
        names.emit(&asked, &mut encoder).ok()?;
        encoder.emit_u16(question.record_type().into()).ok()?;
        encoder.emit_u16(question.class().into()).ok()?;
        let mut owners = Owners { asked: &asked, alias: None };
        let mut before: Option<(Section, &Record, Option<u16>)> = None;
        for (section, required, record) in self.in_order(additionals) {
            let start = encoder.offset();
            let owner = owners.place(&record.name);
            owners.alias = emit_record(record, owner, &mut names, &mut encoder).ok()?.or(owners.alias);
            marks.push(Mark {
                start: u16::try_from(start).ok()?,
                ttl: 0,
                section,
                required,
                continues: before.is_some_and(|(in_section, before, place)| {
                    in_section == section
                        && is_same_kind(before, record)
                        && (owner.is_some() && owner == place || before.name == record.name)
                }),
            });
            before = Some((section, record, owner));
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

/// Writes a record, its owner as a pointer where that is known. Returns the name that it leads to, and where that lies.
fn emit_record<'a>(
    record: &'a Record,
    owner: Option<u16>,
    names: &mut Names,
    encoder: &mut BinEncoder<'_>,
) -> Result<Option<(&'a Name, u16)>, ProtoError> {
    match owner {
        Some(at) => encoder.emit_u16(0xc000 | at)?,
        None => names.emit(&record.name, encoder).map(|_| ())?,
    }
    encoder.emit_u16(record.record_type().into())?;
    encoder.emit_u16(record.dns_class.into())?;
    encoder.emit_u32(record.ttl.min(LONGEST_TTL))?;
    let length = encoder.place::<u16>()?;
    let target = emit_data(&record.data, names, encoder)?;
    // More does not fit a message either, which is seen at its end.
    let size = u16::try_from(encoder.len_since_place(&length)).unwrap_or(u16::MAX);
    length.replace(encoder, size)?;
    Ok(match &record.data {
        RData::CNAME(name) => target.map(|at| (&name.0, at)),
        _ => None,
    })
}

/// Writes the data of a record. Names in it are compressed in the types of RFC 1035 and in no others (RFC 3597 section 4).
/// Returns where the name lies that it is, if it is one.
fn emit_data(
    data: &RData,
    names: &mut Names,
    encoder: &mut BinEncoder<'_>,
) -> Result<Option<u16>, ProtoError> {
    match data {
        RData::CNAME(name) => names.emit(&name.0, encoder),
        RData::NS(name) => names.emit(&name.0, encoder),
        RData::PTR(name) => names.emit(&name.0, encoder),
        RData::MX(mx) => {
            encoder.emit_u16(mx.preference)?;
            names.emit(&mx.exchange, encoder).map(|_| None)
        }
        RData::SOA(soa) => {
            names.emit(&soa.mname, encoder)?;
            names.emit(&soa.rname, encoder)?;
            encoder.emit_u32(soa.serial)?;
            for time in [soa.refresh, soa.retry, soa.expire] {
                encoder.emit_i32(time)?;
            }
            encoder.emit_u32(soa.minimum).map(|()| None)
        }
        other => {
            let mut encoder = encoder.with_name_encoding(NameEncoding::Uncompressed);
            other.emit(&mut encoder).map(|()| None)
        }
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
            rdata::{A, CNAME, NS, PTR},
        },
    };

    use super::*;
    use crate::base::message::Query;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn address(owner: &Name, number: u32) -> Record {
        Record::from_rdata(owner.clone(), 60, RData::A(A(number.into())))
    }

    /// The size of the message, whose records have to be those of the answer.
    fn size(question: &Question, answers: Vec<Record>) -> usize {
        let answer = Answer { answers, ..Answer::empty(ResponseCode::NoError) };
        let mut bytes = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        question.write(&mut bytes);
        let query = Query::decode(&bytes).unwrap();
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
    fn what_compresses_upstream_compresses_here_in_data_as_in_owners() {
        let asked = name("1.2.0.192.in-addr.arpa.");
        let question = Question::new(&asked, RecordType::PTR, DNSClass::IN).unwrap();
        let target = |number: u32| {
            let end = "a-rather-long-name-of-a-hosting-provider.customers.example.net";
            name(&format!("host-{number:04}.{end}."))
        };
        let pointers: Vec<Record> = (0..2500)
            .map(|number| Record::from_rdata(asked.clone(), 60, RData::PTR(PTR(target(number)))))
            .collect();
        // An owner, ten bytes, a label and what it ends in.
        assert!(size(&question, pointers) < 200 + 2500 * (2 + 10 + 10 + 2));

        // So do the servers of a zone, and their addresses.
        let question = Question::new(&asked, RecordType::NS, DNSClass::IN).unwrap();
        let servers =
            (0..1000).map(|number| Record::from_rdata(asked.clone(), 60, RData::NS(NS(target(number)))));
        let addresses = (0..700).map(|number| address(&target(number), number));
        let most = 200 + 1000 * (2 + 10 + 10 + 2) + 700 * (2 + 10 + 4);
        assert!(size(&question, servers.chain(addresses).collect()) < most + 300 * 11);
    }

    #[test]
    fn what_does_not_fit_goes_without_its_additional_section_and_with_the_ends_of_long_names() {
        let long = |label: &str| {
            let end = name(&format!("{label}.example.com."));
            std::iter::successors(Some(end), |name| name.prepend_label("x").ok()).nth(45).unwrap()
        };
        let asked = long("a");
        let question = Question::new(&asked, RecordType::NS, DNSClass::IN).unwrap();
        let server = |number: u32| asked.prepend_label(format!("n{number}")).unwrap();
        let answers: Vec<Record> = (0..2500)
            .map(|number| Record::from_rdata(asked.clone(), 60, RData::NS(NS(server(number)))))
            .collect();
        assert!(size(&question, answers.clone()) < 200 + 2500 * (2 + 10 + 6 + 2));
        let additionals = (0..3000).map(|number| address(&server(number), number)).collect();
        let answer = Answer { answers, additionals, ..Answer::empty(ResponseCode::NoError) };
        assert_eq!(answer.encode(&question).code(), ResponseCode::NoError);
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
