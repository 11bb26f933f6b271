//! The cost of a cached answer over HTTPS and TLS, compared with dnsdist. Run it with
//! `cargo bench -p pkdns --bench web`; `docs/performance.md` explains the tables. Names after `--` choose tables. It
//! needs `h2load` (nghttp2-client) and `dnsperf`, and `dnsdist` for the comparison.
//!
//! Servers are processes of their own on one core; the queries come from another core. The benchmark checks no times,
//! only that every query is answered.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark fails by panicking")]

mod connections;
mod load;
mod servers;

use load::{Kind, Load};
use pkdns_testing::benchmark::{Choice, cores, on_core, upstream};
use servers::Pair;

/// Requests of one run.
const REQUESTS: u32 = 500_000;
const SHORT_REQUESTS: u32 = 2000;

/// Runs of each server, alternating.
const RUNS: usize = 3;

fn main() {
    let choice = Choice::read();
    let in_full = choice.in_full;
    let (requests, runs) = if in_full { (REQUESTS, RUNS) } else { (SHORT_REQUESTS, 1) };
    if choice.wants("https") {
        let kinds =
            [Kind::Http2TlsGet, Kind::Http2TlsPost, Kind::Http2Get, Kind::Http2Post, Kind::Http1TlsGet];
        compare("DNS over HTTPS", &kinds, requests, runs);
    }
    if choice.wants("tls") {
        compare("DNS over TLS", &[Kind::Tls], requests, runs);
    }
    if choice.wants("blocking") {
        connections::blocking(in_full);
    }
    if choice.wants("idle") {
        connections::idle(if in_full { 10_000 } else { 100 });
    }
}

/// CPU of each server for a query, in µs, the median of all runs.
fn compare(title: &str, kinds: &[Kind], requests: u32, runs: usize) {
    let (server_core, client_core) = cores();
    let upstream = upstream::start();
    let Pair { pkdns, dnsdist } = on_core(server_core, client_core, || Pair::start(upstream));
    let load = Load::new();
    println!("\n{title}: µs of server CPU for a query (queries/s)\n");
    println!("| | pkdns | dnsdist | ratio |\n|---|---|---|---|");
    for kind in kinds {
        let mut figures = [Vec::new(), Vec::new()];
        for _ in 0..runs {
            for (server, figures) in [Some(&pkdns), dnsdist.as_ref()].into_iter().zip(&mut figures) {
                figures.extend(server.and_then(|server| load.run(*kind, server, requests)));
            }
        }
        let [own, other] = figures.map(median);
        let show = |figure: Option<(f64, f64)>| {
            figure.map_or_else(|| "-".to_owned(), |(cpu, rate)| format!("{cpu:.2} ({:.0} k)", rate / 1000.0))
        };
        let ratio =
            own.zip(other).map_or_else(|| "-".to_owned(), |(own, other)| format!("{:.2}", own.0 / other.0));
        println!("| {} | {} | {} | {ratio} |", kind.name(), show(own), show(other));
    }
}

/// By the CPU.
fn median(mut figures: Vec<(f64, f64)>) -> Option<(f64, f64)> {
    figures.sort_by(|one, other| one.0.total_cmp(&other.0));
    figures.get(figures.len() / 2).copied()
}
