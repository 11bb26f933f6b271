//! Who may connect, and who it is: places for connections, and the word of trusted proxies about their clients.

use std::{
    io,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    Full, Slot, Slots,
    proxy_protocol::{self, Proxied},
    strangers::{STRANGER_TIME, Strangers},
    turnover::{Seat, Turnover, Watched},
};
use crate::{
    base::{
        access::{AccessList, Forwarders, ProxyHeader, TrustedProxies},
        client::ClientKey,
        metrics::{ConnectionMetrics, Reason, Refusals},
    },
    service::Respond,
};

/// Places for connections that had to make room for others of their client and still have something to say, for each
/// 16 that there are.
const LEAVING: usize = 16;

/// What there is beside each so many places: those for strangers, and those for who leaves.
pub const PLACES_PER_EXTRA: usize = LEAVING / 2;

/// How many connections there may be.
#[derive(Debug, Clone, Copy)]
pub struct Caps {
    /// In all.
    pub connections: usize,
    /// Of one client.
    pub connections_per_client: usize,
}

/// Who is served, whose word is taken, and who is told of those who were not let in.
#[derive(Debug, Clone)]
pub struct Admission {
    /// Who is served.
    pub access: AccessList,
    /// Whose word about clients is taken.
    pub trusted: TrustedProxies,
    /// Whether those who are not served get answers about origins.
    pub answers_strangers: bool,
    /// Counts who is not let in.
    pub refusals: Refusals,
    /// Counts who is.
    pub connections: ConnectionMetrics,
}

/// Gives places to connections. All listeners of a kind share one.
pub struct Entrance {
    admission: ArcSwap<Admission>,
    connections: ConnectionMetrics,
    places: Arc<Slots>,
    /// For those that had to make room and are not gone yet.
    leaving: Arc<Slots>,
    turnover: Arc<Turnover>,
    strangers: Strangers,
    /// Whether what a proxy does that is not configured was said in the log.
    has_noted_proxy: AtomicBool,
}

/// What a connection may expect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The client is served.
    Served,
    /// `[access]` does not serve the client: it gets one refusal, so that it can be read why, and the end.
    Stranger,
    /// A trusted proxy, which may name the client of each request.
    Proxy,
}

/// A connection that has a place, until this is dropped.
#[derive(Debug)]
pub struct Guest {
    /// The client, as far as is known: the peer, or whom a trusted proxy names.
    pub address: IpAddr,
    /// What it may expect.
    pub standing: Standing,
    /// Cancelled when it has to end: with the server, or to make room for another of its client.
    pub leave: CancellationToken,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Seat(Seat),
    /// Of strangers, who leave soon, and of proxies, who have no cap.
    Fixed {
        _slot: Slot,
    },
}

impl Entrance {
    /// At most `cap` connections, `cap_per_client` for each client that is no trusted proxy.
    pub fn new(cap: usize, cap_per_client: usize, admission: Admission) -> Self {
        let (leaving, leaving_per_client) = leaving(cap, cap_per_client);
        Self {
            connections: admission.connections.clone(),
            strangers: Strangers::new(cap, admission.answers_strangers),
            admission: ArcSwap::from_pointee(admission),
            places: Slots::new(cap, cap_per_client),
            leaving: Slots::new(leaving, leaving_per_client),
            turnover: Arc::default(),
            has_noted_proxy: AtomicBool::new(false),
        }
    }

    /// Gives forwarders more places than one client has.
    #[must_use]
    pub fn with_forwarders(self, forwarders: &Forwarders) -> Self {
        let [places, leaving] =
            [self.places, self.leaving].map(|slots| slots.with_forwarders(forwarders.clone()));
        Self { places, leaving, ..self }
    }

    /// Other caps, and others whom it lets in, from now on. Whoever is in stays, and counts.
    pub fn reload(&self, cap: usize, cap_per_client: usize, admission: Admission) {
        self.strangers.set_beside(cap, admission.answers_strangers);
        self.admission.store(Arc::new(admission));
        self.places.set_caps(cap, cap_per_client);
        let (leaving, leaving_per_client) = leaving(cap, cap_per_client);
        self.leaving.set_caps(leaving, leaving_per_client);
    }

    /// A place for a connection from `peer`, or `None` when it has to be closed. The connection ends with `stop`.
    pub fn admit(&self, peer: IpAddr, stop: &CancellationToken) -> Option<Guest> {
        let leave = stop.child_token();
        let fixed = |slot| Place::Fixed { _slot: slot };
        let admission = self.admission.load();
        let (standing, place) = if admission.trusted.contains(peer) {
            (Standing::Proxy, self.places.take_for_many().map(fixed).ok_or(Reason::AllConnections))
        } else if !admission.access.allows(peer) {
            let slot = self.strangers.take(peer).map_err(|_| Reason::StrangersConnections);
            (Standing::Stranger, slot.map(fixed))
        } else {
            (Standing::Served, self.seat(peer, &leave).map(Place::Seat))
        };
        match place {
            Ok(place) => Some(Guest { address: peer, standing, leave, place }),
            Err(reason) => {
                admission.refusals.note(reason, peer);
                None
            }
        }
    }

