//! `serve`: keeps the zones of many keys on the DHT, as a service, and takes addresses from routers.

mod browser;
mod certificates;
mod changes;
mod config;
mod dyndns;
mod identities;
mod password;
pub mod protocol;
mod pushes;
mod refusals;
mod sites;
mod status;

use std::{
    collections::BTreeSet,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use clap::Args;
use futures_util::{StreamExt, stream};
use pkdns::{
    base::{
        access::{AccessList, TrustedProxies},
        private_file,
    },
    edge::{
        certificates::Certificates,
        http::{self, PROTOCOLS, Site},
        transport::SharedTls,
    },
    program::service_manager,
    service::Service,
};
use serde::Serialize;
use tokio::time::sleep;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    external_address::own_addresses,
    failure::{EXIT_CODES, Failure},
    keeper::StateDirectory,
    network::{self, Network},
    seed::{self, FileName},
    systemd, terminal,
    zone_source::FileStamp,
};
use config::{Config, Dyndns};
use dyndns::{Accounts, Updates};
use identities::Identities;

/// How often the configuration is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Web servers that are looked at together.
const LOOKS_AT_ONCE: usize = 64;

/// Keep the zones of many keys on the DHT, as a service
///
/// The configuration names the seed and the zone file of each key. It is read again when it changes, and at SIGHUP; zones
/// are published at once when they change. Routers can tell new addresses (dyndns2). Runs until SIGTERM or SIGINT.
/// docs/publish.md explains all of it.
#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    /// Configuration in TOML
    #[arg(long, short, value_name = "FILE", default_value = "publisher.toml")]
    config: PathBuf,
    /// Check the configuration, the seeds and the zone files, and publish nothing
    ///
    /// All mistakes are told at once.
    #[arg(long)]
    check: bool,
    /// Show what the publisher that runs has done for each identity
    ///
    /// When it was last stored, on how many nodes, when it is stored again, and what is wrong. The exit code is 1 if no publisher
    /// runs, or an identity is not stored as the configuration says.
    #[arg(long, conflicts_with = "check")]
    status: bool,
    /// Write each line of the log, and what --check and --status print, as JSON
    #[arg(long)]
    json: bool,
}

/// What `--check` prints for a program.
#[derive(Serialize)]
struct Checked {
    /// How many can be published.
    identities: usize,
}

/// Print the hash of a password for the configuration of serve
///
/// The password is read from standard input.
#[derive(Args)]
pub(crate) struct PasswordArguments {}

pub(crate) fn hash_password(_: &PasswordArguments) -> Result<(), Failure> {
    let password = seed::read_password("Password for the router: ")?;
    terminal::print(&password::hash(&password)?)
}

pub(crate) fn run(arguments: &Arguments, network: &network::NetworkArguments) -> Result<(), Failure> {
    if arguments.status {
        return status::show(&arguments.config, arguments.json);
    }
    // Before it is read, so that no later change is missed.
    let stamp = FileStamp::at(&arguments.config);
    let config = Config::read(&arguments.config)?;
    if arguments.check {
        let count = check(&config)?;
        network::block_on(look_at_backends(&config))?;
        if arguments.json {
            return terminal::print_json(&Checked { identities: count });
        }
        let identities = if count == 1 { "identity" } else { "identities" };
        return terminal::print(&format!("{count} {identities} can be published"));
    }
    network::block_on(serve(&arguments.config, stamp, config, network))
}

/// Looks at all that the configuration names, and says what is wrong with it at once. Binds and asks nothing.
fn check(config: &Config) -> Result<usize, Failure> {
    let mut mistakes = Vec::new();
    let state = state_path(config)?;
    let identities = identities::check(config, &state);
    mistakes.extend(identities.as_ref().err().map(ToString::to_string));
    if let Err(error) = private_file::check_directory(&state) {
        let state = FileName::of(&state);
        mistakes.push(format!("state: {state}: {error}; give it to this user, or choose another directory"));
    }
    let of_sites: BTreeSet<_> = config.identities.iter().flat_map(|identity| &identity.tls).collect();
    mistakes.extend(of_sites.into_iter().filter_map(|address| no_address_of_this_machine("tls", address)));
    if let Some(settings) = &config.dyndns {
        mistakes.extend(
            settings.listen.iter().filter_map(|address| no_address_of_this_machine("dyndns.listen", address)),
        );
        if let (Some(certificate), Some(key)) = (&settings.cert_path, &settings.key_path)
            && let Err(error) = Certificates::from_files(certificate, key)
        {
            mistakes.push(format!("dyndns: {error}"));
        }
    }
    match mistakes.is_empty() {
        true => identities,
        false => Err(Failure::Failed(mistakes.join("\n"))),
    }
}

