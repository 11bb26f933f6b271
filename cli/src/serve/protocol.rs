//! The dyndns2 protocol: what a router says about its addresses, and the words that it is answered with. Pure.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use ipnet::IpNet;
use percent_encoding::percent_decode_str;
use pkdns::{access::is_private, signed_packet::PublicKey};
use zeroize::Zeroizing;

use crate::{name, terminal::printable, zone_file::ExternalAddresses};

/// Names in one request.
pub(super) const MAX_NAMES: usize = 20;

/// Characters of what a router sent that are repeated in the log.
const MAX_SHOWN: usize = 60;

/// A name and a password.
pub(super) struct Credentials {
    pub(super) user: String,
    pub(super) password: Zeroizing<Vec<u8>>,
}

/// Reads the value of `Authorization` (RFC 7617).
pub(super) fn credentials(header: &str) -> Option<Credentials> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = Zeroizing::new(STANDARD.decode(encoded.trim()).ok()?);
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let user = std::str::from_utf8(decoded.get(..colon)?).ok()?.to_string();
    Some(Credentials { user, password: Zeroizing::new(decoded.get(colon + 1..)?.to_vec()) })
}

/// What a router asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Update {
    /// The names as they were written.
    pub(super) names: Vec<String>,
    pub(super) addresses: Told,
}

/// What was told about addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    /// This about each family.
    Families(Families),
    /// Nothing: the address that the request came from is meant.
    Nothing,
    /// The names are to be taken off the network, which nobody can do.
    Offline,
}

/// What was told about each family. Nobody can use the rest, such as placeholders that a router did not fill in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Families {
    ipv4: Said<Ipv4Addr>,
    ipv6: Said<Ipv6Addr>,
    rest: Vec<LeftOut>,
}

/// What is known about one family after an update.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Said<T> {
    /// What was known before.
    #[default]
    Nothing,
    Address(T),
    /// Nothing any more.
    TakenBack,
}

/// What an update changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Change {
    ipv4: Said<Ipv4Addr>,
    ipv6: Said<Ipv6Addr>,
}

/// A part of an update that says no address to publish, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LeftOut {
    text: String,
    why: &'static str,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.text, self.why)
    }
}

impl LeftOut {
    fn new(text: &str, why: &'static str) -> Self {
        let text: String = text.chars().take(MAX_SHOWN).collect();
        Self { text: printable(&text), why }
    }
}

impl Update {
    /// Reads the query of the address.
    pub(super) fn read(query: &str) -> Result<Self, Word> {
        let parameters = || query.split('&').filter_map(|pair| pair.split_once('='));
        let value = |wanted: &str| {
            let (_, value) = parameters().find(|(name, _)| name.eq_ignore_ascii_case(wanted))?;
            percent_decode_str(value).decode_utf8().ok()
        };
        let list = value("hostname").ok_or(Word::NotAName)?;
        let names: Vec<String> =
            list.split(',').take(MAX_NAMES + 1).map(|name| name.trim().to_string()).collect();
        if names.len() > MAX_NAMES {
            return Err(Word::TooManyNames);
        }
        if names.iter().any(String::is_empty) {
            return Err(Word::NotAName);
        }
        if value("offline").is_some_and(|offline| offline.eq_ignore_ascii_case("yes")) {
            return Ok(Self { names, addresses: Told::Offline });
        }
        let mut families = Families::default();
        // Some routers tell the other family apart.
        for parameter in ["myip", "myipv6"] {
            let texts = value(parameter).unwrap_or_default();
            for text in texts.split(',').map(str::trim).filter(|text| !text.is_empty()) {
                families.read(parameter, text);
            }
        }
        let is_nothing = families == Families::default();
        let addresses = if is_nothing { Told::Nothing } else { Told::Families(families) };
        Ok(Self { names, addresses })
    }
}

impl Families {
    /// Whether there is an address of this family.
    fn has(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(_) => matches!(self.ipv4, Said::Address(_)),
            IpAddr::V6(_) => matches!(self.ipv6, Said::Address(_)),
        }
    }

    /// Reads one value of a parameter.
    fn read(&mut self, parameter: &str, text: &str) {
        if text.eq_ignore_ascii_case("no") {
            match parameter {
                "myipv6" => self.ipv6 = Said::TakenBack,
                _ => self.ipv4 = Said::TakenBack,
            }
            return;
        }
        match address(text) {
            // Of several, the last one that the Internet can reach.
            Ok(address) if is_private(address) && self.has(address) => {}
            Ok(IpAddr::V4(address)) => self.ipv4 = Said::Address(address),
            Ok(IpAddr::V6(address)) => self.ipv6 = Said::Address(address),
            Err(why) => self.rest.push(LeftOut::new(text, why)),
        }
    }
}

/// Reads an address, of which MikroTik and others also tell how long its prefix is.
fn address(text: &str) -> Result<IpAddr, &'static str> {
    const NO_ADDRESS: &str = "is no address";
    let Some((address, length)) = text.split_once('/') else {
        return text.parse().map(|address: IpAddr| address.to_canonical()).map_err(|_| NO_ADDRESS);
    };
    let net: IpNet = format!("{address}/{length}").parse().map_err(|_| NO_ADDRESS)?;
    // The first address of a network belongs to nobody.
    match net.addr() == net.network() && net.prefix_len() < net.max_prefix_len() {
        true => Err("is the prefix of a network, and not the address of a host in it"),
        false => Ok(net.addr().to_canonical()),
    }
}

