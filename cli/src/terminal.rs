//! What the commands print. Results go to standard output, everything else to standard error, so that output can be
//! piped: as lines of text, or with `--json` as lines of JSON. Nothing here panics when the other end is closed, as
//! `println!` would.

use std::{
    env,
    io::{self, BufRead, IsTerminal, Read, Write},
    sync::{
        LazyLock,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use pkdns::program::telemetry::{Priority, leads_to_journal, mark};
use serde::Serialize;
use time::OffsetDateTime;

use crate::failure::Failure;

/// Prints a result.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}

/// Prints a result for a program, on one line.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value).map_err(|error| Failure::Failed(error.to_string()))?;
    print(&text)
}

/// What is read of an answer.
const MAX_ANSWER: u64 = 1024;

/// Whether what is told goes to systemd's journal.
static IS_JOURNAL: LazyLock<bool> = LazyLock::new(leads_to_journal);

/// Whether lines say when they were written.
static HAS_TIMES: AtomicBool = AtomicBool::new(false);

/// Whether what is told is for a program.
static IS_JSON: AtomicBool = AtomicBool::new(false);

/// A line on standard error for a program, with the fields that lines of the server's log have.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<String>,
    level: &'static str,
    /// What it is about, where it is about one of many.
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<&'a str>,
    message: &'a str,
    /// Of the last line of a command that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<u8>,
}

/// From now on lines say when they were written: for commands that stay. The journal notes the time itself.
pub(crate) fn begin_log() {
    HAS_TIMES.store(true, Ordering::Relaxed);
}

/// From now on each line on standard error is JSON.
pub(crate) fn speak_json() {
    IS_JSON.store(true, Ordering::Relaxed);
}

/// Whether each line on standard error is JSON.
pub(crate) fn is_json() -> bool {
    IS_JSON.load(Ordering::Relaxed)
}

/// A line of a command that stays, with its time.
pub(crate) fn timed(text: &str) -> String {
    match HAS_TIMES.load(Ordering::Relaxed) && !*IS_JOURNAL {
        true => format!("{} {text}", utc(SystemTime::now())),
        false => text.to_owned(),
    }
}

/// To the second (RFC 3339).
fn utc(time: SystemTime) -> String {
    let time = OffsetDateTime::from(time);
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, second) = time.to_hms();
    format!("{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z", u8::from(month))
}

/// What a colour says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colour {
    Good,
    Doubtful,
    Bad,
    Faint,
}

/// Text in colour, where `stream` is a terminal and its user has not switched colours off (no-color.org).
pub(crate) fn coloured(text: &str, colour: Colour, stream: &impl IsTerminal) -> String {
    let is_off = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_dumb = env::var_os("TERM").is_some_and(|value| value == "dumb");
    match stream.is_terminal() && !is_off && !is_dumb && !is_json() {
        true => painted(text, colour),
        false => text.to_owned(),
    }
}

