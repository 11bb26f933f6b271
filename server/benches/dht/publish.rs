//! Publications of packets, one after the other.

use std::{
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use pkdns_dht::simulator::{Simulator, World};

use crate::{
    Scale,
    askers::Mainline,
    libtorrent::Libtorrent,
    observed::request,
    row::{milliseconds, percentile, print_cells, show},
    stage::{BY_DEFAULT, Stage, known_to},
    zones::{NEW, Zone},
};

const COLUMNS: [&str; 7] =
    ["published", "failed", "p50 ms", "p99 ms", "max ms", "fewest holders 2 s later", "median"];

/// Others, and a program that starts, joins, publishes and ends, publish this part of what a server does.
const PART: usize = 3;

pub(crate) fn publish(scale: Scale) {
    let stage = Stage::new(World::realistic(scale.nodes), scale);
    println!("\npublish: {} nodes\n", scale.nodes);
    print_cells("", COLUMNS.map(str::to_owned));
    println!("|---|{}", "---:|".repeat(COLUMNS.len()));
    let mut zones = Zone::series(2, scale.publications * 5).into_iter();
    let mut some = |count: usize| zones.by_ref().take(count).collect::<Vec<_>>();
    let many = scale.publications as usize;

    let mainline = Mainline::join(&stage.simulator);
    row(&stage.simulator, "mainline 8", &some(many.div_ceil(PART)), |zone| {
        let put = mainline.dht.put_mutable(zone.packet(NEW).to_item(), None);
        mainline.runtime.block_on(put).is_ok()
    });
    if let Some(mut libtorrent) = Libtorrent::join(&stage.simulator) {
        let put = |zone: &Zone| libtorrent.put(zone, zone.packet(NEW).dns()).0 > 0;
        row(&stage.simulator, "libtorrent 2", &some(many.div_ceil(PART)), put);
    }
    for known in [BY_DEFAULT, scale.most_known] {
        let relay = "[doh]\nplain_listen = '127.0.0.1:0'\n[relay]\nenabled = true\nwrites_per_minute = 0\n";
        let server = stage.warm_server(known, relay);
        let address = SocketAddr::from(([127, 0, 0, 1], server.port("http")));
        let title = format!("pkdns, {} nodes known, as a relay", known_to(&server));
        row(&stage.simulator, &title, &some(many), |zone| put_to_relay(address, zone));
    }
    match command_line() {
        Some(program) => {
            let directory = tempfile::tempdir().unwrap();
            let bootstrap = stage.simulator.bootstrap();
            let publish = |zone: &Zone| publish_from_cold(&program, directory.path(), &bootstrap, zone);
            row(
                &stage.simulator,
                "pkdns-cli publish, from a cold start",
                &some(many.div_ceil(PART)),
                publish,
            );
        }
        None => println!("SKIPPED: no pkdns-cli beside pkdns (cargo build --release -p pkdns-cli)"),
    }
}

fn row(simulator: &Simulator, title: &str, zones: &[Zone], mut put: impl FnMut(&Zone) -> bool) {
    let (mut times, mut holders) = (Vec::new(), Vec::new());
    for zone in zones {
        let start = Instant::now();
        if put(zone) {
            times.push(start.elapsed());
        }
        sleep(Duration::from_secs(2));
        holders.push(simulator.holders(&zone.keypair.public_key()).len());
    }
    let failed = zones.len() - times.len();
    let times = [0.5, 0.99, 1.0].map(|share| milliseconds(percentile(&times, share)));
    let holders = [0.0, 0.5].map(|share| show(percentile(&holders, share)));
    let counts = [zones.len(), failed].map(|count| count.to_string());
    print_cells(title, counts.into_iter().chain(times).chain(holders));
}

fn put_to_relay(relay: SocketAddr, zone: &Zone) -> bool {
    let body = zone.packet(NEW).to_payload();
    let head = format!(
        "PUT /{} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        zone.keypair.public_key().to_z32(),
        body.len()
    );
    let reply = request(relay, &[head.as_bytes(), &body].concat());
    reply.starts_with("HTTP/1.1 2")
}

/// `pkdns-cli`, where it has been built like `pkdns`.
fn command_line() -> Option<PathBuf> {
    let program = Path::new(env!("CARGO_BIN_EXE_pkdns")).with_file_name("pkdns-cli");
    program.is_file().then_some(program)
}

fn publish_from_cold(program: &Path, directory: &Path, bootstrap: &[String], zone: &Zone) -> bool {
    let (seed, records) = (directory.join("seed"), directory.join("zone"));
    let digits: String = zone.keypair.secret_key().iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(&seed, digits).unwrap();
    fs::write(&records, format!("@ 3600 A {}\n", zone.address(NEW))).unwrap();
    let mut command = Command::new(program);
    command.args(bootstrap.iter().flat_map(|node| ["--bootstrap", node]));
    // It may not find the nodes of a server there.
    command.env("HOME", directory).args(["publish", "--allow-private"]).args([&seed, &records]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
