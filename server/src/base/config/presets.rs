//! Public resolvers that go by a name of their own, so that nobody has to look up addresses and certificates.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use http::uri::PathAndQuery;
use rustls_pki_types::ServerName;
use serde::Deserializer;

use super::{HTTPS_PORT, UpstreamAddress, UpstreamError, address::parse_list, toml_text::nearest};

const PATH: &str = "/dns-query";

/// Who is asked by default: Google's resolver over IPv4 and IPv6, so that a machine that has one of the two only works as it
/// comes.
pub(super) const BY_DEFAULT: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(8, 8, 8, 8)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0x4860, 0x4860, 0, 0, 0, 0, 0x8888)),
];

/// A public resolver, asked over HTTPS: port 443 is open where 853 is not. At an address of each family, so that a machine
/// with one of them has one to ask.
#[derive(Debug)]
pub struct Preset {
    /// As it is written in place of an address.
    pub name: &'static str,
    /// Whom the certificate has to be for.
    host: &'static str,
    addresses: [&'static str; 2],
}

/// docs/operating.md says what each of them does.
pub static PRESETS: [Preset; 5] = [
    Preset { name: "quad9", host: "dns.quad9.net", addresses: ["9.9.9.9", "2620:fe::fe"] },
    Preset { name: "cloudflare", host: "cloudflare-dns.com", addresses: ["1.1.1.1", "2606:4700:4700::1111"] },
    Preset { name: "google", host: "dns.google", addresses: ["8.8.8.8", "2001:4860:4860::8888"] },
    Preset { name: "adguard", host: "dns.adguard-dns.com", addresses: ["94.140.14.14", "2a10:50c0::ad1:ff"] },
    Preset {
        name: "dns4eu",
        host: "protective.joindns4.eu",
        addresses: ["86.54.11.1", "2a13:1001::86:54:11:1"],
    },
];

impl Preset {
    /// The one that this resolver is of.
    pub fn of(upstream: &UpstreamAddress) -> Option<&'static Self> {
        PRESETS.iter().find(|preset| preset.upstreams().any(|own| own == *upstream))
    }

    /// What the name stands for.
    pub fn upstreams(&self) -> impl Iterator<Item = UpstreamAddress> + use<> {
        let name = ServerName::try_from(self.host).ok();
        // All of them are sound, as the tests show.
        self.addresses.into_iter().filter_map(move |ip| {
            let address = (ip.parse::<IpAddr>().ok()?, HTTPS_PORT).into();
            Some(UpstreamAddress::Https {
                name: name.clone()?,
                address,
                path: PathAndQuery::from_static(PATH),
            })
        })
    }
}

/// What stands for one resolver or more, as people write it: an address, or the name of a preset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamEntry(pub Vec<UpstreamAddress>);

impl FromStr for UpstreamEntry {
    type Err = UpstreamError;

    fn from_str(text: &str) -> Result<Self, UpstreamError> {
        let word = text.trim().to_ascii_lowercase();
        if let Some(preset) = PRESETS.iter().find(|preset| preset.name == word) {
            return Ok(Self(preset.upstreams().collect()));
        }
        let is_word = word.starts_with(|first: char| first.is_ascii_alphabetic())
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        match text.parse() {
            Ok(upstream) => Ok(Self(vec![upstream])),
            Err(_) if is_word => Err(UpstreamError::Preset(UnknownPreset(word))),
            Err(error) => Err(error),
        }
    }
}

/// A word that is no preset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownPreset(String);

impl fmt::Display for UnknownPreset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = PRESETS.each_ref().map(|preset| preset.name);
        write!(f, "`{}` is neither an address nor a resolver that is known by name, which are ", self.0)?;
        f.write_str(&names.join(", "))?;
        match nearest(&self.0, names.into_iter()) {
            Some(name) => write!(f, "; did you mean `{name}`?"),
            None => Ok(()),
        }
    }
}

/// Reads one resolver or a list of them, each an address or a name.
pub(super) fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<UpstreamAddress>, D::Error> {
    let entries = parse_list(deserializer, "an address or a list of addresses", str::parse::<UpstreamEntry>)?;
    Ok(entries.into_iter().flat_map(|UpstreamEntry(upstreams)| upstreams).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::access::is_private;

    fn entry(text: &str) -> Result<Vec<String>, String> {
        let entry: Result<UpstreamEntry, _> = text.parse();
        let shown = |entry: UpstreamEntry| entry.0.iter().map(UpstreamAddress::to_string).collect();
        entry.map(shown).map_err(|error| error.to_string())
    }

    #[test]
    fn each_preset_is_asked_over_https_in_both_families() {
        for preset in &PRESETS {
            let upstreams: Vec<_> = preset.upstreams().collect();
            let [v4, v6] = &upstreams[..] else { panic!("{preset:?}") };
            assert!(v4.socket_address().is_ipv4() && v6.socket_address().is_ipv6(), "{preset:?}");
            for upstream in &upstreams {
                assert!(!is_private(upstream.socket_address().ip()), "{preset:?}");
                assert_eq!(upstream.to_string().parse(), Ok(upstream.clone()));
                assert_eq!(Preset::of(upstream).map(|preset| preset.name), Some(preset.name));
            }
        }
        assert!(Preset::of(&"9.9.9.9".parse().unwrap()).is_none());
    }

    #[test]
    fn a_name_stands_for_addresses_and_an_address_for_itself() {
        let quad9 = [
            "https://dns.quad9.net@9.9.9.9:443/dns-query",
            "https://dns.quad9.net@[2620:fe::fe]:443/dns-query",
        ];
        for text in ["quad9", " Quad9 "] {
            assert_eq!(entry(text).unwrap(), quad9);
        }
        assert_eq!(entry("tls://1.1.1.1").unwrap(), ["tls://1.1.1.1:853"]);
        assert_eq!(entry("fe80::1%7").unwrap(), ["[fe80::1%7]:53"]);
    }

    #[test]
    fn an_unknown_name_brings_the_list_of_those_that_are_known() {
        let message = entry("quad8").unwrap_err();
        for preset in &PRESETS {
            assert!(message.contains(preset.name), "{message}");
        }
        assert!(message.ends_with("did you mean `quad9`?"), "{message}");
        assert!(!entry("nonsense").unwrap_err().contains("did you mean"));
        for no_word in ["dns.example", "9.9.9", "", "quad9:53", "tls://quad9"] {
            assert!(!entry(no_word).unwrap_err().contains("known by name"), "{no_word}");
        }
    }
}