/// What to say of an address that no interface has. Where interfaces cannot be asked, nothing.
fn no_address_of_this_machine(option: &str, address: &SocketAddr) -> Option<String> {
    let ip = address.ip();
    let own = own_addresses();
    let is_own = ip.is_unspecified() || ip.is_loopback() || own.is_empty() || own.contains(&ip);
    (!is_own).then(|| {
        format!(
            "{option}: no interface of this machine has the address {ip}; write one that it has, or 0.0.0.0"
        )
    })
}

/// Warns of web servers that do not answer: they may be started later.
async fn look_at_backends(config: &Config) -> Result<(), Failure> {
    let mut backends: Vec<_> =
        config.identities.iter().filter_map(|identity| identity.backend.as_ref()).collect();
    backends.dedup();
    let looks = stream::iter(backends).map(sites::look).buffer_unordered(LOOKS_AT_ONCE);
    let warn = |looked: Result<(), String>| async {
        if let Err(why) = looked {
            terminal::note(&format!("warning: backend: {why}; start it, or write where it is"));
        }
    };
    looks.for_each(warn).await;
    Ok(())
}

async fn serve(
    path: &Path,
    mut stamp: FileStamp,
    config: Config,
    network: &network::NetworkArguments,
) -> Result<(), Failure> {
    terminal::begin_log();
    let stop = systemd::Stop::new()?;
    let mut reload = systemd::reload()?;
    let state_path = state_path(&config)?;
    let state = StateDirectory::open(&state_path)?;
    let bootstrap = network.bootstrap(&config.bootstrap);
    terminal::note(&format!(
        "keeping {} from {} on the DHT that is joined through {}; the state is in {}",
        match config.identities.len() {
            1 => "1 identity".to_owned(),
            count => format!("{count} identities"),
        },
        path.display(),
        bootstrap.join(", "),
        state_path.display()
    ));
    let network = Network::join_for_long(&bootstrap)?;
    let accounts = Accounts::default();
    let (stopping, tasks) = (CancellationToken::new(), TaskTracker::new());
    // Whoever ends this ends all of it.
    let _stopping = stopping.clone().drop_guard();
    let addresses = config.dyndns.iter().flat_map(|settings| &settings.listen);
    let listeners = addresses.map(bind).collect::<Result<Vec<_>, _>>()?;
    let mut identities = Identities::new(network, state, accounts.clone());
    let board = identities.board();
    let mut stopped = pin!(stop.requested());
    // A passphrase takes half a second, and there may be thousands.
    tokio::select! {
        taken = identities.take(&config) => taken?,
        () = &mut stopped => return Ok(()),
    }
    // Not before: who comes meanwhile waits, and is not told that there is no such user.
    if let Some(settings) = &config.dyndns {
        listen(settings, listeners, accounts, &stopping, &tasks)?;
    }
    service_manager::ready(&identities.status());
    let mut running = config;
    let watching = async {
        loop {
            tokio::select! {
                _ = reload.recv() => {}
                () = changed(&stamp) => {}
            }
            stamp = FileStamp::at(path);
            service_manager::reloading();
            let taken = match Config::read(path) {
                Ok(config) => take(&mut identities, &mut running, config).await,
                Err(failure) => Err(failure),
            };
            match taken {
                Ok(()) => terminal::note(&format!("{} read again", path.display())),
                Err(ref failure) => terminal::note(&format!("error: {failure}; going on as before")),
            }
            match taken {
                Ok(()) => service_manager::ready(&identities.status()),
                Err(failure) => {
                    service_manager::ready(&format!("{}; going on as before: {failure}", identities.status()))
                }
            }
        }
    };
    tokio::select! {
        () = watching => {}
        () = board.write() => {}
        () = service_manager::watchdog(|| true) => {}
        () = &mut stopped => service_manager::stopping(),
    }
    // What happened in the last second. Why it cannot be written was said before.
    let _ = board.save();
    Ok(())
}

