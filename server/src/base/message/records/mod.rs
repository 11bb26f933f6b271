//! Messages that others wrote: an upstream's response, and the DNS message inside a signed packet.

use std::net::IpAddr;

use hickory_proto::{
    op::ResponseCode,
    rr::{DNSClass, Name, RData, Record, RecordType, rdata::NULL},
    serialize::binary::{BinDecodable, BinDecoder, BinEncodable, Restrict},
};
use thiserror::Error;

use super::{
    ExtendedError, HEADER_SIZE, TYPE_OPT,
    edns::OPTION_EXTENDED_ERROR,
    frame::{Frame, is_name, skip_name},
    query::Question,
    u16_at,
};

const PARAMETER_IPV4_HINT: u16 = 4;
const PARAMETER_IPV6_HINT: u16 = 6;

/// The message breaks the wire format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the DNS message is malformed")]
pub struct MalformedMessage;

/// A response, its OPT record taken apart (it is between us and the sender: RFC 6891 section 6.2).
#[derive(Debug, Clone)]
pub struct Message {
    /// Message id.
    pub id: u16,
    /// TC: the sender cut the message.
    pub truncated: bool,
    /// AD: the sender vouches for the data.
    pub authentic_data: bool,
    /// With the upper bits from OPT.
    pub code: ResponseCode,
    /// Answer section.
    pub answers: Vec<Record>,
    /// Authority section.
    pub authorities: Vec<Record>,
    /// Additional section without OPT.
    pub additionals: Vec<Record>,
    /// The sender's reason, when it gave one (RFC 8914).
    pub extended_error: Option<ExtendedError>,
}

/// What to do with a record whose data does not follow its type's format.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OddRecord {
    /// The message goes on to a client that may understand it: keep the bytes.
    KeepBytes,
    /// The message is all we will ever get from its owner: do without this record.
    Skip,
}

/// Reads the question of a message, whatever else it holds.
pub fn read_question(bytes: &[u8]) -> Option<Question> {
    if u16_at(bytes, 4)? != 1 {
        return None;
    }
    Some(Question::read(bytes, HEADER_SIZE)?.0)
}

/// Reads a whole response. Data of types without compressed names is kept byte for byte (RFC 3597 section 3).
///
/// # Errors
///
/// When it ends early, or a record in it cannot be read.
pub fn read_message(bytes: &[u8]) -> Result<Message, MalformedMessage> {
    let count = |at| u16_at(bytes, at).ok_or(MalformedMessage);
    let mut at = skip_questions(bytes)?;
    let mut sections = [Vec::new(), Vec::new(), Vec::new()];
    let mut edns = Opt::default();
    let mut owners = Owners::default();
    for (section, counter) in sections.iter_mut().zip([6, 8, 10]) {
        for _ in 0..count(counter)? {
            let frame = Frame::read(bytes, at).ok_or(MalformedMessage)?;
            at = frame.end;
            if frame.record_type == TYPE_OPT {
                edns = Opt::read(&frame).unwrap_or_default();
            } else if let Some(record) = frame.record(bytes, OddRecord::KeepBytes, &mut owners)? {
                section.push(record);
            }
        }
    }
    let [answers, authorities, additionals] = sections;
    let flags = count(2)?;
    Ok(Message {
        id: count(0)?,
        truncated: flags & 0x0200 != 0,
        authentic_data: flags & 0x0020 != 0,
        code: ResponseCode::from(edns.extended_code, (flags & 0x0f) as u8),
        answers,
        authorities,
        additionals,
        extended_error: edns.extended_error,
    })
}

/// Reads the answer section of the message in a signed packet, without records whose data is malformed. A record
/// whose frame is broken ends the reading, since nothing says where the next one starts.
pub fn read_records(bytes: &[u8]) -> Vec<Record> {
    let (mut records, mut owners) = (Vec::new(), Owners::default());
    let Ok(mut at) = skip_questions(bytes) else {
        return records;
    };
    for _ in 0..u16_at(bytes, 6).unwrap_or(0) {
        let Some(frame) = Frame::read(bytes, at) else {
            break;
        };
        at = frame.end;
        if let Ok(Some(record)) = frame.record(bytes, OddRecord::Skip, &mut owners) {
            records.push(record);
        }
    }
    records
}

/// A record that was found in a message and is not read yet.
#[derive(Debug, Clone, Copy)]
pub struct UnreadRecord {
    /// Where it starts, and with it the name of its owner.
    pub start: u16,
    /// Its type.
    pub record_type: RecordType,
    /// Its class.
    pub class: DNSClass,
    /// Its time to live in seconds.
    pub ttl: u32,
}

impl UnreadRecord {
    /// Reads its data out of the message in which it was found; `None` where that breaks the type's format.
    pub fn data(&self, bytes: &[u8]) -> Option<RData> {
        let frame = Frame::read(bytes, self.start.into())?;
        let is_only_name = matches!(self.record_type, RecordType::CNAME | RecordType::NS | RecordType::PTR);
        if is_only_name && !is_name(bytes, frame.data_start, frame.end) {
            return None;
        }
        #[cfg(test)]
        DATA.with(|count| count.set(count.get() + 1));
        frame.data(bytes, OddRecord::Skip).ok().flatten()
    }
}

