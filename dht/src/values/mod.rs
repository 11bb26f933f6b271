//! What a search has found of a key so far, and when that is good enough for an answer. Pure but for the channel.
//!
//! Nodes hold different versions of a packet, and the quickest is not the one that was updated last. So the first
//! value waits until a few nodes have shown theirs, but for no longer than it took to find it.

use std::{
    net::IpAddr,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::sync::mpsc;
use tracing::debug;

use super::{krpc::Item, subnet::Subnet};
use crate::signed_packet::{MAX_DNS_SIZE, PublicKey, SignedPacket};

/// Most signatures checked in one search. Honest nodes hold one or two different packets.
const MAX_CHECKS: u32 = 32;

/// Forged values of one subnet that are checked. So it takes sixteen networks to use up all checks, and more nodes of
/// one than a search hears.
const MAX_FORGERIES: usize = 2;

/// So many nodes that hold the key are heard before an answer, if they speak up in time. When three in ten hold an
/// older packet, all of three do in fewer than three of a hundred searches. Two that differ are enough: the newer of
/// two versions is hardly ever the older of three.
pub(super) const CONFIRMATIONS: u32 = 3;

/// The wait for them, in times what it took to find the first, at least and at most. Without the lower bound, a quick node
/// that is known and holds an old packet would leave no time to anybody else.
const PATIENCE: f64 = 1.5;
const SHORTEST_PATIENCE: Duration = Duration::from_millis(90);
const LONGEST_PATIENCE: Duration = Duration::from_millis(300);

/// A packet signed a moment ago, at most so long, is handed out at once: hardly any has been replaced since.
const MOMENT: Duration = Duration::from_secs(30);

/// Clocks of owners may be ahead of ours by so much.
const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// Timestamps of packets that were signed a moment ago, in microseconds since 1970. None by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Moment {
    from: u64,
    until: u64,
}

impl Moment {
    /// Those that are of a moment ago now.
    pub(super) fn at(now: SystemTime) -> Self {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Self { from: micros(now.saturating_sub(MOMENT)), until: micros(now.saturating_add(CLOCK_SKEW)) }
    }

    fn contains(self, packet: &SignedPacket) -> bool {
        (self.from..self.until).contains(&packet.timestamp())
    }
}

/// The values that nodes have shown.
#[derive(Debug)]
pub(super) struct Values {
    key: PublicKey,
    found: mpsc::UnboundedSender<SignedPacket>,
    newest: Option<SignedPacket>,
    released: Option<Instant>,
    started: Instant,
    first: Option<Instant>,
    /// Nodes that hold the key, in whatever version, and those that hold the newest.
    holders: u32,
    holders_of_newest: u32,
    /// Holders to hear before the first packet is sent.
    wanted: u32,
    moment: Moment,
    checks: u32,
    /// The subnets of those who have shown forged values: one for each check at most.
    forgers: Vec<Subnet>,
    /// Whether a value was not looked at, for [`MAX_CHECKS`] were.
    is_blind: bool,
    /// Whether nodes have shown different versions.
    differ: bool,
    was_stale: bool,
}

/// What became of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Newer than those before it, and signed by the key.
    Newer,
    /// Not newer; not checked.
    NotNewer,
    /// Too large or of another key, as no honest node stores it; not checked.
    Unsound,
    /// Numbered below zero. Its owner may have done that and nodes stored it, but it is no packet; not checked.
    Undated,
    /// Not signed by its key, or the key is one that anybody can sign for.
    Forged,
    /// Not checked, for too many were, in all or of its subnet.
    TooMany,
}

impl Verdict {
    /// Whether the node has shown nothing that anybody could use. What it says of absence, and of other nodes, is worth
    /// as little.
    pub(super) fn is_of_a_liar(self) -> bool {
        match self {
            Self::Unsound | Self::Forged | Self::TooMany => true,
            // As good as holding nothing.
            Self::Undated | Self::Newer | Self::NotNewer => false,
        }
    }
}

impl Values {
    pub(super) fn new(
        key: PublicKey,
        found: mpsc::UnboundedSender<SignedPacket>,
        wanted: u32,
        moment: Moment,
        now: Instant,
    ) -> Self {
        let (newest, first) = (None, None);
        Self {
            wanted,
            moment,
            key,
            found,
            newest,
            released: None,
            started: now,
            first,
            holders: 0,
            holders_of_newest: 0,
            differ: false,
            was_stale: false,
            checks: 0,
            forgers: Vec::new(),
            is_blind: false,
        }
    }

    /// For a store, before which it has to be known what there is.
    pub(super) fn of_writer(key: PublicKey, wanted: u32, now: Instant) -> Self {
        let (unheard, _) = mpsc::unbounded_channel();
        Self::new(key, unheard, wanted, Moment::default(), now)
    }

