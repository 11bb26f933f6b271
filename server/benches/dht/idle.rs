//! The cost of knowing many nodes while no queries arrive.

use std::{thread::sleep, time::Duration};

use pkdns_dht::simulator::World;

use crate::{
    Scale,
    observed::{number, scrape, value},
    row::print_cells,
    stage::{BY_DEFAULT, Stage, metrics_of},
};

const COLUMNS: [&str; 6] = [
    "nodes known",
    "memory MB",
    "bytes per node",
    "CPU to start s",
    "CPU of a core %",
    "datagrams per second",
];

pub(crate) fn idle(scale: Scale) {
    let stage = Stage::new(World::realistic(scale.nodes), scale);
    println!("\nidle: {} nodes; no queries for {} s\n", scale.nodes, scale.idle.as_secs());
    print_cells("", COLUMNS.map(str::to_owned));
    println!("|---|{}", "---:|".repeat(COLUMNS.len()));
    let mut alone = 0;
    for (known, title) in
        [(0, "without a file"), (BY_DEFAULT, "from a file"), (scale.most_known, "from a larger file")]
    {
        let server = stage.server(known, "");
        let metrics = metrics_of(&server);
        sleep(Duration::from_secs(20));
        let sent = |page: &str| number(page, "pkdns_dht_datagrams_sent_total");
        let (started, before) = (server.cpu_time(), sent(&scrape(metrics)));
        sleep(scale.idle);
        let page = scrape(metrics);
        let busy = (server.cpu_time() - started).total() / scale.idle.as_secs_f64() * 100.0;
        let memory = server.memory();
        if known == 0 {
            alone = memory;
        }
        let nodes = value(&page, "pkdns_dht_nodes{family=\"ipv4\"}");
        let a_node = memory.saturating_sub(alone) as f64 / nodes.parse::<f64>().unwrap_or(f64::NAN);
        print_cells(
            title,
            [
                nodes.to_owned(),
                format!("{:.1}", memory as f64 / 1e6),
                format!("{a_node:.0}"),
                format!("{:.2}", started.total()),
                format!("{busy:.2}"),
                format!("{:.1}", (sent(&page) - before) / scale.idle.as_secs_f64()),
            ],
        );
    }
}
