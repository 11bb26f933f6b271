//! `publish`: signs a zone file and stores it on the DHT.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{
    Args, CommandFactory,
    error::ErrorKind::{MissingRequiredArgument, TooManyValues},
};
use pkdns::{
    dht::{Dht, Evidence, PutError},
    relay_client::RelayError,
    signed_packet::{Keypair, MAX_DNS_SIZE, PublicKey, SignedPacket},
};
use serde::Serialize;
use tokio::{sync::watch, time::sleep};

use crate::{
    failure::{EXIT_CODES, Failure},
    network, packet,
    records::{self, TextRecord},
    seed,
    sources::{Holdings, RelayReport, Sources},
    terminal::{self, printable},
    time::{age, now},
    zone_file::{ExternalAddresses, ZoneFile},
};

/// How often a user who waits is told how far it has come.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// Sign a zone file with a seed and store it on the DHT
///
/// The zone file is in the format of RFC 1035; names without a dot at the end are relative to the key, and "@" is the
/// key itself. What there is is read first and never replaced by something older. Nodes forget after a few hours,
/// so publish again at least every hour or so to keep the zone alive.
#[derive(Args)]
#[command(after_help = EXIT_CODES)]
#[command(override_usage = "pkdns-cli publish [OPTIONS] SEEDFILE ZONEFILE\n       \
                            pkdns-cli publish [OPTIONS] --seed FILE --zone-file FILE")]
pub(crate) struct Arguments {
    /// SEEDFILE, then ZONEFILE, unless they are given as options; "-" reads standard input
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Seed file: 64 hexadecimal or 52 z-base-32 characters
    #[arg(long, value_name = "FILE")]
    seed: Option<PathBuf>,
    /// Zone file
    #[arg(long, value_name = "FILE")]
    zone_file: Option<PathBuf>,
    /// Replace a packet that is newer than this machine's clock
    #[arg(long)]
    force: bool,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

/// What was stored.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Published {
    key: String,
    /// DHT nodes that confirmed to us that they stored the packet.
    nodes: u32,
    /// What the relays did, if any were named.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    relays: Vec<RelayReport>,
    /// Bytes of the 1000 that a packet may hold.
    size: usize,
    /// Microseconds since 1970.
    timestamp: u64,
    /// That of the packet that was replaced.
    previous_timestamp: Option<u64>,
    added: Vec<TextRecord>,
    removed: Vec<TextRecord>,
}

pub(crate) fn run(arguments: &Arguments, network: &network::NetworkArguments) -> Result<(), Failure> {
    let (seed, zone) = arguments.files();
    let keypair = seed::keypair(&seed)?;
    let dns = read_zone(&zone, &keypair.public_key())?;
    network::block_on(async {
        terminal::progress("searching for what there is of this key…");
        let published = publish(&network.sources()?, &keypair, &dns, arguments.force).await?;
        if arguments.json {
            terminal::print_json(&published)
        } else {
            terminal::print(&report(&published, &network.command()))
        }
    })
}

impl Arguments {
    /// The seed file and the zone file. Ends the program with a message on usage unless each is given once.
    fn files(&self) -> (PathBuf, PathBuf) {
        let mut files = self.files.iter();
        let mut next = |option: &Option<PathBuf>| option.clone().or_else(|| files.next().cloned());
        let (seed, zone) = (next(&self.seed), next(&self.zone_file));
        let usage = |kind, message| -> ! {
            let mut command = crate::Arguments::command();
            command.build();
            match command.find_subcommand_mut("publish") {
                Some(publish) => publish.error(kind, message).exit(),
                None => command.error(kind, message).exit(),
            }
        };
        match (seed, zone) {
            (Some(seed), Some(zone)) if files.next().is_none() => {
                if seed == Path::new("-") && zone == seed {
                    usage(TooManyValues, "standard input cannot be both the seed and the zone file");
                }
                (seed, zone)
            }
            (Some(_), Some(_)) => usage(TooManyValues, "only a seed file and a zone file can be given"),
            _ => usage(MissingRequiredArgument, "a seed file and a zone file are needed"),
        }
    }
}

fn read_zone(path: &Path, key: &PublicKey) -> Result<Vec<u8>, Failure> {
    let zone = ZoneFile::open(path)?;
    let records = zone.records(key, &ExternalAddresses::default())?;
    let file = seed::FileName::of(path);
    packet::compose(&records, key).map_err(|error| Failure::Failed(format!("{file}: {error}")))
}

