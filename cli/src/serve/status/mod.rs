//! What `serve` has done for each identity, in a file beside the state that other programs may read, and for people as a table.

mod board;
mod table;

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::config::Config;
use crate::{
    failure::Failure,
    input,
    keeper::{Event, StateDirectory, in_wait},
    seed::FileName,
    terminal,
    time::now,
};
pub(super) use board::Board;

/// The file, in the directory of the state.
const FILE: &str = "status.json";

/// Larger files are not ours: ten thousand identities with the longest errors take half of it.
const MAX_SIZE: usize = 16 << 20;

/// Bytes of an error.
const MAX_MESSAGE: usize = 500;

/// Where the unit keeps the state, unless its configuration says otherwise. For whoever looks from outside of it.
const OF_UNIT: &str = "/var/lib/pkdns-publisher";

const MICROSECONDS: u64 = 1_000_000;

/// A publisher at one moment. Times are in seconds since 1970. Whatever another release leaves out or adds is no error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Status {
    /// The release that wrote it.
    version: String,
    process_id: u32,
    started_at: u64,
    written_at: u64,
    /// By their names in the log.
    identities: Vec<IdentityStatus>,
}

/// What has become of one key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct IdentityStatus {
    /// Its name in the log.
    identity: String,
    key: String,
    state: State,
    /// When a packet of it was last stored, by this process or the one before it.
    stored_at: Option<u64>,
    /// DHT nodes that confirmed that.
    nodes: u32,
    /// Relays that did.
    relays: u32,
    /// When it is stored again, or tried again.
    next_at: Option<u64>,
    /// The addresses that records of the zone wait for.
    waiting_for: Option<String>,
    /// What went wrong last. It may be mended since: `state` says so.
    last_error: Option<LastError>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct LastError {
    at: u64,
    message: String,
}

/// How an identity does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// Nothing has come of it yet, since the start or since its configuration changed.
    #[default]
    Pending,
    /// The last attempt to store it has succeeded.
    Stored,
    /// Nothing new is published until an address is known.
    Waiting,
    /// The last attempt to store it has failed.
    Failing,
    /// Its zone cannot be read. What was published before is kept alive.
    Unreadable,
}

/// What is printed for a program.
#[derive(Serialize)]
struct Shown<'a> {
    /// Whether a publisher uses this directory now.
    running: bool,
    #[serde(flatten)]
    status: &'a Status,
}

impl State {
    fn is_well(self) -> bool {
        matches!(self, Self::Pending | Self::Stored)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Stored => "stored",
            Self::Waiting => "waiting",
            Self::Failing => "failing",
            Self::Unreadable => "unreadable",
        }
    }
}

/// What was seen of an identity since its keeper began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Seen {
    is_stored: bool,
    has_failed: bool,
    is_unreadable: bool,
    waits: bool,
}

impl Seen {
    /// The worst of it.
    fn state(self) -> State {
        match self {
            Self { is_unreadable: true, .. } => State::Unreadable,
            Self { has_failed: true, .. } => State::Failing,
            Self { waits: true, .. } => State::Waiting,
            Self { is_stored: true, .. } => State::Stored,
            _ => State::Pending,
        }
    }
}

impl IdentityStatus {
    /// Takes in what has happened at `now`.
    fn take(&mut self, seen: &mut Seen, event: &Event<'_>, now: u64) {
        match event {
            Event::Published(published, pause) => {
                (seen.is_stored, seen.has_failed) = (true, false);
                let relays = published.relays.iter().filter(|report| report.error.is_none()).count();
                (self.stored_at, self.nodes) = (Some(now), published.nodes);
                self.relays = u32::try_from(relays).unwrap_or(u32::MAX);
                self.next_at = Some(now.saturating_add(pause.as_secs()));
            }
            Event::Failed(failure, pause) => {
                seen.has_failed = true;
                self.next_at = Some(now.saturating_add(pause.as_secs()));
                self.fail(failure, now);
            }
            Event::Unreadable(failure, _) => {
                seen.is_unreadable = true;
                self.fail(failure, now);
            }
            Event::Readable => seen.is_unreadable = false,
            Event::Waiting([], _) => (seen.waits, self.waiting_for) = (false, None),
            Event::Waiting(lacking, is_rest_published) => {
                seen.waits = !is_rest_published;
                self.waiting_for = Some(shortened(in_wait(lacking, *is_rest_published)));
            }
            Event::Crowded(_, failure) => self.fail(failure, now),
            Event::Contradicted(mistakes) => {
                if let Some(mistake) = mistakes.first() {
                    self.last_error = Some(LastError { at: now, message: shortened(mistake.to_string()) });
                }
            }
        }
        self.state = seen.state();
    }

    fn fail(&mut self, failure: &Failure, now: u64) {
        self.last_error = Some(LastError { at: now, message: shortened(failure.to_string()) });
    }
}

