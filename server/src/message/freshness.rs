//! How long a reply may be kept by whoever gets it.

use super::{
    HEADER_SIZE,
    frame::{Frame, skip_name},
    u16_at,
};

const TYPE_SOA: u16 = 6;
const NO_ERROR: u8 = 0;
const NX_DOMAIN: u8 = 3;

/// The greatest time to live (RFC 2181 section 8), in seconds.
const MAX_TTL: u32 = 0x7fff_ffff;

/// In the third byte of the header.
const TRUNCATED: u8 = 0x02;

/// How long the reply in wire form may be kept, in seconds: the smallest TTL of its answers, and for an absence the
/// lesser of the SOA's TTL and MINIMUM (RFC 2308 section 5). `None` for failures and for what cannot be read: those
/// are not kept.
pub fn freshness(reply: &[u8]) -> Option<u32> {
    let (flags, code) = (reply.get(2)?, reply.get(3)? & 0x0f);
    if flags & TRUNCATED != 0 || !matches!(code, NO_ERROR | NX_DOMAIN) || u16_at(reply, 4)? != 1 {
        return None;
    }
    let mut at = skip_name(reply, HEADER_SIZE)? + 4;
    let (mut least, mut denied) = (None, false);
    let mut keep = |seconds: u32| least = Some(least.map_or(seconds, |least: u32| least.min(seconds)));
    for _ in 0..u16_at(reply, 6)? {
        let record = Frame::read(reply, at)?;
        at = record.end;
        keep(ttl(record.ttl));
    }
    for _ in 0..u16_at(reply, 8)? {
        let record = Frame::read(reply, at)?;
        at = record.end;
        if record.record_type == TYPE_SOA {
            keep(ttl(record.ttl).min(ttl(*record.data.last_chunk::<4>()?)));
            denied = true;
        }
    }
    // An absence that nobody vouches for is not kept.
    if code == NX_DOMAIN && !denied { None } else { least }
}

/// With the top bit set it is zero.
fn ttl(bytes: [u8; 4]) -> u32 {
    let seconds = u32::from_be_bytes(bytes);
    if seconds > MAX_TTL { 0 } else { seconds }
}
