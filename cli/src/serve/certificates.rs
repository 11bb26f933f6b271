//! The certificates of identities, each kept by a task of its own.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use pkdns::{base::private_file, edge::certificates::acme::AcmeAuthority};
use pkdns_dht::signed_packet::PublicKey;
use tokio::{
    sync::{Semaphore, watch},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::config::{Certificate, Identity};
use crate::{
    certificate::{
        self, Doors, Event, Extras, Files, Issued, LETS_ENCRYPT, Records, Site, SiteNames, in_days,
    },
    failure::Failure,
    keeper::in_words,
    seed::FileName,
    terminal,
};

/// Orders at once. Each waits for others most of the time, and authorities want them one by one.
const ORDERS_AT_ONCE: usize = 8;

/// How long a task that is to end may take. It ends where it waits next.
const ENDING: Duration = Duration::from_secs(5);

/// Below the directory of the state.
const DIRECTORY: &str = "certificates";

/// By whom an authority is asked: the account is shared by all identities with the same.
type Account = (String, Option<String>, Option<PathBuf>);

/// What the certificates of all identities share.
pub(super) struct Certifier {
    /// Where they are kept unless an identity says otherwise, and the accounts in any case.
    directory: PathBuf,
    doors: Doors,
    permits: Arc<Semaphore>,
    authorities: Mutex<HashMap<Account, Arc<AcmeAuthority>>>,
}

impl Certifier {
    pub(super) fn new(state: &Path) -> Self {
        Self {
            directory: state.join(DIRECTORY),
            doors: Doors::default(),
            permits: Arc::new(Semaphore::new(ORDERS_AT_ONCE)),
            authorities: Mutex::default(),
        }
    }

    /// The site that `settings` are about. The records of its challenges go into `extras`.
    pub(super) fn site(
        &self,
        key: &PublicKey,
        settings: &Certificate,
        extras: &watch::Sender<Extras>,
    ) -> Result<Site, Failure> {
        let names = names(key, settings)?;
        let directory = directory(&self.directory, &names, settings);
        Ok(Site {
            files: Files::new(&directory),
            issued: Issued::default(),
            names,
            authority: self.authority(settings)?,
            challenge: settings.challenge(),
            listen: settings.listen.clone(),
            webroot: settings.webroot.clone(),
            reload: settings.reload.clone(),
            resolver: settings.resolver,
            name_servers: settings.name_servers.clone(),
            doors: self.doors.clone(),
            records: Records::Keeper(extras.clone()),
            permits: self.permits.clone(),
            stop: CancellationToken::new(),
        })
    }

    fn authority(&self, settings: &Certificate) -> Result<Arc<AcmeAuthority>, Failure> {
        let Certificate { authority, authority_ca, email, .. } = settings;
        let url = authority.clone().unwrap_or_else(|| LETS_ENCRYPT.to_string());
        let account = (url.clone(), email.clone(), authority_ca.clone());
        let mut authorities = self.authorities.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that a configuration named once are not kept for ever.
        authorities.retain(|_, authority| Arc::strong_count(authority) > 1);
        if let Some(authority) = authorities.get(&account) {
            return Ok(authority.clone());
        }
        let authority =
            certificate::authority(&url, email.as_deref(), authority_ca.as_deref(), &self.directory)?;
        Ok(authorities.entry(account).or_insert(Arc::new(authority)).clone())
    }
}

/// What is wrong with the certificate of an identity, that can be seen without asking anybody.
pub(super) fn check(key: &PublicKey, identity: &Identity, state: &Path) -> Result<(), String> {
    let Some(settings) = &identity.certificate else { return Ok(()) };
    let names = names(key, settings).map_err(|failure| failure.to_string())?;
    let directory = directory(&state.join(DIRECTORY), &names, settings);
    private_file::check_directory(&directory).map_err(|error| {
        let directory = FileName::of(&directory);
        format!("certificate.directory: {directory}: {error}; give it to this user, or choose another")
    })
}

fn names(key: &PublicKey, settings: &Certificate) -> Result<SiteNames, Failure> {
    SiteNames::new(key, &settings.origin, &settings.names, settings.wildcard)
        .map_err(|why| Failure::Failed(format!("certificate: {why}")))
}

fn directory(base: &Path, names: &SiteNames, settings: &Certificate) -> PathBuf {
    settings.directory.clone().unwrap_or_else(|| base.join(names.apex()))
}

/// Ends a task, and waits until it has.
pub(super) async fn end(task: AbortOnDropHandle<()>) {
    task.abort();
    // How it ended does not matter, and nobody waits for one that is stuck.
    let _ = timeout(ENDING, task).await;
}

/// Keeps the certificate of `site`, and says so under `name`.
pub(super) async fn keep(site: Site, name: String) {
    let note = |text: &str| terminal::note_about(&name, text);
    let keeping = site.keep(|event| {
        match event {
            Event::New(new) => {
                let until = httpdate::fmt_http_date(new.to);
                let names = new.names.join(", ");
                note(&format!("new certificate for {names}, valid until {until}"));
            }
            Event::Reloaded => note("the reload command has been run"),
            Event::Held(held, left) => {
                let names = held.names.join(", ");
                note(&format!("the certificate for {names} is renewed in {}", in_days(left)));
            }
            Event::Failed(failure, pause) => {
                note(&format!("error: {failure}; trying again in {}", in_words(pause)));
            }
        }
        Ok(())
    });
    // It goes on for as long as its identity does.
    let _ = keeping.await;
}
