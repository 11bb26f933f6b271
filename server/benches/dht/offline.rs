//! Thousands of searches without sockets, in time that moves by hand: what the product's searches come to where computing
//! takes no time.

use std::time::{Duration, Instant};

use pkdns::{
    dht::DhtSettings,
    simulator::{Offline, OfflineClient, Search, World},
};

use crate::{
    Scale,
    row::{milliseconds, percentile, print_cells, show},
    stage::as_contact,
    zones::{NEW, NOBODY, Zone},
};

const COLUMNS: [&str; 10] =
    ["searches", "lost", "first p50 ms", "p90", "p99", "max", "before", "in all", "end p50 ms", "end p99"];

/// Between two searches.
const PAUSE: Duration = Duration::from_millis(200);

pub(crate) fn offline(scale: Scale) {
    println!("\noffline: {} nodes, without sockets; a search every {} ms\n", scale.nodes, PAUSE.as_millis());
    print_cells("", COLUMNS.map(str::to_owned));
    println!("|---|{}", "---:|".repeat(COLUMNS.len()));
    let mut network = Offline::new(World::realistic(scale.nodes)).unwrap();
    let there = Zone::series(1, scale.searches);
    there.iter().for_each(|zone| network.store(&zone.packet(NEW)));
    let not_there = Zone::series(NOBODY, scale.searches / 2);
    for known in [8192, 65_536, scale.most_known] {
        let settings = DhtSettings { max_nodes: known, ..DhtSettings::default() };
        let mut client = OfflineClient::new(&network, &settings);
        let nodes = network.living(known).map(as_contact).collect();
        client.remember(&mut network, nodes);
        let settled = network.now() + Duration::from_secs(10);
        client.run(&mut network, settled);
        for (zones, what) in [(&there, "there"), (&not_there, "not there")] {
            let (began, first) = (Instant::now(), client.searches().len());
            let start = network.now();
            for (number, zone) in zones.iter().enumerate() {
                client.search_at(&mut network, &zone.keypair.public_key(), start + PAUSE * number as u32);
            }
            client.run_until_done(&mut network);
            let title = format!("{} nodes known: {what}", client.known());
            row(&title, &client.searches()[first..], what == "there");
            eprintln!("  took {:.1} s", began.elapsed().as_secs_f64());
        }
    }
}

fn row(title: &str, searches: &[Search], is_there: bool) {
    let right = |search: &&Search| if is_there { search.first.is_some() } else { search.is_absent() };
    let lost = searches.len() - searches.iter().filter(right).count();
    let first: Vec<_> = searches.iter().filter_map(Search::time_to_first).collect();
    let ends: Vec<_> = searches.iter().filter_map(Search::duration).collect();
    let before: Vec<_> = searches.iter().filter_map(|it| Some(it.first.as_ref()?.requests)).collect();
    let all: Vec<_> = searches.iter().map(|search| search.requests).collect();
    let cells = [searches.len(), lost].map(|count| count.to_string()).into_iter();
    let cells = cells.chain([0.5, 0.9, 0.99, 1.0].map(|share| milliseconds(percentile(&first, share))));
    let cells = cells.chain([&before, &all].map(|counts| show(percentile(counts, 0.5))));
    print_cells(title, cells.chain([0.5, 0.99].map(|share| milliseconds(percentile(&ends, share)))));
}