async fn publish(
    sources: &Sources,
    keypair: &Keypair,
    dns: &[u8],
    force: bool,
) -> Result<Published, Failure> {
    let key = keypair.public_key();
    let Holdings { dht, newest: existing, .. } = sources.read(&key).await?;
    let timestamp = timestamp(existing.as_ref(), now(), force)?;
    let packet = SignedPacket::sign(keypair, timestamp, dns)
        .map_err(|error| Failure::Failed(format!("cannot sign the zone: {error}")))?;
    let (added, removed) = existing.as_ref().map_or_else(Default::default, |old| changes(old, &packet));
    for (sign, records) in [("-", &removed), ("+", &added)] {
        for record in records {
            terminal::note(&format!("{sign} {record}"));
        }
    }
    terminal::progress("storing…");
    let (nodes, relays) = store_everywhere(sources, &packet, dht).await?;
    let size = dns.len();
    let previous_timestamp = existing.map(|packet| packet.timestamp());
    Ok(Published { key: key.to_z32(), nodes, relays, size, timestamp, previous_timestamp, added, removed })
}

/// When the new packet is signed: now, unless that would not replace what is there.
fn timestamp(existing: Option<&SignedPacket>, now: u64, force: bool) -> Result<u64, Failure> {
    let Some(there) = existing.map(SignedPacket::timestamp).filter(|&there| there >= now) else {
        return Ok(now);
    };
    if there > now && !force {
        return Err(Failure::NewerPacket(format!(
            "there is a newer packet of this key, signed {}. If another machine publishes this key, let only \
             one of them do so; if this machine's clock is slow, set it. To replace the packet nevertheless, add \
             --force",
            age(there, now)
        )));
    }
    match there.checked_add(1) {
        Some(above) if i64::try_from(above).is_ok() => Ok(above),
        _ => Err(Failure::NewerPacket(
            "there is a packet of this key with the latest possible date. Nothing can replace it until the DHT has \
             forgotten it: try again in a few hours"
                .to_string(),
        )),
    }
}

/// Stores the packet on the DHT in place of what it held, if it could be asked, then at the relays. One of them all is
/// enough.
async fn store_everywhere(
    sources: &Sources,
    packet: &SignedPacket,
    held: Result<(Option<SignedPacket>, Evidence), Failure>,
) -> Result<(u32, Vec<RelayReport>), Failure> {
    let is_told = held.is_err();
    let on_dht = match held {
        Ok((existing, _)) => store(sources.dht(), packet, existing.as_ref()).await,
        Err(failure) => Err(failure),
    };
    // What somebody else published meanwhile is not replaced at the relays either.
    if let Err(failure @ Failure::NewerPacket(_)) = on_dht {
        return Err(failure);
    }
    let at_relays = sources.store_at_relays(packet).await;
    let is_stored = on_dht.is_ok() || at_relays.iter().any(|(_, stored)| stored.is_ok());
    let is_refused = at_relays.iter().any(|(_, stored)| *stored == Err(RelayError::NotMostRecent));
    let nodes = match on_dht {
        Ok(nodes) => nodes,
        Err(failure) if is_stored => {
            if !is_told {
                terminal::note(&format!("warning: {failure}"));
            }
            0
        }
        Err(_) if is_refused => return Err(overtaken()),
        Err(failure) => return Err(failure),
    };
    Ok((nodes, at_relays.into_iter().map(|(report, _)| report).collect()))
}

/// Stores the packet on the DHT, and tells a user who waits how far it has come.
async fn put(dht: &Dht, packet: &SignedPacket, cas: Option<u64>) -> Result<u32, PutError> {
    let progress = watch::Sender::new(0);
    let stored = progress.subscribe();
    let mut put = Box::pin(dht.put_with_progress(packet, cas, progress));
    loop {
        tokio::select! {
            result = &mut put => return result,
            () = sleep(PROGRESS_EVERY) => {
                terminal::progress(&format!("stored on {} DHT nodes so far…", *stored.borrow()));
            }
        }
    }
}

/// Stores the packet on the DHT in place of the one that was read, if that is still the newest.
async fn store(dht: &Dht, packet: &SignedPacket, existing: Option<&SignedPacket>) -> Result<u32, Failure> {
    let mut stored = put(dht, packet, existing.map(SignedPacket::timestamp)).await;
    if stored == Err(PutError::CasFailed) {
        // Either somebody was quicker, or nodes that missed the last update hold an older packet than we read.
        let (newest, _) = dht.most_recent(packet.key()).await.map_err(network::unreachable)?;
        if newest.as_ref() == existing {
            stored = put(dht, packet, None).await;
        }
    }
    match stored {
        Ok(0) => Err(Failure::Failed("no DHT node stored the packet: try again".to_string())),
        Ok(nodes) => Ok(nodes),
        Err(PutError::CasFailed | PutError::NotMostRecent) => Err(overtaken()),
        Err(PutError::Network(error)) => Err(network::unreachable(error)),
        Err(error @ PutError::Refused(..)) => {
            Err(Failure::Failed(format!("the packet was not stored: {}", printable(&error.to_string()))))
        }
    }
}

fn overtaken() -> Failure {
    Failure::NewerPacket(
        "somebody else published this key at the same time, and later: see what is there with resolve, then try again"
            .to_string(),
    )
}

