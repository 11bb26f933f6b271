//! The command line, and what it makes of the configuration file.

use std::{
    env, fmt, io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use crate::base::config::{
    AddressError, CREDENTIALS, Config, ConfigError, ConfigFile, DNS_PORT, UpstreamEntry, is_socket_path,
    parse_address,
};
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

/// Where the server of `--testnet` listens: a port that needs no rights.
const TESTNET_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 5300);

/// The directory of pkdns, unless told otherwise.
const DIRECTORY: &str = "~/.pkdns";

/// Where systemd's units have their sockets, and what they call it.
const RUNTIME_DIRECTORY: &str = "/run/pkdns";

const FILE_NAME: &str = "pkdns.toml";

/// The socket of `pkdns status`, unless the configuration says where.
const STATUS_NAME: &str = "status.sock";

/// Known DHT nodes, unless the configuration says where.
const NODES_NAME: &str = "dht-nodes";

/// Directory of the packets in the directory of pkdns.
const PACKETS_NAME: &str = "packets";

/// Directory of keys and certificates in the directory of pkdns.
const CERTIFICATES_NAME: &str = "certificates";

/// What `--help` says at its end, and `-h` does not.
const MORE_HELP: &str = "\
Examples:
  pkdns --testnet                        tries everything on this machine, without a network
  pkdns --listen 127.0.0.1:5300          serves this machine on a port that needs no privileges
  pkdns --check                          says what is wrong with the configuration
  pkdns --print-config --commented       prints every option with its comment
  pkdns status                           shows the state of the running server

Files in the directory of pkdns:
  pkdns.toml      the configuration; without it the defaults are in effect
  dht-nodes       DHT nodes that were known when the server last ran
  packets         packets of keys that were asked for
  certificates    keys and certificates that pkdns makes or gets itself
  status.sock     the socket that `pkdns status` asks

Signals:
  SIGTERM, SIGINT   answers what is in flight, then ends; the second one ends it at once
  SIGHUP            reads the configuration again
  SIGUSR2           lets another process take over, without a query lost

Exit codes:
  0  stopped by a signal, or done
  1  failed: the message on standard error says why and what to do";

/// DNS resolver for public-key domains
///
/// It answers names under keys from the Mainline DHT, and forwards every other name. Flags win over the configuration file, and
/// without either the defaults are in effect.
#[derive(Debug, Clone, Parser)]
#[command(name = "pkdns", version, after_long_help = MORE_HELP)]
pub(super) struct Arguments {
    /// Configuration file, instead of pkdns.toml in the directory of pkdns
    ///
    /// It has to be there. `pkdns --print-config --commented` prints one with every option.
    #[arg(short, long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,

    /// Directory of the configuration, and of what outlives a restart
    #[arg(short, long, value_name = "DIR", default_value = DIRECTORY, global = true)]
    pkdns_dir: PathBuf,

    /// Resolver for names that are not under keys; repeat it for more, tried in order
    ///
    /// An address with port 53 unless another is given, tls://ADDR, https://ADDR, or the name of a public resolver such as quad9.
    /// Wins over fallback_dns in the configuration.
    #[arg(short, long, value_name = "UPSTREAM")]
    forward: Vec<UpstreamEntry>,

    /// Address to serve over UDP and TCP, port 53 unless given; repeat it for more
    ///
    /// Wins over listen in the configuration.
    #[arg(short, long, value_name = "ADDR", value_parser = address)]
    listen: Vec<SocketAddr>,

    /// Log each query
    ///
    /// The log then holds what every client looks up.
    #[arg(short, long)]
    verbose: bool,

    /// Say what is wrong with the configuration, and exit
    ///
    /// Certificates, keys and directories that it names are opened, and nothing is served. All mistakes are told at once.
    #[arg(long, conflicts_with = "print_config")]
    check: bool,

    /// Print the configuration in effect as a file that loads, and exit
    #[arg(long)]
    print_config: bool,

    /// With --print-config: every option with its comment
    ///
    /// Those that have their defaults are commented out.
    #[arg(long, requires = "print_config")]
    commented: bool,

