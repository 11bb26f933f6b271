//! Lets servers do the same work in turns, and prints a table of what it costs each.

use pkdns_testing::benchmark::{CpuTime, Process};

use crate::check::Outcome;

/// The names of the two that are compared with each other as well.
pub(crate) const PKDNS: &str = "pkdns";
pub(crate) const UNBOUND: &str = "unbound";

/// How much is done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    /// Rounds of each server; they take turns, so that disturbances fall on all of them.
    pub(crate) rounds: u32,
    /// Queries of a round are divided by this.
    pub(crate) divisor: u32,
}

impl Scale {
    pub(crate) const FULL: Self = Self { rounds: 5, divisor: 1 };
    pub(crate) const SHORT: Self = Self { rounds: 1, divisor: 100 };

    pub(crate) fn of(self, count: u32) -> u32 {
        count / self.divisor
    }
}

/// A server and how it is asked.
pub(crate) struct Contender<'a> {
    name: &'a str,
    process: &'a Process,
    /// One round of so many queries.
    ask: Box<dyn FnMut(u32) -> Outcome + 'a>,
    outcome: Outcome,
    cpu: CpuTime,
}

impl<'a> Contender<'a> {
    pub(crate) fn new(name: &'a str, process: &'a Process, ask: impl FnMut(u32) -> Outcome + 'a) -> Self {
        Self { name, process, ask: Box::new(ask), outcome: Outcome::default(), cpu: CpuTime::default() }
    }

    fn round(&mut self, queries: u32) {
        let before = self.process.cpu_time();
        self.outcome.add((self.ask)(queries));
        self.cpu += self.process.cpu_time() - before;
    }

    /// Microseconds for each answer.
    fn per_answer(&self, seconds: f64) -> f64 {
        seconds * 1e6 / f64::from(self.outcome.answers.max(1))
    }

    /// CPU time of an answer in microseconds.
    fn cost(&self) -> f64 {
        self.per_answer(self.cpu.total())
    }
}

/// Runs all rounds and prints a row for each server. The first one is what the others are compared with.
pub(crate) fn compare(title: &str, scale: Scale, queries: u32, mut contenders: Vec<Contender<'_>>) {
    let queries = scale.of(queries);
    for _ in 0..scale.rounds {
        for contender in &mut contenders {
            contender.round(queries);
        }
    }
    println!("\n{title}; {} rounds of {queries} queries\n", scale.rounds);
    let header =
        ["Server", "Answers", "Lost", "Answers/s", "Core busy", "CPU us/query", "User", "Kernel", "Ratio"];
    let row = |contender: &Contender<'_>| {
        let (outcome, cpu) = (&contender.outcome, &contender.cpu);
        let elapsed = outcome.elapsed.as_secs_f64();
        [
            contender.name.to_string(),
            outcome.answers.to_string(),
            outcome.lost.len().to_string(),
            format!("{:.0}", f64::from(outcome.answers) / elapsed),
            format!("{:.0} %", cpu.total() / elapsed * 100.0),
            format!("{:.2}", contender.cost()),
            format!("{:.2}", contender.per_answer(cpu.user)),
            format!("{:.2}", contender.per_answer(cpu.system)),
            format!("{:.2}", contender.cost() / contenders[0].cost()),
        ]
    };
    print(header, contenders.iter().map(row).collect());
    let cost = |name: &str| contenders.iter().find(|contender| contender.name == name).map(Contender::cost);
    if let (Some(pkdns), Some(unbound)) = (cost(PKDNS), cost(UNBOUND)) {
        println!("\npkdns / unbound: {:.2}", pkdns / unbound);
    }
}

/// A table in Markdown: a column of names, the others of figures.
pub(crate) fn print<const COLUMNS: usize>(header: [&str; COLUMNS], rows: Vec<[String; COLUMNS]>) {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: [_; COLUMNS] = std::array::from_fn(|column| width(column).max(header[column].len()));
    let line = |cells: [&str; COLUMNS]| {
        let cells = cells.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
            0 => format!("{cell:width$}"),
            _ => format!("{cell:>width$}"),
        });
        println!("| {} |", cells.collect::<Vec<_>>().join(" | "));
    };
    let rule: [_; COLUMNS] = std::array::from_fn(|column| match column {
        0 => "-".repeat(widths[column]),
        _ => "-".repeat(widths[column] - 1) + ":",
    });
    line(header);
    line(rule.each_ref().map(String::as_str));
    for row in &rows {
        line(row.each_ref().map(String::as_str));
    }
}
