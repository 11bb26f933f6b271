//! One connection over HTTPS: whose site it is for, the site itself, and only then the client.

use std::{io, sync::Arc, time::Duration};

use prometheus_client::metrics::counter::Counter;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::rustls::ServerConfig;

use super::{
    Bridge, Connected, Failure, Sites, Terms,
    answer::answer,
    client_tls::{HTTP1, HTTP2, for_error_page, passable},
    hello::Hello,
    names::SiteName,
    peer::TlsPeer,
    site_places::SitePlace,
};
use crate::{
    base::metrics::{BridgeConnections, OpenConnection},
    edge::transport::{Ending, Guest, Standing, TLS_BUFFER, Watched, count_handshake},
};

/// How long the word of a proxy and the ClientHello may take.
const HELLO_TIME: Duration = Duration::from_secs(5);

/// How long it may take to find out where a site is. Answers have a deadline below it.
const FINDING_TIME: Duration = Duration::from_secs(6);

/// How long it may take to connect to the site and to verify it. Whoever connects has a deadline below it.
const CONNECTING_TIME: Duration = Duration::from_secs(12);

/// How long the rest of the handshake with the client may take, which waited for the site.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// How long the alert may take that says that there is no such name.
const REFUSAL_TIME: Duration = Duration::from_secs(1);

/// Both ends, ready to be copied between.
struct Bridged {
    client: TlsPeer<Watched<TcpStream>>,
    site: TlsPeer<TcpStream>,
    place: SitePlace,
}

/// A connection that has been accepted, until it ends.
pub(super) async fn open<S: Sites>(stream: TcpStream, guest: Guest, bridge: Arc<Bridge<S>>, ending: Ending) {
    let leave = guest.leave.clone();
    // Boxed, as all that comes before the copying: it is large and soon over.
    let opening = Box::pin(timeout(HELLO_TIME, greet(stream, guest, &bridge, &ending)));
    match leave.run_until_cancelled(opening).await {
        Some(Ok(Ok(Some((hello, guest))))) => proceed(hello, guest, &bridge, &ending).await,
        Some(Ok(Err(error))) => {
            bridge.metrics.connections.no_hello.inc();
            tracing::debug!(%error, "connection closed before its hello");
        }
        Some(Err(_)) => {
            bridge.metrics.connections.no_hello.inc();
        }
        Some(Ok(Ok(None))) | None => {}
    }
}

/// Reads what comes before anything else. `None` for a client that may not begin a handshake.
async fn greet<S: Sites>(
    mut stream: TcpStream,
    guest: Guest,
    bridge: &Bridge<S>,
    ending: &Ending,
) -> io::Result<Option<(Hello<TcpStream>, Guest)>> {
    let guest = bridge.entrance.identify(guest, &mut stream, ending.stop()).await?;
    if guest.standing == Standing::Stranger {
        bridge.metrics.connections.access.inc();
        return Ok(None);
    }
    if !bridge.entrance.admits_handshake(&guest, bridge.sites.responder()) {
        return Ok(None);
    }
    Ok(Some((Hello::read(stream).await?, guest)))
}

/// Goes on after the hello, until the connection ends.
pub(super) async fn proceed<S: Sites>(
    hello: Hello<TcpStream>,
    guest: Guest,
    bridge: &Arc<Bridge<S>>,
    ending: &Ending,
) {
    let _open = OpenConnection::new(&bridge.entrance.metrics().open.bridge);
    let joining = Box::pin(join(hello, &guest, bridge));
    let Some(Some(bridged)) = guest.leave.run_until_cancelled(joining).await else { return };
    let Bridged { client, site, place } = bridged;
    bridge.carry(&guest, client, site, place, ending).await;
}

