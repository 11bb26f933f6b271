//! Feeds the tokens of one entry to the `domain` crate, which knows the data of each record type.
//!
//! The crate has a reader of whole zone files, too. It panics on `www TXT a (` without an end, lets names with empty
//! labels pass, and cannot say where a record began; so only its record types are used.

use std::slice;

use bytes::{Bytes, BytesMut};
use domain::{
    base::{
        CharStr,
        name::{Name, NameBuilder},
        scan::{ConvertSymbols, EntrySymbol, Scanner, ScannerError, Symbol},
    },
    dep::octseq::str::Str,
};
use thiserror::Error;

use super::{Position, ZoneFileError, lexer::Token};

/// Bytes of one string (RFC 1035 section 3.3).
const MAX_STRING_LENGTH: usize = 255;

/// What was expected at the last token that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{0}")]
pub(super) struct Unexpected(pub(super) &'static str);

impl ScannerError for Unexpected {
    fn custom(message: &'static str) -> Self {
        Self(message)
    }

    fn end_of_entry() -> Self {
        Self("expected more before the end of the line")
    }

    fn short_buf() -> Self {
        Self("the record is too long")
    }

    fn trailing_tokens() -> Self {
        Self("expected the end of the record")
    }
}

/// What names are relative to.
#[derive(Debug, Clone)]
pub(super) struct Names {
    pub(super) origin: Name<Bytes>,
    /// A zone whose names are read as those of another one: the name of each.
    pub(super) moved: Option<(Name<Bytes>, Name<Bytes>)>,
}

impl Names {
    /// `None` where the name gets too long.
    fn moved(&self, name: Name<Bytes>) -> Option<Name<Bytes>> {
        let Some((from, to)) = self.moved.as_ref().filter(|(from, _)| name.ends_with(from)) else {
            return Some(name);
        };
        let below = name.iter().count().checked_sub(from.iter().count())?;
        let mut moved = NameBuilder::new_bytes();
        name.iter().take(below).try_for_each(|label| moved.append_label(label.as_slice())).ok()?;
        moved.append_origin(to).ok()
    }
}

/// The tokens of an entry that are still to be read.
pub(super) struct Tokens<'a> {
    rest: slice::Iter<'a, Token>,
    names: &'a Names,
    position: Position,
    /// The token that was taken last.
    last: Option<&'a Token>,
    /// Tokens that were read as names, and these.
    found_names: Vec<(&'a Token, Name<Bytes>)>,
    /// How many tokens there are in all, and before the data.
    count: usize,
    data_start: usize,
}

impl<'a> Tokens<'a> {
    pub(super) fn new(tokens: &'a [Token], names: &'a Names) -> Self {
        let position = tokens.first().map_or(Position::START, |token| token.position);
        Self {
            rest: tokens.iter(),
            names,
            position,
            last: None,
            found_names: Vec::new(),
            count: tokens.len(),
            data_start: 0,
        }
    }

    /// What has been read as names since this was asked last.
    pub(super) fn take_names(&mut self) -> Vec<(&'a Token, Name<Bytes>)> {
        std::mem::take(&mut self.found_names)
    }

    /// Notes that the data of the record come next.
    pub(super) fn begin_data(&mut self) {
        self.data_start = self.count.saturating_sub(self.rest.len());
    }

    /// How many tokens come before the data.
    pub(super) fn data_start(&self) -> usize {
        self.data_start
    }

    pub(super) fn peek(&self) -> Option<&'a Token> {
        self.rest.as_slice().first()
    }

    pub(super) fn next(&mut self) -> Result<&'a Token, Unexpected> {
        let token = self.rest.next().ok_or_else(Unexpected::end_of_entry)?;
        self.position = token.position;
        self.last = Some(token);
        Ok(token)
    }

    /// Says what is missing if nothing is left.
    pub(super) fn expect_more(&mut self, missing: &'static str) -> Result<(), Unexpected> {
        if self.rest.len() > 0 {
            return Ok(());
        }
        self.last = None;
        Err(Unexpected(missing))
    }

    /// An error at the token that was taken last.
    pub(super) fn error(&self, Unexpected(reason): Unexpected) -> ZoneFileError {
        let reason = EXPLANATIONS
            .iter()
            .find_map(|&(found, explanation)| (reason == found).then_some(explanation))
            .unwrap_or(reason);
        let is_end = reason == Unexpected::end_of_entry().0;
        match self.last.filter(|_| reason.starts_with("expected") && !is_end) {
            Some(found) => self.position.error(format!("{reason}; found {}", found.description())),
            None => self.position.error(reason),
        }
    }

    /// Whether data follow as bytes (RFC 3597 section 5).
    fn is_unknown_marker(&self) -> bool {
        self.peek().is_some_and(|token| !token.quoted && token.symbols == [Symbol::SimpleEscape(b'#')])
    }

    fn octets(&mut self) -> Result<BytesMut, Unexpected> {
        self.next()?.symbols.iter().map(|symbol| octet(*symbol)).collect()
    }
}

/// What the record types say, where we have a better word for it.
const EXPLANATIONS: [(&str, &str); 4] = [
    ("expected decimal number", "expected a number"),
    ("decimal number overflow", "this number is too large"),
    ("unknown record type with concrete data", "data of this type are written as \\# LENGTH HEXADECIMAL"),
    ("generic data has incorrect length", "the data are not as long as the number after \\# says"),
];

