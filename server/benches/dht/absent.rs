//! Lookups of keys that nobody has published.

use pkdns_dht::simulator::World;

use crate::{
    Scale,
    askers::Server,
    row::print_heads,
    stage::{BY_DEFAULT, Stage, known_to},
};

const AT_ONCE: usize = 32;

pub(crate) fn absent(scale: Scale) {
    let stage = Stage::new(World::realistic(scale.nodes), scale);
    print_heads(&format!("absent: {} nodes; right is NXDOMAIN, and SERVFAIL counts as lost", scale.nodes));
    for known in [BY_DEFAULT, scale.most_known] {
        let server = stage.warm_server(known, "");
        let known = known_to(&server);
        for (at_once, part) in [(1, 20), (AT_ONCE, 2)] {
            let outcome = stage.measure(
                &mut Server::denied(server.address()),
                &stage.absent(scale.keys / part),
                at_once,
            );
            outcome.print(&format!("pkdns, {known} nodes known, {at_once} at once"), None);
        }
    }
    // The first question finds a table of nodes that all seem to be there.
    let server = stage.warm_server(BY_DEFAULT, "");
    stage.simulator.silence(true);
    let zones = stage.absent(scale.keys / 20);
    let outcome = stage.measure(&mut Server::unreachable(server.address()), &zones, AT_ONCE);
    outcome.print("pkdns, all nodes silent; right is SERVFAIL with error 22", None);
}
