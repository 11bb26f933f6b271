//! Quotas per client.

use std::{
    hash::Hash,
    net::IpAddr,
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
};

use ahash::RandomState;
use governor::{
    Quota,
    clock::{Clock, DefaultClock},
    middleware::NoOpMiddleware,
    nanos::Nanos,
    state::StateStore,
};
use lru::LruCache;

use crate::base::{
    access::{FORWARDER_SHARE, Forwarders},
    client::{ClientKey, ClientNetwork, NEIGHBOURS_SHARE, SUBSCRIBER_SHARE},
};

/// Most clients, and networks of each kind, whose quota is remembered: about 6 MB each. A flood from spoofed addresses cannot take more.
///
/// Beyond it the client that has been silent for longest is forgotten and starts again with a full burst, so that a
/// flood neither shuts out new clients nor frees a client that keeps asking.
pub const MAX_CLIENTS: usize = 65_536;

/// Enough that the receive loops of a large machine seldom wait for each other.
const SHARDS: usize = 32;

/// Admits each client so many requests a minute, and each network of IPv6 clients so many clients' worth.
pub struct RateLimiter<C: Clock = DefaultClock> {
    quotas: Option<Quotas<C>>,
    known_forwarders: Forwarders,
}

struct Quotas<C: Clock> {
    clients: Limiter<ClientKey, C>,
    forwarders: Limiter<ClientKey, C>,
    subscribers: Limiter<ClientNetwork, C>,
    neighbours: Limiter<ClientNetwork, C>,
}

type Limiter<K, C> = governor::RateLimiter<K, Recent<K>, C, NoOpMiddleware<<C as Clock>::Instant>>;

impl RateLimiter {
    /// `per_minute` requests on average and `burst` at once; 0 per minute admits everything, a burst of 0 counts
    /// as 1.
    pub fn new(per_minute: u32, burst: u32) -> Self {
        Self::with_clock(per_minute, burst, DefaultClock::default())
    }
}

impl<C: Clock + Clone> RateLimiter<C> {
    /// As [`RateLimiter::new`], in the time of `clock`.
    pub(crate) fn with_clock(per_minute: u32, burst: u32, clock: C) -> Self {
        let quotas = NonZeroU32::new(per_minute).map(|per_minute| {
            let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
            let quota = |share: usize| {
                let times = NonZeroU32::new(share as u32).unwrap_or(NonZeroU32::MIN);
                Quota::per_minute(per_minute.saturating_mul(times)).allow_burst(burst.saturating_mul(times))
            };
            Quotas {
                clients: Limiter::new(quota(1), Recent::new(), clock.clone()),
                forwarders: Limiter::new(quota(FORWARDER_SHARE), Recent::new(), clock.clone()),
                subscribers: Limiter::new(quota(SUBSCRIBER_SHARE), Recent::new(), clock.clone()),
                neighbours: Limiter::new(quota(NEIGHBOURS_SHARE), Recent::new(), clock),
            }
        });
        Self { quotas, known_forwarders: Forwarders::default() }
    }

    /// Gives these more than one client's worth. Their network does not count: the operator named it.
    #[must_use]
    pub fn with_forwarders(self, known_forwarders: Forwarders) -> Self {
        Self { known_forwarders, ..self }
    }

    /// Takes one request from the quota of the client, and of its network; false when one of them has none left.
    pub fn admit(&self, address: IpAddr) -> bool {
        let Some(quotas) = &self.quotas else { return true };
        let client = ClientKey::from(address);
        if self.known_forwarders.contains(address) {
            return quotas.forwarders.check_key(&client).is_ok();
        }
        quotas.clients.check_key(&client).is_ok()
            && client.network().is_none_or(|network| {
                let limiter = match network {
                    ClientNetwork::Subscriber(_) => &quotas.subscribers,
                    ClientNetwork::Neighbours(_) => &quotas.neighbours,
                };
                limiter.check_key(&network).is_ok()
            })
    }
}

/// A quota for clients that have shown to be where they say, by a handshake or a cookie, and another one of the same size
/// for datagrams that bear their address: whoever forges those spends nothing but that.
///
/// Nobody gets less for it: a client that wants all of a quota has it over UDP alone as well as over anything else.
pub struct SplitLimiter<C: Clock = DefaultClock> {
    proven: RateLimiter<C>,
    forgeable: RateLimiter<C>,
}

