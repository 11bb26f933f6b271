//! What was answered, as far as it means something, read by another library than the one that pkdns reads with.

use std::{collections::BTreeSet, fmt};

use domain::{
    base::{
        Message, Name, ParsedName, ParsedRecord, Rtype, Ttl, message::RecordSection, name::ToName,
        rdata::ComposeRecordData,
    },
    rdata::AllRecordData,
};

/// A record; equal to another one whatever their TTLs and the spelling of names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Record {
    pub(crate) owner: Name<Vec<u8>>,
    pub(crate) record_type: Rtype,
    class: u16,
    /// In canonical form (RFC 4034 section 6.2), names written out.
    pub(crate) data: Vec<u8>,
}

/// A record, and its TTL in seconds.
pub(crate) type Timed = (Record, u32);

#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) size: usize,
    /// With the upper bits from OPT.
    pub(crate) code: u16,
    pub(crate) authoritative: bool,
    pub(crate) truncated: bool,
    pub(crate) recursion_desired: bool,
    pub(crate) recursion_available: bool,
    pub(crate) authentic_data: bool,
    pub(crate) checking_disabled: bool,
    /// DO; `None` without an OPT record.
    pub(crate) dnssec_ok: Option<bool>,
    pub(crate) answers: Vec<Timed>,
    pub(crate) authorities: Vec<Timed>,
    pub(crate) additionals: Vec<Timed>,
}

impl Reply {
    /// Reads a reply that has to have this id and question section, byte for byte.
    pub(crate) fn read(bytes: Vec<u8>, id: u16, question: &[u8]) -> Result<Self, String> {
        let size = bytes.len();
        let start = bytes.get(..12 + question.len()).ok_or("a reply holds the question")?;
        if start[..2] != id.to_be_bytes() || start[4..6] != [0, 1] || start[12..] != *question {
            return Err("the id and the question are echoed as they came".into());
        }
        // QR, and opcode QUERY; not Z.
        if start[2] & 0xf8 != 0x80 || start[3] & 0x40 != 0 {
            return Err(format!("these flags are not for an answer: {:02x?}", &start[2..4]));
        }
        let message = Message::from_octets(bytes).map_err(|error| error.to_string())?;
        let unreadable = |error: domain::base::wire::ParseError| format!("unreadable: {error}");
        let header = message.header();
        let opt = message.opt();
        Ok(Self {
            size,
            code: message.opt_rcode().to_int(),
            authoritative: header.aa(),
            truncated: header.tc(),
            recursion_desired: header.rd(),
            recursion_available: header.ra(),
            authentic_data: header.ad(),
            checking_disabled: header.cd(),
            dnssec_ok: opt.map(|opt| opt.dnssec_ok()),
            answers: records(message.answer().map_err(unreadable)?)?,
            authorities: records(message.authority().map_err(unreadable)?)?,
            additionals: records(message.additional().map_err(unreadable)?)?,
        })
    }

    pub(crate) fn answer_set(&self) -> BTreeSet<&Record> {
        set(&self.answers)
    }

    pub(crate) fn authority_set(&self) -> BTreeSet<&Record> {
        set(&self.authorities)
    }

    /// All records of all sections.
    pub(crate) fn records(&self) -> impl Iterator<Item = &Timed> {
        self.answers.iter().chain(&self.authorities).chain(&self.additionals)
    }
}

pub(crate) fn set(records: &[Timed]) -> BTreeSet<&Record> {
    records.iter().map(|(record, _)| record).collect()
}

fn records(section: RecordSection<'_, Vec<u8>>) -> Result<Vec<Timed>, String> {
    let mut records = Vec::new();
    for parsed in section {
        let parsed = parsed.map_err(|error| format!("unreadable: {error}"))?;
        if parsed.rtype() != Rtype::OPT {
            records.push(record(&parsed)?);
        }
    }
    Ok(records)
}

fn record(parsed: &ParsedRecord<'_, Vec<u8>>) -> Result<Timed, String> {
    let record = parsed
        .to_any_record::<AllRecordData<&[u8], ParsedName<&[u8]>>>()
        .map_err(|error| format!("data of {} {}: {error}", parsed.owner(), parsed.rtype()))?;
    let mut data = Vec::new();
    record.data().compose_canonical_rdata(&mut data).expect("memory has room");
    let ttl: Ttl = record.ttl();
    let (owner, record_type, class) = (record.owner().to_vec(), parsed.rtype(), parsed.class().to_int());
    Ok((Record { owner, record_type, class, data }, ttl.as_secs()))
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.data[..self.data.len().min(48)];
        write!(f, "{} {} ", self.owner, self.record_type)?;
        shown.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        if shown.len() < self.data.len() { f.write_str("…") } else { Ok(()) }
    }
}

impl fmt::Display for Reply {
    /// As dig would, in short.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "code {}, {} bytes, flags", self.code, self.size)?;
        for (is_set, flag) in [
            (self.authoritative, "aa"),
            (self.truncated, "tc"),
            (self.recursion_desired, "rd"),
            (self.recursion_available, "ra"),
            (self.authentic_data, "ad"),
            (self.checking_disabled, "cd"),
        ] {
            if is_set {
                write!(f, " {flag}")?;
            }
        }
        let sections =
            [("answer", &self.answers), ("authority", &self.authorities), ("more", &self.additionals)];
        for (section, records) in sections {
            for (record, ttl) in records.iter().take(8) {
                write!(f, "\n      {section:<9} {ttl:>6} {record}")?;
            }
            if records.len() > 8 {
                write!(f, "\n      {section:<9} … {} in all", records.len())?;
            }
        }
        Ok(())
    }
}
