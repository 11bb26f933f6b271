//! How many of something there may be at once, in all and per client.

use std::{
    collections::HashMap,
    hash::Hash,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ahash::RandomState;

use crate::base::{
    access::{FORWARDER_SHARE, Forwarders},
    client::{ClientKey, ClientNetwork},
};

/// Counts what is held, in all, per client and per network of IPv6 clients. Its memory is bounded by the cap.
#[derive(Debug)]
pub struct Slots {
    forwarders: Forwarders,
    held: Mutex<Held>,
}

/// How many there may be.
#[derive(Debug, Clone, Copy)]
struct Caps {
    in_all: usize,
    per_client: usize,
    /// Most that one client may take while places are scarce.
    few: usize,
}

/// Which cap left no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// That of the client.
    Client,
    /// That of the IPv6 network of the client.
    Network,
    /// That of all.
    All,
}

#[derive(Debug)]
struct Held {
    caps: Caps,
    in_all: usize,
    // Who chooses addresses must not choose collisions.
    per_client: HashMap<ClientKey, usize, RandomState>,
    per_network: HashMap<ClientNetwork, usize, RandomState>,
}

/// Holds one place until it is dropped.
#[derive(Debug)]
pub struct Slot {
    slots: Arc<Slots>,
    /// `None` for one that counts for no client.
    client: Option<ClientKey>,
    /// `None` for one that counts for no network.
    network: Option<ClientNetwork>,
}

impl Slots {
    /// At most `cap` at once, of which one client holds at most `cap_per_client`. The last quarter is for those who
    /// hold few, so that some who take all that they may leave something to the others.
    pub fn new(cap: usize, cap_per_client: usize) -> Arc<Self> {
        Self::with(Caps::new(cap, cap_per_client), Forwarders::default())
    }

    fn with(caps: Caps, forwarders: Forwarders) -> Arc<Self> {
        let held = Held { caps, in_all: 0, per_client: HashMap::default(), per_network: HashMap::default() };
        Arc::new(Self { forwarders, held: Mutex::new(held) })
    }

    /// As many places with nobody on them, of which each forwarder may hold many clients' worth: half of all at most,
    /// if that is more than one client's, so that others find some.
    #[must_use]
    pub fn with_forwarders(self: Arc<Self>, forwarders: Forwarders) -> Arc<Self> {
        Self::with(self.held().caps, forwarders)
    }

    /// Other caps, as [`Slots::new`] takes them, from now on. Whoever holds more than that keeps it.
    pub fn set_caps(&self, cap: usize, cap_per_client: usize) {
        self.held().caps = Caps::new(cap, cap_per_client);
    }

    /// `None` when all places, or all that one client or its network may hold, are taken.
    pub fn take(self: &Arc<Self>, address: IpAddr) -> Option<Slot> {
        self.try_take(address).ok()
    }

    /// As [`Slots::take`].
    ///
    /// # Errors
    ///
    /// Says which cap is reached.
    pub fn try_take(self: &Arc<Self>, address: IpAddr) -> Result<Slot, Full> {
        let client = ClientKey::from(address);
        let (share, network) = match self.forwarders.contains(address) {
            // Its network was not named by the operator, and its clients are not that network's.
            true => (FORWARDER_SHARE, None),
            false => (1, client.network()),
        };
        let mut held = self.held();
        let Caps { in_all: cap, per_client, few } = held.caps;
        let of_client = held.per_client.get(&client).copied().unwrap_or(0);
        let cap_per_client = if held.are_scarce() { few } else { per_client };
        if of_client >= cap_per_client.saturating_mul(share).min(cap / 2).max(cap_per_client) {
            return Err(Full::Client);
        }
        if held.in_all >= cap {
            return Err(Full::All);
        }
        if let Some(network) = network {
            let of_network = held.per_network.get(&network).copied().unwrap_or(0);
            if of_network >= cap_per_client.saturating_mul(network.share()) {
                return Err(Full::Network);
            }
            held.per_network.insert(network, of_network + 1);
        }
        held.per_client.insert(client, of_client + 1);
        held.in_all += 1;
        Ok(Slot { slots: self.clone(), client: Some(client), network })
    }

