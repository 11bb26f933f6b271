//! `republish`: keeps the keys of others alive, without their secrets.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    pin::pin,
    time::Duration,
};

use clap::Args;
use futures_util::{Stream, StreamExt, stream};
use pkdns::program::service_manager;
use pkdns_dht::{
    Evidence,
    signed_packet::{PublicKey, SignedPacket},
};
use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::{
    failure::{EXIT_CODES, Failure},
    input,
    keeper::{Interval, in_words},
    name, network,
    publisher::on_nodes,
    seed::FileName,
    sources::{Holdings, Sources},
    systemd,
    terminal::{self, printable},
    time::{age, now},
};

/// Most keys of one run.
const MAX_KEYS: usize = 100_000;

/// Larger files are not lists of keys.
const MAX_LIST_SIZE: usize = 16 << 20;

/// Keys at once.
const AT_ONCE: usize = 32;

/// How often the DHT is asked about a key when nobody answers.
const ATTEMPTS: u32 = 3;
const RETRY_PAUSE: Duration = Duration::from_secs(2);

/// Store the newest packets of keys again, before the DHT forgets them
///
/// Needs no seed: a packet that its owner has signed can be stored by anybody. Nothing older than what the DHT holds is ever
/// stored, and a key without a packet stays without one.
#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    /// KEY, KEY.key or pk:KEY
    #[arg(value_name = "KEY")]
    keys: Vec<String>,
    /// File with a key on each line; what follows "#" is a comment
    #[arg(long, value_name = "FILE")]
    list: Vec<PathBuf>,
    /// Keys begun in a minute, at most
    #[arg(long, value_name = "NUMBER", default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    per_minute: u32,
    /// Stay, and do it again after this time, for example 1h
    ///
    /// The list is read again each time.
    #[arg(long, value_name = "TIME")]
    every: Option<Interval>,
    /// Print a line of JSON for each key
    #[arg(long)]
    json: bool,
}

