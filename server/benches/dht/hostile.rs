//! Networks in which some nodes do harm.

use pkdns::simulator::{Hostile, World};

use crate::{
    Scale,
    askers::Denied,
    row::print_heads,
    stage::{BY_DEFAULT, Stage},
};

const AT_ONCE: usize = 32;

/// Of all nodes, those of the kind that a row is about.
const SHARE: f64 = 0.2;

pub(crate) fn hostile(scale: Scale) {
    print_heads(&format!("hostile: {} nodes, 2 in 10 of one kind", scale.nodes));
    for kind in Hostile::ALL {
        let hostile = vec![(kind, SHARE)];
        let stage = Stage::new(World { hostile, ..World::realistic(scale.nodes) }, scale);
        let server = stage.warm_server(BY_DEFAULT, "");
        let outcome = stage.measure(&mut server.address(), &stage.zones(scale.keys / 8), AT_ONCE);
        outcome.print(&format!("pkdns: {kind:?}, keys that are there"), None);
        let outcome = stage.measure(&mut Denied(server.address()), &stage.absent(scale.keys / 16), AT_ONCE);
        outcome.print(&format!("pkdns: {kind:?}, keys that are not"), None);
    }
}
