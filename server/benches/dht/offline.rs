//! Thousands of searches without sockets and on a simulated clock, which shows what the searches of the real client
//! take when computation costs no time.

use std::time::{Duration, Instant};

use pkdns_dht::{
    DhtSettings, REPLICAS,
    internal::table::Contact,
    signed_packet::SignedPacket,
    simulator::{Offline, OfflineClient, Publication, Search, World},
};

use crate::{
    Scale,
    row::{milliseconds, percentile, print_cells, show},
    stage::BY_DEFAULT,
    zones::{NEW, NOBODY, OLD, Zone},
};

const SEARCHES: [&str; 10] =
    ["searches", "lost", "first p50 ms", "p90", "p99", "max", "before", "in total", "end p50 ms", "end p99"];
const PUBLICATIONS: [&str; 9] = [
    "published",
    "failed",
    "p50 ms",
    "p99",
    "max",
    "messages",
    "fewest holders",
    "fewest of the 20 nearest",
    "mean",
];

/// Between two searches.
const PAUSE: Duration = Duration::from_millis(200);

/// Until a client that remembers nodes has asked some of them.
const SETTLING: Duration = Duration::from_secs(10);

pub(crate) fn offline(scale: Scale) {
    print_heads(&format!("offline: {} nodes; one search every {} ms", scale.nodes, PAUSE.as_millis()));
    let all_known = [8192, BY_DEFAULT, scale.most_known];
    for known in all_known {
        search(World::realistic(scale.nodes), known, &format!("{known} nodes known"), scale);
    }
    println!("\noffline, publish: {} nodes; one after the other\n", scale.nodes);
    print_cells("", PUBLICATIONS.map(str::to_owned));
    println!("|---|{}", "---:|".repeat(PUBLICATIONS.len()));
    for known in all_known {
        publish(World::realistic(scale.nodes), known, scale);
    }
}

/// The heads of the columns of [`search`].
pub(crate) fn print_heads(about: &str) {
    println!("\n{about}\n");
    print_cells("", SEARCHES.map(str::to_owned));
    println!("|---|{}", "---:|".repeat(SEARCHES.len()));
}

/// Searches of a client that remembers so many nodes: a row for keys that are there, and one for others.
pub(crate) fn search(world: World, known: usize, title: &str, scale: Scale) {
    search_in(Offline::new(world).unwrap(), Offline::store, known, title, scale);
}

/// As [`search`], for packets that are stored in this way.
pub(crate) fn search_in(
    network: Offline,
    store: impl Fn(&mut Offline, &SignedPacket),
    known: usize,
    title: &str,
    scale: Scale,
) {
    let began = Instant::now();
    let (mut network, mut client) = joined(network, known);
    let there = Zone::series(1, scale.searches);
    there.iter().for_each(|zone| store(&mut network, &zone.packet(NEW)));
    let not_there = Zone::series(NOBODY, scale.searches / 2);
    for (zones, what) in [(there, "published"), (not_there, "absent")] {
        let (first, start) = (client.searches().len(), network.now());
        for (number, zone) in zones.iter().enumerate() {
            client.search_at(&mut network, &zone.keypair.public_key(), start + PAUSE * number as u32);
        }
        client.run_until_done(&mut network);
        print_searches(&format!("{title}: {what}"), &client.searches()[first..], what == "published");
    }
    eprintln!("  took {:.1} s", began.elapsed().as_secs_f64());
}

fn publish(world: World, known: usize, scale: Scale) {
    let (mut network, mut client) = joined(Offline::new(world).unwrap(), known);
    for zone in Zone::series(2, scale.searches / 10) {
        // The 20 nearest nodes that can store it hold the packet that it replaces. Those that still do afterwards were
        // missed.
        network.store(&zone.packet(OLD));
        client.publish(&mut network, &zone.packet(NEW), None);
        client.run_until_done(&mut network);
        let later = network.now() + Duration::from_secs(2);
        client.run(&mut network, later);
    }
    let all: &[Publication] = client.publications();
    let times: Vec<_> =
        all.iter().filter(|it| matches!(it.result, Some(Ok(_)))).filter_map(Publication::duration).collect();
    let messages: Vec<_> = all.iter().map(|it| it.requests).collect();
    let count = |it: &Publication, is_new: bool| {
        let holders = network.holders(it.packet.key());
        holders.iter().filter(|held| (**held == it.packet.timestamp()) == is_new).count()
    };
    let holders: Vec<_> = all.iter().map(|it| count(it, true)).collect();
    let nearest: Vec<_> = all.iter().map(|it| REPLICAS - count(it, false)).collect();
    let mean = nearest.iter().sum::<usize>() as f64 / nearest.len().max(1) as f64;
    let cells = [all.len(), all.len() - times.len()].map(|count| count.to_string()).into_iter();
    let cells = cells.chain([0.5, 0.99, 1.0].map(|share| milliseconds(percentile(&times, share))));
    let cells = cells.chain([show(percentile(&messages, 0.5))]);
    let title = format!("{known} nodes known");
    print_cells(
        &title,
        cells
            .chain([&holders, &nearest].map(|counts| show(percentile(counts, 0.0))))
            .chain([format!("{mean:.1}")]),
    );
}

fn joined(mut network: Offline, known: usize) -> (Offline, OfflineClient) {
    let mut settings = DhtSettings::default();
    settings.max_nodes = known;
    let mut client = OfflineClient::new(&network, &settings);
    let nodes = network.living(known).map(Contact::from).collect();
    client.remember(&mut network, nodes);
    client.run(&mut network, SETTLING);
    (network, client)
}

fn print_searches(title: &str, searches: &[Search], is_there: bool) {
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
