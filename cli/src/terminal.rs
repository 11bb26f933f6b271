//! What the commands print. Results go to standard output, everything else to standard error, so that output can be
//! piped. Nothing here panics when the other end is closed, as `println!` would.

use std::{
    io::{self, IsTerminal, Write},
    sync::LazyLock,
};

use pkdns::telemetry::{Priority, leads_to_journal, mark};
use serde::Serialize;

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

/// Whether what is told goes to systemd's journal.
static IS_JOURNAL: LazyLock<bool> = LazyLock::new(leads_to_journal);

/// Tells the user something beside the result. The journal is told how much it matters, as the words say.
pub(crate) fn note(text: &str) {
    let line = format!("{text}\n");
    let line = if *IS_JOURNAL { mark(priority(text), line.as_bytes()) } else { line.into_bytes() };
    // With standard error closed there is nobody to tell.
    let _ = io::stderr().write_all(&line);
}

/// All that goes wrong is told with a word at the beginning, behind what it is about if it is about one of many.
fn priority(text: &str) -> Priority {
    let behind = text.split_once(": ").map_or("", |(_, rest)| rest);
    if [text, behind].iter().any(|text| text.starts_with("error: ")) {
        Priority::Error
    } else if [text, behind].iter().any(|text| text.starts_with("warning: ")) {
        Priority::Warning
    } else {
        Priority::Info
    }
}

/// Tells a waiting user what is being done; scripts and logs are spared.
pub(crate) fn progress(text: &str) {
    if io::stderr().is_terminal() {
        note(text);
    }
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
    if err.is_terminal() {
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
        for (text, expected) in [
            ("error: no network", Priority::Error),
            ("8pinxxgq: error: no network; trying again in 1 min", Priority::Error),
            ("warning: a zone", Priority::Warning),
            ("8pinxxgq: stored on 20 nodes; again in an hour", Priority::Info),
            ("no error: fine", Priority::Info),
        ] {
            assert_eq!(priority(text), expected, "{text}");
        }
    }

    #[test]
    fn text_from_outside_cannot_command_the_terminal() {
        assert_eq!(printable("a \\\" b"), "a \\\" b");
        assert_eq!(printable("\x1b[2J\r\n\u{9b}\u{202e}"), "\\027[2J\\013\\010\\194\\155\\226\\128\\174");
    }
}
