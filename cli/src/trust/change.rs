//! What is changed in stores, line by line.

use pkdns::edge::certificates::AuthorityReading;
use serde::Serialize;

use super::{
    name::StoredName,
    store::{Obstacle, Store},
};

/// Whether changes are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Planned {
    Only,
    Done,
}

/// What came of one authority in one store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Added,
    Removed,
    /// It was there already.
    Unchanged,
    /// It is not for this user.
    Skipped,
    Failed,
}

/// A line of the report.
#[derive(Debug, Serialize)]
pub(super) struct Change {
    outcome: Outcome,
    name: String,
    place: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

/// All changes of one command.
#[derive(Debug)]
pub(super) struct Changes {
    pub(super) planned: Planned,
    /// What an administrator types where this user may not.
    as_root: String,
    pub(super) list: Vec<Change>,
}

impl Changes {
    pub(super) fn new(planned: Planned, as_root: String) -> Self {
        Self { planned, as_root, list: Vec::new() }
    }

    /// Adds those that are not there.
    pub(super) fn install(&mut self, store: &dyn Store, authorities: &[AuthorityReading]) {
        let (there, missing): (Vec<_>, Vec<_>) = authorities
            .iter()
            .partition(|authority| store.holds(&StoredName::of(authority), authority).unwrap_or(false));
        for authority in there {
            self.push(store, Outcome::Unchanged, &StoredName::of(authority), None);
        }
        let names: Vec<_> = missing.iter().map(|authority| StoredName::of(authority)).collect();
        if names.is_empty() || !self.may_change(store, &names) {
            return;
        }
        let mut changed = Vec::new();
        for (authority, name) in missing.into_iter().zip(&names) {
            let added = if self.planned == Planned::Only { Ok(()) } else { store.add(name, authority) };
            changed.push((name, added));
        }
        self.finish(store, Outcome::Added, changed);
    }

    /// Takes away those of ours that are meant.
    pub(super) fn remove(&mut self, store: &dyn Store, is_meant: impl Fn(&StoredName) -> bool) {
        let names = match store.names() {
            Ok(names) => names,
            // A store that cannot be read holds nothing of this user.
            Err(_) if store.is_idle() => return,
            Err(why) => return self.list.push(Change::failed(store, "", why)),
        };
        let names: Vec<_> = names.into_iter().filter(is_meant).collect();
        if names.is_empty() || !self.may_change(store, &names) {
            return;
        }
        let mut changed = Vec::new();
        for name in &names {
            let removed = if self.planned == Planned::Only { Ok(()) } else { store.remove(name) };
            changed.push((name, removed));
        }
        self.finish(store, Outcome::Removed, changed);
    }

    pub(super) fn failures(&self) -> usize {
        self.list.iter().filter(|change| change.outcome == Outcome::Failed).count()
    }

    /// For people: a line for each, with what to do below it.
    pub(super) fn text(&self) -> String {
        self.list.iter().map(|change| change.text(self.planned)).collect()
    }

    fn may_change(&mut self, store: &dyn Store, names: &[StoredName]) -> bool {
        let Some(obstacle) = store.obstacle() else { return true };
        let (outcome, advice) = match obstacle {
            Obstacle::NoProgram(_) if store.is_idle() => return false,
            Obstacle::NoProgram(advice) => (Outcome::Failed, advice),
            Obstacle::NoRight => (Outcome::Skipped, self.as_root.clone()),
        };
        for name in names {
            self.push(store, outcome, name, Some(advice.clone()));
        }
        false
    }

    fn finish(
        &mut self,
        store: &dyn Store,
        outcome: Outcome,
        changed: Vec<(&StoredName, Result<(), String>)>,
    ) {
        let is_changed = changed.iter().any(|(_, result)| result.is_ok());
        let finished = match is_changed && self.planned == Planned::Done {
            true => store.finish(outcome == Outcome::Removed),
            false => Ok(()),
        };
        for (name, result) in changed {
            match result.and(finished.clone()) {
                Ok(()) => self.push(store, outcome, name, None),
                Err(why) => self.list.push(Change::failed(store, &name.to_string(), why)),
            }
        }
    }

    fn push(&mut self, store: &dyn Store, outcome: Outcome, name: &StoredName, advice: Option<String>) {
        self.list.push(Change { outcome, name: name.to_string(), place: store.place(), advice });
    }
}

impl Change {
    fn failed(store: &dyn Store, name: &str, why: String) -> Self {
        Self { outcome: Outcome::Failed, name: name.to_owned(), place: store.place(), advice: Some(why) }
    }

    fn text(&self, planned: Planned) -> String {
        let done = match (self.outcome, planned) {
            (Outcome::Added, Planned::Done) => "added",
            (Outcome::Added, Planned::Only) => "would add",
            (Outcome::Removed, Planned::Done) => "removed",
            (Outcome::Removed, Planned::Only) => "would remove",
            (Outcome::Unchanged, _) => "unchanged",
            (Outcome::Skipped, _) => "skipped",
            (Outcome::Failed, _) => "failed",
        };
        let line = format!("{done:12}  {:21}  {}\n", self.name, self.place);
        self.advice.iter().fold(line, |line, advice| format!("{line}{:14}-> {advice}\n", ""))
    }
}
