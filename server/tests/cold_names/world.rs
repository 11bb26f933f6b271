//! Simulated networks, and a client or a whole server in them.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hickory_proto::{
    op::{Message, OpCode, ResponseCode},
    rr::{Name, RData, Record, RecordType, rdata::A},
};
use pkdns::config::Config;
use pkdns_dht::{
    Dht, DhtSettings, Evidence, HostResolver, Network, NetworkError,
    signed_packet::{Keypair, PublicKey, SignedPacket},
    simulator::{Simulator, World},
};
use pkdns_testing::{
    server::TestServer,
    support::client::{Question, Reply, Transport},
    wait::eventually,
};
use tokio::{sync::mpsc, time::timeout};

/// Longest that a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// When packets are signed, in microseconds since 1970. Newer ones add to it.
pub(crate) const SIGNED_AT: u64 = 1_700_000_000_000_000;

/// INFO-CODE of "no reachable authority" (RFC 8914).
pub(crate) const NO_REACHABLE_AUTHORITY: u16 = 22;

/// A small network with round trips of 5 to 40 ms.
pub(crate) fn world(nodes: usize, seed: u64) -> World {
    let round_trip = (Duration::from_millis(5)..=Duration::from_millis(40)).into();
    World { nodes, seed, round_trip, count_targets: true, ..World::default() }
}

/// As many key pairs as asked for, the same ones each time.
pub(crate) fn keypairs(count: u16, seed: u8) -> Vec<Keypair> {
    let keypair = |number: u16| {
        let mut secret = [seed; 32];
        secret[..2].copy_from_slice(&number.to_be_bytes());
        Keypair::from_secret_key(&secret)
    };
    (0..count).map(keypair).collect()
}

/// A packet whose apex has one address, another one in each version of each key.
pub(crate) fn packet(keypair: &Keypair, version: u8) -> SignedPacket {
    let mut message = Message::response(0, OpCode::Query);
    let owner = Name::from_ascii(format!("{}.", keypair.to_z32())).unwrap();
    let address = address(&keypair.public_key(), version);
    message.add_answer(Record::from_rdata(owner, 300, RData::A(A(address))));
    let timestamp = SIGNED_AT + u64::from(version);
    SignedPacket::sign(keypair, timestamp, &message.to_vec().unwrap()).unwrap()
}

/// The address in [`packet`].
pub(crate) fn address(key: &PublicKey, version: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 18 + (key.as_bytes()[0] & 1), version, key.as_bytes()[1])
}

pub(crate) fn settings(simulator: &Simulator) -> DhtSettings {
    let mut settings = DhtSettings::on_loopback(simulator.bootstrap());
    settings.first_retry = Duration::from_millis(100);
    settings
}

/// Fails when a host name is to be resolved.
pub(crate) fn no_names() -> HostResolver {
    Arc::new(|host| panic!("asked for {host}"))
}

pub(crate) async fn joined(settings: DhtSettings) -> Dht {
    let dht = Dht::start(settings, no_names()).unwrap();
    dht.ready(PATIENCE).await.unwrap();
    dht
}

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("took too long")
}

/// All that a lookup hands out, in this order, and how it ended.
pub(crate) async fn lookup(
    dht: &Dht,
    key: &PublicKey,
) -> (Vec<SignedPacket>, Result<Evidence, NetworkError>) {
    let (sender, mut found) = mpsc::unbounded_channel();
    let end = within(dht.lookup(key, sender)).await;
    let packets = std::iter::from_fn(|| found.try_recv().ok()).collect();
    (packets, end)
}

/// A whole server.
pub(crate) struct Running(TestServer);

impl Running {
    pub(crate) async fn start(simulator: &Simulator, change: impl FnOnce(&mut Config)) -> Self {
        let builder = TestServer::builder().config(config(simulator)).change(change);
        let running = Self(builder.in_dht(simulator.bootstrap()).start());
        let has_joined = async || running.metric("pkdns_dht_nodes{family=\"ipv4\"}") >= 20.0;
        eventually("20 nodes are known", has_joined).await;
        running
    }

    /// Asks over UDP for the address of a key.
    pub(crate) async fn ask(&self, key: &PublicKey) -> Reply {
        self.send(question(key)).await
    }

    /// As [`Running::ask`], with DO. Such answers are kept apart.
    pub(crate) async fn ask_for_dnssec(&self, key: &PublicKey) -> Reply {
        self.send(Question { dnssec_ok: true, ..question(key) }).await
    }

    async fn send(&self, question: Question) -> Reply {
        question.ask(self.0.address, Transport::Udp).await.unwrap()
    }

    /// The value of a series.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        self.0.metric(series).expect("it is there")
    }
}

fn question(key: &PublicKey) -> Question {
    Question::new(Name::from_ascii(format!("{}.", key.to_z32())).unwrap(), RecordType::A)
}

/// A server that joins the simulated network, and is as people run it otherwise.
pub(crate) fn config(simulator: &Simulator) -> Config {
    let mut config = Config {
        listen: vec![(Ipv4Addr::LOCALHOST, 0).into()],
        // Nobody is there, and nobody is asked for a key.
        fallback_dns: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 9)).into()],
        ..Config::default()
    };
    config.dht.bootstrap = simulator.bootstrap();
    config
}

/// The only address in a reply that has one.
pub(crate) fn address_in(reply: &Reply) -> Option<Ipv4Addr> {
    match reply.answers.as_slice() {
        [record] if reply.code == ResponseCode::NoError => match &record.data {
            RData::A(A(address)) => Some(*address),
            _ => None,
        },
        _ => None,
    }
}