    /// A place that counts for no client, for one that stands for many; `None` when all are taken.
    pub fn take_for_many(self: &Arc<Self>) -> Option<Slot> {
        let mut held = self.held();
        if held.in_all >= held.caps.in_all {
            return None;
        }
        held.in_all += 1;
        Some(Slot { slots: self.clone(), client: None, network: None })
    }

    /// Whether more than three quarters are taken.
    pub fn are_scarce(&self) -> bool {
        self.held().are_scarce()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Caps {
    fn new(in_all: usize, per_client: usize) -> Self {
        Self { in_all, per_client, few: (per_client / 8).min(in_all / 64).max(1).min(per_client) }
    }
}

impl Held {
    fn are_scarce(&self) -> bool {
        self.in_all.saturating_mul(4) > self.caps.in_all.saturating_mul(3)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut held = self.slots.held();
        held.in_all = held.in_all.saturating_sub(1);
        if let Some(client) = self.client {
            give_back(&mut held.per_client, client);
        }
        if let Some(network) = self.network {
            give_back(&mut held.per_network, network);
        }
    }
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
    use crate::base::client::{NEIGHBOURS_SHARE, SUBSCRIBER_SHARE};

    #[test]
    fn caps_hold_in_all_and_per_client_and_places_come_back() {
        let slots = Slots::new(3, 2);
        let (first, second) = (slots.take(v4(1)), slots.take(v4(1)));
        assert!(first.is_some() && second.is_some());
        assert!(slots.take(v4(1)).is_none(), "cap per client");
        let third = slots.take(v4(2));
        assert!(third.is_some());
        assert!(slots.take(v4(3)).is_none(), "cap in all");
        drop(first);
        assert!(slots.take(v4(1)).is_some());
    }

    #[test]
    fn other_caps_hold_from_now_on_and_what_is_held_counts() {
        let slots = Slots::new(10, 4);
        let held: Vec<_> = (0..4).filter_map(|_| slots.take(v4(1))).collect();
        slots.set_caps(4, 2);
        assert_eq!(held.len(), slots.held().in_all, "nobody loses a place");
        assert_eq!(slots.try_take(v4(2)).unwrap_err(), Full::All);
        slots.set_caps(10, 5);
        let _fifth = slots.take(v4(1)).unwrap();
        assert_eq!(slots.try_take(v4(1)).unwrap_err(), Full::Client);
    }

    #[test]
    fn the_cap_that_was_in_the_way_is_named() {
        let slots = Slots::new(SUBSCRIBER_SHARE + 1, 1);
        let v6 = |subnet: usize| format!("2001:db8:1:{subnet:x}::1").parse().unwrap();
        let mut held: Vec<_> = (0..6).map(|subnet| slots.try_take(v6(subnet)).unwrap()).collect();
        assert_eq!(slots.try_take(v6(0)).unwrap_err(), Full::Client);
        held.extend((6..SUBSCRIBER_SHARE).map(|subnet| slots.try_take(v6(subnet)).unwrap()));
        assert_eq!(slots.try_take(v6(100)).unwrap_err(), Full::Network);
        held.push(slots.try_take(v4(1)).unwrap());
        assert_eq!(slots.try_take(v4(2)).unwrap_err(), Full::All);
    }

    #[test]
    fn some_who_take_all_that_they_may_leave_the_last_quarter_to_who_holds_few() {
        let slots = Slots::new(2000, 100);
        let held: Vec<_> = (0..20 * 100).filter_map(|turn| slots.take(v4(turn / 100))).collect();
        assert!(held.len() < 1600, "{} of 2000 taken by 20 clients", held.len());
        let few: Vec<_> = (0..5).filter_map(|_| slots.take(v4(1000))).collect();
        assert_eq!(few.len(), 5, "another client");
        let subnet = |number: u128| std::net::Ipv6Addr::from_bits(0x2001_0db8_0001 << 80 | number << 64);
        let network: Vec<_> = (0..2000).filter_map(|number| slots.take(subnet(number).into())).collect();
        assert!(network.len() <= 12 * SUBSCRIBER_SHARE, "{} taken by one /48", network.len());
    }

    #[test]
    fn an_ipv6_subscriber_is_one_client() {
        let slots = Slots::new(10, 1);
        let _held = slots.take("2001:db8::1".parse().unwrap()).unwrap();
        assert!(slots.take("2001:db8::2".parse().unwrap()).is_none());
        assert!(slots.take("2001:db8:0:1::2".parse().unwrap()).is_some());
    }

    #[test]
    fn a_network_of_many_clients_holds_no_more_than_its_share() {
        let slots = Slots::new(1000, 2);
        let taken = |text: fn(u16) -> String| {
            let take = |n| slots.take(text(n).parse().unwrap());
            (0..500).filter_map(take).collect::<Vec<_>>()
        };
        let held = taken(|subnet| format!("2001:db8:1:{subnet:x}::1"));
        assert_eq!(held.len(), 2 * SUBSCRIBER_SHARE);
        assert!(slots.take("2001:db8:2::1".parse().unwrap()).is_some(), "another /48");
        drop(held);
        assert!(slots.take("2001:db8:1:1::1".parse().unwrap()).is_some());
        assert_eq!(taken(|host| format!("fe80::{host:x}")).len(), 2 * NEIGHBOURS_SHARE);
    }

    #[test]
    fn a_forwarder_holds_many_clients_worth_but_not_every_place() {
        let slots = |cap, per_client| {
            let ranges = ["192.0.2.0/30", "2001:db8::/64"].map(|range| range.parse().unwrap());
            Slots::new(cap, per_client).with_forwarders(Forwarders::new(ranges.into()))
        };
        let held = |slots: &Arc<Slots>, address: &str| {
            (0..1000).filter_map(|_| slots.take(address.parse().unwrap())).collect::<Vec<_>>()
        };
        let many = slots(1000, 2);
        let of_forwarder = held(&many, "192.0.2.1");
        assert_eq!(of_forwarder.len(), 2 * FORWARDER_SHARE);
        let of_forwarder_6 = held(&many, "2001:db8::1");
        assert_eq!(of_forwarder_6.len(), 2 * FORWARDER_SHARE, "more than its /48 has");
        assert_eq!(held(&many, "2001:db8:0:1::1").len(), 2, "and nothing of that");
        assert_eq!(held(&many, "192.0.2.4").len(), 2);
        drop((of_forwarder, of_forwarder_6));
        assert_eq!(many.held().in_all, 0);
        let few = slots(10, 2);
        let _of_forwarder = held(&few, "192.0.2.1");
        assert_eq!(few.held().in_all, 5);
        assert!(few.take("192.0.2.4".parse().unwrap()).is_some());
        assert_eq!(held(&slots(4, 4), "192.0.2.1").len(), 4);
    }

    #[test]
    fn clients_that_left_take_no_memory() {
        let slots = Slots::new(10, 2);
        for client in 0..1000 {
            let _held = (slots.take(v4(client)), slots.take(v4(client)));
        }
        for host in 0..1000_u128 {
            let address = std::net::Ipv6Addr::from_bits(0x2001_0db8 << 96 | host << 70);
            let _held = slots.take(address.into());
        }
        assert_eq!(slots.held().per_client.len(), 0);
        assert_eq!(slots.held().per_network.len(), 0);
        assert_eq!(slots.held().in_all, 0);
    }

    #[test]
    fn places_are_scarce_above_three_quarters() {
        let slots = Slots::new(8, 8);
        let mut held: Vec<_> = (0..6).map(|_| slots.take(v4(1))).collect();
        assert!(!slots.are_scarce());
        held.push(slots.take(v4(1)));
        assert!(slots.are_scarce());
    }

    fn v4(bits: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(bits).into()
    }
}
