//! DNS over UDP. What is at hand is answered where it was received, in buffers that are used again; the rest is
//! answered from tasks.
//!
//! On Linux a thread per socket takes datagrams in batches ([`serve`]); elsewhere a task takes one at a time
//! ([`serve_portable`]).

#[cfg(target_os = "linux")]
mod batch;
#[cfg(target_os = "linux")]
mod batched;
mod peer;
mod portable;

use std::{io, net::UdpSocket, sync::Arc, time::Duration};

use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::peer::Peer;
use super::{BackOff, Slot, Slots, UdpSockets, at_once};
use crate::{
    message::{MAX_UDP_SIZE, Query, Reply},
    service::{AtOnce, Client, Respond, Transport},
};

/// Replies that may wait for a lookup at once, over all UDP listeners. Enough for 1800 lookups a second that all take
/// their full 4.5 s, and few enough that they cost some tens of megabytes. A query beyond is dropped, and its client
/// asks again.
pub const MAX_WAITING: usize = 8192;

/// Replies that may wait at once for one client. Whoever collects slow lookups could have them all answered in one
/// burst at a victim (DNSBomb, CVE-2024-33655); a forwarder for a whole network with 1000 in flight stays below.
pub const MAX_WAITING_PER_CLIENT: usize = 2048;

/// Datagrams read after the stop, per socket: more than the receive buffer holds, so that only a flood is cut off.
const MAX_READ_AFTER_STOP: usize = 16_384;

/// Failures of a socket in a row that are taken for errors of single datagrams (an ICMP error of an earlier reply),
/// before waiting.
const FAILURES_WITHOUT_WAIT: u32 = 16;

/// Starts answering on every socket. `waiting` bounds the slow replies; several listeners share one. Must be called
/// within a Tokio runtime.
pub fn serve<R: Respond>(
    sockets: UdpSockets,
    responder: Arc<R>,
    waiting: Arc<Slots>,
    stop: CancellationToken,
    tasks: &TaskTracker,
) {
    for port in ports(sockets, responder, waiting, tasks) {
        #[cfg(target_os = "linux")]
        let Err(error) = batched::start(&port, &stop) else { continue };
        #[cfg(target_os = "linux")]
        tracing::warn!(%error, "no thread to answer over udp, a task does it");
        portable::start(port, stop.clone());
    }
}

/// As [`serve`], with what every system has.
pub fn serve_portable<R: Respond>(
    sockets: UdpSockets,
    responder: Arc<R>,
    waiting: Arc<Slots>,
    stop: CancellationToken,
    tasks: &TaskTracker,
) {
    for port in ports(sockets, responder, waiting, tasks) {
        portable::start(port, stop.clone());
    }
}

fn ports<R: Respond>(
    sockets: UdpSockets,
    responder: Arc<R>,
    waiting: Arc<Slots>,
    tasks: &TaskTracker,
) -> impl Iterator<Item = Arc<Port<R>>> {
    let wildcard = sockets.local_address().ip().is_unspecified();
    sockets.sockets.into_iter().map(move |socket| {
        let (responder, waiting, tasks) = (responder.clone(), waiting.clone(), tasks.clone());
        Arc::new(Port { socket, wildcard, responder, waiting, tasks })
    })
}

/// One socket and what its queries are answered with.
struct Port<R> {
    socket: UdpSocket,
    wildcard: bool,
    responder: Arc<R>,
    waiting: Arc<Slots>,
    tasks: TaskTracker,
}

impl<R: Respond> Port<R> {
    /// Appends the reply to `out` and returns true if it is at hand; anything else in `out` is none. What is not at
    /// hand is sent from a task. Must be called within a Tokio runtime.
    fn answer(self: &Arc<Self>, request: &[u8], peer: Peer, now: Instant, out: &mut Vec<u8>) -> bool {
        let client = Client {
            address: peer.address.ip().to_canonical(),
            transport: Transport::Udp,
            reply: Reply::Datagram,
            now,
        };
        match at_once(&*self.responder, request, client, out) {
            AtOnce::Replied => return true,
            AtOnce::OverQuota | AtOnce::Silence => {}
            // Silence beyond the caps: any reply would be one more datagram at a possible victim.
            AtOnce::Later(query) => match self.waiting.take(client.address) {
                Some(slot) => self.answer_later(query, client, peer, slot),
                None => self.responder.turned_away(client),
            },
        }
        false
    }

    fn answer_later(self: &Arc<Self>, query: Box<Query>, client: Client, peer: Peer, slot: Slot) {
        let port = self.clone();
        self.tasks.spawn(async move {
            let mut reply = Vec::with_capacity(MAX_UDP_SIZE);
            port.responder.later(&query, client, &mut reply).await;
            peer.send(&port.socket, &reply);
            drop(slot);
        });
    }
}

/// Failures of a socket in a row.
#[derive(Default)]
struct Failures {
    tolerated: u32,
    back_off: BackOff,
}

impl Failures {
    fn succeeded(&mut self) {
        self.tolerated = 0;
        self.back_off.succeeded();
    }

    /// How long to leave the socket alone now.
    fn failed(&mut self, error: &io::Error) -> Duration {
        if self.tolerated < FAILURES_WITHOUT_WAIT {
            self.tolerated += 1;
            return Duration::ZERO;
        }
        tracing::warn!(%error, "cannot receive over udp");
        self.back_off.failed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_left_alone_only_when_it_keeps_failing() {
        let error = io::Error::from(io::ErrorKind::ConnectionRefused);
        let mut failures = Failures::default();
        for _ in 0..2 {
            for _ in 0..FAILURES_WITHOUT_WAIT {
                assert_eq!(failures.failed(&error), Duration::ZERO);
            }
            assert_eq!(failures.failed(&error), BackOff::FIRST);
            assert!(failures.failed(&error) > BackOff::FIRST);
            failures.succeeded();
        }
    }
}
