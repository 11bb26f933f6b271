//! Names of the own network that this server itself knows: `[local]`. They come before all others but keys.

mod hosts_file;
mod records;

use std::{
    iter, mem,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use ahash::RandomState;
use futures_util::future::join_all;
use hickory_proto::{
    op::ResponseCode,
    rr::{Name, Record, RecordType},
};
use tracing::{info, warn};

use super::{Resolver, Step, chain::Chain, name::Suffixes, negative::soa, special::SpecialZone};
use crate::base::{
    config::{self, LOCAL_TTL, read_local_record},
    message::{Query, absolute_name},
    metrics::Source,
    revisions::{Revision, Revisions},
    watched_files,
};
use hosts_file::{Host, HostsFile};
use records::{Local, LocalRecords};

/// Names in a hosts file.
const MAX_RECORDS: usize = 65_536;

/// Bytes of a hosts file.
const MAX_HOSTS_FILE_SIZE: u64 = 4 << 20;

/// What is left out of a hosts file and told one by one.
const MAX_MISTAKES: usize = 8;

/// What is known here.
#[derive(Debug)]
pub(super) struct LocalNames {
    current: RwLock<Arc<LocalRecords>>,
    /// Of the configuration.
    records: Vec<Record>,
    zones: Vec<Name>,
    files: Vec<PathBuf>,
    /// What each of them said last.
    hosts: Mutex<Vec<Vec<Host>>>,
    /// As they were read first, until they are watched.
    first: Mutex<Vec<Result<Vec<u8>, String>>>,
    suffixes: Suffixes,
    revisions: Arc<Revisions>,
    hasher: RandomState,
}

impl LocalNames {
    /// Reads the hosts files, and says in the log what of them cannot be used. `None` where nothing is configured.
    pub(super) fn open(
        settings: &config::Local,
        suffixes: &Suffixes,
        revisions: &Arc<Revisions>,
    ) -> Option<Arc<Self>> {
        if settings.is_empty() {
            return None;
        }
        // The configuration has refused what is no record and what is a key's.
        let records = settings.records.iter().filter_map(|text| read_local_record(text).ok());
        let records: Vec<_> = records.filter(|record| !suffixes.reads_as_key(&record.name)).collect();
        let (mut first, mut hosts) = (Vec::new(), Vec::new());
        for path in &settings.hosts_file {
            let contents = read(path);
            let file = contents.clone().and_then(|bytes| parse(&bytes, suffixes)).unwrap_or_else(|error| {
                warn!("{error}; its names are not known until it can be read");
                HostsFile::default()
            });
            tell(path, &file);
            hosts.push(file.hosts);
            first.push(contents);
        }
        let mut zones: Vec<_> = settings.zone.iter().filter_map(|zone| absolute_name(zone)).collect();
        zones.sort_by_key(|zone| std::cmp::Reverse(zone.num_labels()));
        Some(Arc::new(Self {
            current: RwLock::new(Arc::new(LocalRecords::new(&records, hosts.iter().flatten()))),
            records,
            zones,
            files: settings.hosts_file.clone(),
            hosts: Mutex::new(hosts),
            first: Mutex::new(first),
            suffixes: suffixes.clone(),
            revisions: revisions.clone(),
            hasher: RandomState::new(),
        }))
    }

    /// Reads the hosts files again when they change, for ever.
    async fn watch(self: Arc<Self>) {
        let first = mem::take(&mut *self.first.lock().unwrap_or_else(PoisonError::into_inner));
        let watches = iter::zip(&self.files, first).enumerate().map(|(index, (path, first))| {
            let (names, read_path, taken) = (self.clone(), path.clone(), path.clone());
            let take = move |bytes: &Vec<u8>| {
                let file = parse(bytes, &names.suffixes).map_err(|error| named(&taken, &error))?;
                info!("new names from {}", taken.display());
                tell(&taken, &file);
                names.replace(index, file.hosts);
                Ok(())
            };
            let complain = |error: &str| warn!("{error}; its names stay as they were");
            watched_files::watch(first, move || read(&read_path), take, complain)
        });
        join_all(watches).await;
    }

    /// Takes what a file says now. Answers that were made from what it said before are out of date.
    fn replace(&self, index: usize, new: Vec<Host>) {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hosts) = hosts.get_mut(index) {
            *hosts = new;
        }
        let new = Arc::new(LocalRecords::new(&self.records, hosts.iter().flatten()));
        let old =
            mem::replace(&mut *self.current.write().unwrap_or_else(PoisonError::into_inner), new.clone());
        old.changes(&new).for_each(|name| self.revisions.advance(&self.mark(name)));
    }

    fn current(&self) -> Arc<LocalRecords> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The state of what is known of a name, if that can change. To be taken before the name is looked up.
    fn revision(&self, name: &Name) -> Option<Revision> {
        (!self.files.is_empty()).then(|| self.revisions.current(&self.mark(name)))
    }

    /// What stands for a name where a key stands for its packet.
    fn mark(&self, name: &Name) -> [u8; 32] {
        let mut mark = [0; 32];
        mark[..8].copy_from_slice(&self.hasher.hash_one(name).to_be_bytes());
        mark
    }

    /// The closest zone of ours that `name` is in.
    fn zone_of(&self, name: &Name) -> Option<&Name> {
        self.zones.iter().find(|zone| zone.zone_of(name))
    }
}

