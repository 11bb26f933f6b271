//! Places for connections to each site, so that nobody makes the bridge overrun a small one.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ahash::RandomState;

use crate::transport::{Slot, Slots};

/// Connections to the site of one key at once, for all clients: as many as `pkdns-cli serve` takes from one address.
const PER_SITE: usize = 256;

/// Connections of one client to it. Browsers open a few for each page.
const PER_SITE_AND_CLIENT: usize = 64;

/// Connections by the key of their site. There are no more entries than connections.
#[derive(Debug, Default)]
pub(super) struct SitePlaces {
    // Who chooses keys must not choose collisions.
    sites: Mutex<HashMap<[u8; 32], Arc<Slots>, RandomState>>,
}

/// A place at a site, until this is dropped.
#[derive(Debug)]
pub(super) struct SitePlace {
    places: Arc<SitePlaces>,
    key: [u8; 32],
    slot: Option<Slot>,
    /// At the site that this one is an alias of.
    also: Option<Box<SitePlace>>,
}

impl SitePlaces {
    /// A place for a connection of `client` to the site of `key`; `None` if all that there are for it are taken.
    pub(super) fn take(self: &Arc<Self>, key: [u8; 32], client: IpAddr) -> Option<SitePlace> {
        let mut sites = self.lock();
        let slots = sites.entry(key).or_insert_with(|| Slots::new(PER_SITE, PER_SITE_AND_CLIENT));
        // Without one, there are others, so that no empty entry is left behind.
        let slot = slots.take(client)?;
        Some(SitePlace { places: self.clone(), key, slot: Some(slot), also: None })
    }

    /// The same place with one at the site of `key` as well, to which the name leads: whoever makes many keys that are aliases of one
    /// site makes no more connections to it. `None` as for [`Self::take`].
    pub(super) fn take_also(
        self: &Arc<Self>,
        mut place: SitePlace,
        key: [u8; 32],
        client: IpAddr,
    ) -> Option<SitePlace> {
        if place.key == key {
            return Some(place);
        }
        place.also = Some(Box::new(self.take(key, client)?));
        Some(place)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], Arc<Slots>, RandomState>> {
        self.sites.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SitePlace {
    fn drop(&mut self) {
        let mut sites = self.places.lock();
        self.slot = None;
        // Each place has a share in what counts it, and places are given under the same lock.
        if sites.get(&self.key).is_some_and(|slots| Arc::strong_count(slots) == 1) {
            sites.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn v4(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(number).into()
    }

    #[test]
    fn a_site_has_so_many_places_and_others_have_their_own() {
        let places = Arc::new(SitePlaces::default());
        let of_one: Vec<_> = (0..1000).map_while(|_| places.take([1; 32], v4(1))).collect();
        assert_eq!(of_one.len(), PER_SITE_AND_CLIENT);
        let of_all: Vec<_> = (2..5000).filter_map(|client| places.take([1; 32], v4(client))).collect();
        assert_eq!(of_one.len() + of_all.len(), PER_SITE);
        assert!(places.take([1; 32], v4(9000)).is_none());
        assert!(places.take([2; 32], v4(1)).is_some(), "another site");
    }

    #[test]
    fn aliases_of_a_site_share_its_places() {
        let places = Arc::new(SitePlaces::default());
        let take = |alias, client| {
            let place = places.take([alias; 32], client)?;
            places.take_also(place, [9; 32], client)
        };
        let [of_one, of_other] =
            [1, 2].map(|alias| (0..40).map_while(|_| take(alias, v4(1))).collect::<Vec<_>>());
        assert_eq!(
            (of_one.len(), of_other.len()),
            (40, PER_SITE_AND_CLIENT - 40),
            "one client by two aliases"
        );
        let of_all: Vec<_> =
            (2..5000).filter_map(|client| take(1 + (client % 2) as u8, v4(client))).collect();
        assert_eq!(of_one.len() + of_other.len() + of_all.len(), PER_SITE);
        assert!(places.take([9; 32], v4(9000)).is_none(), "the site itself");
        assert!(places.take([1; 32], v4(9000)).is_some(), "a site of this key that is no alias");
        drop((of_one, of_other, of_all));
        assert!(places.lock().is_empty());
        let place = places.take([1; 32], v4(1)).unwrap();
        let _same = places.take_also(place, [1; 32], v4(1)).unwrap();
        let of_one: Vec<_> = (0..1000).map_while(|_| places.take([1; 32], v4(1))).collect();
        assert_eq!(of_one.len(), PER_SITE_AND_CLIENT - 1, "one place where the key is the same");
    }

    #[test]
    fn sites_that_nobody_is_connected_to_take_no_memory() {
        let places = Arc::new(SitePlaces::default());
        let (one, two) = (places.take([1; 32], v4(1)), places.take([1; 32], v4(2)));
        drop(one);
        assert_eq!(places.lock().len(), 1);
        drop(two);
        assert!(places.lock().is_empty());
    }
}
