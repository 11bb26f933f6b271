//! The dyndns2 protocol: what a router says about its addresses, and the words that it is answered with. Pure.

use std::{borrow::Cow, net::IpAddr};

use base64::{Engine, engine::general_purpose::STANDARD};
use percent_encoding::percent_decode_str;
use pkdns::{access::is_private, signed_packet::PublicKey};
use zeroize::Zeroizing;

use crate::{name, zone_file::ExternalAddresses};

/// Names in one request.
pub(super) const MAX_NAMES: usize = 20;

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

/// Addresses that were told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// These.
    Addresses(ExternalAddresses),
    /// None: the one that the request came from is meant.
    None,
    /// Something that is no address.
    Nonsense,
    /// The names are to be taken off the network, which nobody can do.
    Offline,
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
        // Some routers tell the other family apart.
        let texts: Vec<Cow<'_, str>> = ["myip", "myipv6"].iter().filter_map(|name| value(name)).collect();
        Ok(Self { names, addresses: read_addresses(texts.iter().flat_map(|text| text.split(','))) })
    }
}

fn read_addresses<'a>(texts: impl Iterator<Item = &'a str>) -> Told {
    let mut addresses = ExternalAddresses::default();
    for text in texts.map(str::trim).filter(|text| !text.is_empty()) {
        match text.parse::<IpAddr>().map(|address| address.to_canonical()) {
            Ok(IpAddr::V4(address)) => addresses.ipv4 = Some(address),
            Ok(IpAddr::V6(address)) => addresses.ipv6 = Some(address),
            Err(_) => return Told::Nonsense,
        }
    }
    if addresses == ExternalAddresses::default() { Told::None } else { Told::Addresses(addresses) }
}

/// The addresses that are meant, by a client that was seen at `client`.
pub(super) fn meant(told: Told, client: IpAddr, allow_private: bool) -> Result<ExternalAddresses, Word> {
    let addresses = match told {
        Told::Nonsense => return Err(Word::NoAddress),
        Told::Offline => return Err(Word::NotOffered),
        Told::Addresses(addresses) => addresses,
        Told::None => match client.to_canonical() {
            IpAddr::V4(address) => ExternalAddresses { ipv4: Some(address), ipv6: None },
            IpAddr::V6(address) => ExternalAddresses { ipv4: None, ipv6: Some(address) },
        },
    };
    let all = addresses.ipv4.map(IpAddr::V4).into_iter().chain(addresses.ipv6.map(IpAddr::V6));
    match all.into_iter().find(|address| is_private(*address) && !allow_private) {
        Some(address) => Err(Word::Private(address)),
        None => Ok(addresses),
    }
}

/// What is known after `new` was told.
pub(super) fn merge(known: ExternalAddresses, new: ExternalAddresses) -> ExternalAddresses {
    ExternalAddresses { ipv4: new.ipv4.or(known.ipv4), ipv6: new.ipv6.or(known.ipv6) }
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
            Self::Good(addresses) => format!("good {}", list(addresses)),
            Self::Unchanged(addresses) => format!("nochg {}", list(addresses)),
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
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn addresses(ipv4: Option<&str>, ipv6: Option<&str>) -> ExternalAddresses {
        ExternalAddresses {
            ipv4: ipv4.map(|text| text.parse().unwrap()),
            ipv6: ipv6.map(|text| text.parse().unwrap()),
        }
    }

    #[test]
    fn names_and_addresses_are_read_as_routers_send_them() {
        for (query, told) in [
            ("hostname=a.b&myip=198.51.100.7", Told::Addresses(addresses(Some("198.51.100.7"), None))),
            (
                "myip=198.51.100.7,2001:db8::1&hostname=a.b",
                Told::Addresses(addresses(Some("198.51.100.7"), Some("2001:db8::1"))),
            ),
            (
                "system=dyndns&hostname=a.b&myip=198.51.100.7&wildcard=NOCHG",
                Told::Addresses(addresses(Some("198.51.100.7"), None)),
            ),
            (
                "hostname=a%2Eb&myip=&myipv6=2001%3Adb8%3A%3A1",
                Told::Addresses(addresses(None, Some("2001:db8::1"))),
            ),
            ("hostname=a.b&myip=::ffff:198.51.100.7", Told::Addresses(addresses(Some("198.51.100.7"), None))),
            ("hostname=a.b", Told::None),
            ("hostname=a.b&myip=", Told::None),
            ("hostname=a.b&myip=1.2.3", Told::Nonsense),
            ("hostname=a.b&myip=198.51.100.7&offline=YES", Told::Offline),
            ("hostname=a.b&offline=NOCHG", Told::None),
        ] {
            assert_eq!(
                Update::read(query),
                Ok(Update { names: vec!["a.b".into()], addresses: told }),
                "{query}"
            );
        }
        assert_eq!(Update::read("hostname=a,b").unwrap().names, ["a", "b"]);
        for query in ["", "myip=198.51.100.7", "hostname=", "hostname=a,,b"] {
            assert_eq!(Update::read(query), Err(Word::NotAName), "{query}");
        }
        let names = |count| format!("hostname={}", vec!["a"; count].join(","));
        assert_eq!(Update::read(&names(MAX_NAMES)).unwrap().names.len(), MAX_NAMES);
        assert_eq!(Update::read(&names(MAX_NAMES + 1)), Err(Word::TooManyNames));
    }

    #[test]
    fn without_an_address_that_of_the_client_is_meant() {
        let client = "198.51.100.9".parse().unwrap();
        assert_eq!(meant(Told::None, client, false), Ok(addresses(Some("198.51.100.9"), None)));
        let inner = "192.168.1.1".parse().unwrap();
        assert_eq!(meant(Told::None, inner, false), Err(Word::Private(inner)));
        assert_eq!(meant(Told::None, inner, true), Ok(addresses(Some("192.168.1.1"), None)));
        assert_eq!(meant(Told::Nonsense, client, true), Err(Word::NoAddress));
        assert_eq!(meant(Told::Offline, client, true), Err(Word::NotOffered));
    }

    #[test]
    fn a_family_that_is_not_told_stays_as_it_was() {
        let known = addresses(Some("198.51.100.1"), Some("2001:db8::1"));
        let merged = merge(known, addresses(None, Some("2001:db8::2")));
        assert_eq!(merged, addresses(Some("198.51.100.1"), Some("2001:db8::2")));
    }

    #[test]
    fn credentials_are_read_from_basic_authentication() {
        let read = credentials("Basic cm91dGVyOmE6Yg==").unwrap();
        assert_eq!((read.user.as_str(), read.password.as_slice()), ("router", &b"a:b"[..]));
        assert!(credentials("basic cm91dGVyOmE6Yg==").is_some());
        for header in ["", "Basic", "Basic !", "Bearer cm91dGVyOmE6Yg==", "Basic cm91dGVy"] {
            assert!(credentials(header).is_none(), "{header}");
        }
    }

    #[test]
    fn a_name_is_a_key_or_below_one() {
        let z32 = "8pinxxgqs41n4aididenw5apqp1urfmzdztr8jt4abrkdn435ewo";
        for name in [z32.to_string(), format!("{z32}.key"), format!("www.{z32}."), z32.to_uppercase()] {
            assert_eq!(key(&name).unwrap().to_z32(), z32, "{name}");
        }
        assert_eq!(key("home.example"), Err(Word::NotAName));
    }

    proptest! {
        #[test]
        fn any_request_is_read(query in "[-a-z0-9=&,%:.]{0,80}", header in "\\PC{0,40}") {
            let _ = (Update::read(&query), credentials(&header));
        }
    }
}
