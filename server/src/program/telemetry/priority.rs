//! How much a line matters, for systemd's journal: a number before each line of stderr (sd-daemon(3)). The journal's own
//! protocol would carry fields as well, but leaves them out of what `journalctl` shows, and people search for them there.

use std::{
    env,
    fs::File,
    io::{self, Write},
    os::{fd::AsFd, unix::fs::MetadataExt},
};

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// How much a line matters, as syslog(3) counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// Something does not work.
    Error = 3,
    /// Somebody should look at it.
    Warning = 4,
    /// As it should be.
    Info = 6,
    /// For finding out what goes wrong.
    Debug = 7,
}

/// Whether stderr leads to the journal: `JOURNAL_STREAM` has its device and its inode (systemd.exec(5)). The variable alone
/// says nothing, since stderr may have been sent elsewhere.
pub fn leads_to_journal() -> bool {
    let Ok(named) = env::var("JOURNAL_STREAM") else { return false };
    let stderr = io::stderr().as_fd().try_clone_to_owned().and_then(|stderr| File::from(stderr).metadata());
    stderr.is_ok_and(|found| is_stream(&named, found.dev(), found.ino()))
}

fn is_stream(named: &str, device: u64, inode: u64) -> bool {
    named
        .split_once(':')
        .is_some_and(|(first, second)| first.parse() == Ok(device) && second.parse() == Ok(inode))
}

/// `lines` with `priority` before each of them: the journal makes an entry of each line.
pub fn mark(priority: Priority, lines: &[u8]) -> Vec<u8> {
    let mut marked = Vec::with_capacity(lines.len() + 3);
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        marked.extend_from_slice(&[b'<', b'0' + priority as u8, b'>']);
        marked.extend_from_slice(line);
    }
    marked
}

impl From<Level> for Priority {
    fn from(level: Level) -> Self {
        match level {
            Level::ERROR => Self::Error,
            Level::WARN => Self::Warning,
            Level::INFO => Self::Info,
            _ => Self::Debug,
        }
    }
}

/// Writes events where `writer` does, with their priority if they have one.
pub(super) struct WithPriorities<W> {
    pub(super) writer: W,
    pub(super) has_priorities: bool,
}

/// Takes whole events, as `tracing_subscriber` writes them.
pub(super) struct EventWriter<W> {
    inner: W,
    priority: Option<Priority>,
}

impl<'w, W: MakeWriter<'w>> MakeWriter<'w> for WithPriorities<W> {
    type Writer = EventWriter<W::Writer>;

    fn make_writer(&'w self) -> Self::Writer {
        EventWriter { inner: self.writer.make_writer(), priority: None }
    }

    fn make_writer_for(&'w self, event: &Metadata<'_>) -> Self::Writer {
        let priority = self.has_priorities.then(|| Priority::from(*event.level()));
        EventWriter { inner: self.writer.make_writer_for(event), priority }
    }
}

impl<W: Write> Write for EventWriter<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        match self.priority {
            None => self.inner.write(event),
            Some(priority) => self.inner.write_all(&mark(priority, event)).map(|()| event.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stderr_is_the_journal_if_the_variable_names_this_very_file() {
        assert!(is_stream("8:1234", 8, 1234));
        for named in ["8:1235", "9:1234", "8", "", ":", "8:1234:", "x:1234"] {
            assert!(!is_stream(named, 8, 1234), "{named}");
        }
    }

    #[test]
    fn each_line_of_a_message_has_its_priority() {
        assert_eq!(mark(Priority::Error, b"one\ntwo\n"), b"<3>one\n<3>two\n");
        assert_eq!(mark(Priority::Warning, b"no end"), b"<4>no end");
    }
}
