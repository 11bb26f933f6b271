//! Lookups of keys that the server has not seen yet, in a network as large as the public DHT.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use pkdns_dht::simulator::World;
use pkdns_testing::benchmark::Process;

use crate::{
    Scale,
    askers::{Asker, Mainline, Server},
    libtorrent::Libtorrent,
    row::{Rival, print_heads},
    stage::{BY_DEFAULT, SETTLING, Stage, known_to},
};

/// How many are looked for at once, and how many in all, in parts of the scale's keys.
const LOADS: [(usize, f64); 3] = [(1, 0.15), (32, 0.5), (500, 1.0)];

pub(crate) fn cold(scale: Scale) {
    let stage = Stage::new(World::realistic(scale.nodes), scale);
    print_heads(&format!("cold: {} nodes as in `World::realistic`; after 200 other keys", scale.nodes));
    // Others first: what comes then is compared with them.
    let mut mainline = Mainline::join(&stage.simulator);
    let rivals = row_for_each_load(&stage, scale, "mainline 8", &mut mainline, [None; 3]);
    if let Some(mut libtorrent) = Libtorrent::join(&stage.simulator) {
        row_for_each_load(&stage, scale, "libtorrent 2", &mut libtorrent, rivals);
    }
    for known in [BY_DEFAULT, scale.most_known] {
        let server = stage.server(known, "");
        sleep(SETTLING);
        let title = format!("pkdns, {} nodes known, from a file", known_to(&server));
        row_for_each_load(&stage, scale, &title, &mut Server::found(server.address()), rivals);
    }
    from_nothing(&stage, scale, rivals);
}

/// The server from its first moment on: soon after, when its table is full, and after a restart.
fn from_nothing(stage: &Stage, scale: Scale, rivals: [Option<Rival>; 3]) {
    let server = stage.server(0, "");
    sleep(SETTLING);
    one_at_a_time(stage, scale, "pkdns, 10 s after a start from nothing", &server, rivals[0]);
    let (known, time) = fill(&server, scale);
    let title = format!("pkdns, {known} nodes known {} s later", time.as_secs());
    row_for_each_load(stage, scale, &title, &mut Server::found(server.address()), rivals);
    let server = server.restart();
    one_at_a_time(stage, scale, "pkdns, at once after a restart", &server, rivals[0]);
}

fn one_at_a_time(stage: &Stage, scale: Scale, title: &str, server: &Process, rival: Option<Rival>) {
    let zones = stage.zones(scale.keys / 10);
    stage.measure(&mut Server::found(server.address()), &zones, 1).print(title, rival);
}

/// Waits until the server knows as many nodes as it may, or hardly any more than half a minute before.
fn fill(server: &Process, scale: Scale) -> (usize, Duration) {
    let start = Instant::now();
    let mut before = 0;
    loop {
        let known = known_to(server);
        let is_full = known >= BY_DEFAULT * 99 / 100 || known < before + before / 100;
        if is_full || start.elapsed() > scale.filling {
            return (known, start.elapsed());
        }
        before = known;
        sleep(Duration::from_secs(30).min(scale.filling));
    }
}

fn row_for_each_load(
    stage: &Stage,
    scale: Scale,
    title: &str,
    asker: &mut dyn Asker,
    rivals: [Option<Rival>; 3],
) -> [Option<Rival>; 3] {
    stage.warm_up(asker);
    let mut place = 0;
    LOADS.map(|(at_once, part)| {
        let zones = stage.zones((f64::from(scale.keys) * part) as u32);
        let outcome = stage.measure(asker, &zones, at_once);
        outcome.print(&format!("{title}, {at_once} at once"), rivals[place]);
        place += 1;
        outcome.as_rival()
    })
}
