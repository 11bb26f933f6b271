//! Challenges in the packet of a key that is signed here: besides what others have published meanwhile, and out of it again,
//! by the next run of the command if this one is killed.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use domain::rdata::ZoneRecordData;
use pkdns::base::{private_file, watched_files};
use tokio::{sync::watch, time::sleep};

use super::{names, records::Extras};
use crate::{
    failure::Failure,
    packet,
    publisher::{Publication, Terms},
    records,
    secret_key::SecretKey,
    seed::FileName,
    sources::Sources,
    zone_file::ZoneRecord,
};

/// How often the packet is changed anew because somebody else has published one meanwhile, and how long after each other.
const TRIES: usize = 5;
const BETWEEN_TRIES: Duration = Duration::from_secs(2);

/// Which challenges may be in the packet, one a line, beside the certificate.
const NOTES: &str = "challenges-in-packet";

/// Larger notes are not ours: those of a certificate with a hundred names take half of it.
const MAX_NOTES: u64 = 1 << 16;

/// The packet of a key.
pub(crate) struct InPacket {
    sources: Arc<Sources>,
    secret_key: Box<SecretKey>,
    notes: PathBuf,
    last: Mutex<Last>,
}

/// What this process has stored since its challenges came in.
#[derive(Default)]
struct Last {
    packet: Option<Read>,
    /// Whether a packet was on its way whose arrival nobody has seen.
    is_unsure: bool,
}

/// A packet that was read: when it was signed, and its message.
type Read = (u64, Vec<u8>);

impl InPacket {
    /// What may be left in the packet is noted in `directory`.
    pub(crate) fn new(sources: Arc<Sources>, secret_key: SecretKey, directory: &Path) -> Self {
        let notes = directory.join(NOTES);
        Self { sources, secret_key: Box::new(secret_key), notes, last: Mutex::default() }
    }

    /// Publishes `extras` besides what there is.
    pub(super) async fn show(&self, extras: &[ZoneRecord]) -> Result<(), Failure> {
        let mut noted = self.noted()?;
        noted.extend_from_slice(extras);
        self.note(&noted)?;
        self.change(&[], extras).await
    }

    /// Takes them out again. Where it fails, they stay noted.
    pub(super) async fn hide(&self, extras: &[ZoneRecord]) -> Result<(), Failure> {
        self.change(extras, &[]).await?;
        let is_unsure = std::mem::take(&mut *self.last()).is_unsure;
        if is_unsure {
            // The packet may still turn up: who runs next looks again.
            return Ok(());
        }
        let mut noted = self.noted()?;
        noted.retain(|record| !extras.contains(record));
        self.note(&noted)
    }

    /// Takes out what an earlier run has left.
    pub(super) async fn clean(&self) -> Result<(), Failure> {
        let noted = self.noted()?;
        if noted.is_empty() { Ok(()) } else { self.hide(&noted).await }
    }

    async fn change(&self, without: &[ZoneRecord], with: &[ZoneRecord]) -> Result<(), Failure> {
        let mut tries = 1;
        loop {
            let newest = self.newest().await?;
            match self.replace(&newest, without, with).await {
                Ok(true) => return Ok(()),
                // What was on its way may come late.
                Ok(false) if tries == TRIES || !self.last().is_unsure => return Ok(()),
                Err(Failure::NewerPacket(_)) if tries == TRIES => {
                    return Err(Failure::NewerPacket(
                        "somebody else publishes this key at the same time, again and again: let only one publisher do \
                         so, then try again"
                            .to_string(),
                    ));
                }
                Ok(false) | Err(Failure::NewerPacket(_)) => tries += 1,
                Err(failure) => return Err(failure),
            }
            sleep(BETWEEN_TRIES).await;
        }
    }

    /// The newest packet that is known. The network may still show one from before ours.
    async fn newest(&self) -> Result<Read, Failure> {
        let key = self.secret_key.public_key();
        let read = self.sources.read(&key).await?.newest;
        let read = read.map(|packet| (packet.timestamp(), packet.dns().to_vec()));
        let ours = self.last().packet.clone();
        read.into_iter().chain(ours).max_by_key(|(timestamp, _)| *timestamp).ok_or_else(|| {
            Failure::Failed(format!(
                "there is no packet of {key}: publish its zone first (pkdns-cli publish)",
                key = key.to_z32()
            ))
        })
    }

