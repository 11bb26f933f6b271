//! What `serve` is told: which zones, how often, and from whom addresses are taken.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use pkdns::config::{RelayUrl, TomlMistake, TomlMistakeKind, nearest, parse_toml, text_of};
use serde::{Deserialize, Deserializer, de};

use crate::{external_address::Service, failure::Failure, input, keeper::Interval, seed::FileName};

/// Larger files are not configurations. A thousand identities with their records take half of it.
const MAX_SIZE: usize = 4 << 20;

const NO_IDENTITY: &str = "there is no [[identity]], so there is nothing to publish";

/// As [`pkdns::config`] says it.
const LIST: &str = "a list in brackets";

/// Most identities of one publisher.
const MAX_IDENTITIES: usize = 10_000;

/// The whole file.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    /// Where is kept what has to outlive the program. When absent, systemd's `StateDirectory=`, or
    /// `~/.pkdns/publisher`.
    pub(super) state: Option<PathBuf>,
    /// DHT nodes to join through, if not those of the public network. The command line wins.
    #[serde(default)]
    pub(super) bootstrap: Vec<String>,
    /// Relays of identities that name none.
    #[serde(default)]
    pub(super) relays: Vec<RelayUrl>,
    pub(super) dyndns: Option<Dyndns>,
    #[serde(default)]
    pub(super) detection: Detection,
    #[serde(rename = "identity")]
    pub(super) identities: Vec<Identity>,
}

/// Where routers tell their addresses.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Dyndns {
    pub(super) listen: Vec<SocketAddr>,
    /// Certificate chain and key in PEM. Without them it is plain HTTP, for a proxy or for one's own network.
    pub(super) cert_path: Option<PathBuf>,
    pub(super) key_path: Option<PathBuf>,
    /// Peers whose word about the client's address is taken.
    #[serde(default, deserialize_with = "ranges")]
    pub(super) trusted_proxies: Vec<IpNet>,
    /// Whether an address of a private network is accepted.
    #[serde(default)]
    pub(super) allow_private: bool,
}

/// How the addresses of this machine are found, for identities that say `address = "detect"`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Detection {
    /// Whom to ask instead of the usual ones.
    pub(super) services: Vec<Service>,
    pub(super) ipv6_from_interface: bool,
    pub(super) allow_private: bool,
}

/// One key and its zone.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Identity {
    pub(super) seed: PathBuf,
    /// First line: the passphrase of the seed file, if that is encrypted.
    pub(super) passphrase_file: Option<PathBuf>,
    pub(super) zone_file: Option<PathBuf>,
    /// Zone file as text, instead.
    pub(super) records: Option<String>,
    #[serde(default)]
    pub(super) interval: Interval,
    pub(super) relays: Option<Vec<RelayUrl>>,
    #[serde(default)]
    pub(super) address: AddressSource,
    /// Who may tell the address.
    pub(super) user: Option<String>,
    /// The hash of that user's password, as `pkdns-cli password` prints it.
    pub(super) password: Option<String>,
    /// What the address of a host is behind the prefix of its network, where a router tells that prefix alone.
    pub(super) ipv6_host: Option<Ipv6Addr>,
    /// Whether the packet of another machine is replaced.
    #[serde(default)]
    pub(super) force: bool,
}

/// What `{external_ipv4}` and `{external_ipv6}` in a zone stand for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum AddressSource {
    /// Nothing.
    #[default]
    None,
    /// What services on the Internet see.
    Detect,
    /// What a router has told.
    Dyndns,
}

/// Ranges of addresses, or addresses.
fn ranges<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let range = |text: &String| text.parse().or_else(|_| text.parse().map(IpAddr::into)).ok();
    let ranges: Option<Vec<IpNet>> = texts.iter().map(range).collect();
    ranges.ok_or_else(|| de::Error::custom("expected addresses or ranges, such as 127.0.0.1 or 10.0.0.0/8"))
}

