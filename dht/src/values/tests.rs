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
        Self { values: Values::new(key, sender, CONFIRMATIONS, Moment::default(), start), found, start }
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
    assert!(!fixture.values.release(false, false, fixture.at(110)));
    assert_eq!(fixture.offer(SEED, 1, b"", 120), Verdict::NotNewer);
    assert!(!fixture.values.release(false, false, fixture.at(120)));
    assert_eq!(fixture.offer(SEED, 1, b"", 130), Verdict::NotNewer);
    assert!(fixture.values.release(false, false, fixture.at(130)));
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
        assert!(!fixture.values.release(false, false, fixture.at(100)));
        fixture.offer(SEED, second, b"", 110);
        assert!(fixture.values.release(false, false, fixture.at(110)));
        assert_eq!(fixture.sent(), [(2, Vec::new())]);
        assert!(!fixture.values.was_stale());
    }
}

#[test]
fn nobody_waits_much_longer_than_it_took_to_find_the_first() {
    let mut fixture = Fixture::new();
    fixture.offer(SEED, 1, b"", 100);
    assert_eq!(fixture.values.release_at(), Some(fixture.at(250)));
    assert!(!fixture.values.release(false, false, fixture.at(249)));
    assert!(fixture.values.release(false, false, fixture.at(250)));
    assert_eq!(fixture.sent().len(), 1);
    // What comes later is sent as it comes, if it is newer.
    assert_eq!(fixture.offer(SEED, 1, b"", 210), Verdict::NotNewer);
    assert_eq!(fixture.offer(SEED, 3, b"", 310), Verdict::Newer);
    assert!(fixture.values.was_stale());
    assert_eq!(fixture.sent(), [(3, Vec::new())]);
    let mut slow = Fixture::new();
    slow.offer(SEED, 1, b"", 2000);
    assert_eq!(slow.values.release_at(), Some(slow.at(2300)));
    let mut quick = Fixture::new();
    quick.offer(SEED, 1, b"", 2);
    assert_eq!(quick.values.release_at(), Some(quick.at(92)));
}

#[test]
fn the_end_of_the_search_releases_a_single_value() {
    let mut fixture = Fixture::new();
    assert!(!fixture.values.release(true, false, fixture.at(1)));
    fixture.offer(SEED, 1, b"", 100);
    assert!(fixture.values.release(true, false, fixture.at(101)));
    assert!(!fixture.values.release(true, false, fixture.at(102)));
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
    assert_eq!(fixture.values.offer(&Item { seq: -1, ..item }, HERE, now), Verdict::Undated);
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

#[test]
fn a_packet_signed_a_moment_ago_waits_for_nobody_and_one_from_the_future_does() {
    let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let micros = |seconds: u64| seconds * 1_000_000;
    for (signed, missing) in [
        (1_800_000_000, 0),
        (1_800_000_000 - 29, 0),
        (1_800_000_000 - 31, CONFIRMATIONS - 1),
        (1_800_000_000 + 59, 0),
        (1_800_000_000 + 61, CONFIRMATIONS - 1),
    ] {
        let mut fixture = Fixture::new();
        fixture.values.moment = Moment::at(now);
        assert_eq!(fixture.offer(SEED, micros(signed), b"", 10), Verdict::Newer);
        assert_eq!(fixture.values.missing(), missing, "{signed}");
    }
}

#[test]
fn what_a_crowd_agrees_on_is_not_handed_out_before_others_had_time_to_speak() {
    let mut fixture = Fixture::new();
    (0..5).for_each(|_| _ = fixture.offer(SEED, 7, b"", 100));
    assert_eq!(fixture.values.missing(), 0);
    assert!(!fixture.values.release(false, true, fixture.at(249)));
    assert!(fixture.values.release(false, true, fixture.at(250)));
}
