//! `certificate`: a public certificate for the name of a key in an origin, obtained and renewed.

mod choices;
mod doors;
mod files;
mod in_packet;
mod names;
mod preflight;
mod records;
mod reload;
mod site;

use std::{
    net::SocketAddr,
    path::PathBuf,
    pin::pin,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::{Args, error::ErrorKind};
use pkdns::{edge::certificates::acme::Challenge, metrics::CertificateReading, program::service_manager};
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{
    command_line,
    dns::server_address,
    failure::{EXIT_CODES, Failure},
    keeper::in_words,
    name,
    network::{self, NetworkArguments},
    seed::{self, PassphraseArguments},
    systemd::Stop,
    terminal,
};
pub(crate) use choices::{LETS_ENCRYPT, Way, authority, challenge, email, faults};
pub(crate) use doors::Doors;
pub(crate) use files::{Files, Issued};
use in_packet::InPacket;
pub(crate) use names::{SiteNames, origin};
pub(crate) use records::{Extras, Records};
pub(crate) use site::{Event, Site};

/// The same for those who try things out: browsers do not believe it, and it refuses less.
const STAGING: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";

/// Where certificates are kept, in the user's directory.
const DIRECTORY: &str = ".pkdns/certificates";

/// How long what an order has shown may take to be taken away after a signal.
const STOP_DEADLINE: Duration = Duration::from_secs(70);

/// Get and renew a public certificate for the name of a key in an origin
///
/// An origin is a zone whose servers answer for every key, so that KEY.pk.example.net leads everybody to the site of the
/// key. Any authority that speaks ACME (RFC 8555) gives a certificate for it to whoever shows that the name is theirs.
/// Asking it agrees to its terms of service, and the certificate is published in logs that everybody can read.
///
/// Run again, it renews when a third of the lifetime is left and does nothing before; --watch stays and does so by
/// itself. Certificate, key and account are kept in a directory, for this user alone. docs/cli.md explains all of it.
#[derive(Args)]
#[command(after_help = EXIT_CODES)]
#[command(group = clap::ArgGroup::new("subject").required(true).args(["key", "seed"]))]
pub(crate) struct Arguments {
    /// The public key
    ///
    /// dns-01 needs --seed instead.
    #[arg(value_name = "KEY")]
    key: Option<String>,
    /// Seed file of the key, in any form that import reads
    #[arg(long, value_name = "FILE")]
    seed: Option<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseArguments,
    /// Zone in which the key is a name, for example pk.example.net
    #[arg(long, value_name = "NAME", value_parser = names::origin)]
    origin: String,
    /// A name below the key, such as www, that it is for as well; repeat it for more
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<String>,
    /// Every name right below the key as well; this needs dns-01
    #[arg(long)]
    wildcard: bool,
    /// How the authority sees that the name is yours [default: http-01]
    ///
    /// By a file on port 80 (http-01), by a handshake on port 443 (tls-alpn-01), or by a record in the packet of the key
    /// (dns-01). With --wildcard it is dns-01.
    #[arg(long, value_enum, value_name = "CHALLENGE")]
    challenge: Option<Way>,
    /// Where http-01 or tls-alpn-01 is answered; repeat it for more
    ///
    /// Without it, on port 80 or 443 of every address.
    #[arg(long, value_name = "ADDR")]
    listen: Vec<SocketAddr>,
    /// Directory that a web server on port 80 serves, to answer http-01 with
    #[arg(long, value_name = "DIR", conflicts_with = "listen")]
    webroot: Option<PathBuf>,
    /// Where they are kept [default: ~/.pkdns/certificates/KEY.ORIGIN]
    ///
    /// The certificate, its key, and the account with the authority.
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Run this with the shell when there is a new certificate
    ///
    /// For example "systemctl reload nginx".
    #[arg(long, value_name = "COMMAND")]
    reload_command: Option<String>,
    /// Address of the authority [default: Let's Encrypt]
    #[arg(long, value_name = "URL", conflicts_with = "staging")]
    authority: Option<String>,
    /// Ask the authority that Let's Encrypt has for tests
    ///
    /// Browsers do not believe its certificates.
    #[arg(long)]
    staging: bool,
    /// Certificates that may have signed that of the authority's server, in PEM
    ///
    /// The public ones are believed as well.
    #[arg(long, value_name = "FILE")]
    authority_ca: Option<PathBuf>,
    /// Address of mail that the authority may write to
    #[arg(long, value_name = "ADDRESS", value_parser = email)]
    email: Option<String>,
    /// Resolver that finds the name servers of the origin [default: the system's]
    #[arg(long, value_name = "ADDR", value_parser = server_address)]
    resolver: Option<SocketAddr>,
    /// Name server of the origin, instead of those that are found; repeat it for more
    #[arg(long, value_name = "ADDR", value_parser = server_address)]
    name_server: Vec<SocketAddr>,
    /// Get a new certificate now, whatever the age of the one that is there
    #[arg(long, conflicts_with = "watch")]
    renew: bool,
    /// Stay, and renew whenever that is due
    #[arg(long)]
    watch: bool,
    /// Print one line of JSON; with --watch one for each certificate
    #[arg(long)]
    json: bool,
}

/// What is printed of a certificate.
#[derive(Serialize)]
struct Report<'a> {
    names: &'a [String],
    certificate: PathBuf,
    key: PathBuf,
    /// Whether it has just been obtained.
    is_new: bool,
    /// Whether the reload command has been run.
    reloaded: bool,
    /// Seconds since 1970.
    valid_from: u64,
    valid_until: u64,
    renewed_from: u64,
}

