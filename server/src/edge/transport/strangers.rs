//! Those whom `[access]` does not serve: they get to know it, and no more, but for answers about origins over TCP. What
//! they have is counted apart, so that it is nothing that anybody else could miss.

use std::{net::IpAddr, num::NonZeroU32, sync::Arc, time::Duration};

use governor::{DefaultDirectRateLimiter, Quota};

use super::{Full, Slot, Slots};
use crate::base::rate_limit::RateLimiter;

/// How long the handshake of one of them may take, and how long its one request: enough for a slow line, and for an
/// ACME authority that looks at a challenge.
pub const STRANGER_TIME: Duration = Duration::from_secs(2);

/// Connections of all of them at once, where there are thousands of places.
const PLACES: usize = 64;

/// Connections of one of them at once. An ACME authority looks at each name three times at once.
const PLACES_PER_CLIENT: usize = 8;

/// The same where they are answered about origins: each may then stay for ten seconds, and large resolvers come with
/// every answer that was cut. No more than a sixteenth of the places of others, for which there are descriptors.
const PLACES_WITH_ORIGINS: usize = 256;
const PLACES_PER_CLIENT_WITH_ORIGINS: usize = 16;

/// Handshakes of all of them in a second: under 1 % of a core, at 0.15 ms each.
const HANDSHAKES_PER_SECOND: u32 = 50;

/// Handshakes of one of them in a minute, and at once. So one alone does not take all, and an ACME authority is let in.
const HANDSHAKES_PER_MINUTE_OF_ONE: u32 = 60;
const HANDSHAKES_AT_ONCE_OF_ONE: u32 = 20;

/// What they may take.
pub(super) struct Strangers {
    places: Arc<Slots>,
    handshakes: DefaultDirectRateLimiter,
    handshakes_of_one: RateLimiter,
}

impl Strangers {
    /// Beside `connections` places for those who are served. `are_answered` says whether they get answers about origins.
    pub(super) fn new(connections: usize, are_answered: bool) -> Self {
        let per_second = NonZeroU32::new(HANDSHAKES_PER_SECOND).unwrap_or(NonZeroU32::MIN);
        let (places, of_one) = places_beside(connections, are_answered);
        Self {
            places: Slots::new(places, of_one),
            handshakes: DefaultDirectRateLimiter::direct(Quota::per_second(per_second)),
            handshakes_of_one: RateLimiter::new(HANDSHAKES_PER_MINUTE_OF_ONE, HANDSHAKES_AT_ONCE_OF_ONE),
        }
    }

    /// Beside as many as there are now.
    pub(super) fn set_beside(&self, connections: usize, are_answered: bool) {
        let (places, of_one) = places_beside(connections, are_answered);
        self.places.set_caps(places, of_one);
    }

    pub(super) fn take(&self, address: IpAddr) -> Result<Slot, Full> {
        self.places.try_take(address)
    }

    /// Whether a handshake may be begun with one of them.
    pub(super) fn admit_handshake(&self, address: IpAddr) -> bool {
        self.handshakes_of_one.admit(address) && self.handshakes.check().is_ok()
    }
}

/// Of all, and of one.
fn places_beside(connections: usize, are_answered: bool) -> (usize, usize) {
    let (most, of_one) = match are_answered {
        true => (PLACES_WITH_ORIGINS, PLACES_PER_CLIENT_WITH_ORIGINS),
        false => (PLACES, PLACES_PER_CLIENT),
    };
    ((connections / 16).clamp(1, most), of_one)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn v4(bits: u32) -> IpAddr {
        Ipv4Addr::from_bits(bits).into()
    }

    #[test]
    fn many_strangers_have_few_places() {
        let strangers = Strangers::new(20_000, false);
        let held: Vec<_> = (0..1000).filter_map(|client| strangers.take(v4(client / 10)).ok()).collect();
        assert!(held.len() <= PLACES && held.len() > PLACES / 2, "{}", held.len());
        let few = Strangers::new(32, false);
        let held: Vec<_> = (0..100).filter_map(|client| few.take(v4(client)).ok()).collect();
        assert_eq!(held.len(), 2);
    }

    #[test]
    fn strangers_who_are_answered_about_origins_have_more_places_and_so_has_each_of_them() {
        let strangers = Strangers::new(20_000, false);
        let count =
            |client: u32| (0..100).map_while(|_| strangers.take(v4(client)).ok()).collect::<Vec<_>>().len();
        assert_eq!(count(1), PLACES_PER_CLIENT);
        strangers.set_beside(20_000, true);
        assert_eq!(count(1), PLACES_PER_CLIENT_WITH_ORIGINS);
        let held: Vec<_> = (0..5000).filter_map(|client| strangers.take(v4(client / 10)).ok()).collect();
        assert!(held.len() <= PLACES_WITH_ORIGINS && held.len() > PLACES_WITH_ORIGINS / 2, "{}", held.len());
    }

    #[test]
    fn handshakes_of_strangers_are_few_and_one_of_them_does_not_take_all() {
        let strangers = Strangers::new(20_000, false);
        let of_one = (0..1000).filter(|_| strangers.admit_handshake(v4(1))).count();
        assert!((20..30).contains(&of_one), "{of_one}");
        assert!(strangers.admit_handshake(v4(2)));
        let of_all = (0..10_000).filter(|client| strangers.admit_handshake(v4(100 + client))).count();
        // What comes back while this runs is on top of the burst.
        assert!((20..1000).contains(&of_all), "{of_all}");
    }
}
