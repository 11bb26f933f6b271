//! The tables. Each one starts its servers, fills their caches and compares what they cost.

use std::net::SocketAddr;

use pkdns_testing::benchmark::{
    cores,
    names::{at_random, in_turn, with_new_ones},
    on_core, pin, upstream,
};

use crate::{
    compare::{Contender, PKDNS, Scale, UNBOUND, compare},
    datagrams::Load,
    echo::Echo,
    servers::{CACHE, Server},
    streams, threads,
};

type Table = (&'static str, fn(Scale));

/// All tables by name. A table compares whatever can be asked in rounds: [`Contender`] knows of no transport.
pub(crate) const ALL: [Table; 6] = [
    ("udp", udp),
    ("idle", idle),
    ("mixed", mixed),
    ("tcp", tcp),
    ("million", million),
    ("threads", threads),
];

/// Names in the cache where the table says nothing else.
pub(crate) const NAMES: u32 = 1000;

/// Queries on their way that keep a server busy. They fit into the receive buffer of each server, as
/// their replies do into those of the client.
const WINDOW: usize = 256;

/// Queries of a round over UDP.
const QUERIES: u32 = 500_000;

const ONE_ADDRESS: &str = "127.0.0.1:0";
const ALL_ADDRESSES: &str = "0.0.0.0:0";

/// A busy server.
fn udp(scale: Scale) {
    let title = format!("udp: {WINDOW} queries in flight at once, {NAMES} names in the cache");
    udp_with(&title, scale, QUERIES, WINDOW);
}

/// A server that sleeps before each query.
fn idle(scale: Scale) {
    udp_with(&format!("idle: one query at a time, {NAMES} names in the cache"), scale, QUERIES / 10, 1);
}

fn udp_with(title: &str, scale: Scale, queries: u32, window: usize) {
    let upstream = upstream::start();
    let servers = on_server_core(|| {
        let mut servers = vec![
            ("echo in batches of 64", Server::echo(Echo::Batches)),
            ("echo one by one", Server::echo(Echo::Single)),
            (PKDNS, Server::pkdns(ONE_ADDRESS, upstream, CACHE)),
            ("pkdns on all addresses (`0.0.0.0`)", Server::pkdns(ALL_ADDRESSES, upstream, CACHE)),
        ];
        servers.extend(unbound(upstream));
        servers
    });
    let contenders =
        servers.iter().map(|(name, server)| over_udp(name, server, NAMES, in_turn(NAMES), window));
    compare(title, scale, queries, contenders.collect());
}

/// Names in the cache among others that nobody asked for yet.
fn mixed(scale: Scale) {
    let upstream = upstream::start();
    for tenths in [10, 9, 5] {
        let servers = on_server_core(|| {
            let mut servers = vec![
                ("echo in batches of 64", Server::echo(Echo::Batches)),
                (PKDNS, Server::pkdns(ONE_ADDRESS, upstream, CACHE)),
            ];
            servers.extend(unbound(upstream));
            servers
        });
        let contenders = servers
            .iter()
            .map(|(name, server)| over_udp(name, server, NAMES, with_new_ones(NAMES, tenths), WINDOW));
        let title = format!(
            "mixed: {tenths}0 % of the queries are for {NAMES} names in the cache, the rest for new ones"
        );
        compare(&title, scale, QUERIES / 2, contenders.collect());
    }
}

/// Pipelined queries.
fn tcp(scale: Scale) {
    let upstream = upstream::start();
    let servers = on_server_core(|| {
        let mut servers = vec![
            ("echo over TCP", Server::echo(Echo::Tcp)),
            (PKDNS, Server::pkdns(ONE_ADDRESS, upstream, CACHE)),
        ];
        servers.extend(unbound(upstream));
        servers
    });
    let contenders = servers.iter().map(|(name, server)| {
        let (address, mut names) = (server.process.address(), in_turn(NAMES));
        let mut ask =
            move |queries: u32| streams::run(address, server.replies, names.by_ref().take(queries as usize));
        ask(NAMES);
        Contender::new(name, &server.process, ask)
    });
    let title = format!("tcp: {}, {NAMES} names in the cache", streams::PATTERN);
    compare(&title, scale, QUERIES, contenders.collect());
}

/// A cache that no processor's cache holds.
fn million(scale: Scale) {
    let names = scale.of(1_000_000);
    let upstream = upstream::start();
    // Answers are spread over parts of the cache, none of which may overflow.
    let room = names as usize * 5 / 4 + CACHE;
    let (echo, pkdns) =
        on_server_core(|| (Server::echo(Echo::Batches), Server::pkdns(ONE_ADDRESS, upstream, room)));
    let contenders = vec![
        over_udp("echo in batches of 64", &echo, 0, at_random(names), WINDOW),
        over_udp("pkdns, 1000 of the names in turn", &pkdns, names, in_turn(NAMES), WINDOW),
        over_udp("pkdns, all names in random order", &pkdns, 0, at_random(names), WINDOW),
    ];
    compare(&format!("million: {names} names in the cache"), scale, QUERIES, contenders);
    let status = pkdns.process.proc_file("status");
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    println!("\nMemory of pkdns: {}", memory.trim());
}

/// What a second core adds.
fn threads(scale: Scale) {
    let (server_core, client_core) = cores();
    if server_core == client_core {
        println!("\nSKIPPED: threads, because there is only one core");
        return;
    }
    let upstream = upstream::start();
    threads::service(scale, upstream, [server_core, client_core]);
    // Two cores for a server and one for the client would take three: here they share the second one.
    let one = on_server_core(|| Server::pkdns(ONE_ADDRESS, upstream, CACHE));
    pin(&[server_core, client_core]);
    let two = Server::pkdns(ONE_ADDRESS, upstream, CACHE);
    pin(&[client_core]);
    let contenders = [("pkdns on one core", &one), ("pkdns on two, one shared with the client", &two)]
        .map(|(name, server)| over_udp(name, server, NAMES, in_turn(NAMES), WINDOW));
    let title = format!("threads: {WINDOW} queries in flight at once, {NAMES} names in the cache");
    compare(&title, scale, QUERIES, contenders.into());
}

fn on_server_core<T>(servers: impl FnOnce() -> T) -> T {
    let (server_core, client_core) = cores();
    on_core(server_core, client_core, servers)
}

/// unbound, or a line that says why not.
fn unbound(upstream: SocketAddr) -> Option<(&'static str, Server)> {
    let server = Server::unbound(upstream);
    if server.is_none() {
        println!("\nSKIPPED: unbound, which is not installed");
    }
    server.map(|server| (UNBOUND, server))
}

/// A server that is asked for `names` over UDP when it has the first `known` ones in its cache.
fn over_udp<'a>(
    name: &'a str,
    server: &'a Server,
    known: u32,
    mut names: impl Iterator<Item = u32> + 'a,
    window: usize,
) -> Contender<'a> {
    let mut load = Load::new(server.process.address(), server.replies);
    load.fill(0..known);
    Contender::new(name, &server.process, move |queries| {
        load.run(names.by_ref().take(queries as usize), window)
    })
}