impl Resolver {
    /// Reads hosts files again when they change, for ever. Ends at once where there are none.
    pub async fn watch_hosts_files(self) {
        let local = self.0.local.clone();
        // The rest of this resolver may be replaced meanwhile.
        drop(self);
        if let Some(local) = local {
            local.watch().await;
        }
    }

    /// Answers from what is known here. A name that is known here is not asked of others for other types, which would tell
    /// them of it; what is not known is, unless its zone is ours alone.
    pub(super) fn step_local(&self, name: &Name, record_type: RecordType, chain: &mut Chain) -> Option<Step> {
        let local = self.0.local.as_ref().filter(|_| !self.is_key_name(name))?;
        if SpecialZone::is_for_parent(name, record_type) {
            return None;
        }
        chain.revisions.extend(local.revision(name));
        let known = local.current();
        match known.look_up(name, record_type) {
            Some(Local::Records(records)) => chain.append(ResponseCode::NoError, records, Vec::new()),
            Some(Local::Alias(record, target)) => {
                chain.source = Source::Local;
                chain.link(*record);
                return Some(Step::Follow(target));
            }
            Some(Local::NoData) => chain.negative(false, soa(name, 1, LOCAL_TTL)),
            None => {
                // Whether it is signed is for its parent to say.
                let is_parents = |zone: &Name| record_type == RecordType::DS && zone == name;
                let is_ours = |zone: &&Name| !self.0.forwarder.has_zone_of(name) && !is_parents(zone);
                let zone = local.zone_of(name).filter(is_ours)?;
                let soa = soa(zone, 1, LOCAL_TTL);
                match record_type == RecordType::SOA && zone == name {
                    true => chain.append(ResponseCode::NoError, vec![soa], Vec::new()),
                    false => chain.negative(zone != name && !known.is_above(name), soa),
                }
            }
        }
        chain.source = Source::Local;
        Some(Step::Done)
    }

    /// Whether a name has names below it that are known here.
    pub(super) fn is_above_local(&self, name: &Name) -> bool {
        self.0.local.as_ref().is_some_and(|local| local.current().is_above(name))
    }

    /// Whether an alias of an upstream leads to a name that is known here.
    pub(super) fn is_local_name(&self, name: &Name) -> bool {
        self.0.local.as_ref().is_some_and(|local| local.current().has(name))
    }

    /// A name that local ones are below exists, whoever denied it: else all below were denied for whoever asks us (RFC
    /// 8020). A denial with signatures stays as it is, which would not go with another answer.
    pub(super) fn keep_above_local(&self, name: &Name, query: &Query, chain: &mut Chain) {
        let is_signed = chain.by_upstream && query.dnssec_ok();
        if chain.answer.code == ResponseCode::NXDomain && !is_signed && self.is_above_local(name) {
            chain.answer.code = ResponseCode::NoError;
            chain.answer.authentic = false;
        }
    }
}

/// What of the hosts files of a configuration cannot be used, a line each.
pub fn check_hosts_files(config: &config::Config) -> Vec<String> {
    let suffixes = Suffixes::new(config.names.suffixes.iter().map(String::as_str));
    let mistakes = config.local.hosts_file.iter().flat_map(|path| {
        let read = read(path).and_then(|bytes| parse(&bytes, &suffixes).map_err(|error| named(path, &error)));
        read.map_or_else(|error| vec![error], |file| mistakes(path, &file))
    });
    mistakes.map(|mistake| format!("local.hosts_file: {mistake}")).collect()
}

/// Blocks.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    watched_files::read(path, MAX_HOSTS_FILE_SIZE).map_err(|error| named(path, &error.to_string()))
}

fn parse(bytes: &[u8], suffixes: &Suffixes) -> Result<HostsFile, String> {
    hosts_file::read(bytes, |name| suffixes.reads_as_key(name))
}

fn named(path: &Path, error: &str) -> String {
    format!("{}: {error}", path.display())
}

fn tell(path: &Path, file: &HostsFile) {
    mistakes(path, file).iter().for_each(|mistake| warn!("{mistake}"));
}

/// What was left out of a file, the first of it one by one.
fn mistakes(path: &Path, file: &HostsFile) -> Vec<String> {
    let told = file.mistakes.iter().take(MAX_MISTAKES);
    let mut told: Vec<_> = told.map(|mistake| format!("{}:{mistake}", path.display())).collect();
    let untold = file.mistakes.len() - told.len();
    if untold > 0 {
        told.push(named(path, &format!("{untold} more of this kind")));
    }
    told
}
