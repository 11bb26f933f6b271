//! What a search has found of a key so far, and when that is good enough for an answer. Pure but for the channel.
//!
//! Nodes hold different versions of a packet, and the quickest is not the one that was updated last. So the first
//! value waits until a few nodes have shown theirs, but for no longer than it took to find it.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
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

/// The wait for them, in times what it took to find the first, and at most.
const PATIENCE: f64 = 2.0;
const LONGEST_PATIENCE: Duration = Duration::from_millis(300);

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
    /// Too large, numbered below zero, or of another key; not checked.
    Unsound,
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
            Self::Newer | Self::NotNewer => false,
        }
    }
}

impl Values {
    pub(super) fn new(
        key: PublicKey,
        found: mpsc::UnboundedSender<SignedPacket>,
        wanted: u32,
        now: Instant,
    ) -> Self {
        let (newest, first) = (None, None);
        Self {
            wanted,
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

    /// The node at `from` has shown its value. The cheap tests come first: a signature costs 40 µs.
    pub(super) fn offer(&mut self, item: &Item<'_>, from: IpAddr, now: Instant) -> Verdict {
        let Ok(timestamp) = u64::try_from(item.seq) else { return Verdict::Unsound };
        if item.key != self.key.as_bytes() || item.value.len() > MAX_DNS_SIZE {
            return Verdict::Unsound;
        }
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

    /// Nodes that said to hold just that.
    pub(super) fn holders_of_newest(&self) -> u32 {
        self.holders_of_newest
    }

    /// Nodes that have yet to be heard before an answer.
    pub(super) fn missing(&self) -> u32 {
        if self.differ { 0 } else { self.wanted.saturating_sub(self.holders) }
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
        Some(first + taken.mul_f64(PATIENCE).min(LONGEST_PATIENCE))
    }

    /// Sends the first packet if it is time, or if the search `has_ended`. Returns whether it did.
    pub(super) fn release(&mut self, has_ended: bool, now: Instant) -> bool {
        let is_due = self.release_at().is_some_and(|at| now >= at || has_ended || self.missing() == 0);
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
mod tests {
    use super::*;
    use crate::signed_packet::Keypair;

    const SEED: [u8; 32] = [3; 32];
    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    struct Fixture {
        values: Values,
        found: mpsc::UnboundedReceiver<SignedPacket>,
        start: Instant,
    }

    impl Fixture {
        fn new() -> Self {
            let (sender, found) = mpsc::unbounded_channel();
            let start = Instant::now();
            let key = Keypair::from_secret_key(&SEED).public_key();
            Self { values: Values::new(key, sender, CONFIRMATIONS, start), found, start }
        }

        fn at(&self, milliseconds: u64) -> Instant {
            self.start + Duration::from_millis(milliseconds)
        }

        fn offer(&mut self, seed: [u8; 32], timestamp: u64, dns: &[u8], milliseconds: u64) -> Verdict {
            let packet = SignedPacket::sign(&Keypair::from_secret_key(&seed), timestamp, dns).unwrap();
            let item = packet.to_item();
            let item =
                Item { key: item.key(), signature: item.signature(), seq: item.seq(), value: item.value() };
            self.values.offer(&item, HERE, self.at(milliseconds))
        }

        /// One that the key has not signed.
        fn forge(&mut self, from: [u8; 4]) -> Verdict {
            let key = *self.values.key.as_bytes();
            let item = Item { key: &key, signature: &[1; 64], seq: 1, value: b"" };
            self.values.offer(&item, from.into(), self.start)
        }

        fn sent(&mut self) -> Vec<(u64, Vec<u8>)> {
            std::iter::from_fn(|| self.found.try_recv().ok())
                .map(|packet| (packet.timestamp(), packet.dns().to_vec()))
                .collect()
        }
    }

    #[test]
    fn the_first_value_waits_for_two_more() {
        let mut fixture = Fixture::new();
        assert_eq!(fixture.offer(SEED, 1, b"", 100), Verdict::Newer);
        assert!(!fixture.values.release(false, fixture.at(110)));
        assert_eq!(fixture.offer(SEED, 1, b"", 120), Verdict::NotNewer);
        assert!(!fixture.values.release(false, fixture.at(120)));
        assert_eq!(fixture.offer(SEED, 1, b"", 130), Verdict::NotNewer);
        assert!(fixture.values.release(false, fixture.at(130)));
        assert_eq!(fixture.sent(), [(1, Vec::new())]);
    }

    #[test]
    fn a_node_that_claims_a_later_packet_and_keeps_it_back_confirms_nothing() {
        let mut fixture = Fixture::new();
        fixture.values.kept_back(1);
        fixture.offer(SEED, 2, b"", 100);
        for (seq, missing) in [(3, 2), (-1, 2), (i64::MAX, 2), (2, 1), (1, 0)] {
            fixture.values.kept_back(seq);
            assert_eq!(fixture.values.missing(), missing, "{seq}");
        }
    }

    #[test]
    fn only_those_that_hold_the_newest_count_as_its_holders() {
        // Nodes that held an older packet used to count as well, so that a fading one seemed to be held by all.
        let mut fixture = Fixture::new();
        for (timestamp, holders) in [(2, 1), (2, 2), (1, 2), (3, 1), (2, 1), (3, 2)] {
            fixture.offer(SEED, timestamp, b"", 1);
            assert_eq!(fixture.values.holders_of_newest(), holders);
        }
        fixture.values.kept_back(2);
        fixture.values.kept_back(3);
        assert_eq!(fixture.values.holders_of_newest(), 3);
    }

    #[test]
    fn of_two_that_differ_the_newer_is_sent_at_once() {
        for (first, second) in [(1, 2), (2, 1)] {
            let mut fixture = Fixture::new();
            fixture.offer(SEED, first, b"", 100);
            assert!(!fixture.values.release(false, fixture.at(100)));
            fixture.offer(SEED, second, b"", 110);
            assert!(fixture.values.release(false, fixture.at(110)));
            assert_eq!(fixture.sent(), [(2, Vec::new())]);
            assert!(!fixture.values.was_stale());
        }
    }

    #[test]
    fn nobody_waits_longer_than_twice_what_it_took_to_find_the_first() {
        let mut fixture = Fixture::new();
        fixture.offer(SEED, 1, b"", 100);
        assert_eq!(fixture.values.release_at(), Some(fixture.at(300)));
        assert!(!fixture.values.release(false, fixture.at(299)));
        assert!(fixture.values.release(false, fixture.at(300)));
        assert_eq!(fixture.sent().len(), 1);
        // What comes later is sent as it comes, if it is newer.
        assert_eq!(fixture.offer(SEED, 1, b"", 210), Verdict::NotNewer);
        assert_eq!(fixture.offer(SEED, 3, b"", 310), Verdict::Newer);
        assert!(fixture.values.was_stale());
        assert_eq!(fixture.sent(), [(3, Vec::new())]);
        let mut slow = Fixture::new();
        slow.offer(SEED, 1, b"", 2000);
        assert_eq!(slow.values.release_at(), Some(slow.at(2300)));
    }

    #[test]
    fn the_end_of_the_search_releases_a_single_value() {
        let mut fixture = Fixture::new();
        assert!(!fixture.values.release(true, fixture.at(1)));
        fixture.offer(SEED, 1, b"", 100);
        assert!(fixture.values.release(true, fixture.at(101)));
        assert!(!fixture.values.release(true, fixture.at(102)));
        assert_eq!(fixture.sent().len(), 1);
    }

    #[test]
    fn of_two_packets_of_one_time_the_greater_bytes_win_and_only_newer_ones_are_checked() {
        let mut fixture = Fixture::new();
        for (timestamp, value, verdict) in [
            (2, b"b", Verdict::Newer),
            (2, b"b", Verdict::NotNewer),
            (1, b"z", Verdict::NotNewer),
            (2, b"a", Verdict::NotNewer),
            (2, b"c", Verdict::Newer),
            (3, b"a", Verdict::Newer),
        ] {
            assert_eq!(fixture.offer(SEED, timestamp, value, 1), verdict);
        }
        assert_eq!(fixture.values.checks, 3);
    }

    #[test]
    fn unsound_values_are_refused_and_most_before_a_signature_is_checked() {
        let mut fixture = Fixture::new();
        let key = *fixture.values.key.as_bytes();
        let (now, large) = (fixture.start, [0; MAX_DNS_SIZE + 1]);
        let item = Item { key: &key, signature: &[1; 64], seq: 1, value: b"" };
        assert_eq!(fixture.values.offer(&Item { seq: -1, ..item }, HERE, now), Verdict::Unsound);
        assert_eq!(fixture.values.offer(&Item { value: &large, ..item }, HERE, now), Verdict::Unsound);
        assert_eq!(fixture.offer([4; 32], 9, b"another key", 1), Verdict::Unsound);
        assert_eq!(fixture.values.checks, 0);
        assert_eq!(fixture.values.offer(&item, HERE, now), Verdict::Forged);
        assert_eq!((fixture.values.checks, fixture.values.missing()), (1, CONFIRMATIONS));
        assert_eq!(fixture.offer(SEED, 9, b"sound", 1), Verdict::Newer);
    }

    #[test]
    fn the_signatures_checked_in_one_search_are_bounded() {
        let mut fixture = Fixture::new();
        let newer = (1..1000).filter(|&timestamp| fixture.offer(SEED, timestamp, b"", 1) == Verdict::Newer);
        assert_eq!(newer.count(), 32);
    }

    #[test]
    fn forgers_of_one_network_use_up_no_more_than_two_checks() {
        let mut fixture = Fixture::new();
        let verdicts: Vec<_> = (0..40).map(|host| fixture.forge([198, 51, 100, host])).collect();
        assert_eq!(verdicts[..2], [Verdict::Forged; 2]);
        assert!(verdicts[2..].iter().all(|verdict| *verdict == Verdict::TooMany));
        assert_eq!((fixture.values.checks, fixture.values.is_blind()), (2, false));
        assert_eq!(fixture.forge([203, 0, 113, 1]), Verdict::Forged);
        assert_eq!(fixture.offer(SEED, 9, b"sound", 1), Verdict::Newer);
    }

    #[test]
    fn who_has_seen_too_many_forgeries_knows_that_a_packet_may_be_among_the_rest() {
        let mut fixture = Fixture::new();
        let mut forge = |subnet| fixture.forge([198, 51, subnet, 1]);
        assert!((0..32).all(|subnet| forge(subnet) == Verdict::Forged));
        assert!(!fixture.values.is_blind());
        assert_eq!(fixture.offer(SEED, 9, b"sound", 1), Verdict::TooMany);
        assert!(fixture.values.is_blind());
    }
}