    /// Stores what `newest` becomes, unless there is one newer than that. Whether that differs from it.
    async fn replace(
        &self,
        (timestamp, newest): &Read,
        without: &[ZoneRecord],
        with: &[ZoneRecord],
    ) -> Result<bool, Failure> {
        let key = self.secret_key.public_key();
        let names: Vec<String> = with.iter().map(|record| records::escaped_name(record.owner())).collect();
        let there = records::read(newest, &key);
        if let Some(alias) =
            there.iter().find(|record| record.record_type == "CNAME" && names.contains(&record.name))
        {
            return Err(Failure::Failed(format!(
                "the packet holds the alias \"{alias}\", beside which no challenge can be published: take it out of the zone"
            )));
        }
        let dns = packet::edited(Some(newest), &key, without, with)?;
        if dns == *newest {
            return Ok(false);
        }
        let terms = Terms { last: Some(*timestamp), force: false };
        let publication = Publication::prepare(&self.sources, &self.secret_key, &dns, terms).await?;
        let timestamp = publication.timestamp();
        self.last().is_unsure = true;
        publication.store(&self.sources, &watch::Sender::new(0)).await?;
        *self.last() = Last { packet: Some((timestamp, dns)), is_unsure: false };
        Ok(true)
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn noted(&self) -> Result<Extras, Failure> {
        let text = match watched_files::read(&self.notes, MAX_NOTES) {
            Ok(text) => String::from_utf8_lossy(&text).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(self.failed(&error)),
        };
        let key = self.secret_key.public_key();
        let records = text.lines().filter_map(|line| line.split_once(' '));
        Ok(records.filter_map(|(inside, value)| names::challenge(&key, inside, value)).collect())
    }

    fn note(&self, extras: &[ZoneRecord]) -> Result<(), Failure> {
        let noted = match extras {
            [] => fs::remove_file(&self.notes).or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            }),
            extras => {
                let lines: String = extras.iter().filter_map(line).collect();
                private_file::replace(&self.notes, lines.as_bytes())
            }
        };
        noted.map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &io::Error) -> Failure {
        let path = FileName::of(&self.notes);
        Failure::Failed(format!("{path}: {error}; give the directory to this user, or choose another"))
    }
}

/// A challenge as it is noted: its name in the packet, without the label that all of them have, and its value.
fn line(record: &ZoneRecord) -> Option<String> {
    let ZoneRecordData::Txt(text) = record.data() else { return None };
    let value = String::from_utf8(text.iter().flatten().copied().collect()).ok()?;
    let owner = record.owner().to_string();
    Some(format!("{} {value}\n", owner.strip_prefix(names::CHALLENGE_LABEL)?))
}

#[cfg(test)]
mod tests {
    use pkdns::sources::relay_client::Relays;
    use pkdns_dht::{signed_packet::SignedPacket, simulator::Simulator};
    use tempfile::TempDir;

    use super::*;
    use crate::{
        testing::{self, key, records as zone_records, secret_key},
        time::now,
    };

    struct World {
        _network: Simulator,
        sources: Arc<Sources>,
        directory: TempDir,
    }

    fn dns(zone: &str, with: &[ZoneRecord]) -> Vec<u8> {
        packet::compose(&[&zone_records(zone), with].concat(), &key()).unwrap()
    }

    fn challenge(value: &str) -> ZoneRecord {
        names::challenge(&key(), &key().to_z32(), value).unwrap()
    }

    impl World {
        async fn start() -> Self {
            let (network, dht) = testing::dht().await;
            let sources = Sources::new(dht, String::new(), Duration::from_secs(10), Relays::default());
            let sources = Arc::new(sources);
            Self { _network: network, sources, directory: tempfile::tempdir().unwrap() }
        }

        fn open(&self) -> InPacket {
            InPacket::new(self.sources.clone(), secret_key(), self.directory.path())
        }

        async fn publish(&self, zone: &str) -> Read {
            let packet = SignedPacket::sign(&secret_key(), now(), &dns(zone, &[])).unwrap();
            self.sources.dht().put(&packet, None).await.unwrap();
            (packet.timestamp(), packet.dns().to_vec())
        }

        async fn published(&self) -> Vec<u8> {
            let newest = self.sources.read(&key()).await.unwrap().newest;
            newest.unwrap().dns().to_vec()
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_zone_that_only_the_second_reading_finds_loses_nothing() {
        let world = World::start().await;
        let (old, new) = ("@ TXT old\n", "@ TXT new\n");
        let read = world.publish(old).await;
        world.publish(new).await;
        let packet = world.open();
        let changed = packet.replace(&read, &[], &[challenge("a")]).await;
        assert!(matches!(changed, Err(Failure::NewerPacket(_))), "{changed:?}");
        assert_eq!(world.published().await, dns(new, &[]));
        packet.show(&[challenge("a")]).await.unwrap();
        assert_eq!(world.published().await, dns(new, &[challenge("a")]));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_network_that_shows_the_packet_from_before_does_not_keep_the_challenge() {
        let world = World::start().await;
        let zone = "@ TXT zone\n";
        let (before, _) = world.publish(zone).await;
        let packet = world.open();
        // As if the nodes that are asked had missed it.
        packet.last().packet = Some((before + 1_000_000, dns(zone, &[challenge("a")])));
        packet.hide(&[challenge("a")]).await.unwrap();
        let newest = world.sources.read(&key()).await.unwrap().newest.unwrap();
        assert!(newest.timestamp() > before + 1_000_000);
        assert_eq!(newest.dns(), dns(zone, &[]));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_a_run_that_was_killed_has_left_is_taken_out_by_the_next() {
        let world = World::start().await;
        let zone = "@ TXT zone\n_acme-challenge TXT \"of somebody else\"\n";
        world.publish(zone).await;
        world.open().show(&[challenge("a"), challenge("b")]).await.unwrap();
        assert_eq!(world.published().await, dns(zone, &[challenge("a"), challenge("b")]));
        world.open().clean().await.unwrap();
        assert_eq!(world.published().await, dns(zone, &[]));
        assert_eq!(fs::read_dir(world.directory.path()).unwrap().count(), 0, "nothing is noted any more");
    }
}
