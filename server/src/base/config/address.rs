//! Addresses, address ranges and suffixes as people write them.

use std::{
    fmt::{self, Display},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
};

use http::HeaderName;
use ipnet::IpNet;
use nix::net::if_::if_nametoindex;
use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Unexpected, Visitor},
};
use thiserror::Error;

use super::NO_PORT;
use crate::base::access::Allowed;

/// Why a text is not an address to listen on or to ask.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AddressError {
    /// It has a scheme that means nothing here.
    #[error("`{0}`: write the address alone, such as `9.9.9.9:53`, without a scheme")]
    Scheme(String),
    /// The port is missing and has no default.
    #[error("`{0}` needs a port: write an address such as `127.0.0.1:8080`")]
    PortMissing(String),
    /// The port is not a number that fits.
    #[error("`{0}`: the port must be a number from 0 to 65535")]
    Port(String),
    /// It is one of many machines, each on its own link.
    #[error(
        "`{0}` is the same on every link: add the interface, as in `fe80::1%eth0` or `[fe80::1%eth0]:53`; \
         `ip -6 route` shows which"
    )]
    InterfaceMissing(String),
    /// It names an interface that is not there.
    #[error("`{0}`: this machine has no interface `{1}`; `ip link` shows those it has")]
    NoSuchInterface(String, String),
    /// Anything else, such as a host name.
    #[error("`{0}` is not an IP address: write `127.0.0.1`, `127.0.0.1:53`, `::1` or `[::1]:53`")]
    NotAnAddress(String),
}

/// Reads `ADDR`, `ADDR:PORT` or `[ADDR]:PORT`. Without a port it gets `default_port`. A link-local address has its
/// interface behind it, as `fe80::1%eth0` or with its number (RFC 4007 section 11).
///
/// # Errors
///
/// What to write instead.
pub fn parse_address(text: &str, default_port: u16) -> Result<SocketAddr, AddressError> {
    let text = text.trim();
    let quoted = || text.to_owned();
    if text.contains("://") {
        return Err(AddressError::Scheme(quoted()));
    }
    let Some((without, interface)) = split_interface(text) else {
        return Err(AddressError::NotAnAddress(quoted()));
    };
    let mut address = parse_without_interface(text, &without, default_port)?;
    if let (SocketAddr::V6(address), Some(interface)) = (&mut address, interface) {
        let index = match interface.parse() {
            Ok(number) => Some(number),
            Err(_) => if_nametoindex(interface).ok(),
        };
        let Some(index) = index.filter(|index| *index > 0) else {
            return Err(AddressError::NoSuchInterface(quoted(), interface.to_owned()));
        };
        address.set_scope_id(index);
    }
    match address {
        SocketAddr::V4(_) if interface.is_some() => Err(AddressError::NotAnAddress(quoted())),
        SocketAddr::V6(address) if address.ip().is_unicast_link_local() && address.scope_id() == 0 => {
            Err(AddressError::InterfaceMissing(quoted()))
        }
        address => Ok(address),
    }
}

/// `without` is `text` without the interface.
fn parse_without_interface(text: &str, without: &str, default_port: u16) -> Result<SocketAddr, AddressError> {
    let quoted = || text.to_owned();
    if let Ok(address) = without.parse::<SocketAddr>() {
        return Ok(address);
    }
    if let Some(address) = parse_host(without) {
        return match default_port {
            NO_PORT => Err(AddressError::PortMissing(quoted())),
            port => Ok((address, port).into()),
        };
    }
    match without.rsplit_once(':') {
        Some((host, _)) if parse_host(host).is_some() => Err(AddressError::Port(quoted())),
        _ => Err(AddressError::NotAnAddress(quoted())),
    }
}

/// Takes `%INTERFACE` out of an address. `None` where nothing follows the `%`, or nothing ends it.
fn split_interface(text: &str) -> Option<(String, Option<&str>)> {
    let Some((address, rest)) = text.split_once('%') else {
        return Some((text.to_owned(), None));
    };
    let (interface, rest) = if address.starts_with('[') {
        let end = rest.find(']')?;
        rest.split_at_checked(end)?
    } else {
        (rest, "")
    };
    (!interface.is_empty()).then(|| (format!("{address}{rest}"), Some(interface)))
}