/// Records of the new packet that the old one lacks, and the other way round.
fn changes(old: &SignedPacket, new: &SignedPacket) -> (Vec<TextRecord>, Vec<TextRecord>) {
    let [old, new] = [old, new].map(|packet| records::read(packet.dns(), packet.key()));
    let without = |records: &[TextRecord], others: &[TextRecord]| {
        records.iter().filter(|record| !others.contains(record)).cloned().collect()
    };
    (without(&new, &old), without(&old, &new))
}

fn report(published: &Published, command: &str) -> String {
    let Published { key, nodes, relays, size, previous_timestamp, added, removed, .. } = published;
    let what = match previous_timestamp {
        None => "published for the first time, or again after it was forgotten",
        Some(_) if added.is_empty() && removed.is_empty() => "published again, unchanged",
        Some(_) => "published with changes",
    };
    let on_nodes = match nodes {
        0 => None,
        1 => Some("on 1 DHT node".to_string()),
        nodes => Some(format!("on {nodes} DHT nodes")),
    };
    let by_relays = relays.iter().filter(|report| report.error.is_none());
    let by_relays = by_relays.map(|report| format!("by {}", report.relay));
    let stored = on_nodes.into_iter().chain(by_relays).collect::<Vec<_>>().join(" and ");
    format!(
        "{key}\n\
         {what}: {size} of {MAX_DNS_SIZE} bytes, stored {stored}\n\
         \n\
         Look it up:\n  \
           {command} resolve {key}"
    )
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use pkdns::{dht::DhtSettings, testnet::LocalNetwork};

    use super::*;

    fn packet(timestamp: u64, text: &str) -> SignedPacket {
        let keypair = Keypair::from_secret_key(&[0; 32]);
        let key = keypair.public_key();
        let zone = ZoneFile::from_bytes(text.as_bytes()).unwrap();
        let records = zone.records(&key, &ExternalAddresses::default()).unwrap();
        let dns = packet::compose(&records, &key).unwrap();
        SignedPacket::sign(&keypair, timestamp, &dns).unwrap()
    }

    #[test]
    fn a_packet_is_signed_now_unless_that_would_not_replace_what_is_there() {
        let at = |timestamp| packet(timestamp, "@ A 192.0.2.1");
        assert_eq!(timestamp(None, 100, false), Ok(100));
        assert_eq!(timestamp(Some(&at(99)), 100, false), Ok(100));
        assert_eq!(timestamp(Some(&at(100)), 100, false), Ok(101));
        assert_eq!(timestamp(Some(&at(200)), 100, true), Ok(201));
    }

    #[test]
    fn a_newer_packet_is_not_replaced_silently() {
        // A second machine used to overwrite what the first had published (mistake 31).
        let there = packet(1_000_000 * 3600, "@ A 192.0.2.1");
        let Err(Failure::NewerPacket(message)) = timestamp(Some(&there), 1, false) else {
            panic!("replaced");
        };
        assert!(message.contains("59 minutes in the future") && message.contains("--force"), "{message}");
    }

    #[test]
    fn a_packet_of_the_last_possible_date_cannot_be_replaced_by_force_either() {
        let there = packet(i64::MAX.unsigned_abs(), "@ A 192.0.2.1");
        assert!(matches!(timestamp(Some(&there), 1, true), Err(Failure::NewerPacket(_))));
    }

    #[test]
    fn changes_are_the_records_that_differ_in_anything() {
        let old = packet(1, "@ A 192.0.2.1\nold TXT x\nwww 60 A 192.0.2.2\n");
        let new = packet(2, "new TXT x\n@ A 192.0.2.1\nwww 61 A 192.0.2.2\n");
        let (added, removed) = changes(&old, &new);
        let text = |records: &[TextRecord]| records.iter().map(TextRecord::to_string).collect::<Vec<_>>();
        assert_eq!(text(&added), ["new 3600 TXT \"x\"", "www 61 A 192.0.2.2"]);
        assert_eq!(text(&removed), ["old 3600 TXT \"x\"", "www 60 A 192.0.2.2"]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_published_after_the_reading_is_not_replaced() {
        let network = LocalNetwork::start(5).await.unwrap();
        let settings = DhtSettings::on_loopback(network.bootstrap());
        let dht = Dht::start(settings, Arc::new(|_| Box::pin(async { Vec::new() }))).unwrap();
        dht.ready(Duration::from_secs(10)).await.unwrap();
        let [read, meanwhile, ours, late] = [(1, "a"), (2, "b"), (3, "c"), (2, "a")]
            .map(|(time, text)| packet(time, &format!("@ TXT {text}")));

        assert!(store(&dht, &read, None).await.is_ok());
        assert!(store(&dht, &meanwhile, Some(&read)).await.is_ok());
        assert!(matches!(store(&dht, &ours, Some(&read)).await, Err(Failure::NewerPacket(_))));
        assert!(matches!(store(&dht, &late, Some(&read)).await, Err(Failure::NewerPacket(_))));
        assert_eq!(dht.most_recent(ours.key()).await.unwrap().0, Some(meanwhile.clone()));
        assert!(store(&dht, &ours, Some(&meanwhile)).await.is_ok());
    }
}
