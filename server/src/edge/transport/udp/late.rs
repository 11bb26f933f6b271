//! How many replies that come late one network gets. Pure.

use std::{net::IpAddr, num::NonZeroUsize, time::Duration};

use ahash::RandomState;
use lru::LruCache;
use tokio::time::Instant;

use crate::base::{client::ClientKey, fair_share::Network};

/// A reply is late this long after its query. Most stub resolvers have asked again or elsewhere by then, and what was
/// found is in the cache.
pub(super) const LATE_AFTER: Duration = Duration::from_millis(1900);

/// Late replies that one network gets at once, and in each second. Enough for what people ask by hand.
const BURST: u32 = 16;
const INTERVAL: Duration = Duration::from_micros(1_000_000 / BURST as u64);

/// Networks that are remembered. To have one forgotten takes late replies to as many others.
const MAX_NETWORKS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4095);

/// Who got late replies of late. Whoever collects slow lookups would otherwise have all their replies sent in one
/// moment (DNSBomb, CVE-2024-33655).
pub(super) struct LateReplies {
    /// When the tokens of a network will all be back.
    whole_again: LruCache<Recipient, Instant, RandomState>,
}

/// Who feels a burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Recipient {
    Network(Network),
    /// On a network of ours that all clients share.
    Host(ClientKey),
}

impl LateReplies {
    pub(super) fn new() -> Self {
        Self { whole_again: LruCache::with_hasher(MAX_NETWORKS, RandomState::new()) }
    }

    /// Whether one more may be sent to this address at `now`.
    pub(super) fn admit(&mut self, address: IpAddr, now: Instant) -> bool {
        let client = ClientKey::from(address);
        let network = Network::of(client);
        let recipient = if network.is_lan() { Recipient::Host(client) } else { Recipient::Network(network) };
        let whole_again = self.whole_again.get_or_insert_mut(recipient, || now);
        let next = now.max(*whole_again) + INTERVAL;
        let is_admitted = next.saturating_duration_since(now) <= INTERVAL * BURST;
        if is_admitted {
            *whole_again = next;
        }
        is_admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(late: &mut LateReplies, count: u32, now: Instant, address: fn(u32) -> String) -> usize {
        (0..count).filter(|number| late.admit(address(*number).parse().unwrap(), now)).count()
    }

    #[test]
    fn one_network_gets_few_late_replies_at_once_and_again_after_a_while() {
        for address in [
            (|_| "198.51.100.1".into()) as fn(u32) -> String,
            |number| format!("198.51.100.{}", number % 256),
            |number| format!("2001:db8:1::{number:x}"),
            |number| format!("2001:db8:1:{number:x}::1"),
            |_| "192.168.1.1".into(),
        ] {
            let (mut late, now) = (LateReplies::new(), Instant::now());
            let which = address(7);
            assert_eq!(admitted(&mut late, 1000, now, address), 16, "{which}");
            assert_eq!(admitted(&mut late, 1000, now + Duration::from_millis(500), address), 8, "{which}");
            assert_eq!(admitted(&mut late, 1000, now + Duration::from_secs(60), address), 16, "{which}");
        }
    }

    #[test]
    fn hosts_of_a_lan_do_not_share_their_late_replies() {
        for address in [(|number| format!("192.168.1.{number}")) as fn(u32) -> String, |number| {
            format!("fe80::{number:x}")
        }] {
            let mut late = LateReplies::new();
            assert_eq!(admitted(&mut late, 200, Instant::now(), address), 200);
        }
    }

    #[test]
    fn networks_that_are_remembered_are_bounded() {
        let mut late = LateReplies::new();
        let count = admitted(&mut late, 10_000, Instant::now(), |number| {
            format!("{}.{}.1.1", 11 + number / 256, number % 256)
        });
        assert_eq!((count, late.whole_again.len()), (10_000, MAX_NETWORKS.get()));
    }
}
