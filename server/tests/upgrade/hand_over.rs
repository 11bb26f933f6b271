//! Another process, or another configuration, takes the place of one that is asked over all transports. Nothing is lost, on
//! whichever side one counts.

use std::{
    net::TcpListener,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use pkdns::sources::packets::{DiskError, DiskStore};
use pkdns_testing::{
    upgrade::{
        clients::{Tally, ask_over_udp},
        load::{KINDS, Load, answered_before, configuration, replies},
        reloads::Reloads,
        server::{Place, Server, send},
    },
    wait,
};
use tokio::{runtime::Runtime, time::sleep};

use super::PATIENCE;

/// Answers that each kind of client gets before and after.
const ANSWERS: u64 = 60;

async fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// Ends the load. Returns how many answers there were, which is all that was asked for; `kept` looks at clients that keep their
/// connections.
fn all_answered(runtime: &Runtime, load: Load, server: &Server, kept: impl Fn(&str, &Tally)) -> u64 {
    let clients = runtime.block_on(load.stop());
    let clients = clients.unwrap_or_else(|error| panic!("{error}: {:#?}", server.log.lines()));
    let mut answered = 0;
    for (kind, client) in KINDS.iter().zip(&clients) {
        let tally = &client.tally;
        assert_eq!(tally.asked.load(Ordering::SeqCst), tally.answers(), "{kind}");
        answered += tally.answers();
        if kind.ends_with("kept") || kind.starts_with("http") {
            kept(kind, tally);
        }
    }
    answered
}

#[test]
fn every_query_over_every_transport_is_answered_while_another_process_takes_over() {
    let place = Place::with(&configuration());
    let mut server = Server::start(place.command());
    let metrics = server.log.address("metrics");
    let runtime = Runtime::new().unwrap();
    let _entered = runtime.enter();
    let load = Load::start(&place, &server, 1, |client| client, None);
    let all_have = |least: [u64; KINDS.len()]| {
        load.has_failed() || load.answers().iter().zip(least).all(|(answers, least)| *answers >= least)
    };
    runtime.block_on(wait_until("answers before", || all_have([ANSWERS; KINDS.len()])));
    // As an installation does it: the file that runs has no name any more.
    place.install();
    let successor = server.upgrade();
    assert_ne!(successor, server.id());
    let more = load.answers().map(|answers| answers + ANSWERS);
    runtime.block_on(wait_until("answers after", || all_have(more)));
    assert!(server.wait().success(), "{:#?}", server.log.lines());
    let answered = all_answered(&runtime, load, &server, |kind, tally| {
        assert!(tally.moved.load(Ordering::SeqCst) > 0, "{kind}");
    });
    let before = answered_before(&server);
    let lines = server.log.lines();
    assert!(
        !lines.iter().any(|line| line.contains("connections that are still open")),
        "all were asked to end: {lines:#?}"
    );
    let (after, unanswered) = runtime.block_on(replies(metrics));
    assert!(before > 0 && after > 0);
    assert_eq!((before + after, unanswered), (answered, 0), "what the servers counted");
    send("TERM", successor);
    server.log.wait_for_end();
}

#[test]
fn every_query_over_every_transport_is_answered_while_the_configuration_changes() {
    let configuration = configuration();
    let place = Place::with(&configuration);
    let mut server = Server::start(place.command());
    let metrics = server.log.address("metrics");
    let runtime = Runtime::new().unwrap();
    let _entered = runtime.enter();
    let load = Load::start(&place, &server, 1, |client| client, None);
    let mut reloads = Reloads::new(&place, &server, &configuration);
    // Twice each kind.
    while reloads.done() < 8 {
        reloads.next();
        let more = load.answers().map(|answers| answers + ANSWERS / 4);
        let all_have = || load.answers().iter().zip(more).all(|(answers, least)| *answers >= least);
        runtime.block_on(wait_until("answers after a reload", || load.has_failed() || all_have()));
    }
    let answered = all_answered(&runtime, load, &server, |kind, tally| {
        assert_eq!(tally.connections.load(Ordering::SeqCst), 1, "{kind}: its connection stays");
    });
    assert_eq!(runtime.block_on(replies(metrics)), (answered, 0), "what the server counted");
    server.send("TERM");
    assert!(server.wait().success());
}

#[test]
fn a_successor_that_does_not_start_changes_nothing() {
    let place = Place::with(&configuration());
    let server = Server::start(place.command());
    let address = server.log.address("udp");
    let packets = place.path().join("packets");
    let is_held = || matches!(DiskStore::open(&packets, 1_000_000), Err(DiskError::Locked { .. }));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    for (number, (mistake, reason)) in [
        ("verbos = true".to_owned(), "there is no option `verbos`"),
        (
            configuration().replace("[doh]", "[doh]\ncert_path = '/nope'\nkey_path = '/nope'"),
            "doh.cert_path: /nope",
        ),
        // Found out when the packets have been left to it.
        (
            configuration().replacen("127.0.0.1:0", &taken.local_addr().unwrap().to_string(), 1),
            "holds this port",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        place.configure(&mistake);
        server.send("USR2");
        let goes_on = |line: &&String| line.contains("no other process takes over, and this one goes on");
        wait::until_or_show(
            || server.log.lines().iter().filter(goes_on).count() > number,
            || format!("{:#?}", server.log.lines()),
        );
        server.log.wait_for(reason);
        assert!(ask_over_udp(address, &format!("n{number}.load.lan"), PATIENCE), "{:#?}", server.log.lines());
        assert!(is_held(), "the packets are kept on disk again");
    }
    // And once the mistake is mended, it does.
    place.configure(&configuration());
    let successor = server.upgrade();
    assert!(ask_over_udp(address, "after.load.lan", PATIENCE));
    send("TERM", successor);
}
