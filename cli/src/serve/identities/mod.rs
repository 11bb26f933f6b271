//! The identities that are kept, each by a task of its own.

mod check;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    sync::Arc,
};

use pkdns::{config::RelayUrl, program::service_manager};
use tokio::{
    sync::{Semaphore, watch},
    task::spawn_blocking,
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    certificates::{self, Certifier},
    config::{AddressSource, Certificate, Config, Detection, Identity},
    dyndns::{Account, Accounts},
    sites::Sites,
    status::Board,
};
use crate::{
    certificate::{Extras, Site},
    external_address::{Detector, Finder, Want},
    failure::Failure,
    keeper::{self, Event, Keeper, LeftOut, StateDirectory, in_words},
    network::Network,
    secret_key::SecretKey,
    seed,
    sources::Sources,
    terminal,
    zone_file::{ExternalAddresses, ZoneRecord},
    zone_source::ZoneSource,
};
pub(super) use check::check;

/// Publications at once: a thousand keys are stored within a minute, and a home router is not flooded.
const AT_ONCE: usize = 48;

/// All that is kept.
pub(super) struct Identities {
    network: Network,
    state: StateDirectory,
    accounts: Accounts,
    certifier: Certifier,
    sites: Sites,
    permits: Arc<Semaphore>,
    want: Want,
    detection: Option<Detecting>,
    /// By key in z-base-32.
    kept: HashMap<String, Kept>,
    progress: watch::Sender<Progress>,
    board: Board,
}

/// What an identity is, as far as the configuration says so, but for its certificate and its site.
#[derive(PartialEq, Eq)]
struct Definition {
    identity: Identity,
    relays: Vec<RelayUrl>,
    /// What its packet says about its site.
    site: Vec<ZoneRecord>,
}

struct Kept {
    definition: Definition,
    account: Option<Account>,
    /// The same for as long as the key is kept, so that an order goes on whatever else changes.
    extras: watch::Sender<Extras>,
    /// Ends with this.
    task: AbortOnDropHandle<Result<(), Failure>>,
    certificate: Option<Certified>,
}

/// The certificate of an identity, which is kept by itself.
struct Certified {
    settings: Certificate,
    task: AbortOnDropHandle<()>,
}

/// What can be started without anything that may fail.
struct Prepared {
    key: String,
    definition: Definition,
    account: Option<Account>,
    extras: watch::Sender<Extras>,
    keeper: Keeper<Sources>,
}

struct Detecting {
    settings: Detection,
    addresses: watch::Receiver<ExternalAddresses>,
    _task: AbortOnDropHandle<()>,
}

/// Which have been published since they were started, by key in z-base-32.
#[derive(Debug, Default)]
struct Progress {
    published: HashSet<String>,
    of: usize,
}

