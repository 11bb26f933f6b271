//! The client of the DHT against a network of libtorrent nodes: another implementation, and the most common one.
//!
//! Needs Python 3 with the `libtorrent` module: `$PYTHON`, or `python3`. Without it the tests say so and pass, unless
//! `CI=true`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers of tests may fail them"
)]

use std::{
    env,
    fmt::Write as _,
    io::{self, BufRead, BufReader, Write},
    net::Ipv4Addr,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use pkdns::{
    dht::{Dht, DhtSettings, NetworkError, PutError},
    signed_packet::{Keypair, SignedPacket},
    testnet::sample_packet,
};
use tokio::{task::block_in_place, time::timeout};

const LIMIT: Duration = Duration::from_secs(30);
const NODES: &str = "12";
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/libtorrent_network.py");

/// A process full of libtorrent nodes, which ends with this.
struct Libtorrent {
    child: Child,
    commands: ChildStdin,
    replies: BufReader<ChildStdout>,
    bootstrap: Vec<String>,
}

impl Libtorrent {
    /// `None`: there is no libtorrent, and that is to be accepted.
    fn start() -> Option<Self> {
        let Some(python) = python_with_libtorrent() else {
            let missing = "no Python 3 with the libtorrent module: install Debian's python3-libtorrent or PyPI's libtorrent";
            assert!(env::var("CI").as_deref() != Ok("true"), "{missing}");
            // Not through `eprintln!`, which is only shown when a test fails.
            io::stderr().write_all(format!("SKIPPED: {missing}\n").as_bytes()).unwrap();
            return None;
        };
        let mut command = Command::new(python);
        command.args([SCRIPT, NODES]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let commands = child.stdin.take().unwrap();
        let replies = BufReader::new(child.stdout.take().unwrap());
        let mut network = Self { child, commands, replies, bootstrap: Vec::new() };
        loop {
            let line = network.reply();
            if line.is_empty() {
                return Some(network);
            }
            network.bootstrap.push(line);
        }
    }

    /// The sequence number and the value that libtorrent itself finds.
    fn get(&mut self, packet: &SignedPacket) -> String {
        self.run(&format!("get {}", hex(packet.key().as_bytes())))
    }

    fn run(&mut self, command: &str) -> String {
        writeln!(self.commands, "{command}").unwrap();
        self.reply()
    }

    /// The script gives up by itself when libtorrent is slow, which ends this too.
    fn reply(&mut self) -> String {
        let mut line = String::new();
        let size = block_in_place(|| self.replies.read_line(&mut line)).unwrap();
        assert!(size > 0, "the libtorrent script has ended");
        line.trim_end().to_owned()
    }

    async fn client(&self) -> Dht {
        let settings = DhtSettings {
            bootstrap: self.bootstrap.clone(),
            request_timeout: Duration::from_millis(500),
            nodes: 2,
            bind: Ipv4Addr::LOCALHOST,
            ..DhtSettings::default()
        };
        let dht = Dht::start(settings, Arc::new(|host| panic!("asked for {host}")));
        dht.ready(LIMIT).await.unwrap();
        dht
    }
}

impl Drop for Libtorrent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn python_with_libtorrent() -> Option<String> {
    let usual = || vec!["python3".to_owned(), "/usr/bin/python3".to_owned()];
    let candidates = env::var("PYTHON").map_or_else(|_| usual(), |python| vec![python]);
    candidates.into_iter().find(|python| {
        let mut import = Command::new(python);
        import.args(["-c", "import libtorrent"]).stdout(Stdio::null()).stderr(Stdio::null());
        import.status().is_ok_and(|status| status.success())
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn libtorrent_stores_what_we_publish_and_gives_back_the_update() {
    let Some(mut network) = Libtorrent::start() else { return };
    let (writer, reader) = tokio::join!(network.client(), network.client());
    let keypair = Keypair::random();
    for timestamp in [1_700_000_000_000_000, 1_700_000_000_000_001] {
        let packet = sample_packet(&keypair, timestamp).unwrap();
        let stored = timeout(LIMIT, writer.put(&packet, None)).await.unwrap().unwrap();
        assert!(stored >= 4, "stored at {stored}");
        assert_eq!(network.get(&packet), format!("{timestamp} {}", hex(packet.dns())));
        let found = timeout(LIMIT, reader.most_recent(packet.key())).await.unwrap().unwrap();
        assert_eq!(found.0, Some(packet));
    }
    let older = sample_packet(&keypair, 1).unwrap();
    assert_eq!(timeout(LIMIT, writer.put(&older, None)).await.unwrap(), Err(PutError::NotMostRecent));
    let later = sample_packet(&keypair, 1_800_000_000_000_000).unwrap();
    assert_eq!(timeout(LIMIT, writer.put(&later, Some(7))).await.unwrap(), Err(PutError::CasFailed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_libtorrent_publishes_is_found() {
    let Some(mut network) = Libtorrent::start() else { return };
    let reader = network.client().await;
    let seed = [9; 32];
    let sample = sample_packet(&Keypair::from_secret_key(&seed), 1).unwrap();
    let [key, value] = [sample.key().as_bytes(), sample.dns()].map(hex);
    let stored: u32 = network.run(&format!("put {} {key} {value}", hex(&seed))).parse().unwrap();
    assert!(stored > 0);
    // libtorrent counts from 1, and a signature of the same text by the same key is the same.
    let found = timeout(LIMIT, reader.most_recent(sample.key())).await.unwrap().unwrap();
    assert_eq!(found.0, Some(sample));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn libtorrent_nodes_give_evidence_of_absence_and_their_silence_does_not() {
    let Some(mut network) = Libtorrent::start() else { return };
    let reader = network.client().await;
    let sample = sample_packet(&Keypair::random(), 1).unwrap();
    assert_eq!(network.get(&sample), "none");
    let (newest, evidence) = timeout(LIMIT, reader.most_recent(sample.key())).await.unwrap().unwrap();
    assert_eq!(newest, None);
    assert!(evidence.responded >= 4, "{evidence:?}");
    drop(network);
    let gone = timeout(LIMIT, reader.most_recent(sample.key())).await.unwrap();
    assert_eq!(gone, Err(NetworkError::Unreachable));
}
