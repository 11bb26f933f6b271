//! Bytes that are held for others: replies that wait for slow readers, and bodies of requests on their way in. One
//! budget for the whole server, given out as permits that live and die with the bytes.

mod machine;

use std::{
    collections::HashMap,
    hash::Hash,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ahash::RandomState;

pub use machine::MachineMemory;

use crate::base::{
    client::{ClientKey, ClientNetwork},
    metrics::{Reason, Refusals},
};

/// How much of a budget a client may hold, and a network of IPv6 clients, of what nobody holds then: as a fraction of its
/// square, so that a client alone comes to a quarter of the budget and a network to half.
///
/// A fixed share would leave nothing when four clients have taken theirs. The square lets each that comes take less of
/// what is left: forty that take all they can, one after the other, leave a twentieth, of which the next gets its part.
const OF_CLIENT: (u128, u128) = (4, 9);
const OF_NETWORK: (u128, u128) = (2, 1);

/// How many bytes may be held for all clients together, and for each. Clones are one budget.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    cap: usize,
    refusals: Refusals,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    in_all: usize,
    // Who chooses addresses must not choose collisions.
    per_client: HashMap<ClientKey, usize, RandomState>,
    per_network: HashMap<ClientNetwork, usize, RandomState>,
}

/// Leave to hold so many bytes for one client, until it is dropped. Who holds bytes keeps it beside them, in one owner.
#[derive(Debug)]
pub struct Permit {
    budget: Budget,
    address: IpAddr,
    /// Whom the address counted as when the permit was given: networks of our own may change.
    client: ClientKey,
    bytes: usize,
    /// What it is counted as when there is no more.
    reason: Reason,
}

/// What suits this machine, with refusals that nobody counts.
impl Default for Budget {
    fn default() -> Self {
        Self::new(MachineMemory::read().budget(), Refusals::default())
    }
}

impl Budget {
    /// At most `cap` bytes for all clients. Who gets none is counted among `refusals`.
    pub fn new(cap: usize, refusals: Refusals) -> Self {
        Self(Arc::new(Inner { cap, refusals, held: Mutex::default() }))
    }

    /// Leave to hold `bytes` for a client; `None`, which counts as `reason`, when it holds too many for what is left.
    pub fn take(&self, address: IpAddr, bytes: usize, reason: Reason) -> Option<Permit> {
        let mut permit = Permit { budget: self.clone(), address, client: address.into(), bytes: 0, reason };
        permit.resize(bytes).then_some(permit)
    }

    /// Takes note of a client that did not take its reply, or send its request, in time.
    pub fn note_too_slow(&self, client: IpAddr) {
        self.0.refusals.note(Reason::TooSlow, client);
    }

    /// Bytes that are held now.
    pub fn held(&self) -> usize {
        self.lock().in_all
    }

