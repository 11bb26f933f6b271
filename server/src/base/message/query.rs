//! What a client asks: the header, the one question and the EDNS record, read without allocating.

use hickory_proto::{
    op::ResponseCode,
    rr::{DNSClass, Name, RecordType},
    serialize::binary::{BinDecodable, BinDecoder},
};

use super::{
    Cookie, HEADER_SIZE, MAX_NAME_SIZE, MAX_UDP_SIZE, MIN_UDP_SIZE, ReplyCookie, TYPE_OPT,
    edns::{OPTION_COOKIE, OPTION_PADDING, OPTION_TCP_KEEPALIVE},
    frame::Frame,
    records::skip_questions,
    u16_at,
};
use crate::base::view::View;

/// More options than this in one OPT record is an attack on whoever walks them.
const MAX_EDNS_OPTIONS: usize = 32;

/// Type and class behind a question's name, in bytes.
const QUESTION_TAIL_SIZE: usize = 4;

/// A name, type and class, the name spelled as the client spelled it.
#[derive(Clone)]
pub struct Question {
    /// Labels in wire form, ending in the root's zero byte.
    name: [u8; MAX_NAME_SIZE],
    name_len: u8,
    record_type: u16,
    class: u16,
}

/// A request that is well formed enough to be answered.
#[derive(Clone, Debug)]
pub struct Query {
    /// The client's message id.
    pub id: u16,
    /// RD: the client wants us to look further than what we hold.
    pub recursion_desired: bool,
    /// AD: the client would like to know whether the answer was authenticated (RFC 6840 section 5.7).
    pub authentic_data: bool,
    /// CD: the client wants data even where validation fails (RFC 4035 section 3.2.2).
    pub checking_disabled: bool,
    /// The one question.
    pub question: Question,
    /// The OPT record, when there was one.
    pub edns: Option<Edns>,
    /// Whether the client has shown that it is where it says: by a handshake, or by a cookie of ours. Not read from
    /// the bytes; the service sets it.
    pub is_proven: bool,
    /// What the reply tells the client for the next time. The service sets it.
    pub reply_cookie: Option<ReplyCookie>,
    /// As whom the client is answered. The service sets it.
    pub view: View,
}

/// What a client's OPT record says (RFC 6891).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edns {
    /// Largest reply over UDP that the client takes, in bytes.
    pub udp_size: u16,
    /// Only version 0 exists; a higher one is answered BADVERS.
    pub version: u8,
    /// DO: the client wants DNSSEC records.
    pub dnssec_ok: bool,
    /// The client asked how long it may keep its connection (RFC 7828).
    pub tcp_keepalive: bool,
    /// The client hid the length of its question (RFC 7830), and expects the same of the reply.
    pub padding: bool,
    /// The client's cookie, with ours if it has one.
    pub cookie: Option<Cookie>,
}

/// A request that cannot become a [`Query`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// Too short for a header, or itself a response: an answer could start a loop between two servers.
    Silence,
    /// Answered without a question.
    Reply(Rejected),
}

/// A request that holds no question to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// FORMERR or NOTIMP; NOERROR where the client asks for a cookie and nothing else (RFC 7873 section 5.4).
    pub code: ResponseCode,
    /// The first OPT record, as far as it could be read: whoever sent one gets one (RFC 6891 section 6.1.1).
    pub edns: Option<Edns>,
    /// The request's.
    pub(super) header: [u8; HEADER_SIZE],
}

impl Query {
    /// Reads a request. Bytes behind the last record are ignored, as most servers do.
    ///
    /// # Errors
    ///
    /// What to answer, if anything, where it is no question that can be answered.
    pub fn decode(bytes: &[u8]) -> Result<Self, Rejection> {
        let Some(header) = bytes.first_chunk::<HEADER_SIZE>() else {
            return Err(Rejection::Silence);
        };
        let is_response = header[2] & 0x80 != 0;
        if is_response {
            return Err(Rejection::Silence);
        }
        let is_query = header[2] >> 3 & 0x0f == 0;
        let count = u16::from_be_bytes([header[4], header[5]]);
        // RFC 9619: a QUERY with QDCOUNT other than 1 is FORMERR, but for one that asks for a cookie.
        let question = if is_query && count == 1 { Question::read(bytes, HEADER_SIZE) } else { None };
        let records = match &question {
            Some((_, end)) => Some(*end),
            None => skip_questions(bytes).ok(),
        };
        let (edns, is_sound) = records.map_or((None, false), |at| read_edns(header, bytes, at));
        let reject = |code| Err(Rejection::Reply(Rejected { code, edns, header: *header }));
        match question {
            _ if !is_query => reject(ResponseCode::NotImp),
            Some((question, _)) if is_sound => Ok(Self {
                id: u16::from_be_bytes([header[0], header[1]]),
                recursion_desired: header[2] & 0x01 != 0,
                authentic_data: header[3] & 0x20 != 0,
                checking_disabled: header[3] & 0x10 != 0,
                question,
                edns,
                is_proven: false,
                reply_cookie: None,
                view: View::Resolver,
            }),
            None if is_sound && count == 0 && edns.is_some_and(|edns| edns.cookie.is_some()) => {
                reject(ResponseCode::NoError)
            }
            _ => reject(ResponseCode::FormErr),
        }
    }

    /// DO, or false without EDNS.
    pub fn dnssec_ok(&self) -> bool {
        self.edns.is_some_and(|edns| edns.dnssec_ok)
    }

