//! One packet in memory, and its times. Pure.

use std::time::Duration;

use pkdns_dht::signed_packet::{PackedPacket, PublicKey, SignedPacket};

use super::{Found, STALE_RECHECK, Staleness};

/// Small, since there are millions.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) packet: PackedPacket,
    /// In sixteenths of a second, so that it counts four years.
    received: i32,
    /// In milliseconds since then: when its time is over.
    fresh_for: u32,
    /// And when the network is asked again at the earliest; later than that after a search in vain.
    recheck_after: u32,
    pub(super) vain: Option<Staleness>,
    pub(super) failures: u8,
    /// Somebody looks for a newer one. Each who asks would start a task otherwise.
    pub(super) is_refreshing: bool,
    /// A search has ended with it, so that it is the newest that there is.
    pub(super) is_confirmed: bool,
}

/// Milliseconds since the start, or before it: a packet from an earlier run is older than this one.
pub(super) type Time = i64;

const TICKS_PER_SECOND: i64 = 16;

impl Entry {
    pub(super) fn new(packet: &SignedPacket, received: Time, fresh_until: Time) -> Self {
        let ticks = received.saturating_mul(TICKS_PER_SECOND).div_euclid(1000);
        let mut entry = Self {
            packet: packet.into(),
            received: i32::try_from(ticks).unwrap_or(if ticks < 0 { i32::MIN } else { i32::MAX }),
            fresh_for: 0,
            recheck_after: 0,
            vain: None,
            failures: 0,
            is_refreshing: false,
            is_confirmed: false,
        };
        entry.fresh_for = entry.since_received(fresh_until);
        entry.recheck_after = entry.fresh_for;
        entry
    }

    pub(super) fn received(&self) -> Time {
        i64::from(self.received) * 1000 / TICKS_PER_SECOND
    }

    pub(super) fn fresh_until(&self) -> Time {
        self.received() + i64::from(self.fresh_for)
    }

    /// When the network is asked again at the earliest.
    pub(super) fn recheck(&self) -> Time {
        self.received() + i64::from(self.recheck_after)
    }

    /// Seven weeks at most.
    fn since_received(&self, time: Time) -> u32 {
        let since = time.saturating_sub(self.received());
        u32::try_from(since).unwrap_or(if since < 0 { 0 } else { u32::MAX })
    }

    pub(super) fn found(&self, key: &PublicKey, now: Time) -> Found {
        // Where its time is none, it is new at this moment all the same.
        let is_stale = now > self.fresh_until();
        Found {
            packet: self.packet.unpack(key),
            age: duration(now - self.received()),
            fresh_for: duration(self.recheck().max(self.fresh_until()) - now),
            refresh_in: duration(self.refresh_at() - now),
            stale: is_stale.then(|| self.vain.unwrap_or(Staleness::Searching)),
        }
    }

    /// The last tenth of its time, or of the time that the network is left alone.
    fn refresh_at(&self) -> Time {
        match self.vain {
            None => self.fresh_until() - i64::from(self.fresh_for) / 10,
            Some(_) => self.recheck() - milliseconds(STALE_RECHECK) / 10,
        }
    }

    /// The packet stays, its time is not renewed; the network is left alone for `wait`.
    pub(super) fn end_in_vain(&mut self, why: Staleness, wait: Duration, now: Time) {
        self.vain = Some(why);
        self.recheck_after = self.recheck_after.max(self.since_received(now + milliseconds(wait)));
        self.is_refreshing = false;
    }
}

pub(super) fn milliseconds(duration: Duration) -> Time {
    Time::try_from(duration.as_millis()).unwrap_or(Time::MAX / 4)
}

/// None for times that have passed.
pub(super) fn duration(milliseconds: Time) -> Duration {
    Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0))
}
