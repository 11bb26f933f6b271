//! A request of a visitor, and what the web server says to it.

use std::{io::ErrorKind, net::IpAddr, pin::pin, sync::Arc, time::Duration};

use http::{
    Request, Response, StatusCode,
    header::{CONTENT_LENGTH, HOST},
};
use hyper::{
    body::{Body, Incoming},
    upgrade::{self, OnUpgrade},
};
use hyper_util::{client::legacy::Error, rt::TokioIo};
use tokio::{io::copy_bidirectional, time::timeout};

use super::{
    Served,
    backend::Backend,
    body::{self, Coming, Fault, Held, Outgoing, Reply},
    headers::{self, Unfit},
    host,
    page::NoPage,
    places::{Places, RequestPlace, Seat},
};

/// How long a web server may think about a request that has come whole.
const THINKING: Duration = Duration::from_secs(120);

/// For both sides to turn a connection into one of WebSocket.
const TURNING: Duration = Duration::from_secs(10);

/// Who asks, on one connection.
pub(super) struct Visitor {
    pub(super) address: IpAddr,
    /// The name for which the connection was opened.
    pub(super) server_name: Option<String>,
    pub(super) places: Places,
    /// The place of the connection, which a WebSocket on it keeps.
    pub(super) seat: Seat,
}

/// What a request holds until it is answered.
type Hold = (RequestPlace, Arc<Visitor>);

/// Passes a request on, and the response back.
pub(super) async fn forward(
    site: Arc<Served>,
    visitor: Arc<Visitor>,
    request: Request<Incoming>,
) -> Response<Reply> {
    pass(site, visitor, request).await.unwrap_or_else(NoPage::response)
}

async fn pass(
    site: Arc<Served>,
    visitor: Arc<Visitor>,
    mut request: Request<Incoming>,
) -> Result<Response<Reply>, NoPage> {
    let place = visitor.places.request(visitor.address, visitor.seat.activity()).ok_or(NoPage::Busy)?;
    let hold: Hold = (place, visitor.clone());
    let client_side = upgrade::on(&mut request);
    let (mut head, body) = request.into_parts();
    head.extensions.clear();
    let wants_websocket = headers::for_backend(&mut head, visitor.address).map_err(NoPage::Unfit)?;
    let host = head.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if !host::is_of_site(host, visitor.server_name.as_deref(), &site.identity) {
        return Err(NoPage::Unfit(Unfit::OtherHost));
    }
    // What does not say its length comes in pieces, and says nothing else about it.
    if body.size_hint().exact().is_none() {
        head.headers.remove(CONTENT_LENGTH);
    }
    let coming = Arc::new(Coming::default());
    let request = Request::from_parts(head, Outgoing::new(body, coming.clone()));
    let mut response = answer(&site.backend(), &site.name, request, &coming).await?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        if !wants_websocket || !headers::is_websocket(response.headers()) {
            return Err(NoPage::Broken);
        }
        let server_side = upgrade::on(&mut response);
        tokio::spawn(connect(site, client_side, server_side, hold));
        headers::for_client(response.headers_mut());
        headers::upgrade(response.headers_mut());
        return Ok(response.map(|_| body::empty()));
    }
    headers::for_client(response.headers_mut());
    response.extensions_mut().clear();
    Ok(response.map(|body| Held::reply(body, hold)))
}

/// Waits for the head of the response: as long as the request is coming, and then for some time.
async fn answer(
    backend: &Backend,
    name: &str,
    request: Request<Outgoing>,
    coming: &Coming,
) -> Result<Response<Incoming>, NoPage> {
    let mut answer = pin!(backend.request(name, request));
    loop {
        match timeout(THINKING, &mut answer).await {
            Ok(answered) => {
                return answered.map_err(|error| match coming.fault() {
                    Some(Fault::Slow) => NoPage::Slow,
                    Some(Fault::Broken) => NoPage::BadBody,
                    None => reason(&error),
                });
            }
            Err(_) if coming.has_moved() => {}
            Err(_) => return Err(NoPage::Late),
        }
    }
}

fn reason(error: &Error) -> NoPage {
    if !error.is_connect() {
        return NoPage::Broken;
    }
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|error| error.kind() == ErrorKind::TimedOut) {
            return NoPage::Late;
        }
        source = error.source();
    }
    NoPage::Down
}

/// Copies bytes both ways until one side has had enough, or nobody says anything any more.
async fn connect(site: Arc<Served>, client: OnUpgrade, server: OnUpgrade, hold: Hold) {
    let turned = timeout(TURNING, async { tokio::try_join!(client, server) }).await;
    let Ok(Ok((client, server))) = turned else { return };
    let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
    let (_, visitor) = &hold;
    tokio::select! {
        // How it ended is known to both sides.
        _ = copy_bidirectional(&mut client, &mut server) => {}
        () = visitor.seat.activity().silence() => {}
        () = site.stop.cancelled() => {}
    }
}
