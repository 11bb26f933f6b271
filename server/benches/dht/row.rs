//! The outcomes of lookups, and the rows of tables that show them.

use std::{fs, time::Duration};

/// What one key came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Came {
    /// The newest packet.
    Right,
    /// Another answer than the newest packet.
    Wrong,
    /// No answer, an error, or "there is none" where there is one.
    Lost,
}

/// What came of many keys, in any order.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) replies: Vec<(Came, Duration)>,
    /// Messages to nodes about a key until its answer was read, and in all.
    pub(crate) before: Vec<u64>,
    pub(crate) all: Vec<u64>,
}

/// Times that others are compared with.
#[derive(Clone, Copy)]
pub(crate) struct Rival {
    p50: Duration,
    p99: Duration,
}

const COLUMNS: [&str; 12] = [
    "asked",
    "right",
    "wrong",
    "lost",
    "p10 ms",
    "p50",
    "p90",
    "p99",
    "max",
    "before",
    "in total",
    "ratio to mainline: p50, p99",
];

impl Outcome {
    pub(crate) fn count(&self, wanted: Came) -> usize {
        self.replies.iter().filter(|(came, _)| *came == wanted).count()
    }

    /// Of what was answered. Silence would take as long as it is waited for.
    pub(crate) fn percentile(&self, share: f64) -> Option<Duration> {
        let answered = self.replies.iter().filter(|(came, _)| *came != Came::Lost);
        percentile(&answered.map(|(_, time)| *time).collect::<Vec<_>>(), share)
    }

    pub(crate) fn as_rival(&self) -> Option<Rival> {
        Some(Rival { p50: self.percentile(0.5)?, p99: self.percentile(0.99)? })
    }

    pub(crate) fn print(&self, title: &str, rival: Option<Rival>) {
        let times = [0.1, 0.5, 0.9, 0.99, 1.0].map(|share| milliseconds(self.percentile(share)));
        let messages = [&self.before, &self.all].map(|counts| show(percentile(counts, 0.5)));
        let counts = [Came::Right, Came::Wrong, Came::Lost].map(|came| self.count(came).to_string());
        let ratio = rival.and_then(|rival| {
            let ratio = |time: Duration, other: Duration| time.as_secs_f64() / other.as_secs_f64();
            let (p50, p99) = (self.percentile(0.5)?, self.percentile(0.99)?);
            Some(format!("{:.2}, {:.2}", ratio(p50, rival.p50), ratio(p99, rival.p99)))
        });
        let cells = [self.replies.len().to_string()].into_iter().chain(counts).chain(times).chain(messages);
        print_cells(title, cells.chain([ratio.unwrap_or_default()]));
    }
}

/// The heads of the columns of [`Outcome::print`], below what the table is about.
pub(crate) fn print_heads(about: &str) {
    // If other programs keep the cores busy, the figures are those of a slower machine.
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("\n{about}; load average {}\n", load.split(' ').next().unwrap_or("-"));
    print_cells("", COLUMNS.map(str::to_owned));
    println!("|---|{}", "---:|".repeat(COLUMNS.len()));
}

/// One line of a table in Markdown.
pub(crate) fn print_cells(title: &str, cells: impl IntoIterator<Item = String>) {
    let cells: Vec<_> = cells.into_iter().collect();
    println!("| {title:44} | {} |", cells.join(" | "));
}

/// The value below which this share of the values lies.
pub(crate) fn percentile<T: Copy + Ord>(values: &[T], share: f64) -> Option<T> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let index = (sorted.len().saturating_sub(1)) as f64 * share;
    sorted.get(index.round() as usize).copied()
}

pub(crate) fn milliseconds(time: Option<Duration>) -> String {
    time.map_or("-".into(), |time| format!("{:.0}", time.as_secs_f64() * 1e3))
}

pub(crate) fn show<T: ToString>(value: Option<T>) -> String {
    value.map_or("-".into(), |value| value.to_string())
}
