//! The cost of the bridge to sites under keys, compared with an HAProxy that terminates TLS and verifies the site.
//! Run it with `cargo bench -p pkdns --bench bridge`; names after `--` choose tables: `memory`, `handshakes`,
//! `download`. It needs nginx and curl, and HAProxy for the comparison.
//!
//! Both servers have one core; the site and the client are on another. The benchmark checks no times, only that
//! everything arrives.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark fails by panicking")]

mod client;
mod servers;

use client::Client;
use pkdns_testing::benchmark::{Choice, cores, on_core};
use servers::{Front, Servers};

/// Connections that say nothing.
const IDLE: usize = 2000;

/// Handshakes of one run.
const HANDSHAKES: usize = 1000;

/// Runs of each server, alternating.
const RUNS: usize = 5;

fn main() {
    let choice = Choice::read();
    let in_full = choice.in_full;
    let (server_core, client_core) = cores();
    let servers = Servers::start(server_core, client_core, if in_full { 100_000_000 } else { 1_000_000 });
    let runs = if in_full { RUNS } else { 1 };
    if choice.wants("memory") {
        memory(&servers, if in_full { IDLE } else { 40 });
    }
    if choice.wants("handshakes") {
        handshakes(&servers, if in_full { HANDSHAKES } else { 10 }, runs);
    }
    if choice.wants("download") {
        download(&servers, runs);
    }
}

/// What connections take that are open and silent, after a request each.
fn memory(servers: &Servers, count: usize) {
    let front = &servers.bridge;
    // What a first connection brings along is not what each takes.
    drop(Client::new(servers, front).open(1));
    let before = front.process.memory();
    let open = Client::new(servers, front).open(count);
    let grown = front.process.memory().saturating_sub(before);
    println!(
        "\n{count} silent connections to {} sites: {:.1} MB, {:.1} kB each\n",
        servers.keys(),
        grown as f64 / 1e6,
        grown as f64 / count as f64 / 1e3
    );
    drop(open);
}

/// CPU of whole handshakes, with the client and with the site, none of them resumed by the client.
fn handshakes(servers: &Servers, count: usize, runs: usize) {
    println!(
        "\nms of server CPU for a connection: both handshakes and one small request (lowest to highest)\n"
    );
    println!("| | median | spread |\n|---|---|---|");
    each(servers, runs, |front| {
        let before = front.process.cpu_time();
        let client = Client::new(servers, front);
        (0..count).for_each(|_| drop(client.open(1)));
        (front.process.cpu_time() - before).total() * 1e3 / count as f64
    })
    .into_iter()
    .for_each(|(name, figures)| {
        println!(
            "| {name} | {:.2} | {:.2} to {:.2} |",
            median(&figures),
            figures[0],
            figures[figures.len() - 1]
        )
    });
}

/// A large file: how fast it comes, and what it costs the server.
fn download(servers: &Servers, runs: usize) {
    let mut cpu = Vec::new();
    let rates = each(servers, runs, |front| {
        let before = front.process.cpu_time();
        let (bytes, seconds) = client::download(servers, front);
        assert_eq!(bytes, servers.file_size, "the whole file");
        cpu.push((front.name, (front.process.cpu_time() - before).total() * 1e9 / bytes as f64));
        bytes as f64 / 1e6 / seconds
    });
    println!("\nA file of {} MB: MB/s, and seconds of server CPU for a GB\n", servers.file_size / 1_000_000);
    println!("| | MB/s | spread | CPU |\n|---|---|---|---|");
    for (name, figures) in &rates {
        let mut cpu: Vec<_> = cpu.iter().filter(|(of, _)| of == name).map(|(_, cpu)| *cpu).collect();
        cpu.sort_by(f64::total_cmp);
        let (least, most) = (figures[0], figures[figures.len() - 1]);
        println!("| {name} | {:.0} | {least:.0} to {most:.0} | {:.2} |", median(figures), median(&cpu));
    }
    if let [(_, ours), (_, theirs)] = &rates[..] {
        println!("\nbridge / HAProxy: {:.2}", median(ours) / median(theirs));
    }
}

/// Figures of each server in runs that alternate, in order.
fn each(
    servers: &Servers,
    runs: usize,
    mut measure: impl FnMut(&Front) -> f64,
) -> Vec<(&'static str, Vec<f64>)> {
    let fronts: Vec<_> = [Some(&servers.bridge), servers.haproxy.as_ref()].into_iter().flatten().collect();
    let mut all: Vec<_> = fronts.iter().map(|front| (front.name, Vec::new())).collect();
    // The first run of each finds nothing at hand.
    fronts.iter().for_each(|front| {
        measure(front);
    });
    for _ in 0..runs {
        for (front, (_, figures)) in fronts.iter().zip(&mut all) {
            figures.push(measure(front));
        }
    }
    all.iter_mut().for_each(|(_, figures)| figures.sort_by(f64::total_cmp));
    all
}

fn median(sorted: &[f64]) -> f64 {
    sorted[sorted.len() / 2]
}

/// Starts what `start` starts on the core of the servers.
fn on_server_core<T>(servers: (usize, usize), start: impl FnOnce() -> T) -> T {
    on_core(servers.0, servers.1, start)
}