/// What is to change for a client that was seen at `client`, and what is left out because nobody on the Internet could use
/// it.
///
/// # Errors
///
/// When nothing is left.
pub(super) fn meant(told: Told, client: IpAddr, allow_private: bool) -> (Result<Change, Word>, Vec<LeftOut>) {
    let mut families = match told {
        Told::Offline => return (Err(Word::NotOffered), Vec::new()),
        Told::Families(families) => families,
        Told::Nothing => match client.to_canonical() {
            IpAddr::V4(address) => Families { ipv4: Said::Address(address), ..Families::default() },
            IpAddr::V6(address) => Families { ipv6: Said::Address(address), ..Families::default() },
        },
    };
    let mut private = Vec::new();
    if let Said::Address(address) = families.ipv4
        && let Some(why) = useless(address.into(), allow_private)
    {
        families.ipv4 = Said::Nothing;
        private.push((IpAddr::from(address), why));
    }
    if let Said::Address(address) = families.ipv6
        && let Some(why) = useless(address.into(), allow_private)
    {
        families.ipv6 = Said::Nothing;
        private.push((IpAddr::from(address), why));
    }
    let change = Change { ipv4: families.ipv4, ipv6: families.ipv6 };
    if change == Change::default() {
        // The answer names the first; what is left out is for the log of an update that did something.
        let word = private.first().map_or(Word::NoAddress, |(address, _)| Word::Private(*address));
        return (Err(word), Vec::new());
    }
    let private = private.iter().map(|(address, why)| LeftOut::new(&address.to_string(), why));
    (Ok(change), private.chain(families.rest).collect())
}

/// Why an address is none to publish.
fn useless(address: IpAddr, allow_private: bool) -> Option<&'static str> {
    match is_private(address) {
        _ if address.is_unspecified() => Some("stands for no address at all"),
        true if !allow_private => Some("means nothing on the Internet; set allow_private if it is meant"),
        _ => None,
    }
}

impl Change {
    /// What is known after it, where `known` was before.
    pub(super) fn of(self, known: ExternalAddresses) -> ExternalAddresses {
        ExternalAddresses { ipv4: self.ipv4.or(known.ipv4), ipv6: self.ipv6.or(known.ipv6) }
    }

    /// The addresses in it.
    pub(super) fn addresses(self) -> ExternalAddresses {
        self.of(ExternalAddresses::default())
    }
}

impl<T> Said<T> {
    fn or(self, known: Option<T>) -> Option<T> {
        match self {
            Self::Nothing => known,
            Self::Address(address) => Some(address),
            Self::TakenBack => None,
        }
    }
}

/// Whose zone a name is in.
pub(super) fn key(name: &str) -> Result<PublicKey, Word> {
    name::parse(name).map(|name| name.key).map_err(|_| Word::NotAName)
}

/// What is answered for a name. Clients read the first word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// The address is new.
    Good(ExternalAddresses),
    /// It is known already.
    Unchanged(ExternalAddresses),
    /// Wrong user or password.
    BadAuthentication,
    /// This user has no such name here.
    NoHost,
    /// It is no name of a public key.
    NotAName,
    /// More names than one request may have.
    TooManyNames,
    /// An option that only some services have: to take a name off the network.
    NotOffered,
    /// What was told is no address.
    NoAddress,
    /// The address is of a private network.
    Private(IpAddr),
    /// Too many requests.
    Abuse,
    /// It is no router that asks.
    BadAgent,
    /// The address could not be kept, or too many others are to be.
    Failure,
}

impl Word {
    /// One line.
    pub(super) fn line(self) -> String {
        let list = |addresses: ExternalAddresses| {
            let v4 = addresses.ipv4.map(|address| address.to_string());
            v4.into_iter()
                .chain(addresses.ipv6.map(|address| address.to_string()))
                .collect::<Vec<_>>()
                .join(",")
        };
        match self {
            // A family that was taken back is no address to repeat.
            Self::Good(addresses) => format!("good {}", list(addresses)).trim_end().to_string(),
            Self::Unchanged(addresses) => format!("nochg {}", list(addresses)).trim_end().to_string(),
            Self::BadAuthentication => "badauth".to_string(),
            Self::NoHost => "nohost".to_string(),
            Self::NotAName => "notfqdn".to_string(),
            Self::TooManyNames => "numhost".to_string(),
            Self::NotOffered => "!donator".to_string(),
            Self::NoAddress => "dnserr myip is not an address".to_string(),
            Self::Private(address) => {
                format!(
                    "dnserr {address} is of a private network: have the router send myip, or set allow_private"
                )
            }
            Self::Abuse => "abuse".to_string(),
            Self::BadAgent => "badagent".to_string(),
            Self::Failure => "911".to_string(),
        }
    }

    /// What it means for whoever reads the log, where the line does not say so.
    pub(super) fn reason(self) -> Option<&'static str> {
        match self {
            Self::Good(_) | Self::Unchanged(_) | Self::NoAddress | Self::Private(_) => None,
            Self::BadAuthentication => Some("the user or the password is wrong, or none was sent"),
            Self::NoHost => Some("this user has no such key here"),
            Self::NotAName => Some("hostname is missing, or is no name of a key"),
            Self::TooManyNames => Some("more names than one request may have"),
            Self::NotOffered => Some("a packet cannot be taken back"),
            Self::Abuse => Some("too many requests of this address in a minute"),
            Self::BadAgent => Some("a web page or a link had a browser send it"),
            Self::Failure => Some("too many others wait, or it could not be written down"),
        }
    }
}

#[cfg(test)]
mod tests;