    fn seat(&self, address: IpAddr, leave: &CancellationToken) -> Result<Seat, Reason> {
        let client = ClientKey::from(address);
        let slot = match self.places.try_take(address) {
            Ok(slot) => slot,
            Err(Full::All) => return Err(Reason::AllConnections),
            Err(Full::Network) => return Err(Reason::NetworkConnections),
            Err(Full::Client) => {
                let leaving = self.leaving.take(address).ok_or(Reason::ClientConnections)?;
                let slot = self.turnover.displace(client, leaving).ok_or(Reason::ClientConnections)?;
                self.admission.load().refusals.note(Reason::ConnectionDisplaced, address);
                slot
            }
        };
        Ok(self.turnover.enter(client, slot, leave.clone()))
    }

    /// Reads what a trusted proxy says of its client before the first byte of the client itself (PROXY protocol). The
    /// caller has the deadline.
    ///
    /// # Errors
    ///
    /// When the connection ends, what the proxy says is malformed or missing, or there is no place for the client.
    pub async fn identify(
        &self,
        guest: Guest,
        stream: &mut TcpStream,
        stop: &CancellationToken,
    ) -> io::Result<Guest> {
        let expected = self.admission.load().trusted.proxy_header();
        if guest.standing != Standing::Proxy || expected == ProxyHeader::Absent {
            return Ok(guest);
        }
        let proxy = guest.address;
        let proxied = proxy_protocol::read(stream).await.inspect_err(|error| {
            if error.kind() == io::ErrorKind::InvalidData && self.is_news() {
                warn!("the trusted proxy {proxy} sends a PROXY header that cannot be read; its connections are closed");
            }
        })?;
        match (proxied, expected) {
            (None, ProxyHeader::Required) => {
                if self.is_news() {
                    warn!(
                        "the trusted proxy {proxy} sends no PROXY header, which proxy_protocol = true asks for; its \
                         connections are closed: let it send one (send-proxy-v2 in HAProxy, proxy_protocol on in nginx)"
                    );
                }
                Err(io::Error::new(io::ErrorKind::InvalidData, "no PROXY header"))
            }
            (Some(_), ProxyHeader::Detected) if self.is_news() => {
                warn!(
                    "the trusted proxy {proxy} sends PROXY headers: write proxy_protocol = true into the section of this \
                     listener, as a later release will not look for them by itself"
                );
                self.proceed(guest, proxied, stop)
            }
            _ => self.proceed(guest, proxied, stop),
        }
    }

    fn proceed(&self, guest: Guest, proxied: Option<Proxied>, stop: &CancellationToken) -> io::Result<Guest> {
        let Some(Proxied::For(client)) = proxied else { return Ok(guest) };
        // Its place first: the client may need the last one.
        drop(guest);
        self.admit(client, stop).ok_or_else(|| io::Error::other("no place for this client"))
    }

    fn is_news(&self) -> bool {
        !self.has_noted_proxy.swap(true, Ordering::Relaxed)
    }

    /// Whether a TLS handshake may be begun, which costs us more than most queries. A proxy stands for many clients.
    pub fn admits_handshake<R: Respond>(&self, guest: &Guest, responder: Option<&R>) -> bool {
        match guest.standing {
            Standing::Proxy => true,
            Standing::Served => responder.is_none_or(|responder| responder.admit_handshake(guest.address)),
            Standing::Stranger => {
                let is_admitted = self.strangers.admit_handshake(guest.address);
                if !is_admitted {
                    self.admission.load().refusals.note(Reason::StrangersHandshakes, guest.address);
                }
                is_admitted
            }
        }
    }

    /// Counts connections of all kinds.
    pub fn metrics(&self) -> &ConnectionMetrics {
        &self.connections
    }

    /// Whether more than three quarters of the places are taken.
    pub fn is_crowded(&self) -> bool {
        self.places.are_scarce()
    }
}

/// How many may be leaving, in all and of one client.
fn leaving(cap: usize, cap_per_client: usize) -> (usize, usize) {
    ((cap / LEAVING).max(1), (cap_per_client / 4).max(1))
}

impl Guest {
    /// `usual`, or less for those who are not served.
    pub fn time_limit(&self, usual: Duration) -> Duration {
        if self.standing == Standing::Stranger { usual.min(STRANGER_TIME) } else { usual }
    }

    /// `stream`, of which it is seen when the client last said something.
    pub fn watch<S>(&self, stream: S) -> Watched<S> {
        match &self.place {
            Place::Seat(seat) => Watched::new(stream, Some(seat)),
            Place::Fixed { .. } => Watched::new(stream, None),
        }
    }
}
