//! Only so many work at once; those beyond wait in one line per client, and the lines take turns.

mod turns;

use std::{
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use thiserror::Error;
use tokio::sync::oneshot;
use turns::Turns;

/// How much there may be of everything. A client without a line takes no memory, so that `queued` bounds the number
/// of clients too.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Permits held at once.
    pub in_flight: usize,
    /// Waiting for a permit, all lines together.
    pub queued: usize,
    /// Waiting for a permit, in the line of one client.
    pub queued_per_client: usize,
}

/// Hands out permits. Cheap to clone.
///
/// When a permit comes back, the client whose last turn is longest ago gets it, for the one that stands first in its
/// line: however many wait for one client, another client waits for one turn of each line.
#[derive(Debug)]
pub struct FairQueue<C: Copy + Eq + Hash>(Arc<Shared<C>>);

/// The right to work, until it is dropped.
#[derive(Debug)]
pub struct Permit<C: Copy + Eq + Hash>(Arc<Shared<C>>);

/// As many wait as may, for this client or in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("too many are waiting")]
pub struct Full;

/// A line is made of the ends through which those who wait get their permits.
#[derive(Debug)]
struct Shared<C: Copy + Eq + Hash>(Mutex<Turns<C, oneshot::Sender<Permit<C>>>>);

impl<C: Copy + Eq + Hash> FairQueue<C> {
    /// A queue in which nobody waits.
    pub fn new(limits: Limits) -> Self {
        Self(Arc::new(Shared(Mutex::new(Turns::new(limits)))))
    }

    /// Waits for `client`'s turn, without end: the deadline is the caller's. Whoever drops the future gives up its
    /// place in the line, and the permit if it has just been given one.
    pub async fn acquire(&self, client: C) -> Result<Permit<C>, Full> {
        let (mut permit, _place) = {
            let mut turns = self.0.lock();
            if turns.start() {
                return Ok(Permit(self.0.clone()));
            }
            let (sender, permit) = oneshot::channel();
            let ticket = turns.wait(client, sender)?;
            // Dropped in reverse, so that it leaves the line before it can no longer take a permit.
            (permit, Place { shared: self.0.clone(), client, ticket })
        };
        // Cannot fail: the other end is in the line until it is used.
        (&mut permit).await.map_err(|_| Full)
    }

    /// Permits held.
    pub fn in_flight(&self) -> usize {
        self.0.lock().in_flight()
    }

    /// Waiting for a permit.
    pub fn queued(&self) -> usize {
        self.0.lock().queued()
    }
}

impl<C: Copy + Eq + Hash> Clone for FairQueue<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<C: Copy + Eq + Hash> Drop for Permit<C> {
    fn drop(&mut self) {
        let mut turns = self.0.lock();
        let next = turns.end();
        let refused = next.and_then(|next| next.send(Permit(self.0.clone())).err());
        // A permit that nobody took comes back here, and must not find the lock taken.
        drop(turns);
        drop(refused);
    }
}

impl<C: Copy + Eq + Hash> Shared<C> {
    /// Nothing in `Turns` panics half-way.
    fn lock(&self) -> MutexGuard<'_, Turns<C, oneshot::Sender<Permit<C>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.shared.lock().leave(&self.client, self.ticket);
    }
}

#[cfg(test)]
mod tests;
