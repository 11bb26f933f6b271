//! DNS over streams (RFC 7766), in the clear or over TLS (RFC 7858): pipelined queries, each answered as soon as its
//! answer is there, in whatever order.

mod connection;
mod stranger;

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use connection::Connection;

use super::{Admission, Ending, Entrance, Guest, SharedTls, Slots, Standing, accept, encrypt};
use crate::{
    base::{access::Forwarders, metrics::OpenConnection},
    edge::held::Budget,
    service::{Respond, Transport},
};

/// The protocol of DNS over TLS (ALPN).
pub const PROTOCOLS: [&[u8]; 1] = [b"dot"];

/// What connections may take (RFC 7766 section 6.2, RFC 9210).
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections in all of clients that are served. One more is closed at once.
    pub connections: usize,
    /// Connections per client. With one more its longest silent one is closed.
    pub connections_per_client: usize,
    /// Lookups that may run at once over all connections. As over UDP, but counted apart: a flood of spoofed
    /// datagrams must not close the way that real clients then turn to. A connection that needs one more is closed.
    pub lookups: usize,
    /// Lookups that may run at once for one client.
    pub lookups_per_client: usize,
    /// Lookups that may run at once for one connection; no more is read from it until one of them is answered.
    pub lookups_per_connection: usize,
    /// Queries on one connection. It is closed when they are answered, and the replies to the last tenth of them say that it
    /// will be.
    pub queries_per_connection: usize,
    /// What replies that wait to be written may take: what clients that ask and do not read can take. A connection whose
    /// reply is one too many is closed.
    pub unread: Budget,
    /// How long what comes before the first query may take: the word of a proxy, and the handshake of TLS.
    pub opening: Duration,
    /// How long a connection may be silent.
    pub idle: Duration,
    /// How long it may be silent while over three quarters of the connections are taken.
    pub idle_when_scarce: Duration,
    /// How long a message may take from its first byte to its last.
    pub partial_message: Duration,
    /// How long a reply may take to be written.
    pub write: Duration,
    /// Who counts as many clients.
    pub forwarders: Forwarders,
}

impl Limits {
    /// For DNS over TLS: phones keep their connection, because a handshake costs them more than the silence costs us.
    pub fn for_tls() -> Self {
        Self { connections: 20_000, idle: Duration::from_secs(30), ..Self::default() }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 2000,
            connections_per_client: 100,
            lookups: 4096,
            lookups_per_client: 2048,
            lookups_per_connection: 64,
            queries_per_connection: 10_000,
            unread: Budget::default(),
            opening: Duration::from_secs(5),
            idle: Duration::from_secs(10),
            idle_when_scarce: Duration::from_secs(2),
            partial_message: Duration::from_secs(3),
            write: Duration::from_secs(5),
            forwarders: Forwarders::default(),
        }
    }
}

/// Counts what all connections take together; all listeners share one.
pub struct Connections {
    limits: Limits,
    entrance: Entrance,
    lookups: Arc<Slots>,
}

impl Connections {
    /// No connection yet.
    pub fn new(limits: Limits, admission: Admission) -> Arc<Self> {
        Arc::new(Self {
            entrance: Entrance::new(limits.connections, limits.connections_per_client, admission)
                .with_forwarders(&limits.forwarders),
            lookups: Slots::new(limits.lookups, limits.lookups_per_client)
                .with_forwarders(limits.forwarders.clone()),
            limits,
        })
    }

    /// Other caps on connections, and others who may connect, from now on. Those that are open stay, and count.
    pub fn reload(&self, connections: usize, connections_per_client: usize, admission: Admission) {
        self.entrance.reload(connections, connections_per_client, admission);
    }

    /// A place for one more connection until `stop` is cancelled, or `None` when it has to be closed.
    pub fn admit(&self, address: IpAddr, stop: &CancellationToken) -> Option<Guest> {
        self.entrance.admit(address, stop)
    }

    fn idle(&self) -> Duration {
        if self.entrance.is_crowded() { self.limits.idle_when_scarce } else { self.limits.idle }
    }
}