impl Progress {
    fn status(&self) -> String {
        format!("{} of {} zones published", self.published.len(), self.of)
    }
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
            certifier: Certifier::new(state.path()),
            board: Board::open(state.path()),
            state,
            accounts,
            sites: Sites::new(),
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
    /// When a seed or the state cannot be read, or nothing can listen for a site; then everything stays as it was.
    pub(super) async fn take(&mut self, config: &Config) -> Result<(), Failure> {
        let identities = config.identities.clone();
        // Each passphrase takes half a second, in which others are not to wait.
        let reading = spawn_blocking(move || check::read(&identities).map(|keys| (keys, identities)));
        let failed = |error| Failure::Failed(format!("cannot read the seeds: {error}"));
        let (own_keys, mut identities) = reading.await.map_err(failed)??;
        let wanted: Vec<_> =
            own_keys.iter().zip(&mut identities).map(|(keys, identity)| keys.site(identity)).collect();
        let listeners = self.sites.bind(wanted.iter().flatten())?;
        let detection = self.detection_of(config)?;
        let is_new = detection.is_some();
        let detected =
            detection.as_ref().or(self.detection.as_ref()).map(|detecting| detecting.addresses.clone());
        let mut sources = Vec::new();
        let (mut fresh, mut sites) = (Vec::new(), Vec::new());
        let (mut keys, mut named) = (HashSet::new(), Vec::new());
        for ((own_keys, identity), wanted) in own_keys.into_iter().zip(identities).zip(&wanted) {
            let (secret_key, address) = (own_keys.secret_key, identity.address);
            let relays = identity.relays.clone().unwrap_or_else(|| config.relays.clone());
            let site = wanted.as_ref().map(|wanted| wanted.records(self.sites.port(wanted, &listeners)));
            let mut definition = Definition { identity, relays, site: site.transpose()?.unwrap_or_default() };
            let certificate = definition.identity.certificate.take();
            let key = secret_key.public_key().to_z32();
            let seed_name = name(&definition.identity.seed, &key);
            let extras = self.kept.get(&key).map(|kept| kept.extras.clone()).unwrap_or_default();
            if !self.kept.get(&key).is_some_and(|kept| kept.is_certified_as(certificate.as_ref())) {
                let site = certificate
                    .as_ref()
                    .map(|settings| self.certifier.site(&secret_key.public_key(), settings, &extras));
                sites.push((key.clone(), certificate.zip(site.transpose()?)));
            }
            let is_undisturbed = address != AddressSource::Detect || !is_new;
            let goes_on =
                |kept: &Kept| is_undisturbed && kept.definition == definition && !kept.task.is_finished();
            if !self.kept.get(&key).is_some_and(goes_on) {
                let sources = self.sources(&definition.relays, &mut sources)?;
                fresh.push(self.prepare(&key, secret_key, definition, sources, extras, detected.clone())?);
            }
            named.push((key.clone(), seed_name));
            keys.insert(key);
        }
        if is_new {
            self.detection = detection;
        } else if config.identities.iter().all(|identity| identity.address != AddressSource::Detect) {
            // Nobody is asked for addresses that nobody wants.
            self.detection = None;
        }
        self.sites.set_bridges(config.bridges.clone());
        self.sites.take(wanted.iter().flatten(), listeners);
        self.kept.retain(|key, _| keys.contains(key));
        self.progress.send_modify(|progress| {
            let begins_anew = |key: &String| fresh.iter().any(|fresh| fresh.key == *key);
            progress.published.retain(|key| keys.contains(key) && !begins_anew(key));
            progress.of = keys.len();
        });
        self.board.keep(named, &fresh.iter().map(|fresh| fresh.key.as_str()).collect());
        for Prepared { key, definition, account, extras, keeper } in fresh {
            // The one before it ends first. An order that it had goes on.
            let certificate = self.kept.remove(&key).and_then(|kept| kept.certificate);
            let task = self.start(&key, &name(&definition.identity.seed, &key), keeper);
            self.kept.insert(key, Kept { definition, account, extras, task, certificate });
        }
        for (key, certificate) in sites {
            if let Some(kept) = self.kept.get_mut(&key) {
                kept.certify(&key, certificate).await;
            }
        }
        let accounts = self.kept.iter().filter_map(|(key, kept)| Some((key.clone(), kept.account.clone()?)));
        *self.accounts.write().await = accounts.collect();
        Ok(())
    }

    /// Where what happens to each of them is noted.
    pub(super) fn board(&self) -> Board {
        self.board.clone()
    }

    /// How far it has come, for people.
    pub(super) fn status(&self) -> String {
        self.progress.borrow().status()
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
        let task = AbortOnDropHandle::new(tokio::spawn(detector.run()));
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
        extras: watch::Sender<Extras>,
        detected: Option<watch::Receiver<ExternalAddresses>>,
    ) -> Result<Prepared, Failure> {
        let Identity { interval, force, ref user, ref password, address, ipv6_host, .. } =
            definition.identity;
        let timestamp = self.state.timestamp(&secret_key.public_key())?;
        let file = self.state.addresses(&secret_key.public_key());
        let (account, addresses) = match (address, user, password) {
            (AddressSource::Dyndns, Some(user), Some(password)) => {
                // One that is told already goes on to be told through the same channel: an address may be on its way to
                // the disk, and would be missed by who reads that now.
                let told = self.kept.get(key).and_then(|kept| kept.account.as_ref());
                let addresses = match told {
                    Some(account) => account.addresses.clone(),
                    None => watch::Sender::new(file.load()?),
                };
                let receiver = addresses.subscribe();
                let (user, password) = (user.clone(), password.clone());
                let account = Account { user, password, ipv6_host, file, addresses };
                (Some(account), receiver)
            }
            (AddressSource::Detect, ..) => (None, detected.unwrap_or_else(no_addresses)),
            _ => (None, no_addresses()),
        };
        let zone = source(&definition.identity);
        let identity = keeper::Identity { secret_key, zone, interval, force };
        let keeper =
            Keeper::new(identity, sources, addresses, timestamp, self.permits.clone(), self.want.clone());
        let keeper = keeper.with_extras(extras.subscribe()).with_site(definition.site.clone());
        let keeper = if account.is_some() { keeper.taking_parts() } else { keeper };
        Ok(Prepared { key: key.to_string(), definition, account, extras, keeper })
    }

