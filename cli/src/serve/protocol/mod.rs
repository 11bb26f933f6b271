//! The dyndns2 protocol: what a router says about its addresses, and the return codes that it is answered with. Pure.

mod return_code;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use ipnet::{IpNet, Ipv6Net};
use percent_encoding::percent_decode_str;
use pkdns::base::access::is_private;
use pkdns_dht::signed_packet::PublicKey;
use zeroize::Zeroizing;

pub use return_code::ReturnCode;

use crate::{name, terminal::printable, zone_file::ExternalAddresses};

/// Names in one request.
pub const MAX_NAMES: usize = 20;

/// Characters of what a router sent that are repeated in the log.
const MAX_SHOWN: usize = 60;

/// Some routers leave the `=` at the end out, which says nothing that the length does not say. Bits that mean nothing have to
/// be zero with and without, so that what is cut short is not taken.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A name and a password.
pub struct Credentials {
    pub user: String,
    pub password: Zeroizing<Vec<u8>>,
}

/// Reads the value of `Authorization` (RFC 7617).
pub fn credentials(header: &str) -> Option<Credentials> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = Zeroizing::new(BASE64.decode(encoded.trim()).ok()?);
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let user = std::str::from_utf8(decoded.get(..colon)?).ok()?.to_string();
    Some(Credentials { user, password: Zeroizing::new(decoded.get(colon + 1..)?.to_vec()) })
}

/// What a router asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct Update {
    /// The names as they were written.
    pub names: Vec<String>,
    pub addresses: Told,
}

/// What was told about addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// This about each family.
    Families(Families),
    /// Nothing: the address that the request came from is meant.
    Nothing,
    /// Nothing, where IPv6 alone is spoken of: an address of IPv4 that the request came from is not meant.
    NothingOfIpv6,
    /// The names are to be taken off the network, which nobody can do.
    Offline,
}

/// What was told about each family. Nobody can use the rest, such as placeholders that a router did not fill in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Families {
    ipv4: Said<Ipv4Addr>,
    ipv6: Said<Ipv6Addr>,
    /// The network that hosts are in.
    prefix: Option<Ipv6Net>,
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
pub struct Change {
    ipv4: Said<Ipv4Addr>,
    ipv6: Said<Ipv6Addr>,
    prefix: Option<Ipv6Net>,
}

/// A part of an update that says no address to publish, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
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
    /// Reads the query of the address. A parameter that is there twice is a list.
    pub fn read(query: &str) -> Result<Self, ReturnCode> {
        let names: Vec<String> =
            values(query, "hostname").take(MAX_NAMES + 1).map(|name| name.trim().to_string()).collect();
        if names.len() > MAX_NAMES {
            return Err(ReturnCode::TooManyNames);
        }
        if names.is_empty() || names.iter().any(String::is_empty) {
            return Err(ReturnCode::NotAName);
        }
        if values(query, "offline").any(|offline| offline.eq_ignore_ascii_case("yes")) {
            return Ok(Self { names, addresses: Told::Offline });
        }
        let mut families = Families::default();
        // Some routers tell the other family apart.
        for parameter in ["myip", "myipv6"] {
            for text in values(query, parameter).filter(|text| !text.trim().is_empty()) {
                families.read(parameter, text.trim());
            }
        }
        let is_named = |parameter| values(query, parameter).next().is_some();
        let addresses = if families != Families::default() {
            Told::Families(families)
        } else if is_named("myipv6") && !is_named("myip") {
            Told::NothingOfIpv6
        } else {
            Told::Nothing
        };
        Ok(Self { names, addresses })
    }
}

/// The values of a parameter, each element of a list by itself.
fn values(query: &str, parameter: &'static str) -> impl Iterator<Item = String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let texts = pairs.filter(move |(name, _)| name.eq_ignore_ascii_case(parameter)).map(|(_, text)| {
        // As forms write a space. What is no UTF-8 is neither a name nor an address.
        percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
    });
    texts.flat_map(|text| text.split(',').map(str::to_string).collect::<Vec<_>>())
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
                "myipv6" => self.ipv6.take_back(),
                _ => self.ipv4.take_back(),
            }
            return;
        }
        match address(text) {
            Err(NoAddress::Prefix(prefix)) => self.prefix = Some(prefix),
            // Of several, the last one that the Internet can reach.
            Ok(address) if is_private(address) && self.has(address) => {}
            Ok(IpAddr::V4(address)) => self.ipv4 = Said::Address(address),
            Ok(IpAddr::V6(address)) => self.ipv6 = Said::Address(address),
            Err(NoAddress::Nonsense(why)) => self.rest.push(LeftOut::new(text, why)),
        }
    }
}

