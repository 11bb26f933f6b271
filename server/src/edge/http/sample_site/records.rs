//! The records of a packet as rows of a table. Pure.

use domain::{
    base::{
        Message, ParsedRecord,
        rdata::UnknownRecordData,
        zonefile_fmt::{DisplayKind, ZonefileFmt},
    },
    rdata::AllRecordData,
};
use pkdns_dht::signed_packet::PublicKey;

use crate::edge::http::pages::html;

/// Characters of a cell. A packet of a thousand bytes can hold names of four times as many, over and over.
const MAX_CELL: usize = 300;

/// A row for each record whose frame is sound.
pub(super) fn rows(dns: &[u8], key: &PublicKey) -> String {
    let Ok(Ok(answers)) = Message::from_slice(dns).map(|message| message.answer()) else {
        return String::new();
    };
    let apex = key.to_z32();
    answers.map_while(Result::ok).map(|record| row(&record, &apex)).collect()
}

fn row(record: &ParsedRecord<'_, [u8]>, apex: &str) -> String {
    // Data that does not follow the format of its type is shown as bytes (RFC 3597 section 5).
    let data = match record.to_any_record::<AllRecordData<_, _>>() {
        Ok(parsed) => parsed.data().display_zonefile(DisplayKind::Simple).to_string(),
        Err(_) => match record.to_record::<UnknownRecordData<_>>() {
            Ok(Some(raw)) => raw.data().display_zonefile(DisplayKind::Simple).to_string(),
            _ => String::new(),
        },
    };
    let relative = data.replace(&format!(".{apex}."), "").replace(&format!("{apex}."), "@");
    let owner = record.owner().to_string();
    let owner = match owner.strip_suffix(apex) {
        Some("") => "@",
        Some(below) => below.strip_suffix('.').unwrap_or(&owner),
        None => &owner,
    };
    format!(
        "<tr><td>{}</td><td>{}</td><td>{}</td><td class=\"data\">{}</td></tr>\n",
        escape(owner),
        record.ttl().as_secs(),
        escape(&record.rtype().to_string()),
        escape(&relative)
    )
}

/// Text that others wrote, as text of a page: printable ASCII, not longer than a cell, without what means something in HTML.
pub(super) fn escape(text: &str) -> String {
    let mut visible = String::with_capacity(text.len());
    for (count, character) in text.chars().enumerate() {
        match character {
            _ if count == MAX_CELL => {
                visible.push('…');
                break;
            }
            ' '..='~' => visible.push(character),
            other => visible.push_str(&format!("\\u{:04x}", u32::from(other))),
        }
    }
    html::escape(&visible)
}
