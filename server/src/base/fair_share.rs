//! How many of something each client holds at once: one may have much while others have little, but never more than it
//! leaves free, so that whoever comes next finds a place.

use std::{
    collections::HashMap,
    hash::Hash,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ahash::RandomState;

use crate::base::{
    access::{FORWARDER_SHARE, Forwarders, is_private},
    client::{ClientKey, ClientNetwork},
};

/// How much there may be of everything.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Places in all.
    pub in_all: usize,
    /// Of these, for clients that have shown that they are where they say.
    pub reserved: usize,
    /// Of one client.
    pub per_client: usize,
    /// Of one public network: an IPv4 /24 or an IPv6 /48.
    pub per_network: usize,
    /// Of one network whose addresses count one by one: a private IPv4 /24 or an IPv6 /64 next to us.
    pub per_lan: usize,
    /// What a client may hold however little is left free.
    pub least: usize,
}

/// Counts places by client and by network. Its memory is bounded by the places.
#[derive(Debug)]
pub struct FairShare {
    limits: Limits,
    forwarders: Forwarders,
    held: Mutex<Held>,
}

/// Holds one place until it is dropped.
#[derive(Debug)]
pub struct Share {
    of: Arc<FairShare>,
    client: Holder<ClientKey>,
    /// `None` for one that counts for no network.
    network: Option<Holder<Network>>,
}

/// Who has shown that it is where it says holds places apart from whoever only bears its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Holder<K> {
    who: K,
    is_shown: bool,
}

/// What a client shares its way with: a flood at one of its addresses is a flood at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Network {
    /// A public IPv4 /24, by its upper bits.
    V4(u32),
    /// A private IPv4 /24, by its upper bits.
    V4Lan(u32),
    /// The network of an IPv6 client.
    V6(ClientNetwork),
}

#[derive(Debug, Default)]
struct Held {
    in_all: usize,
    // Who chooses addresses must not choose collisions.
    by_client: HashMap<Holder<ClientKey>, usize, RandomState>,
    by_network: HashMap<Holder<Network>, usize, RandomState>,
}

impl Network {
    /// The network of a client.
    pub fn of(client: ClientKey) -> Self {
        match (client, client.network()) {
            (_, Some(network)) => Self::V6(network),
            (ClientKey::V4(bits), None) if is_private(IpAddr::V4(bits.into())) => Self::V4Lan(bits >> 8),
            (ClientKey::V4(bits), None) => Self::V4(bits >> 8),
            // Both always have one.
            (ClientKey::Subscriber(bits), None) => Self::V6(ClientNetwork::Subscriber(bits >> 16)),
            (ClientKey::Neighbour(bits), None) => Self::V6(ClientNetwork::Neighbours((bits >> 64) as u64)),
        }
    }

    /// Whether its addresses belong to as many clients, next to us.
    pub fn is_lan(self) -> bool {
        matches!(self, Self::V4Lan(_) | Self::V6(ClientNetwork::Neighbours(_)))
    }
}

impl FairShare {
    /// Nobody holds anything yet.
    pub fn new(limits: Limits) -> Arc<Self> {
        Self::with_forwarders(limits, Forwarders::default())
    }

    /// As [`FairShare::new`], with many clients' worth for each forwarder, whatever network it is in. It leaves as much
    /// free as anybody.
    pub fn with_forwarders(limits: Limits, forwarders: Forwarders) -> Arc<Self> {
        Arc::new(Self { limits, forwarders, held: Mutex::default() })
    }

    /// A place for the client at `address`. `is_shown` says whether it has shown that it is there, which nobody can do
    /// from an address that is not its own. `None` when it holds as many as it may.
    pub fn take(self: &Arc<Self>, address: IpAddr, is_shown: bool) -> Option<Share> {
        let limits = self.limits;
        let client = ClientKey::from(address);
        let share = if self.forwarders.contains(address) { FORWARDER_SHARE } else { 1 };
        let network = (share == 1).then(|| Network::of(client));
        let mut held = self.held();
        let client = Holder { who: client, is_shown };
        let of_client = count(&held.by_client, &client);
        let reserved = if is_shown { 0 } else { limits.reserved };
        let free = limits.in_all.saturating_sub(reserved).saturating_sub(held.in_all);
        let may_hold = |held: usize, free: usize| free > 0 && held < free.max(limits.least);
        if of_client >= limits.per_client.saturating_mul(share) || !may_hold(of_client, free) {
            return None;
        }
        let network = network.map(|who| Holder { who, is_shown });
        if let Some(network) = network {
            let of_network = count(&held.by_network, &network);
            let is_lan = network.who.is_lan();
            let per_network = if is_lan { limits.per_lan } else { limits.per_network };
            let free_in_network = per_network.saturating_sub(of_network);
            // Where each address is a client, the network is none.
            if !(may_hold(of_client, free_in_network) && (is_lan || may_hold(of_network, free))) {
                return None;
            }
            held.by_network.insert(network, of_network + 1);
        }
        held.by_client.insert(client, of_client + 1);
        held.in_all += 1;
        Some(Share { of: self.clone(), client, network })
    }

