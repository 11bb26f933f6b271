//! The command line, and what it makes of the configuration file.

use std::{
    env, fmt, io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use clap::Parser;
use pkdns::config::{
    AddressError, CREDENTIALS, Config, ConfigError, ConfigFile, DNS_PORT, UpstreamEntry, parse_address,
};

/// Where the server of `--testnet` listens: a port that needs no rights.
const TESTNET_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 5300);

/// Where it answers over HTTP.
const TESTNET_HTTP: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 5380);

const FILE_NAME: &str = "pkdns.toml";

/// Known DHT nodes, unless the configuration says where.
const NODES_NAME: &str = "dht-nodes";

/// Directory of the packets in the directory of pkdns.
const PACKETS_NAME: &str = "packets";

/// Directory of keys and certificates in the directory of pkdns.
const CERTIFICATES_NAME: &str = "certificates";

/// DNS resolver for public-key domains: answers keys from the Mainline DHT and forwards every other name.
#[derive(Debug, Parser)]
#[command(name = "pkdns", version)]
pub(crate) struct Arguments {
    /// Configuration file, instead of pkdns.toml in the directory of pkdns
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Directory of pkdns
    #[arg(short, long, value_name = "DIR", default_value = "~/.pkdns")]
    pkdns_dir: PathBuf,

    /// Resolver for the names that are not keys, port 53 unless given; also tls://ADDR, https://ADDR, or a name such as
    /// quad9; repeat it for more, tried in order
    #[arg(short, long, value_name = "UPSTREAM")]
    forward: Vec<UpstreamEntry>,

    /// Address to serve over UDP and TCP, port 53 unless given; repeat it for more
    #[arg(short, long, value_name = "ADDR", value_parser = address)]
    listen: Vec<SocketAddr>,

    /// Log each query
    #[arg(short, long)]
    verbose: bool,

    /// Say what is wrong with the configuration, and exit
    #[arg(long, conflicts_with = "print_config")]
    check: bool,

    /// Print the configuration in effect as a file that loads, and exit
    #[arg(long)]
    print_config: bool,

    /// Serve a DHT of this process with a sample zone, on 127.0.0.1:5300 (and over HTTP on 127.0.0.1:5380) unless told otherwise
    #[arg(long)]
    testnet: bool,
}

/// What the flags and the file together ask for.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) action: Action,
    pub(crate) config: Config,
    /// Where the configuration came from.
    pub(crate) source: Source,
    /// Run a DHT in this process and use no other.
    pub(crate) testnet: bool,
    /// Answer names that are not keys from a sample in this process: with `testnet`, unless `--forward` says who
    /// does.
    pub(crate) sample_upstream: bool,
    homeless: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Serve,
    Check,
    Print,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Source {
    File(PathBuf),
    /// There is no file at this path.
    Defaults(PathBuf),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Defaults(path) => write!(f, "the defaults (there is no {})", path.display()),
        }
    }
}

impl Arguments {
    /// Reads the file and lets the flags win over it. `home` is what `~` stands for.
    pub(crate) fn settle(self, home: Option<&Path>) -> Result<Settings, ConfigError> {
        let directory = expand_home(&self.pkdns_dir, home);
        let homeless = home.is_none() && self.config.is_none() && directory != self.pkdns_dir;
        let path = match &self.config {
            Some(path) => expand_home(path, home),
            None => directory.join(FILE_NAME),
        };
        // A file that was asked for by name has to be there. One that cannot be reached is not absent.
        let is_absent = path.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        let exists = self.config.is_some() || !is_absent;
        let mut file = if exists { ConfigFile::read(&path)? } else { ConfigFile::absent(&path) };
        let source = if exists { Source::File(path) } else { Source::Defaults(path) };

        let sample_upstream = self.testnet && self.forward.is_empty();
        if !self.listen.is_empty() {
            file.config.listen = self.listen;
            file.overrule("listen");
        } else if self.testnet && !file.sets("listen") {
            file.config.listen = vec![TESTNET_LISTEN];
            if !file.sets("doh.plain_listen") {
                file.config.doh.plain_listen = vec![TESTNET_HTTP];
            }
        }
        if !self.forward.is_empty() {
            file.config.fallback_dns = self.forward.into_iter().flat_map(|entry| entry.0).collect();
            file.overrule("fallback_dns");
        }
        file.config.verbose |= self.verbose;
        // A testnet is gone with its process: nobody is left to remember.
        let nodes_path = file.config.dht.nodes_path.take().map(|path| expand_home(&path, home));
        file.config.dht.nodes_path =
            nodes_path.or_else(|| Some(directory.join(NODES_NAME))).filter(|_| !self.testnet);
        let packets_path = file.config.cache.path.take().map(|path| expand_home(&path, home));
        file.config.cache.path =
            packets_path.or_else(|| Some(directory.join(PACKETS_NAME))).filter(|_| !self.testnet);

        let certificates = file.config.certificate.path.take().map(|path| expand_home(&path, home));
        file.config.certificate.path = certificates.or_else(|| Some(directory.join(CERTIFICATES_NAME)));

        let action = match (self.check, self.print_config) {
            (true, _) => Action::Check,
            (_, true) => Action::Print,
            _ => Action::Serve,
        };
        let mut config = file.check()?;
        config.resolve_credentials(env::var_os(&CREDENTIALS[1..]).as_deref().map(Path::new));
        Ok(Settings { action, config, source, testnet: self.testnet, sample_upstream, homeless })
    }
}

