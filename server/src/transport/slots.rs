//! How many of something there may be at once, in all and per client.

use std::{
    collections::HashMap,
    hash::Hash,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ahash::RandomState;

use crate::client::{ClientKey, ClientNetwork};

/// Counts what is held, in all, per client and per network of IPv6 clients. Its memory is bounded by the cap.
#[derive(Debug)]
pub struct Slots {
    cap: usize,
    cap_per_client: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
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
}

impl Slots {
    /// At most `cap` at once, of which one client holds at most `cap_per_client`.
    pub fn new(cap: usize, cap_per_client: usize) -> Arc<Self> {
        Arc::new(Self { cap, cap_per_client, held: Mutex::default() })
    }

    /// `None` when all places, or all that one client or its network may hold, are taken.
    pub fn take(self: &Arc<Self>, address: IpAddr) -> Option<Slot> {
        let client = ClientKey::from(address);
        let mut held = self.held();
        if held.in_all >= self.cap {
            return None;
        }
        let of_client = held.per_client.get(&client).copied().unwrap_or(0);
        if of_client >= self.cap_per_client {
            return None;
        }
        if let Some(network) = client.network() {
            let of_network = held.per_network.get(&network).copied().unwrap_or(0);
            if of_network >= self.cap_per_client.saturating_mul(network.share()) {
                return None;
            }
            held.per_network.insert(network, of_network + 1);
        }
        held.per_client.insert(client, of_client + 1);
        held.in_all += 1;
        Some(Slot { slots: self.clone(), client: Some(client) })
    }

    /// A place that counts for no client, for one that stands for many; `None` when all are taken.
    pub fn take_for_many(self: &Arc<Self>) -> Option<Slot> {
        let mut held = self.held();
        if held.in_all >= self.cap {
            return None;
        }
        held.in_all += 1;
        Some(Slot { slots: self.clone(), client: None })
    }

    /// Whether more than three quarters are taken.
    pub fn are_scarce(&self) -> bool {
        self.held().in_all.saturating_mul(4) > self.cap.saturating_mul(3)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut held = self.slots.held();
        held.in_all = held.in_all.saturating_sub(1);
        let Some(client) = self.client else { return };
        give_back(&mut held.per_client, client);
        if let Some(network) = client.network() {
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
    use crate::client::{NEIGHBOURS_SHARE, SUBSCRIBER_SHARE};

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
