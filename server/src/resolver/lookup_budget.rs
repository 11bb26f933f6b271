//! What an origin may look up in the DHT for strangers. They come through the large resolvers of the public, behind which
//! anybody may be, so that the quota of a client says nothing.

use std::{net::IpAddr, num::NonZeroU32};

use governor::{
    Quota,
    clock::{Clock, DefaultClock},
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed},
};

use crate::{base::rate_limit::RateLimiter, sources::packets::Search};

/// Lookups of an origin in a minute, of all kinds together, where the configuration says nothing else: half of what one client
/// of the resolver may have. A lookup takes some 60 datagrams, so that these are a sixteenth of
/// `dht.max_datagrams_per_second` as it is by default.
pub(super) const LOOKUPS_PER_MINUTE: u32 = 3000;

/// What may be begun at once is what comes in so many seconds.
const BURST_SECONDS: u32 = 10;

/// A proven client may have one in so many of all lookups: a quarter of those for unseen keys, so that one that makes up keys
/// over TCP leaves some to others. A resolver of the public has several addresses, and asks over TCP only what UDP did
/// not answer.
const CLIENTS: u32 = 16;

/// Parts of which none can be spent for another: whoever makes up keys finds those for unseen keys empty, and nothing else.
/// Each of them is there twice, half as large: what anybody can have asked for in the name of others takes nothing from
/// those who have shown where they are.
pub(super) struct LookupBudget<C: Clock = DefaultClock> {
    per_minute: u32,
    parts: Option<Halves<C>>,
}

struct Halves<C: Clock> {
    proven: Parts<C>,
    /// What each of the proven may have of theirs.
    clients: RateLimiter<C>,
    others: Parts<C>,
}

struct Parts<C: Clock> {
    unseen: Part<C>,
    /// For newer packets than those that are held.
    held: Part<C>,
    /// For questions whose answer has to be new.
    fresh: Part<C>,
}

type Part<C> = governor::RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<<C as Clock>::Instant>>;

impl LookupBudget {
    /// So many lookups in a minute, or with zero as many as are asked for.
    pub(super) fn new(per_minute: u32) -> Self {
        Self::with_clock(per_minute, &DefaultClock::default())
    }
}

impl<C: Clock + Clone> LookupBudget<C> {
    fn with_clock(per_minute: u32, clock: &C) -> Self {
        let shared = |share: u32| {
            let share = NonZeroU32::new(per_minute / share).unwrap_or(NonZeroU32::MIN);
            let burst = NonZeroU32::new(share.get().saturating_mul(BURST_SECONDS) / 60);
            (share, burst.unwrap_or(NonZeroU32::MIN))
        };
        let part = |share: u32| {
            let (share, burst) = shared(share);
            governor::RateLimiter::direct_with_clock(
                Quota::per_minute(share).allow_burst(burst),
                clock.clone(),
            )
        };
        let parts = || Parts { unseen: part(4), held: part(6), fresh: part(12) };
        let (share, burst) = shared(CLIENTS);
        let clients = || RateLimiter::with_clock(share.get(), burst.get(), clock.clone());
        let halves = || Halves { proven: parts(), clients: clients(), others: parts() };
        Self { per_minute, parts: (per_minute > 0).then(halves) }
    }

    /// How many there are in a minute.
    pub(super) fn per_minute(&self) -> u32 {
        self.per_minute
    }

    /// Takes one lookup, if there is one left for this and for whoever asks.
    pub(super) fn admits(&self, search: Search, address: IpAddr, is_proven: bool) -> bool {
        let Some(Halves { proven, clients, others }) = &self.parts else { return true };
        if is_proven && !clients.admit(address) {
            return false;
        }
        let parts = if is_proven { proven } else { others };
        let part = match search {
            Search::Unseen => &parts.unseen,
            Search::Held | Search::Ahead => &parts.held,
            Search::Fresh => &parts.fresh,
        };
        part.check().is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, net::Ipv4Addr, time::Duration};

    use governor::clock::FakeRelativeClock;

    use super::*;

    const KINDS: [(Search, bool); 6] = [
        (Search::Unseen, false),
        (Search::Unseen, true),
        (Search::Held, false),
        (Search::Held, true),
        (Search::Fresh, false),
        (Search::Fresh, true),
    ];

    /// A budget, each of whose lookups is for another client.
    struct Asked {
        budget: LookupBudget<FakeRelativeClock>,
        clients: Cell<u32>,
    }

    impl Asked {
        fn new(per_minute: u32, clock: &FakeRelativeClock) -> Self {
            Self { budget: LookupBudget::with_clock(per_minute, clock), clients: Cell::default() }
        }

        fn admits(&self, search: Search, is_proven: bool) -> bool {
            self.clients.set(self.clients.get() + 1);
            self.budget.admits(search, Ipv4Addr::from_bits(self.clients.get()).into(), is_proven)
        }
    }

    #[test]
    fn no_proven_client_spends_the_lookups_of_all() {
        let clock = FakeRelativeClock::default();
        let budget = LookupBudget::with_clock(LOOKUPS_PER_MINUTE, &clock);
        let (flooder, other) = (Ipv4Addr::new(192, 0, 2, 1).into(), Ipv4Addr::new(192, 0, 2, 2).into());
        let mut admitted = 0;
        for _ in 0..60 {
            clock.advance(Duration::from_secs(1));
            admitted += (0..100).filter(|_| budget.admits(Search::Unseen, flooder, true)).count();
            assert!(budget.admits(Search::Unseen, other, true));
        }
        // What comes in a minute, and the burst.
        assert!((210..=220).contains(&admitted), "{admitted}");
    }

    #[test]
    fn whatever_one_kind_of_lookup_spends_is_not_missed_by_another() {
        for (first, is_proven) in KINDS {
            let budget = Asked::new(600, &FakeRelativeClock::default());
            while budget.admits(first, is_proven) {}
            for other in KINDS {
                assert_eq!(
                    budget.admits(other.0, other.1),
                    other != (first, is_proven),
                    "{first:?} {other:?}"
                );
            }
        }
    }

    #[test]
    fn all_kinds_together_are_no_more_than_the_budget_in_each_minute_after_the_burst() {
        let clock = FakeRelativeClock::default();
        let budget = Asked::new(600, &clock);
        let spend =
            || KINDS.iter().map(|kind| (0..).take_while(|_| budget.admits(kind.0, kind.1)).count()).sum();
        let burst: usize = spend();
        assert!((96..=100).contains(&burst), "{burst}");
        let minute: usize = (0..60)
            .map(|_| {
                clock.advance(Duration::from_secs(1));
                spend()
            })
            .sum();
        assert!((590..=600).contains(&minute), "{minute}");
    }

    #[test]
    fn the_smallest_budget_still_looks_up_and_none_looks_everything_up() {
        let budget = Asked::new(1, &FakeRelativeClock::default());
        assert!(KINDS.iter().all(|kind| budget.admits(kind.0, kind.1)));
        assert!(!KINDS.iter().any(|kind| budget.admits(kind.0, kind.1)));
        let budget = Asked::new(0, &FakeRelativeClock::default());
        assert!((0..10_000).all(|_| budget.admits(Search::Unseen, false)));
    }
}
