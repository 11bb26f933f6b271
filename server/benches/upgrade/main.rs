//! An upgrade, and a reload every second, under as many queries as two cores can handle together with the clients.
//! Run it with `cargo bench -p pkdns --bench upgrade`.
//!
//! Each client asks its next question when it has an answer; over UDP, 16 questions are in flight. The benchmark
//! checks no times, only that every query is answered, by the counts of the clients and of the servers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark fails by panicking")]

use std::{
    env,
    sync::atomic::Ordering,
    thread::sleep,
    time::{Duration, Instant},
};

use pkdns_testing::upgrade::{
    clients::Client,
    load::{KINDS, Load, answered_before, configuration, replies},
    reloads::Reloads,
    server::{Place, Server, send},
};
use tokio::runtime::Runtime;

/// Clients of each kind, and questions of each over UDP.
const COPIES: usize = 4;
const AT_ONCE: u16 = 16;

/// With reloads, one in so many questions needs an upstream, which takes 0.1 s. More would let it set the pace.
const SLOW: u64 = 1024;

/// Between two reloads.
const INTERVAL: Duration = Duration::from_secs(1);

fn main() {
    let in_full = env::args().any(|argument| argument == "--bench");
    if !in_full {
        println!("Short rounds: the figures mean nothing.");
    }
    let runtime = Runtime::new().unwrap();
    let _entered = runtime.enter();
    upgrade(&runtime, Duration::from_secs(if in_full { 10 } else { 1 }));
    reload(&runtime, if in_full { 24 } else { 4 });
}

fn upgrade(runtime: &Runtime, length: Duration) {
    let place = Place::with(&configuration());
    let mut server = Server::start(place.command());
    let metrics = server.log.address("metrics");
    let start = Instant::now();
    // All names are at hand: a slow upstream would set the pace.
    let at_full_speed = |client| Client { pause: Duration::ZERO, slow: u64::MAX, ..client };
    let load = Load::start(&place, &server, COPIES, at_full_speed, Some(AT_ONCE));
    sleep(length / 2);
    let successor = server.upgrade();
    let took_over = start.elapsed() - length / 2;
    assert!(server.wait().success());
    let ended = start.elapsed() - length / 2;
    sleep(length / 2);
    println!(
        "\nAn upgrade: the new process serves after {took_over:.1?}, the old one has ended after {ended:.1?}\n"
    );
    let answered = stopped(runtime, load, start);
    let (before, (after, unanswered)) = (answered_before(&server), runtime.block_on(replies(metrics)));
    println!("\nThe old process counts {before} replies, the new one {after}: {} in total", before + after);
    assert_eq!((before + after, unanswered), (answered, 0));
    send("TERM", successor);
    server.log.wait_for_end();
}

fn reload(runtime: &Runtime, times: u32) {
    let configuration = configuration();
    let place = Place::with(&configuration);
    let mut server = Server::start(place.command());
    let metrics = server.log.address("metrics");
    let mut reloads = Reloads::new(&place, &server, &configuration);
    let start = Instant::now();
    let at_full_speed = |client| Client { pause: Duration::ZERO, slow: SLOW, ..client };
    let load = Load::start(&place, &server, COPIES, at_full_speed, Some(AT_ONCE));
    let mut longest = Duration::ZERO;
    while reloads.done() < times {
        sleep(INTERVAL);
        let asked = Instant::now();
        reloads.next();
        longest = longest.max(asked.elapsed());
    }
    sleep(INTERVAL);
    println!(
        "\n{times} reloads, a quarter of them each of another quota, another access list, other upstreams and a file with a \
         mistake; the longest took {longest:.1?}\n"
    );
    let answered = stopped(runtime, load, start);
    let (counted, unanswered) = runtime.block_on(replies(metrics));
    println!("\nThe server counts {counted} replies");
    assert_eq!((counted, unanswered), (answered, 0));
    server.send("TERM");
    assert!(server.wait().success());
}

/// Ends the load, shows it, and returns how many answers there were: to all that was asked.
fn stopped(runtime: &Runtime, load: Load, start: Instant) -> u64 {
    let clients = runtime.block_on(load.stop()).unwrap_or_else(|error| panic!("{error}"));
    let seconds = start.elapsed().as_secs_f64();
    println!("| | asked | answered | lost | per second | connections |\n|---|---|---|---|---|---|");
    let mut answered = 0;
    for (kind, Client { tally, .. }) in KINDS.iter().zip(&clients) {
        let (asked, answers) = (tally.asked.load(Ordering::SeqCst), tally.answers());
        let connections = tally.connections.load(Ordering::SeqCst);
        let rate = answers as f64 / seconds;
        println!("| {kind} | {asked} | {answers} | {} | {rate:.0} | {connections} |", asked - answers);
        answered += answers;
        assert_eq!(asked, answers, "{kind}");
    }
    answered
}
