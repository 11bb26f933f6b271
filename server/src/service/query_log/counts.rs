//! How many queries ended in which way.

use std::sync::atomic::{AtomicU64, Ordering};

use hickory_proto::op::ResponseCode;

use crate::base::{message::code_name, metrics::Source};

/// Codes that are counted one by one: those that have names. Behind them, all others, and queries without a reply.
const CODES: usize = 24;
const OTHER: usize = CODES;
const NONE: usize = CODES + 1;

/// Queries by code and source.
#[derive(Debug)]
pub(super) struct Counts([[AtomicU64; Source::ALL.len()]; CODES + 2]);

/// Queries that ended in one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) code: &'static str,
    pub(super) source: &'static str,
    pub(super) queries: u64,
}

impl Default for Counts {
    fn default() -> Self {
        Self([const { [const { AtomicU64::new(0) }; Source::ALL.len()] }; CODES + 2])
    }
}

impl Counts {
    /// Counts a query.
    pub(super) fn add(&self, code: Option<ResponseCode>, source: Source) {
        let row = code.map_or(NONE, |code| usize::from(u16::from(code)).min(OTHER));
        if let Some(cell) = self.0.get(row).and_then(|row| row.get(source as usize)) {
            cell.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What was counted since the last time.
    pub(super) fn take(&self) -> Vec<Count> {
        let mut counts = Vec::new();
        for (number, row) in self.0.iter().enumerate() {
            let code = match number {
                NONE => "none",
                _ => code_name(code_of(number)).unwrap_or("other"),
            };
            for (source, cell) in Source::ALL.into_iter().zip(row) {
                let queries = cell.swap(0, Ordering::Relaxed);
                if queries > 0 {
                    counts.push(Count { code, source: source.as_str(), queries });
                }
            }
        }
        counts
    }
}

fn code_of(number: usize) -> ResponseCode {
    ResponseCode::from((number >> 4) as u8, (number & 0x0f) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_counted_by_code_and_source_and_once() {
        let counts = Counts::default();
        for (code, source) in [
            (Some(ResponseCode::NoError), Source::Cache),
            (Some(ResponseCode::NoError), Source::Cache),
            (Some(ResponseCode::NoError), Source::Failed),
            (Some(ResponseCode::BADCOOKIE), Source::Refused),
            (Some(ResponseCode::from(3, 0)), Source::Upstream),
            (None, Source::Refused),
        ] {
            counts.add(code, source);
        }
        let count = |code, source, queries| Count { code, source, queries };
        let expected = [
            count("NOERROR", "cache", 2),
            count("NOERROR", "failed", 1),
            count("BADCOOKIE", "refused", 1),
            count("other", "upstream", 1),
            count("none", "refused", 1),
        ];
        assert_eq!(counts.take(), expected);
        assert_eq!(counts.take(), []);
    }

    #[test]
    fn every_source_has_its_place() {
        for (place, source) in Source::ALL.into_iter().enumerate() {
            assert_eq!(source as usize, place);
        }
    }
}