/// Takes what of `config` acts without a restart, and says what does not. On failure nothing has changed.
async fn take(identities: &mut Identities, running: &mut Config, config: Config) -> Result<(), Failure> {
    let (effective, after_restart) = running.followed_by(config);
    identities.take(&effective).await?;
    for option in after_restart {
        terminal::note(&format!("warning: {option} needs a restart; until then its old value is in effect"));
    }
    *running = effective;
    Ok(())
}

async fn changed(stamp: &FileStamp) {
    while !stamp.has_changed() {
        sleep(LOOK_EVERY).await;
    }
}

fn state_path(config: &Config) -> Result<PathBuf, Failure> {
    config.state.clone().map_or_else(usual_state_path, Ok)
}

/// Where the state is if the configuration does not say so.
fn usual_state_path() -> Result<PathBuf, Failure> {
    // From `StateDirectory=` of systemd, which may name several, with colons between them.
    let of_service = || {
        let directories = std::env::var("STATE_DIRECTORY").ok()?;
        directories.split(':').next().filter(|first| !first.is_empty()).map(PathBuf::from)
    };
    let at_home = || std::env::home_dir().map(|home| home.join(".pkdns/publisher"));
    of_service().or_else(at_home).ok_or_else(|| {
        Failure::Failed(
            "HOME is not set: write state = \"/var/lib/pkdns-publisher\" into the configuration".to_string(),
        )
    })
}

fn bind(address: &SocketAddr) -> Result<tokio::net::TcpListener, Failure> {
    let fail = |error| {
        Failure::Failed(format!(
            "dyndns.listen: cannot listen on {address}: {error}; stop what listens there, or write another port"
        ))
    };
    let listener = TcpListener::bind(address).map_err(fail)?;
    listener.set_nonblocking(true).map_err(fail)?;
    tokio::net::TcpListener::from_std(listener).map_err(fail)
}

/// Starts to take what routers tell.
fn listen(
    settings: &Dyndns,
    listeners: Vec<tokio::net::TcpListener>,
    accounts: Accounts,
    stop: &CancellationToken,
    tasks: &TaskTracker,
) -> Result<(), Failure> {
    let acceptor = match (&settings.cert_path, &settings.key_path) {
        (Some(certificate), Some(key)) => {
            let fail = |error| Failure::Failed(format!("dyndns: {error}"));
            let certificates = Certificates::from_files(certificate, key).map_err(fail)?;
            let acceptor = certificates.acceptor(&PROTOCOLS).map_err(fail)?;
            tasks.spawn(certificates.watch(stop.clone()));
            Some(SharedTls::from(acceptor))
        }
        _ => None,
    };
    let everyone = ["0.0.0.0/0", "::/0"].iter().filter_map(|range| range.parse().ok()).collect();
    let access = AccessList::new(everyone, Vec::new());
    let trusted = TrustedProxies::new(settings.trusted_proxies.clone());
    let routes = Updates::new(accounts, settings.allow_private).routes();
    let site = Arc::new(Site::<Service>::new(routes, access, trusted, dyndns::limits()));
    for listener in listeners {
        let bound = listener
            .local_addr()
            .map_err(|error| Failure::Failed(format!("dyndns.listen: {error}; start again")))?;
        let scheme = if acceptor.is_some() { "https" } else { "http" };
        if acceptor.is_none() && !bound.ip().is_loopback() {
            terminal::note(&format!(
                "warning: passwords travel to {bound} in the clear, which others on that network can read; set \
                 dyndns.cert_path and dyndns.key_path"
            ));
        }
        terminal::note(&format!("routers may update at {scheme}://{bound}/nic/update"));
        http::serve(listener, acceptor.clone(), site.clone(), stop.clone(), tasks);
    }
    Ok(())
}
