//! EDNS (RFC 6891): the codes of its options, and the OPT record of a reply.

use std::time::Duration;

use hickory_proto::op::ResponseCode;

use super::{MAX_STREAM_SIZE, MAX_UDP_SIZE, Query, Reply, ReplyCookie, TYPE_OPT};

/// RFC 7873.
pub(crate) const OPTION_COOKIE: u16 = 10;
/// RFC 7828.
pub(super) const OPTION_TCP_KEEPALIVE: u16 = 11;
/// RFC 7830.
pub(crate) const OPTION_PADDING: u16 = 12;
/// RFC 8914.
pub(crate) const OPTION_EXTENDED_ERROR: u16 = 15;

/// Code and length of an option in bytes.
pub(crate) const OPTION_HEAD_SIZE: usize = 4;

/// Messages that nobody else can read are padded to a multiple of these, in bytes, so that their length says little:
/// replies and queries (RFC 8467 section 4.1).
const REPLY_BLOCK: usize = 468;
pub(crate) const QUERY_BLOCK: usize = 128;

/// The fixed part of an OPT record in bytes.
pub(super) const OPT_SIZE: usize = 11;

/// The most that one takes without the text of an extended error and without padding, in bytes.
pub(super) const LARGEST_OPT_SIZE: usize =
    OPT_SIZE + 4 * OPTION_HEAD_SIZE + ERROR_CODE_SIZE + KEEPALIVE_SIZE + ReplyCookie::SIZE;

const ERROR_CODE_SIZE: usize = 2;
const KEEPALIVE_SIZE: usize = 2;

/// The options of a reply's OPT record.
#[derive(Default)]
pub(super) struct Options<'a> {
    /// Code and text.
    error: Option<([u8; 2], &'a [u8])>,
    /// In units of 100 ms (RFC 7828 section 3.1).
    keepalive: Option<u16>,
    cookie: Option<ReplyCookie>,
    is_padded: bool,
}

impl<'a> Options<'a> {
    /// Those of a reply to `query`.
    pub(super) fn new(error: Option<([u8; 2], &'a [u8])>, query: &Query, reply: Reply) -> Self {
        let Some(edns) = query.edns else { return Self::default() };
        let units = |time: Duration| u16::try_from(time.as_millis() / 100).unwrap_or(u16::MAX);
        let keepalive = match reply {
            Reply::Stream { idle_timeout, .. } if edns.tcp_keepalive => idle_timeout.map(units),
            _ => None,
        };
        let is_padded = edns.padding && matches!(reply, Reply::Stream { is_encrypted: true, .. });
        Self { error, keepalive, cookie: query.reply_cookie, is_padded }
    }

    /// A cookie or nothing.
    pub(super) fn bare(cookie: Option<ReplyCookie>) -> Self {
        Self { cookie, ..Self::default() }
    }

    /// In bytes, without padding.
    pub(super) fn size(&self) -> usize {
        self.error.map_or(0, |(_, text)| OPTION_HEAD_SIZE + ERROR_CODE_SIZE + text.len())
            + self.keepalive.map_or(0, |_| OPTION_HEAD_SIZE + KEEPALIVE_SIZE)
            + self.cookie.map_or(0, |_| OPTION_HEAD_SIZE + ReplyCookie::SIZE)
    }

    /// The bytes of padding behind a message of this length, if there is padding at all.
    pub(super) fn padding(&self, message: usize) -> Option<u16> {
        let size = message + OPT_SIZE + self.size() + OPTION_HEAD_SIZE;
        let padded = size.next_multiple_of(REPLY_BLOCK).min(MAX_STREAM_SIZE);
        let padding = self.is_padded.then(|| padded.checked_sub(size)).flatten()?;
        u16::try_from(padding).ok()
    }

    /// Appends the whole record.
    pub(super) fn write(&self, code: ResponseCode, dnssec_ok: bool, padding: Option<u16>, out: &mut Vec<u8>) {
        let [type_high, type_low] = TYPE_OPT.to_be_bytes();
        let [size_high, size_low] = (MAX_UDP_SIZE as u16).to_be_bytes();
        let size = self.size() + padding.map_or(0, |padding| OPTION_HEAD_SIZE + usize::from(padding));
        let [length_high, length_low] = (size as u16).to_be_bytes();
        // RFC 3225 section 3: DO is copied.
        let flags = u8::from(dnssec_ok) << 7;
        let record: [u8; OPT_SIZE] =
            [0, type_high, type_low, size_high, size_low, code.high(), 0, flags, 0, length_high, length_low];
        out.extend_from_slice(&record);
        if let Some((code, text)) = self.error {
            out.extend_from_slice(&OPTION_EXTENDED_ERROR.to_be_bytes());
            out.extend_from_slice(&(2 + text.len() as u16).to_be_bytes());
            out.extend_from_slice(&code);
            out.extend_from_slice(text);
        }
        if let Some(units) = self.keepalive {
            write_option(OPTION_TCP_KEEPALIVE, &units.to_be_bytes(), out);
        }
        if let Some(ReplyCookie(cookie)) = self.cookie {
            write_option(OPTION_COOKIE, &cookie, out);
        }
        if let Some(padding) = padding {
            out.extend_from_slice(&OPTION_PADDING.to_be_bytes());
            out.extend_from_slice(&padding.to_be_bytes());
            out.resize(out.len() + usize::from(padding), 0);
        }
    }
}

/// `data` is no longer than two bytes of length can say.
pub(super) fn write_option(code: u16, data: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(&(data.len() as u16).to_be_bytes());
    out.extend_from_slice(data);
}