/// Finds what [`read_records`] reads, for whoever needs little of it.
pub fn find_records(bytes: &[u8]) -> impl Iterator<Item = UnreadRecord> {
    let mut next = skip_questions(bytes).ok();
    (0..u16_at(bytes, 6).unwrap_or(0)).map_while(move |_| {
        let start = next?;
        let frame = Frame::read(bytes, start)?;
        next = Some(frame.end);
        Some(UnreadRecord {
            start: u16::try_from(start).ok()?,
            record_type: RecordType::from(frame.record_type),
            class: DNSClass::from(frame.class),
            ttl: ttl_seconds(frame.ttl),
        })
    })
}

/// The address that a record holds, whether it was read as one or kept as bytes.
pub fn address(data: &RData) -> Option<IpAddr> {
    match data {
        RData::Unknown { code: RecordType::A, rdata } => {
            Some(<[u8; 4]>::try_from(rdata.anything.as_slice()).ok()?.into())
        }
        RData::Unknown { code: RecordType::AAAA, rdata } => {
            Some(<[u8; 16]>::try_from(rdata.anything.as_slice()).ok()?.into())
        }
        other => other.ip_addr(),
    }
}

/// Every address that a record gives to connect to: its own, or the hints of SVCB and HTTPS (RFC 9460 section 7.3).
pub fn addresses(data: &RData) -> Vec<IpAddr> {
    if !matches!(data.record_type(), RecordType::SVCB | RecordType::HTTPS) {
        return address(data).into_iter().collect();
    }
    match data {
        RData::Unknown { rdata, .. } => hints(&rdata.anything),
        other => other.to_bytes().map(|bytes| hints(&bytes)).unwrap_or_default(),
    }
}

/// Reads up to where the data breaks the format, as a client may do.
fn hints(data: &[u8]) -> Vec<IpAddr> {
    let mut hints = Vec::new();
    let mut at = skip_name(data, 2).unwrap_or(data.len());
    while let (Some(key), Some(length)) = (u16_at(data, at), u16_at(data, at + 2)) {
        let Some(value) = data.get(at + 4..at + 4 + usize::from(length)) else {
            break;
        };
        match key {
            PARAMETER_IPV4_HINT => {
                hints.extend(value.as_chunks::<4>().0.iter().copied().map(IpAddr::from));
            }
            PARAMETER_IPV6_HINT => {
                hints.extend(value.as_chunks::<16>().0.iter().copied().map(IpAddr::from));
            }
            _ => {}
        }
        at += 4 + value.len();
    }
    hints
}

/// Returns where the records begin.
pub(super) fn skip_questions(bytes: &[u8]) -> Result<usize, MalformedMessage> {
    let mut at = HEADER_SIZE;
    for _ in 0..u16_at(bytes, 4).ok_or(MalformedMessage)? {
        at = skip_name(bytes, at).ok_or(MalformedMessage)? + 4;
    }
    if at > bytes.len() {
        return Err(MalformedMessage);
    }
    Ok(at)
}

/// The last owner, by the pointer that stood for it. Thousands of records may point to one name of 127 labels, which is
/// read once then.
#[derive(Default)]
struct Owners {
    pointer: u16,
    name: Name,
}

impl Owners {
    /// In lower case.
    fn read(&mut self, bytes: &[u8], at: usize) -> Option<Name> {
        let pointer = u16_at(bytes, at).filter(|pointer| *pointer >= 0xc000);
        if pointer.is_some_and(|pointer| pointer == self.pointer) {
            return Some(self.name.clone());
        }
        let name = Name::read(&mut decoder_at(bytes, at)?).ok()?.to_lowercase();
        #[cfg(test)]
        NAMES.with(|count| count.set(count.get() + 1));
        if let Some(pointer) = pointer {
            (self.pointer, self.name) = (pointer, name.clone());
        }
        Some(name)
    }
}

