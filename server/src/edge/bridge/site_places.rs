//! Places for connections to each site, so that nobody makes the bridge overrun a small one.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ahash::RandomState;

use super::Failure;
use crate::{
    edge::transport::{Slot, Slots},
    resolver::{
        name::{Route, Suffixes},
        site::Site,
    },
};

/// Connections to one site at once, for all clients: as many as `pkdns-cli serve` takes from one address.
const PER_SITE: usize = 256;

/// Connections of one client to it. Browsers open a few for each page.
const PER_SITE_AND_CLIENT: usize = 64;

/// What a site is known by. Anybody can make many keys that are aliases of one key, or that name one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum By {
    Key([u8; 32]),
    Address(SocketAddr),
}

/// Connections to each site. There are no more entries than places.
#[derive(Debug, Default)]
pub(super) struct SitePlaces {
    // Who chooses keys must not choose collisions.
    sites: Mutex<HashMap<By, Arc<Slots>, RandomState>>,
}

/// A place at a site, until this is dropped: at the key that was asked for, at that of its end point, and at its address.
#[derive(Debug)]
pub(super) struct SitePlace {
    client: IpAddr,
    // None of them twice.
    held: Vec<Held>,
}

#[derive(Debug)]
struct Held {
    places: Arc<SitePlaces>,
    by: By,
    slot: Option<Slot>,
}

impl SitePlaces {
    /// A place for a connection of `client` to the site of `key`; `None` if all that there are for it are taken.
    pub(super) fn take(self: &Arc<Self>, key: [u8; 32], client: IpAddr) -> Option<SitePlace> {
        let held = self.hold(By::Key(key), client)?;
        Some(SitePlace { client, held: vec![held] })
    }

    fn hold(self: &Arc<Self>, by: By, client: IpAddr) -> Option<Held> {
        let mut sites = self.lock();
        let slots = sites.entry(by).or_insert_with(|| Slots::new(PER_SITE, PER_SITE_AND_CLIENT));
        // Without one, there are others, so that no empty entry is left behind.
        let slot = slots.take(client)?;
        Some(Held { places: self.clone(), by, slot: Some(slot) })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<By, Arc<Slots>, RandomState>> {
        self.sites.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SitePlace {
    /// The same place at the site to which the name has turned out to lead. Of its addresses, those are left at which there is a
    /// place.
    ///
    /// # Errors
    ///
    /// When all places are taken.
    pub(super) fn extend(&mut self, site: &mut Site, suffixes: &Suffixes) -> Result<(), Failure> {
        if let Route::PublicKey(end) = suffixes.classify(&site.end_point)
            && !self.also(By::Key(*end.key.as_bytes()))
        {
            return Err(Failure::SiteFull);
        }
        site.addresses.retain(|address| self.also(By::Address(*address)));
        if site.addresses.is_empty() { Err(Failure::SiteFull) } else { Ok(()) }
    }

    /// Keeps no place at other addresses than that which the connection goes to.
    pub(super) fn settle(&mut self, at: Option<SocketAddr>) {
        self.held.retain(|held| match held.by {
            By::Key(_) => true,
            By::Address(address) => Some(address) == at,
        });
    }

    /// Whether there is a place by this as well.
    fn also(&mut self, by: By) -> bool {
        let Some(first) = self.held.first() else { return false };
        if self.held.iter().any(|held| held.by == by) {
            return true;
        }
        let held = first.places.hold(by, self.client);
        let is_held = held.is_some();
        self.held.extend(held);
        is_held
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut sites = self.places.lock();
        self.slot = None;
        // Each place has a share in what counts it, and places are given under the same lock.
        if sites.get(&self.by).is_some_and(|slots| Arc::strong_count(slots) == 1) {
            sites.remove(&self.by);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use hickory_proto::rr::Name;
    use pkarr::Keypair;

    use super::*;
    use crate::resolver::site::Proof;

    fn v4(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(number).into()
    }

    fn address(number: u8) -> SocketAddr {
        ([203, 0, 113, number], 443).into()
    }

    /// A place at the site of the key `end`, by a name of the key `asked`.
    fn take(
        places: &Arc<SitePlaces>,
        asked: u8,
        end: u8,
        addresses: &[SocketAddr],
        client: IpAddr,
    ) -> Option<SitePlace> {
        let key = |seed| Keypair::from_secret_key(&[seed; 32]).public_key();
        let mut place = places.take(*key(asked).as_bytes(), client)?;
        let end_point = Name::from_ascii(format!("www.{}.", key(end).to_z32())).unwrap();
        let proof = Proof { key: None, certificates: Vec::new() };
        let mut site = Site { end_point, addresses: addresses.to_vec(), proof };
        place.extend(&mut site, &Suffixes::new(["key"])).ok()?;
        place.settle(site.addresses.first().copied());
        Some(place)
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
    fn names_that_lead_to_one_site_share_its_places() {
        for by_address in [false, true] {
            let places = Arc::new(SitePlaces::default());
            // Aliases of one key whose connections go to many addresses, or keys of their own that name one address.
            let take = |asked: u8, client: u32| match by_address {
                true => take(&places, asked, asked, &[address(1)], v4(client)),
                false => take(&places, asked, 9, &[address(client as u8)], v4(client)),
            };
            let [of_one, of_other] =
                [1, 2].map(|asked| (0..40).map_while(|_| take(asked, 1)).collect::<Vec<_>>());
            assert_eq!(
                (of_one.len(), of_other.len()),
                (40, PER_SITE_AND_CLIENT - 40),
                "one client by two names"
            );
            let of_all: Vec<_> =
                (2..5000).filter_map(|client| take(1 + (client % 2) as u8, client)).collect();
            assert_eq!(of_one.len() + of_other.len() + of_all.len(), PER_SITE);
            assert!(take(3, 9000).is_none(), "by one more name");
            drop((of_one, of_other, of_all));
            assert!(places.lock().is_empty());
        }
    }

    #[test]
    fn a_connection_takes_one_place_by_each() {
        let places = Arc::new(SitePlaces::default());
        let place = take(&places, 1, 1, &[address(1), address(1), address(2)], v4(1)).unwrap();
        assert_eq!(place.held.len(), 2, "at the key and at one address: {place:?}");
        let mut of_one: Vec<_> = (0..1000).map_while(|_| take(&places, 1, 1, &[address(1)], v4(1))).collect();
        assert_eq!(of_one.len(), PER_SITE_AND_CLIENT - 1);
        of_one.clear();
        // An address at which there is no place does not keep the others from being reached.
        let _full: Vec<_> = (2..5)
            .flat_map(|key| {
                let places = &places;
                (0..1000).map_while(move |_| take(places, key, key, &[address(2)], v4(1)))
            })
            .collect();
        let place = take(&places, 1, 1, &[address(2), address(3)], v4(1)).unwrap();
        assert_eq!(place.held[1].by, By::Address(address(3)));
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
