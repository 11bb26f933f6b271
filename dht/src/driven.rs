//! The client for who moves time by hand and carries datagrams: the engine without its task, sockets and clock.

use std::{net::SocketAddr, time::Instant};

use tokio::sync::{mpsc, oneshot, watch};

use super::{
    DhtSettings, Evidence, NetworkError, PutError,
    engine::{Command, Engine},
    family::Family,
    table::Contact,
    values::Moment,
};
use crate::signed_packet::{PublicKey, SignedPacket};

/// An engine, in each family of addresses in which it has one of its own.
#[derive(Debug)]
pub(crate) struct Driven {
    engine: Engine,
    known: watch::Receiver<usize>,
}

/// A search under way.
#[derive(Debug)]
pub(crate) struct Finding {
    /// Each packet that is newer than those before it.
    pub(crate) found: mpsc::UnboundedReceiver<SignedPacket>,
    pub(crate) done: oneshot::Receiver<Result<Evidence, NetworkError>>,
}

/// A store under way.
#[derive(Debug)]
pub(crate) struct Putting {
    /// Nodes that have confirmed so far.
    pub(crate) progress: watch::Receiver<u32>,
    pub(crate) done: oneshot::Receiver<Result<u32, PutError>>,
}

impl Driven {
    pub(crate) fn new(addresses: Vec<SocketAddr>, settings: &DhtSettings, now: Instant) -> Self {
        let (sender, known) = watch::channel(0);
        Self { engine: Engine::new(addresses, settings, sender, now), known }
    }

    /// Asks these nodes to let us in.
    pub(crate) fn join(&mut self, nodes: Vec<SocketAddr>, now: Instant) {
        self.engine.command(Command::Join(nodes), now);
    }

    /// Nodes of an earlier run.
    pub(crate) fn remember(&mut self, nodes: Vec<Contact>, now: Instant) {
        self.engine.command(Command::Remember(nodes), now);
    }

    /// Nodes in the table.
    pub(crate) fn known(&self) -> usize {
        *self.known.borrow()
    }

    pub(crate) fn find(&mut self, key: PublicKey, for_publication: bool, now: Instant) -> Finding {
        let (sender, found) = mpsc::unbounded_channel();
        let (done_sender, done) = oneshot::channel();
        self.engine.command(
            Command::Find {
                key,
                found: sender,
                done: done_sender,
                for_publication,
                moment: Moment::default(),
            },
            now,
        );
        Finding { found, done }
    }

    pub(crate) fn put(&mut self, packet: SignedPacket, cas: Option<u64>, now: Instant) -> Putting {
        let (progress, confirmed) = watch::channel(0);
        let (done, stored) = oneshot::channel();
        match cas.map(i64::try_from).transpose() {
            Ok(cas) => {
                self.engine.command(Command::Put { packet, cas, progress, enough: u32::MAX, done }, now)
            }
            // The one who asked is there, just below.
            Err(_) => _ = done.send(Err(PutError::CasFailed)),
        }
        Putting { progress: confirmed, done: stored }
    }

    /// When [`Driven::tick`] is due although nothing arrives.
    pub(crate) fn wake_at(&self) -> Instant {
        self.engine.wake_at()
    }

    pub(crate) fn tick(&mut self, now: Instant) {
        self.engine.tick(now);
    }

    pub(crate) fn receive(&mut self, datagram: &[u8], from: SocketAddr, now: Instant) {
        self.engine.receive(datagram, from, now);
    }

    /// Hands out what is to be sent.
    pub(crate) fn send(&mut self, mut each: impl FnMut(&[u8], SocketAddr)) {
        for family in Family::ALL {
            if let Some(outbox) = self.engine.outbox(family) {
                outbox.datagrams().for_each(|(datagram, to)| each(datagram, to));
                outbox.clear();
            }
        }
    }
}
