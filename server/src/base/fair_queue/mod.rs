//! Only so many work at once, and one client's share of them is what it leaves free; those beyond wait in one line per
//! client, and the lines take turns.

mod turns;

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use thiserror::Error;
use tokio::sync::oneshot;
use turns::{Called, Turns, Waits};

/// How much there may be of everything. A client without a line takes no memory, so that `queued` bounds the number
/// of clients too.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Permits held at once.
    pub in_flight: usize,
    /// Waiting for a permit, all lines together.
    pub queued: usize,
    /// Waiting for a permit, in the line of one client. May be as many as in all: a longer line gives way to others.
    pub queued_per_client: usize,
}

/// Hands out permits. Cheap to clone.
///
/// A client gets four times as many as there are left, or at least 32 while there are any. So one that holds its
/// permits for long does not hold all: a lone client has four fifths, each more that wants all there are takes some
/// from the others, and those who want few seldom wait. Where none is left and a client with few has to wait, the oldest
/// permit of the client with the most is revoked, and may come back early. When a permit comes back, the client that
/// holds the fewest gets it, and of several the one whose last turn is longest ago, for the one that stands first in its
/// line. Where no more may wait, the last in the longest line gives way.
#[derive(Debug)]
pub struct FairQueue<C: Copy + Eq + Hash>(Arc<Shared<C>>);

/// The right to work, until it is dropped.
#[derive(Debug)]
pub struct Permit<C: Copy + Eq + Hash> {
    shared: Arc<Shared<C>>,
    client: C,
    number: u64,
    revocation: oneshot::Receiver<()>,
}

/// As many wait as may, for this client or in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("too many are waiting")]
pub struct Full;

#[derive(Debug)]
struct Shared<C: Copy + Eq + Hash>(Mutex<State<C>>);

#[derive(Debug)]
struct State<C: Copy + Eq + Hash> {
    /// A line is made of the ends through which those who wait get their permits.
    turns: Turns<C, oneshot::Sender<Permit<C>>>,
    /// The ends through which permits are revoked, by their numbers.
    permits: HashMap<u64, oneshot::Sender<()>>,
}

impl<C: Copy + Eq + Hash> FairQueue<C> {
    /// A queue in which nobody waits.
    pub fn new(limits: Limits) -> Self {
        Self(Arc::new(Shared(Mutex::new(State { turns: Turns::new(limits), permits: HashMap::new() }))))
    }

    /// Waits for `client`'s turn, without end: the deadline is the caller's. Whoever drops the future gives up its
    /// place in the line, and the permit if it has just been given one.
    pub async fn acquire(&self, client: C) -> Result<Permit<C>, Full> {
        let (mut permit, _place) = {
            let mut state = self.0.lock();
            if let Some(number) = state.turns.start(client) {
                return Ok(self.0.permit(&mut state, client, number));
            }
            let (sender, permit) = oneshot::channel();
            // Whoever gives way hears of it when its end of the channel is dropped.
            let Waits { ticket, gives_way: _gives_way, revoked } = state.turns.wait(client, sender)?;
            if let Some(revoked) = revoked.and_then(|number| state.permits.remove(&number)) {
                let _ = revoked.send(());
            }
            // Dropped in reverse, so that it leaves the line before it can no longer take a permit.
            (permit, Place { shared: self.0.clone(), client, ticket })
        };
        (&mut permit).await.map_err(|_| Full)
    }

    /// From now on so many permits are held at once. Those beyond come back when they are dropped.
    pub fn resize(&self, in_flight: usize) {
        let called = self.0.lock().turns.resize(in_flight);
        called.into_iter().for_each(|called| self.0.hand_over(called));
    }

    /// Permits held.
    pub fn in_flight(&self) -> usize {
        self.0.lock().turns.in_flight()
    }

    /// Waiting for a permit.
    pub fn queued(&self) -> usize {
        self.0.lock().turns.queued()
    }
}

impl<C: Copy + Eq + Hash> Clone for FairQueue<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<C: Copy + Eq + Hash> Permit<C> {
    /// Waits until the permit is wanted for a client that has fewer. To give it back then is up to its holder.
    pub async fn revoked(&mut self) {
        if (&mut self.revocation).await.is_err() {
            std::future::pending().await
        }
    }
}

impl<C: Copy + Eq + Hash> Drop for Permit<C> {
    fn drop(&mut self) {
        let next = {
            let mut state = self.shared.lock();
            state.permits.remove(&self.number);
            state.turns.end(self.client, self.number)
        };
        if let Some(next) = next {
            self.shared.hand_over(next);
        }
    }
}

impl<C: Copy + Eq + Hash> Shared<C> {
    /// Nothing in `Turns` panics half-way.
    fn lock(&self) -> MutexGuard<'_, State<C>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn permit(self: &Arc<Self>, state: &mut State<C>, client: C, number: u64) -> Permit<C> {
        let (revoke, revocation) = oneshot::channel();
        state.permits.insert(number, revoke);
        Permit { shared: self.clone(), client, number, revocation }
    }

    /// A permit that nobody takes comes back here, and must not find the lock taken.
    fn hand_over(self: &Arc<Self>, called: Called<C, oneshot::Sender<Permit<C>>>) {
        let Called { client, number, waiting } = called;
        let permit = self.permit(&mut self.lock(), client, number);
        drop(waiting.send(permit));
    }
}

/// A place in a line, left when this is dropped.
struct Place<C: Copy + Eq + Hash> {
    shared: Arc<Shared<C>>,
    client: C,
    ticket: u64,
}

impl<C: Copy + Eq + Hash> Drop for Place<C> {
    fn drop(&mut self) {
        self.shared.lock().turns.leave(self.client, self.ticket);
    }
}

#[cfg(test)]
mod tests;
