//! Keeps the zone of one key on the DHT: again and again, and at once when something changes.

mod schedule;
mod state;
#[cfg(test)]
mod tests;

use std::{future::pending, sync::Arc, time::Duration};

use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, sleep, sleep_until},
};

use crate::{
    certificate::Extras,
    external_address::Want,
    failure::Failure,
    publisher::{Publication, Published, Terms},
    secret_key::SecretKey,
    sources::Sources,
    zone_file::{ExternalAddresses, Lacking, ZoneRecord},
    zone_source::{FileStamp, RECENT, Zone, ZoneSource},
};
pub(crate) use schedule::{Interval, in_words};
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

/// Where it is kept. Tests have another than the real one, so that a day takes them a moment.
pub(crate) trait Destination {
    /// Stores the message in place of what there is. `signed` is told its timestamp before anything goes out.
    async fn publish(
        &self,
        secret_key: &SecretKey,
        dns: &[u8],
        terms: Terms,
        signed: impl FnOnce(u64),
    ) -> Result<Published, Failure>;
}

impl Destination for Sources {
    async fn publish(
        &self,
        secret_key: &SecretKey,
        dns: &[u8],
        terms: Terms,
        signed: impl FnOnce(u64),
    ) -> Result<Published, Failure> {
        let publication = Publication::prepare(self, secret_key, dns, terms).await?;
        signed(publication.timestamp());
        publication.store(self, &watch::Sender::new(0)).await
    }
}