impl SplitLimiter {
    /// As [`RateLimiter::new`], twice.
    pub fn new(per_minute: u32, burst: u32, forwarders: &Forwarders) -> Self {
        let quota = || RateLimiter::new(per_minute, burst).with_forwarders(forwarders.clone());
        Self { proven: quota(), forgeable: quota() }
    }
}

impl<C: Clock + Clone> SplitLimiter<C> {
    /// As [`RateLimiter::admit`], for a client that has shown to be at `address`, or for whoever says so.
    pub fn admit(&self, address: IpAddr, is_proven: bool) -> bool {
        if is_proven { self.proven.admit(address) } else { self.forgeable.admit(address) }
    }
}

/// When each quota will be whole again, for those who were seen most recently.
struct Recent<K> {
    // With secret keys here and in the shards: whoever chooses addresses must not choose collisions.
    hasher: RandomState,
    shards: [Mutex<LruCache<K, Nanos, RandomState>>; SHARDS],
}

impl<K: Eq + Hash> Recent<K> {
    fn new() -> Self {
        let shard = |_| Mutex::new(LruCache::unbounded_with_hasher(RandomState::new()));
        Self { hasher: RandomState::new(), shards: std::array::from_fn(shard) }
    }
}

impl<K: Copy + Eq + Hash> StateStore for Recent<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, client: &K, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let shard = &self.shards[self.hasher.hash_one(client) as usize % SHARDS];
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = shard.get_mut(client) {
            let (outcome, next) = decide(Some(*known))?;
            *known = next;
            return Ok(outcome);
        }
        let (outcome, next) = decide(None)?;
        if shard.len() >= MAX_CLIENTS / SHARDS {
            shard.pop_lru();
        }
        shard.put(*client, next);
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{Ipv4Addr, Ipv6Addr},
        time::Duration,
    };

    use governor::clock::FakeRelativeClock;

    use super::*;

    #[test]
    fn a_client_gets_its_burst_and_then_its_rate() {
        let clock = FakeRelativeClock::default();
        let limiter = RateLimiter::with_clock(60, 5, clock.clone());
        let client = v4(1);
        assert_eq!(admitted(&limiter, client, 10), 5);
        clock.advance(Duration::from_secs(2));
        assert_eq!(admitted(&limiter, client, 10), 2);
        clock.advance(Duration::from_secs(3600));
        assert_eq!(admitted(&limiter, client, 10), 5);
    }

    #[test]
    fn one_client_does_not_spend_the_quota_of_another() {
        let limiter = RateLimiter::with_clock(60, 5, FakeRelativeClock::default());
        assert_eq!(admitted(&limiter, v4(1), 10), 5);
        assert_eq!(admitted(&limiter, v4(2), 10), 5);
    }

    #[test]
    fn an_ipv6_subscriber_has_one_quota_for_all_its_addresses() {
        let limiter = RateLimiter::with_clock(60, 5, FakeRelativeClock::default());
        let subnet = |host: u128| IpAddr::V6(Ipv6Addr::from_bits(0x2001_0db8_0000_0001 << 64 | host));
        assert_eq!((0..20).filter(|host| limiter.admit(subnet(*host))).count(), 5);
        assert!(limiter.admit("2001:db8:0:2::1".parse().unwrap()));
    }

    #[test]
    fn whoever_owns_a_48_has_a_few_quotas_and_not_thousands() {
        let limiter = RateLimiter::with_clock(60, 5, FakeRelativeClock::default());
        let subnet = |subnet: u128| IpAddr::V6(Ipv6Addr::from_bits(0x2001_0db8_0001 << 80 | subnet << 64));
        let admitted = (0..1000).filter(|number| limiter.admit(subnet(*number))).count();
        assert_eq!(admitted, 5 * SUBSCRIBER_SHARE);
        assert!(limiter.admit("2001:db8:2::1".parse().unwrap()));
    }

    #[test]
    fn hosts_of_a_lan_do_not_spend_each_others_quota() {
        let limiter = RateLimiter::with_clock(60, 5, FakeRelativeClock::default());
        for host in ["fe80::1", "fe80::2", "fd00:1::1", "fd00:1::2"] {
            assert_eq!(admitted(&limiter, host.parse().unwrap(), 10), 5, "{host}");
        }
    }

    #[test]
    fn a_mapped_address_and_its_ipv4_address_are_one_client() {
        let limiter = RateLimiter::with_clock(60, 1, FakeRelativeClock::default());
        assert!(limiter.admit("192.0.2.1".parse().unwrap()));
        assert!(!limiter.admit("::ffff:192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn zero_per_minute_is_off_and_a_burst_of_zero_still_admits() {
        assert_eq!(admitted(&RateLimiter::new(0, 0), v4(1), 1000), 1000);
        assert_eq!(admitted(&RateLimiter::with_clock(1, 0, FakeRelativeClock::default()), v4(1), 10), 1);
        assert!(RateLimiter::new(u32::MAX, u32::MAX).admit(v4(1)));
    }

    #[test]
    fn spoofed_addresses_cannot_grow_memory_without_bound() {
        let limiter = RateLimiter::new(60, 5);
        for address in 0..300_000 {
            limiter.admit(v4(address));
        }
        assert_eq!(tracked(limiter), MAX_CLIENTS);
    }

    #[test]
    fn a_flood_of_spoofed_addresses_neither_frees_a_greedy_client_nor_shuts_out_a_new_one() {
        let limiter = RateLimiter::with_clock(60, 5, FakeRelativeClock::default());
        let greedy = v4(u32::MAX);
        let mut served = 0;
        for address in 0..200_000 {
            limiter.admit(v4(address));
            if address % 1000 == 0 && limiter.admit(greedy) {
                served += 1;
            }
        }
        assert_eq!(served, 5);
        assert!(limiter.admit("2001:db8::1".parse().unwrap()));
    }

    #[test]
    fn a_flood_in_the_name_of_a_client_spends_and_forgets_nothing_that_is_its_own() {
        let clock = FakeRelativeClock::default();
        let quota = || RateLimiter::with_clock(60, 5, clock.clone());
        let limiter = SplitLimiter { proven: quota(), forgeable: quota() };
        let victim = v4(7);
        assert!(limiter.admit(victim, true));
        assert_eq!((0..50_000).filter(|_| limiter.admit(victim, false)).count(), 5);
        (0..200_000).for_each(|address| {
            limiter.admit(v4(address), false);
        });
        // Four of its five are left, no less for the forged ones and no more for having been pushed out of memory.
        assert_eq!((0..50).filter(|_| limiter.admit(victim, true)).count(), 4);
    }

    #[test]
    fn a_forwarder_has_the_quota_of_many_clients_and_each_has_its_own() {
        let ranges = ["192.0.2.0/30", "2001:db8::/32"].map(|range| range.parse().unwrap());
        let limiter = RateLimiter::with_clock(60, 5, FakeRelativeClock::default())
            .with_forwarders(Forwarders::new(ranges.into()));
        let admitted = |address: &str| admitted(&limiter, address.parse().unwrap(), 1000);
        assert_eq!(admitted("192.0.2.1"), 5 * FORWARDER_SHARE);
        assert_eq!(admitted("::ffff:192.0.2.2"), 5 * FORWARDER_SHARE);
        assert_eq!(admitted("192.0.2.4"), 5);
        // More than its /48 would have.
        assert_eq!(admitted("2001:db8::1"), 5 * FORWARDER_SHARE);
        assert_eq!(admitted("2001:db9::1"), 5);
    }

    fn v4(bits: u32) -> IpAddr {
        Ipv4Addr::from_bits(bits).into()
    }

    fn admitted<C: Clock + Clone>(limiter: &RateLimiter<C>, client: IpAddr, tries: usize) -> usize {
        (0..tries).filter(|_| limiter.admit(client)).count()
    }

    fn tracked<C: Clock>(limiter: RateLimiter<C>) -> usize {
        let clients = limiter.quotas.unwrap().clients.into_state_store();
        clients.shards.iter().map(|shard| shard.lock().unwrap().len()).sum()
    }
}
