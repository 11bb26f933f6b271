//! Where the records of a message lie, without a look at their data.

use super::u16_at;

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
