//! One client, within its quota, asks for three kinds of slow names at once: names whose authoritative servers are
//! silent, names of keys whose name servers are silent, and keys that nobody has published. How long does another
//! client wait?

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use hickory_proto::{
    op::{Message, OpCode},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, NS},
    },
};
use pkdns_dht::{
    signed_packet::{Keypair, SignedPacket},
    simulator::{Simulator, World},
};
use pkdns_testing::benchmark::{Process, cores, on_core};

use crate::{
    questions::{Asker, query},
    setting::{Fate, OTHER_CLIENT, ask_in_turn},
    upstream::Upstream,
};

const ROUND_TRIP: Duration = Duration::from_millis(30);

const MISCHIEVOUS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);

/// Questions a second of each kind: together within the quota of queries, and the last within that of new keys.
const SLOW_NAMES: u32 = 500;
const SILENT_DELEGATIONS: u32 = 300;
const MADE_UP_KEYS: u32 = 100;

/// Keys whose name servers are silent.
const SILENT_KEYS: u32 = 20;

/// The key whose name server answers.
const HONEST_KEY: u32 = 100_000;

fn keypair(number: u32) -> Keypair {
    let mut secret = [9; 32];
    secret[..4].copy_from_slice(&number.to_le_bytes());
    Keypair::from_secret_key(&secret)
}

fn label(number: u32) -> String {
    keypair(number).public_key().to_z32()
}

/// A packet with an address, or with name servers at these.
fn packet(number: u32, servers: &[Ipv4Addr]) -> SignedPacket {
    let apex = Name::from_ascii(format!("{}.", label(number))).unwrap();
    let mut message = Message::response(0, OpCode::Query);
    let address = |address: Ipv4Addr| RData::A(A(address));
    if servers.is_empty() {
        message.add_answer(Record::from_rdata(apex.clone(), 300, address(Ipv4Addr::new(192, 0, 2, 1))));
    }
    for (index, server) in servers.iter().enumerate() {
        let name = Name::from_ascii(format!("ns{index}")).unwrap().append_domain(&apex).unwrap();
        message.add_answer(Record::from_rdata(apex.clone(), 300, RData::NS(NS(name.clone()))));
        message.add_answer(Record::from_rdata(name, 300, address(*server)));
    }
    SignedPacket::sign(&keypair(number), 1_700_000_000_000_000, &message.to_vec().unwrap()).unwrap()
}

struct Scene {
    server: Process,
    _simulator: Simulator,
    _upstream: Upstream,
    _name_server: Upstream,
    /// Bound and never read.
    _silent: Vec<UdpSocket>,
}

impl Scene {
    /// Keys with an address from 1000 on, `count` of them.
    fn start(count: u32) -> Self {
        let (server_core, client_core) = cores();
        let upstream = Upstream::start(ROUND_TRIP);
        let name_server = Upstream::start_on((Ipv4Addr::new(127, 0, 0, 4), 0).into(), ROUND_TRIP);
        let port = name_server.address().port();
        let silent: Vec<_> = (11..15).map(|last| Ipv4Addr::new(127, 0, 0, last)).collect();
        let world = World { nodes: 500, round_trip: (ROUND_TRIP..=ROUND_TRIP).into(), ..World::default() };
        let simulator = Simulator::start(world).unwrap();
        (0..SILENT_KEYS).for_each(|number| simulator.store(&packet(number, &silent)));
        (1000..1000 + count).for_each(|number| simulator.store(&packet(number, &[])));
        simulator.store(&packet(HONEST_KEY, &[Ipv4Addr::new(127, 0, 0, 4)]));
        let configuration = format!(
            "listen = '127.0.0.1:0'\nfallback_dns = '{}'\n[dht]\nbootstrap = {:?}\n\
             [delegation]\nport = {port}\nallow_private = true\n",
            upstream.address(),
            simulator.bootstrap()
        );
        let server = on_core(server_core, client_core, || Process::pkdns(&configuration));
        let _silent = silent.iter().map(|address| UdpSocket::bind((*address, port)).unwrap()).collect();
        Self { server, _simulator: simulator, _upstream: upstream, _name_server: name_server, _silent }
    }

