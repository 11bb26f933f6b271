//! Networks in which some nodes are hostile.

use pkdns_dht::simulator::{Hostile, World};

use crate::{
    Scale,
    askers::Server,
    row::print_heads,
    stage::{BY_DEFAULT, Stage},
};

const AT_ONCE: usize = 32;

/// Of all nodes, those of the kind that a row is about.
const SHARE: f64 = 0.2;

pub(crate) fn hostile(scale: Scale) {
    print_heads(&format!(
        "hostile: {} nodes, 2 in 10 of them hostile, of one kind; then 40 around each attacked key",
        scale.nodes
    ));
    for kind in Hostile::ALL {
        let hostile = vec![(kind, SHARE)];
        let stage = Stage::new(World { hostile, ..World::realistic(scale.nodes) }, scale);
        let server = stage.warm_server(BY_DEFAULT, "");
        let outcome =
            stage.measure(&mut Server::found(server.address()), &stage.zones(scale.keys / 8), AT_ONCE);
        outcome.print(&format!("pkdns: {kind:?}, published keys"), None);
        let outcome =
            stage.measure(&mut Server::denied(server.address()), &stage.absent(scale.keys / 16), AT_ONCE);
        outcome.print(&format!("pkdns: {kind:?}, absent keys"), None);
    }
    attacked(scale);
}

/// Where somebody has nodes around keys, nearer than any honest one's.
fn attacked(scale: Scale) {
    let stage = Stage::new(World::realistic(scale.nodes), scale);
    let server = stage.warm_server(BY_DEFAULT, "");
    let zones = stage.zones(scale.keys / 2);
    zones.iter().for_each(|zone| stage.simulator.attack(&zone.keypair.public_key()));
    let (found, others) = zones.split_at(zones.len() / 2);
    let denied = |title: &str| {
        let outcome =
            stage.measure(&mut Server::denied(server.address()), &stage.absent(scale.keys / 8), AT_ONCE);
        outcome.print(title, None);
    };
    stage.measure(&mut Server::found(server.address()), found, AT_ONCE).print("pkdns: attacked keys", None);
    denied("pkdns: absent keys, during the attacks");
    stage
        .measure(&mut Server::found(server.address()), others, AT_ONCE)
        .print("pkdns: other attacked keys", None);
    stage.simulator.end_attacks();
    denied("pkdns: absent keys, after the attacks");
}
