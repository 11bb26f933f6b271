//! Another configuration for a server that runs: what may fail comes first and changes nothing, then it is swapped.

use std::{net::SocketAddr, sync::Arc, time::SystemTime};

use thiserror::Error;
use tokio::{
    sync::{mpsc, oneshot},
    task::spawn_blocking,
};
use tracing::{error, info, warn};

use super::{
    EncryptedListeners, StartError, derived, features,
    listeners::{self, Listener, Open, Wanted},
    refuse_own_address,
    running::Running,
    web::BridgeCertificates,
};
use crate::{
    base::{
        config::{Changes, Config, ConfigError},
        metrics::Metrics,
    },
    edge::transport::{Inherited, Purpose},
    resolver::{
        Resolver,
        denied::{DeniedKeys, Lists},
    },
    sources::forward::{Forwarder, TlsClient},
};

/// Has the server take another configuration. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ReloadHandle {
    requests: mpsc::Sender<Request>,
    metrics: Metrics,
}

/// What a reload has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reloaded {
    /// Which options have changed.
    pub changes: Changes,
    /// Where the server can be reached now: what is spoken, as in the log, and the address with its real port.
    pub listening: Vec<(&'static str, SocketAddr)>,
}

/// Why the configuration stays as it was.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// It cannot be read, or says what cannot be done.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A server would not start with it.
    #[error(transparent)]
    Start(#[from] StartError),
    /// What would act at once does not go with what stays until a restart.
    #[error("this configuration needs a restart: {0}")]
    NeedsRestart(String),
    /// The server has stopped, or is about to.
    #[error("the server is stopping")]
    Stopped,
}

type Outcome = Result<Reloaded, ReloadError>;

#[derive(Debug)]
struct Request {
    config: Box<Config>,
    answer: oneshot::Sender<Outcome>,
}

impl ReloadHandle {
    /// Puts a configuration in effect, or leaves the one before whole. Says in the log what has changed, what needs a
    /// restart, or why nothing has changed, and counts. One that could not be read is a reload that failed.
    ///
    /// # Errors
    ///
    /// Says why the one before stays.
    pub async fn reload(&self, read: Result<Config, ConfigError>) -> Outcome {
        let outcome = match read {
            Ok(config) => self.apply(config).await,
            Err(error) => Err(error.into()),
        };
        self.metrics.reload.note(outcome.is_ok(), SystemTime::now());
        match &outcome {
            Ok(Reloaded { changes, .. }) => {
                match changes.at_once.is_empty() {
                    true => info!("reloaded: nothing has changed"),
                    false => info!("reloaded: {}", changes.at_once.join(", ")),
                }
                for option in &changes.after_restart {
                    warn!("{option} needs a restart; until then its old value is in effect");
                }
            }
            Err(error) => {
                error!(
                    "not reloaded, and everything stays as it was: {}",
                    error.to_string().replace('\n', "; ")
                );
            }
        }
        outcome
    }

    async fn apply(&self, config: Config) -> Outcome {
        let (answer, outcome) = oneshot::channel();
        let request = Request { config: Box::new(config), answer };
        self.requests.send(request).await.map_err(|_| ReloadError::Stopped)?;
        outcome.await.unwrap_or(Err(ReloadError::Stopped))
    }
}

/// Configurations as they come.
pub(super) struct Reloads {
    requests: mpsc::Sender<Request>,
    coming: mpsc::Receiver<Request>,
}

impl Reloads {
    pub(super) fn new() -> Self {
        let (requests, coming) = mpsc::channel(1);
        Self { requests, coming }
    }

    pub(super) fn handle(&self, metrics: &Metrics) -> ReloadHandle {
        ReloadHandle { requests: self.requests.clone(), metrics: metrics.clone() }
    }

    /// Takes one after the other, for ever.
    pub(super) async fn serve(&mut self, mut running: Running) {
        while let Some(Request { config, answer }) = self.coming.recv().await {
            let outcome = running.reload(*config).await;
            // Nobody may wait for it any more.
            let _ = answer.send(outcome);
        }
    }
}

