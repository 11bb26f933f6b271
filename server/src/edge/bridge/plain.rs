//! One connection in the clear: on to HTTPS where the site has it, through to the site where it has not.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use prometheus_client::metrics::counter::Counter;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};

use super::{
    Bridge, Failure, Sites, Terms,
    error_page::POLICY,
    names::SiteName,
    peer::PlainPeer,
    plain_head::{Head, MAX_HEAD_SIZE, Target},
    site_places::SitePlace,
};
use crate::{
    base::{
        config::{HTTP_PORT, HTTPS_PORT},
        metrics::OpenConnection,
    },
    edge::transport::{Ending, Guest, Standing, Watched},
};

/// How long the word of a proxy and the head of the request may take.
const HEAD_TIME: Duration = Duration::from_secs(5);

/// How long it may take to find out where a site is.
const FINDING_TIME: Duration = Duration::from_secs(6);

/// How long it may take to connect to all of its addresses, one after the other, and to each.
const CONNECTING_TIME: Duration = Duration::from_secs(10);
const CONNECTING_TIME_OF_ONE: Duration = Duration::from_secs(4);

/// How long a response of our own may take to leave, with what the client sends meanwhile.
const ANSWERING_TIME: Duration = Duration::from_secs(5);

/// Bytes of a request that are read after its response has been sent, so that the response is not lost with them.
const MAX_REST: usize = 64 << 10;

/// Both ends, ready to be copied between.
struct Passed {
    client: PlainPeer<Watched<TcpStream>>,
    site: PlainPeer<TcpStream>,
    place: SitePlace,
}

/// What becomes of a request.
enum Fate {
    Redirect(String, bool),
    PassOn(TcpStream, SitePlace, bool),
    Foreign,
    Malformed,
    Failed(SiteName, Failure),
}

/// A connection that has been accepted, until it ends.
pub(super) async fn open<S: Sites>(stream: TcpStream, guest: Guest, bridge: Arc<Bridge<S>>, ending: Ending) {
    let _open = OpenConnection::new(&bridge.entrance.metrics().open.bridge_http);
    let leave = guest.leave.clone();
    let opening = Box::pin(begin(stream, guest, &bridge, &ending));
    let Some(Some((passed, guest))) = leave.run_until_cancelled(opening).await else { return };
    let Passed { client, site, place } = passed;
    bridge.carry(&guest, client, site, place, &ending).await;
}

async fn begin<S: Sites>(
    mut stream: TcpStream,
    guest: Guest,
    bridge: &Bridge<S>,
    ending: &Ending,
) -> Option<(Passed, Guest)> {
    // Only delays what is small.
    let _ = stream.set_nodelay(true);
    let outcomes = &bridge.metrics.plain;
    let deadline = Instant::now() + HEAD_TIME;
    let identifying = bridge.entrance.identify(guest, &mut stream, ending.stop());
    let guest = timeout_at(deadline, identifying).await.ok()?.ok()?;
    if guest.standing == Standing::Stranger {
        outcomes.access.inc();
        return None;
    }
    // Finding a site costs about as much as a handshake.
    if !bridge.entrance.admits_handshake(&guest, bridge.sites.responder()) {
        return None;
    }
    let mut head = Vec::new();
    let read = timeout_at(deadline, read_head(&mut stream, &mut head)).await.ok().and_then(Result::ok);
    let fate = match read {
        Some(Head::Request(target)) => {
            let is_own = bridge.mark.is_in(&head);
            decide(bridge, &guest, target, is_own).await
        }
        Some(Head::Partial | Head::Malformed) => Fate::Malformed,
        None => {
            outcomes.malformed.inc();
            return None;
        }
    };
    let count: &Counter = match &fate {
        Fate::Redirect(..) => &outcomes.redirected,
        Fate::PassOn(..) => &outcomes.passed_on,
        Fate::Foreign => &outcomes.foreign_host,
        Fate::Malformed => &outcomes.malformed,
        Fate::Failed(..) => &outcomes.failed,
    };
    count.inc();
    let response = match fate {
        Fate::PassOn(site, place, is_http10) => {
            let client = PlainPeer::new(guest.watch(stream), bridge.mark.put_into(&head, is_http10));
            return Some((Passed { client, site: PlainPeer::new(site, Vec::new()), place }, guest));
        }
        Fate::Redirect(location, is_http10) => {
            let status = if is_http10 { "301 Moved Permanently" } else { "308 Permanent Redirect" };
            text(status, &format!("location: {location}\r\n"), "This site is here over HTTPS.\n")
        }
        Fate::Foreign => text(
            "421 Misdirected Request",
            "",
            "This server opens sites by names of keys, such as <key>.key. The name that was asked for is none of these.\n",
        ),
        Fate::Malformed => {
            text("400 Bad Request", "", "The request is not one of HTTP/1.1, or names no host.\n")
        }
        Fate::Failed(site, failure) => {
            tracing::debug!(site = %site.text, %failure, "no connection to a site in the clear");
            let status = failure.proxy_status();
            let kind = format!("content-security-policy: {POLICY}\r\nproxy-status: {status}\r\n");
            response(&failure.status().to_string(), "text/html; charset=utf-8", &kind, &failure.page(&site))
        }
    };
    // Whoever does not take it goes without.
    let _ = timeout(ANSWERING_TIME, say(&mut stream, &response)).await;
    None
}

