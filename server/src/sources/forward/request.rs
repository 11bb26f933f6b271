//! A question as a message to send, and what an answer to it must look like.

use hickory_proto::{
    op::ResponseCode,
    rr::{RData, RecordType},
};

use super::{ExchangeError, cookies::SentCookie, exchange::Flags};
use crate::base::message::{
    Cookie, ExtendedError, HEADER_SIZE, MAX_UDP_SIZE, Message, OPTION_HEAD_SIZE, OPTION_PADDING, QUERY_BLOCK,
    Question, TYPE_OPT, info_code, read_message, read_question, returned_cookie,
};

/// BADVERS. It shares its number with BADSIG, which hickory-proto reads it as.
const BAD_VERSION: u16 = 16;

/// In the third and the fourth byte of a header.
const RECURSION_DESIRED: u8 = 0x01;
const RECURSION_AVAILABLE: u8 = 0x80;

const NO_RESOLVER: &str = "the upstream refers to other servers instead of answering: it is no resolver";

/// The options that go along.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Edns {
    Sent(Option<SentCookie>),
    Padded,
    LeftOut,
}

/// A message to send, and what an answer to it must look like.
pub(super) struct Request {
    id: u16,
    pub(super) bytes: Vec<u8>,
    name_size: usize,
    /// The spelling says nothing of whoever answers.
    is_plain: bool,
    pub(super) cookie: Option<SentCookie>,
}

pub(super) enum Spelling {
    Random,
    LowerCase,
}

pub(super) enum Match {
    /// An answer to this very message.
    Exact,
    /// An answer to this message, but for the case of letters in the name.
    OtherSpelling,
    /// A header without a question that refuses or fails, as old servers and those that are overloaded send it.
    BareRefusal,
    None,
}

/// The cookie of a response that was not forged as far as that can tell.
pub(super) enum Returned {
    /// Ours, and the server's with it.
    Ours(Cookie),
    /// None, though the server has given one over UDP before.
    Missing,
    /// None, and none was to be expected.
    Nothing,
    /// One that is not ours or that cannot be: whoever sent it has not seen the question (RFC 7873 section 5.3).
    Foreign,
}

impl Request {
    pub(super) fn new(
        question: &Question,
        flags: Flags,
        edns: Edns,
        spelling: Spelling,
    ) -> Result<Self, ExchangeError> {
        let id = random_u16()?;
        let cookie = match edns {
            Edns::Sent(cookie) => cookie,
            Edns::Padded | Edns::LeftOut => None,
        };
        let cookie_size = cookie.map_or(0, |sent| sent.cookie.option_size());
        let mut bytes = Vec::with_capacity(HEADER_SIZE + question.wire_name().len() + 15 + cookie_size);
        bytes.extend_from_slice(&id.to_be_bytes());
        // AD asks a resolver to say whether it validated (RFC 6840 section 5.7).
        let (recursion, checking) = (u8::from(flags.recursion_desired), u8::from(flags.checking_disabled));
        bytes.extend_from_slice(&[recursion, recursion << 5 | checking << 4, 0, 1, 0, 0, 0, 0]);
        bytes.extend_from_slice(&[0, u8::from(edns != Edns::LeftOut)]);
        question.write(&mut bytes);
        let name_size = question.wire_name().len();
        if let Some(name) = bytes.get_mut(HEADER_SIZE..HEADER_SIZE + name_size) {
            name.make_ascii_lowercase();
            if let Spelling::Random = spelling {
                randomise_case(name)?;
            }
        }
        if edns != Edns::LeftOut {
            bytes.push(0);
            bytes.extend_from_slice(&TYPE_OPT.to_be_bytes());
            bytes.extend_from_slice(&(MAX_UDP_SIZE as u16).to_be_bytes());
            // Options of our own only: what a client sent is between it and us (RFC 6891 section 6.2).
            bytes.extend_from_slice(&[0, 0, u8::from(flags.dnssec_ok) << 7, 0]);
            if edns == Edns::Padded {
                pad(&mut bytes);
            } else {
                // 44 bytes at most.
                bytes.extend_from_slice(&(cookie_size as u16).to_be_bytes());
            }
            if let Some(sent) = cookie {
                sent.cookie.write(&mut bytes);
            }
        }
        let is_plain = matches!(spelling, Spelling::LowerCase);
        Ok(Self { id, bytes, name_size, is_plain, cookie })
    }

    /// Reads what came over a connection, whose other end nobody else can speak for.
    pub(super) fn read_whole(&self, response: &mut [u8]) -> Result<Message, ExchangeError> {
        match self.compare(response) {
            Match::None => Err(ExchangeError::Malformed),
            Match::Exact | Match::OtherSpelling | Match::BareRefusal => {
                // There is nothing left to ask a server that cuts an answer here too.
                self.read(response).filter(|message| !message.truncated).ok_or(ExchangeError::Malformed)
            }
        }
    }