#[cfg(test)]
thread_local! {
    /// How many owners this thread has read.
    static NAMES: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
    /// And the data of how many unread records.
    static DATA: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

impl Frame<'_> {
    /// `None` where the record is to be skipped.
    fn record(
        &self,
        bytes: &[u8],
        odd: OddRecord,
        owners: &mut Owners,
    ) -> Result<Option<Record>, MalformedMessage> {
        let owner = owners.read(bytes, self.start).ok_or(MalformedMessage)?;
        let Some(data) = self.data(bytes, odd)? else {
            return Ok(None);
        };
        let mut record = Record::from_rdata(owner, ttl_seconds(self.ttl), data);
        record.dns_class = DNSClass::from(self.class);
        Ok(Some(record))
    }

    fn data(&self, bytes: &[u8], odd: OddRecord) -> Result<Option<RData>, MalformedMessage> {
        let record_type = RecordType::from(self.record_type);
        let parsed = match (names_in(self.record_type), odd) {
            (Some(names), _) => self.expanded(bytes, record_type, names),
            (None, OddRecord::KeepBytes) if !may_hold_compressed_names(record_type) => {
                return Ok(Some(raw(record_type, self.data)));
            }
            (None, _) => self.parsed(bytes, record_type),
        };
        match (parsed, odd) {
            (Some(data), _) => Ok(Some(data)),
            (None, OddRecord::Skip) => Ok(None),
            (None, OddRecord::KeepBytes) => Err(MalformedMessage),
        }
    }

    fn parsed(&self, bytes: &[u8], record_type: RecordType) -> Option<RData> {
        let length = Restrict::new(u16::try_from(self.data.len()).ok()?);
        let mut decoder = decoder_at(bytes.get(..self.end)?, self.data_start)?;
        let data = RData::read(&mut decoder, record_type, length).ok()?;
        (decoder.index() == self.end).then_some(data)
    }

    /// The bytes of the data, with the names in it written out.
    fn expanded(&self, bytes: &[u8], code: RecordType, names: NamesIn) -> Option<RData> {
        let mut decoder = decoder_at(bytes.get(..self.end)?, self.data_start + names.before)?;
        let mut data = self.data.get(..names.before)?.to_vec();
        for _ in 0..names.count {
            for label in Name::read(&mut decoder).ok()?.iter() {
                // At most 63 bytes, as in every name.
                data.push(label.len() as u8);
                data.extend_from_slice(label);
            }
            data.push(0);
        }
        let rest = bytes.get(decoder.index()..self.end)?;
        data.extend_from_slice(rest);
        (names.may_be_followed || rest.is_empty()).then(|| raw(code, &data))
    }
}

fn raw(code: RecordType, data: &[u8]) -> RData {
    // `NULL::with` asserts that there is data.
    let rdata = if data.is_empty() { NULL::new() } else { NULL::with(data.to_vec()) };
    RData::Unknown { code, rdata }
}

/// Where the names lie in the data of a type.
struct NamesIn {
    /// Bytes before the first.
    before: usize,
    count: usize,
    may_be_followed: bool,
}

/// The types of [`may_hold_compressed_names`] that hickory-proto keeps as bytes, or reads without their names.
fn names_in(record_type: u16) -> Option<NamesIn> {
    let (before, count, may_be_followed) = match record_type {
        // MD, MF, MB, MG and MR; MINFO and RP; AFSDB and RT; PX.
        3 | 4 | 7 | 8 | 9 => (0, 1, false),
        14 | 17 => (0, 2, false),
        18 | 21 => (2, 1, false),
        26 => (2, 2, false),
        // SIG, a signature after the signer, and NXT, types after the next name.
        24 => (18, 1, true),
        30 => (0, 1, true),
        _ => return None,
    };
    Some(NamesIn { before, count, may_be_followed })
}

/// Types whose names RFC 1035 lets a sender compress, or that RFC 3597 section 4 tells a receiver to expect
/// compressed, besides those of [`names_in`]. Their bytes mean nothing outside of the message they came in.
fn may_hold_compressed_names(record_type: RecordType) -> bool {
    matches!(
        record_type,
        RecordType::CNAME
            | RecordType::NS
            | RecordType::PTR
            | RecordType::SOA
            | RecordType::MX
            | RecordType::SRV
            | RecordType::NAPTR
    )
}

fn decoder_at(bytes: &[u8], at: usize) -> Option<BinDecoder<'_>> {
    let at = u16::try_from(at).ok()?;
    (usize::from(at) <= bytes.len()).then(|| BinDecoder::new(bytes).clone(at))
}

/// RFC 2181 section 8: a TTL with the top bit set counts as zero.
fn ttl_seconds(bytes: [u8; 4]) -> u32 {
    let ttl = u32::from_be_bytes(bytes);
    if ttl > i32::MAX as u32 { 0 } else { ttl }
}

#[derive(Default)]
struct Opt {
    extended_code: u8,
    extended_error: Option<ExtendedError>,
}

impl Opt {
    fn read(frame: &Frame<'_>) -> Option<Self> {
        let mut opt = Self { extended_code: frame.ttl[0], extended_error: None };
        let mut options = frame.data;
        while !options.is_empty() {
            let (code, length) = (u16_at(options, 0)?, usize::from(u16_at(options, 2)?));
            let value = options.get(4..4 + length)?;
            if code == OPTION_EXTENDED_ERROR && opt.extended_error.is_none() {
                let text = String::from_utf8_lossy(value.get(2..)?).into_owned();
                opt.extended_error = Some(ExtendedError::new(u16_at(value, 0)?, text));
            }
            options = &options[4 + length..];
        }
        Some(opt)
    }
}

#[cfg(test)]
mod tests;
