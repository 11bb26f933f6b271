//! TTLs and other times, and what else stands before the data of a record.

use domain::base::{Rtype, iana::Class};

use super::{
    lexer::Token,
    scanner::{Tokens, Unexpected},
};

/// Largest TTL in seconds (RFC 2181 section 8).
pub const MAX_TTL: u32 = i32::MAX.unsigned_abs();

/// A TTL and a class may stand before the type, in either order.
pub(super) fn ttl_class_and_type(tokens: &mut Tokens<'_>) -> Result<(Option<u32>, Rtype), Unexpected> {
    let (mut found_ttl, mut found_class) = (None, false);
    loop {
        tokens.expect_more("expected a record type before the end of the line")?;
        let token = tokens.next()?;
        let word = token.word().unwrap_or_default();
        if let Ok(record_type) = word.parse::<Rtype>() {
            return match record_type.to_int() {
                // OPT, and the range of types that only questions have (RFC 6895 section 3.1).
                0 | 41 | 128..=255 => Err(Unexpected("records of this type cannot be stored in a zone")),
                _ => Ok((found_ttl, record_type)),
            };
        }
        match (ttl(token), word.parse()) {
            (Some(ttl), _) if found_ttl.is_none() => found_ttl = Some(ttl?),
            (None, Ok(Class::IN)) if !found_class => found_class = true,
            (None, Ok(Class::IN)) | (Some(_), _) => return Err(Unexpected("expected a record type")),
            (None, Ok(_)) => return Err(Unexpected("expected the class IN")),
            (None, Err(_)) => {
                return Err(Unexpected(
                    "expected a TTL, the class IN or a record type (one that has no name here is written as TYPE123)",
                ));
            }
        }
    }
}

/// A TTL: `None` where it is none.
pub(super) fn ttl(token: &Token) -> Option<Result<u32, Unexpected>> {
    let seconds = seconds(&token.word()?)?;
    let total = seconds.filter(|&total| total <= MAX_TTL);
    Some(total.ok_or(Unexpected("the TTL is over 2147483647 seconds")))
}

/// A number of seconds, or numbers with units as other zone-file readers take them. `None` where it is neither, and
/// `Some(None)` where it does not fit.
pub(super) fn seconds(word: &str) -> Option<Option<u32>> {
    let mut total = Some(0_u32);
    let mut rest = word;
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
        let (number, unit) = rest.split_at_checked(digits).filter(|(number, _)| !number.is_empty())?;
        let mut unit = unit.chars();
        let seconds = match unit.next().map(|unit| unit.to_ascii_lowercase()) {
            None if number.len() == word.len() => 1,
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3600,
            Some('d') => 86_400,
            Some('w') => 604_800,
            None | Some(_) => return None,
        };
        let value = number.parse::<u32>().ok().and_then(|number| number.checked_mul(seconds));
        total = total.zip(value).and_then(|(total, value)| total.checked_add(value));
        rest = unit.as_str();
    }
    (!word.is_empty()).then_some(total)
}
