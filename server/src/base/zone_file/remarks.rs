//! What is allowed in a zone file and hardly ever meant, where the text shows it. What the records show is for whoever
//! publishes them to find out.

use std::{fmt, net::IpAddr};

use bytes::Bytes;
use domain::base::{Name, Rtype, scan::Symbol};
use hickory_proto::rr::domain::Label;

use super::{Position, ZoneRecord, lexer::Token};

/// Ends of names on the Internet that hardly anybody gives to a name of a zone. Those of countries are left out, because
/// they are languages as well.
const TOP_LEVEL_DOMAINS: [&str; 9] = ["arpa", "biz", "com", "edu", "gov", "info", "int", "net", "org"];

/// Types whose data are text, in which a semicolon means something to whoever wrote it.
const TEXT_TYPES: [Rtype; 6] =
    [Rtype::TXT, Rtype::SPF, Rtype::CAA, Rtype::URI, Rtype::RESINFO, Rtype::WALLET];

/// Types whose targets are looked at with the records.
const CHECKED_TYPES: [Rtype; 6] = [Rtype::CNAME, Rtype::MX, Rtype::SRV, Rtype::NS, Rtype::HTTPS, Rtype::SVCB];

/// Something that is probably not meant, and where.
#[derive(Debug, PartialEq, Eq)]
pub struct Remark {
    pub(super) file: Option<String>,
    pub(super) position: Position,
    pub(super) text: String,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, position, text } = self;
        write!(f, "{}line {}, column {}: {text}", super::prefix(file), position.line, position.column)
    }
}

/// A relative name with more than one label in the data of a record: probably one of another zone, unless this zone has it.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) file: Option<usize>,
    pub(super) position: Position,
    name: Name<Bytes>,
}

/// Looks at the name that a record begins with.
pub(super) fn of_owner(token: &Token) -> Option<String> {
    let word = token.word().unwrap_or_default();
    if is_comment(token) {
        return Some(format!("this is a record of a name that begins with {word}: {COMMENTS}"));
    }
    if word == "IN" {
        return Some(
            "the name of this record is \"in\"; a line without a name of its own begins with a space"
                .to_string(),
        );
    }
    // Route 53 writes all that is no letter in octal.
    if let [Symbol::DecimalEscape(52), rest @ ..] = token.symbols.as_slice()
        && matches!(rest.first(), None | Some(Symbol::Char('.')))
    {
        return Some("\\052 is the digit 4, as the number is decimal; for a wildcard write *".to_string());
    }
    if word.ends_with(".@") {
        return Some(
            "the @ at the end is a label of its own; the name below the key is what stands before it"
                .to_string(),
        );
    }
    let last = word.rsplit_once('.').map(|(_, last)| last.to_ascii_lowercase());
    if last.is_some_and(|last| TOP_LEVEL_DOMAINS.contains(&last.as_str())) {
        return Some(format!(
            "{word} has no dot at its end, and so is a name below the key; @ is the key itself, and www a name below it"
        ));
    }
    in_ascii(token)
}

/// Looks at a name in the data of a record.
pub(super) fn of_name(token: &Token) -> Option<String> {
    let word = token.word().unwrap_or_default();
    let is_address = |text: &str| text.parse::<IpAddr>().is_ok();
    if is_address(&word) || is_address(word.trim_end_matches('.')) {
        return Some(format!(
            "{word} is an address, and here belongs a name: give the address to a name with an A or AAAA record, and \
             write that name"
        ));
    }
    if word.contains("://") {
        return Some("here belongs the name of a host alone, and not the address of a page".to_string());
    }
    let port = word.trim_end_matches('.').rsplit_once(':').map(|(_, port)| port);
    if port.is_some_and(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())) {
        return Some(
            "a port is no part of a name: only SRV, HTTPS and SVCB records have one, beside it".to_string(),
        );
    }
    if word.len() > 1 && word.contains('@') {
        return Some("in a zone file, a mailbox is written with a dot in place of the @".to_string());
    }
    in_ascii(token)
}