/// Starts accepting connections in the clear.
pub fn serve<R: Respond>(
    listener: TcpListener,
    responder: Arc<R>,
    connections: Arc<Connections>,
    ending: impl Into<Ending>,
    tasks: &TaskTracker,
) {
    start(listener, None, responder, connections, ending.into(), tasks);
}

/// Starts accepting connections over TLS.
pub fn serve_tls<R: Respond>(
    listener: TcpListener,
    tls: impl Into<SharedTls>,
    responder: Arc<R>,
    connections: Arc<Connections>,
    ending: impl Into<Ending>,
    tasks: &TaskTracker,
) {
    start(listener, Some(tls.into()), responder, connections, ending.into(), tasks);
}

fn start<R: Respond>(
    listener: TcpListener,
    tls: Option<SharedTls>,
    responder: Arc<R>,
    connections: Arc<Connections>,
    ending: Ending,
    tasks: &TaskTracker,
) {
    let spawner = tasks.clone();
    tasks.spawn(async move {
        accept(listener, ending.leaving(), |stream, address| {
            let Some(guest) = connections.admit(address, ending.stop()) else { return };
            let serving = Serving {
                responder: responder.clone(),
                connections: connections.clone(),
                ending: ending.clone(),
                tasks: spawner.clone(),
            };
            let tls = tls.clone();
            spawner.spawn(async move {
                if let Err(error) = serving.run(stream, tls, guest).await {
                    tracing::debug!(client = %address, %error, "connection closed before the first query");
                }
            });
        })
        .await;
    });
}

/// What one connection needs of its listener.
struct Serving<R> {
    responder: Arc<R>,
    connections: Arc<Connections>,
    ending: Ending,
    tasks: TaskTracker,
}

impl<R: Respond> Serving<R> {
    async fn run(self, mut stream: TcpStream, tls: Option<SharedTls>, guest: Guest) -> io::Result<()> {
        // Only delays replies when it fails.
        let _ = stream.set_nodelay(true);
        let limit = guest.time_limit(self.connections.limits.opening);
        let deadline = tokio::time::Instant::now() + limit;
        let entrance = &self.connections.entrance;
        let open = &entrance.metrics().open;
        let _open = OpenConnection::new(if tls.is_some() { &open.tls } else { &open.tcp });
        let leave = guest.leave.clone();
        let identifying = timeout(limit, entrance.identify(guest, &mut stream, self.ending.stop()));
        let Some(identified) = leave.run_until_cancelled(identifying).await else { return Ok(()) };
        let guest = identified??;
        let Some(tls) = tls else {
            let (input, output) = stream.into_split();
            self.serve(input, output, Transport::Tcp, guest).await;
            return Ok(());
        };
        if !entrance.admits_handshake(&guest, Some(&*self.responder)) {
            return Ok(());
        }
        // Boxed, because a handshake is large and soon over.
        let failures = &entrance.metrics().handshake_failures;
        let handshake = Box::pin(tokio::time::timeout_at(deadline, encrypt(&tls, stream, failures)));
        let Some(accepted) = guest.leave.run_until_cancelled(handshake).await else { return Ok(()) };
        let (input, output) = accepted??;
        self.serve(input, output, Transport::Tls, guest).await;
        Ok(())
    }

    /// Until either side has had enough, or the place of `guest` is needed.
    async fn serve<I, O>(self, input: I, output: O, transport: Transport, guest: Guest)
    where
        I: AsyncRead + Unpin,
        O: AsyncWrite + Unpin,
    {
        if guest.standing == Standing::Stranger {
            let longest = stranger::longest(&*self.responder, transport);
            let serving = stranger::serve(&*self.responder, guest.address, transport, input, output);
            // What it could not say in this time is lost to no one who is served.
            let _ = guest.leave.run_until_cancelled(timeout(longest, serving)).await;
            return;
        }
        let Self { responder, connections, ending, tasks } = self;
        let ending = ending.of_one(guest.leave.clone());
        let input = guest.watch(input);
        Connection::new(guest.address, transport, responder, connections, ending, tasks)
            .serve(input, output)
            .await;
    }
}