fn parse_host(text: &str) -> Option<IpAddr> {
    match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inside) => inside.parse::<Ipv6Addr>().ok().map(IpAddr::from),
        None => text.parse().ok(),
    }
}

/// Reads one address or a list of them.
pub(super) fn list<'de, const DEFAULT_PORT: u16, D>(deserializer: D) -> Result<Vec<SocketAddr>, D::Error>
where
    D: Deserializer<'de>,
{
    parse_list(deserializer, "an address or a list of addresses", |text| parse_address(text, DEFAULT_PORT))
}

/// Reads one text or a list of them with `parse`.
pub(super) fn parse_list<'de, T, E, D>(
    deserializer: D,
    expecting: &'static str,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<Vec<T>, D::Error>
where
    E: Display,
    D: Deserializer<'de>,
{
    deserializer.deserialize_any(OneOrMany::new(expecting, parse))
}

/// As [`list`]; a number is the port to listen on at all IPv4 addresses of this machine.
pub(super) fn list_or_port<'de, const DEFAULT_PORT: u16, D>(
    deserializer: D,
) -> Result<Vec<SocketAddr>, D::Error>
where
    D: Deserializer<'de>,
{
    let expecting = "an address or a list of addresses";
    let list = OneOrMany::new(expecting, |text: &str| parse_address(text, DEFAULT_PORT));
    deserializer
        .deserialize_any(OneOrMany { port: Some(|port| (Ipv4Addr::UNSPECIFIED, port).into()), ..list })
}

/// As [`list`], where absence means something else than the default list.
pub(super) fn optional_list<'de, const DEFAULT_PORT: u16, D>(
    deserializer: D,
) -> Result<Option<Vec<SocketAddr>>, D::Error>
where
    D: Deserializer<'de>,
{
    list::<DEFAULT_PORT, D>(deserializer).map(Some)
}

/// Reads one address range or a list of them; an address alone is a range of one.
pub(super) fn ranges<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    deserializer.deserialize_any(OneOrMany::new("an address range or a list of them", |text: &str| {
        let text = text.trim();
        let alone = text.parse::<IpAddr>().map(IpNet::from);
        text.parse().or(alone).map_err(|_| {
            format!("`{text}` is not an address range: write `192.168.0.0/16`, `fd00::/8` or `192.168.1.7`")
        })
    }))
}

/// Reads one address range or `connected`, or a list of them.
pub(super) fn allowed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Allowed>, D::Error> {
    deserializer.deserialize_any(OneOrMany::new("an address range or a list of them", |text: &str| {
        let text = text.trim();
        text.parse::<Allowed>().map_err(|_| {
            format!(
                "`{text}` is not an address range: write `192.168.0.0/16`, `fd00::/8`, `192.168.1.7`, or `connected` for \
                 the networks of this machine"
            )
        })
    }))
}

/// Reads one name, in lower case and without a dot at its end.
pub(super) fn suffix<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?.trim().to_ascii_lowercase();
    Ok(name.strip_suffix('.').unwrap_or(&name).to_owned())
}

/// Reads one suffix or a list of them. Names are compared in lower case, and a dot at the end changes nothing.
pub(super) fn suffixes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    deserializer.deserialize_any(OneOrMany::new("a name or a list of names", |text: &str| {
        let name = text.trim().to_ascii_lowercase();
        Ok::<_, String>(name.strip_suffix('.').unwrap_or(&name).to_owned())
    }))
}

/// Reads one text or a list of them, as they are.
pub(super) fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    parse_list(deserializer, "a text or a list of texts", |text| Ok::<_, String>(text.to_owned()))
}