impl Scanner for Tokens<'_> {
    type Octets = Bytes;
    type OctetsBuilder = BytesMut;
    type Name = Name<Bytes>;
    type Error = Unexpected;

    fn has_space(&self) -> bool {
        self.peek().is_some_and(|token| !token.attached)
    }

    fn continues(&mut self) -> bool {
        self.peek().is_some()
    }

    fn scan_symbols<F>(&mut self, op: F) -> Result<(), Unexpected>
    where
        F: FnMut(Symbol) -> Result<(), Unexpected>,
    {
        self.next()?.symbols.iter().copied().try_for_each(op)
    }

    fn scan_entry_symbols<F>(&mut self, mut op: F) -> Result<(), Unexpected>
    where
        F: FnMut(EntrySymbol) -> Result<(), Unexpected>,
    {
        while self.continues() {
            self.scan_symbols(|symbol| op(symbol.into()))?;
            op(EntrySymbol::EndOfToken)?;
        }
        Ok(())
    }

    fn convert_token<C: ConvertSymbols<Symbol, Unexpected>>(
        &mut self,
        mut convert: C,
    ) -> Result<Bytes, Unexpected> {
        let mut octets = BytesMut::new();
        self.scan_symbols(|symbol| {
            octets.extend_from_slice(convert.process_symbol(symbol)?.unwrap_or_default());
            Ok(())
        })?;
        octets.extend_from_slice(convert.process_tail()?.unwrap_or_default());
        Ok(octets.freeze())
    }

    fn convert_entry<C: ConvertSymbols<EntrySymbol, Unexpected>>(
        &mut self,
        mut convert: C,
    ) -> Result<Bytes, Unexpected> {
        let mut octets = BytesMut::new();
        self.scan_entry_symbols(|symbol| {
            octets.extend_from_slice(convert.process_symbol(symbol)?.unwrap_or_default());
            Ok(())
        })?;
        octets.extend_from_slice(convert.process_tail()?.unwrap_or_default());
        Ok(octets.freeze())
    }

    fn scan_octets(&mut self) -> Result<Bytes, Unexpected> {
        Ok(self.octets()?.freeze())
    }

    /// A parameter of SVCB: `key="value"` is one (RFC 9460 section 2.1).
    fn scan_svcb_octets(&mut self) -> Result<Bytes, Unexpected> {
        let mut octets = self.octets()?;
        if self.peek().is_some_and(|token| token.attached && token.quoted) {
            octets.extend_from_slice(&self.octets()?);
        }
        Ok(octets.freeze())
    }

    fn scan_ascii_str<F, T>(&mut self, op: F) -> Result<T, Unexpected>
    where
        F: FnOnce(&str) -> Result<T, Unexpected>,
    {
        let octets = self.octets()?;
        match std::str::from_utf8(&octets) {
            Ok(text) if text.is_ascii() => op(text),
            _ => Err(Unexpected("expected ASCII characters")),
        }
    }

    fn scan_name(&mut self) -> Result<Name<Bytes>, Unexpected> {
        const TOO_LONG: Unexpected =
            Unexpected("a label is longer than 63 bytes, or the name longer than 255");
        let token = self.next()?;
        let symbols = token.symbols.as_slice();
        match symbols {
            [Symbol::Char('@')] => return Ok(self.names.origin.clone()),
            [Symbol::Char('.')] => return Ok(Name::root_bytes()),
            [] => return Err(Unexpected("expected a domain name")),
            _ => {}
        }
        let mut name = NameBuilder::new_bytes();
        for symbol in symbols {
            match symbol {
                Symbol::Char('.') if name.in_label() => name.end_label(),
                Symbol::Char('.') => return Err(Unexpected("expected a domain name without empty labels")),
                symbol => name.push(octet(*symbol)?).map_err(|_| TOO_LONG)?,
            }
        }
        let name = if name.in_label() {
            name.append_origin(&self.names.origin).map_err(|_| TOO_LONG)?
        } else {
            name.into_name().map_err(|_| TOO_LONG)?
        };
        let name = self.names.moved(name).ok_or(TOO_LONG)?;
        self.found_names.push((token, name.clone()));
        Ok(name)
    }

    fn scan_charstr(&mut self) -> Result<CharStr<Bytes>, Unexpected> {
        CharStr::from_octets(self.scan_octets()?)
            .map_err(|_| Unexpected("expected a string of at most 255 bytes"))
    }

    fn scan_string(&mut self) -> Result<Str<Bytes>, Unexpected> {
        Str::from_utf8(self.scan_octets()?).map_err(|_| Unexpected("expected UTF-8"))
    }

    fn scan_charstr_entry(&mut self) -> Result<Bytes, Unexpected> {
        let mut strings = BytesMut::new();
        while self.continues() {
            let string = self.octets()?;
            // A longer one is divided: whoever reads text of several strings joins them (RFC 7208 section 3.3).
            let pieces = string.chunks(MAX_STRING_LENGTH);
            for piece in pieces.chain(string.is_empty().then_some([].as_slice())) {
                let length = u8::try_from(piece.len()).map_err(|_| Unexpected::short_buf())?;
                strings.extend_from_slice(&[length]);
                strings.extend_from_slice(piece);
            }
        }
        Ok(strings.freeze())
    }

    fn scan_opt_unknown_marker(&mut self) -> Result<bool, Unexpected> {
        let found = self.is_unknown_marker();
        if found {
            self.next()?;
        }
        Ok(found)
    }

    fn octets_builder(&mut self) -> Result<BytesMut, Unexpected> {
        Ok(BytesMut::new())
    }
}

fn octet(symbol: Symbol) -> Result<u8, Unexpected> {
    symbol.into_octet().map_err(|_| Unexpected("expected printable characters; write any other as \\DDD"))
}
