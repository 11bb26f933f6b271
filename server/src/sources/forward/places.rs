//! Who may ask how much at once: clients have their shares, and our own questions have places apart from theirs.

use std::net::IpAddr;

use crate::base::{
    client,
    fair_queue::{FairQueue, Full, Limits, Permit},
};

/// Questions of our own under way, and those that wait: certificates, relays and bootstrap nodes ask for a few names each.
pub(super) const OWN: Limits = Limits { in_flight: 16, queued: 256, queued_per_client: 256 };

/// On whose behalf a question is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// The client at this address, or what it gave cause to.
    Client {
        /// Where it is.
        address: IpAddr,
        /// Whether it has shown that it is there.
        is_proven: bool,
    },
    /// This server, for itself. No client can delay these questions.
    Own,
}

/// Whose line a question waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Line {
    Client(client::Line),
    Own,
}

impl From<Asker> for Line {
    fn from(asker: Asker) -> Self {
        match asker {
            Asker::Client { address, is_proven } => Self::Client(client::Line::of(address, is_proven)),
            Asker::Own => Self::Own,
        }
    }
}

/// Places for questions that are under way.
#[derive(Debug)]
pub(super) struct Places {
    clients: FairQueue<Line>,
    own: FairQueue<Line>,
}

/// The right to ask, until it is dropped.
pub(super) type Place = Permit<Line>;

impl Places {
    /// At most `in_flight` questions of clients are under way, and `queued` more wait.
    pub(super) fn new(in_flight: usize, queued: usize) -> Self {
        let clients = Limits { in_flight, queued, queued_per_client: queued };
        Self { clients: FairQueue::new(clients), own: FairQueue::new(OWN) }
    }

    /// Waits for a place, without end: the deadline is the caller's.
    pub(super) async fn acquire(&self, line: Line) -> Result<Place, Full> {
        match line {
            Line::Client(_) => self.clients.acquire(line).await,
            Line::Own => self.own.acquire(line).await,
        }
    }

    /// From now on, so many questions may be under way in all.
    pub(super) fn resize(&self, in_flight: usize) {
        self.clients.resize(in_flight.saturating_sub(OWN.in_flight).max(1));
    }

    #[cfg(test)]
    pub(super) fn in_flight(&self) -> usize {
        self.clients.in_flight() + self.own.in_flight()
    }

    #[cfg(test)]
    pub(super) fn queued(&self) -> usize {
        self.clients.queued()
    }
}
