//! Keys that are not answered for: lists from files and from other servers.

mod copy;
#[cfg(feature = "tls")]
mod fetch;
#[cfg(feature = "tls")]
mod fetching;
mod file;
mod keys;
mod reader;
#[cfg(test)]
mod tests;
mod watch;

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use pkdns_dht::signed_packet::PublicKey;
use tracing::warn;

use crate::base::{
    config::{Config, DenyList},
    metrics::DeniedLookups,
    revisions::{Revision, Revisions},
};
use copy::Validators;
use keys::{Entry, KeySet, entry_of};

/// Why a key is not answered for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// By the operator's own decision.
    Blocked,
    /// Because somebody else demands it.
    Censored,
    /// Because the clients asked for it.
    Filtered,
}

/// What the lists say of a key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it is denied, and why.
    pub denial: Option<Denial>,
    /// The state of the lists, for answers that are made from this. `None` where there are no lists.
    pub revision: Option<Revision>,
}

/// The lists of a server, which a reload replaces. Cheap to clone; clones are the same.
#[derive(Clone)]
pub struct DeniedKeys(Arc<Inner>);

struct Inner {
    lists: ArcSwap<Lists>,
    revisions: Arc<Revisions>,
    lookups: DeniedLookups,
}

/// The lists of one configuration.
#[derive(Debug, Default)]
pub struct Lists {
    lists: Vec<Arc<List>>,
    /// Between two looks at those on other servers.
    refresh: Duration,
    /// Where copies of these are kept.
    directory: Option<PathBuf>,
}

/// One list.
#[derive(Debug)]
struct List {
    name: DenyList,
    denial: Denial,
    keys: ArcSwap<KeySet>,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Default)]
struct State {
    /// What a file holds that was read.
    contents: Option<file::Contents>,
    /// Of a list on another server.
    validators: Validators,
    /// When it was last read, or known to be as it was read.
    heard: Option<SystemTime>,
    /// Why it could not be the last time.
    fault: Option<String>,
}

/// A list as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListReading {
    /// Its file or address.
    pub name: String,
    /// The reason that is given for it.
    pub reason: &'static str,
    /// Keys on it.
    pub keys: usize,
    /// Since it was last read, or known to be as it was read.
    pub age: Option<Duration>,
    /// Why it could not be the last time.
    pub fault: Option<String>,
}

impl Denial {
    /// The word for it, as in the configuration and in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::Censored => "censored",
            Self::Filtered => "filtered",
        }
    }

    /// The reason, for whoever asked.
    pub fn text(self) -> &'static str {
        match self {
            Self::Blocked => "the operator of this server denies this key",
            Self::Censored => "this key is denied here because others demand it",
            Self::Filtered => "this key is denied here as clients have asked",
        }
    }
}

impl DeniedKeys {
    /// The lists of `config`, with what of them can be read. Answers that a change puts out of date are noted in `revisions`.
    pub fn open(config: &Config, revisions: &Arc<Revisions>, lookups: &DeniedLookups) -> Self {
        let lists = ArcSwap::from_pointee(Lists::open(config, None));
        Self(Arc::new(Inner { lists, revisions: revisions.clone(), lookups: lookups.clone() }))
    }

    /// Whether the lists have to be made anew, and watched by another way.
    pub fn differ(old: &Config, new: &Config) -> bool {
        old.denied_keys != new.denied_keys || old.fallback_ca_path != new.fallback_ca_path
    }

    /// Whether a key is denied, to be asked before anything is looked up for it. One hash and a search in each list.
    pub fn judge(&self, key: &PublicKey) -> Verdict {
        let lists = self.0.lists.load();
        if lists.lists.is_empty() {
            return Verdict::default();
        }
        let entry = entry_of(key);
        // Before the lists are looked at: what changes meanwhile is seen, or puts the answer out of date.
        let revision = Some(self.0.revisions.current(&mark(&entry)));
        let denying = lists.lists.iter().find(|list| list.keys.load().contains(&entry));
        Verdict { denial: denying.map(|list| list.denial), revision }
    }

    /// Whether a key is denied, and why.
    pub fn of(&self, key: &PublicKey) -> Option<Denial> {
        self.judge(key).denial
    }

    /// As [`DeniedKeys::judge`], for a question, and counts.
    pub fn judge_question(&self, key: &PublicKey) -> Verdict {
        let verdict = self.judge(key);
        if let Some(denial) = verdict.denial {
            let lookups = &self.0.lookups;
            let counter = match denial {
                Denial::Blocked => &lookups.blocked,
                Denial::Censored => &lookups.censored,
                Denial::Filtered => &lookups.filtered,
            };
            counter.inc();
        }
        verdict
    }

    /// The lists of `config`, which may be another one. Blocks, and changes nothing: [`DeniedKeys::replace`] does.
    pub fn renewed(&self, config: &Config) -> Lists {
        Lists::open(config, Some(&self.0.lists.load()))
    }

