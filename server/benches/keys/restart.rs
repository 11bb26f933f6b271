//! How many packets survive when a server is killed, and how soon the next server answers from them.

use std::{
    fs,
    thread::sleep,
    time::{Duration, Instant},
};

use pkdns_testing::benchmark::{cores, on_core};

use crate::{
    Scale,
    connection::{Connection, Expected},
    key_server::{KeyServer, Settings},
    zones::Names,
};

/// Keys of the first server, and as many again as fit into its last moment.
const KEYS: u32 = 100_000;
const LAST: u32 = 1000;

/// Queries in flight at once.
const WINDOW: usize = 128;

const LIFETIME: u32 = 86_400;

pub(crate) fn restart(names: &Names, scale: Scale) {
    let (server_core, client_core) = cores();
    let keys = KEYS.min(scale.keys - scale.keys / 10);
    let last = LAST.min(scale.keys / 10);
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings {
        keys: keys + last,
        directory: directory.path().to_str().unwrap().into(),
        ..Settings::of(names, LIFETIME, false)
    };
    let server = on_core(server_core, client_core, || KeyServer::start(names, &settings));
    let mut client = Connection::new(server.process.address(), 1, names, Expected::Address);
    let outcome = client.ask_all(0..keys, WINDOW);
    assert_eq!((outcome.answers, outcome.failed), (keys, 0), "answers, failures");
    sleep(Duration::from_secs(1));
    let outcome = client.ask_all(keys..keys + last, WINDOW);
    assert_eq!((outcome.answers, outcome.failed), (last, 0), "answers, failures");
    // With SIGKILL.
    drop((client, server));

    let size: u64 =
        fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    let settings = Settings { is_reachable: false, ..settings };
    let started = Instant::now();
    let server = on_core(server_core, client_core, || KeyServer::start(names, &settings));
    let mut client = Connection::new(server.process.address(), 1, names, Expected::Address);
    let first = client.ask_all(0..1, 1);
    let until_first = started.elapsed();
    assert_eq!(first.answers, 1, "the first key is answered");
    let (cpu, started) = (server.process.cpu_time(), Instant::now());
    let kept = client.ask_once(1..keys, WINDOW);
    let (cpu, elapsed) = (server.process.cpu_time() - cpu, started.elapsed());
    assert_eq!((kept.answers, kept.failed), (keys - 1, 0), "answers, failures");
    let of_last = client.ask_once(keys..keys + last, WINDOW);

    println!(
        "\nrestart: {keys} keys on disk, {:.1} MB; killed just after {last} more; then without a network\n",
        size as f64 / 1e6
    );
    println!("from the start to the first answer  {:>8.0} ms", until_first.as_secs_f64() * 1e3);
    println!("answered of the keys on disk        {keys:>8} of {keys}");
    println!("answered of those just before       {:>8} of {last}", of_last.answers);
    println!(
        "first answer of each from disk      {:>8.1} us of CPU, {:.0}/s",
        cpu.total() * 1e6 / f64::from(keys),
        f64::from(keys) / elapsed.as_secs_f64()
    );
}
