//! Extended errors (RFC 8914): their numbers, and which of them a stale answer has.

use hickory_proto::op::ResponseCode;

/// The text of an extended error is cut here, in bytes: it is for people, and must leave room for records.
pub(super) const MAX_ERROR_TEXT: usize = 120;

/// INFO-CODEs that this server sends.
pub mod info_code {
    /// Other Error: the text says which.
    pub const OTHER: u16 = 0;
    /// Stale Answer: nothing newer could be had, this is what was known before.
    pub const STALE_ANSWER: u16 = 3;
    /// Blocked: the operator's policy removed the data.
    pub const BLOCKED: u16 = 15;
    /// Censored: somebody else than the operator demands it.
    pub const CENSORED: u16 = 16;
    /// Filtered: the clients asked for it.
    pub const FILTERED: u16 = 17;
    /// Prohibited: not for this client.
    pub const PROHIBITED: u16 = 18;
    /// Stale NXDOMAIN Answer.
    pub const STALE_NXDOMAIN: u16 = 19;
    /// Not Authoritative: without recursion there is nothing here to say.
    pub const NOT_AUTHORITATIVE: u16 = 20;
    /// Not Supported: a kind of question that this server does not answer.
    pub const NOT_SUPPORTED: u16 = 21;
    /// No Reachable Authority: nobody who knows could be asked.
    pub const NO_REACHABLE_AUTHORITY: u16 = 22;
}

/// Why an answer is not a plain one. Only sent to clients that speak EDNS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtendedError {
    /// INFO-CODE, from the registry of RFC 8914.
    pub code: u16,
    /// For people: what happened and what to do.
    pub text: String,
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

/// The INFO-CODE of an answer with this code that is past its time (RFC 8914 sections 4.4 and 4.20).
pub fn stale_info_code(code: ResponseCode) -> u16 {
    match code {
        ResponseCode::NXDomain => info_code::STALE_NXDOMAIN,
        _ => info_code::STALE_ANSWER,
    }
}
