//! DNS messages at the edge: a [`Query`] as a client sent it, an [`Answer`] as the resolver made it, and the
//! [`EncodedAnswer`] that is kept in the cache and patched for each client that asks.

mod answer;
mod bare;
mod cookie;
mod edns;
mod encoded;
mod extended_error;
mod frame;
mod freshness;
mod names;
mod outcome;
mod query;
mod records;

use hickory_proto::rr::Name;

pub use answer::{Age, Answer, Reply};
pub use cookie::{Cookie, ReplyCookie, returned_cookie};
pub(crate) use edns::{OPTION_COOKIE, OPTION_EXTENDED_ERROR, OPTION_HEAD_SIZE, OPTION_PADDING, QUERY_BLOCK};
pub use encoded::{EncodedAnswer, EncodedBytes, STALE_RECHECK, STALE_TTL};
pub use extended_error::{ExtendedError, info_code, stale_info_code};
pub use freshness::{LONGEST_TTL, freshness};
pub use outcome::{Outcome, code_name, read_outcome};
pub use query::{Edns, Query, Question, Rejected, Rejection, read_cookie};
pub use records::{
    MalformedMessage, Message, UnreadRecord, address, addresses, find_records, read_message, read_question,
    read_records,
};

/// Size of a DNS header in bytes.
pub const HEADER_SIZE: usize = 12;

/// Largest reply over UDP in bytes, whatever a client announces: what crosses any path without fragments
/// (RFC 9715 section 3).
pub const MAX_UDP_SIZE: usize = 1232;

/// Largest reply over UDP in bytes to a client that sends no EDNS (RFC 1035 section 2.3.4).
pub const MIN_UDP_SIZE: usize = 512;

/// Largest message over a stream in bytes: what two bytes of length can say.
pub const MAX_STREAM_SIZE: usize = 65_535;

/// Longest name in wire form in bytes (RFC 1035 section 2.3.4).
pub const MAX_NAME_SIZE: usize = 255;

/// Longest chain of CNAME records that is followed, as other resolvers have it.
pub const MAX_CHAIN: usize = 11;

pub(crate) const TYPE_OPT: u16 = 41;

/// A name as an option has it: absolute, in lower case. `None` where the text is no name.
pub(crate) fn absolute_name(text: &str) -> Option<Name> {
    let mut name = Name::from_ascii(text).ok()?;
    name.set_fqdn(true);
    Some(name.to_lowercase())
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests;