    /// Places that are held.
    pub fn in_use(&self) -> usize {
        self.held().in_all
    }

    /// Nothing in between these changes can panic.
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.of.held();
        held.in_all = held.in_all.saturating_sub(1);
        give_back(&mut held.by_client, self.client);
        if let Some(network) = self.network {
            give_back(&mut held.by_network, network);
        }
    }
}

fn count<K: Eq + Hash>(held: &HashMap<K, usize, RandomState>, holder: &K) -> usize {
    held.get(holder).copied().unwrap_or(0)
}

/// Who holds nothing leaves nothing behind.
fn give_back<K: Eq + Hash>(held: &mut HashMap<K, usize, RandomState>, holder: K) {
    let left = held.remove(&holder).unwrap_or(0).saturating_sub(1);
    if left > 0 {
        held.insert(holder, left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { in_all: 100, reserved: 10, per_client: 30, per_network: 40, per_lan: 60, least: 2 };

    /// As many places as the clients at these addresses get, each of which asks for one after the other.
    fn fill(places: &Arc<FairShare>, addresses: impl IntoIterator<Item = String>) -> Vec<Share> {
        let take = |address: String| {
            let address: IpAddr = address.parse().unwrap();
            std::iter::from_fn(move || places.take(address, false))
        };
        addresses.into_iter().flat_map(take).collect()
    }

    #[test]
    fn places_that_are_taken_in_the_name_of_a_client_are_not_those_that_it_holds_itself() {
        let places = FairShare::new(LIMITS);
        let (victim, neighbours) = ("198.51.100.1", (2..50).map(|host| format!("198.51.100.{host}")));
        let _forged = fill(&places, std::iter::once(victim.to_owned()).chain(neighbours));
        let victim: IpAddr = victim.parse().unwrap();
        assert!(places.take(victim, false).is_none());
        let own: Vec<_> = (0..10).map_while(|_| places.take(victim, true)).collect();
        assert_eq!(own.len(), 10);
    }

    #[test]
    fn one_client_holds_no_more_than_its_limit_and_they_come_back() {
        let places = FairShare::new(LIMITS);
        let held = fill(&places, ["198.51.100.1".into()]);
        // Of a network of 40, whoever leaves as much free as it holds has 20.
        assert_eq!(held.len(), 20);
        drop(held);
        assert_eq!(places.in_use(), 0);
        assert_eq!(places.held().by_client.len(), 0);
        assert_eq!(places.held().by_network.len(), 0);
        assert_eq!(fill(&places, ["10.1.1.1".into()]).len(), 30);
    }

    #[test]
    fn a_forwarder_holds_more_than_one_client_and_leaves_as_much_free() {
        let forwarders = Forwarders::new(vec!["198.51.100.1/32".parse().unwrap()]);
        let places = FairShare::with_forwarders(LIMITS, forwarders);
        // 90 are for those who have shown nothing, and half of them stay free.
        let held = fill(&places, ["198.51.100.1".into()]);
        assert_eq!(held.len(), 45);
        assert_eq!(fill(&places, ["198.51.100.2".into()]).len(), 20, "its network has nothing of it");
        drop(held);
        assert_eq!(places.in_use(), 0);
    }

    #[test]
    fn whoever_comes_next_finds_a_place_while_a_few_hold_all_that_they_may() {
        let places = FairShare::new(LIMITS);
        let mut held = Vec::new();
        for greedy in 1..=6 {
            held.extend(fill(&places, [format!("203.0.{greedy}.1")]));
        }
        let modest: IpAddr = "198.51.100.9".parse().unwrap();
        assert!(places.take(modest, false).is_some(), "{} are taken", places.in_use());
        // In one network it is the same.
        let places = FairShare::new(LIMITS);
        let held = fill(&places, (1..=5).map(|host| format!("192.168.1.{host}")));
        assert!(held.len() > 40);
        assert!(places.take("192.168.1.99".parse().unwrap(), false).is_some(), "{} are taken", held.len());
    }

    #[test]
    fn a_public_network_is_like_one_client_and_a_private_one_is_many() {
        for (text, expected) in [
            ("198.51.100.", LIMITS.per_network),
            ("192.168.7.", LIMITS.per_lan),
            ("2001:db8:1:", LIMITS.per_network),
            ("fe80::", LIMITS.per_lan),
        ] {
            let places = FairShare::new(Limits { in_all: 1000, ..LIMITS });
            let suffix = if text == "2001:db8:1:" { "::1" } else { "" };
            let held = fill(&places, (1..200).map(|number| format!("{text}{number}{suffix}")));
            assert_eq!(held.len(), expected, "{text}");
        }
    }

    #[test]
    fn those_who_may_be_anywhere_leave_the_reserve_to_those_who_have_shown_themselves() {
        let places = FairShare::new(LIMITS);
        let held = fill(&places, (0..200).map(|number| format!("203.0.{number}.1")));
        assert_eq!(held.len(), LIMITS.in_all - LIMITS.reserved);
        let shown: IpAddr = "198.51.100.9".parse().unwrap();
        assert!(places.take(shown, false).is_none());
        assert!(places.take(shown, true).is_some());
    }
}
