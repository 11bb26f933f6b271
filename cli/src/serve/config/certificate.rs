//! `certificate` of an identity.

use std::{net::SocketAddr, path::PathBuf};

use pkdns::edge::certificates::acme::Challenge;
use serde::{Deserialize, Deserializer, de};

use crate::{
    certificate::{self, Way},
    dns::server_address,
};

/// A public certificate for the name of the key in an origin.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::serve) struct Certificate {
    /// The zone in which the key is a name.
    pub(in crate::serve) origin: String,
    /// Names below the key that it is for as well.
    #[serde(default)]
    pub(in crate::serve) names: Vec<String>,
    #[serde(default)]
    pub(in crate::serve) wildcard: bool,
    /// By the packet, which is signed here anyway, if nothing is said.
    challenge: Option<Way>,
    /// Where it is kept. When absent, in the directory of the state.
    pub(in crate::serve) directory: Option<PathBuf>,
    /// The command that makes another program take it.
    pub(in crate::serve) reload: Option<String>,
    #[serde(default)]
    pub(in crate::serve) listen: Vec<SocketAddr>,
    pub(in crate::serve) webroot: Option<PathBuf>,
    /// The address of the authority, if not that of Let's Encrypt.
    pub(in crate::serve) authority: Option<String>,
    pub(in crate::serve) authority_ca: Option<PathBuf>,
    pub(in crate::serve) email: Option<String>,
    #[serde(default, deserialize_with = "server")]
    pub(in crate::serve) resolver: Option<SocketAddr>,
    #[serde(default, deserialize_with = "servers")]
    pub(in crate::serve) name_servers: Vec<SocketAddr>,
}

impl Certificate {
    pub(in crate::serve) fn challenge(&self) -> Challenge {
        self.challenge.map_or(Challenge::Dns01, Into::into)
    }

    /// Paths in it, which are relative to the folder of the configuration.
    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        self.directory.iter_mut().chain(&mut self.webroot).chain(&mut self.authority_ca)
    }

    /// What does not go together, or is no name.
    pub(super) fn fault(&self) -> Option<String> {
        if let Err(why) = certificate::origin(&self.origin) {
            return Some(format!("origin: {why}"));
        }
        if let Some(email) = &self.email
            && let Err(why) = certificate::email(email)
        {
            return Some(format!("email: {why}"));
        }
        let (has_listen, has_webroot) = (!self.listen.is_empty(), self.webroot.is_some());
        certificate::faults(self.challenge(), self.wildcard, has_listen, has_webroot).map(str::to_string)
    }
}

fn server<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    address(&text).map(Some)
}

fn servers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SocketAddr>, D::Error> {
    Vec::<String>::deserialize(deserializer)?.iter().map(|text| address(text)).collect()
}

fn address<E: de::Error>(text: &str) -> Result<SocketAddr, E> {
    server_address(text).map_err(|_| E::custom("expected an address such as 192.0.2.53"))
}
