//! PKARR relays: HTTP servers that look packets up in the DHT, and store them there, for others. A relay is a way in
//! where the DHT cannot be reached. It learns which keys are asked, so that none is asked unless somebody names it.

mod network;
mod protocol;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::StatusCode;
use pkdns_dht::{
    HostResolver,
    signed_packet::{InvalidPacket, PublicKey, SignedPacket},
};
use prometheus_client::metrics::counter::Counter;
use thiserror::Error;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, timeout},
};
use tokio_rustls::rustls::ClientConfig;
use tracing::{debug, info, warn};

pub use network::DhtAndRelays;

use crate::{
    base::{config::RelayUrl, health::Health, metrics::RelayOutcomes},
    sources::connector::Connector,
};
use protocol::Client;

/// Requests under way to one relay, and connections to it: each takes one, as they speak HTTP/1.1.
pub const MAX_UNDER_WAY: usize = 32;

/// A relay that goes on failing is asked again after this long.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// For an answer, connecting included.
pub const GET_DEADLINE: Duration = Duration::from_secs(3);

/// A relay answers when it has stored the packet on the DHT.
const PUT_DEADLINE: Duration = Duration::from_secs(10);

/// The relays that are asked besides the DHT. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Relays(Arc<[Relay]>);

/// One relay. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Relay(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    url: RelayUrl,
    client: Client,
    under_way: Semaphore,
    health: Mutex<Health>,
    outcomes: RelayOutcomes,
}

/// Why a relay gave no packet, or did not store one. None of these says anything about the key, but for
/// [`RelayError::NotMostRecent`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RelayError {
    /// Enough requests to it are under way. It was not asked.
    #[error("too many requests to it are under way")]
    Busy,
    /// It failed several times in a row. It was not asked.
    #[error("it failed several times and is left alone for a while")]
    Paused,
    /// No connection, or one that broke.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// No answer in time.
    #[error("it did not answer in time")]
    TimedOut,
    /// It is asked too often (429).
    #[error("it says that it is asked too often")]
    TooManyRequests,
    /// It cannot ask the DHT, or is not well itself (5xx).
    #[error("it is unavailable (HTTP status {})", .0.as_u16())]
    Unavailable(StatusCode),
    /// It sends us elsewhere, where we do not go.
    #[error("it redirects elsewhere (HTTP status {}): name the address that it redirects to", .0.as_u16())]
    Redirect(StatusCode),
    /// It refused, or answered what no relay answers.
    #[error("it refused (HTTP status {})", .0.as_u16())]
    Refused(StatusCode),
    /// What it gave is too short or too long for a packet.
    #[error("its answer is not a packet")]
    NotAPacket,
    /// What it gave is not what the key's owner signed.
    #[error("its answer is not a valid packet: {0}")]
    Invalid(#[from] InvalidPacket),
    /// It knows a more recent packet than the one to be stored (409, 428).
    #[error("it holds a more recent packet")]
    NotMostRecent,
    /// It holds another packet than expected (412).
    #[error("it holds another packet than the one expected")]
    CasFailed,
}

impl RelayError {
    /// Whether the relay failed, rather than the request. The owner of a key decides what a relay can say about it, and
    /// nobody shall be able to keep a relay from being asked about others.
    fn is_failure(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::TimedOut | Self::TooManyRequests | Self::Unavailable(_))
    }
}

impl Relays {
    /// The relays at `urls`, each once, certified by whom `tls` trusts. Their names are looked up by `resolve_host` and
    /// nothing else; requests are counted in `outcomes`. Does not touch the network.
    pub fn new(
        urls: &[RelayUrl],
        tls: &ClientConfig,
        resolve_host: HostResolver,
        outcomes: &RelayOutcomes,
    ) -> Self {
        let connector = Connector::new(tls.clone(), resolve_host);
        let mut relays: Vec<Relay> = Vec::new();
        for url in urls {
            if relays.iter().all(|relay| relay.url() != url) {
                relays.push(Relay::new(url.clone(), connector.clone(), outcomes.clone()));
            }
        }
        Self(relays.into())
    }

