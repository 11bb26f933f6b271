//! As many lookups as in a day of use, in a quarter of an hour: a million, in a DHT whose nodes come and go.

use pkdns_dht::simulator::{Simulator, World};
use pkdns_testing::benchmark::{cores, on_core};

use crate::{
    Scale, clients,
    load::{Said, ask},
    observed::{free_port, scrape, value},
    zones::{NOBODY, Zone},
};

/// Lookups between two looks at the server.
const BATCH: usize = 20_000;

/// Zones that exist. The server remembers far fewer, so that each is a cold one again when its turn comes.
const ZONES: u32 = 10_000;

/// Share of the nodes that are replaced by others after each batch.
const CHURN: f64 = 0.05;

/// Asks for keys, of which every second one exists.
pub(crate) fn soak(scale: Scale) {
    let lookups = scale.soak;
    println!(
        "\nsoak: {} nodes, 2 % loss, 20 % dead; 5 % of them replaced after every {BATCH} lookups",
        scale.small_nodes
    );
    let simulator =
        Simulator::start(World { nodes: scale.small_nodes, loss: 0.02, dead: 0.2, ..World::default() })
            .unwrap();
    let metrics = free_port();
    let (server_core, client_core) = cores();
    let server = on_core(server_core, client_core, || {
        let cache = "[cache]\nmax_entries = 1000\nttl_seconds = 1\nnegative_ttl_seconds = 1\n";
        clients::server(&simulator, &format!("{cache}[metrics]\nlisten = '{metrics}'\n"))
    });
    let zones = Zone::series(1, ZONES.min(lookups as u32 / 2));
    println!(
        "{:>10}{:>8}{:>10}{:>10}{:>8}{:>12}{:>10}{:>14}",
        "lookups", "right", "wrong", "failed", "lost", "memory MB", "nodes", "in flight"
    );
    let mut done = 0;
    let mut made_up = 0;
    while done < lookups {
        let batch = BATCH.min(lookups - done);
        // What was stored on nodes that have gone is published again, as its owner would.
        let questions: Vec<Zone> = (0..batch)
            .map(|index| {
                if index.is_multiple_of(2) {
                    zones[(done + index) / 2 % zones.len()].clone()
                } else {
                    made_up += 1;
                    Zone::new(NOBODY, made_up)
                }
            })
            .collect();
        questions.iter().step_by(2).for_each(|zone| simulator.store(&zone.packet(0)));
        let replies = ask(server.address(), &questions, scale.at_once / 4, |_| ());
        let exists = |index: usize| index.is_multiple_of(2);
        let is_right = |index: usize, said| match said {
            Said::Address(address) => exists(index) && address == questions[index].address(0),
            Said::NoSuchName => !exists(index),
            Said::Failure(_) | Said::Other | Said::Nothing => false,
        };
        let failed = |_, said| matches!(said, Said::Failure(_));
        let lost = |_, said| said == Said::Nothing;
        let (right, failed, lost) = (replies.count(is_right), replies.count(failed), replies.count(lost));
        done += batch;
        let page = scrape(metrics);
        println!(
            "{done:>10}{right:>8}{:>10}{failed:>10}{lost:>8}{:>12.1}{:>10}{:>14}",
            batch - right - failed - lost,
            server.memory() as f64 / 1e6,
            value(&page, "pkdns_dht_nodes{family=\"ipv4\"}"),
            value(&page, "pkdns_dht_lookups_in_flight"),
        );
        simulator.churn(CHURN);
    }
}