impl Config {
    /// Reads the file. Paths in it are relative to its folder.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let name = FileName::of(path);
        let fail = |why: &dyn std::fmt::Display| Failure::Failed(format!("{name}: {why}"));
        let unreadable = |error| fail(&format_args!("{error}; name a configuration that this user may read"));
        let bytes = input::read(path, MAX_SIZE).map_err(unreadable)?;
        let bytes = bytes
            .ok_or_else(|| fail(&format!("it is larger than {MAX_SIZE} bytes; name a configuration")))?;
        let text = text_of(bytes)
            .map_err(|line| fail(&format_args!("line {line} is not UTF-8; save the file as UTF-8")))?;
        let mut config = Self::parse(&text).map_err(|why| fail(&why))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let place = |path: &mut PathBuf| *path = folder.join(&*path);
        config.state.iter_mut().for_each(place);
        if let Some(dyndns) = &mut config.dyndns {
            dyndns.cert_path.iter_mut().chain(&mut dyndns.key_path).for_each(place);
        }
        for identity in &mut config.identities {
            place(&mut identity.seed);
            identity.zone_file.iter_mut().chain(&mut identity.passphrase_file).for_each(place);
        }
        Ok(config)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let config: Self = parse_toml(text).value.map_err(|mistakes| {
            let mistakes = mistakes.into_iter().map(told);
            // One line, as a service manager takes no more.
            mistakes.collect::<Vec<_>>().join("; ")
        })?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        if self.identities.is_empty() {
            return Err(NO_IDENTITY.to_string());
        }
        if self.identities.len() > MAX_IDENTITIES {
            return Err(format!("there are more than {MAX_IDENTITIES} identities; run a second publisher"));
        }
        if let Some(dyndns) = &self.dyndns {
            if dyndns.listen.is_empty() {
                return Err("dyndns.listen is empty; write [\"127.0.0.1:8245\"]".to_string());
            }
            if dyndns.cert_path.is_some() != dyndns.key_path.is_some() {
                return Err(
                    "dyndns.cert_path and dyndns.key_path go together; write both or neither".to_string()
                );
            }
        }
        self.identities.iter().try_for_each(|identity| {
            identity
                .check(self.dyndns.is_some())
                .map_err(|why| format!("identity {}: {why}", FileName::of(&identity.seed)))
        })
    }
}

/// A mistake with its line. What stands in place of what is expected is not repeated: it may be a password.
fn told(TomlMistake { line, kind }: TomlMistake) -> String {
    let message = match kind {
        TomlMistakeKind::Unknown { name, known } => {
            let near = nearest(&name, known.iter().map(String::as_str));
            let near = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            let known: Vec<String> = known.iter().map(|known| format!("`{known}`")).collect();
            format!("unknown field `{name}`, expected one of {}{near}", known.join(", "))
        }
        TomlMistakeKind::Missing(name) if name == "identity" => NO_IDENTITY.to_string(),
        TomlMistakeKind::Missing(name) => format!("`{name}` is missing here"),
        TomlMistakeKind::Value { expected, found } if expected == LIST && found == "a section" => {
            "each identity has a section of its own: write [[identity]], with two brackets".to_string()
        }
        TomlMistakeKind::Value { expected, .. } => format!("expected {expected}"),
        TomlMistakeKind::Other(message) => match message.split_once(", expected ") {
            Some((_, expected)) => format!("expected {expected}"),
            None => message,
        },
    };
    match line {
        // Of what is missing in the whole file there is no line.
        Some(line) if message != NO_IDENTITY => format!("line {line}: {message}"),
        _ => message,
    }
}