    /// Bytes that may be held in all.
    pub fn cap(&self) -> usize {
        self.0.cap
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn book(&mut self, client: ClientKey, bytes: usize, cap: usize) -> bool {
        let free = cap.saturating_sub(self.in_all).saturating_sub(bytes);
        let of_client = self.per_client.get(&client).copied().unwrap_or(0).saturating_add(bytes);
        let is_within = |bytes: usize, (of, to): (u128, u128)| {
            bytes as u128 * to * cap as u128 <= of * (free as u128 * free as u128)
        };
        if !is_within(of_client, OF_CLIENT) {
            return false;
        }
        if let Some(network) = client.network() {
            let of_network = self.per_network.get(&network).copied().unwrap_or(0).saturating_add(bytes);
            if !is_within(of_network, OF_NETWORK) {
                return false;
            }
            self.per_network.insert(network, of_network);
        }
        self.per_client.insert(client, of_client);
        self.in_all += bytes;
        true
    }

    fn give_back(&mut self, client: ClientKey, bytes: usize) {
        self.in_all = self.in_all.saturating_sub(bytes);
        subtract(&mut self.per_client, client, bytes);
        if let Some(network) = client.network() {
            subtract(&mut self.per_network, network, bytes);
        }
    }
}

/// Who holds nothing leaves nothing behind.
fn subtract<K: Eq + Hash>(held: &mut HashMap<K, usize, RandomState>, holder: K, bytes: usize) {
    if let Some(of_holder) = held.get_mut(&holder) {
        *of_holder = of_holder.saturating_sub(bytes);
        if *of_holder == 0 {
            held.remove(&holder);
        }
    }
}

impl Permit {
    /// How many bytes may be held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Leave for `bytes` in all; false, and nothing changed, when that is too many.
    #[must_use]
    pub fn resize(&mut self, bytes: usize) -> bool {
        if bytes <= self.bytes {
            self.budget.lock().give_back(self.client, self.bytes - bytes);
        } else if !self.budget.lock().book(self.client, bytes - self.bytes, self.budget.0.cap) {
            self.budget.0.refusals.note(self.reason, self.address);
            return false;
        }
        self.bytes = bytes;
        true
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.lock().give_back(self.client, self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    const CAP: usize = 64_000;

    fn budget() -> Budget {
        Budget::new(CAP, Refusals::default())
    }

    fn v4(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(0x0a00_0000 + number).into()
    }

    /// All that one client can get in pieces of this size.
    fn take_all(budget: &Budget, client: IpAddr, piece: usize) -> Vec<Permit> {
        std::iter::from_fn(|| budget.take(client, piece, Reason::Unread)).collect()
    }

    #[test]
    fn a_client_alone_holds_a_quarter() {
        let budget = budget();
        let held = take_all(&budget, v4(1), 100);
        assert_eq!(budget.held(), CAP / 4);
        drop(held);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn the_last_piece_does_not_lead_over_the_share() {
        for piece in (1000..CAP / 2).step_by(500) {
            let budget = budget();
            let held = take_all(&budget, v4(1), piece);
            assert!(budget.held() <= CAP / 4, "{piece}: {}", budget.held());
            drop(held);
        }
    }

    #[test]
    fn however_many_hold_all_they_can_the_next_gets_something() {
        let budget = budget();
        let _held: Vec<_> = (0..40).map(|client| take_all(&budget, v4(client), 10)).collect();
        assert!(budget.held() < CAP * 19 / 20, "{}", budget.held());
        assert!(budget.take(v4(1000), 80, Reason::Unread).is_some());
    }

    #[test]
    fn a_network_of_many_clients_holds_half_at_most() {
        let budget = budget();
        let subnet = |number: u128| IpAddr::from(Ipv6Addr::from_bits(0x2001_0db8 << 96 | number << 64));
        let _held: Vec<_> = (0..1000).map(|number| take_all(&budget, subnet(number), 10)).collect();
        assert!(budget.held() <= CAP / 2, "{}", budget.held());
        // The leave that is asked for counts as held already.
        assert!(budget.take(v4(1), CAP / 20, Reason::Unread).is_some());
    }

    #[test]
    fn a_permit_grows_and_shrinks_and_gives_back_what_it_has() {
        let budget = budget();
        let mut permit = budget.take(v4(1), 100, Reason::Bodies).unwrap();
        assert!(permit.resize(5000));
        assert_eq!((permit.bytes(), budget.held()), (5000, 5000));
        assert!(!permit.resize(CAP));
        assert_eq!((permit.bytes(), budget.held()), (5000, 5000));
        assert!(permit.resize(10));
        assert_eq!(budget.held(), 10);
        drop(permit);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn clients_that_hold_nothing_take_no_memory_and_refusals_are_counted() {
        let refusals = Refusals::default();
        let budget = Budget::new(CAP, refusals.clone());
        for client in 0..1000 {
            drop(budget.take(v4(client), 1, Reason::Unread));
            let network = IpAddr::from(Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(client) << 70));
            drop(budget.take(network, 1, Reason::Unread));
        }
        let held = budget.lock();
        assert_eq!((held.per_client.len(), held.per_network.len()), (0, 0));
        drop(held);
        assert!(budget.take(v4(1), CAP / 2, Reason::Bodies).is_none());
        assert_eq!((refusals.count(Reason::Bodies), refusals.count(Reason::Unread)), (1, 0));
    }
}
