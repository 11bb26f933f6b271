//! Lists on other servers that change while this one runs.

use std::{path::Path, sync::Arc, time::SystemTime};

use tokio::{task::spawn_blocking, time::sleep};
use tracing::{debug, warn};

use super::{
    DeniedKeys, List, Lists, State,
    copy::{self, Kept, Validators},
    fetch::{FetchError, Fetched, Fetcher, pause},
    reader::{NoList, Reader},
};
use crate::{base::config::ListUrl, sources::connector::Connector};

impl DeniedKeys {
    /// Looks at a list on another server again and again.
    pub(super) async fn keep_fetching(
        &self,
        lists: &Lists,
        list: &Arc<List>,
        url: &ListUrl,
        connector: &Connector,
    ) {
        let (fetcher, mut failures) = (Fetcher::new(connector.clone()), 0_u32);
        loop {
            match self.fetch(lists, list, url, &fetcher).await {
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
        directory: Option<&Path>,
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
