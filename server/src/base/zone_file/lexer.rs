//! Divides a zone file into entries and those into tokens (RFC 1035 section 5.1): quotes, escapes, comments, and the
//! parentheses that join lines.

use domain::base::scan::Symbol;

use super::{Position, ZoneFileError};

/// What ends at the end of a line: a directive or a record.
#[derive(Debug)]
pub(super) struct Entry {
    /// Whether white space comes first, which stands for the owner of the record before.
    pub(super) indented: bool,
    /// At least one.
    pub(super) tokens: Vec<Token>,
    /// Where a comment begins that looks like the rest of a text.
    pub(super) cut: Option<Position>,
}

impl Entry {
    /// The first word of a directive.
    pub(super) fn directive(&self) -> Option<String> {
        let first = self.tokens.first().filter(|_| !self.indented)?;
        first.word().filter(|word| word.starts_with('$'))
    }
}

/// A word or a quoted string.
#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) position: Position,
    pub(super) quoted: bool,
    /// Whether nothing lies between this token and the one before, as in `key="value"`.
    pub(super) attached: bool,
    pub(super) symbols: Vec<Symbol>,
}

impl Token {
    /// The text of a token without escapes, in ASCII.
    pub(super) fn word(&self) -> Option<String> {
        self.symbols
            .iter()
            .map(|symbol| match symbol {
                Symbol::Char(character) if !self.quoted => Some(*character),
                _ => None,
            })
            .collect()
    }

    /// What it is, for a message. It is repeated only where it cannot be part of a seed, of a recovery phrase or of
    /// anything else that is secret.
    pub(super) fn description(&self) -> String {
        let kind = if self.quoted { "a quoted text" } else { "a word" };
        let text = self.word().filter(|text| !text.is_empty()).filter(|text| {
            let has = |needed: fn(char) -> bool| text.contains(needed);
            let only = |allowed: fn(char) -> bool| text.chars().all(allowed);
            let is_name_or_address = has(|c| ".:*@_{}".contains(c)) && text.len() <= 40;
            let is_type = only(|c| c.is_ascii_uppercase() || c.is_ascii_digit()) && text.len() <= 10;
            is_name_or_address || is_type
        });
        let has_odd_space = self
            .symbols
            .windows(2)
            .any(|pair| pair == [Symbol::DecimalEscape(0xc2), Symbol::DecimalEscape(0xa0)]);
        match text {
            Some(text) => format!("\"{text}\""),
            None if has_odd_space => format!("{kind} with a no-break space in it: type an ordinary one"),
            None => format!("{kind} of {} characters", self.symbols.len()),
        }
    }
}

/// Reads all entries of `text`.
pub(super) fn entries(text: &[u8]) -> Result<Vec<Entry>, ZoneFileError> {
    Lexer { rest: text, position: Position::START }.entries()
}

/// Whether a comment behind `last` looks like the rest of a text such as `v=DMARC1; p=none`, of which no more than
/// `v=DMARC1` would be published.
fn cuts(last: &Token, is_attached: bool, comment: &[u8]) -> bool {
    let text = comment.strip_prefix(b";").unwrap_or(comment).trim_ascii_start();
    let name = text.split(|byte| *byte == b'=').next().unwrap_or_default();
    let is_tag = name.len() < text.len() && !name.is_empty() && name.iter().all(u8::is_ascii_alphanumeric);
    match last.quoted {
        true => is_attached && is_tag,
        false => is_attached || is_tag,
    }
}

struct Lexer<'a> {
    rest: &'a [u8],
    position: Position,
}

