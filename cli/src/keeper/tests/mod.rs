//! Days of many identities, in time that passes by itself.

mod extras;

use std::{
    collections::HashMap,
    fs::{self, File},
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::SystemTime,
};

use super::*;
use crate::testing::published;

const HOUR: Duration = Duration::from_secs(3600);

/// How long a publication takes.
const TIME: Duration = Duration::from_millis(1500);

/// As many at once as `serve` allows.
const AT_ONCE: usize = 48;

/// One publication.
#[derive(Debug, Clone, PartialEq)]
struct Stored {
    /// When it began.
    at: Instant,
    timestamp: u64,
    dns: Vec<u8>,
}

/// Notes what is published, by key.
#[derive(Default)]
struct Network {
    stored: Mutex<HashMap<[u8; 32], Vec<Stored>>>,
    is_down: AtomicBool,
    attempts: AtomicUsize,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
}

impl Destination for Network {
    async fn publish(
        &self,
        secret_key: &SecretKey,
        dns: &[u8],
        terms: Terms,
        signed: impl FnOnce(u64),
    ) -> Result<Published, Failure> {
        let (at, timestamp) = (Instant::now(), terms.last.unwrap_or(0) + 1);
        self.attempts.fetch_add(1, Ordering::SeqCst);
        let under_way = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_under_way.fetch_max(under_way, Ordering::SeqCst);
        signed(timestamp);
        sleep(TIME).await;
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        if self.is_down.load(Ordering::SeqCst) {
            return Err(Failure::Unreachable("nobody answers".to_string()));
        }
        let key = secret_key.public_key();
        let stored = Stored { at, timestamp, dns: dns.to_vec() };
        self.stored.lock().unwrap().entry(key.to_bytes()).or_default().push(stored);
        Ok(Published { key: key.to_z32(), timestamp, previous_timestamp: terms.last, ..published(20, 20) })
    }
}

/// The keepers, and what they publish to.
struct World {
    network: Arc<Network>,
    addresses: watch::Sender<ExternalAddresses>,
    permits: Arc<Semaphore>,
    start: Instant,
}

impl World {
    fn new() -> Self {
        Self {
            network: Arc::default(),
            addresses: watch::Sender::default(),
            permits: Arc::new(Semaphore::new(AT_ONCE)),
            start: Instant::now(),
        }
    }

    /// Those of this zone, which are published every hour.
    fn with_identities(count: u32, records: &str) -> Self {
        let world = Self::new();
        (0..count).for_each(|number| world.keep(number, ZoneSource::Text(records.as_bytes().to_vec())));
        world
    }

    fn keep(&self, number: u32, zone: ZoneSource) {
        let secret_key = secret_key(number);
        let identity = Identity { secret_key, zone, interval: Interval::default(), force: false };
        let keeper = Keeper::new(
            identity,
            self.network.clone(),
            self.addresses.subscribe(),
            TimestampFile::in_memory(),
            self.permits.clone(),
            Want::default(),
        );
        tokio::spawn(keeper.run(|_| Ok(())));
    }

    fn tell(&self, ipv4: [u8; 4]) {
        self.addresses.send_replace(ExternalAddresses { ipv4: Some(ipv4.into()), ipv6: None });
    }

    /// The publications of each identity.
    fn stored(&self) -> Vec<Vec<Stored>> {
        self.network.stored.lock().unwrap().values().cloned().collect()
    }

    /// Those of the only identity.
    fn only(&self) -> Vec<Stored> {
        let [only] = &self.stored()[..] else { panic!("there is not one identity") };
        only.clone()
    }

    fn attempts(&self) -> usize {
        self.network.attempts.load(Ordering::SeqCst)
    }
}

fn secret_key(number: u32) -> SecretKey {
    let mut seed = [7; 32];
    seed[..4].copy_from_slice(&number.to_le_bytes());
    SecretKey::from_seed(&seed)
}

/// The most of these moments that fall into one `span` of time, counted from the first.
fn most_within(moments: impl Iterator<Item = Duration>, span: Duration) -> usize {
    let mut counts = HashMap::new();
    moments.for_each(|at| *counts.entry(at.as_millis() / span.as_millis()).or_default() += 1);
    counts.into_values().max().unwrap_or(0)
}

