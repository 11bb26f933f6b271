//! One packet in memory, and its times. Pure.

use std::time::Duration;

use super::{Found, STALE_RECHECK, Staleness};
use crate::signed_packet::{PackedPacket, PublicKey, SignedPacket};

/// Small, since there are millions.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) packet: PackedPacket,
    pub(super) received: Time,
    /// When its time is over.
    pub(super) fresh_until: Time,
    /// When the network is asked again at the earliest; later than `fresh_until` after a search in vain.
    pub(super) recheck: Time,
    pub(super) vain: Option<Staleness>,
    pub(super) failures: u8,
    /// Somebody looks for a newer one. Each who asks would start a task otherwise.
    pub(super) is_refreshing: bool,
}

/// Milliseconds since the start, or before it: a packet from an earlier run is older than this one.
pub(super) type Time = i64;

impl Entry {
    pub(super) fn new(packet: &SignedPacket, received: Time, fresh_until: Time) -> Self {
        Self {
            packet: packet.into(),
            received,
            fresh_until,
            recheck: fresh_until,
            vain: None,
            failures: 0,
            is_refreshing: false,
        }
    }

    pub(super) fn found(&self, key: &PublicKey, now: Time) -> Found {
        let is_stale = now >= self.fresh_until;
        Found {
            packet: self.packet.unpack(key),
            age: duration(now - self.received),
            fresh_for: duration(self.recheck.max(self.fresh_until) - now),
            refresh_in: duration(self.refresh_at() - now),
            stale: self.vain.filter(|_| is_stale),
        }
    }

    pub(super) fn is_nearly_over(&self, now: Time) -> bool {
        !self.is_refreshing && self.refresh_at() <= now
    }

    /// The last tenth of its time, or of the time that the network is left alone.
    pub(super) fn refresh_at(&self) -> Time {
        match self.vain {
            None => self.fresh_until - (self.fresh_until - self.received) / 10,
            Some(_) => self.recheck - milliseconds(STALE_RECHECK) / 10,
        }
    }

    /// The packet stays, its time is not renewed; the network is left alone for `wait`.
    pub(super) fn end_in_vain(&mut self, why: Staleness, wait: Duration, now: Time) {
        self.vain = Some(why);
        self.recheck = self.recheck.max(now + milliseconds(wait));
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
