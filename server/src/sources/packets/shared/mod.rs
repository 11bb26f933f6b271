//! Packets that several servers share through Redis or Valkey.
//!
//! The store is a cache and never a source of truth: what it gives is verified like what the network gives, so that it
//! can withhold packets or give old ones, but not invent them. And nothing depends on it: it has to answer at once, or
//! lookups go on without it.

mod connection;

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use futures_util::{StreamExt, stream};
use pkdns_dht::signed_packet::PublicKey;
use redis::{Cmd, Value};
use tokio::{sync::mpsc, time::Instant};
use tracing::{debug, warn};

use super::{MAX_STORED_SIZE, Stored};
use crate::base::{config::RedisUrl, metrics::SharedMetrics};
use connection::{Link, NoReply};

/// Keys begin with this, followed by the public key in z-base-32.
const KEY_PREFIX: &str = "pkdns:packet:";

/// Compares and stores in one step, because servers race each other.
const PUT_SCRIPT: &str = include_str!("put.lua");

/// Packets that wait to be stored; about 1 MB. More are dropped: another server will store them.
const MAX_QUEUED: usize = 1024;

/// Packets on their way to the store. Leaves the connection to lookups.
const MAX_PUTS_UNDER_WAY: usize = 32;

/// Between two warnings about what the store says.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);

/// The packets in a Redis. Cheap to clone.
#[derive(Clone)]
pub struct SharedStore(Arc<Inner>);

struct Inner {
    url: RedisUrl,
    client: Arc<Client>,
    puts: mpsc::Sender<Stored>,
}

/// What lookups and the task that stores have in common.
struct Client {
    link: Arc<Link>,
    /// In seconds.
    max_age: AtomicU64,
    metrics: SharedMetrics,
    /// When the log was told last.
    complained: Mutex<Option<Instant>>,
}

impl SharedStore {
    /// Begins to connect, and waits for nothing: the store may be down, now or later. No packet in it is believed to be
    /// fresh for longer than `max_age` after it came from the network. Over TLS, the authorities in `pem` have to certify
    /// it if there are any, and the public ones otherwise. Must be called in a Tokio runtime.
    pub fn new(url: &RedisUrl, pem: Option<Arc<[u8]>>, max_age: Duration, metrics: SharedMetrics) -> Self {
        let link = Link::new(url, pem);
        link.connect();
        let client = Arc::new(Client {
            link,
            max_age: AtomicU64::new(max_age.as_secs()),
            metrics,
            complained: Mutex::new(None),
        });
        let (puts, queued) = mpsc::channel(MAX_QUEUED);
        tokio::spawn(client.clone().store_all(queued));
        Self(Arc::new(Inner { url: url.clone(), client, puts }))
    }

    /// The packet of `key`, verified and still fresh. `None` too when the store has not answered within 0.1 s (twice
    /// that in a cluster whose nodes have changed), and at once while it is down.
    pub async fn get(&self, key: &PublicKey) -> Option<Stored> {
        self.0.client.get(key).await
    }

    /// Another longest time for which a packet in it is believed to be fresh, in whole seconds.
    pub fn set_max_age(&self, max_age: Duration) {
        self.0.client.max_age.store(max_age.as_secs(), Ordering::Relaxed);
    }

    /// Whether it has not answered since it failed several times in a row.
    pub fn has_failed(&self) -> bool {
        self.0.client.link.has_failed()
    }

    /// Gives a packet to the others. Returns at once; what cannot be stored is lost.
    pub fn put(&self, stored: Stored) {
        // The task ends with the last clone of this.
        if self.0.puts.try_send(stored).is_err() {
            self.0.client.metrics.puts.dropped.inc();
            debug!("a packet is not shared: {MAX_QUEUED} others wait");
        }
    }
}

impl fmt::Debug for SharedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedStore").field(&self.0.url).finish()
    }
}

impl Client {
    fn max_age(&self) -> Duration {
        Duration::from_secs(self.max_age.load(Ordering::Relaxed))
    }

    async fn get(&self, key: &PublicKey) -> Option<Stored> {
        let name = name_of(key);
        let mut command = redis::cmd("GETRANGE");
        // However long the value is, only so much comes: one byte more than a record has, so that this shows.
        command.arg(&name).arg(0).arg(MAX_STORED_SIZE);
        let lookups = &self.metrics.lookups;
        let record = match self.link.ask(&command).await {
            Ok(Value::BulkString(record)) => record,
            Ok(Value::Nil) => Vec::new(),
            Err(NoReply::NotAsked) => {
                lookups.skipped.inc();
                return None;
            }
            // Something that is no string stands there.
            Err(NoReply::Refused(error)) if error.code() == Some("WRONGTYPE") => {
                lookups.rejected.inc();
                return None;
            }
            other => {
                lookups.failed.inc();
                self.complain("look up", other);
                return None;
            }
        };
        if record.is_empty() {
            lookups.absent.inc();
            return None;
        }
        let Some(stored) = Stored::from_bytes(key, &record) else {
            lookups.rejected.inc();
            debug!("what stands under {name} in the shared store is not a packet of this key");
            return None;
        };
        let fresh = believable(stored, SystemTime::now(), self.max_age());
        if fresh.is_some() { &lookups.found } else { &lookups.absent }.inc();
        fresh
    }