/// ECMA-48: "select graphic rendition".
fn painted(text: &str, colour: Colour) -> String {
    let code = match colour {
        Colour::Good => 32,
        Colour::Doubtful => 33,
        Colour::Bad => 31,
        Colour::Faint => 2,
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

/// A word of a command line as a shell takes it.
pub(crate) fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+@:=,%".contains(&byte);
    match !word.is_empty() && word.bytes().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// Tells the user something beside the result. How much it matters is told by the word at its beginning.
pub(crate) fn note(text: &str) {
    tell(None, text, None);
}

/// As [`note`], about one of many identities.
pub(crate) fn note_about(identity: &str, text: &str) {
    tell(Some(identity), text, None);
}

/// Tells why the command ends with another exit code than 0.
pub(crate) fn fail(message: &str, exit_code: u8) {
    tell(None, &format!("error: {message}"), Some(exit_code));
}

fn tell(identity: Option<&str>, text: &str, exit_code: Option<u8>) {
    let (priority, message) = rated(text);
    let line = if is_json() {
        let timestamp = HAS_TIMES.load(Ordering::Relaxed).then(|| utc(SystemTime::now()));
        let level = level(priority);
        // Texts alone, so that nothing can go wrong.
        let line = serde_json::to_string(&Line { timestamp, level, identity, message, exit_code });
        line.unwrap_or_default() + "\n"
    } else {
        match identity {
            Some(identity) => format!("{}\n", timed(&format!("{identity}: {text}"))),
            None => format!("{}\n", timed(text)),
        }
    };
    let line = if *IS_JOURNAL { mark(priority, line.as_bytes()) } else { line.into_bytes() };
    // With standard error closed there is nobody to tell.
    let _ = io::stderr().write_all(&line);
}

/// How much a line matters, and the line without the word that says so.
fn rated(text: &str) -> (Priority, &str) {
    let words = [("error: ", Priority::Error), ("warning: ", Priority::Warning)];
    let rated = words.into_iter().find_map(|(word, priority)| Some((priority, text.strip_prefix(word)?)));
    rated.unwrap_or((Priority::Info, text))
}

/// As the server's log calls it.
fn level(priority: Priority) -> &'static str {
    match priority {
        Priority::Error => "ERROR",
        Priority::Warning => "WARN",
        Priority::Info => "INFO",
        Priority::Debug => "DEBUG",
    }
}

/// Tells a user what comes next; scripts and logs are spared.
pub(crate) fn hint(text: &str) {
    if io::stdout().is_terminal() && !is_json() {
        note(&format!("\n{text}"));
    }
}

/// Tells a waiting user what is being done; scripts and logs are spared.
pub(crate) fn progress(text: &str) {
    if io::stderr().is_terminal() && !is_json() {
        note(text);
    }
}

/// Asks whoever sits at the terminal, and takes nothing but a yes for a yes. `None` if nobody sits there.
pub(crate) fn confirm(question: &str) -> Result<Option<bool>, Failure> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(None);
    }
    // Whoever closed the terminal meanwhile gives no answer either.
    let _ = write!(io::stderr(), "{question} [y/N] ");
    let mut answer = String::new();
    io::stdin()
        .lock()
        .take(MAX_ANSWER)
        .read_line(&mut answer)
        .map_err(|error| Failure::Failed(format!("cannot read the answer: {error}")))?;
    Ok(Some(is_yes(&answer)))
}

fn is_yes(answer: &str) -> bool {
    ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str())
}

/// Replaces the line that tells a waiting user how far it is. Only a line that fits can be replaced.
pub(crate) fn status(text: &str) {
    rewrite_line(&text.chars().take(79).collect::<String>());
}

/// Takes that line away, before anything else is printed.
pub(crate) fn clear_status() {
    rewrite_line("");
}

fn rewrite_line(text: &str) {
    let mut err = io::stderr().lock();
    if err.is_terminal() && !is_json() {
        // ECMA-48: "erase in line" to its end.
        let _ = write!(err, "\r\x1b[K{text}");
        let _ = err.flush();
    }
}

/// Escapes what a terminal could take for a command, in text that others wrote.
pub(crate) fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if character == ' ' || character.is_ascii_graphic() {
            safe.push(character);
        } else {
            let mut bytes = [0; 4];
            for byte in character.encode_utf8(&mut bytes).bytes() {
                safe.push_str(&format!("\\{byte:03}"));
            }
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_say_how_much_a_line_matters() {
        for (text, expected, message) in [
            ("error: no network", Priority::Error, "no network"),
            ("warning: a zone", Priority::Warning, "a zone"),
            ("stored on 20 nodes; again in an hour", Priority::Info, "stored on 20 nodes; again in an hour"),
            ("no error: fine", Priority::Info, "no error: fine"),
        ] {
            assert_eq!(rated(text), (expected, message), "{text}");
        }
    }

    #[test]
    fn a_time_is_one_that_everybody_reads() {
        let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_796_000_000);
        assert_eq!(utc(time), "2026-11-30T00:53:20Z");
    }

    #[test]
    fn nothing_but_a_yes_is_a_yes() {
        assert!(["y\n", " Yes \r\n", "YES"].into_iter().all(is_yes));
        assert!(!["\n", "", "n\n", "yy\n", "yes please\n"].into_iter().any(is_yes));
    }

    #[test]
    fn colours_are_for_terminals_alone() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(coloured("ok", Colour::Good, &file), "ok");
        assert_eq!(painted("ok", Colour::Good), "\x1b[32mok\x1b[0m");
    }

    #[test]
    fn a_word_is_one_word_of_a_shell() {
        for (word, expected) in [
            ("my.seed", "my.seed"),
            ("{a,b}", "'{a,b}'"),
            ("my zone", "'my zone'"),
            ("it's", r"'it'\''s'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(word), expected);
        }
    }

    #[test]
    fn text_from_outside_cannot_command_the_terminal() {
        assert_eq!(printable("a \\\" b"), "a \\\" b");
        assert_eq!(printable("\x1b[2J\r\n\u{9b}\u{202e}"), "\\027[2J\\013\\010\\194\\155\\226\\128\\174");
    }
}
