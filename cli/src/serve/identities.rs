//! The identities that are kept, each by a task of its own.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use pkdns::config::RelayUrl;
use tokio::{
    sync::{Semaphore, watch},
    task::AbortHandle,
};

use super::{
    config::{AddressSource, Config, Detection, Identity},
    dyndns::{Account, Accounts},
};
use crate::{
    external_address::{Detector, Finder, Want},
    failure::Failure,
    keeper::{self, Event, Keeper, StateDirectory, in_words},
    network::Network,
    secret_key::SecretKey,
    seed, service,
    sources::Sources,
    terminal,
    zone_file::ExternalAddresses,
    zone_source::{Zone, ZoneSource},
};

/// Publications at once: a thousand keys are stored within a minute, and a home router is not flooded.
const AT_ONCE: usize = 48;

/// All that is kept.
pub(super) struct Identities {
    network: Network,
    state: StateDirectory,
    accounts: Accounts,
    permits: Arc<Semaphore>,
    want: Want,
    detection: Option<Detecting>,
    /// By key in z-base-32.
    kept: HashMap<String, Kept>,
    progress: watch::Sender<Progress>,
}

/// What an identity is, as far as the configuration says so.
#[derive(PartialEq, Eq)]
struct Definition {
    identity: Identity,
    relays: Vec<RelayUrl>,
}

struct Kept {
    definition: Definition,
    account: Option<Account>,
    task: Running,
}

/// What can be started without anything that may fail.
struct Prepared {
    key: String,
    definition: Definition,
    account: Option<Account>,
    keeper: Keeper,
}

struct Detecting {
    settings: Detection,
    addresses: watch::Receiver<ExternalAddresses>,
    _task: Running,
}

/// A task that ends with its owner.
struct Running(AbortHandle);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How many have been published since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Progress {
    published: usize,
    of: usize,
}

/// Reads every seed and every zone. Returns how many there are.
pub(super) fn check(config: &Config) -> Result<usize, Failure> {
    let mistakes: Vec<String> = secret_keys(config)?
        .iter()
        .zip(&config.identities)
        .filter_map(|(secret_key, identity)| {
            let zone = source(identity).read(&secret_key.public_key());
            // An address is not known yet, so any stands in for it.
            let addresses = ExternalAddresses { ipv4: Some([192, 0, 2, 1].into()), ipv6: Some(1.into()) };
            zone.and_then(|zone: Zone| zone.compose(&addresses)).err().map(|failure| failure.to_string())
        })
        .collect();
    if mistakes.is_empty() { Ok(config.identities.len()) } else { Err(Failure::Failed(mistakes.join("\n"))) }
}

/// The keys of all identities, in their order.
fn secret_keys(config: &Config) -> Result<Vec<SecretKey>, Failure> {
    let mut known = HashMap::new();
    let secret_keys = config.identities.iter().map(|identity| {
        let secret_key = seed::secret_key_unattended(&identity.seed, identity.passphrase_file.as_deref())?;
        let seed = seed::FileName::of(&identity.seed);
        match known.insert(secret_key.public_key().to_z32(), seed.to_string()) {
            None => Ok(secret_key),
            Some(other) => {
                Err(Failure::Failed(format!("{seed} and {other} hold the same key; name it once")))
            }
        }
    });
    secret_keys.collect()
}

fn source(identity: &Identity) -> ZoneSource {
    match (&identity.zone_file, &identity.records) {
        (Some(path), _) => ZoneSource::File(path.clone()),
        (None, records) => ZoneSource::Text(records.clone().unwrap_or_default().into_bytes()),
    }
}

impl Identities {
    pub(super) fn new(network: Network, state: StateDirectory, accounts: Accounts) -> Self {
        Self {
            network,
            state,
            accounts,
            permits: Arc::new(Semaphore::new(AT_ONCE)),
            want: Want::default(),
            detection: None,
            kept: HashMap::new(),
            progress: watch::Sender::default(),
        }
    }