/// What became of one key.
#[derive(Debug, Serialize)]
struct Report {
    key: String,
    /// Microseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<u64>,
    /// DHT nodes that held the packet before.
    held_by: u32,
    /// DHT nodes that confirmed that they hold it now.
    nodes: u32,
    /// Relays that hold it now.
    relays: usize,
    /// Why it is not stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

pub(crate) fn run(arguments: &Arguments, network: &network::NetworkArguments) -> Result<(), Failure> {
    let keys = arguments.keys()?;
    network::block_on(async {
        let sources = network.sources_for_many()?;
        let Some(interval) = arguments.every else {
            return once(arguments, &sources, keys).await;
        };
        let stop = systemd::Stop::new()?;
        let repeating = async {
            service_manager::ready("republishing");
            let mut failures = 0;
            loop {
                // Somebody may be editing the list.
                let outcome = match arguments.keys() {
                    Ok(keys) => once(arguments, &sources, keys).await,
                    Err(failure) => Err(failure),
                };
                failures = if matches!(outcome, Err(Failure::Unreachable(_))) { failures + 1 } else { 0 };
                match outcome {
                    Err(Failure::OutputClosed) => return Err(Failure::OutputClosed),
                    Err(failure) => terminal::note(&format!("error: {failure}")),
                    Ok(()) => {}
                }
                // After another interval the packets may be forgotten.
                let pause =
                    if failures > 0 { interval.after_failures(failures) } else { interval.jittered() };
                terminal::note(&format!("again in {}", in_words(pause)));
                sleep(pause).await;
            }
        };
        tokio::select! {
            result = repeating => result,
            () = service_manager::watchdog(|| true) => Ok(()),
            () = stop.requested() => Ok(()),
        }
    })
}

impl Arguments {
    /// All keys, each once, in their order.
    fn keys(&self) -> Result<Vec<PublicKey>, Failure> {
        let mut keys = Vec::new();
        for text in &self.keys {
            let name = || printable(&FileName::of(Path::new(text)).to_string());
            keys.push(name::key(text).map_err(|why| Failure::Failed(format!("{}: {why}", name())))?);
        }
        for path in &self.list {
            keys.extend(read_list(path)?);
        }
        let mut seen = HashSet::new();
        keys.retain(|key| seen.insert(key.to_bytes()));
        match keys.len() {
            0 => Err(Failure::Failed(
                "there is no key to republish: name one, or a file with --list".to_string(),
            )),
            1..=MAX_KEYS => Ok(keys),
            _ => Err(Failure::Failed(format!("more than {MAX_KEYS} keys: divide them among several runs"))),
        }
    }
}

fn read_list(path: &Path) -> Result<Vec<PublicKey>, Failure> {
    let name = FileName::of(path);
    let fail = |why: &dyn std::fmt::Display| Failure::Failed(format!("{name}: {why}"));
    let text = input::read_text(path, MAX_LIST_SIZE).map_err(|error| {
        fail(&format!("the list cannot be read: {error}; check its name and who may read it"))
    })?;
    let text = text.ok_or_else(|| {
        fail(&format!("it is larger than {MAX_LIST_SIZE} bytes: divide it among several lists"))
    })?;
    let lines = text.lines().zip(1..).filter_map(|(line, number)| {
        let text = line.split('#').next().unwrap_or_default().trim();
        // The line itself is not repeated: it may be a seed.
        (!text.is_empty()).then(|| name::key(text).map_err(|why| fail(&format!("line {number}: {why}"))))
    });
    lines.collect()
}

async fn once(arguments: &Arguments, sources: &Sources, keys: Vec<PublicKey>) -> Result<(), Failure> {
    sources.join().await?;
    let total = keys.len();
    let jobs = paced(keys, arguments.per_minute).map(async |key| republish(sources, &key).await);
    let mut reports = pin!(jobs.buffer_unordered(AT_ONCE));
    let (mut stored, mut done, mut unreachable) = (0, 0, 0);
    while let Some((report, failure)) = reports.next().await {
        done += 1;
        stored += usize::from(failure.is_none());
        unreachable += usize::from(matches!(failure, Some(Failure::Unreachable(_))));
        if arguments.json {
            terminal::print_json(&report)?;
        } else {
            terminal::print(&report.line())?;
        }
        terminal::progress(&format!("{done} of {total} keys"));
    }
    terminal::note(&format!("stored {stored} of {total} keys again"));
    if arguments.every.is_none() {
        terminal::hint(
            "The nodes forget them after some two hours. With --every 1h this stays, and stores them again in time.",
        );
    }
    if stored == total {
        return Ok(());
    }
    if unreachable == total {
        return Err(Failure::Unreachable(
            "nothing was stored: the DHT could not be asked, as the line of each key says; try again later"
                .to_string(),
        ));
    }
    let missing = total - stored;
    Err(Failure::Failed(format!(
        "{missing} of {total} keys were not stored: the line of each says why; try those again later"
    )))
}

/// Gives out so many a minute. What nobody took in time is not made up for: that would be more.
fn paced<T>(items: Vec<T>, per_minute: u32) -> impl Stream<Item = T> {
    let mut pace = interval(Duration::from_secs(60) / per_minute.max(1));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    stream::unfold((pace, items.into_iter()), async |(mut pace, mut items)| {
        let item = items.next()?;
        pace.tick().await;
        Some((item, (pace, items)))
    })
}

/// What became of it, and why it was not stored.
async fn republish(sources: &Sources, key: &PublicKey) -> (Report, Option<Failure>) {
    let mut report =
        Report { key: key.to_z32(), timestamp: None, held_by: 0, nodes: 0, relays: 0, error: None };
    let mut failure = try_republish(sources, key, &mut report).await.err();
    for _ in 1..ATTEMPTS {
        // In a list of thousands, some are hit by what passes at once.
        if !matches!(failure, Some(Failure::Unreachable(_))) {
            break;
        }
        sleep(RETRY_PAUSE).await;
        failure = try_republish(sources, key, &mut report).await.err();
    }
    report.error = failure.as_ref().map(Failure::to_string);
    (report, failure)
}

async fn try_republish(sources: &Sources, key: &PublicKey, report: &mut Report) -> Result<(), Failure> {
    let Holdings { dht, newest, .. } = sources.read(key).await?;
    let Some(packet) = newest else {
        return Err(Failure::Failed(
            "nobody holds a packet of it, so only its owner can publish it".to_string(),
        ));
    };
    report.timestamp = Some(packet.timestamp());
    let on_dht = match dht {
        Ok((held, evidence)) => {
            report.held_by = holders(held.as_ref(), &packet, evidence);
            // Where its owner was quicker, it is alive.
            on_nodes(sources.dht().put(&packet, None).await).unwrap_or(Ok(0))
        }
        Err(failure) => Err(failure),
    };
    let relays = sources.store_at_relays(&packet).await;
    report.relays = relays.iter().filter(|(_, stored)| stored.is_ok()).count();
    match on_dht {
        Ok(nodes) => report.nodes = nodes,
        Err(failure) if report.relays == 0 => return Err(failure),
        Err(_) => {}
    }
    Ok(())
}

/// Nodes that hold just this packet.
fn holders(held: Option<&SignedPacket>, newest: &SignedPacket, evidence: Evidence) -> u32 {
    if held == Some(newest) { evidence.held } else { 0 }
}

impl Report {
    fn line(&self) -> String {
        let key = &self.key;
        if let Some(error) = &self.error {
            return format!("{key}: {error}");
        }
        let signed = self.timestamp.map_or_else(String::new, |timestamp| age(timestamp, now()));
        let relays = match self.relays {
            0 => String::new(),
            relays => format!(" and {relays} relays"),
        };
        format!("{key}: on {} DHT nodes{relays}, before on {}; signed {signed}", self.nodes, self.held_by)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tokio::time::{Instant, sleep};

    use super::*;

    const KEY: &str = "8pinxxgqs41n4aididenw5apqp1urfmzdztr8jt4abrkdn435ewo";

    fn arguments(keys: &[&str], list: Vec<PathBuf>) -> Arguments {
        let keys = keys.iter().map(|key| (*key).to_string()).collect();
        Arguments { keys, list, per_minute: 600, every: None, json: false }
    }

    #[test]
    fn keys_come_from_the_command_line_and_from_lists_each_once() {
        let directory = tempfile::tempdir().unwrap();
        let list = directory.path().join("list");
        let other = "yg4gxe7z1r7mr6orids9fh95y7gxhdsxjqi6nngsxxtakqaxr5no";
        fs::write(&list, format!("# mine\n\n{KEY}.key # home\npk:{other}\n{KEY}\n")).unwrap();
        let keys = arguments(&[KEY], vec![list]).keys().unwrap();
        assert_eq!(keys.iter().map(PublicKey::to_z32).collect::<Vec<_>>(), [KEY, other]);
    }

    #[test]
    fn a_line_that_is_no_key_is_named_by_its_number_and_not_repeated() {
        let directory = tempfile::tempdir().unwrap();
        let list = directory.path().join("list");
        let seed = "c654c84bb8f2dd8a0fe9450d4aa483f68c191164412576c5e6a911d0ce655678";
        fs::write(&list, format!("{KEY}\n{seed}\n")).unwrap();
        let message = arguments(&[], vec![list]).keys().unwrap_err().to_string();
        assert!(message.contains("line 2") && !message.contains(seed), "{message}");
        assert!(arguments(&[], vec![]).keys().unwrap_err().to_string().contains("--list"));
        let message = arguments(&[&format!("www.{KEY}")], vec![]).keys().unwrap_err().to_string();
        assert!(message.contains("without a name"), "{message}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_held_up_does_not_hurry_afterwards() {
        let start = Instant::now();
        let begun = paced((0..6).collect(), 60).then(async |number| {
            let begun = start.elapsed().as_secs();
            // The third takes a minute.
            sleep(Duration::from_secs(if number == 2 { 60 } else { 0 })).await;
            begun
        });
        assert_eq!(begun.collect::<Vec<_>>().await, [0, 1, 2, 62, 63, 64]);
    }

    #[test]
    fn a_list_without_an_end_is_not_read_to_it() {
        let message = read_list(Path::new("/dev/zero")).unwrap_err().to_string();
        assert!(message.contains("larger than"), "{message}");
    }
}