/// What happens to it.
pub(crate) enum Event<'a> {
    /// It was stored, and will be again after this time.
    Published(&'a Published, Duration),
    /// It was not stored, and will be tried again after this time.
    Failed(&'a Failure, Duration),
    /// The zone cannot be read. What was read before, if that is so, is kept alive.
    Unreadable(&'a Failure, bool),
    /// The zone can be read again.
    Readable,
    /// These records wait for addresses of this machine, and the rest of the zone with them, unless it is published. None, when
    /// that is over.
    Waiting(&'a [Lacking], bool),
    /// Records of the zone are at odds with the site that is served here.
    Contradicted(&'a [String]),
    /// What the packet should hold besides the zone is left out of it.
    Crowded(LeftOut, &'a Failure),
}

/// What there was no room for in a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeftOut {
    /// What is there for a while, such as the challenge for a certificate.
    Extras,
    /// That, and the records of the site that is served here at other names than the key itself.
    Names,
    /// All of these.
    Site,
}

/// What a packet holds besides the zone.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Besides<'a> {
    /// The records of the site that is served here, unless the zone has its own of the same name and type.
    pub(crate) site: &'a [ZoneRecord],
    /// Whether all names that have the addresses of the key are names of the site.
    pub(crate) everywhere: bool,
    /// What is there for a while.
    pub(crate) extras: &'a [ZoneRecord],
}

/// What records wait for, for people.
pub(crate) fn in_wait(lacking: &[Lacking], is_rest_published: bool) -> String {
    let lacking: Vec<String> = lacking.iter().map(ToString::to_string).collect();
    let lacking = lacking.join(", and ");
    match is_rest_published {
        true => format!("publishing all records but those that wait for {lacking}"),
        false => format!("waiting for {lacking}"),
    }
}

/// What becomes of a zone that cannot be read, for people.
pub(crate) fn what_is_kept(is_kept: bool) -> &'static str {
    if is_kept {
        "what was published before is kept alive"
    } else {
        "nothing is published until it is mended"
    }
}

/// Keeps one identity.
pub(crate) struct Keeper<D> {
    identity: Identity,
    destination: Arc<D>,
    addresses: watch::Receiver<ExternalAddresses>,
    timestamp: TimestampFile,
    /// Publications at once, of all identities.
    permits: Arc<Semaphore>,
    /// Who is told which addresses the zone needs.
    want: Want,
    /// Whether a zone is published without the records that wait for an address.
    takes_parts: bool,
    /// What the packet holds besides the zone: for a while, and for good.
    extras: watch::Receiver<Extras>,
    site: Vec<ZoneRecord>,
}

/// The zone as it was last read.
#[derive(Default)]
struct Reading {
    zone: Option<Zone>,
    stamps: Vec<FileStamp>,
    /// When it is read once more: it was written so lately that this may have gone on.
    again: Option<Instant>,
    /// What was composed last, if that has ever worked.
    dns: Option<Vec<u8>>,
    /// What was said last of a zone that cannot be read.
    told: Option<Failure>,
    /// What waits for addresses, as it was said last.
    lacking: Vec<Lacking>,
    /// Whether the rest of the zone is published.
    is_part: bool,
    /// Why what should be there besides the zone is not, and what was said last of that.
    crowded: Option<(LeftOut, Failure)>,
    told_crowded: Option<(LeftOut, Failure)>,
    /// What is at odds with the site, and what was said last of that.
    contradictions: Vec<String>,
    told_contradictions: Vec<String>,
}

impl Reading {
    /// Whether the zone has to be read again.
    fn may_differ(&self) -> bool {
        // Whatever was wrong with it may be mended, in any of its files.
        self.zone.is_none()
            || self.again.is_some_and(|again| Instant::now() >= again)
            || self.stamps.iter().any(FileStamp::has_changed)
    }
}

impl<D: Destination> Keeper<D> {
    pub(crate) fn new(
        identity: Identity,
        destination: Arc<D>,
        addresses: watch::Receiver<ExternalAddresses>,
        timestamp: TimestampFile,
        permits: Arc<Semaphore>,
        want: Want,
    ) -> Self {
        let extras = watch::channel(Extras::new()).1;
        let site = Vec::new();
        Self { identity, destination, addresses, timestamp, permits, want, takes_parts: false, extras, site }
    }

    /// Publishes the records of a site besides the zone.
    pub(crate) fn with_site(self, site: Vec<ZoneRecord>) -> Self {
        Self { site, ..self }
    }

    /// Publishes these records besides the zone, for as long as they are there.
    pub(crate) fn with_extras(self, extras: watch::Receiver<Extras>) -> Self {
        Self { extras, ..self }
    }

    /// Publishes what is known while an address is missing. For addresses that are told one by one, by a router that may
    /// never have one of the other family.
    pub(crate) fn taking_parts(self) -> Self {
        Self { takes_parts: true, ..self }
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
                Ok((is_new, lacking)) => {
                    if reading.told.take().is_some() {
                        report(Event::Readable)?;
                    }
                    if reading.lacking != lacking {
                        reading.lacking = lacking;
                        report(Event::Waiting(&reading.lacking, reading.is_part))?;
                    }
                    if reading.told_contradictions != reading.contradictions {
                        if !reading.contradictions.is_empty() {
                            report(Event::Contradicted(&reading.contradictions))?;
                        }
                        reading.told_contradictions.clone_from(&reading.contradictions);
                    }
                    if reading.told_crowded != reading.crowded {
                        if let Some((left_out, failure)) = &reading.crowded {
                            report(Event::Crowded(*left_out, failure))?;
                        }
                        reading.told_crowded.clone_from(&reading.crowded);
                    }
                    is_new
                }
                Err(failure) => {
                    if reading.told.as_ref() != Some(&failure) {
                        report(Event::Unreadable(&failure, reading.dns.is_some()))?;
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
                        let pause = self.identity.interval.after_failures(failures);
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

    /// Reads the zone if it may have changed. Whether there is something else to publish than before, and what waits for
    /// addresses that somebody will find.
    fn read(&mut self, reading: &mut Reading) -> Result<(bool, Vec<Lacking>), Failure> {
        if reading.may_differ() {
            reading.zone = None;
            reading.again = None;
            let zone = self.identity.zone.read(&self.identity.secret_key.public_key())?;
            reading.stamps = zone.stamps();
            reading.again = reading.stamps.iter().any(FileStamp::is_recent).then(|| Instant::now() + RECENT);
            self.want.add(zone.macros());
            reading.zone = Some(zone);
        }
        let Some(zone) = &reading.zone else { return Ok((false, Vec::new())) };
        let addresses = *self.addresses.borrow_and_update();
        let extras = self.extras.borrow_and_update().clone();
        reading.crowded = None;
        let (site, extras) = (self.site.as_slice(), extras.as_slice());
        reading.contradictions = zone.contradictions(&addresses, site);
        let mut composed = zone.compose_known(&addresses, Besides { site, everywhere: true, extras });
        // The zone comes first, and then what is there for good.
        for (left_out, is_there, besides) in [
            (LeftOut::Extras, !extras.is_empty(), Besides { site, everywhere: true, extras: &[] }),
            (LeftOut::Names, !site.is_empty(), Besides { site, everywhere: false, extras: &[] }),
            (LeftOut::Site, !site.is_empty(), Besides::default()),
        ] {
            composed = match composed {
                Err(failure) if is_there => {
                    reading.crowded = Some((left_out, failure));
                    zone.compose_known(&addresses, besides)
                }
                composed => composed,
            };
        }
        let (dns, lacking) = composed?;
        if !lacking.is_empty() && self.addresses.has_changed().is_err() {
            // Nobody will tell an address: the message says where one comes from.
            return zone.compose(&addresses).map(|_| (false, Vec::new()));
        }
        let dns = dns.filter(|_| lacking.is_empty() || self.takes_parts);
        reading.is_part = dns.is_some() && !lacking.is_empty();
        let Some(dns) = dns else { return Ok((false, lacking)) };
        let is_new = reading.dns.as_ref() != Some(&dns);
        reading.dns = Some(dns);
        Ok((is_new, lacking))
    }

    async fn publish(&mut self, dns: &[u8]) -> Result<Published, Failure> {
        let Ok(_permit) = self.permits.acquire().await else {
            return Err(Failure::Failed("pkdns-cli is stopping".to_string()));
        };
        let terms = Terms { last: self.timestamp.last(), force: self.identity.force };
        // Before it goes out: whatever happens afterwards, nothing older is signed again.
        let signed = |timestamp| self.timestamp.set(timestamp);
        self.destination.publish(&self.identity.secret_key, dns, terms, signed).await
    }

    /// Until it is time, or something has changed.
    async fn wait(&mut self, due: Instant, reading: &Reading) {
        let needs_addresses = reading.zone.as_ref().is_some_and(|zone| {
            let macros = zone.macros();
            macros.ipv4 || macros.ipv6
        });
        let changed_files = async {
            // A text in the configuration does not change.
            if reading.zone.is_some() && reading.stamps.is_empty() {
                return pending().await;
            }
            loop {
                sleep(LOOK_EVERY).await;
                if reading.may_differ() {
                    return;
                }
            }
        };
        tokio::select! {
            () = sleep_until(due) => {}
            Ok(()) = self.addresses.changed(), if needs_addresses => {}
            Ok(()) = self.extras.changed() => {}
            () = changed_files => {}
        }
    }
}
