//! A client that has all the connections that it may have gives up its longest silent one for a new one: 101 phones
//! behind one address are all served.

use std::{
    collections::{HashMap, VecDeque},
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use ahash::RandomState;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

use super::Slot;
use crate::base::client::ClientKey;

/// The connections of each client, those first that are to go first. There are no more of them than places.
#[derive(Debug, Default)]
pub(super) struct Turnover {
    // Who chooses addresses must not choose collisions.
    stays: Mutex<HashMap<ClientKey, VecDeque<Arc<Stay>>, RandomState>>,
}

/// A connection that may have to make room.
#[derive(Debug)]
struct Stay {
    /// Since it was last looked at. Reading the clock with each query would cost more.
    used: AtomicBool,
    leave: CancellationToken,
    slot: Mutex<Slot>,
}

/// The place of a connection, until this is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    turnover: Arc<Turnover>,
    client: ClientKey,
    stay: Arc<Stay>,
}

impl Turnover {
    /// A connection with `slot`, which is told through `leave` when it has to end.
    pub(super) fn enter(self: &Arc<Self>, client: ClientKey, slot: Slot, leave: CancellationToken) -> Seat {
        // New ones count as used: they are about to be.
        let stay = Arc::new(Stay { used: AtomicBool::new(true), leave, slot: Mutex::new(slot) });
        self.stays().entry(client).or_default().push_back(stay.clone());
        Seat { turnover: self.clone(), client, stay }
    }

    /// Tells the connection of `client` to end that has been silent for longest, more or less, and gives its place;
    /// it has `leaving` instead for what it still has to say. `None` if there is no such connection.
    pub(super) fn displace(&self, client: ClientKey, leaving: Slot) -> Option<Slot> {
        let displaced = {
            let mut stays = self.stays();
            let queue = stays.get_mut(&client)?;
            // Who was used gets a second chance; when all were, the first has had it.
            for _ in 0..queue.len() {
                if queue.front().is_some_and(|first| first.used.swap(false, Ordering::Relaxed)) {
                    queue.rotate_left(1);
                }
            }
            let displaced = queue.pop_front();
            if queue.is_empty() {
                stays.remove(&client);
            }
            displaced?
        };
        let slot =
            std::mem::replace(&mut *displaced.slot.lock().unwrap_or_else(PoisonError::into_inner), leaving);
        displaced.leave.cancel();
        Some(slot)
    }

    fn stays(&self) -> MutexGuard<'_, HashMap<ClientKey, VecDeque<Arc<Stay>>, RandomState>> {
        self.stays.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut stays = self.turnover.stays();
        let Some(queue) = stays.get_mut(&self.client) else { return };
        if let Some(at) = queue.iter().position(|stay| Arc::ptr_eq(stay, &self.stay)) {
            queue.remove(at);
        }
        if queue.is_empty() {
            stays.remove(&self.client);
        }
    }
}

/// A stream whose place counts as used with all that is read.
#[derive(Debug)]
pub struct Watched<S> {
    stream: S,
    stay: Option<Arc<Stay>>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, seat: Option<&Seat>) -> Self {
        Self { stream, stay: seat.map(|seat| seat.stay.clone()) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let (Poll::Ready(Ok(())), Some(stay)) = (&outcome, &self.stay) {
            stay.used.store(true, Ordering::Relaxed);
        }
        outcome
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::edge::transport::Slots;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn enter(turnover: &Arc<Turnover>, slots: &Arc<Slots>) -> Seat {
        let slot = slots.take(ADDRESS).unwrap();
        turnover.enter(ADDRESS.into(), slot, CancellationToken::new())
    }

    fn displace(turnover: &Turnover, leaving: &Arc<Slots>) -> Slot {
        turnover.displace(ADDRESS.into(), leaving.take(ADDRESS).unwrap()).unwrap()
    }

    #[test]
    fn the_longest_silent_goes_first_and_who_was_used_stays() {
        let (turnover, slots, leaving) = (Arc::new(Turnover::default()), Slots::new(3, 3), Slots::new(9, 9));
        let seats: Vec<_> = (0..3).map(|_| enter(&turnover, &slots)).collect();
        // All are new. The first has had its chance, and is replaced.
        let _fourth = turnover.enter(ADDRESS.into(), displace(&turnover, &leaving), CancellationToken::new());
        assert!(seats[0].stay.leave.is_cancelled());
        seats[1].stay.used.store(true, Ordering::Relaxed);
        let _slot = displace(&turnover, &leaving);
        assert!(!seats[1].stay.leave.is_cancelled(), "it was used");
        assert!(seats[2].stay.leave.is_cancelled());
    }

    #[test]
    fn a_place_is_handed_over_and_who_leaves_holds_another_until_it_is_gone() {
        let (turnover, slots, leaving) = (Arc::new(Turnover::default()), Slots::new(1, 1), Slots::new(1, 1));
        let first = enter(&turnover, &slots);
        let handed_over = displace(&turnover, &leaving);
        assert!(slots.take(ADDRESS).is_none() && leaving.take(ADDRESS).is_none());
        drop(first);
        assert!(leaving.take(ADDRESS).is_some());
        assert!(slots.take(ADDRESS).is_none(), "it is the new one's");
        drop(handed_over);
        assert!(slots.take(ADDRESS).is_some());
    }

    #[test]
    fn clients_that_left_take_no_memory() {
        let (turnover, slots, leaving) = (Arc::new(Turnover::default()), Slots::new(4, 4), Slots::new(9, 9));
        let seats: Vec<_> = (0..3).map(|_| enter(&turnover, &slots)).collect();
        let slot = displace(&turnover, &leaving);
        drop((seats, slot));
        assert!(turnover.stays().is_empty());
        assert!(turnover.displace(ADDRESS.into(), leaving.take(ADDRESS).unwrap()).is_none());
    }
}
