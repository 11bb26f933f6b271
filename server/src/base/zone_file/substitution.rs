//! Macros in record data that stand for the addresses of this machine. What is quoted or escaped is text and stays.

use std::{
    borrow::Cow,
    net::{Ipv4Addr, Ipv6Addr},
};

use domain::base::scan::Symbol;
use serde::{Deserialize, Serialize};

use super::{Position, ZoneFileError, lexer::Token};

const IPV4: &str = "{external_ipv4}";
const IPV6: &str = "{external_ipv6}";

/// How all macros begin. Other text in braces is not ours: `dohpath=/q{?dns}`.
const BEGINNING: &str = "{external_";

/// What the macros stand for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExternalAddresses {
    /// For `{external_ipv4}`.
    pub ipv4: Option<Ipv4Addr>,
    /// For `{external_ipv6}`.
    pub ipv6: Option<Ipv6Addr>,
}

/// One of the two kinds of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Ipv4,
    Ipv6,
}

impl Family {
    /// Its macro.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => IPV4,
            Self::Ipv6 => IPV6,
        }
    }
}

/// Which macros a zone file has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Macros {
    /// `{external_ipv4}`.
    pub ipv4: bool,
    /// `{external_ipv6}`.
    pub ipv6: bool,
}

/// Which macros are in `tokens`.
pub(super) fn macros(tokens: &[Token]) -> Macros {
    let has = |text| tokens.iter().any(|token| !token.quoted && find(&token.symbols, text).is_some());
    Macros { ipv4: has(IPV4), ipv6: has(IPV6) }
}

/// The first address that `tokens` need and that is not known: its macro, and where that stands.
pub(super) fn lacking(tokens: &[Token], addresses: &ExternalAddresses) -> Option<(Family, Position)> {
    let families = [(Family::Ipv4, addresses.ipv4.is_some()), (Family::Ipv6, addresses.ipv6.is_some())];
    let needs =
        |token: &&Token, family: Family| !token.quoted && find(&token.symbols, family.name()).is_some();
    families.into_iter().filter(|(_, is_known)| !is_known).find_map(|(family, _)| {
        let token = tokens.iter().find(|token| needs(token, family))?;
        Some((family, token.position))
    })
}

/// Replaces the macros in `tokens`.
pub(super) fn substitute<'a>(
    tokens: &'a [Token],
    addresses: &ExternalAddresses,
) -> Result<Cow<'a, [Token]>, ZoneFileError> {
    let mut tokens = Cow::Borrowed(tokens);
    let has = |token: &Token| !token.quoted && find(&token.symbols, BEGINNING).is_some();
    for index in 0..tokens.len() {
        if tokens.get(index).is_some_and(has)
            && let Some(token) = tokens.to_mut().get_mut(index)
        {
            replace(token, IPV4, addresses.ipv4.map(|address| address.to_string()))?;
            replace(token, IPV6, addresses.ipv6.map(|address| address.to_string()))?;
            if has(token) {
                let reason = format!("there is no such macro: known are {IPV4} and {IPV6}");
                return Err(token.position.error(reason));
            }
        }
    }
    Ok(tokens)
}

/// Refuses a macro where none is replaced.
pub(super) fn refuse(token: &Token) -> Result<(), ZoneFileError> {
    match find(&token.symbols, BEGINNING) {
        Some(_) if !token.quoted => Err(token
            .position
            .error("macros are replaced in the data of records only, not in names and directives")),
        _ => Ok(()),
    }
}

fn replace(token: &mut Token, text: &str, address: Option<String>) -> Result<(), ZoneFileError> {
    while let Some(at) = find(&token.symbols, text) {
        let Some(address) = &address else {
            let reason = format!(
                "there is no address for {text}: let it be found (--detect-ip), or write the address itself"
            );
            return Err(token.position.error(reason));
        };
        token.symbols.splice(at..at + text.len(), address.chars().map(Symbol::Char));
    }
    Ok(())
}

fn find(symbols: &[Symbol], text: &str) -> Option<usize> {
    symbols.windows(text.len()).position(|window| {
        window.iter().zip(text.chars()).all(|(symbol, character)| *symbol == Symbol::Char(character))
    })
}