/// Reads the path of one file, or of several.
pub(super) fn paths<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PathBuf>, D::Error> {
    parse_list(deserializer, "a path or a list of paths", |text| match text {
        "" => Err("\"\" is not the path of a file: leave the option out"),
        path => Ok(PathBuf::from(path)),
    })
}

/// Reads one host name or address or a list of them; in lower case, without a dot at the end.
pub(super) fn hosts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    deserializer.deserialize_any(OneOrMany::new("a host name, an address or a list of them", |text: &str| {
        let host = text.trim().to_ascii_lowercase();
        let host = host.strip_suffix('.').unwrap_or(&host);
        let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let is_name = !host.is_empty()
            && host.len() < 254
            && host.bytes().all(is_name_byte)
            && host.split('.').all(|label| (1..=63).contains(&label.len()));
        match parse_host(host) {
            Some(address) => Ok(address.to_string()),
            None if is_name => Ok(host.to_owned()),
            None => Err(format!(
                "`{text}` is neither a host name nor an address: write `dns.example.net` or `192.0.2.1`"
            )),
        }
    }))
}

/// Reads the name of a header, in lower case.
pub(super) fn header<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let name = text.trim().parse::<HeaderName>().map_err(|_| {
        D::Error::custom(format!("`{text}` is not the name of a header: write one such as `X-Real-IP`"))
    })?;
    Ok(Some(name.as_str().to_owned()))
}

/// A visitor rather than an untagged enum: it keeps the reason why a value was refused.
struct OneOrMany<T, F> {
    expecting: &'static str,
    parse: F,
    /// What a number stands for, if it may be there.
    port: Option<fn(u16) -> T>,
}

impl<T, F> OneOrMany<T, F> {
    fn new(expecting: &'static str, parse: F) -> Self {
        Self { expecting, parse, port: None }
    }
}

impl<'de, T, E: Display, F: Fn(&str) -> Result<T, E>> Visitor<'de> for OneOrMany<T, F> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in quotes", self.expecting)?;
        if self.port.is_some() { f.write_str(", or a port") } else { Ok(()) }
    }

    fn visit_i64<R: Error>(self, number: i64) -> Result<Vec<T>, R> {
        let item = self.port.zip(number.try_into().ok()).map(|(item, port)| item(port));
        item.map(|item| vec![item]).ok_or_else(|| R::invalid_value(Unexpected::Signed(number), &self))
    }

    fn visit_str<R: Error>(self, text: &str) -> Result<Vec<T>, R> {
        Ok(vec![(self.parse)(text).map_err(R::custom)?])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
        let mut list = Vec::new();
        while let Some(text) = items.next_element::<String>()? {
            list.push((self.parse)(&text).map_err(A::Error::custom)?);
        }
        Ok(list)
    }
}

