//! What a cached answer over UDP costs the server, beside what the same datagrams cost a program that only sends
//! them back. Run it with `cargo bench -p pkdns --bench udp`; `docs/performance.md` explains the table.
//!
//! Both servers are processes of their own on one core; the queries come from another core. The rounds take turns,
//! so that whatever else the machine does falls on all of them. Nothing is asserted about time, only that the
//! answers are right. Without `--bench`, as under `cargo test --all-targets`, there is one short round.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark may fail where it stands"
)]

#[path = "../common/mod.rs"]
mod common;
mod load;
mod servers;
mod upstream;

use std::env;

use common::{CpuTime, cores, on_core};
use load::{Load, Outcome};
use servers::Server;

/// Names in the cache; every query asks for one of them in turn.
const NAMES: u16 = 1000;

const ROUNDS: u32 = 5;

/// How hard a client asks.
struct Pattern {
    title: &'static str,
    /// Queries on their way at once; at most what any receive buffer holds.
    window: usize,
    /// Queries of one round to one server.
    queries: u32,
}

const PATTERNS: [Pattern; 2] = [
    Pattern { title: "A busy server: 128 queries on their way at once", window: 128, queries: 500_000 },
    Pattern { title: "An idle server: one query at a time, each wakes it", window: 1, queries: 50_000 },
];

/// What one server did in all rounds.
#[derive(Default)]
struct Total {
    outcome: Outcome,
    cpu: CpuTime,
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == servers::ECHO_FLAG) {
        return servers::echo();
    }
    let in_full = arguments.iter().any(|argument| argument == "--bench");
    let (rounds, divisor) = if in_full { (ROUNDS, 1) } else { (1, 50) };

    let (server_core, client_core) = cores();
    let upstream = upstream::start();
    let servers = on_core(server_core, client_core, || {
        [
            ("echo", Server::echo()),
            ("pkdns on one address", Server::pkdns("127.0.0.1:0", upstream)),
            ("pkdns on all addresses", Server::pkdns("0.0.0.0:0", upstream)),
        ]
    });
    let mut loads = servers.each_ref().map(|(_, server)| Load::new(server.process.address(), server.replies));
    for load in &mut loads {
        load.ask_every_name_once();
    }

    for Pattern { title, window, queries } in PATTERNS {
        let queries = queries / divisor;
        let mut totals = [(); 3].map(|()| Total::default());
        for _ in 0..rounds {
            for (((_, server), load), total) in servers.iter().zip(&mut loads).zip(&mut totals) {
                let before = server.process.cpu_time();
                total.outcome += load.run(queries, window);
                total.cpu += server.process.cpu_time() - before;
            }
        }
        println!("{title}; {rounds} rounds of {queries} for {NAMES} names in the cache\n");
        print(&servers.each_ref().map(|(name, _)| *name), &totals);
    }
}

fn print(names: &[&str; 3], totals: &[Total; 3]) {
    println!(
        "{:24}{:>10}{:>8}{:>12}{:>14}{:>8}{:>9}{:>8}",
        "", "answers", "lost", "answers/s", "CPU us/query", "user", "system", "ratio"
    );
    let per_answer = |total: &Total, seconds: f64| seconds * 1e6 / f64::from(total.outcome.answers.max(1));
    let echo = per_answer(&totals[0], totals[0].cpu.total());
    for (name, total) in names.iter().zip(totals) {
        let (outcome, cpu) = (&total.outcome, &total.cpu);
        let rate = f64::from(outcome.answers) / outcome.elapsed.as_secs_f64();
        let cost = per_answer(total, cpu.total());
        println!(
            "{name:24}{:>10}{:>8}{rate:>12.0}{cost:>14.2}{:>8.2}{:>9.2}{:>8.2}",
            outcome.answers,
            outcome.lost,
            per_answer(total, cpu.user),
            per_answer(total, cpu.system),
            cost / echo,
        );
    }
    println!();
}