/// Reads until the head has ended, into `head`, which may have more than that in the end.
async fn read_head(stream: &mut TcpStream, head: &mut Vec<u8>) -> io::Result<Head> {
    loop {
        let mut piece = [0; 1024];
        let most = piece.len().min(MAX_HEAD_SIZE - head.len().min(MAX_HEAD_SIZE));
        let count = stream.read(&mut piece[..most]).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        head.extend_from_slice(&piece[..count]);
        match Head::read(head) {
            Head::Partial => {}
            read => return Ok(read),
        }
    }
}

/// `is_own`: this bridge has sent the request itself.
async fn decide<S: Sites>(bridge: &Bridge<S>, guest: &Guest, target: Target, is_own: bool) -> Fate {
    let Some(terms) = bridge.terms.load_full() else { return Fate::Foreign };
    let Some(site) = SiteName::read(&target.host, &terms.suffixes) else { return Fate::Foreign };
    if is_own {
        return Fate::Failed(site, Failure::Loop);
    }
    let late = |_| Failure::TimedOut("it took too long".to_owned());
    let finding = timeout(FINDING_TIME, bridge.sites.find(&site.name, guest.address));
    match finding.await.map_err(late).flatten() {
        Ok(_) => {
            // Who came to another port than that of HTTP sees the ports as they are listened on.
            let port = match target.port {
                None | Some(HTTP_PORT) => String::new(),
                Some(_) if terms.https_port == HTTPS_PORT => String::new(),
                Some(_) => format!(":{}", terms.https_port),
            };
            Fate::Redirect(format!("https://{}{port}{}", site.text, target.path), target.is_http10)
        }
        Err(Failure::NoTls(_)) => match connect(bridge, &terms, &site, guest).await {
            Ok((stream, place)) => Fate::PassOn(stream, place, target.is_http10),
            Err(failure) => Fate::Failed(site, failure),
        },
        Err(failure) => Fate::Failed(site, failure),
    }
}

async fn connect<S: Sites>(
    bridge: &Bridge<S>,
    terms: &Terms,
    site: &SiteName,
    guest: &Guest,
) -> Result<(TcpStream, SitePlace), Failure> {
    let late = |_| Failure::TimedOut("it took too long".to_owned());
    let mut place = bridge.places.take(site.key, guest.address).ok_or(Failure::SiteFull)?;
    let finding = timeout(FINDING_TIME, bridge.sites.find_plain(&site.name, guest.address));
    let mut found = finding.await.map_err(late)??;
    place.extend(&mut found, &terms.suffixes)?;
    let connecting = timeout(CONNECTING_TIME, connect_to_any(&found.addresses));
    let connected = connecting.await.map_err(late).flatten();
    let stream = connected.map_err(|failure| bridge.told(failure, &found))?;
    place.settle(stream.peer_addr().ok());
    let _ = stream.set_nodelay(true);
    Ok((stream, place))
}

async fn connect_to_any(addresses: &[SocketAddr]) -> Result<TcpStream, Failure> {
    let mut said = Vec::new();
    for address in addresses {
        match timeout(CONNECTING_TIME_OF_ONE, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => said.push(format!("{address}: {error}")),
            Err(_) => said.push(format!("{address}: no answer")),
        }
    }
    Err(Failure::Unreachable(format!("no connection to {}", said.join(", "))))
}

fn text(status: &str, fields: &str, body: &str) -> String {
    response(status, "text/plain; charset=utf-8", fields, body)
}

fn response(status: &str, kind: &str, fields: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nx-content-type-options: nosniff\r\n\
         cache-control: no-store\r\n{fields}connection: close\r\n\r\n{body}",
        body.len()
    )
}

/// Writes, and reads what is left of the request: closing with something unread would reset the connection, and the client would
/// never see the response.
async fn say(stream: &mut TcpStream, response: &str) -> io::Result<()> {
    stream.write_all(response.as_bytes()).await?;
    stream.shutdown().await?;
    let (mut rest, mut read) = ([0; 1024], 0);
    while read < MAX_REST {
        match stream.read(&mut rest).await? {
            0 => break,
            count => read += count,
        }
    }
    Ok(())
}