    /// Try everything without a network, with a sample key and its site
    ///
    /// The DHT and the upstream resolver are in this process. It serves DNS on 127.0.0.1:5300, HTTP on 127.0.0.1:5380 and HTTPS on
    /// 127.0.0.1:8443, unless told otherwise.
    #[arg(long)]
    testnet: bool,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// Show the state of the server that runs with this directory
    ///
    /// Its answers, caches, DHT nodes, upstreams and certificates, and what to do about what is wrong. Only the user that it runs as
    /// and root may ask.
    Status {
        /// Print it as JSON
        #[arg(long)]
        json: bool,

        /// Print only whether it is ready, and exit with 1 if it is not
        #[arg(long, conflicts_with = "json")]
        ready: bool,

        /// Its socket, instead of that of status.path or of its directory
        #[arg(long, value_name = "PATH")]
        socket: Option<PathBuf>,
    },

    /// Print the completions of a shell
    ///
    /// Put the output where the shell looks for it, for example in /usr/share/bash-completion/completions/pkdns
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },

    /// Print the manual page, or write one for each command to a directory
    Man {
        /// Directory for all pages, for example /usr/local/share/man/man1
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
}

/// What is to be told of the command line itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Description {
    Completions(Shell),
    Manual {
        /// Where each page becomes a file. Without it the first one is printed.
        directory: Option<PathBuf>,
    },
}

/// What `pkdns status` asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StatusRequest {
    /// Where the server may be asked, the likeliest place first. Nothing where the configuration says nowhere.
    pub(super) sockets: Vec<PathBuf>,
    pub(super) form: StatusForm,
}

/// How the status is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StatusForm {
    Table,
    Json,
    Ready,
}

/// What the flags and the file together ask for.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) action: Action,
    pub(super) config: Config,
    /// Where the configuration came from.
    pub(super) source: Source,
    /// Run a DHT in this process and use no other.
    pub(super) testnet: bool,
    /// Answer names that are not keys from a sample in this process: with `testnet`, unless `--forward` says who
    /// does.
    pub(super) sample_upstream: bool,
    /// What a testnet may decide.
    pub(super) unsaid: Unsaid,
    /// What the operator should know of the flags.
    warnings: Vec<String>,
}

/// What neither the flags nor the file say, of what a testnet serves over HTTP and HTTPS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Unsaid {
    /// Where HTTP is served.
    pub(super) http: bool,
    /// Whether and where HTTPS is served, and with which certificate.
    pub(super) https: bool,
    /// For which names a certificate of our own is.
    pub(super) names: bool,
    /// Where such certificates are kept.
    pub(super) certificates: bool,
}