    /// Keeps what `config` names and nothing else. What is kept already and has not changed goes on undisturbed.
    ///
    /// # Errors
    ///
    /// When a seed or the state cannot be read; then everything stays as it was.
    pub(super) async fn take(&mut self, config: &Config) -> Result<(), Failure> {
        let secret_keys = secret_keys(config)?;
        let detection = self.detection_of(config)?;
        let is_new = detection.is_some();
        let detected =
            detection.as_ref().or(self.detection.as_ref()).map(|detecting| detecting.addresses.clone());
        let mut sources = Vec::new();
        let mut fresh = Vec::new();
        let mut keys = HashSet::new();
        for (secret_key, identity) in secret_keys.into_iter().zip(&config.identities) {
            let relays = identity.relays.clone().unwrap_or_else(|| config.relays.clone());
            let definition = Definition { identity: identity.clone(), relays };
            let key = secret_key.public_key().to_z32();
            let is_undisturbed = identity.address != AddressSource::Detect || !is_new;
            let goes_on =
                |kept: &Kept| is_undisturbed && kept.definition == definition && !kept.task.0.is_finished();
            if !self.kept.get(&key).is_some_and(goes_on) {
                let sources = self.sources(&definition.relays, &mut sources)?;
                fresh.push(self.prepare(&key, secret_key, definition, sources, detected.clone())?);
            }
            keys.insert(key);
        }
        if is_new {
            self.detection = detection;
        }
        self.kept.retain(|key, _| keys.contains(key));
        self.progress.send_modify(|progress| progress.of = keys.len());
        for Prepared { key, definition, account, keeper } in fresh {
            // The one before it ends first.
            self.kept.remove(&key);
            let task = Running(self.start(&key, keeper));
            self.kept.insert(key, Kept { definition, account, task });
        }
        let accounts = self.kept.iter().filter_map(|(key, kept)| Some((key.clone(), kept.account.clone()?)));
        *self.accounts.write().await = accounts.collect();
        Ok(())
    }

    /// What looks for the addresses of this machine, if that is to begin, or to be done in another way.
    fn detection_of(&self, config: &Config) -> Result<Option<Detecting>, Failure> {
        let is_wanted = config.identities.iter().any(|identity| identity.address == AddressSource::Detect);
        let is_same = self.detection.as_ref().is_some_and(|detecting| detecting.settings == config.detection);
        if !is_wanted || is_same {
            return Ok(None);
        }
        let Detection { services, ipv6_from_interface, allow_private } = config.detection.clone();
        let finder = Finder::new(Some(services), ipv6_from_interface, allow_private)?;
        let (detector, addresses) = Detector::new(finder, &self.want);
        let task = Running(tokio::spawn(detector.run()).abort_handle());
        Ok(Some(Detecting { settings: config.detection.clone(), addresses, _task: task }))
    }

    /// Shared by all that use the same relays.
    fn sources(
        &self,
        relays: &[RelayUrl],
        known: &mut Vec<(Vec<RelayUrl>, Arc<Sources>)>,
    ) -> Result<Arc<Sources>, Failure> {
        if let Some((_, sources)) = known.iter().find(|(urls, _)| urls == relays) {
            return Ok(sources.clone());
        }
        let sources = Arc::new(self.network.sources(relays)?);
        known.push((relays.to_vec(), sources.clone()));
        Ok(sources)
    }

    fn prepare(
        &self,
        key: &str,
        secret_key: SecretKey,
        definition: Definition,
        sources: Arc<Sources>,
        detected: Option<watch::Receiver<ExternalAddresses>>,
    ) -> Result<Prepared, Failure> {
        let Identity { interval, force, ref user, ref password, address, .. } = definition.identity;
        let timestamp = self.state.timestamp(&secret_key.public_key())?;
        let file = self.state.addresses(&secret_key.public_key());
        let (account, addresses) = match (address, user, password) {
            (AddressSource::Dyndns, Some(user), Some(password)) => {
                let (addresses, receiver) = watch::channel(file.load()?);
                let account = Account { user: user.clone(), password: password.clone(), file, addresses };
                (Some(account), receiver)
            }
            (AddressSource::Detect, ..) => (None, detected.unwrap_or_else(no_addresses)),
            _ => (None, no_addresses()),
        };
        let zone = source(&definition.identity);
        let identity = keeper::Identity { secret_key, zone, interval, force };
        let keeper =
            Keeper::new(identity, sources, addresses, timestamp, self.permits.clone(), self.want.clone());
        Ok(Prepared { key: key.to_string(), definition, account, keeper })
    }

    fn start(&self, key: &str, keeper: Keeper) -> AbortHandle {
        let name = key.get(..8).unwrap_or(key).to_string();
        let progress = self.progress.clone();
        let mut is_published = false;
        let keeping = keeper.run(move |event| {
            match event {
                Event::Published(published, pause) => {
                    terminal::note(&format!(
                        "{name}: stored {}; again in {}",
                        published.places(),
                        in_words(pause)
                    ));
                    if !std::mem::replace(&mut is_published, true) {
                        progress.send_modify(|progress| progress.published += 1);
                        let Progress { published, of } = *progress.borrow();
                        service::status(&format!("{published} of {of} zones published"));
                    }
                }
                Event::Failed(failure, pause) => {
                    terminal::note(&format!("{name}: error: {failure}; trying again in {}", in_words(pause)));
                }
                Event::Waiting => terminal::note(&format!("{name}: waiting for an address")),
                Event::Unreadable(failure) => {
                    terminal::note(&format!(
                        "{name}: error: {failure}; what was published before is kept alive"
                    ));
                }
            }
            Ok(())
        });
        tokio::spawn(keeping).abort_handle()
    }
}

fn no_addresses() -> watch::Receiver<ExternalAddresses> {
    watch::channel(ExternalAddresses::default()).1
}
