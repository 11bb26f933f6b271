//! `[[origin]]`: zones of the public DNS in which `<key>.<zone>` is the key, and for which this server is authoritative.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{
    Config, address,
    check::{Faults, suffix_fault},
};

/// Each question is compared with all of them.
const MAX_ORIGINS: usize = 16;

/// As many as fit an answer of 512 bytes with their addresses, as the root zone has them.
const MAX_NAME_SERVERS: usize = 13;

/// A zone of the public DNS in which keys are names.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// Its name. Lower case, without dots at the ends.
    #[serde(deserialize_with = "address::suffix")]
    pub name: String,
    /// The names of its name servers, as the zone above has them. Without any, those of the zone file, or `ns.<name>` at the
    /// addresses that are listened on. Lower case, without dots at the ends.
    #[serde(default, deserialize_with = "address::suffixes")]
    pub name_servers: Vec<String>,
    /// A zone file with what there is besides keys.
    #[serde(default)]
    pub zone_file: Option<PathBuf>,
    /// Whether keys may have loopback, private or link-local addresses here.
    #[serde(default)]
    pub allow_private: bool,
    /// Most keys looked up in a minute for those whom `[access]` does not serve, all together; zero switches that off. 3000 if it
    /// is not said.
    #[serde(default)]
    pub lookups_per_minute: Option<u32>,
}

impl Config {
    pub(super) fn check_origins(&self, faults: &mut Faults) {
        if self.origin.len() > MAX_ORIGINS {
            faults.add("origin", format!("there are more than {MAX_ORIGINS} of them"));
        }
        for (index, origin) in self.origin.iter().enumerate() {
            let name = &origin.name;
            if let Some(advice) = suffix_fault(name) {
                faults.add("origin.name", advice);
            } else if !name.contains('.') {
                faults.add(
                    "origin.name",
                    format!("\"{name}\" is a whole top-level domain; write a name that is yours, such as \"pk.example.net\""),
                );
            }
            if let Some(suffix) = self.names.suffixes.iter().find(|suffix| is_at_or_below(suffix, name)) {
                faults.add_with(
                    "origin.name",
                    &["names.suffixes"],
                    format!(
                        "\"{name}\" is a zone of the public DNS, so that its keys need no \"{suffix}\" in names.suffixes: \
                         take it out there"
                    ),
                );
            }
            let mut others = self.origin.iter().take(index).map(|other| &other.name);
            if let Some(other) =
                others.find(|other| is_at_or_below(other, name) || is_at_or_below(name, other))
            {
                faults.add(
                    "origin.name",
                    format!(
                        "\"{name}\" and \"{other}\" are one zone or one inside of the other; keep one of them"
                    ),
                );
            }
            if origin.name_servers.len() > MAX_NAME_SERVERS {
                faults.add("origin.name_servers", format!("names more than {MAX_NAME_SERVERS}"));
            }
            for server in &origin.name_servers {
                if server.parse::<std::net::IpAddr>().is_ok() {
                    faults.add(
                        "origin.name_servers",
                        format!("\"{server}\" is an address; write a name such as \"ns1.{name}\", and give it the address in zone_file"),
                    );
                } else if let Some(advice) = suffix_fault(server) {
                    faults.add("origin.name_servers", advice);
                }
            }
        }
    }
}

/// Of names in lower case, without dots at the ends.
fn is_at_or_below(name: &str, zone: &str) -> bool {
    name.strip_suffix(zone).is_some_and(|below| below.is_empty() || below.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use crate::base::config::ConfigFile;

    fn said(text: &str) -> String {
        let checked = ConfigFile::parse("pkdns.toml".as_ref(), text).and_then(ConfigFile::check);
        checked.err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn an_origin_that_cannot_be_one_is_a_mistake_with_its_line_and_what_to_write() {
        for (text, begins) in [
            ("[[origin]]\nname = 'pk.example.net'", ""),
            ("[[origin]]\nname = 'PK.Example.Net.'\nname_servers = 'ns1.example.net'", ""),
            ("[[origin]]\nname = 'pk.example.net'\n[[origin]]\nname = 'kpk.example.net'", ""),
            ("[[origin]]\nname = 'com'", "pkdns.toml:1: origin.name: \"com\" is a whole top-level domain"),
            ("[[origin]]\nname = ''", "pkdns.toml:1: origin.name: \"\" is not a name"),
            ("[[origin]]\nname = 'a..b'", "pkdns.toml:1: origin.name: \"a..b\" has two dots in a row"),
            (
                "[[origin]]\nname = 'pk.example.net'\n[names]\nsuffixes = ['key', 'pk.example.net']",
                "pkdns.toml:1: origin.name: \"pk.example.net\" is a zone of the public DNS",
            ),
            (
                "[[origin]]\nname = 'example.net'\n[names]\nsuffixes = 'pk.example.net'",
                "pkdns.toml:1: origin.name: \"example.net\" is a zone of the public DNS",
            ),
            (
                "[[origin]]\nname = 'pk.example.net'\n[[origin]]\nname = 'example.net'",
                "pkdns.toml:1: origin.name: \"example.net\" and \"pk.example.net\" are one zone",
            ),
            (
                "[[origin]]\nname = 'pk.example.net'\n[[origin]]\nname = 'pk.example.net'",
                "pkdns.toml:1: origin.name: \"pk.example.net\" and \"pk.example.net\" are one zone",
            ),
            (
                "[[origin]]\nname = 'pk.example.net'\nname_servers = ['192.0.2.1']",
                "pkdns.toml:1: origin.name_servers: \"192.0.2.1\" is an address",
            ),
            ("[[origin]]\nname_servers = 'ns1.example.net'", "pkdns.toml:1: origin: `name` is missing"),
        ] {
            let said = said(text);
            assert!(said.starts_with(begins) && said.is_empty() == begins.is_empty(), "{text}\n{said}");
        }
    }
}