pub(crate) fn run(arguments: &Arguments, network: &NetworkArguments) -> Result<(), Failure> {
    let challenge = challenge(arguments.challenge, arguments.wildcard);
    let (has_listen, has_webroot) = (!arguments.listen.is_empty(), arguments.webroot.is_some());
    if let Some(fault) = faults(challenge, arguments.wildcard, has_listen, has_webroot) {
        refuse(fault);
    }
    if challenge == Challenge::Dns01 && arguments.seed.is_none() {
        refuse("dns-01 puts a record into the packet of the key: give --seed FILE instead of the key");
    }
    let secret_key = match &arguments.seed {
        Some(seed) => Some(seed::secret_key(seed, arguments.passphrase.source())?),
        None => None,
    };
    let key = match (&secret_key, &arguments.key) {
        (Some(secret_key), _) => secret_key.public_key(),
        (None, Some(text)) => name::key(text).map_err(Failure::Failed)?,
        (None, None) => refuse("name a key, or a seed file with --seed"),
    };
    let names = SiteNames::new(&key, &arguments.origin, &arguments.names, arguments.wildcard)
        .unwrap_or_else(|why| refuse(&why));
    let directory = match &arguments.directory {
        Some(directory) => directory.clone(),
        None => std::env::home_dir()
            .ok_or_else(|| Failure::Failed("HOME is not set: name a directory with --directory".to_string()))?
            .join(DIRECTORY)
            .join(names.apex()),
    };
    let url = match &arguments.authority {
        _ if arguments.staging => STAGING,
        Some(url) => url,
        None => LETS_ENCRYPT,
    };
    let authority =
        authority(url, arguments.email.as_deref(), arguments.authority_ca.as_deref(), &directory)?;
    network::block_on(async {
        let records = match (challenge, secret_key) {
            (Challenge::Dns01, Some(secret_key)) => {
                Records::Packet(InPacket::new(Arc::new(network.sources()?), secret_key, &directory))
            }
            _ => Records::Nobody,
        };
        let stop = CancellationToken::new();
        let site = Site {
            names,
            files: Files::new(&directory),
            issued: Issued::default(),
            authority: Arc::new(authority),
            challenge,
            listen: arguments.listen.clone(),
            webroot: arguments.webroot.clone(),
            reload: arguments.reload_command.clone(),
            resolver: arguments.resolver,
            name_servers: arguments.name_server.clone(),
            doors: Doors::default(),
            records,
            permits: Arc::new(Semaphore::new(1)),
            stop: stop.clone(),
        };
        let mut stopped = pin!(Stop::new()?.requested());
        let mut working = pin!(work(arguments, &site));
        tokio::select! {
            result = &mut working => result,
            () = &mut stopped => {
                service_manager::stopping();
                stop.cancel();
                // What an order has shown is taken away first.
                let ended = tokio::time::timeout(STOP_DEADLINE, &mut working).await;
                ended.unwrap_or_else(|_| Err(Failure::Failed("stopped".to_string())))
            }
        }
    })
}

async fn work(arguments: &Arguments, site: &Site) -> Result<(), Failure> {
    match arguments.watch {
        true => watch(arguments, site).await,
        false => once(arguments, site).await,
    }
}

async fn once(arguments: &Arguments, site: &Site) -> Result<(), Failure> {
    site.clean().await;
    let mut held = site.files.held()?;
    let is_new = arguments.renew || site.left(held.as_ref()).is_zero();
    if is_new {
        held = Some(site.obtain().await?);
    }
    let reloaded = site.tell().await?;
    let Some(held) = held else { return Ok(()) };
    print(arguments.json, site, &held, is_new, reloaded)
}

async fn watch(arguments: &Arguments, site: &Site) -> Result<(), Failure> {
    let (mut is_new, mut reloaded) = (false, false);
    let keeping = site.keep(|event| {
        match event {
            Event::New(_) => is_new = true,
            Event::Reloaded => reloaded = true,
            Event::Held(held, left) => {
                service_manager::ready(&format!("renewed in {}", in_days(left)));
                print(arguments.json, site, held, is_new, reloaded)?;
                (is_new, reloaded) = (false, false);
            }
            Event::Failed(failure, pause) => {
                service_manager::ready(&format!("{failure}; again in {}", in_words(pause)));
                terminal::note(&format!("error: {failure}; trying again in {}", in_words(pause)));
            }
        }
        Ok(())
    });
    tokio::select! {
        result = keeping => result,
        () = service_manager::watchdog(|| true) => Ok(()),
    }
}

fn print(
    json: bool,
    site: &Site,
    held: &CertificateReading,
    is_new: bool,
    reloaded: bool,
) -> Result<(), Failure> {
    let left = site.left(Some(held));
    let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    if json {
        return terminal::print_json(&Report {
            names: site.names.all(),
            certificate: site.files.certificate(),
            key: site.files.key(),
            is_new,
            reloaded,
            valid_from: seconds(held.from),
            valid_until: seconds(held.to),
            renewed_from: seconds(SystemTime::now() + left),
        });
    }
    let what = if is_new { "obtained" } else { "there already" };
    let until = httpdate::fmt_http_date(held.to);
    terminal::print(&format!(
        "a certificate for {} is {what}, valid until {until}, renewed in {}\n  certificate  {}\n  key          {}{}",
        site.names.all().join(", "),
        in_days(left),
        site.files.certificate().display(),
        site.files.key().display(),
        if reloaded { "\n  the reload command has been run" } else { "" }
    ))
}

/// A time for people, of which days are enough.
pub(crate) fn in_days(time: Duration) -> String {
    match time.as_secs() / 86_400 {
        0 => in_words(time),
        1 => "1 day".to_string(),
        days => format!("{days} days"),
    }
}

/// Ends the program as for any other mistake on the command line.
fn refuse(message: &str) -> ! {
    command_line::misused("certificate", ErrorKind::ArgumentConflict, message)
}