/// What is there now, as far as the next configuration depends on it.
pub(super) struct Present {
    pub(super) config: Config,
    /// With the ports that there are.
    pub(super) bound: Config,
    pub(super) forwarder: Arc<Forwarder>,
    pub(super) resolver: Resolver,
    pub(super) denied: DeniedKeys,
    pub(super) open: Vec<Open>,
}

/// All that a configuration needs to be put in effect, which cannot fail any more.
pub(super) struct Prepared {
    pub(super) config: Config,
    pub(super) bound: Config,
    pub(super) changes: Changes,
    pub(super) tls: TlsClient,
    pub(super) resolver: Resolver,
    /// Where they are others.
    pub(super) denied: Option<Lists>,
    /// Where it is another one.
    pub(super) encryption: Option<EncryptedListeners>,
    /// Where they are others.
    pub(super) bridge_certificates: Option<BridgeCertificates>,
    /// Addresses that are not served yet.
    pub(super) added: Vec<Listener>,
    /// Addresses that are to be served no more.
    pub(super) removed: Vec<Wanted>,
}

impl Present {
    /// Reads files and binds addresses, and changes nothing.
    pub(super) async fn prepare(self, new: Config) -> Result<Prepared, ReloadError> {
        // A panic is told by its hook.
        spawn_blocking(move || self.prepare_blocking(&new)).await.unwrap_or(Err(ReloadError::Stopped))
    }

    fn prepare_blocking(self, new: &Config) -> Result<Prepared, ReloadError> {
        let (config, changes) = self.config.followed_by(new);
        let faults: Vec<_> = config.faults().iter().map(ToString::to_string).collect();
        if !faults.is_empty() {
            return Err(ReloadError::NeedsRestart(faults.join("\n")));
        }
        features::check(&config).map_err(StartError::from)?;
        let tls = TlsClient::new(config.fallback_ca_path.as_deref()).map_err(StartError::from)?;
        let encryption = match EncryptedListeners::differ(&self.config, &config) {
            true => Some(EncryptedListeners::new(&config, &self.forwarder)?),
            false => None,
        };
        let bridge_certificates = match BridgeCertificates::differ(&self.config, &config) {
            true => Some(BridgeCertificates::open(&config)?),
            false => None,
        };
        let wanted = listeners::wanted(&config, |purpose| listeners::assigned(&self.open, purpose));
        let wanted = listeners::recognised(wanted, &self.open);
        let (kept, removed): (Vec<_>, Vec<_>) =
            self.open.into_iter().partition(|open| wanted.contains(&open.wanted));
        let is_new = |wanted: &Wanted| kept.iter().all(|open| open.wanted != *wanted);
        let new: Vec<_> = wanted.iter().copied().filter(is_new).collect();
        let has_dns = kept.iter().any(|open| open.wanted.purpose == Purpose::Dns);
        let added = listeners::bind(&new, has_dns, &mut Inherited::default()).map_err(StartError::from)?;
        // In the order of the configuration: clients are told of the first.
        let addresses: Vec<_> =
            wanted.iter().filter_map(|wanted| address_of(*wanted, &kept, &added)).collect();
        refuse_own_address(&config, &addresses)?;
        let bound = derived::with_ports(&config, &addresses);
        let origins = derived::origins(&config, &addresses)?;
        let resolver = self.resolver.renewed(&self.bound, &bound, origins);
        let denied = DeniedKeys::differ(&self.config, &config).then(|| self.denied.renewed(&config));
        let removed = removed.into_iter().map(|open| open.wanted).collect();
        Ok(Prepared {
            config,
            bound,
            changes,
            tls,
            resolver,
            denied,
            encryption,
            bridge_certificates,
            added,
            removed,
        })
    }
}

fn address_of(wanted: Wanted, kept: &[Open], added: &[Listener]) -> Option<(Purpose, SocketAddr)> {
    let kept = kept.iter().map(|open| (open.wanted, open.address));
    let added = added.iter().map(|listener| (listener.wanted, listener.address));
    let (_, address) = kept.chain(added).find(|(other, _)| *other == wanted)?;
    Some((wanted.purpose, address))
}
