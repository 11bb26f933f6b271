//! The text form of age files: base64 between two lines, 64 characters a line.

use base64::{Engine, engine::general_purpose::STANDARD};

const BEGIN: &[u8] = b"-----BEGIN AGE ENCRYPTED FILE-----";
const END: &[u8] = b"-----END AGE ENCRYPTED FILE-----";
const COLUMNS: usize = 64;

/// Whether it begins like one; white space may be before it.
pub(super) fn is_armored(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().starts_with(BEGIN)
}

pub(super) fn encode(bytes: &[u8]) -> Vec<u8> {
    let text = STANDARD.encode(bytes);
    let lines = text.as_bytes().chunks(COLUMNS);
    [BEGIN].into_iter().chain(lines).chain([END]).flat_map(|line| [line, b"\n"]).flatten().copied().collect()
}

/// `None`: a line is longer or shorter than it has to be, or there is something else.
pub(super) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut lines =
        text.trim_ascii().split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines.next().filter(|line| *line == BEGIN)?;
    lines.next_back().filter(|line| *line == END)?;
    let lines: Vec<_> = lines.collect();
    let (last, full) = lines.split_last()?;
    if full.iter().any(|line| line.len() != COLUMNS) || !(1..=COLUMNS).contains(&last.len()) {
        return None;
    }
    STANDARD.decode(lines.concat()).ok()
}
