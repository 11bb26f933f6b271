//! How many of something there may be at once, in all and per client.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::rate_limit::ClientKey;

/// Counts what is held, in all and per client (an IPv4 address or an IPv6 /64). Its memory is bounded by the cap.
#[derive(Debug)]
pub struct Slots {
    cap: usize,
    cap_per_client: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    in_all: usize,
    per_client: HashMap<ClientKey, usize>,
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

    /// `None` when all places, or all that one client may hold, are taken.
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
        let of_client = held.per_client.remove(&client).unwrap_or(0).saturating_sub(1);
        // A client that holds nothing leaves nothing behind.
        if of_client > 0 {
            held.per_client.insert(client, of_client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn clients_that_left_take_no_memory() {
        let slots = Slots::new(10, 2);
        for client in 0..1000 {
            let _held = (slots.take(v4(client)), slots.take(v4(client)));
        }
        assert_eq!(slots.held().per_client.len(), 0);
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
