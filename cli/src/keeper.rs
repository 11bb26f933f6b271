//! Keeps the zone of one key on the DHT: again and again, and at once when something changes.

mod schedule;
mod state;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, sleep, sleep_until},
};

use crate::{
    external_address::Want,
    failure::Failure,
    publisher::{Publication, Published, Terms},
    secret_key::SecretKey,
    sources::Sources,
    zone_file::ExternalAddresses,
    zone_source::{Look, Zone, ZoneSource},
};
pub(crate) use schedule::{Interval, in_words};
use schedule::{chance, retry};
pub(crate) use state::{AddressFile, StateDirectory, TimestampFile};

/// How often the files of a zone are looked at. What is written has to be on the DHT within a few seconds.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is kept on the DHT.
pub(crate) struct Identity {
    pub(crate) secret_key: SecretKey,
    pub(crate) zone: ZoneSource,
    pub(crate) interval: Interval,
    /// Whether the packet of another machine is replaced.
    pub(crate) force: bool,
}

/// What happens to it.
pub(crate) enum Event<'a> {
    /// It was stored, and will be again after this time.
    Published(&'a Published, Duration),
    /// It was not stored, and will be tried again after this time.
    Failed(&'a Failure, Duration),
    /// The zone cannot be read. What was published before is kept alive.
    Unreadable(&'a Failure),
    /// Nothing can be published before the address of this machine is known.
    Waiting,
}

/// Keeps one identity.
pub(crate) struct Keeper {
    identity: Identity,
    sources: Arc<Sources>,
    addresses: watch::Receiver<ExternalAddresses>,
    timestamp: TimestampFile,
    /// Publications at once, of all identities.
    permits: Arc<Semaphore>,
    /// Who is told which addresses the zone needs.
    want: Want,
}

/// The zone as it was last read.
#[derive(Default)]
struct Reading {
    zone: Option<Zone>,
    looks: Vec<Look>,
    /// What was composed last, if that has ever worked.
    dns: Option<Vec<u8>>,
    /// What was said last of a zone that cannot be read.
    told: Option<Failure>,
}

impl Keeper {
    pub(crate) fn new(
        identity: Identity,
        sources: Arc<Sources>,
        addresses: watch::Receiver<ExternalAddresses>,
        timestamp: TimestampFile,
        permits: Arc<Semaphore>,
        want: Want,
    ) -> Self {
        Self { identity, sources, addresses, timestamp, permits, want }
    }

    /// Goes on until it is dropped, or `report` says that a failure is one to give up for.
    pub(crate) async fn run(
        mut self,
        mut report: impl FnMut(Event<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut reading = Reading::default();
        let mut failures = 0;
        let mut due = Instant::now();
        loop {
            let is_due = Instant::now() >= due;
            let is_new = match self.read(&mut reading) {
                Ok(is_new) => {
                    reading.told = None;
                    is_new
                }
                Err(failure) if self.may_be_told(&reading) => {
                    if reading.told.as_ref() != Some(&failure) && reading.dns.is_none() {
                        report(Event::Waiting)?;
                    }
                    reading.told = Some(failure);
                    false
                }
                Err(failure) => {
                    if reading.told.as_ref() != Some(&failure) {
                        report(Event::Unreadable(&failure))?;
                    }
                    reading.told = Some(failure);
                    false
                }
            };
            if let Some(dns) = reading.dns.as_deref().filter(|_| is_due || is_new) {
                let pause = match self.publish(dns).await {
                    Ok(published) => {
                        failures = 0;
                        let pause = self.identity.interval.jittered();
                        report(Event::Published(&published, pause))?;
                        pause
                    }
                    Err(failure) => {
                        failures += 1;
                        let pause = retry(failures, self.identity.interval, chance());
                        report(Event::Failed(&failure, pause))?;
                        pause
                    }
                };
                due = Instant::now() + pause;
            } else if is_due {
                // There is nothing to publish yet: the zone or an address has to come.
                due = Instant::now() + self.identity.interval.jittered();
            }
            self.wait(due, &reading).await;
        }
    }

    /// Reads the zone if it may have changed. Whether there is something else to publish than before.
    fn read(&mut self, reading: &mut Reading) -> Result<bool, Failure> {
        if reading.zone.is_none() || reading.looks.iter().any(Look::has_changed) {
            reading.zone = None;
            let zone = self.identity.zone.read(&self.identity.secret_key.public_key())?;
            reading.looks = zone.looks();
            self.want.add(zone.macros());
            reading.zone = Some(zone);
        }
        let Some(zone) = &reading.zone else { return Ok(false) };
        let addresses = *self.addresses.borrow_and_update();
        let dns = Some(zone.compose(&addresses)?);
        let is_new = reading.dns != dns;
        reading.dns = dns;
        Ok(is_new)
    }

    /// Whether an address is missing that somebody will find.
    fn may_be_told(&self, reading: &Reading) -> bool {
        let addresses = *self.addresses.borrow();
        let lacks_one = reading.zone.as_ref().is_some_and(|zone| {
            let macros = zone.macros();
            (macros.ipv4 && addresses.ipv4.is_none()) || (macros.ipv6 && addresses.ipv6.is_none())
        });
        lacks_one && self.addresses.has_changed().is_ok()
    }

    async fn publish(&mut self, dns: &[u8]) -> Result<Published, Failure> {
        let Ok(_permit) = self.permits.acquire().await else {
            return Err(Failure::Failed("the program is about to end".to_string()));
        };
        let terms = Terms { last: self.timestamp.last(), force: self.identity.force };
        let publication = Publication::prepare(&self.sources, &self.identity.secret_key, dns, terms).await?;
        // Before it goes out: whatever happens afterwards, nothing older is signed again.
        self.timestamp.set(publication.timestamp());
        publication.store(&self.sources, &watch::Sender::new(0)).await
    }

    /// Until it is time, or something has changed.
    async fn wait(&mut self, due: Instant, reading: &Reading) {
        let needs_addresses = reading.zone.as_ref().is_some_and(|zone| {
            let macros = zone.macros();
            macros.ipv4 || macros.ipv6
        });
        let changed_files = async {
            loop {
                sleep(LOOK_EVERY).await;
                // Whatever was wrong with it may be mended, in any of its files.
                if reading.zone.is_none() || reading.looks.iter().any(Look::has_changed) {
                    return;
                }
            }
        };
        tokio::select! {
            () = sleep_until(due) => {}
            Ok(()) = self.addresses.changed(), if needs_addresses => {}
            () = changed_files => {}
        }
    }
}