/// What is told in place of an address.
enum NoAddress {
    /// A network of IPv6, in which an address can be made of it.
    Prefix(Ipv6Net),
    Nonsense(&'static str),
}

/// Reads an address, of which MikroTik and others also tell how long its prefix is.
fn address(text: &str) -> Result<IpAddr, NoAddress> {
    const NO_ADDRESS: NoAddress = NoAddress::Nonsense("is no address");
    if !text.contains('/') {
        return text.parse().map(|address: IpAddr| address.to_canonical()).map_err(|_| NO_ADDRESS);
    }
    let net: IpNet = text.parse().map_err(|_| NO_ADDRESS)?;
    // The first address of a network belongs to nobody.
    match net {
        net if net.addr() != net.network() || net.prefix_len() == net.max_prefix_len() => {
            Ok(net.addr().to_canonical())
        }
        IpNet::V4(_) => Err(NoAddress::Nonsense(PREFIX)),
        IpNet::V6(prefix) => Err(NoAddress::Prefix(prefix)),
    }
}

const PREFIX: &str = "is the prefix of a network, and not the address of a host in it";

/// What is to change for a client that was seen at `client`, and what is left out because nobody on the Internet could use
/// it.
///
/// # Errors
///
/// When nothing is left.
pub fn meant(told: Told, client: IpAddr, allow_private: bool) -> (Result<Change, ReturnCode>, Vec<LeftOut>) {
    let mut families = match told {
        Told::Offline => return (Err(ReturnCode::NotOffered), Vec::new()),
        Told::Families(families) => families,
        Told::NothingOfIpv6 if client.to_canonical().is_ipv4() => {
            return (Err(ReturnCode::NoIpv6), Vec::new());
        }
        Told::Nothing | Told::NothingOfIpv6 => match client.to_canonical() {
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
    let mut prefix = families.prefix;
    if let Some(net) = prefix
        && let Some(why) = useless(net.network().into(), allow_private)
    {
        prefix = None;
        families.rest.push(LeftOut::new(&net.to_string(), why));
    }
    let change = Change { ipv4: families.ipv4, ipv6: families.ipv6, prefix };
    if change == Change::default() {
        // The answer names the first; what is left out is for the log of an update that did something.
        let code =
            private.first().map_or(ReturnCode::NoAddress, |(address, _)| ReturnCode::Private(*address));
        return (Err(code), Vec::new());
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
    /// The network in which there is a host whose address is to be published. Where none is configured, that is left out.
    pub fn prefix(self) -> Option<LeftOut> {
        let why = "is the prefix of a network, and not the address of a host in it: set ipv6_host";
        self.prefix.map(|prefix| LeftOut::new(&prefix.to_string(), why))
    }

    /// The same for a key whose host has the address `host` behind the prefix of its network.
    ///
    /// # Errors
    ///
    /// Where a prefix is all that was told, and there is no such host.
    pub fn for_host(self, host: Option<Ipv6Addr>) -> Result<Self, ReturnCode> {
        let Some(prefix) = self.prefix else { return Ok(self) };
        let others = Self { prefix: None, ..self };
        match host {
            Some(host) => {
                let bits = prefix.network().to_bits() | host.to_bits() & prefix.hostmask().to_bits();
                Ok(Self { ipv6: Said::Address(bits.into()), ..others })
            }
            None if others == Self::default() => Err(ReturnCode::Prefix(prefix)),
            None => Ok(others),
        }
    }

    /// What is known after it, where `known` was before.
    pub fn of(self, known: ExternalAddresses) -> ExternalAddresses {
        ExternalAddresses { ipv4: self.ipv4.or(known.ipv4), ipv6: self.ipv6.or(known.ipv6) }
    }

    /// The addresses in it.
    pub fn addresses(self) -> ExternalAddresses {
        self.of(ExternalAddresses::default())
    }
}

impl<T> Said<T> {
    /// An address that stands beside it is meant, whatever their order.
    fn take_back(&mut self) {
        if let Self::Nothing = self {
            *self = Self::TakenBack;
        }
    }

    fn or(self, known: Option<T>) -> Option<T> {
        match self {
            Self::Nothing => known,
            Self::Address(address) => Some(address),
            Self::TakenBack => None,
        }
    }
}

/// Whose zone a name is in.
pub fn key(name: &str) -> Result<PublicKey, ReturnCode> {
    name::parse(name).map(|name| name.key).map_err(|_| ReturnCode::NotAName)
}

#[cfg(test)]
mod tests;