/// The client and its site, or `None` where the client has had an alert or an error page instead.
async fn join<S: Sites>(hello: Hello<TcpStream>, guest: &Guest, bridge: &Bridge<S>) -> Option<Bridged> {
    let outcomes = &bridge.metrics.connections;
    if guest.standing == Standing::Stranger {
        outcomes.access.inc();
        return None;
    }
    let terms = bridge.terms.load_full();
    let site = terms.as_ref().and_then(|terms| SiteName::read(&hello.server_name()?, &terms.suffixes));
    let (Some(terms), Some(site)) = (terms, site) else {
        outcomes.unknown_name.inc();
        let _ = timeout(REFUSAL_TIME, hello.refuse_name()).await;
        return None;
    };
    let offered = hello.protocols();
    let offers_others = offered.as_ref().is_some_and(|offered| !offered.is_empty());
    let protocols = passable(offered);
    if offers_others && protocols.is_empty() {
        // It gets the alert that says so.
        shake_hands(bridge, hello, terms.tls.speaking(Some(HTTP1))).await;
        return None;
    }
    match reach(bridge, &terms, &site, guest, &protocols).await {
        Ok((Connected { stream, alpn }, place)) => {
            bridge.metrics.handshakes.site.inc();
            let (client, session) = shake_hands(bridge, hello, terms.tls.speaking(alpn.as_deref())).await?;
            outcomes.bridged.inc();
            tracing::trace!(site = %site.text, "bridged");
            let (stream, site_session) = stream.into_inner();
            let client = TlsPeer::new(guest.watch(client), session);
            Some(Bridged { client, site: TlsPeer::new(stream, site_session), place })
        }
        Err(failure) => {
            count(outcomes, &failure).inc();
            tracing::debug!(site = %site.text, %failure, "no connection to a site");
            refuse(bridge, hello, guest, &terms, &site, &failure, &protocols).await;
            None
        }
    }
}

/// A verified connection to the site, with a place at it.
async fn reach<S: Sites>(
    bridge: &Bridge<S>,
    terms: &Terms,
    site: &SiteName,
    guest: &Guest,
    protocols: &[Vec<u8>],
) -> Result<(Connected, SitePlace), Failure> {
    let late = |_| Failure::TimedOut("it took too long".to_owned());
    let mut place = bridge.places.take(site.key, guest.address).ok_or(Failure::SiteFull)?;
    let finding = bridge.sites.find(&site.name, guest.address);
    let mut found = timeout(FINDING_TIME, finding).await.map_err(late)??;
    place.extend(&mut found, &terms.suffixes)?;
    let connecting = timeout(CONNECTING_TIME, bridge.sites.connect(&found, protocols));
    let connected = connecting.await.map_err(late).flatten();
    let connected = connected.map_err(|failure| bridge.told(failure, &found))?;
    let stream = connected.stream.get_ref().0;
    place.settle(stream.peer_addr().ok());
    // Only delays what is small.
    let _ = stream.set_nodelay(true);
    Ok((connected, place))
}

/// The rest of the handshake with the client.
async fn shake_hands<S: Sites>(
    bridge: &Bridge<S>,
    hello: Hello<TcpStream>,
    tls: &Arc<ServerConfig>,
) -> Option<(TcpStream, tokio_rustls::rustls::ServerConnection)> {
    let failures = &bridge.entrance.metrics().handshake_failures;
    let start = hello.into_start();
    let _ = start.io.set_nodelay(true);
    let handshake = count_handshake(start.into_stream(tls.clone()), failures);
    match timeout(HANDSHAKE_TIME, handshake).await {
        Ok(Ok(stream)) => {
            bridge.metrics.handshakes.client.inc();
            Some(stream.into_inner())
        }
        _ => {
            bridge.metrics.connections.client_handshake.inc();
            None
        }
    }
}

/// Says over TLS why there is no site. Its certificate is for a name that is under our authority in any case.
async fn refuse<S: Sites>(
    bridge: &Bridge<S>,
    hello: Hello<TcpStream>,
    guest: &Guest,
    terms: &Terms,
    site: &SiteName,
    failure: &Failure,
    protocols: &[Vec<u8>],
) {
    let start = hello.into_start();
    let failures = &bridge.entrance.metrics().handshake_failures;
    let protocol = for_error_page(protocols);
    let handshake = count_handshake(start.into_stream(terms.tls.speaking(protocol).clone()), failures);
    let Ok(Ok(mut stream)) = timeout(HANDSHAKE_TIME, handshake).await else { return };
    stream.get_mut().1.set_buffer_limit(Some(TLS_BUFFER));
    answer(guest.watch(stream), protocol == Some(HTTP2), failure, site).await;
}

fn count<'a>(outcomes: &'a BridgeConnections, failure: &Failure) -> &'a Counter {
    match failure {
        Failure::Absent(_) | Failure::NoAddress(_) | Failure::Chain(_) | Failure::Loop => &outcomes.absent,
        Failure::NoTls(_) => &outcomes.no_tls,
        Failure::Denied(_) => &outcomes.denied,
        Failure::Lookup(_) => &outcomes.lookup_failed,
        Failure::Unreachable(_) => &outcomes.unreachable,
        Failure::AnotherKey { .. } => &outcomes.another_key,
        Failure::HandshakeRefused(_) => &outcomes.handshake_refused,
        Failure::TimedOut(_) => &outcomes.timed_out,
        Failure::SiteFull => &outcomes.site_full,
        Failure::Withheld(failure) => count(outcomes, failure),
    }
}