    /// Largest reply this client may get over UDP, in bytes (RFC 6891 section 6.2.3, RFC 9715).
    pub fn udp_limit(&self) -> usize {
        match self.edns {
            Some(edns) => usize::from(edns.udp_size).clamp(MIN_UDP_SIZE, MAX_UDP_SIZE),
            None => MIN_UDP_SIZE,
        }
    }
}

impl Question {
    /// Builds a question; `None` where the name is longer than DNS allows.
    pub fn new(name: &Name, record_type: RecordType, class: DNSClass) -> Option<Self> {
        let mut wire = [0; MAX_NAME_SIZE];
        let mut at = 0;
        for label in name.iter() {
            wire.get_mut(at + 1..at + 1 + label.len())?.copy_from_slice(label);
            wire[at] = u8::try_from(label.len()).ok()?;
            at += 1 + label.len();
        }
        let name_len = u8::try_from(at + 1).ok()?;
        Some(Self { name: wire, name_len, record_type: record_type.into(), class: class.into() })
    }

    /// Reads the question at `at`; returns where it ends. A question's name has nothing before it to point to.
    pub(super) fn read(bytes: &[u8], at: usize) -> Option<(Self, usize)> {
        let mut end = at;
        loop {
            let length = usize::from(*bytes.get(end)?);
            end += 1;
            if length == 0 {
                break;
            }
            if length > 63 {
                return None;
            }
            end += length;
        }
        let wire = bytes.get(at..end)?;
        let mut name = [0; MAX_NAME_SIZE];
        name.get_mut(..wire.len())?.copy_from_slice(wire);
        let question = Self {
            name,
            name_len: u8::try_from(wire.len()).ok()?,
            record_type: u16_at(bytes, end)?,
            class: u16_at(bytes, end + 2)?,
        };
        Some((question, end + QUESTION_TAIL_SIZE))
    }

    /// The name in wire form, spelled as the client spelled it.
    pub fn wire_name(&self) -> &[u8] {
        &self.name[..usize::from(self.name_len)]
    }

    /// The name in lower case, fully qualified.
    pub fn name(&self) -> Name {
        // The labels were checked when the question was made; the root stands in for the impossible.
        Name::read(&mut BinDecoder::new(self.wire_name()))
            .map(|name| name.to_lowercase())
            .unwrap_or_else(|_| Name::root())
    }

    /// The type that is asked for.
    pub fn record_type(&self) -> RecordType {
        RecordType::from(self.record_type)
    }

    /// The class that is asked for; only IN has answers here.
    pub fn class(&self) -> DNSClass {
        DNSClass::from(self.class)
    }

    /// Bytes of what [`Question::write`] writes.
    pub(super) fn size(&self) -> usize {
        self.wire_name().len() + QUESTION_TAIL_SIZE
    }

    /// Appends name (in the spelling asked for, or in lower case), type and class in wire form.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.wire_name());
        out.extend_from_slice(&self.record_type.to_be_bytes());
        out.extend_from_slice(&self.class.to_be_bytes());
    }
}

impl std::fmt::Debug for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.name(), self.class(), self.record_type())
    }
}

impl Edns {
    /// What the record says, and whether its options are sound.
    fn read(record: &Frame<'_>) -> (Self, bool) {
        let [_extended_code, version, flags, _] = record.ttl;
        let mut edns = Self {
            udp_size: record.class,
            version,
            dnssec_ok: flags & 0x80 != 0,
            tcp_keepalive: false,
            padding: false,
            cookie: None,
        };
        let is_sound = edns.read_options(record.data).is_some();
        (edns, is_sound)
    }

    /// `None` is FORMERR.
    fn read_options(&mut self, mut options: &[u8]) -> Option<()> {
        let mut count = 0;
        while !options.is_empty() {
            count += 1;
            if count > MAX_EDNS_OPTIONS {
                return None;
            }
            let (code, length) = (u16_at(options, 0)?, usize::from(u16_at(options, 2)?));
            let data = options.get(4..4 + length)?;
            options = options.get(4 + length..)?;
            match code {
                // RFC 7873 section 5.2: of several, the first counts.
                OPTION_COOKIE if self.cookie.is_none() => self.cookie = Some(Cookie::read(data)?),
                // RFC 7828 section 3.2.1: a client sends the option without a timeout.
                OPTION_TCP_KEEPALIVE => self.tcp_keepalive |= length == 0,
                OPTION_PADDING => self.padding = true,
                _ => {}
            }
        }
        Some(())
    }
}

/// The cookie in a message, whatever else it holds.
pub fn read_cookie(bytes: &[u8]) -> Option<Cookie> {
    let (edns, _) = read_edns(bytes.first_chunk()?, bytes, skip_questions(bytes).ok()?);
    edns?.cookie
}

/// The first OPT record, and whether the records are sound. RFC 6891 section 6.1.1: there is one at most, it belongs
/// into the additional section, and its owner is the root.
fn read_edns(header: &[u8; HEADER_SIZE], bytes: &[u8], mut at: usize) -> (Option<Edns>, bool) {
    let count = |at: usize| u32::from(u16_at(header, at).unwrap_or_default());
    let (before, additionals) = (count(6) + count(8), count(10));
    let mut edns = None;
    for index in 0..before + additionals {
        let Some(record) = Frame::read(bytes, at) else { return (edns, false) };
        at = record.end;
        if record.record_type != TYPE_OPT {
            continue;
        }
        let is_in_place = index >= before && edns.is_none() && bytes.get(record.start) == Some(&0);
        let (read, is_sound) = Edns::read(&record);
        edns = edns.or(Some(read));
        if !(is_in_place && is_sound) {
            return (edns, false);
        }
    }
    (edns, true)
}
