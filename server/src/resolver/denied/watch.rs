//! Lists that change while the server runs.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use futures_util::future::join_all;
use tokio::{task::spawn_blocking, time::sleep};
use tracing::{debug, info, warn};

use super::{
    DeniedKeys, List, Lists, State,
    copy::{self, Kept},
    fetch::{FetchError, Fetched, Fetcher, Validators, pause},
    file::{self, LastLook},
    reader::{NoList, Reader},
};
use crate::{
    base::{
        config::{DenyList, ListUrl},
        watched_files,
    },
    sources::connector::Connector,
};

impl DeniedKeys {
    /// Reads files again when they change, and fetches lists from other servers over `connector`, for ever. Ends at once
    /// where there are no lists.
    pub async fn watch(self, connector: Connector) {
        let lists = self.0.lists.load_full();
        if lists.lists.is_empty() {
            return;
        }
        let tidied = lists.clone();
        // What is left over does no harm.
        let _ = spawn_blocking(move || tidied.remove_other_copies()).await;
        let fetcher = Fetcher::new(connector);
        let watches = lists.lists.iter().map(async |list| match &list.name {
            DenyList::File(path) => self.watch_file(list, path.clone()).await,
            DenyList::Url(url) => self.keep_fetching(&lists, list, url, &fetcher).await,
        });
        join_all(watches).await;
    }

    async fn watch_file(&self, list: &Arc<List>, path: std::path::PathBuf) {
        let State { contents, fault, .. } = list.state().clone();
        let first = contents.ok_or_else(|| fault.unwrap_or_default());
        let (last, looked) = (Mutex::new(LastLook::default()), path.clone());
        let look = move || last.lock().unwrap_or_else(PoisonError::into_inner).look(&looked);
        let (denied, taken) = (self.clone(), list.clone());
        let take = move |_: &file::Contents| {
            let (new, _) = file::read(&path)?;
            taken.tell(&new.mistakes, new.keys.len());
            denied.install(&taken, new.keys);
            *taken.state() = State { heard: Some(SystemTime::now()), ..State::default() };
            Ok(())
        };
        let complain = |error: &str| {
            warn!("{}: {error}; {}", list.name, list.meanwhile());
            list.state().fault = Some(error.to_owned());
        };
        watched_files::watch(first, look, take, complain).await;
    }

    async fn keep_fetching(&self, lists: &Lists, list: &Arc<List>, url: &ListUrl, fetcher: &Fetcher) {
        let mut failures: u32 = 0;
        loop {
            match self.fetch(lists, list, url, fetcher).await {
                Ok(()) => failures = 0,
                Err(error) => {
                    failures = failures.saturating_add(1);
                    let text = error.to_string();
                    match failures {
                        1 => warn!("{url}: {text}; {}", list.meanwhile()),
                        _ => debug!("{url}: {text}"),
                    }
                    list.state().fault = Some(text);
                }
            }
            sleep(pause(failures, lists.refresh)).await;
        }
    }

    /// Looks once at a list on another server.
    async fn fetch(
        &self,
        lists: &Lists,
        list: &Arc<List>,
        url: &ListUrl,
        fetcher: &Fetcher,
    ) -> Result<(), FetchError> {
        let known = list.state().validators.clone();
        match fetcher.fetch(url, &known).await? {
            Fetched::Unchanged => {
                let mut state = list.state();
                state.fault = None;
                state.heard = Some(SystemTime::now());
                Ok(())
            }
            Fetched::New(reader, validators) => {
                let (denied, list) = (self.clone(), list.clone());
                let (url, directory) = (url.clone(), lists.directory.clone());
                // Puts a million keys in order, and writes them down.
                let taking = move || denied.take(&list, &url, *reader, validators, directory.as_deref());
                // A panic is told by its hook; the runtime may end.
                spawn_blocking(taking).await.unwrap_or(Ok(()))
            }
        }
    }

    fn take(
        &self,
        list: &List,
        url: &ListUrl,
        reader: Reader,
        validators: Validators,
        directory: Option<&std::path::Path>,
    ) -> Result<(), FetchError> {
        if reader.is_empty() {
            return Err(NoList::Empty.into());
        }
        let new = reader.finish()?;
        let fetched = SystemTime::now();
        if new.keys != **list.keys.load() {
            list.tell(&new.mistakes, new.keys.len());
        }
        let kept = Kept { keys: new.keys, validators: validators.clone(), fetched };
        if let Some(directory) = directory
            && let Err(error) = copy::write(directory, url, &kept)
        {
            warn!("{url}: the list cannot be kept for the next start: {error}");
        }
        self.install(list, kept.keys);
        *list.state() = State { validators, heard: Some(fetched), ..State::default() };
        Ok(())
    }
}

impl Lists {
    fn remove_other_copies(&self) {
        let urls = self.lists.iter().filter_map(|list| match &list.name {
            DenyList::Url(url) => Some(url),
            DenyList::File(_) => None,
        });
        if let Some(directory) = &self.directory
            && let Err(error) = copy::remove_others(directory, urls)
        {
            debug!("copies of lists that are no longer in use could not be removed: {error}");
        }
    }
}

impl List {
    fn tell(&self, mistakes: &[String], keys: usize) {
        info!("{keys} keys are denied by {}", self.name);
        mistakes.iter().for_each(|mistake| warn!("{}: {mistake}", self.name));
    }

    /// What holds while it cannot be had.
    fn meanwhile(&self) -> &'static str {
        match self.state().heard {
            Some(_) => "the keys of its last version stay denied",
            None => "none of its keys is denied until it can be fetched",
        }
    }
}
