//! Packets that clients asked for lately are stored again, because nodes of the DHT forget one some two hours after they
//! were last given it.

use std::{
    collections::BTreeSet,
    num::NonZeroUsize,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ahash::RandomState;
use lru::LruCache;
use pkdns_dht::{PutError, signed_packet::PublicKey};
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};

use super::{FetchError, Found, PacketAnswer, Packets, Starter};
use crate::base::metrics::KeepAliveOutcomes;

/// Each packet is stored again after this, and when that failed.
const INTERVAL: Duration = Duration::from_secs(3600);
const RETRY: Duration = Duration::from_secs(600);

/// What nobody asked for within this time is left to its owner. Long enough for what is looked at every day.
const LATELY: Duration = Duration::from_secs(48 * 3600);

/// Stores under way at once. Each takes a second or two.
const MAX_UNDER_WAY: usize = 16;

/// Which packets are to be stored again, and when. Pure.
#[derive(Debug)]
pub(super) struct KeepAlive {
    /// Between two stores.
    pause: Duration,
    schedule: Mutex<Schedule>,
}

/// As many keys as can each be stored once in [`INTERVAL`]: who was asked for longest ago makes room.
#[derive(Debug)]
struct Schedule {
    kept: LruCache<[u8; 32], Kept, RandomState>,
    /// The same keys, in the order of their turns.
    turns: BTreeSet<(Instant, [u8; 32])>,
}

#[derive(Debug, Clone, Copy)]
struct Kept {
    asked: Instant,
    due: Instant,
}

impl KeepAlive {
    /// At most `per_hour` stores an hour. `None` for none.
    pub(super) fn new(per_hour: u32) -> Option<Self> {
        let capacity = NonZeroUsize::new(usize::try_from(per_hour).ok()?)?;
        let kept = LruCache::with_hasher(capacity, RandomState::new());
        let schedule = Schedule { kept, turns: BTreeSet::new() };
        Some(Self { pause: INTERVAL / per_hour, schedule: Mutex::new(schedule) })
    }

    /// At most `per_hour` from now on, of the same keys as far as there is room for them.
    pub(super) fn renewed(old: Option<&Self>, per_hour: u32) -> Option<Self> {
        let new = Self::new(per_hour)?;
        if let Some(old) = old {
            let (mut old, mut kept) = (old.schedule(), new.schedule());
            while let Some((key, times)) = old.kept.pop_lru() {
                if let Some((other, evicted)) = kept.kept.push(key, times) {
                    kept.turns.remove(&(evicted.due, other));
                }
                kept.turns.insert((times.due, key));
            }
            old.turns.clear();
        }
        Some(new)
    }

    /// A client has asked for this key, and there is a packet.
    pub(super) fn asked_for(&self, key: &[u8; 32], now: Instant) {
        let mut schedule = self.schedule();
        if let Some(kept) = schedule.kept.get_mut(key) {
            kept.asked = now;
            return;
        }
        let due = now + INTERVAL;
        if let Some((other, evicted)) = schedule.kept.push(*key, Kept { asked: now, due }) {
            schedule.turns.remove(&(evicted.due, other));
        }
        schedule.turns.insert((due, *key));
    }

    /// The key whose turn it is. Its next turn comes after [`INTERVAL`].
    fn next_due(&self, now: Instant) -> Option<[u8; 32]> {
        let mut schedule = self.schedule();
        while let Some((due, key)) = schedule.turns.first().copied() {
            if due > now {
                return None;
            }
            schedule.turns.remove(&(due, key));
            let is_wanted =
                schedule.kept.peek(&key).is_some_and(|kept| now.duration_since(kept.asked) < LATELY);
            if is_wanted {
                schedule.set_due(key, now + INTERVAL);
                return Some(key);
            }
            schedule.kept.pop(&key);
        }
        None
    }

    /// It did not work: the next turn comes after [`RETRY`].
    fn retry(&self, key: [u8; 32], now: Instant) {
        let mut schedule = self.schedule();
        if let Some(due) = schedule.kept.peek(&key).map(|kept| kept.due) {
            schedule.turns.remove(&(due, key));
            schedule.set_due(key, now + RETRY);
        }
    }

    /// Both change together under this lock, and nothing in between can panic.
    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Schedule {
    fn set_due(&mut self, key: [u8; 32], due: Instant) {
        if let Some(kept) = self.kept.peek_mut(&key) {
            kept.due = due;
            self.turns.insert((due, key));
        }
    }
}

impl Packets {
    /// Stores packets again, for ever and within what `dht.keep_alive_per_hour` is now; returns at once where that is zero.
    /// Keys that `may` refuses are left out.
    pub async fn keep_alive(self, outcomes: KeepAliveOutcomes, may: impl Fn(&PublicKey) -> bool) {
        let Some(keep_alive) = self.0.keep_alive.load_full() else { return };
        let mut pace = interval(keep_alive.pause);
        // What was missed is not made up for: that would be faster than the budget.
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut under_way = JoinSet::new();
        loop {
            pace.tick().await;
            while under_way.try_join_next().is_some() {}
            if under_way.len() < MAX_UNDER_WAY
                && let Some(key) = keep_alive.next_due(Instant::now())
                && let Ok(key) = PublicKey::try_from(&key)
                && may(&key)
            {
                let (packets, outcomes) = (self.clone(), outcomes.clone());
                under_way.spawn(async move { packets.store_again(key, &outcomes).await });
            }
        }
    }

    async fn store_again(&self, public_key: PublicKey, outcomes: &KeepAliveOutcomes) {
        let key = *public_key.as_bytes();
        let found = match self.held(&public_key).await {
            Some(PacketAnswer::Found(found)) => Ok(PacketAnswer::Found(found)),
            _ => self.newest_ahead(&public_key).await,
        };
        let stored = match found {
            Ok(PacketAnswer::Found(Found { packet, .. })) => self.put(packet, None).await,
            // Nobody has it any more.
            Ok(PacketAnswer::Absent(_)) => return,
            Err(_) => return self.stored_in_vain(key, outcomes),
        };
        match stored {
            Ok(_) => {
                outcomes.stored.inc();
            }
            // The network has a newer one, which its owner stored: nobody needs to do it again.
            Err(PutError::NotMostRecent) => {
                outcomes.outdated.inc();
                // Clients find it in memory.
                let _ = self.newest_ahead(&public_key).await;
            }
            Err(_) => self.stored_in_vain(key, outcomes),
        }
    }

    async fn newest_ahead(&self, key: &PublicKey) -> Result<PacketAnswer, FetchError> {
        self.search_newest(key, Starter::Refresh, || true).await?.network_answer()
    }

    fn stored_in_vain(&self, key: [u8; 32], outcomes: &KeepAliveOutcomes) {
        outcomes.failed.inc();
        if let Some(keep_alive) = &*self.0.keep_alive.load() {
            keep_alive.retry(key, Instant::now());
        }
    }
}
