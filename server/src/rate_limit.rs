//! Quotas per client.

use std::{
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

/// Most clients whose quota is remembered, about 6 MB. A flood from spoofed addresses cannot take more.
///
/// Beyond it the client that has been silent for longest is forgotten and starts again with a full burst, so that a
/// flood neither shuts out new clients nor frees a client that keeps asking.
pub const MAX_CLIENTS: usize = 65_536;

/// Enough that the receive loops of a large machine seldom wait for each other.
const SHARDS: usize = 32;

/// Whom a quota or cap counts as one client: an IPv4 address, or an IPv6 /64, which is what one subscriber has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClientKey {
    /// An IPv4 address.
    V4(u32),
    /// The upper half of an IPv6 address.
    V6(u64),
}

impl From<IpAddr> for ClientKey {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => Self::V6((address.to_bits() >> 64) as u64),
        }
    }
}

/// Admits each client so many requests a minute.
pub struct RateLimiter<C: Clock = DefaultClock> {
    quotas: Option<governor::RateLimiter<ClientKey, Clients, C, NoOpMiddleware<C::Instant>>>,
}

impl RateLimiter {
    /// `per_minute` requests on average and `burst` at once; 0 per minute admits everything, a burst of 0 counts
    /// as 1.
    pub fn new(per_minute: u32, burst: u32) -> Self {
        Self::with_clock(per_minute, burst, DefaultClock::default())
    }
}

impl<C: Clock> RateLimiter<C> {
    fn with_clock(per_minute: u32, burst: u32, clock: C) -> Self {
        let quotas = NonZeroU32::new(per_minute).map(|per_minute| {
            let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
            let quota = Quota::per_minute(per_minute).allow_burst(burst);
            governor::RateLimiter::new(quota, Clients::new(), clock)
        });
        Self { quotas }
    }

    /// Takes one request from the client's quota; false when it has none left.
    pub fn admit(&self, address: IpAddr) -> bool {
        self.quotas.as_ref().is_none_or(|quotas| quotas.check_key(&ClientKey::from(address)).is_ok())
    }
}

/// When each client's quota will be whole again, for the most recently seen clients.
struct Clients {
    // With secret keys here and in the shards: whoever chooses addresses must not choose collisions.
    hasher: RandomState,
    shards: [Mutex<LruCache<ClientKey, Nanos, RandomState>>; SHARDS],
}

impl Clients {
    fn new() -> Self {
        let shard = |_| Mutex::new(LruCache::unbounded_with_hasher(RandomState::new()));
        Self { hasher: RandomState::new(), shards: std::array::from_fn(shard) }
    }
}

impl StateStore for Clients {
    type Key = ClientKey;

    fn measure_and_replace<T, F, E>(&self, client: &ClientKey, decide: F) -> Result<T, E>
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
        time::{Duration, Instant},
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
    fn admitting_is_cheap_even_while_clients_are_forgotten() {
        let limiter = RateLimiter::new(60, 5);
        let count = 200_000;
        let start = Instant::now();
        for address in 0..count {
            limiter.admit(v4(address));
        }
        let each = start.elapsed() / count;
        // Release builds take some 0.3 µs here; the margin is for debug builds on a busy machine.
        assert!(each < Duration::from_micros(20), "{each:?}");
    }

    fn v4(bits: u32) -> IpAddr {
        Ipv4Addr::from_bits(bits).into()
    }

    fn admitted<C: Clock>(limiter: &RateLimiter<C>, client: IpAddr, tries: usize) -> usize {
        (0..tries).filter(|_| limiter.admit(client)).count()
    }

    fn tracked<C: Clock>(limiter: RateLimiter<C>) -> usize {
        let clients = limiter.quotas.unwrap().into_state_store();
        clients.shards.iter().map(|shard| shard.lock().unwrap().len()).sum()
    }
}
