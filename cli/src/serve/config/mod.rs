//! What `serve` is told: which zones, how often, and from whom addresses are taken.

mod certificate;
mod mistakes;
#[cfg(test)]
mod tests;
mod tls;

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use pkdns::config::{Parsed, RelayUrl, TakenOut, parse_toml, text_of};
use serde::{Deserialize, Deserializer, de};

use crate::{external_address::Service, failure::Failure, input, keeper::Interval, seed::FileName};
pub(super) use certificate::Certificate;
pub(super) use tls::{Backend, HTTPS_PORT, Tls};

/// Larger files are not configurations. A thousand identities with their records take half of it.
const MAX_SIZE: usize = 4 << 20;

const NO_IDENTITY: &str =
    "there is no [[identity]], so there is nothing to publish: write one, with a seed and a zone_file";

/// Mistakes that are told at once.
const MOST_MISTAKES: usize = 32;

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
    /// Addresses of bridges, each of which stands for many visitors of the sites.
    #[serde(default, deserialize_with = "ranges")]
    pub(super) bridges: Vec<IpNet>,
    pub(super) dyndns: Option<Dyndns>,
    #[serde(default)]
    pub(super) detection: Detection,
    #[serde(default, rename = "identity")]
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
    /// A public certificate for the name of the key in an origin.
    pub(super) certificate: Option<Certificate>,
    /// Where its site is served over TLS with the key.
    #[serde(default, deserialize_with = "tls::addresses")]
    pub(super) tls: Vec<SocketAddr>,
    /// The web server behind it.
    pub(super) backend: Option<Backend>,
    /// A seed file whose key is shown instead. Its passphrase, if it has one, is that of `passphrase_file`.
    pub(super) tls_key: Option<PathBuf>,
    /// The port that visitors come to, if it is another one than that of `tls`.
    pub(super) tls_port: Option<u16>,
    /// Whether an HTTPS record is published for the site.
    #[serde(default)]
    pub(super) https_record: bool,
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
            identity
                .tls_key
                .iter_mut()
                .chain(identity.backend.iter_mut().flat_map(Backend::path))
                .for_each(place);
            identity.certificate.iter_mut().flat_map(Certificate::paths).for_each(place);
        }
        Ok(config)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let Parsed { value, mistakes, taken_out, .. } = parse_toml::<Self>(text);
        let mut mistakes: Vec<String> =
            mistakes.into_iter().map(|mistake| mistakes::told(mistake, text)).collect();
        if let Some(config) = &value {
            mistakes.extend(config.faults(&taken_out));
        }
        match value {
            Some(config) if mistakes.is_empty() => Ok(config),
            _ => {
                let more = mistakes.len().saturating_sub(MOST_MISTAKES);
                mistakes.truncate(MOST_MISTAKES);
                if more > 0 {
                    mistakes.push(format!("and {more} more"));
                }
                // One line, as a service manager takes no more.
                Err(mistakes.join("; "))
            }
        }
    }

    /// What does not go together, apart from what is only so because something else was wrong and `taken_out`.
    fn faults(&self, taken_out: &TakenOut) -> Vec<String> {
        let is_known = |keys: &[&str]| !keys.iter().any(|key| taken_out.holds(key));
        let mut faults = Vec::new();
        if self.identities.is_empty() && is_known(&["identity.*"]) {
            faults.push(NO_IDENTITY.to_string());
        }
        let mut directories: Vec<_> = self.identities.iter().filter_map(Identity::own_directory).collect();
        directories.sort_unstable();
        faults.extend(directories.windows(2).filter_map(|pair| match pair {
            [one, other] if one == other => Some(format!(
                "certificate.directory: {} is for one certificate; write another for each identity",
                FileName::of(one)
            )),
            _ => None,
        }));
        if self.identities.len() > MAX_IDENTITIES {
            faults.push(format!("there are more than {MAX_IDENTITIES} identities; run a second publisher"));
        }
        if let Some(dyndns) = &self.dyndns {
            if dyndns.listen.is_empty() {
                faults.push("dyndns.listen is empty; write [\"127.0.0.1:8245\"]".to_string());
            }
            if dyndns.cert_path.is_some() != dyndns.key_path.is_some()
                && is_known(&["dyndns.cert_path", "dyndns.key_path", "dyndns.?"])
            {
                let advice = "dyndns.cert_path and dyndns.key_path go together; write both or neither";
                faults.push(advice.to_string());
            }
        }
        let has_dyndns = self.dyndns.is_some() || taken_out.holds("dyndns");
        for (index, identity) in self.identities.iter().enumerate() {
            let is_known =
                &|keys: &[&str]| !keys.iter().any(|key| taken_out.holds(&format!("identity.{index}.{key}")));
            let of = FileName::of(&identity.seed);
            let certificate = identity.certificate.as_ref().and_then(Certificate::fault);
            faults.extend(certificate.map(|why| format!("identity {of}: certificate: {why}")));
            let mut wrong = identity.faults(has_dyndns, is_known);
            wrong.extend(identity.tls_faults(is_known));
            faults.extend(wrong.into_iter().map(|why| format!("identity {of}: {why}")));
        }
        faults
    }
}

impl Identity {
    /// The directory that it has chosen for its certificate.
    fn own_directory(&self) -> Option<&Path> {
        self.certificate.as_ref()?.directory.as_deref()
    }

    /// `is_known` says whether these options have the values that somebody meant; `?` is one that nobody can guess.
    fn faults(&self, has_dyndns: bool, is_known: impl Fn(&[&str]) -> bool) -> Vec<&'static str> {
        let is_dyndns = self.address == AddressSource::Dyndns;
        let is_told = self.user.is_some() || self.password.is_some();
        let no_host = self.ipv6_host.is_some_and(|host| host.is_unspecified());
        let no_hash = self.password.as_deref().is_some_and(|hash| !super::password::is_hash(hash));
        let rules: [(bool, &[&str], &'static str); 8] = [
            (
                self.zone_file.is_none() && self.records.is_none(),
                &["zone_file", "records", "?"],
                "it has no zone: write zone_file = \"my.zone\", or the records themselves as records",
            ),
            (
                self.zone_file.is_some() && self.records.is_some(),
                &[],
                "zone_file and records exclude each other; write one of them",
            ),
            (
                is_dyndns && (self.user.is_none() || self.password.is_none()),
                &["user", "password", "?"],
                "address = \"dyndns\" needs a user and a password; pkdns-cli password makes its hash",
            ),
            (is_dyndns && !has_dyndns, &[], "address = \"dyndns\" needs the section [dyndns] with listen"),
            (is_told && !is_dyndns, &["address", "?"], "user and password need address = \"dyndns\""),
            (
                self.ipv6_host.is_some() && !is_dyndns && !is_told,
                &["address", "user", "password", "?"],
                "ipv6_host needs address = \"dyndns\"",
            ),
            (
                no_host,
                &[],
                "ipv6_host is what stands behind the prefix in the address of the host, such as \"::20\"",
            ),
            (no_hash, &[], "password is not a hash; make one with pkdns-cli password"),
        ];
        let faults = rules.into_iter().filter(|(is_wrong, keys, _)| *is_wrong && is_known(keys));
        faults.map(|(_, _, advice)| advice).collect()
    }
}