    /// Until the last handle of the store is gone.
    async fn store_all(self: Arc<Self>, mut queued: mpsc::Receiver<Stored>) {
        stream::poll_fn(move |context| queued.poll_recv(context))
            .for_each_concurrent(MAX_PUTS_UNDER_WAY, |stored| self.store(stored))
            .await;
    }

    async fn store(&self, stored: Stored) {
        let puts = &self.metrics.puts;
        let name = name_of(stored.packet.key());
        let Some(command) = put_command(&name, &stored, SystemTime::now(), self.max_age()) else {
            puts.outdated.inc();
            return;
        };
        match self.link.ask(&command).await {
            Ok(Value::Int(1)) => puts.stored.inc(),
            Ok(Value::Int(_)) => puts.outdated.inc(),
            Err(NoReply::NotAsked) => puts.dropped.inc(),
            other => {
                self.complain("store", other);
                puts.failed.inc()
            }
        };
    }

    /// The store answers, but does not do what it is asked: full, read-only, or a right is missing.
    fn complain(&self, task: &str, reply: Result<Value, NoReply>) {
        let reason = match reply {
            Err(NoReply::Refused(error)) => printable(&error.to_string()),
            Ok(_) => "something that is no answer".to_owned(),
            // The connection has said so.
            Err(NoReply::NotAsked | NoReply::Failed) => return,
        };
        let now = Instant::now();
        let mut last = self.complained.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| now.duration_since(last) < COMPLAINT_INTERVAL) {
            debug!("the shared store cannot {task}: {reason}");
            return;
        }
        *last = Some(now);
        warn!("the shared store cannot {task}: {reason}");
    }
}

fn name_of(key: &PublicKey) -> String {
    format!("{KEY_PREFIX}{}", key.to_z32())
}

/// `None` if the time of the packet is over. It stays in the store for no longer, by the store's own clock.
fn put_command(name: &str, stored: &Stored, now: SystemTime, max_age: Duration) -> Option<Cmd> {
    let left = stored.fresh_until.duration_since(now).ok()?.min(max_age).as_millis();
    let left = u64::try_from(left).ok().filter(|left| *left > 0)?;
    let mut command = redis::cmd("EVAL");
    command.arg(PUT_SCRIPT).arg(1).arg(name).arg(stored.to_bytes()).arg(left);
    Some(command)
}

/// The times are not signed, and the clock of another server may be wrong. `None` if its time is over.
fn believable(stored: Stored, now: SystemTime, max_age: Duration) -> Option<Stored> {
    let received = stored.received.min(now);
    let fresh_until = stored.fresh_until.min(received.checked_add(max_age)?);
    (fresh_until > now).then_some(Stored { received, fresh_until, ..stored })
}

/// What others say, as it can be put into a log: short, and without control characters.
fn printable(text: &str) -> String {
    text.chars().take(200).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use pkdns_dht::signed_packet::{Keypair, SignedPacket};

    const HOUR: Duration = Duration::from_secs(3600);

    fn stored(received: SystemTime, fresh_until: SystemTime) -> Stored {
        let packet = SignedPacket::sign(&Keypair::from_secret_key(&[1; 32]), 7, b"dns").unwrap();
        Stored { packet, received, fresh_until }
    }

    #[test]
    fn times_are_believed_as_far_as_they_are_possible() {
        let now = UNIX_EPOCH + 1000 * HOUR;
        let end = UNIX_EPOCH + Duration::from_millis(u64::MAX);
        let times = |received, fresh_until| {
            believable(stored(received, fresh_until), now, 24 * HOUR)
                .map(|stored| (stored.received, stored.fresh_until))
        };
        assert_eq!(times(now - HOUR, now + HOUR), Some((now - HOUR, now + HOUR)));
        assert_eq!(times(now + HOUR, now + 2 * HOUR), Some((now, now + 2 * HOUR)));
        assert_eq!(times(end, end), Some((now, now + 24 * HOUR)));
        assert_eq!(times(now - HOUR, end), Some((now - HOUR, now + 23 * HOUR)));
        assert_eq!(times(now - 25 * HOUR, end), None);
        assert_eq!(times(UNIX_EPOCH, end), None);
        assert_eq!(times(now - HOUR, now), None);
    }

    #[test]
    fn what_is_over_is_not_stored_and_nothing_is_stored_for_longer_than_it_is_believed() {
        let now = UNIX_EPOCH + 1000 * HOUR;
        let milliseconds = |fresh_until| {
            let command = put_command("name", &stored(now, fresh_until), now, 24 * HOUR)?;
            let packed = String::from_utf8_lossy(&command.get_packed_command()).into_owned();
            packed.trim_end().rsplit("\r\n").next().map(str::to_owned)
        };
        assert_eq!(milliseconds(now + HOUR).as_deref(), Some("3600000"));
        assert_eq!(milliseconds(now + 100 * HOUR).as_deref(), Some("86400000"));
        assert_eq!(milliseconds(now + Duration::from_micros(10)), None);
        assert_eq!(milliseconds(now), None);
        assert_eq!(milliseconds(now - HOUR), None);
    }

    #[test]
    fn what_a_store_says_cannot_write_into_the_log() {
        assert_eq!(printable("a\nb\u{1b}[2J"), "a\\nb\\u{1b}[2J");
        assert!(printable(&"x".repeat(9999)).len() <= 200);
    }
}
