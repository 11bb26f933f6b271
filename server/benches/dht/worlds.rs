//! Networks that the search was not tuned for.

use std::time::Duration;

use pkdns_dht::{
    signed_packet::SignedPacket,
    simulator::{Family, Offline, RoundTrips, World},
};

use crate::{
    Scale,
    askers::Server,
    offline,
    row::print_heads,
    stage::{BY_DEFAULT, Stage},
};

const AT_ONCE: usize = 32;

/// One port of loopback has addresses for so many nodes.
const MOST_ON_LOOPBACK: usize = 16_500_000;

pub(crate) fn worlds(scale: Scale) {
    print_heads("worlds: 65,536 nodes known, from a file, 32 at once; published and absent keys");
    for (title, world) in others(scale).into_iter().filter(|(_, world)| world.nodes <= MOST_ON_LOOPBACK) {
        let stage = Stage::new(world, scale);
        let server = stage.warm_server(BY_DEFAULT, "");
        let outcome =
            stage.measure(&mut Server::found(server.address()), &stage.zones(scale.keys / 4), AT_ONCE);
        outcome.print(&format!("{title}: published"), None);
        let outcome =
            stage.measure(&mut Server::denied(server.address()), &stage.absent(scale.keys / 8), AT_ONCE);
        outcome.print(&format!("{title}: absent"), None);
    }
}

/// The same without sockets, and those for which one machine has no addresses. It takes two minutes.
pub(crate) fn without_sockets(scale: Scale) {
    offline::print_heads("worlds, offline: the same without sockets, one after the other");
    for (title, world) in others(scale) {
        offline::search(world, BY_DEFAULT, title, scale);
    }
    let realistic = || World::realistic(scale.nodes);
    offline::search(World { family: Family::V6, ..realistic() }, BY_DEFAULT, "IPv6", scale);
    for (family, title) in
        [(Family::V4, "IPv4 and IPv6, packets in IPv4"), (Family::V6, "IPv4 and IPv6, packets in IPv6")]
    {
        let network = Offline::of_both_families(realistic(), realistic()).unwrap();
        let store = |network: &mut Offline, packet: &SignedPacket| network.store_in(family, packet);
        offline::search_in(network, store, BY_DEFAULT, title, scale);
    }
}

fn others(scale: Scale) -> Vec<(&'static str, World)> {
    let realistic = || World::realistic(scale.nodes);
    let wide = RoundTrips::LogNormal {
        median: Duration::from_millis(120),
        sigma: 1.0,
        within: Duration::from_millis(5)..=Duration::from_secs(3),
    };
    vec![
        ("as in the other tables", realistic()),
        ("sigma 1.0", World { round_trip: wide, ..realistic() }),
        ("40 % dead", World { dead: 0.4, ..realistic() }),
        ("10 % loss each way", World { loss: 0.1, ..realistic() }),
        ("a tenth of the nodes", World::realistic(scale.nodes / 10)),
        ("twice the nodes", World::realistic(scale.nodes * 2)),
        ("30 % behind a NAT", World { behind_nat: 0.3, ..realistic() }),
        ("1 in 10 answers up to 2 s late", World { late: (0.1, Duration::from_secs(2)), ..realistic() }),
        ("1 in 4 routing-table entries outdated", World { stale_entries: 0.25, ..realistic() }),
        ("packets on the nearest nodes of any kind", World { on_living_only: false, ..realistic() }),
    ]
}