    pub(super) fn compare(&self, response: &[u8]) -> Match {
        let Some(&[id_high, id_low, flags, code, questions_high, questions_low, ..]) =
            response.first_chunk::<HEADER_SIZE>()
        else {
            return Match::None;
        };
        // QR set, and opcode QUERY.
        if u16::from_be_bytes([id_high, id_low]) != self.id || flags & 0xf8 != 0x80 {
            return Match::None;
        }
        let asked = self.bytes.get(HEADER_SIZE..HEADER_SIZE + self.name_size + 4);
        match (u16::from_be_bytes([questions_high, questions_low]), asked) {
            (0, _)
                if matches!(
                    ResponseCode::from(0, code & 0x0f),
                    ResponseCode::FormErr
                        | ResponseCode::ServFail
                        | ResponseCode::NotImp
                        | ResponseCode::Refused
                ) =>
            {
                Match::BareRefusal
            }
            (1, Some(asked)) => {
                let Some(echoed) = response.get(HEADER_SIZE..HEADER_SIZE + asked.len()) else {
                    return Match::None;
                };
                let (asked_name, asked_tail) = asked.split_at(self.name_size);
                let (echoed_name, echoed_tail) = echoed.split_at(self.name_size);
                if asked_tail != echoed_tail || !asked_name.eq_ignore_ascii_case(echoed_name) {
                    Match::None
                } else if asked_name == echoed_name || self.is_plain {
                    Match::Exact
                } else {
                    Match::OtherSpelling
                }
            }
            _ => Match::None,
        }
    }

    /// Reads a response that was compared with this. Our random spelling must not reach a client: it is undone in the
    /// question, to which other names point, and in CNAME targets, which a DNAME makes from labels of the question.
    pub(super) fn read(&self, response: &mut [u8]) -> Option<Message> {
        if let Some(question) = read_question(response) {
            let name = response.get_mut(HEADER_SIZE..HEADER_SIZE + question.wire_name().len())?;
            name.make_ascii_lowercase();
        }
        let mut message = read_message(response).ok()?;
        for record in &mut message.answers {
            if let RData::CNAME(target) = &mut record.data {
                target.0 = target.0.to_lowercase();
            }
        }
        // Cookies are between us and the server, and this one wants one where none was sent: it does not work.
        if message.code == ResponseCode::BADCOOKIE && self.cookie.is_none() {
            message.code = ResponseCode::ServFail;
        }
        if self.asks_a_resolver() && is_referral_of_no_resolver(response, &message) {
            message.code = ResponseCode::ServFail;
            message.authorities.clear();
            message.additionals.clear();
            message.extended_error = Some(ExtendedError::new(info_code::OTHER, NO_RESOLVER));
        }
        Some(message)
    }

    fn asks_a_resolver(&self) -> bool {
        self.bytes.get(2).is_some_and(|flags| flags & RECURSION_DESIRED != 0)
    }

    pub(super) fn returned_cookie(&self, response: &[u8]) -> Returned {
        let Some(sent) = self.cookie else { return Returned::Nothing };
        match returned_cookie(response) {
            Ok(Some(cookie)) if cookie.client() == sent.cookie.client() => Returned::Ours(cookie),
            Ok(Some(_)) | Err(_) => Returned::Foreign,
            Ok(None) if sent.is_expected => Returned::Missing,
            Ok(None) => Returned::Nothing,
        }
    }
}

/// Whether a server names others that are to be asked in its place, and says that it asks nobody itself. Taken for an answer,
/// that would deny the name.
fn is_referral_of_no_resolver(response: &[u8], message: &Message) -> bool {
    let has = |wanted| message.authorities.iter().any(|record| record.record_type() == wanted);
    let resolves = response.get(3).is_some_and(|flags| flags & RECURSION_AVAILABLE != 0);
    let is_empty = message.code == ResponseCode::NoError && message.answers.is_empty();
    !resolves && is_empty && has(RecordType::NS) && !has(RecordType::SOA)
}

/// Whether a server says by `code` that it does not understand EDNS, or what is in it: it does not know the question's
/// form, what is asked for or the version (16), of which there is only one.
pub(super) fn is_refusal_of_form(code: ResponseCode) -> bool {
    matches!(code, ResponseCode::FormErr | ResponseCode::NotImp) || u16::from(code) == BAD_VERSION
}

/// Whether `bare` is `refused` once more: without EDNS a code above 15 loses its upper bits, and looks like no records.
pub(super) fn has_lost_its_code(refused: &Message, bare: &Message) -> bool {
    let is_empty = bare.answers.is_empty() && bare.authorities.is_empty();
    refused.code.high() > 0 && bare.code == ResponseCode::NoError && is_empty
}

/// Appends the data of an OPT record, with its length, so that the message fills its last block.
fn pad(bytes: &mut Vec<u8>) {
    let size = bytes.len() + 2 + OPTION_HEAD_SIZE;
    let padding = size.next_multiple_of(QUERY_BLOCK) - size;
    // Below a block, so that both lengths fit.
    bytes.extend_from_slice(&((OPTION_HEAD_SIZE + padding) as u16).to_be_bytes());
    bytes.extend_from_slice(&OPTION_PADDING.to_be_bytes());
    bytes.extend_from_slice(&(padding as u16).to_be_bytes());
    bytes.resize(size + padding, 0);
}

/// Also called 0x20: as many random bits as the name has letters. A label's length is below 64, so never a letter.
fn randomise_case(name: &mut [u8]) -> Result<(), ExchangeError> {
    let mut random = vec![0; name.len()];
    getrandom::fill(&mut random).map_err(|_| ExchangeError::Predictable)?;
    for (byte, random) in name.iter_mut().zip(random) {
        if random & 1 == 1 {
            byte.make_ascii_uppercase();
        }
    }
    Ok(())
}

pub(super) fn random_u16() -> Result<u16, ExchangeError> {
    let mut bytes = [0; 2];
    getrandom::fill(&mut bytes).map_err(|_| ExchangeError::Predictable)?;
    Ok(u16::from_be_bytes(bytes))
}