    fn start(
        &self,
        key: &str,
        name: &str,
        keeper: Keeper<Sources>,
    ) -> AbortOnDropHandle<Result<(), Failure>> {
        let name = name.to_owned();
        let (progress, board, key) = (self.progress.clone(), self.board.clone(), key.to_string());
        let keeping = keeper.run(move |event| {
            board.note(&key, &event);
            let note = |text: &str| terminal::note_about(&name, text);
            match event {
                Event::Published(published, pause) => {
                    note(&format!("stored {}; again in {}", published.places(), in_words(pause)));
                    if progress.send_if_modified(|progress| progress.published.insert(key.clone())) {
                        service_manager::status(&progress.borrow().status());
                    }
                }
                Event::Failed(failure, pause) => {
                    note(&format!("error: {failure}; trying again in {}", in_words(pause)));
                }
                // What is published next says so.
                Event::Waiting([], _) => {}
                Event::Waiting(lacking, is_rest_published) => {
                    note(&keeper::in_wait(lacking, is_rest_published));
                }
                Event::Contradicted(mistakes) => {
                    for mistake in mistakes {
                        note(&format!("warning: {mistake}"));
                    }
                }
                Event::Crowded(LeftOut::Extras, failure) => note(&format!(
                    "error: the challenge for the certificate is left out of the packet: {failure}"
                )),
                Event::Crowded(LeftOut::Names, failure) => note(&format!(
                    "warning: only the key itself is found over https, as the records of its other names are left out \
                     of the packet: {failure}"
                )),
                Event::Crowded(LeftOut::Site, failure) => note(&format!(
                    "error: the records of its site are left out of the packet, so that nobody finds it over https: \
                     {failure}"
                )),
                Event::Unreadable(failure, is_kept) => {
                    let rest = keeper::what_is_kept(is_kept);
                    note(&format!("error: {failure}; {rest}"));
                }
                Event::Readable => note("the zone can be read again"),
            }
            Ok(())
        });
        AbortOnDropHandle::new(tokio::spawn(keeping))
    }
}

impl Kept {
    /// Whether its certificate is kept as the settings say.
    fn is_certified_as(&self, settings: Option<&Certificate>) -> bool {
        match (&self.certificate, settings) {
            (Some(certified), Some(settings)) => {
                certified.settings == *settings && !certified.task.is_finished()
            }
            (ours, settings) => ours.is_none() && settings.is_none(),
        }
    }

    /// Keeps another certificate from now on, or none.
    async fn certify(&mut self, key: &str, certificate: Option<(Certificate, Site)>) {
        // An order that ends here has nobody who takes out what it has shown. It shows no more once it has ended.
        if let Some(certified) = self.certificate.take() {
            certificates::end(certified.task).await;
        }
        self.extras.send_if_modified(|extras| !std::mem::take(extras).is_empty());
        self.certificate = certificate.map(|(settings, site)| {
            let keeping = certificates::keep(site, name(&self.definition.identity.seed, key));
            let task = AbortOnDropHandle::new(tokio::spawn(keeping));
            Certified { settings, task }
        });
    }
}

/// What people call an identity, and the beginning of its key, as everywhere in the log.
fn name(seed: &Path, key: &str) -> String {
    let file = seed.file_name().map_or(seed, Path::new);
    let file = terminal::printable(&seed::FileName::of(file).to_string());
    format!("{} {}", file.trim_matches('"'), key.get(..8).unwrap_or(key))
}

/// The beginning of a key, as everywhere in the log.
pub(super) fn short(key: &str) -> String {
    key.get(..8).unwrap_or(key).to_string()
}

fn no_addresses() -> watch::Receiver<ExternalAddresses> {
    watch::channel(ExternalAddresses::default()).1
}