#[tokio::test(start_paused = true)]
async fn a_thousand_identities_are_each_published_every_hour_of_a_day_and_spread_out() {
    const COUNT: usize = 1000;
    let world = World::with_identities(COUNT as u32, "@ A 192.0.2.1");
    sleep(Duration::from_secs(60)).await;
    assert_eq!(world.stored().len(), COUNT, "all within a minute");
    sleep(24 * HOUR).await;

    let stored = world.stored();
    // Not more than wait for their turn at the start.
    let late = TIME * (1 + COUNT as u32 / AT_ONCE as u32);
    for all in &stored {
        assert!((24..=27).contains(&all.len()), "{} times", all.len());
        for pair in all.windows(2) {
            let pause = pair[1].at - pair[0].at;
            assert!(pause >= HOUR.mul_f64(0.9) && pause <= HOUR + late, "{pause:?}");
            assert!(pair[1].timestamp > pair[0].timestamp);
        }
    }
    assert!(world.network.most_under_way.load(Ordering::SeqCst) <= AT_ONCE);
    let times = |from: Duration| {
        let all = stored.iter().flatten().map(|stored| stored.at - world.start);
        all.filter(move |at| *at >= from)
    };
    // They began all at once. From their second turn on they are spread over a tenth of the hour. Each turn adds one more
    // chance of that kind, so that at the end of the day they lie around their middle with a deviation of 8.5 minutes:
    // 47 in the fullest minute, give or take 7 at a time.
    let in_a_second = most_within(times(HOUR / 2), Duration::from_secs(1));
    assert!(in_a_second <= 20, "{in_a_second} in a second");
    let in_a_minute = most_within(times(23 * HOUR), Duration::from_secs(60));
    assert!(in_a_minute <= 90, "{in_a_minute} in a minute");
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_made_up_for_within_minutes_and_without_a_flood() {
    const COUNT: usize = 100;
    let world = World::with_identities(COUNT as u32, "@ A 192.0.2.1");
    sleep(HOUR / 2).await;
    assert_eq!((world.stored().len(), world.attempts()), (COUNT, COUNT));
    world.network.is_down.store(true, Ordering::SeqCst);
    sleep(3 * HOUR).await;
    let in_vain = world.attempts() - COUNT;
    // In two and a half hours: seven that come soon, and then six or seven an hour.
    assert!((COUNT * 18..=COUNT * 26).contains(&in_vain), "{in_vain} attempts");
    let mended = Instant::now();
    world.network.is_down.store(false, Ordering::SeqCst);
    sleep(Duration::from_secs(660)).await;
    for all in world.stored() {
        let last = all.last().unwrap();
        assert!(last.at > mended - TIME && all.len() == 2, "{all:?}");
        // Nothing is signed as old as what may be there since an attempt that seemed to fail.
        assert!(last.timestamp > 18);
    }
    // From here on as if nothing had been.
    let attempts = world.attempts();
    sleep(HOUR / 2).await;
    assert_eq!(world.attempts(), attempts);
}

#[tokio::test(start_paused = true)]
async fn another_address_is_published_at_once_by_those_that_name_it() {
    let world = World::with_identities(10, "@ A {external_ipv4}");
    (10..20).for_each(|number| world.keep(number, ZoneSource::Text(b"@ A 192.0.2.9".to_vec())));
    sleep(HOUR / 2).await;
    assert_eq!(world.stored().len(), 10, "the others wait for an address");
    let mut so_far = 10;
    for address in [[192, 0, 2, 1], [192, 0, 2, 2], [192, 0, 2, 3]] {
        world.tell(address);
        let told = Instant::now();
        sleep(TIME + Duration::from_millis(100)).await;
        so_far += 10;
        assert_eq!(world.attempts(), so_far);
        let fresh = world.stored().into_iter().flatten().filter(|stored| stored.at >= told);
        assert_eq!(fresh.filter(|stored| stored.dns.ends_with(&address)).count(), 10);
        // The same once more is no news.
        world.tell(address);
        sleep(TIME * 2).await;
        assert_eq!(world.attempts(), so_far);
    }
    // While it cannot be published, the pause before the next attempt does not hold up what is new.
    world.network.is_down.store(true, Ordering::SeqCst);
    world.tell([192, 0, 2, 4]);
    sleep(Duration::from_secs(1000)).await;
    world.network.is_down.store(false, Ordering::SeqCst);
    world.tell([192, 0, 2, 5]);
    let told = Instant::now();
    sleep(TIME + Duration::from_millis(100)).await;
    let fresh = world.stored().into_iter().flatten().filter(|stored| stored.at >= told);
    assert_eq!(fresh.filter(|stored| stored.dns.ends_with(&[192, 0, 2, 5])).count(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_zone_file_that_changes_is_published_within_seconds_and_one_that_is_broken_is_kept_alive() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zone");
    // In one step, as a careful editor does it: what is read is never half of it.
    let write = |text: &str| replace(&path, text);
    write("@ A 192.0.2.1");
    let world = World::new();
    world.keep(0, ZoneSource::File(path.clone()));
    let addresses = || world.only().iter().map(|stored| *stored.dns.last().unwrap()).collect::<Vec<_>>();
    sleep(HOUR / 2).await;
    assert_eq!(addresses(), [1]);
    write("@ A 192.0.2.2");
    sleep(LOOK_EVERY * 2).await;
    sleep(TIME).await;
    assert_eq!(addresses(), [1, 2]);
    // The same in other words.
    write("@ A 192.0.2.2 ; at home");
    sleep(LOOK_EVERY * 2 + TIME).await;
    assert_eq!(addresses(), [1, 2]);
    write("@ A nowhere");
    sleep(2 * HOUR + HOUR / 2).await;
    assert_eq!(addresses(), [1, 2, 2, 2]);
    write("@ A 192.0.2.3");
    sleep(LOOK_EVERY * 2 + TIME).await;
    assert_eq!(addresses(), [1, 2, 2, 2, 3]);
}

/// A file that was written an hour ago, so that it is not read once more for having been written a moment ago: that
/// moment is of another time than the one of these tests.
fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap();
    File::options().write(true).open(&beside).unwrap().set_modified(SystemTime::now() - HOUR).unwrap();
    fs::rename(beside, path).unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_known_is_published_while_an_address_of_the_other_family_is_missing() {
    let world = World::new();
    let zone = "@ A {external_ipv4}\n@ AAAA {external_ipv6}\nwww TXT a\n";
    let identity = Identity {
        secret_key: secret_key(0),
        zone: ZoneSource::Text(zone.as_bytes().to_vec()),
        interval: Interval::default(),
        force: false,
    };
    let (destination, addresses) = (world.network.clone(), world.addresses.subscribe());
    let timestamp = TimestampFile::in_memory();
    let keeper =
        Keeper::new(identity, destination, addresses, timestamp, world.permits.clone(), Want::default());
    let (told, said) = tokio::sync::mpsc::unbounded_channel();
    let mut said = said;
    tokio::spawn(keeper.taking_parts().run(move |event| {
        if let Event::Waiting(lacking, is_rest_published) = event {
            let _ = told.send((!lacking.is_empty()).then(|| in_wait(lacking, is_rest_published)));
        }
        Ok(())
    }));
    let published = || {
        let read = |stored: &Stored| crate::records::read(&stored.dns, &secret_key(0).public_key());
        let types = |stored: &Stored| read(stored).into_iter().map(|it| it.record_type).collect::<Vec<_>>();
        world.stored().first().and_then(|stored| stored.last()).map(types)
    };
    let while_waiting = Duration::from_secs(10);
    sleep(while_waiting).await;
    assert_eq!(published(), None);
    let expected = "waiting for an IPv4 address ({external_ipv4} in line 1), and an IPv6 address ({external_ipv6} in line 2)";
    assert_eq!(said.try_recv(), Ok(Some(expected.to_owned())));
    world.tell([198, 51, 100, 7]);
    sleep(while_waiting).await;
    assert_eq!(published().unwrap(), ["A", "TXT"]);
    let expected =
        "publishing all records but those that wait for an IPv6 address ({external_ipv6} in line 2)";
    assert_eq!(said.try_recv(), Ok(Some(expected.to_owned())));
    let both = ExternalAddresses { ipv4: Some([198, 51, 100, 7].into()), ipv6: Some(1.into()) };
    world.addresses.send_replace(both);
    sleep(while_waiting).await;
    assert_eq!(published().unwrap(), ["A", "AAAA", "TXT"]);
    // That it is over is said once, too.
    assert_eq!((said.try_recv(), said.try_recv().is_err()), (Ok(None), true));
}
