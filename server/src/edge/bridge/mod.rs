//! The bridge: takes HTTPS connections for names under keys, connects to the site itself, verifies that it is the key's,
//! and shows the browser a certificate of an authority of our own.
//!
//! `hello` reads whose site a client wants, `connection` finds it, verifies it and only then shakes hands with the client,
//! `copy` passes bytes on between two `peer`s. Without a verified site there is the page of a [`Failure`], and no byte of the
//! client goes anywhere. What a name leads to, and the connection to the site, come through [`Sites`].

mod answer;
mod client_tls;
mod connect;
mod connection;
mod copy;
mod error_page;
pub mod hello;
mod mark;
mod names;
mod peer;
mod plain;
mod plain_head;
mod shared_port;
mod site_places;
mod verify;

use std::{net::IpAddr, sync::Arc};

use arc_swap::ArcSwapOption;
use hickory_proto::rr::Name;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

pub use client_tls::{ClientTls, HTTP1, HTTP2, Leaf};
pub use connect::{ConnectError, Connected, SiteConnector};
pub use error_page::Failure;
pub use names::SiteName;
pub use shared_port::SharedPort;
pub use verify::ED25519_PREFIX;

use crate::{
    base::metrics::BridgeMetrics,
    edge::{
        held::Budget,
        transport::{Admission, Caps, Ending, Entrance, Guest, accept},
    },
    resolver::{name::Suffixes, site::Site},
    service::Respond,
};
use hello::Hello;
use mark::Mark;
use peer::Peer;
use site_places::{SitePlace, SitePlaces};

/// What names lead to.
pub trait Sites: Send + Sync + 'static {
    /// Who charges clients for handshakes.
    type Responder: Respond;

    /// The same, if anybody does.
    fn responder(&self) -> Option<&Self::Responder>;

    /// The site of a name over TLS.
    fn find(&self, name: &Name, client: IpAddr) -> impl Future<Output = Result<Site, Failure>> + Send;

    /// Where a name is that has no TLS. Nothing proves it.
    fn find_plain(&self, name: &Name, client: IpAddr) -> impl Future<Output = Result<Site, Failure>> + Send;

    /// Whether clients are told nothing of what is at an address, since there are others who cannot reach it.
    fn withholds(&self, address: IpAddr) -> bool;

    /// A connection to a site that has shown what it has to show. `protocols` are offered (ALPN).
    fn connect(
        &self,
        site: &Site,
        protocols: &[Vec<u8>],
    ) -> impl Future<Output = Result<Connected, Failure>> + Send;
}

/// What follows from the configuration.
#[derive(Debug, Clone)]
pub struct Terms {
    /// Behind which keys have sites.
    pub suffixes: Suffixes,
    /// What clients are shown.
    pub tls: ClientTls,
    /// The port to which those are sent who come in the clear to another port than 80; 443 if that is among those listened on.
    pub https_port: u16,
}

/// Takes connections for sites under keys. All listeners share one.
pub struct Bridge<S> {
    sites: S,
    entrance: Entrance,
    terms: ArcSwapOption<Terms>,
    places: Arc<SitePlaces>,
    unread: Budget,
    metrics: BridgeMetrics,
    mark: Mark,
}

impl<S: Sites> Bridge<S> {
    /// Without terms it takes nobody. What waits for slow peers counts in `unread`.
    pub fn new(
        sites: S,
        terms: Option<Terms>,
        entrance: Entrance,
        unread: Budget,
        metrics: BridgeMetrics,
    ) -> Self {
        let terms = ArcSwapOption::from_pointee(terms);
        Self { sites, entrance, terms, places: Arc::default(), unread, metrics, mark: Mark::new() }
    }

    /// Other caps and clients from now on, and other terms where there are any. Connections that are open stay, and count.
    pub fn reload(&self, terms: Option<Option<Terms>>, caps: Caps, admission: Admission) {
        self.entrance.reload(caps.connections, caps.connections_per_client, admission);
        if let Some(terms) = terms {
            self.terms.store(terms.map(Arc::new));
        }
    }

    /// Whether a client that asks for `server_name` is for the bridge.
    pub fn is_for(&self, server_name: Option<&str>) -> bool {
        let terms = self.terms.load();
        let site =
            terms.as_ref().zip(server_name).and_then(|(terms, name)| SiteName::read(name, &terms.suffixes));
        site.is_some()
    }

    /// Goes on with a connection that another listener has accepted, with the charge for its handshake, until it ends.
    pub async fn take_over(self: Arc<Self>, hello: Hello<TcpStream>, client: IpAddr, ending: Ending) {
        let Some(guest) = self.entrance.admit(client, ending.stop()) else { return };
        connection::proceed(hello, guest, &self, &ending).await;
    }

    /// Why there is no connection to `site`, as far as clients may know.
    fn told(&self, failure: Failure, site: &Site) -> Failure {
        match site.addresses.iter().any(|address| self.sites.withholds(address.ip())) {
            true => Failure::Withheld(Box::new(failure)),
            false => failure,
        }
    }

    /// Copies between a client and its site until either has ended the connection, or `ending` has. The place at the site is kept for as
    /// long.
    async fn carry(
        &self,
        guest: &Guest,
        client: impl Peer,
        site: impl Peer,
        place: SitePlace,
        ending: &Ending,
    ) {
        let ending = ending.of_one(guest.leave.clone());
        let bytes = &self.metrics.bytes;
        let terms = copy::Terms {
            client: guest.address,
            unread: &self.unread,
            to_site: &bytes.to_site,
            to_client: &bytes.to_client,
        };
        let copying = Box::pin(copy::copy(client, site, terms, &ending, || self.entrance.is_crowded()));
        if let Err(error) = copying.await {
            tracing::debug!(%error, "connection to a site ended");
        }
        drop(place);
    }
}

/// Starts taking HTTPS connections on `listener`.
pub fn serve<S: Sites>(
    listener: TcpListener,
    bridge: Arc<Bridge<S>>,
    ending: impl Into<Ending>,
    tasks: &TaskTracker,
) {
    let (ending, spawner) = (ending.into(), tasks.clone());
    tasks.spawn(async move {
        accept(listener, ending.leaving(), |stream, address| {
            let Some(guest) = bridge.entrance.admit(address, ending.stop()) else { return };
            spawner.spawn(connection::open(stream, guest, bridge.clone(), ending.clone()));
        })
        .await;
    });
}

/// Starts taking connections in the clear on `listener`.
pub fn serve_plain<S: Sites>(
    listener: TcpListener,
    bridge: Arc<Bridge<S>>,
    ending: impl Into<Ending>,
    tasks: &TaskTracker,
) {
    let (ending, spawner) = (ending.into(), tasks.clone());
    tasks.spawn(async move {
        accept(listener, ending.leaving(), |stream, address| {
            let Some(guest) = bridge.entrance.admit(address, ending.stop()) else { return };
            spawner.spawn(plain::open(stream, guest, bridge.clone(), ending.clone()));
        })
        .await;
    });
}