/// Looks at the data of a record: what comes after the type, and where a comment cuts it short.
pub(super) fn of_data(
    record_type: Rtype,
    data: &[Token],
    cut: Option<Position>,
) -> Option<(Position, String)> {
    let is_text = TEXT_TYPES.contains(&record_type);
    if let Some(position) = cut.filter(|_| is_text) {
        let reason = "the text ends before this semicolon, which begins a comment: put the text in quotes";
        return Some((position, reason.to_string()));
    }
    if let Some(token) = data.iter().find(|token| begins_with_quotation_mark(token)) {
        let reason = "this quotation mark is a character like any other; those around text are straight (\")";
        return Some((token.position, reason.to_string()));
    }
    if let Some(token) = data.iter().find(|token| is_text && is_comment(token)) {
        return Some((token.position, format!("this is part of the text: {COMMENTS}")));
    }
    let is_split = matches!(record_type, Rtype::TXT | Rtype::SPF)
        && data.len() > 1
        && data.iter().all(|token| !token.quoted)
        && data.first().and_then(Token::word).is_some_and(|word| word.starts_with("v="));
    let first = data.first().filter(|_| is_split)?;
    let reason = format!(
        "these are {} strings, which are joined without the spaces between them: put the text in quotes",
        data.len()
    );
    Some((first.position, reason))
}

/// A name that only this zone can have, as it is written.
pub(super) fn target(
    record_type: Rtype,
    token: &Token,
    name: &Name<Bytes>,
    file: Option<usize>,
) -> Option<Target> {
    let is_relative = token.symbols.last() != Some(&Symbol::Char('.'));
    let has_labels = token.symbols.contains(&Symbol::Char('.'));
    let is_looked_at = is_relative && has_labels && !CHECKED_TYPES.contains(&record_type);
    is_looked_at.then(|| Target { file, position: token.position, name: name.clone() })
}

impl Target {
    /// Says that the zone has no such name, nor leaves it to a wildcard or to other servers.
    pub(super) fn missing(&self, records: &[ZoneRecord]) -> Option<String> {
        let is_there = records.iter().any(|record| {
            let owner = record.owner();
            let is_below = |zone: &Name<Bytes>| self.name.ends_with(zone);
            let is_wildcard =
                owner.first().is_wildcard() && owner.parent().is_some_and(|parent| is_below(&parent));
            let is_elsewhere = matches!(record.rtype(), Rtype::NS | Rtype::DNAME) && is_below(owner);
            owner.ends_with(&self.name) || is_wildcard || is_elsewhere
        });
        let reason = "this name is below the key, and does not exist there; a name of another zone needs a dot at its end";
        (!is_there).then(|| reason.to_string())
    }
}

/// What to say to whoever takes another character for the beginning of a comment.
pub(super) const COMMENTS: &str = "comments begin with ; and not with # or //";

/// Whether a word begins as comments do elsewhere.
pub(super) fn is_comment(token: &Token) -> bool {
    matches!(token.symbols.as_slice(), [Symbol::Char('#'), ..] | [Symbol::Char('/'), Symbol::Char('/'), ..])
        && !token.quoted
}

/// The quotation marks of word processors in UTF-8: “ ” „ ‘ ’ « ».
fn begins_with_quotation_mark(token: &Token) -> bool {
    use Symbol::DecimalEscape as Byte;
    !token.quoted
        && matches!(
            token.symbols.as_slice(),
            [Byte(0xe2), Byte(0x80), Byte(0x98..=0x9f), ..] | [Byte(0xc2), Byte(0xab | 0xbb), ..]
        )
}

/// Says how programs ask for a name that is written with other letters than those of ASCII (RFC 5891).
fn in_ascii(token: &Token) -> Option<String> {
    let bytes: Option<Vec<u8>> = token.symbols.iter().map(|symbol| symbol.into_octet().ok()).collect();
    let text = String::from_utf8(bytes?).ok().filter(|text| !text.is_ascii())?;
    let labels: Option<Vec<String>> = text
        .split('.')
        .map(|label| match label.is_ascii() {
            true => Some(label.to_string()),
            false => Label::from_utf8(label).ok().map(|label| label.to_ascii()),
        })
        .collect();
    Some(match labels {
        Some(labels) => format!("browsers and others ask for this name as {}: write it so", labels.join(".")),
        None => {
            "programs ask for names in ASCII only, and for this one there is no such spelling".to_string()
        }
    })
}
