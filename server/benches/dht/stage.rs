//! A network with its keys, and the clients that look them up.

use std::{
    cell::Cell,
    net::SocketAddr,
    path::Path,
    thread::sleep,
    time::{Duration, SystemTime},
};

use pkdns_dht::{
    internal::{internet_of_tests, saved_nodes, table::Contact},
    simulator::{Simulator, World},
};
use pkdns_testing::benchmark::{Process, cores, on_core};

use crate::{
    Scale,
    askers::{Asker, Server},
    observed::{number, scrape},
    row::Outcome,
    zones::{NEW, NOBODY, Zone},
};

/// Until a server has joined, and knows the nodes of its file.
pub(crate) const SETTLING: Duration = Duration::from_secs(10);

/// Until searches that have answered have come to their end.
const REST: Duration = Duration::from_secs(4);

/// What `dht.max_nodes` is by default.
pub(crate) const BY_DEFAULT: usize = 65_536;

/// Keys that somebody is asked for before anything is measured.
const WARM_UP_AT_ONCE: usize = 8;

/// The series of all keys that are published.
const SERIES: u8 = 1;

/// A network, and how many keys were made of either kind.
pub(crate) struct Stage {
    pub(crate) simulator: Simulator,
    scale: Scale,
    published: Cell<u32>,
    absent: Cell<u32>,
}

impl Stage {
    pub(crate) fn new(world: World, scale: Scale) -> Self {
        let simulator = Simulator::start(World { count_targets: true, ..world }).unwrap();
        Self { simulator, scale, published: Cell::new(0), absent: Cell::new(0) }
    }

    /// So many keys that nobody has been asked for, published.
    pub(crate) fn zones(&self, count: u32) -> Vec<Zone> {
        let zones = self.unpublished(count);
        zones.iter().for_each(|zone| self.simulator.store(&zone.packet(NEW)));
        zones
    }

    /// So many keys that are still to be published.
    pub(crate) fn unpublished(&self, count: u32) -> Vec<Zone> {
        more(SERIES, count, &self.published)
    }

    /// So many keys that nobody publishes.
    pub(crate) fn absent(&self, count: u32) -> Vec<Zone> {
        more(NOBODY, count, &self.absent)
    }

    /// A server that knows so many nodes from a file that the simulator has written. With none, it begins by itself.
    pub(crate) fn server(&self, known: usize, more: &str) -> Process {
        let (server_core, client_core) = cores();
        let bootstrap = self.simulator.bootstrap();
        let max_nodes = known.max(BY_DEFAULT);
        let configuration = format!(
            "listen = '127.0.0.1:0'\nfallback_dns = '127.0.0.1:9'\n\
             [dht]\nbootstrap = {bootstrap:?}\nmax_nodes = {max_nodes}\n\
             [metrics]\nlisten = '127.0.0.1:0'\n\
             [rate_limit]\nrequests_per_minute = 0\ndht_requests_per_minute = 0\n{more}"
        );
        let write = |directory: &Path| self.write_nodes(&directory.join("dht-nodes"), &bootstrap, known);
        on_core(server_core, client_core, || {
            Process::pkdns_with(&configuration, &[(internet_of_tests::VARIABLE, "1")], write)
        })
    }

    fn write_nodes(&self, path: &Path, bootstrap: &[String], count: usize) {
        if count > 0 {
            let nodes = self.simulator.living(count).into_iter().map(Contact::from);
            saved_nodes::save(path, bootstrap, nodes, SystemTime::now()).unwrap();
        }
    }

    /// A server that has been asked for some other keys before.
    pub(crate) fn warm_server(&self, known: usize, more: &str) -> Process {
        let server = self.server(known, more);
        sleep(SETTLING);
        self.warm_up(&mut Server::found(server.address()));
        server
    }

    pub(crate) fn warm_up(&self, asker: &mut dyn Asker) {
        asker.ask(&self.zones(self.scale.warm_up), WARM_UP_AT_ONCE, &mut |_| ());
        sleep(REST);
    }

    /// Has somebody look for keys, so many at once.
    pub(crate) fn measure(&self, asker: &mut dyn Asker, zones: &[Zone], at_once: usize) -> Outcome {
        self.simulator.take_messages_per_target();
        let late = self.simulator.statistics().overflowed;
        let messages = |place: usize| self.simulator.messages_for(&zones[place].keypair.public_key());
        let mut before = Vec::new();
        let replies = asker.ask(zones, at_once, &mut |place| before.push(messages(place)));
        sleep(REST);
        let late = self.simulator.statistics().overflowed - late;
        if late > 0 {
            eprintln!("  the simulator was too slow: {late} answers were not sent");
        }
        Outcome { replies, before, all: (0..zones.len()).map(messages).collect() }
    }
}

/// How many nodes a server knows.
pub(crate) fn known_to(server: &Process) -> usize {
    number(&scrape(metrics_of(server)), "pkdns_dht_nodes{family=\"ipv4\"}") as usize
}

/// The server's metrics.
pub(crate) fn metrics_of(server: &Process) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], server.port("metrics")))
}

fn more(series: u8, count: u32, made: &Cell<u32>) -> Vec<Zone> {
    let first = made.replace(made.get() + count);
    (first..first + count).map(|number| Zone::new(series, number)).collect()
}