impl Settings {
    /// What the operator should know although it does not keep the server from starting.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.homeless {
            warnings.push("HOME is not set: using ./.pkdns; name a directory with --pkdns-dir".into());
        }
        warnings.extend(self.config.open_resolver());
        warnings
    }
}

fn address(text: &str) -> Result<SocketAddr, AddressError> {
    parse_address(text, DNS_PORT)
}

/// Replaces a leading `~`, which shells leave alone in `--pkdns-dir=~/x` and service managers everywhere. Without a
/// home, the current directory stands in.
fn expand_home(path: &Path, home: Option<&Path>) -> PathBuf {
    match path.strip_prefix("~") {
        Ok(rest) => home.unwrap_or(Path::new(".")).join(rest),
        Err(_) => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::CommandFactory;
    use pkdns::config::UpstreamAddress;
    use tempfile::TempDir;

    use super::*;

    fn settle(home: &Path, flags: &str) -> Result<Settings, String> {
        let arguments = Arguments::try_parse_from(["pkdns"].into_iter().chain(flags.split_whitespace()))
            .map_err(|error| error.to_string())?;
        arguments.settle(Some(home)).map_err(|error| error.to_string())
    }

    fn home_with(text: &str) -> TempDir {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join(".pkdns")).unwrap();
        fs::write(home.path().join(".pkdns/pkdns.toml"), text).unwrap();
        home
    }

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn upstreams(texts: &[&str]) -> Vec<UpstreamAddress> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_flags_are_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_manual_names_every_flag() {
        let manual = include_str!("../../docs/operating.md");
        for flag in Arguments::command().get_arguments().filter_map(|argument| argument.get_long()) {
            assert!(manual.contains(&format!("--{flag}")), "docs/operating.md does not name --{flag}");
        }
    }

    #[test]
    fn without_a_file_the_defaults_are_served() {
        let home = tempfile::tempdir().unwrap();
        let settings = settle(home.path(), "").unwrap();
        let mut expected = Config::default();
        expected.dht.nodes_path = Some(home.path().join(".pkdns/dht-nodes"));
        expected.cache.path = Some(home.path().join(".pkdns/packets"));
        expected.certificate.path = Some(home.path().join(".pkdns/certificates"));
        assert_eq!(settings.config, expected);
        assert_eq!(settings.source, Source::Defaults(home.path().join(".pkdns/pkdns.toml")));
        assert_eq!(settings.action, Action::Serve);
        assert!(!settings.testnet && !settings.sample_upstream);
        assert_eq!(settings.warnings(), [""; 0]);
    }

    #[test]
    fn the_file_is_pkdns_toml_in_the_directory_unless_config_names_one() {
        let home = home_with("fallback_dns = '1.1.1.1'");
        fs::write(home.path().join("pkdns.toml"), "fallback_dns = '2.2.2.2'").unwrap();
        fs::write(home.path().join("other.toml"), "fallback_dns = '3.3.3.3'").unwrap();
        for (flags, expected) in [
            ("".to_owned(), "1.1.1.1:53"),
            (format!("-p {}", home.path().display()), "2.2.2.2:53"),
            ("--pkdns-dir=~".into(), "2.2.2.2:53"),
            ("-c ~/other.toml".into(), "3.3.3.3:53"),
            (format!("--config {}/other.toml -p /nowhere", home.path().display()), "3.3.3.3:53"),
        ] {
            let config = settle(home.path(), &flags).unwrap().config;
            assert_eq!(config.fallback_dns, upstreams(&[expected]), "{flags}");
        }
    }

    #[test]
    fn dht_nodes_are_kept_in_the_directory_unless_the_file_says_where_and_never_those_of_a_testnet() {
        for (text, flags, expected) in [
            ("", "", Some(".pkdns/dht-nodes")),
            ("", "-p ~/elsewhere", Some("elsewhere/dht-nodes")),
            ("dht.nodes_path = '~/nodes'", "", Some("nodes")),
            ("dht.nodes_path = '/nodes'", "", Some("/nodes")),
            ("", "--testnet", None),
            ("dht.nodes_path = '/nodes'", "--testnet", None),
        ] {
            let home = home_with(text);
            let nodes_path = settle(home.path(), flags).unwrap().config.dht.nodes_path;
            assert_eq!(nodes_path, expected.map(|path| home.path().join(path)), "{text} {flags}");
        }
    }

    #[test]
    fn packets_are_kept_in_the_directory_unless_the_file_says_where_or_nowhere_and_never_those_of_a_testnet()
    {
        for (text, flags, expected) in [
            ("", "", Some(".pkdns/packets")),
            ("", "-p ~/elsewhere", Some("elsewhere/packets")),
            ("cache.path = '~/kept'", "", Some("kept")),
            ("cache.path = ''", "", Some("")),
            ("cache.path = '/kept'", "--testnet", None),
        ] {
            let home = home_with(text);
            let cache = settle(home.path(), flags).unwrap().config.cache;
            let expected = expected.filter(|path| !path.is_empty()).map(|path| home.path().join(path));
            assert_eq!(cache.directory(), expected.as_deref(), "{text} {flags}");
        }
    }

    #[test]
    fn a_missing_file_is_an_error_only_when_it_was_asked_for() {
        let home = tempfile::tempdir().unwrap();
        let message = settle(home.path(), "-c ~/absent.toml").unwrap_err();
        assert!(message.contains("absent.toml: "), "{message}");
        settle(home.path(), "-p ~/absent").unwrap();
    }

    #[test]
    fn a_file_that_cannot_be_reached_is_not_taken_for_absent() {
        let home = home_with("");
        // A file in place of the directory; one that is closed to this user is the same to all but root.
        let message = settle(home.path(), "-p ~/.pkdns/pkdns.toml").unwrap_err();
        assert!(message.contains("pkdns.toml/pkdns.toml: ") && !message.contains("there is no"), "{message}");
    }

    #[test]
    fn flags_win_over_the_file() {
        let home = home_with("listen = '127.0.0.1:1'\nfallback_dns = '1.1.1.1'");
        let config =
            settle(home.path(), "-l [::1]:2 -l 127.0.0.3 -f 9.9.9.9 -f tls://8.8.8.8").unwrap().config;
        assert_eq!(config.listen, addresses(&["[::1]:2", "127.0.0.3:53"]));
        assert_eq!(config.fallback_dns, upstreams(&["9.9.9.9:53", "tls://8.8.8.8:853"]));
        let config = settle(home.path(), "-f google -f 192.168.1.1").unwrap().config;
        let google = ["https://dns.google@8.8.8.8", "https://dns.google@2001:4860:4860::8888"];
        assert_eq!(config.fallback_dns, upstreams(&[google[0], google[1], "192.168.1.1"]));
        assert!(settle(home.path(), "-f goggle").unwrap_err().contains("did you mean `google`?"));
    }

    #[test]
    fn verbose_in_the_file_is_heeded() {
        for (text, flags, expected) in [
            ("verbose = true", "", true),
            ("", "-v", true),
            ("verbose = false", "--verbose", true),
            ("", "", false),
        ] {
            assert_eq!(
                settle(home_with(text).path(), flags).unwrap().config.verbose,
                expected,
                "{text} {flags}"
            );
        }
    }

    #[test]
    fn a_flag_that_makes_no_sense_is_an_error_that_says_why() {
        let home = tempfile::tempdir().unwrap();
        for (flags, part) in [
            ("-f tls://dns.example", "add the address"),
            ("-f dns.example", "is not an IP address"),
            ("-l 127.0.0.1:x", "the port must be"),
            ("--check --print-config", "cannot be used with"),
            ("-l 127.0.0.1:5300 -f 127.0.0.1:5300", "is this server itself"),
            ("--verbos", "'--verbose'"),
        ] {
            let message = settle(home.path(), flags).unwrap_err();
            assert!(message.contains(part), "{flags}: {message}");
        }
    }

    #[test]
    fn a_mistake_in_the_file_is_reported_with_its_line() {
        let home = home_with("\n[delegation]\nport = 0\n");
        let message = settle(home.path(), "--check").unwrap_err();
        assert!(message.contains(".pkdns/pkdns.toml:3: delegation.port: "), "{message}");
    }

    #[test]
    fn a_testnet_listens_on_its_own_port_unless_told_otherwise() {
        for (text, flags, expected) in [
            ("", "--testnet", "127.0.0.1:5300"),
            ("listen = '127.0.0.1:1'", "--testnet", "127.0.0.1:1"),
            ("listen = '127.0.0.1:1'", "--testnet -l 127.0.0.1:0", "127.0.0.1:0"),
        ] {
            let settings = settle(home_with(text).path(), flags).unwrap();
            assert_eq!(settings.config.listen, addresses(&[expected]), "{text} {flags}");
            assert!(settings.testnet && settings.sample_upstream);
        }
    }

    #[test]
    fn a_testnet_forwards_only_to_who_is_named_by_flag() {
        let settings = settle(home_with("fallback_dns = '1.1.1.1'").path(), "--testnet -f 9.9.9.9").unwrap();
        assert!(!settings.sample_upstream);
        assert_eq!(settings.config.fallback_dns, upstreams(&["9.9.9.9:53"]));
    }

    #[test]
    fn without_a_home_the_current_directory_stands_in_with_a_warning() {
        let settle = |flags: &[&str]| Arguments::try_parse_from(flags).unwrap().settle(None).unwrap();
        let settings = settle(&["pkdns"]);
        assert_eq!(settings.source, Source::Defaults("./.pkdns/pkdns.toml".into()));
        assert!(settings.warnings().iter().any(|warning| warning.contains("HOME is not set")));
        assert_eq!(settle(&["pkdns", "-p", "/nowhere"]).warnings(), [""; 0]);
    }
}