/// Whether forwarding to `upstream` would be asking ourselves: a listener has its port, and its address or, for a
/// loopback address, all addresses of its family.
pub fn is_own_address(upstream: SocketAddr, listening: &[SocketAddr]) -> bool {
    let ip = upstream.ip().to_canonical();
    // The system takes 0.0.0.0 and :: as a destination for this machine.
    let is_this_machine = ip.is_loopback() || ip.is_unspecified();
    listening.iter().any(|listener| {
        let own = listener.ip().to_canonical();
        // The same link-local address may be another machine's on another link.
        let is_on_same_link = match (listener, upstream) {
            (SocketAddr::V6(listener), SocketAddr::V6(upstream)) => {
                listener.scope_id() == upstream.scope_id()
            }
            _ => true,
        };
        let is_same = own == ip && is_on_same_link
            || own.is_unspecified() && own.is_ipv4() == ip.is_ipv4() && is_this_machine
            || ip.is_unspecified() && own.is_loopback() && own.is_ipv4() == ip.is_ipv4();
        listener.port() == upstream.port() && is_same
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_port_gets_the_default() {
        for (text, expected) in [
            ("8.8.8.8", "8.8.8.8:53"),
            ("8.8.8.8:5353", "8.8.8.8:5353"),
            (" 8.8.8.8 ", "8.8.8.8:53"),
            ("2001:db8::1", "[2001:db8::1]:53"),
            ("[2001:db8::1]", "[2001:db8::1]:53"),
            ("[::1]:0", "[::1]:0"),
        ] {
            assert_eq!(parse_address(text, 53), Ok(expected.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn what_is_not_an_address_says_what_to_write() {
        for (text, part) in [
            ("tls://1.1.1.1", "without a scheme"),
            ("udp://1.1.1.1", "without a scheme"),
            ("dns.example:53", "is not an IP address"),
            ("localhost", "is not an IP address"),
            ("1.1.1.1:", "the port must be"),
            ("1.1.1.1:65536", "the port must be"),
            ("[::1]:dns", "the port must be"),
            ("", "is not an IP address"),
        ] {
            let error = parse_address(text, 53).expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert_eq!(parse_address("::1", NO_PORT), Err(AddressError::PortMissing("::1".into())));
    }

    #[test]
    fn a_link_local_address_has_its_interface_by_name_or_number() {
        let loopback = if_nametoindex("lo").expect("every machine has one");
        for (text, expected) in [
            ("fe80::1%lo", format!("[fe80::1%{loopback}]:53")),
            ("[fe80::1%lo]", format!("[fe80::1%{loopback}]:53")),
            ("[fe80::1%lo]:5300", format!("[fe80::1%{loopback}]:5300")),
            ("fe80::1%7", "[fe80::1%7]:53".to_owned()),
            ("[fe80::1%7]:53", "[fe80::1%7]:53".to_owned()),
            ("2001:db8::1%7", "[2001:db8::1%7]:53".to_owned()),
        ] {
            let address = parse_address(text, 53).expect(text);
            assert_eq!(address.to_string(), expected, "{text}");
            assert_eq!(parse_address(&expected, 53), Ok(address), "what is written can be read again");
        }
        for (text, part) in [
            ("fe80::1", "add the interface"),
            ("[fe80::1]:53", "add the interface"),
            ("febf::1", "add the interface"),
            ("fe80::1%absent", "has no interface `absent`"),
            ("fe80::1%0", "has no interface `0`"),
            ("[fe80::1%absent]:53", "has no interface `absent`"),
            ("fe80::1%", "is not an IP address"),
            ("[fe80::1%lo:53", "is not an IP address"),
            ("192.0.2.1%lo", "is not an IP address"),
            ("[fe80::1%lo]:dns", "the port must be"),
        ] {
            let error = parse_address(text, 53).expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!(parse_address("fec0::1", 53).is_ok(), "that is another range");
    }

    #[test]
    fn an_upstream_that_is_ourselves_is_told_by_its_address() {
        for (upstream, listening, own) in [
            ("127.0.0.1:53", "127.0.0.1:53", true),
            ("127.0.0.1:53", "127.0.0.1:5300", false),
            ("127.0.0.1:53", "0.0.0.0:53", true),
            ("127.0.0.53:53", "0.0.0.0:53", true),
            ("127.0.0.53:53", "127.0.0.1:53", false),
            ("[::1]:53", "[::]:53", true),
            ("[::1]:53", "0.0.0.0:53", false),
            ("192.168.1.2:53", "192.168.1.2:53", true),
            ("[::ffff:192.168.1.2]:53", "192.168.1.2:53", true),
            ("0.0.0.0:53", "127.0.0.1:53", true),
            ("0.0.0.0:53", "0.0.0.0:53", true),
            ("8.8.8.8:53", "0.0.0.0:53", false),
            ("[fe80::1%2]:53", "[fe80::1%2]:53", true),
            ("[fe80::1%2]:53", "[fe80::1%3]:53", false),
        ] {
            let (upstream, listening) = (upstream.parse().expect("one"), listening.parse().expect("two"));
            assert_eq!(is_own_address(upstream, &[listening]), own, "{upstream} {listening}");
        }
        assert!(!is_own_address("127.0.0.1:53".parse().expect("one"), &[]));
    }
}