    /// How the other client fares: with uncached names, cold keys, and uncached names of a key's name server. Each
    /// number is asked for once.
    fn probe(&self, numbers: std::ops::Range<u32>) -> [Fate; 3] {
        let asker = Asker::new(OTHER_CLIENT, self.server.address());
        let count = numbers.len() as u32;
        let pause = Duration::from_millis(50);
        let (first, honest) = (numbers.start, label(HONEST_KEY));
        let names = ask_in_turn(&asker, count, pause, |number| format!("a{}.ok.example", first + number));
        let keys = ask_in_turn(&asker, count, pause, |number| label(1000 + first + number));
        let delegated = ask_in_turn(&asker, count, pause, |number| format!("a{}.{honest}", first + number));
        [names, keys, delegated]
    }
}

/// Asks at its rates until told to stop, and reads no reply.
fn make_mischief(server: SocketAddr, stop: &AtomicBool) {
    let socket = UdpSocket::bind((MISCHIEVOUS, 0)).unwrap();
    let silent: Vec<_> = (0..SILENT_KEYS).map(label).collect();
    let start = Instant::now();
    let mut sent = [0u32; 3];
    let mut number = 0u32;
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(10));
        let elapsed = start.elapsed().as_secs_f64();
        for (kind, rate) in [SLOW_NAMES, SILENT_DELEGATIONS, MADE_UP_KEYS].into_iter().enumerate() {
            while f64::from(sent[kind]) < elapsed * f64::from(rate) {
                sent[kind] += 1;
                number += 1;
                let name = match kind {
                    0 => format!("{number}.slow.example"),
                    1 => format!("{number}.{}", silent[number as usize % silent.len()]),
                    _ => label(1_000_000 + number),
                };
                let _ = socket.send_to(&query(number as u16, &name, RecordType::A), server);
            }
        }
    }
}

/// Another client's fate alone and beside the mischief.
pub(crate) fn mischief(in_full: bool) {
    let count = if in_full { 200 } else { 3 };
    let scene = Scene::start(2 * count);
    // It gets to know the DHT.
    thread::sleep(Duration::from_secs(if in_full { 10 } else { 1 }));
    let alone = scene.probe(0..count);
    let stop = Arc::new(AtomicBool::new(false));
    let (server, told) = (scene.server.address(), stop.clone());
    let mischief = thread::spawn(move || make_mischief(server, &told));
    thread::sleep(Duration::from_secs(if in_full { 6 } else { 1 }));
    let beside = scene.probe(count..2 * count);
    stop.store(true, Ordering::Relaxed);
    mischief.join().unwrap();
    println!(
        "\nDuring {SLOW_NAMES} slow names, {SILENT_DELEGATIONS} names of silent name servers and {MADE_UP_KEYS} made-up \
         keys per second: ms\n\n| | answered | p50 | p99 | failed |\n|---|---|---|---|---|"
    );
    for ((what, alone), beside) in ["uncached names", "cold keys", "uncached names at a name server"]
        .into_iter()
        .zip(&alone)
        .zip(&beside)
    {
        println!("| {what}, alone | {} |", alone.cells());
        println!("| {what}, during the attack | {} |", beside.cells());
        if let (Some(alone), Some(beside)) = (alone.percentile(50), beside.percentile(50)) {
            println!("| | {:.2} times | | | |", beside / alone);
        }
    }
    let marked: Vec<_> =
        scene.server.log().into_iter().filter(|line| line.contains("does not answer")).collect();
    println!("\n{} lines about servers that do not answer", marked.len());
    marked.iter().take(3).for_each(|line| println!("    {line}"));
    println!("{:.1} MB of memory", scene.server.memory() as f64 / 1e6);
}