impl<'a> Lexer<'a> {
    fn entries(mut self) -> Result<Vec<Entry>, ZoneFileError> {
        let mut entries = Vec::new();
        let empty = || Entry { indented: false, tokens: Vec::new(), cut: None };
        let mut entry = empty();
        let mut open: Vec<Position> = Vec::new();
        // The end of the token before.
        let mut end = None;
        while let Some(byte) = self.peek() {
            let position = self.position;
            match byte {
                b'\n' => {
                    self.next();
                    if open.is_empty() {
                        let finished = std::mem::replace(&mut entry, empty());
                        entries.extend((!finished.tokens.is_empty()).then_some(finished));
                    }
                }
                b' ' | b'\t' | b'\r' => {
                    self.next();
                    entry.indented |= position.column == 1 && entry.tokens.is_empty() && open.is_empty();
                }
                b';' => {
                    let is_attached = end == Some(position);
                    let comment = self.skip_comment();
                    let is_cut = entry.tokens.last().is_some_and(|last| cuts(last, is_attached, comment));
                    entry.cut = entry.cut.or(is_cut.then_some(position));
                }
                b'(' => {
                    self.next();
                    open.push(position);
                }
                b')' => {
                    self.next();
                    open.pop()
                        .ok_or_else(|| position.error("a parenthesis is closed that was not opened"))?;
                }
                _ => {
                    let quoted = byte == b'"';
                    let symbols = if quoted { self.quoted()? } else { self.word()? };
                    let attached = end == Some(position);
                    entry.tokens.push(Token { position, quoted, attached, symbols });
                    end = Some(self.position);
                }
            }
        }
        if let Some(position) = open.pop() {
            return Err(position.error("this parenthesis is never closed"));
        }
        entries.extend((!entry.tokens.is_empty()).then_some(entry));
        Ok(entries)
    }

    fn skip_comment(&mut self) -> &'a [u8] {
        let before = self.rest;
        while self.peek().is_some_and(|byte| byte != b'\n') {
            self.next();
        }
        before.get(..before.len().saturating_sub(self.rest.len())).unwrap_or_default()
    }

    fn word(&mut self) -> Result<Vec<Symbol>, ZoneFileError> {
        let mut symbols = Vec::new();
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' | b';' | b'(' | b')' | b'"' => break,
                _ if byte.is_ascii_control() => {
                    return Err(self
                        .position
                        .error("expected printable characters; write any other as \\DDD"));
                }
                _ => symbols.extend(self.symbol()?),
            }
        }
        Ok(symbols)
    }

    fn quoted(&mut self) -> Result<Vec<Symbol>, ZoneFileError> {
        let start = self.position;
        self.next();
        let mut symbols = Vec::new();
        loop {
            match self.peek() {
                None | Some(b'\n') => return Err(start.error("this quote is not closed on its line")),
                Some(b'"') => {
                    self.next();
                    return Ok(symbols);
                }
                Some(_) => symbols.extend(self.symbol()?),
            }
        }
    }

    /// One character, or an escape sequence. What is not printable ASCII stands for its bytes.
    fn symbol(&mut self) -> Result<Option<Symbol>, ZoneFileError> {
        let position = self.position;
        let symbol = match self.next() {
            Some(b'\\') => match self.next() {
                Some(first) if first.is_ascii_digit() => {
                    let digits = [Some(first), self.next(), self.next()];
                    let value = digits.iter().try_fold(0_u16, |value, digit| {
                        let digit = digit.filter(u8::is_ascii_digit)?;
                        Some(value * 10 + u16::from(digit - b'0'))
                    });
                    value.and_then(|value| u8::try_from(value).ok()).map(Symbol::DecimalEscape)
                }
                Some(byte @ b' '..=b'~') => Some(Symbol::SimpleEscape(byte)),
                _ => None,
            },
            Some(byte @ b' '..=b'~') => Some(Symbol::Char(char::from(byte))),
            Some(byte) => Some(Symbol::DecimalEscape(byte)),
            None => return Ok(None),
        };
        symbol.map(Some).ok_or_else(|| {
            position.error("a backslash needs a printable character or three digits up to 255 behind it")
        })
    }

    fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    fn next(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        match byte {
            b'\n' => self.position = Position { line: self.position.line + 1, column: 1 },
            // The bytes of one character of UTF-8 stand in one column.
            0x80..0xc0 => {}
            _ => self.position.column += 1,
        }
        Some(byte)
    }
}