    /// In the order in which they were named.
    pub fn iter(&self) -> impl Iterator<Item = &Relay> {
        self.0.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Relay {
    fn new(url: RelayUrl, connector: Connector, outcomes: RelayOutcomes) -> Self {
        Self(Arc::new(Inner {
            url,
            client: Client::new(connector, MAX_UNDER_WAY),
            under_way: Semaphore::new(MAX_UNDER_WAY),
            health: Mutex::new(Health::new(MAX_PAUSE)),
            outcomes,
        }))
    }

    /// Where it is.
    pub fn url(&self) -> &RelayUrl {
        &self.0.url
    }

    /// The packet of `key` that the relay gives, verified. `None` if it says that there is none, which is only its word.
    /// Ends within 3 s.
    pub async fn get(&self, key: &PublicKey) -> Result<Option<SignedPacket>, RelayError> {
        let outcomes = &self.0.outcomes;
        let outcome = |found: &Option<_>| if found.is_some() { &outcomes.found } else { &outcomes.absent };
        self.attempt("GET", GET_DEADLINE, self.0.client.get(&self.0.url, key), outcome).await
    }

    /// Stores `packet`. Returns on how many DHT nodes the relay stored it, which is 1 where it does not say. Ends within
    /// 10 s.
    pub async fn put(&self, packet: &SignedPacket) -> Result<u32, RelayError> {
        let outcome = |_: &_| &self.0.outcomes.stored;
        self.attempt("PUT", PUT_DEADLINE, self.0.client.put(&self.0.url, packet), outcome).await
    }

    /// `outcome` says where an answer counts.
    async fn attempt<'a, T>(
        &'a self,
        method: &'static str,
        limit: Duration,
        request: impl Future<Output = Result<T, RelayError>>,
        outcome: impl FnOnce(&T) -> &'a Counter,
    ) -> Result<T, RelayError> {
        let started = Instant::now();
        let result = match self.admit(started) {
            Ok(_permit) => timeout(limit, request).await.unwrap_or(Err(RelayError::TimedOut)),
            Err(error) => Err(error),
        };
        self.conclude(method, started, result.as_ref().map(outcome));
        result
    }

    fn admit(&self, now: Instant) -> Result<SemaphorePermit<'_>, RelayError> {
        if self.health().is_paused(now) {
            return Err(RelayError::Paused);
        }
        self.0.under_way.try_acquire().map_err(|_| RelayError::Busy)
    }

    /// Every request ends here, also one that was not sent; but for one that nobody waits for any more.
    fn conclude(&self, method: &'static str, started: Instant, outcome: Result<&Counter, &RelayError>) {
        let (url, outcomes) = (self.url(), &self.0.outcomes);
        let error = match outcome {
            Err(RelayError::Busy | RelayError::Paused) => {
                outcomes.skipped.inc();
                return;
            }
            Err(error) if error.is_failure() => {
                outcomes.failed.inc();
                error
            }
            answered => {
                match answered {
                    Ok(counter) => counter.inc(),
                    Err(_) => outcomes.refused.inc(),
                };
                if let Err(error) = answered {
                    debug!("{method} at relay {url}: {error}");
                }
                // Whatever it says, it answers.
                if self.health().succeeded() {
                    info!("relay {url} answers again");
                }
                return;
            }
        };
        let pause = self.health().failed(started, Instant::now());
        match pause {
            Some(pause) if pause.is_first => {
                warn!("relay {url} fails, so that it is not asked for a while: {error}");
            }
            Some(pause) => debug!("relay {url} is not asked for {:?}: {error}", pause.length),
            None => debug!("{method} at relay {url}: {error}"),
        }
    }

    /// Nothing is left half done under this lock, so that a panic elsewhere leaves it whole.
    fn health(&self) -> MutexGuard<'_, Health> {
        self.0.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
