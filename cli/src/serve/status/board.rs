//! Where what happens to identities is noted, and from where it goes to the file.

use std::{
    collections::{BTreeMap, HashSet},
    path::{Path, PathBuf},
    process,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use pkdns::base::private_file;
use tokio::{
    sync::Notify,
    task::spawn_blocking,
    time::{Instant, sleep},
};

use super::{FILE, IdentityStatus, Seen, Status, read, seconds};
use crate::{keeper::Event, terminal};

/// What happens within this time is written at once.
const GATHERING: Duration = Duration::from_secs(1);

/// Of so many parts of the time, one at most is spent on writing.
const SHARE: u32 = 20;

/// Cheap to clone.
#[derive(Clone)]
pub(in crate::serve) struct Board(Arc<Shared>);

struct Shared {
    path: PathBuf,
    started_at: u64,
    /// By key. As many as there are identities.
    identities: Mutex<BTreeMap<String, (IdentityStatus, Seen)>>,
    /// What the process before this one had stored.
    before: BTreeMap<String, IdentityStatus>,
    changed: Notify,
}

impl Board {
    /// For the state in `directory`. When each key was last stored is taken over from there.
    pub(in crate::serve) fn open(directory: &Path) -> Self {
        // Whatever is wrong with the old file, it is about to be replaced.
        let before = read(directory).ok().flatten().unwrap_or_default();
        let before = before.identities.into_iter().map(|identity| (identity.key.clone(), identity)).collect();
        Self(Arc::new(Shared {
            path: directory.join(FILE),
            started_at: seconds(),
            identities: Mutex::default(),
            before,
            changed: Notify::new(),
        }))
    }

    /// These keys are kept from now on, with their names in the log; those in `fresh` begin anew.
    pub(in crate::serve) fn keep(&self, named: Vec<(String, String)>, fresh: &HashSet<&str>) {
        let mut identities = self.identities();
        let mut before = std::mem::take(&mut *identities);
        for (key, name) in named {
            let (old, seen) = match before.remove(&key) {
                Some((old, _)) if fresh.contains(key.as_str()) => (Some(old), Seen::default()),
                Some((old, seen)) => (Some(old), seen),
                None => (self.0.before.get(&key).cloned(), Seen::default()),
            };
            let old = old.unwrap_or_default();
            let is_fresh = seen == Seen::default();
            let status = IdentityStatus {
                identity: name,
                key: key.clone(),
                state: seen.state(),
                next_at: old.next_at.filter(|_| !is_fresh),
                waiting_for: old.waiting_for.filter(|_| !is_fresh),
                ..old
            };
            identities.insert(key, (status, seen));
        }
        drop(identities);
        self.0.changed.notify_one();
    }

    /// Something has happened to `key`.
    pub(in crate::serve) fn note(&self, key: &str, event: &Event<'_>) {
        if let Some((status, seen)) = self.identities().get_mut(key) {
            status.take(seen, event, seconds());
        }
        self.0.changed.notify_one();
    }

    /// Writes the file whenever something has happened. Does not come to an end.
    pub(in crate::serve) async fn write(&self) {
        let mut told = None;
        loop {
            self.0.changed.notified().await;
            sleep(GATHERING).await;
            let (began, board) = (Instant::now(), self.clone());
            let failure = spawn_blocking(move || board.save().err()).await.unwrap_or_default();
            // Once, and not every second while the disk is full.
            if let Some(failure) = failure.as_ref().filter(|failure| told.as_ref() != Some(*failure)) {
                terminal::note(&format!("warning: {failure}"));
            }
            told = failure;
            sleep(began.elapsed() * (SHARE - 1)).await;
        }
    }

    /// Writes the file now.
    pub(in crate::serve) fn save(&self) -> Result<(), String> {
        let mut identities: Vec<_> = self.identities().values().map(|(status, _)| status.clone()).collect();
        identities.sort_by(|one, other| one.identity.cmp(&other.identity));
        let status = Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            process_id: process::id(),
            started_at: self.0.started_at,
            written_at: seconds(),
            identities,
        };
        let path = &self.0.path;
        let bytes = serde_json::to_vec(&status).map_err(|error| error.to_string())?;
        // It holds no secret, and whoever may enter the directory may see it.
        private_file::replace_readable(path, &bytes).map_err(|error| {
            format!(
                "cannot write the status {}: {error}; make room there, or give it to this user",
                path.display()
            )
        })
    }

    fn identities(&self) -> MutexGuard<'_, BTreeMap<String, (IdentityStatus, Seen)>> {
        self.0.identities.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::{super::State, *};
    use crate::failure::Failure;

    fn named(keys: &[&str]) -> Vec<(String, String)> {
        keys.iter().map(|key| ((*key).to_owned(), format!("{key}.seed {key}"))).collect()
    }

    fn states(directory: &Path) -> Vec<(String, State, Option<u64>)> {
        let status = read(directory).unwrap().unwrap();
        status.identities.into_iter().map(|it| (it.key, it.state, it.stored_at)).collect()
    }

    #[test]
    fn what_happened_is_in_a_file_for_everybody_and_outlives_the_process() {
        let directory = tempfile::tempdir().unwrap();
        let board = Board::open(directory.path());
        board.keep(named(&["b", "a"]), &HashSet::from(["a", "b"]));
        board.note("a", &Event::Failed(&Failure::Failed("no network".into()), GATHERING));
        board.note("unknown", &Event::Readable);
        // As a process before this one left it.
        board.identities().get_mut("b").unwrap().0.stored_at = Some(7);
        board.save().unwrap();
        let mode = fs::metadata(directory.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
        let expected = [("a".into(), State::Failing, None), ("b".into(), State::Pending, Some(7))];
        assert_eq!(states(directory.path()), expected);

        let board = Board::open(directory.path());
        board.keep(named(&["b"]), &HashSet::from(["b"]));
        board.save().unwrap();
        assert_eq!(states(directory.path()), [("b".into(), State::Pending, Some(7))]);
    }

    #[test]
    fn what_goes_on_undisturbed_keeps_its_state_and_what_begins_anew_does_not() {
        let directory = tempfile::tempdir().unwrap();
        let board = Board::open(directory.path());
        let failure = Failure::Failed("no network".into());
        board.keep(named(&["a", "b"]), &HashSet::from(["a", "b"]));
        for key in ["a", "b"] {
            board.note(key, &Event::Failed(&failure, GATHERING));
        }
        board.keep(named(&["a", "b"]), &HashSet::from(["b"]));
        board.save().unwrap();
        let states: Vec<_> = states(directory.path()).into_iter().map(|(_, state, _)| state).collect();
        assert_eq!(states, [State::Failing, State::Pending]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_file_is_written_soon_after_something_has_happened() {
        let directory = tempfile::tempdir().unwrap();
        let board = Board::open(directory.path());
        let writing = board.clone();
        let task = tokio::spawn(async move { writing.write().await });
        sleep(GATHERING * 10).await;
        assert!(!directory.path().join(FILE).exists(), "nothing has happened");
        board.keep(named(&["a"]), &HashSet::from(["a"]));
        // The thread that writes is none of the runtime's, whose time stands still meanwhile.
        while !directory.path().join(FILE).exists() {
            sleep(GATHERING).await;
        }
        task.abort();
    }
}