impl Unsaid {
    fn by(file: &ConfigFile) -> Self {
        let says = |options: &[&str]| options.iter().any(|option| file.sets(option));
        let https = ["enabled", "listen", "port", "cert_path", "key_path"].map(|name| format!("doh.{name}"));
        let about_certificates = ["acme.enabled", "certificate.self_signed"];
        Self {
            http: !says(&["doh.plain_listen"]),
            https: !says(&https.each_ref().map(String::as_str)) && !says(&about_certificates),
            names: !says(&["certificate.names"]),
            certificates: !says(&["certificate.path"]),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    Serve,
    Check,
    Print,
    PrintCommented,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
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
    /// The command line, as it is described to shells and in manuals.
    pub(super) fn description() -> clap::Command {
        Self::command()
    }

    /// What to tell of the command line, if that is what is wanted.
    pub(super) fn describe(&self, home: Option<&Path>) -> Option<Description> {
        match self.command.as_ref()? {
            Command::Completions { shell } => Some(Description::Completions(*shell)),
            Command::Man { out } => {
                Some(Description::Manual { directory: out.as_ref().map(|path| expand_home(path, home)) })
            }
            Command::Status { .. } => None,
        }
    }

    /// Whom to ask for the status, if that is what is wanted. A configuration with mistakes is no reason not to look: the
    /// server may run with an older one.
    pub(super) fn status(&self, home: Option<&Path>, runtime: Option<&Path>) -> Option<StatusRequest> {
        let Some(Command::Status { json, ready, socket }) = &self.command else { return None };
        let form = match (json, ready) {
            (true, _) => StatusForm::Json,
            (_, true) => StatusForm::Ready,
            _ => StatusForm::Table,
        };
        let directory = expand_home(&self.pkdns_dir, home);
        let file = self.config.as_ref().map_or(directory.join(FILE_NAME), |path| expand_home(path, home));
        let configured = ConfigFile::read(&file).ok().and_then(|file| file.config.status.path);
        let sockets = match (socket, configured) {
            (Some(socket), _) => vec![expand_home(socket, home)],
            (None, Some(socket)) if socket.as_os_str().is_empty() => Vec::new(),
            (None, Some(socket)) => vec![expand_home(&socket, home)],
            (None, None) => {
                let is_told = self.pkdns_dir != Path::new(DIRECTORY);
                let usual = (!is_told).then_some(Path::new(RUNTIME_DIRECTORY));
                let places = runtime.into_iter().chain([&*directory]).chain(usual);
                places.map(|place| place.join(STATUS_NAME)).collect()
            }
        };
        Some(StatusRequest { sockets, form })
    }

    /// Reads the file and lets the flags win over it. `home` is what `~` stands for, `runtime` the directory that systemd
    /// gives for sockets.
    pub(super) fn settle(self, home: Option<&Path>, runtime: Option<&Path>) -> Result<Settings, ConfigError> {
        let directory = expand_home(&self.pkdns_dir, home);
        let mut warnings = Vec::new();
        if home.is_none() && self.config.is_none() && directory != self.pkdns_dir {
            warnings.push("HOME is not set: using ./.pkdns; name a directory with --pkdns-dir".into());
        }
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
            // In a container the flag may be of the image, and the file of somebody who does not know it.
            if file.sets("listen") && file.config.listen != self.listen {
                warnings.push(format!("`listen` in {source} does not count: --listen wins over it"));
            }
            file.config.listen = self.listen;
            file.overrule("listen");
        } else if self.testnet && !file.sets("listen") {
            file.config.listen = vec![TESTNET_LISTEN];
        }
        let unsaid = if self.testnet { Unsaid::by(&file) } else { Unsaid::default() };
        if !self.forward.is_empty() {
            let wanted: Vec<_> = self.forward.into_iter().flat_map(|entry| entry.0).collect();
            if file.sets("fallback_dns") && file.config.fallback_dns != wanted {
                warnings.push(format!("`fallback_dns` in {source} does not count: --forward wins over it"));
            }
            file.config.fallback_dns = wanted;
            file.overrule("fallback_dns");
        }
        file.config.verbose |= self.verbose;
        // Of a file that is to be edited, it is nobody's business which directory this run has.
        let own = |name| (!self.commented).then(|| directory.join(name));
        // A testnet is gone with its process: nobody is left to remember.
        let nodes_path = file.config.dht.nodes_path.take().map(|path| expand_home(&path, home));
        file.config.dht.nodes_path = nodes_path.or_else(|| own(NODES_NAME)).filter(|_| !self.testnet);
        let packets_path = file.config.cache.path.take().map(|path| expand_home(&path, home));
        file.config.cache.path = packets_path.or_else(|| own(PACKETS_NAME)).filter(|_| !self.testnet);
        let certificates = file.config.certificate.path.take().map(|path| expand_home(&path, home));
        file.config.certificate.path = certificates.or_else(|| own(CERTIFICATES_NAME));
        let query_log = file.config.query_log.path.take().map(|path| expand_home(&path, home));
        file.config.query_log.path = query_log;

        let status = file.config.status.path.take().map(|path| expand_home(&path, home));
        // Printed, it would bind the service that the file is for to where this run would have its socket.
        let usual = || {
            (!self.print_config)
                .then(|| runtime.unwrap_or(&directory).join(STATUS_NAME))
                .filter(|path| is_socket_path(path))
        };
        file.config.status.path = status.or_else(usual).filter(|_| !self.testnet);

        let action = match (self.check, self.print_config) {
            (true, _) => Action::Check,
            (_, true) if self.commented => Action::PrintCommented,
            (_, true) => Action::Print,
            _ => Action::Serve,
        };
        let mut config = file.check()?;
        // systemd 252 names it to what ExecReload= runs as well, and hides it there.
        let is_hidden = |directory: &Path| self.check && directory.read_dir().is_err();
        let credentials = env::var_os(&CREDENTIALS[1..]);
        config.resolve_credentials(credentials.as_deref().map(Path::new).filter(|path| !is_hidden(path)));
        Ok(Settings { action, config, source, testnet: self.testnet, sample_upstream, unsaid, warnings })
    }
}

impl Settings {
    /// What the operator should know although it does not keep the server from starting.
    pub(super) fn warnings(&self) -> Vec<String> {
        let of_config = [self.config.open_resolver(), self.config.bridge_out_of_reach()];
        self.warnings.iter().cloned().chain(of_config.into_iter().flatten()).collect()
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
mod tests;
