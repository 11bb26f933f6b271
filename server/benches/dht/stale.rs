//! Lookups of keys for which some nodes hold an older packet.

use std::thread::sleep;

use pkdns_dht::simulator::World;

use crate::{
    Scale,
    askers::{Asker, Mainline, Server},
    libtorrent::Libtorrent,
    row::{Came, print_heads},
    stage::{BY_DEFAULT, SETTLING, Stage, known_to},
    zones::{NEW, OLD},
};

const AT_ONCE: usize = 32;

pub(crate) fn stale(scale: Scale) {
    let stage = Stage::new(World { stale: 0.3, ..World::realistic(scale.nodes) }, scale);
    print_heads(&format!(
        "stale: {} nodes; 3 in 10 holders have an older packet, which counts as wrong",
        scale.nodes
    ));
    row(&stage, scale, "mainline 8", &mut Mainline::join(&stage.simulator));
    if let Some(mut libtorrent) = Libtorrent::join(&stage.simulator) {
        row(&stage, scale, "libtorrent 2", &mut libtorrent);
    }
    for known in [BY_DEFAULT, scale.most_known] {
        let server = stage.server(known, "");
        sleep(SETTLING);
        let title = format!("pkdns, {} nodes known", known_to(&server));
        row(&stage, scale, &title, &mut Server::found(server.address()));
    }
}

fn row(stage: &Stage, scale: Scale, title: &str, asker: &mut dyn Asker) {
    stage.warm_up(asker);
    let zones = stage.unpublished(scale.keys / 2);
    zones.iter().for_each(|zone| stage.simulator.store_stale(&zone.packet(NEW), &zone.packet(OLD)));
    let outcome = stage.measure(asker, &zones, AT_ONCE);
    let answered = outcome.replies.len() - outcome.count(Came::Lost);
    let old = outcome.count(Came::Wrong) as f64 * 100.0 / answered.max(1) as f64;
    outcome.print(&format!("{title}, {AT_ONCE} at once: {old:.1} % outdated"), None);
}
