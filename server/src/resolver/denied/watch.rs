//! Lists that change while the server runs.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use futures_util::future::join_all;
use tokio::task::spawn_blocking;
use tracing::{debug, info, warn};

use super::{
    DeniedKeys, List, Lists, State, copy,
    file::{self, LastLook},
};
use crate::{
    base::{config::DenyList, watched_files},
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
        let watches = lists.lists.iter().map(async |list| match &list.name {
            DenyList::File(path) => self.watch_file(list, path.clone()).await,
            DenyList::Url(url) => self.keep_fetching(&lists, list, url, &connector).await,
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
}

#[cfg(not(feature = "tls"))]
impl DeniedKeys {
    /// In place of what is left out. A configuration that asks for it is refused.
    async fn keep_fetching(&self, _: &Lists, _: &Arc<List>, _: &crate::base::config::ListUrl, _: &Connector) {
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
    pub(super) fn tell(&self, mistakes: &[String], keys: usize) {
        info!("{keys} keys are denied by {}", self.name);
        mistakes.iter().for_each(|mistake| warn!("{}: {mistake}", self.name));
    }

    /// What holds while it cannot be had.
    pub(super) fn meanwhile(&self) -> &'static str {
        match self.state().heard {
            Some(_) => "the keys of its last version stay denied",
            None => "none of its keys is denied until it can be fetched",
        }
    }
}
