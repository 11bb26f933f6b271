//! `publish`: signs a zone file and stores it on the DHT, once or again and again.

use std::{
    future::pending,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::{
    Args,
    error::ErrorKind::{MissingRequiredArgument, TooManyValues},
};
use futures_util::future::Either;
use pkdns::program::service_manager;
use pkdns_dht::{REPLICAS, signed_packet::MAX_DNS_SIZE};
use tokio::{
    sync::{Semaphore, watch},
    time::sleep,
};

use crate::{
    command_line,
    external_address::{self, Detector, Want},
    failure::{EXIT_CODES, Failure},
    keeper::{Event, Identity, Interval, Keeper, TimestampFile, in_wait, in_words, what_is_kept},
    network,
    publisher::{Publication, Published, Terms},
    records::{self, TextRecord},
    secret_key::SecretKey,
    seed::{self, PassphraseArguments},
    sources::Sources,
    systemd,
    terminal::{self, Colour},
    zone_file::ExternalAddresses,
    zone_source::{self, ZoneSource},
};

/// How often a user who waits is told how far it has come.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// Sign a zone file with a seed and store it on the DHT
///
/// The zone file is in the format of RFC 1035; names without a dot at the end are relative to the key, and "@" is the
/// key itself. The packet that is there is read first, and never replaced by an older one. Nodes forget after a few hours, so
/// publish again at least every hour or so to keep the zone alive, or let --watch do it.
#[derive(Args)]
#[command(after_help = EXIT_CODES)]
#[command(override_usage = "pkdns-cli publish [OPTIONS] SEEDFILE ZONEFILE\n       \
                            pkdns-cli publish [OPTIONS] --seed FILE --zone-file FILE")]
pub(crate) struct Arguments {
    /// SEEDFILE, then ZONEFILE, unless they are given as options
    ///
    /// "-" reads standard input.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Seed file, in any form that import reads
    #[arg(long, value_name = "FILE")]
    seed: Option<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseArguments,
    /// Zone file
    #[arg(long, value_name = "FILE")]
    zone_file: Option<PathBuf>,
    /// Stay, and publish again every hour
    ///
    /// And at once when the zone file or the address changes.
    #[arg(long)]
    watch: bool,
    /// With --watch: how often, for example 30m or 1h
    ///
    /// A tenth of it is left to chance.
    #[arg(long, value_name = "TIME", default_value = "1h", requires = "watch")]
    every: Interval,
    #[command(flatten)]
    addresses: external_address::AddressArguments,
    /// Say what would change, and store nothing
    #[arg(long, conflicts_with = "watch")]
    dry_run: bool,
    /// Do not ask before records are replaced
    ///
    /// Only whoever sits at a terminal is asked.
    #[arg(long, short)]
    yes: bool,
    /// Replace a packet of another machine
    ///
    /// Even one that is newer than this machine's clock.
    #[arg(long)]
    force: bool,
    /// Print one line of JSON; with --watch one for each time
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments, network: &network::NetworkArguments) -> Result<(), Failure> {
    let (seed, zone) = arguments.files();
    if seed::is_in(&zone) {
        return Err(zone_source::swapped(&zone));
    }
    let secret_key = seed::secret_key(&seed, arguments.passphrase.source())?;
    let source = ZoneSource::of(zone)?;
    // Before anything else is waited for: most mistakes are in it.
    let zone = source.read(&secret_key.public_key())?;
    for mistake in zone.mistakes() {
        terminal::note(&format!("warning: {mistake}"));
    }
    let watching = watching(&seed, &source);
    network::block_on(async {
        if arguments.watch {
            terminal::begin_log();
            return watch(arguments, network, secret_key, source).await;
        }
        let addresses = external_address::find(arguments.addresses.finder()?.as_ref(), zone.macros()).await?;
        once(arguments, network, &secret_key, &zone.compose(&addresses)?, watching.as_deref()).await
    })
}

async fn once(
    arguments: &Arguments,
    network: &network::NetworkArguments,
    secret_key: &SecretKey,
    dns: &[u8],
    watching: Option<&str>,
) -> Result<(), Failure> {
    terminal::progress("searching for what there is of this key…");
    let sources = network.sources()?;
    let terms = Terms { last: None, force: arguments.force };
    let publication = Publication::prepare(&sources, secret_key, dns, terms).await?;
    if arguments.dry_run || publication.is_change() {
        tell_changes(&publication.added, &publication.removed);
    }
    if arguments.dry_run {
        if arguments.json {
            return terminal::print_json(&publication.plan());
        }
        let what = match (publication.is_first(), publication.is_change()) {
            (true, _) => {
                "the records above would be published for the first time, or again after they were forgotten"
            }
            (false, true) => "the records above would change",
            (false, false) => "no record would change",
        };
        let size = dns.len();
        return terminal::print(&format!("{what}: {size} of {MAX_DNS_SIZE} bytes; nothing was stored"));
    }
    if publication.is_change() && !arguments.yes {
        confirm()?;
    }
    terminal::progress("storing…");
    let published = store(publication, &sources).await?;
    if arguments.json {
        terminal::print_json(&published)
    } else {
        let address = page(&records::read(dns, &secret_key.public_key()));
        terminal::print(&report(&published, &network.command(), address.as_deref(), watching))
    }
}

/// Until a signal ends it, which is success, or something happens that waiting does not mend.
async fn watch(
    arguments: &Arguments,
    network: &network::NetworkArguments,
    secret_key: SecretKey,
    zone: ZoneSource,
) -> Result<(), Failure> {
    let stop = systemd::Stop::new()?;
    let want = Want::default();
    let (detecting, addresses) = match arguments.addresses.finder()? {
        Some(finder) => {
            let (detector, addresses) = Detector::new(finder, &want);
            (Either::Left(detector.run()), addresses)
        }
        None => (Either::Right(pending()), watch::channel(ExternalAddresses::default()).1),
    };
    let identity = Identity { secret_key, zone, interval: arguments.every, force: arguments.force };
    let sources = Arc::new(network.sources()?);
    let one = Arc::new(Semaphore::new(1));
    let keeper = Keeper::new(identity, sources, addresses, TimestampFile::in_memory(), one, want);
    let mut has_begun = false;
    let keeping = keeper.run(|event| match event {
        Event::Published(published, pause) => {
            has_begun = true;
            if published.previous_timestamp.is_some() {
                tell_changes(&published.added, &published.removed);
            }
            service_manager::ready(&format!(
                "published {}; again in {}",
                published.places(),
                in_words(pause)
            ));
            if arguments.json {
                return terminal::print_json(published);
            }
            terminal::print(&terminal::timed(&format!(
                "{}: {} of {MAX_DNS_SIZE} bytes, stored {}; again in {}",
                published.key,
                published.size,
                published.places(),
                in_words(pause)
            )))
        }
        Event::Failed(failure @ Failure::NewerPacket(_), _) => Err(failure.clone()),
        Event::Failed(failure, pause) => {
            // It goes on by itself, so nobody needs to wait for the network to start it.
            service_manager::ready(&format!("{failure}; again in {}", in_words(pause)));
            terminal::note(&format!("error: {failure}; trying again in {}", in_words(pause)));
            Ok(())
        }
        // What is published next says so.
        Event::Waiting([], _) => Ok(()),
        Event::Waiting(lacking, is_rest_published) => {
            let waiting = in_wait(lacking, is_rest_published);
            service_manager::ready(&waiting);
            terminal::note(&waiting);
            Ok(())
        }
        Event::Readable => {
            terminal::note("the zone can be read again");
            Ok(())
        }
        // Nobody orders a certificate here.
        Event::Crowded(_, failure) => Err(failure.clone()),
        // Nor is there a site.
        Event::Contradicted(_) => Ok(()),
        // Whoever has just started it can mend it; later there is something to keep alive.
        Event::Unreadable(failure, _) if !has_begun => Err(failure.clone()),
        Event::Unreadable(failure, is_kept) => {
            service_manager::status(&failure.to_string());
            terminal::note(&format!("error: {failure}; {}", what_is_kept(is_kept)));
            Ok(())
        }
    });
    tokio::select! {
        result = keeping => result,
        () = detecting => Ok(()),
        () = service_manager::watchdog(|| true) => Ok(()),
        () = stop.requested() => {
            service_manager::stopping();
            Ok(())
        }
    }
}

/// What a publication changes, if there was one before.
fn tell_changes(added: &[TextRecord], removed: &[TextRecord]) {
    for (sign, records) in [("-", removed), ("+", added)] {
        for record in records {
            let colour = if sign == "+" { Colour::Good } else { Colour::Bad };
            terminal::note(&terminal::coloured(&format!("{sign} {record}"), colour, &io::stderr()));
        }
    }
}

/// Asks whoever sits at the terminal. Scripts have decided already.
fn confirm() -> Result<(), Failure> {
    match terminal::confirm("Replace these records?")? {
        None | Some(true) => Ok(()),
        // Whoever says no has what they wanted, but a script must not take it for published.
        Some(false) => Err(Failure::Failed(
            "nothing was published, as you said. Answer y, or add --yes, to publish it".to_string(),
        )),
    }
}

/// Stores, and tells a user who waits how far it has come.
async fn store(publication: Publication, sources: &Sources) -> Result<Published, Failure> {
    let progress = watch::Sender::new(0);
    let mut stored = Box::pin(publication.store(sources, &progress));
    loop {
        tokio::select! {
            published = &mut stored => return published,
            () = sleep(PROGRESS_EVERY) => {
                terminal::progress(&format!("stored on {} of {REPLICAS} DHT nodes…", *progress.borrow()));
            }
        }
    }
}

impl Arguments {
    /// The seed file and the zone file. Ends the program with a message on usage unless each is given once.
    fn files(&self) -> (PathBuf, PathBuf) {
        let mut files = self.files.iter();
        let mut next = |option: &Option<PathBuf>| option.clone().or_else(|| files.next().cloned());
        let (seed, zone) = (next(&self.seed), next(&self.zone_file));
        let usage = |kind, message| -> ! { command_line::misused("publish", kind, message) };
        match (seed, zone) {
            (Some(seed), Some(zone)) if files.next().is_none() => {
                if seed == Path::new("-") && zone == seed {
                    usage(TooManyValues, "standard input cannot be both the seed and the zone file");
                }
                if zone == Path::new("-") && self.passphrase.passphrase_file.as_ref() == Some(&zone) {
                    usage(TooManyValues, "standard input cannot be both the passphrase and the zone file");
                }
                (seed, zone)
            }
            (Some(_), Some(_)) => usage(TooManyValues, "only a seed file and a zone file can be given"),
            _ => usage(MissingRequiredArgument, "a seed file and a zone file are needed"),
        }
    }
}

/// The command that was typed, with --watch. `None` where it cannot be typed again: what it read from standard input is gone.
fn watching(seed: &Path, zone: &ZoneSource) -> Option<String> {
    if seed == Path::new("-") || !matches!(zone, ZoneSource::File(_)) {
        return None;
    }
    let arguments = std::env::args_os().skip(1).map(|argument| argument.into_string());
    let arguments: Vec<String> = arguments.collect::<Result<_, _>>().ok()?;
    let words: Vec<String> = arguments.iter().map(|word| terminal::quoted(word)).collect();
    Some(format!("pkdns-cli {} --watch", words.join(" ")))
}

/// Where a browser finds the first name that leads to a machine, the key itself before names below it.
pub(crate) fn page(records: &[TextRecord]) -> Option<String> {
    let leads = |record: &&TextRecord| matches!(&*record.record_type, "A" | "AAAA" | "CNAME");
    let is_plain = |record: &&TextRecord| !record.owner.starts_with(['_', '*']);
    let mut leading = records.iter().filter(leads).filter(is_plain);
    let first = leading.clone().find(|record| record.owner == "@").or_else(|| leading.next())?;
    Some(format!("http://{}.key/", first.name.trim_end_matches('.')))
}

fn report(published: &Published, command: &str, page: Option<&str>, watching: Option<&str>) -> String {
    let Published { key, size, previous_timestamp, added, removed, .. } = published;
    let what = match previous_timestamp {
        None => "published for the first time, or again after it was forgotten",
        Some(_) if added.is_empty() && removed.is_empty() => "published again, unchanged",
        Some(_) => "published with changes",
    };
    let stored = published.places();
    let few = match published.is_everywhere() {
        true => "The search has found no more nodes for this key, as in a small network such as a testnet.\n",
        false => "",
    };
    let page = page.map_or_else(String::new, |page| {
        format!("\nOpen it in a browser that asks a pkdns, once a web server answers there:\n  {page}\n")
    });
    let watching = watching.map_or_else(
        || "To keep it there, publish it again every hour.".to_owned(),
        |command| {
            format!(
                "To keep it there, leave this running, or see `pkdns-cli serve --help` for a service:\n  {command}"
            )
        },
    );
    format!(
        "{key}\n\
         {what}: {size} of {MAX_DNS_SIZE} bytes, stored {stored}\n\
         {few}\n\
         Look it up:\n  \
           {command} resolve {key}\n\
         {page}\n\
         The nodes forget it after some two hours. {watching}"
    )
}
