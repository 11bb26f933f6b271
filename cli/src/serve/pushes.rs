//! What routers told, for the log: a line for each push, whatever became of it, and never a password.

use std::{
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::protocol::{LeftOut, ReturnCode, key};
use crate::{seed::looks_like_a_secret, terminal::printable};

/// Lines in a minute. Homes with many routers need a few; strangers who guess must not fill the log.
const PER_MINUTE: u32 = 120;

const MINUTE: Duration = Duration::from_secs(60);

/// Characters of a name that are repeated.
const MAX_SHOWN: usize = 80;

/// Parts of a path that are repeated, and characters of each.
const PATH_PARTS: usize = 2;
const PATH_PART: usize = 20;

/// One request of a router.
#[derive(Debug, Default)]
pub(super) struct Push {
    /// The user that it came as, if there is one of that name.
    pub(super) user: Option<String>,
    /// The names as they were written, of whoever knew the password.
    pub(super) names: Vec<String>,
    pub(super) left_out: Vec<LeftOut>,
}

impl Push {
    /// The line about it, with what was answered for each name.
    pub(super) fn line(&self, client: IpAddr, codes: &[ReturnCode]) -> String {
        let user = self.user.as_ref().map_or_else(String::new, |user| format!(", user \"{}\"", shown(user)));
        let is_for_each = codes.len() == self.names.len();
        let results = codes.iter().enumerate().map(|(index, code)| {
            let name = self.names.get(index).filter(|_| is_for_each);
            let name = name.map_or_else(String::new, |name| format!("{}: ", name_shown(name)));
            let reason = code.reason().map_or_else(String::new, |reason| format!(" ({reason})"));
            format!("{name}{}{reason}", code.line())
        });
        let results = results.collect::<Vec<_>>().join(", ");
        let left_out: Vec<String> = self.left_out.iter().map(ToString::to_string).collect();
        let left_out = match left_out.as_slice() {
            [] => String::new(),
            left_out => format!("; left out: {}", left_out.join(", ")),
        };
        format!("router at {}{user}: {results}{left_out}", client.to_canonical())
    }
}

/// The line about a request for something else than updates. Of the path its beginning is shown: it may go on with a password,
/// as may the query, which is not.
pub(super) fn stray(client: IpAddr, path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let shown: String =
        parts.iter().take(PATH_PARTS).map(|part| format!("/{}", part_shown(part))).collect::<String>();
    let rest = if parts.len() > PATH_PARTS { "/…" } else { "" };
    let path = if shown.is_empty() { "/" } else { &shown };
    let client = client.to_canonical();
    format!(
        "{client} asked for \"{path}{rest}\", where there is nothing: routers tell their addresses at /nic/update"
    )
}

fn part_shown(part: &str) -> String {
    match part {
        secret if looks_like_a_secret(secret) => "(this looks like a seed)".to_string(),
        part if part.chars().count() > PATH_PART => {
            format!("{}…", printable(&part.chars().take(PATH_PART).collect::<String>()))
        }
        part => printable(part),
    }
}

/// The beginning of a key, as everywhere in the log, or what was sent in place of a name of one.
fn name_shown(name: &str) -> String {
    match key(name) {
        Ok(key) => key.to_z32().chars().take(8).collect(),
        Err(_) if looks_like_a_secret(name) => "(this looks like a seed)".to_string(),
        Err(_) => format!("\"{}\"", shown(name)),
    }
}

fn shown(text: &str) -> String {
    printable(&text.chars().take(MAX_SHOWN).collect::<String>())
}

/// How many lines there may still be in this minute.
#[derive(Default)]
pub(super) struct Pushes(Mutex<Counted>);

#[derive(Default)]
struct Counted {
    since: Option<Instant>,
    lines: u32,
    unsaid: u64,
}

impl Pushes {
    /// Has `note` say the line, unless there were too many of late. How many were left unsaid stands in the next one.
    pub(super) fn note(&self, line: &str, note: impl Fn(&str)) {
        if let Some(unsaid) = self.admit(Instant::now()) {
            match unsaid {
                0 => note(line),
                unsaid => note(&format!("{line} ({unsaid} pushes before it have no line)")),
            }
        }
    }

    fn admit(&self, now: Instant) -> Option<u64> {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = counted.since.is_none_or(|since| now.saturating_duration_since(since) >= MINUTE);
        if is_over {
            (counted.since, counted.lines) = (Some(now), 0);
        }
        if counted.lines >= PER_MINUTE {
            counted.unsaid = counted.unsaid.saturating_add(1);
            return None;
        }
        counted.lines += 1;
        Some(std::mem::take(&mut counted.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_guesses_has_so_many_lines_in_a_minute_and_is_counted() {
        let (pushes, start) = (Pushes::default(), Instant::now());
        let said = (0..1000).filter(|_| pushes.admit(start).is_some()).count();
        assert_eq!(said, PER_MINUTE as usize);
        assert_eq!(pushes.admit(start + MINUTE), Some(1000 - u64::from(PER_MINUTE)));
        assert_eq!(pushes.admit(start + MINUTE), Some(0));
    }

    #[test]
    fn what_could_be_a_seed_or_command_a_terminal_is_not_repeated() {
        let names = vec!["11".repeat(32), "\x1b[2J".to_string()];
        let push = Push { user: Some("a\nb".to_string()), names, left_out: Vec::new() };
        let line = push.line([192, 168, 1, 1].into(), &[ReturnCode::NotAName, ReturnCode::NotAName]);
        assert!(!line.contains("1111") && line.contains("looks like a seed"), "{line}");
        assert!(line.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{line:?}");
    }

    #[test]
    fn of_a_path_its_beginning_is_shown() {
        for (path, expected) in [
            ("/", "\"/\""),
            ("/v3/update", "\"/v3/update\""),
            ("//nic//update.php", "\"/nic/update.php\""),
            ("/update/home.example/hunter2", "\"/update/home.example/…\""),
            ("/%1b%5b2J/a-very-long-name-of-a-page", "\"/%1b%5b2J/a-very-long-name-of-…\""),
        ] {
            let line = stray([192, 168, 1, 1].into(), path);
            assert!(line.starts_with(&format!("192.168.1.1 asked for {expected}, where")), "{line}");
        }
        let line = stray([192, 168, 1, 1].into(), &format!("/{}", "11".repeat(32)));
        assert!(!line.contains("1111") && line.contains("looks like a seed"), "{line}");
        let line = stray([192, 168, 1, 1].into(), "/\u{1b}[2J");
        assert!(!line.contains('\u{1b}'), "{line:?}");
    }
}