    /// The node at `from` has shown its value. The cheap tests come first: a signature costs 40 µs.
    pub(super) fn offer(&mut self, item: &Item<'_>, from: IpAddr, now: Instant) -> Verdict {
        if item.key != self.key.as_bytes() || item.value.len() > MAX_DNS_SIZE {
            return Verdict::Unsound;
        }
        let Ok(timestamp) = u64::try_from(item.seq) else { return Verdict::Undated };
        if let Some(newest) = &self.newest {
            let (held, shown) = ((newest.timestamp(), newest.dns()), (timestamp, item.value));
            if shown <= held {
                self.differ |= shown < held;
                self.confirm(shown == held);
                return Verdict::NotNewer;
            }
        }
        // Nodes of a test network have no subnet.
        let subnet = Subnet::of(from);
        if subnet.is_some_and(|subnet| self.forgeries_of(subnet) >= MAX_FORGERIES) {
            return Verdict::TooMany;
        }
        if self.checks >= MAX_CHECKS {
            self.is_blind = true;
            return Verdict::TooMany;
        }
        self.checks += 1;
        match SignedPacket::verify(self.key.clone(), timestamp, *item.signature, item.value) {
            Ok(packet) => {
                self.differ |= self.newest.is_some();
                self.newest = Some(packet.clone());
                self.first.get_or_insert(now);
                self.holders_of_newest = 0;
                self.confirm(true);
                if self.is_released() {
                    self.was_stale = true;
                    self.send(packet);
                }
                Verdict::Newer
            }
            Err(error) => {
                debug!(key = %self.key, %error, "a DHT node holds an unsound packet");
                self.forgers.extend(subnet);
                Verdict::Forged
            }
        }
    }

    fn forgeries_of(&self, subnet: Subnet) -> usize {
        self.forgers.iter().filter(|forger| **forger == subnet).count()
    }

    /// Whether values were left unchecked, among which the packet may be.
    pub(super) fn is_blind(&self) -> bool {
        self.is_blind
    }

    /// A node keeps back what it holds, as that is not newer than what we said we have. One that claims to hold a later
    /// one and does not show it confirms nothing.
    pub(super) fn kept_back(&mut self, seq: i64) {
        let newest = self.newest.as_ref().map(SignedPacket::timestamp);
        if let (Ok(seq), Some(newest)) = (u64::try_from(seq), newest)
            && seq <= newest
        {
            self.confirm(seq == newest);
        }
    }

    /// A node holds the key, in a version that is not newer.
    fn confirm(&mut self, is_newest: bool) {
        self.holders = self.holders.saturating_add(1);
        self.holders_of_newest = self.holders_of_newest.saturating_add(is_newest.into());
    }

    /// The newest packet so far.
    pub(super) fn newest(&self) -> Option<&SignedPacket> {
        self.newest.as_ref()
    }

    /// Nodes that claim to hold just that.
    pub(super) fn holders_of_newest(&self) -> u32 {
        self.holders_of_newest
    }

    /// Nodes that have yet to be heard before an answer.
    pub(super) fn missing(&self) -> u32 {
        let is_of_this_moment = self.newest.as_ref().is_some_and(|newest| self.moment.contains(newest));
        if self.differ || is_of_this_moment { 0 } else { self.wanted.saturating_sub(self.holders) }
    }

    /// Whether the first packet has been sent.
    pub(super) fn is_released(&self) -> bool {
        self.released.is_some()
    }

    /// How long after the start of the search the first packet was sent.
    pub(super) fn released_after(&self) -> Option<Duration> {
        Some(self.released?.saturating_duration_since(self.started))
    }

    /// Whether a newer packet came after the first was sent.
    pub(super) fn was_stale(&self) -> bool {
        self.was_stale
    }

    /// The key.
    pub(super) fn key(&self) -> &PublicKey {
        &self.key
    }

    /// When the packet is sent even if no other node shows its own.
    pub(super) fn release_at(&self) -> Option<Instant> {
        let first = self.first.filter(|_| !self.is_released())?;
        let taken = first.saturating_duration_since(self.started);
        Some(first + taken.mul_f64(PATIENCE).clamp(SHORTEST_PATIENCE, LONGEST_PATIENCE))
    }

    /// Sends the first packet if it is time, or if the search `has_ended`. Returns whether it did. Where those who agree
    /// on it are suspect, more time is taken.
    pub(super) fn release(&mut self, has_ended: bool, is_suspect: bool, now: Instant) -> bool {
        let is_agreed = self.missing() == 0 && !is_suspect;
        let is_due = self.release_at().is_some_and(|at| now >= at || has_ended || is_agreed);
        if let Some(packet) = self.newest.clone().filter(|_| is_due) {
            self.released = Some(now);
            self.send(packet);
        }
        is_due
    }

    /// The one who asked may have gone.
    fn send(&self, packet: SignedPacket) {
        let _ = self.found.send(packet);
    }
}

#[cfg(test)]
mod tests;