    /// Goes by these lists from now on. [`DeniedKeys::watch`] has to be called anew. Answers that were made before are not
    /// known to be out of date.
    pub fn replace(&self, lists: Lists) {
        self.0.lists.store(Arc::new(lists));
    }

    /// How the lists do.
    pub fn readings(&self) -> Vec<ListReading> {
        let now = SystemTime::now();
        let reading = |list: &Arc<List>| {
            let state = list.state().clone();
            ListReading {
                name: list.name.to_string(),
                reason: list.denial.label(),
                keys: list.keys.load().len(),
                age: state.heard.map(|at| now.duration_since(at).unwrap_or_default()),
                fault: state.fault,
            }
        };
        self.0.lists.load().lists.iter().map(reading).collect()
    }

    /// Keys on all lists; those on several count for each.
    pub fn len(&self) -> usize {
        self.0.lists.load().lists.iter().map(|list| list.keys.load().len()).sum()
    }

    /// Whether no key is denied.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts `keys` in the place of what a list said. Answers that were made from that are out of date.
    fn install(&self, list: &List, keys: KeySet) {
        let keys = Arc::new(keys);
        let old = list.keys.swap(keys.clone());
        old.changes(&keys).for_each(|entry| self.0.revisions.advance(&mark(entry)));
    }
}

impl fmt::Debug for DeniedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeniedKeys").field("keys", &self.len()).finish_non_exhaustive()
    }
}

impl Lists {
    /// Reads files, and what came last from other servers. Says in the log what cannot be read. Lists that `before` has stay
    /// as they were where they cannot be.
    fn open(config: &Config, before: Option<&Self>) -> Self {
        let settings = &config.denied_keys;
        let directory = config.cache.directory().map(PathBuf::from);
        let named = [
            (Denial::Blocked, &settings.blocked),
            (Denial::Censored, &settings.censored),
            (Denial::Filtered, &settings.filtered),
        ];
        let open = |denial, name: &DenyList| {
            let known = before.into_iter().flat_map(|before| &before.lists).find(|list| list.name == *name);
            Arc::new(List::open(name, denial, known.map(Arc::as_ref), directory.as_deref()))
        };
        let lists = named.iter().flat_map(|(denial, names)| names.iter().map(|name| open(*denial, name)));
        Self { lists: lists.collect(), refresh: Duration::from_secs(settings.refresh_seconds), directory }
    }
}

impl List {
    fn open(
        name: &DenyList,
        denial: Denial,
        before: Option<&Self>,
        directory: Option<&std::path::Path>,
    ) -> Self {
        // First what is known of the keys: with that of newer ones, the older ones would be taken for these.
        let mut state = before.map(|before| before.state().clone()).unwrap_or_default();
        let mut keys = before.map(|before| before.keys.load_full()).unwrap_or_default();
        match name {
            DenyList::File(path) => match file::read(path) {
                Ok((list, contents)) => {
                    list.mistakes.iter().for_each(|mistake| warn!("{name}: {mistake}"));
                    keys = Arc::new(list.keys);
                    state = State {
                        contents: Some(contents),
                        heard: Some(SystemTime::now()),
                        ..State::default()
                    };
                }
                Err(error) => {
                    let instead = if before.is_some() { "its last version" } else { "none of its keys" };
                    warn!("{name}: {error}; {instead} is denied until it can be read");
                    state = State { contents: None, fault: Some(error), ..state };
                }
            },
            DenyList::Url(url) if before.is_none() => {
                match directory.map(|directory| copy::read(directory, url)) {
                    Some(Ok(Some(copy))) => {
                        keys = Arc::new(copy.keys);
                        state.validators = copy.validators;
                        state.heard = Some(copy.fetched);
                    }
                    Some(Err(error)) => warn!("{name}: the copy of its last version cannot be read: {error}"),
                    Some(Ok(None)) | None => {}
                }
            }
            DenyList::Url(_) => {}
        }
        Self { name: name.clone(), denial, keys: ArcSwap::new(keys), state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What of the lists on this machine cannot be used, a line each.
pub fn check_lists(config: &Config) -> Vec<String> {
    let faults = config.denied_keys.all().flat_map(|(option, list)| {
        let told = match list {
            DenyList::File(path) => {
                file::read(path).map_or_else(|error| vec![error], |(list, _)| list.mistakes)
            }
            DenyList::Url(_) => Vec::new(),
        };
        told.into_iter().map(move |fault| format!("{option}: {list}: {fault}"))
    });
    faults.collect()
}

/// What stands for an entry where a key stands for its packet.
fn mark(entry: &Entry) -> [u8; 32] {
    let mut mark = [0; 32];
    for (to, from) in mark.iter_mut().zip(entry) {
        *to = *from;
    }
    mark
}
