//! From a listener to a connection that speaks a version of HTTP.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::task::TaskTracker;

use super::{
    Site,
    connection::{Origin, Version, drive},
    dns::Dns,
};
use crate::{
    base::metrics::{HandshakeFailures, OpenConnection},
    edge::{
        bridge::{SharedPort, hello::Hello},
        transport::{Ending, Guest, SharedTls, TLS_BUFFER, accept, count_handshake, shake_hands},
    },
    service::Respond,
};

/// What every HTTP/2 connection starts with, as far as it takes to tell it from a method (RFC 9113 section 3.4).
const HTTP2_START: [u8; 3] = *b"PRI";

/// A start that comes in pieces is looked at again after this.
const NEXT_LOOK: Duration = Duration::from_millis(5);

/// Starts answering on `listener`, over TLS if that is given.
pub fn serve<R: Respond>(
    listener: TcpListener,
    tls: Option<SharedTls>,
    site: Arc<Site<R>>,
    ending: impl Into<Ending>,
    tasks: &TaskTracker,
) {
    start(listener, tls.map(|tls| Encryption { tls, shared: None }), site, ending.into(), tasks);
}

/// As [`serve`] over TLS, on a port that may be shared with the bridge.
pub fn serve_shared<R: Respond>(
    listener: TcpListener,
    tls: SharedTls,
    shared: SharedPort,
    site: Arc<Site<R>>,
    ending: impl Into<Ending>,
    tasks: &TaskTracker,
) {
    start(listener, Some(Encryption { tls, shared: Some(shared) }), site, ending.into(), tasks);
}

/// What happens before HTTP on a listener of HTTPS.
#[derive(Clone)]
struct Encryption {
    tls: SharedTls,
    /// Who else may be asked for on the same port.
    shared: Option<SharedPort>,
}

/// Whom a client has come to.
enum Shaken {
    Us(TlsStream<TcpStream>),
    Bridge(SharedPort, Hello<TcpStream>),
}

fn start<R: Respond>(
    listener: TcpListener,
    encryption: Option<Encryption>,
    site: Arc<Site<R>>,
    ending: Ending,
    tasks: &TaskTracker,
) {
    let spawner = tasks.clone();
    tasks.spawn(async move {
        accept(listener, ending.leaving(), |stream, address| {
            let Some(guest) = site.entrance.admit(address, ending.stop()) else { return };
            let (tls, site, ending, tasks) =
                (encryption.clone(), site.clone(), ending.clone(), spawner.clone());
            spawner.spawn(async move {
                if let Err(error) = open(stream, address, tls, guest, site, ending, tasks).await {
                    tracing::debug!(client = %address, %error, "connection closed before the first request");
                }
            });
        })
        .await;
    });
}

async fn open<R: Respond>(
    mut stream: TcpStream,
    peer: IpAddr,
    encryption: Option<Encryption>,
    guest: Guest,
    site: Arc<Site<R>>,
    ending: Ending,
    tasks: TaskTracker,
) -> io::Result<()> {
    // Only delays responses when it fails.
    let _ = stream.set_nodelay(true);
    let limit = guest.time_limit(site.limits.opening);
    let leave = guest.leave.clone();
    let metrics = site.entrance.metrics().clone();
    let open = &metrics.open;
    let open = OpenConnection::new(if encryption.is_some() { &open.https } else { &open.http });
    let Some(encryption) = encryption else {
        let opening = timeout(limit, async {
            let guest = site.entrance.identify(guest, &mut stream, ending.stop()).await?;
            let version = version(&stream).await?;
            io::Result::Ok((guest, version))
        });
        let Some(opened) = leave.run_until_cancelled(opening).await else { return Ok(()) };
        let (guest, version) = opened??;
        let stream = guest.watch(stream);
        let ending = ending.of_one(guest.leave.clone());
        drive(stream, version, Origin::of(&guest, false), site, ending, tasks).await;
        return Ok(());
    };
    // Boxed, because a handshake is large and soon over.
    let opening = Box::pin(timeout(limit, async {
        let guest = site.entrance.identify(guest, &mut stream, ending.stop()).await?;
        if !site.entrance.admits_handshake(&guest, site.dns.as_ref().map(Dns::responder)) {
            return Ok(None);
        }
        let shaken = encryption.begin(stream, &metrics.handshake_failures).await?;
        io::Result::Ok(Some((guest, shaken)))
    }));
    let Some(opened) = leave.run_until_cancelled(opening).await else { return Ok(()) };
    let (guest, mut stream) = match opened?? {
        Some((guest, Shaken::Us(stream))) => (guest, stream),
        Some((guest, Shaken::Bridge(bridge, hello))) => {
            let client = guest.address;
            // It has a place there instead.
            drop((guest, open));
            bridge.take_over(hello, client, ending).await;
            return Ok(());
        }
        None => return Ok(()),
    };
    stream.get_mut().1.set_buffer_limit(Some(TLS_BUFFER));
    let version = match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => Version::Http2,
        Some(b"http/1.1") | None => Version::Http1,
        // Agreed on for the sake of the handshake alone, as with ACME.
        Some(_) => return Ok(()),
    };
    tracing::trace!(client = %peer, ?version, "connection");
    let stream = guest.watch(stream);
    let ending = ending.of_one(guest.leave.clone());
    drive(stream, version, Origin::of(&guest, true), site, ending, tasks).await;
    Ok(())
}

impl Encryption {
    /// Shakes hands with a client, unless it has come to the bridge.
    async fn begin(self, stream: TcpStream, failures: &HandshakeFailures) -> io::Result<Shaken> {
        let acceptor: TlsAcceptor = self.tls.acceptor();
        let Some(bridge) = self.shared.filter(SharedPort::is_on) else {
            return shake_hands(&acceptor, stream, failures).await.map(Shaken::Us);
        };
        let hello = count_handshake(Hello::read(stream), failures).await?;
        if bridge.is_for(hello.server_name().as_deref()) {
            return Ok(Shaken::Bridge(bridge, hello));
        }
        let rest = hello.into_start().into_stream(acceptor.config().clone());
        count_handshake(rest, failures).await.map(Shaken::Us)
    }
}

/// Which version a client speaks that cannot say so in a handshake. Takes nothing off the stream.
async fn version(stream: &TcpStream) -> io::Result<Version> {
    let mut start = [0; HTTP2_START.len()];
    loop {
        let seen = stream.peek(&mut start).await?;
        if seen == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if start[..seen] != HTTP2_START[..seen] {
            return Ok(Version::Http1);
        }
        if seen == HTTP2_START.len() {
            return Ok(Version::Http2);
        }
        sleep(NEXT_LOOK).await;
    }
}
