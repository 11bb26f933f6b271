//! How a certificate may be come by, as the command line and a configuration say it.

use std::path::Path;

use clap::ValueEnum;
use pkdns::{
    edge::certificates::{
        Connections,
        acme::{AcmeAuthority, Challenge},
    },
    sources::forward::TlsClient,
};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::{failure::Failure, network};

/// The authority that gives certificates to everybody.
pub(crate) const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// How an authority sees that a name is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
pub(crate) enum Way {
    #[value(name = "http-01")]
    #[serde(rename = "http-01")]
    Http01,
    #[value(name = "tls-alpn-01")]
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
    #[value(name = "dns-01")]
    #[serde(rename = "dns-01")]
    Dns01,
}

impl From<Way> for Challenge {
    fn from(way: Way) -> Self {
        match way {
            Way::Http01 => Self::Http01,
            Way::TlsAlpn01 => Self::TlsAlpn01,
            Way::Dns01 => Self::Dns01,
        }
    }
}

/// What does not go together, on the command line and in a configuration.
pub(crate) fn faults(
    challenge: Challenge,
    wildcard: bool,
    has_listen: bool,
    has_webroot: bool,
) -> Option<&'static str> {
    match challenge {
        Challenge::Http01 | Challenge::TlsAlpn01 if wildcard => {
            Some("a wildcard needs the challenge dns-01: choose that, or name what is below the key")
        }
        Challenge::TlsAlpn01 | Challenge::Dns01 if has_webroot => Some("webroot is for http-01 alone"),
        Challenge::Dns01 if has_listen => {
            Some("listen has no meaning with dns-01, for which nobody connects: leave it out")
        }
        Challenge::Http01 if has_listen && has_webroot => {
            Some("webroot and listen exclude each other: write one of them")
        }
        _ => None,
    }
}

/// The challenge unless another one is chosen.
pub(crate) fn challenge(chosen: Option<Way>, wildcard: bool) -> Challenge {
    match chosen {
        Some(way) => way.into(),
        None if wildcard => Challenge::Dns01,
        None => Challenge::Http01,
    }
}

/// An authority, whose account is a file in `directory`: one for each address.
pub(crate) fn authority(
    url: &str,
    email: Option<&str>,
    more: Option<&Path>,
    directory: &Path,
) -> Result<AcmeAuthority, Failure> {
    let tls = TlsClient::new(more).map_err(|error| {
        // Its messages name the option of the server.
        Failure::Failed(error.to_string().replace("fallback_ca_path", "the certificates of the authority"))
    })?;
    let connections = Connections { tls: (*tls.for_tls()).clone(), resolve_host: network::system_resolver() };
    let contact = email.map(|address| format!("mailto:{address}")).unwrap_or_default();
    let hash: String = Sha256::digest(url).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let account = directory.join(format!("account-{hash}.json"));
    Ok(AcmeAuthority::new(url, &contact, "", &account, connections))
}

pub(crate) fn email(text: &str) -> Result<String, String> {
    let is_sound = |text: &str| {
        let printable = text.bytes().all(|byte| byte.is_ascii_graphic() && !b",;<>".contains(&byte));
        printable && text.split_once('@').is_some_and(|(user, host)| !user.is_empty() && host.contains('.'))
    };
    match is_sound(text) {
        true => Ok(text.to_string()),
        false => Err("expected an address such as admin@example.net".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_challenge_cannot_do_is_said_before_it_is_tried() {
        use Challenge::{Dns01, Http01, TlsAlpn01};
        for (challenge, wildcard, listen, webroot, part) in [
            (Http01, false, true, false, None),
            (Http01, false, false, true, None),
            (TlsAlpn01, false, true, false, None),
            (Dns01, true, false, false, None),
            (Http01, true, false, false, Some("needs the challenge dns-01")),
            (TlsAlpn01, true, false, false, Some("needs the challenge dns-01")),
            (TlsAlpn01, false, false, true, Some("http-01 alone")),
            (Dns01, false, false, true, Some("http-01 alone")),
            (Dns01, false, true, false, Some("listen has no meaning")),
            (Http01, false, true, true, Some("exclude each other")),
        ] {
            let fault = faults(challenge, wildcard, listen, webroot);
            assert_eq!(fault.is_some(), part.is_some(), "{fault:?}");
            assert!(part.is_none_or(|part| fault.unwrap().contains(part)), "{fault:?}");
        }
        assert_eq!((super::challenge(None, true), super::challenge(None, false)), (Dns01, Http01));
    }

    #[test]
    fn an_address_of_mail_is_one() {
        assert_eq!(email("admin@example.net").as_deref(), Ok("admin@example.net"));
        for text in ["", "admin", "@example.net", "admin@localhost", "a b@example.net", "a@b.c,d@e.f"] {
            assert!(email(text).is_err(), "{text}");
        }
    }
}