fn shortened(text: String) -> String {
    if text.len() <= MAX_MESSAGE {
        return text;
    }
    let fitting = text.char_indices().map(|(at, _)| at).take_while(|at| *at <= MAX_MESSAGE).last();
    format!("{}…", text.get(..fitting.unwrap_or_default()).unwrap_or_default())
}

/// In seconds since 1970.
fn seconds() -> u64 {
    now() / MICROSECONDS
}

/// `serve --status`: what the publisher that runs, or ran last, has written.
pub(super) fn show(configuration: &Path, is_json: bool) -> Result<(), Failure> {
    let (directory, status) = find(configuration)?;
    let running = StateDirectory::is_in_use(&directory);
    if is_json {
        terminal::print_json(&Shown { running, status: &status })?;
    } else {
        terminal::print(&table::table(&status, running, seconds()))?;
    }
    if !running {
        return Err(Failure::Failed(format!(
            "no pkdns-cli serve uses {} now, and this is what the last one did: start it again",
            directory.display()
        )));
    }
    let ill = status.identities.iter().filter(|identity| !identity.state.is_well()).count();
    let total = status.identities.len();
    match ill {
        0 => Ok(()),
        ill => Err(Failure::Failed(format!(
            "{ill} of {total} identities {} not published as the configuration says: the status of each says why",
            if ill == 1 { "is" } else { "are" }
        ))),
    }
}

/// The status of whichever place has one, the likeliest first. A configuration with mistakes is no reason not to look: the
/// publisher may run with an older one.
fn find(configuration: &Path) -> Result<(PathBuf, Status), Failure> {
    let config = Config::read(configuration);
    let of_config = match &config {
        Ok(config) => super::state_path(config),
        Err(_) => super::usual_state_path(),
    };
    let says_where = config.as_ref().is_ok_and(|config| config.state.is_some());
    let elsewhere = (!says_where).then(|| PathBuf::from(OF_UNIT));
    let mut refused = None;
    for directory in of_config.ok().into_iter().chain(elsewhere) {
        match read(&directory) {
            Ok(Some(status)) => return Ok((directory, status)),
            Ok(None) => {}
            Err(failure) => {
                refused.get_or_insert(failure);
            }
        }
    }
    let unknown = || {
        let advice = "start it, or name the configuration of the one that runs with --config";
        Failure::Failed(match config {
            Ok(_) => format!("no pkdns-cli serve has written a status yet: {advice}"),
            Err(failure) => format!("no status was found: {advice}. {failure}"),
        })
    };
    Err(refused.unwrap_or_else(unknown))
}

/// What is in a directory, if anything is.
fn read(directory: &Path) -> Result<Option<Status>, Failure> {
    let path = directory.join(FILE);
    let fail = |why: &str| Failure::Failed(format!("{}: {why}", FileName::of(&path)));
    let bytes = match input::read(&path, MAX_SIZE) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Err(fail("it is too large for a status of pkdns-cli serve; remove it")),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            return Err(fail("the directory is closed to this user; try with sudo"));
        }
        Err(error) => return Err(fail(&error.to_string())),
    };
    let status = serde_json::from_slice(&bytes);
    status
        .map(Some)
        .map_err(|error| fail(&format!("it is no status of pkdns-cli serve ({error}); remove it")))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::published;

    #[test]
    fn a_failure_stays_until_it_is_stored_and_a_broken_zone_until_it_can_be_read() {
        let (mut status, mut seen) = (IdentityStatus::default(), Seen::default());
        let (failure, hour) = (Failure::Failed("no network".into()), Duration::from_secs(3600));
        let (stored, broken) = (published(20, 20), Failure::Failed("line 1".into()));
        assert_eq!(status.state, State::Pending);
        for (event, at, expected) in [
            (Event::Failed(&failure, Duration::from_secs(5)), 100, State::Failing),
            (Event::Published(&stored, hour), 105, State::Stored),
            (Event::Unreadable(&broken, true), 110, State::Unreadable),
            // What was published before is kept alive, which does not mend the zone.
            (Event::Published(&stored, hour), 3700, State::Unreadable),
            (Event::Readable, 3710, State::Stored),
        ] {
            status.take(&mut seen, &event, at);
            assert_eq!(status.state, expected, "at {at}");
        }
        assert_eq!((status.stored_at, status.nodes, status.next_at), (Some(3700), 20, Some(7300)));
        assert_eq!(status.last_error, Some(LastError { at: 110, message: "line 1".into() }));
    }

    #[test]
    fn an_error_that_is_too_long_is_cut_between_characters() {
        let long = shortened("é".repeat(MAX_MESSAGE));
        assert!(long.len() <= MAX_MESSAGE + '…'.len_utf8() && long.ends_with("é…"), "{long}");
        assert_eq!(shortened("short".into()), "short");
    }

    #[test]
    fn a_status_of_another_release_is_read() {
        let status: Status =
            serde_json::from_str("{\"identities\":[{\"key\":\"a\",\"new\":1}],\"more\":{}}").unwrap();
        assert_eq!(status.identities[0].key, "a");
    }
}
