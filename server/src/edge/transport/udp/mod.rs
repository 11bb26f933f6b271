//! DNS over UDP. A thread per socket takes datagrams in batches. What is at hand is answered where it was received, in
//! buffers that are used again; the rest is answered from tasks.

mod batch;
mod batched;
mod late;
mod peer;
mod pulse;
mod waiting;

use std::{io, net::UdpSocket, sync::Arc, time::Duration};

use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::peer::Peer;
pub use self::pulse::Pulse;
pub use self::waiting::{MAX_WAITING, MAX_WAITING_PER_CLIENT, Waiting, WaitingReply};
use super::{REST, UdpSockets, at_once};
use crate::{
    base::message::{MAX_UDP_SIZE, Query, Reply},
    service::{AtOnce, Client, Respond, Transport},
};

/// Datagrams read after the stop, per socket: more than the receive buffer holds, so that only a flood is cut off.
const MAX_READ_AFTER_STOP: usize = 16_384;

/// Failures of a socket in a row that are taken for errors of single datagrams (an ICMP error of an earlier reply),
/// before waiting.
const FAILURES_WITHOUT_WAIT: u32 = 16;

/// Starts answering on every socket. `waiting` bounds the slow replies; several listeners share one. Must be called
/// within a Tokio runtime. What it returns tells whether its threads run.
pub fn serve<R: Respond>(
    sockets: UdpSockets,
    responder: Arc<R>,
    waiting: Arc<Waiting>,
    stop: CancellationToken,
    tasks: &TaskTracker,
) -> Vec<Pulse> {
    let wildcard = sockets.local_address().ip().is_unspecified();
    let answer = |socket| {
        let (responder, waiting, tasks) = (responder.clone(), waiting.clone(), tasks.clone());
        batched::start(Port { socket, wildcard, responder, waiting, tasks }, &stop).unwrap_or_else(|error| {
            tracing::error!(%error, "no thread to answer over udp");
            Pulse::absent()
        })
    };
    sockets.sockets.into_iter().map(answer).collect()
}

/// One socket and what its queries are answered with.
struct Port<R> {
    socket: UdpSocket,
    wildcard: bool,
    responder: Arc<R>,
    waiting: Arc<Waiting>,
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
            AtOnce::Later(query) => match self.waiting.begin(client, &query) {
                Some(waiting) => self.answer_later(query, client, peer, waiting),
                None => self.responder.turned_away(client),
            },
        }
        false
    }

    fn answer_later(self: &Arc<Self>, query: Box<Query>, client: Client, peer: Peer, waiting: WaitingReply) {
        let port = self.clone();
        self.tasks.spawn(async move {
            let mut reply = Vec::with_capacity(MAX_UDP_SIZE);
            port.responder.later(&query, client, &mut reply).await;
            match waiting.may_be_sent(Instant::now()) {
                true => peer.send(&port.socket, &reply),
                false => port.responder.too_late(client),
            }
        });
    }
}

/// Failures of a socket in a row.
#[derive(Default)]
struct Failures(u32);

impl Failures {
    fn succeeded(&mut self) {
        self.0 = 0;
    }

    /// How long to leave the socket alone now.
    fn failed(&mut self, error: &io::Error) -> Duration {
        self.0 = self.0.saturating_add(1);
        let untolerated = self.0.saturating_sub(FAILURES_WITHOUT_WAIT);
        if untolerated > 0 {
            tracing::warn!(%error, "cannot receive over udp");
        }
        REST.after(untolerated)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use super::{peer::ReplyFrom, *};

    /// Every answer is found so much later, with the id of its query and nothing else in it.
    struct Slow(Duration);

    impl Respond for Slow {
        fn at_once(&self, request: &[u8], _: Client, _: &mut Vec<u8>) -> AtOnce {
            Query::decode(request).map_or(AtOnce::Silence, |query| AtOnce::Later(Box::new(query)))
        }

        async fn later(&self, query: &Query, _: Client, out: &mut Vec<u8>) {
            tokio::time::sleep(self.0).await;
            out.extend_from_slice(&query.id.to_be_bytes());
        }
    }

    /// A port whose answers take as long, and a client at this address with all the room that a socket can have.
    fn port(takes: Duration, client: Ipv4Addr) -> (Arc<Port<Slow>>, UdpSocket) {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let client = UdpSocket::bind((client, 0)).unwrap();
        client.set_nonblocking(true).unwrap();
        let port = Port {
            socket,
            wildcard: false,
            responder: Arc::new(Slow(takes)),
            waiting: Waiting::new(Default::default()),
            tasks: TaskTracker::new(),
        };
        (Arc::new(port), client)
    }

    /// Asks as if the question had come from `from`. No socket is read, so that time can stand still meanwhile.
    fn ask(port: &Arc<Port<Slow>>, from: SocketAddr, id: u16) {
        let mut request = id.to_be_bytes().to_vec();
        request.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'a', 0, 0, 1, 0, 1]);
        let peer = Peer::new(&from.into(), ReplyFrom::Socket).unwrap();
        assert!(!port.answer(&request, peer, Instant::now(), &mut Vec::new()));
    }

    async fn replies(port: &Arc<Port<Slow>>, client: &UdpSocket) -> usize {
        port.tasks.close();
        port.tasks.wait().await;
        std::iter::from_fn(|| client.recv(&mut [0; 16]).ok()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_questions_that_end_together_and_late_are_no_thousand_replies() {
        let (port, client) = port(Duration::from_secs(2), Ipv4Addr::LOCALHOST);
        for id in 0..1000 {
            ask(&port, client.local_addr().unwrap(), id);
        }
        let late = replies(&port, &client).await;
        assert!((1..=16).contains(&late), "{late}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_reply_to_somebody_who_asked_one_question_arrives() {
        let (port, client) = port(Duration::from_millis(4400), Ipv4Addr::LOCALHOST);
        ask(&port, client.local_addr().unwrap(), 1);
        assert_eq!(replies(&port, &client).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn replies_that_are_not_late_are_all_sent() {
        let (port, client) = port(Duration::from_millis(1800), Ipv4Addr::LOCALHOST);
        for id in 0..100 {
            ask(&port, client.local_addr().unwrap(), id);
        }
        assert_eq!(replies(&port, &client).await, 100);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_with_one_question_is_answered_while_six_sources_hold_everything() {
        for modest in [Ipv4Addr::new(127, 0, 0, 9), Ipv4Addr::new(127, 1, 0, 9)] {
            let (port, client) = port(Duration::from_secs(1), modest);
            // In turns, as 400 questions a second of each that all take 4.5 s.
            for id in 0..1800 {
                for source in 1..=6 {
                    ask(&port, ([127, 0, 0, source], 9).into(), id);
                }
            }
            assert!(port.tasks.len() > 3000, "{} wait", port.tasks.len());
            ask(&port, client.local_addr().unwrap(), 1);
            assert_eq!(replies(&port, &client).await, 1, "{modest}");
        }
    }

    #[test]
    fn a_socket_is_left_alone_only_when_it_keeps_failing() {
        let error = io::Error::from(io::ErrorKind::ConnectionRefused);
        let mut failures = Failures::default();
        for _ in 0..2 {
            for _ in 0..FAILURES_WITHOUT_WAIT {
                assert_eq!(failures.failed(&error), Duration::ZERO);
            }
            assert_eq!(failures.failed(&error), REST.first);
            assert!(failures.failed(&error) > REST.first);
            failures.succeeded();
        }
    }
}