impl Identity {
    fn check(&self, has_dyndns: bool) -> Result<(), &'static str> {
        let is_dyndns = self.address == AddressSource::Dyndns;
        let is_told = self.user.is_some() || self.password.is_some();
        match self {
            Self { zone_file: None, records: None, .. } => {
                Err("write a zone_file, or the records themselves")
            }
            Self { zone_file: Some(_), records: Some(_), .. } => {
                Err("zone_file and records exclude each other")
            }
            Self { user: None, .. } | Self { password: None, .. } if is_dyndns => {
                Err("address = \"dyndns\" needs a user and a password; pkdns-cli password makes its hash")
            }
            _ if is_dyndns && !has_dyndns => {
                Err("address = \"dyndns\" needs the section [dyndns] with listen")
            }
            _ if is_told && !is_dyndns => Err("user and password need address = \"dyndns\""),
            Self { ipv6_host: Some(_), .. } if !is_dyndns => Err("ipv6_host needs address = \"dyndns\""),
            Self { ipv6_host: Some(host), .. } if host.is_unspecified() => {
                Err("ipv6_host is what stands behind the prefix in the address of the host, such as \"::20\"")
            }
            Self { password: Some(hash), .. } if !super::password::is_hash(hash) => {
                Err("password is not a hash; make one with pkdns-cli password")
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$2tYwmKKLQkwcU1TkIZwD8Q";

    fn mistake(text: &str) -> String {
        Config::parse(text).unwrap_err()
    }

    #[test]
    fn everything_that_can_be_said_is_understood() {
        let text = format!(
            "state = 'state'\nbootstrap = ['127.0.0.1:6881']\nrelays = ['https://relay.example']\n\
             [dyndns]\nlisten = ['127.0.0.1:8245']\ncert_path = 'c'\nkey_path = 'k'\n\
             trusted_proxies = ['127.0.0.0/8', '::1']\nallow_private = true\n\
             [detection]\nservices = ['stun:stun.example:3478']\nipv6_from_interface = true\nallow_private = true\n\
             [[identity]]\nseed = 'a.seed'\npassphrase_file = 'p'\nzone_file = 'a.zone'\ninterval = '30m'\n\
             relays = []\naddress = 'dyndns'\nuser = 'router'\npassword = '{HASH}'\nipv6_host = '::20'\n\
             force = true\n\
             [[identity]]\nseed = 'b.seed'\nrecords = '@ A 192.0.2.1'\naddress = 'detect'\n"
        );
        let config = Config::parse(&text).unwrap();
        assert_eq!(config.identities.len(), 2);
        assert_eq!(config.identities[1].interval, Interval::default());
    }

    /// Blocks of the documents that are configurations.
    fn documented() -> Vec<&'static str> {
        let documents = [include_str!("../../../docs/publish.md"), include_str!("../../../docs/dyn-dns.md")];
        let blocks =
            documents.iter().flat_map(|document| document.split("```toml\n# publisher.toml").skip(1));
        blocks.map(|rest| rest.split_once("```").unwrap().0.split_once('\n').unwrap().1).collect()
    }

    #[test]
    fn configurations_in_the_documents_are_understood() {
        assert_eq!(documented().len(), 3);
        for text in documented() {
            assert!(Config::parse(text).is_ok(), "{text}: {:?}", Config::parse(text));
        }
    }

    #[test]
    fn every_option_is_in_the_document() {
        let (_, reference) = include_str!("../../../docs/publish.md").split_once("### Every option").unwrap();
        for section in ["", "[dyndns]\n", "[detection]\n", "[[identity]]\n"] {
            let message = mistake(&format!("{section}nonsense = 1\n"));
            let (_, expected) = message.split_once("expected one of ").unwrap();
            for option in expected.split(", ") {
                let known = [
                    option.to_string(),
                    format!("`[{}]`", option.trim_matches('`')),
                    format!("`[[{}]]`", option.trim_matches('`')),
                ];
                assert!(known.iter().any(|option| reference.contains(option)), "{option} of {section}");
            }
        }
    }

    #[test]
    fn a_mistake_names_its_line_or_identity_and_what_to_write() {
        for (text, part) in [
            ("", "identity"),
            ("identity = []", "nothing to publish"),
            ("state = 'a'", "there is no [[identity]], so there is nothing to publish"),
            (
                "[identity]\nseed = 'a'\nzone_file = 'z'",
                "line 1: each identity has a section of its own: write [[identity]]",
            ),
            ("[[identity]]\nsed = 'a'\nzone_file = 'z'", "did you mean `seed`?"),
            ("[[identity]]\nzone_file = 'z'", "`seed` is missing here"),
            (
                "state = 1\nrelay = []\n[[identity]]\nseed = 'a'\nzone_file = 'z'\nforce = 'no'",
                "line 1: expected a text in quotes; line 2: unknown field `relay`",
            ),
            ("[dyndns]\nlisten = ['[::1]:1']\n[dyndns]\n", "`dyndns` is there already, in line 1"),
            ("state = 1\nstate2 = 2", "line 1"),
            ("[[identity]]\nseed = 'a'\nzone = 'z'", "line 3: unknown field `zone`"),
            ("[[identity]]\nseed = 'a'", "identity \"a\": write a zone_file"),
            ("[[identity]]\nseed = 'a'\nzone_file = 'z'\nrecords = ''", "exclude each other"),
            ("[[identity]]\nseed = 'a'\nzone_file = 'z'\ninterval = '1s'", "from 1m to 24h"),
            ("[[identity]]\nseed = 'a'\nzone_file = 'z'\naddress = 'dyndns'", "needs a user and a password"),
            ("[[identity]]\nseed = 'a'\nzone_file = 'z'\nuser = 'u'", "need address"),
            ("[[identity]]\nseed = 'a'\nzone_file = 'z'\nipv6_host = '::20'", "needs address = \"dyndns\""),
            ("[[identity]]\nseed = 'a'\nzone_file = 'z'\nipv6_host = '20'", "line 4"),
            ("[dyndns]\nlisten = []\n[[identity]]\nseed = 'a'\nzone_file = 'z'", "dyndns.listen is empty"),
            (
                "[dyndns]\nlisten = ['[::1]:1']\ncert_path = 'c'\n[[identity]]\nseed = 'a'\nzone_file = 'z'",
                "go together",
            ),
        ] {
            let message = mistake(text);
            assert!(message.contains(part), "{text}: {message}");
        }
    }

    #[test]
    fn a_password_that_is_no_hash_is_refused_and_not_repeated() {
        let message = mistake(
            "[dyndns]\nlisten = ['[::1]:1']\n[[identity]]\nseed = 'a'\nzone_file = 'z'\naddress = 'dyndns'\nuser = 'u'\n\
             password = 'hunter2'",
        );
        assert!(message.contains("pkdns-cli password") && !message.contains("hunter2"), "{message}");
        let message = mistake("[[identity]]\nseed = 'a'\nzone_file = 'z'\npassword = hunter2\n");
        assert!(message.contains("line 4") && !message.contains("hunter2"), "{message}");
        for line in
            ["password = 4711", "user = 4711", "force = '4711'", "address = '4711'", "interval = '4711'"]
        {
            let message = mistake(&format!("[[identity]]\nseed = 'a'\nzone_file = 'z'\n{line}\n"));
            assert!(
                message.starts_with("line 4: expected ") && !message.contains("4711"),
                "{line}: {message}"
            );
        }
    }
}
