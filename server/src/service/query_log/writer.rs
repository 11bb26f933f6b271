//! The thread that writes lines.

use std::{
    io,
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use tracing::{info, warn};

use super::{
    counts::Counts,
    file::LogFile,
    line::{Line, Record, write_count},
    queue::{Inbox, Losses, Next},
};
use crate::base::config::QueryLogFormat;

/// Bytes that are written at once.
const BATCH: usize = 64 * 1024;

/// While a file cannot be written, that is said once in this time.
const SAY_EVERY: Duration = Duration::from_secs(600);

/// The thread looks for the end of the process this often, when nothing is asked.
const IDLE: Duration = Duration::from_secs(60);

/// Where lines go.
pub(super) enum Sink {
    /// To a file, with the lines that are not written yet.
    File { file: LogFile, format: QueryLogFormat, lines: String, count: u64, trouble: Trouble },
    /// To the log of the server.
    Server,
}

/// What was said about a file that cannot be written.
#[derive(Default)]
pub(super) struct Trouble {
    said: Option<Instant>,
}

impl Sink {
    pub(super) fn new(path: Option<&Path>, format: QueryLogFormat) -> Self {
        match path {
            None => Self::Server,
            Some(path) => Self::File {
                file: LogFile::new(path),
                format,
                lines: String::new(),
                count: 0,
                trouble: Trouble::default(),
            },
        }
    }

    fn add(&mut self, record: &Record) {
        let line = Line::of(record);
        match self {
            Self::File { format, lines, count, .. } => {
                line.write(*format, lines);
                *count += 1;
            }
            Self::Server => say(&line),
        }
    }

    fn is_full(&self) -> bool {
        matches!(self, Self::File { lines, .. } if lines.len() >= BATCH)
    }

    /// Writes what was added. Returns how many records were lost.
    fn flush(&mut self) -> u64 {
        let Self::File { file, lines, count, trouble, .. } = self else { return 0 };
        if lines.is_empty() {
            return 0;
        }
        let written = file.write(lines.as_bytes());
        lines.clear();
        let count = std::mem::take(count);
        trouble.note(file.path(), &written);
        if written.is_ok() { 0 } else { count }
    }
}

impl Trouble {
    fn note(&mut self, path: &Path, written: &io::Result<()>) {
        match (written, self.said) {
            (Ok(()), None) => {}
            (Ok(()), Some(_)) => {
                self.said = None;
                info!("query_log.path: {} is written again", path.display());
            }
            (Err(_), Some(said)) if said.elapsed() < SAY_EVERY => {}
            (Err(error), _) => {
                self.said = Some(Instant::now());
                let path = path.display();
                warn!(
                    "query_log.path: {path}: {error}; queries are left out until this user may write there"
                );
            }
        }
    }
}

/// Writes a line for each record, as soon as there is one. Runs until the end.
pub(super) fn write_lines(inbox: Inbox<Record>, mut sink: Sink, losses: &Losses) {
    loop {
        let mut next = inbox.next(IDLE);
        loop {
            match next {
                Next::Item(record) => sink.add(&record),
                Next::Nothing => break,
                Next::End(_) => {
                    note(losses, sink.flush());
                    return;
                }
            }
            if sink.is_full() {
                break;
            }
            next = inbox.next_at_hand();
        }
        note(losses, sink.flush());
    }
}

fn note(losses: &Losses, count: u64) {
    if count > 0 {
        losses.note(count);
    }
}

/// Writes what was counted, once in each `interval` and at the end. Runs until then.
pub(super) fn write_counts(inbox: Inbox<()>, counts: &Counts, interval: Duration, mut sink: Sink) {
    loop {
        let start = Instant::now();
        // Whoever waits for the end is told when this is dropped.
        let next = inbox.next(interval);
        let (now, elapsed) = (SystemTime::now(), start.elapsed());
        for count in counts.take() {
            match &mut sink {
                Sink::File { format, lines, .. } => write_count(&count, now, elapsed, *format, lines),
                Sink::Server => {
                    let seconds = elapsed.as_secs();
                    let (code, source, queries) = (count.code, count.source, count.queries);
                    info!(target: "pkdns::queries", seconds, code = %code, source = %source, queries);
                }
            }
        }
        // Counts that are lost are in the metrics as well.
        sink.flush();
        if matches!(next, Next::End(_)) {
            return;
        }
    }
}

/// Into the log of the server, which has the time.
fn say(line: &Line) {
    let text = tracing::field::display;
    info!(
        target: "pkdns::queries",
        client = %line.client,
        transport = %line.transport,
        name = line.name.as_ref().map(text),
        "type" = line.record_type.as_ref().map(text),
        code = %line.code,
        extended_error = line.extended_error,
        source = %line.source,
        microseconds = line.microseconds,
        bytes = line.bytes,
    );
}
