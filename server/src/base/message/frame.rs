//! Where the records of a message lie, without a look at their data.

use super::{MAX_NAME_SIZE, u16_at};

/// Where one record lies.
pub(super) struct Frame<'a> {
    pub(super) start: usize,
    pub(super) record_type: u16,
    pub(super) class: u16,
    pub(super) ttl: [u8; 4],
    pub(super) data_start: usize,
    pub(super) data: &'a [u8],
    pub(super) end: usize,
}

impl<'a> Frame<'a> {
    /// The record at `start`; `None` where it does not fit the message.
    pub(super) fn read(bytes: &'a [u8], start: usize) -> Option<Self> {
        let at = skip_name(bytes, start)?;
        let data_start = at + 10;
        let end = data_start + usize::from(u16_at(bytes, at + 8)?);
        Some(Self {
            start,
            record_type: u16_at(bytes, at)?,
            class: u16_at(bytes, at + 2)?,
            ttl: bytes.get(at + 4..at + 8)?.try_into().ok()?,
            data_start,
            data: bytes.get(data_start..end)?,
            end,
        })
    }
}

/// Whether nothing but a name lies between two places, as [`hickory_proto::rr::Name`] would read it: to find out takes a
/// twentieth of that.
pub(super) fn is_name(bytes: &[u8], start: usize, end: usize) -> bool {
    let (mut at, mut run, mut size) = (start, start, 1);
    let mut is_whole = skip_name(bytes, start) == Some(end);
    while is_whole {
        match bytes.get(at) {
            Some(0) => return true,
            Some(length @ 1..=63) => {
                size += 1 + usize::from(*length);
                at += 1 + usize::from(*length);
                is_whole = size <= MAX_NAME_SIZE;
            }
            Some(0xc0..) => {
                let to = u16_at(bytes, at).map(|pointer| usize::from(pointer & 0x3fff));
                // Strictly backwards, or it would never end.
                is_whole = to.is_some_and(|to| to < run);
                at = to.unwrap_or(at);
                run = at;
            }
            _ => return false,
        }
    }
    false
}

/// Returns where the name at `at` ends, without following its pointer.
pub(super) fn skip_name(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *bytes.get(at)? {
            0 => return Some(at + 1),
            length @ 1..=63 => at += 1 + usize::from(length),
            0xc0..=0xff => return Some(at + 2),
            _ => return None,
        }
    }
}
