//! The origin: our own server, to which everybody here is a stranger.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hickory_proto::op::{Message, MessageType, ResponseCode};
use pkdns::{
    config::{self, Cache, Config, Dht},
    server::Server,
};
use pkdns_testing::program::World;
use tokio::{net::UdpSocket, time::timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Its name.
pub(crate) const ORIGIN: &str = "pk.example.net";

/// A pkdns in this process that is authoritative for it, as long as this is held.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    _stop: DropGuard,
}

impl Origin {
    pub(crate) fn start(world: &World) -> Self {
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let origin = config::Origin {
            name: ORIGIN.to_string(),
            name_servers: vec!["ns1.example.net".to_string()],
            // The sites of the tests are on this machine.
            allow_private: true,
            ..config::Origin::default()
        };
        let mut config = Config {
            listen: vec![any_port],
            // Nobody is asked about other names: whoever asks here is a stranger.
            fallback_dns: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 9)).into()],
            dht: Dht { bootstrap: world.bootstrap(), ..Dht::default() },
            cache: Cache { path: None, ..Cache::default() },
            origin: vec![origin],
            ..Config::default()
        };
        config.access.allow = Vec::new();
        let server = Server::bind(config).unwrap();
        let address = server.addresses()[0];
        let stop = CancellationToken::new();
        tokio::spawn(server.run(stop.clone()));
        Self { address, _stop: stop.drop_guard() }
    }
}

/// A second name server, which has what the first has but for challenges, as long as it is behind.
pub(crate) struct Secondary {
    pub(crate) address: SocketAddr,
    pub(crate) is_behind: Arc<AtomicBool>,
}

impl Secondary {
    pub(crate) async fn start(first: SocketAddr) -> Self {
        let is_behind = Arc::new(AtomicBool::new(true));
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        let behind = is_behind.clone();
        tokio::spawn(async move {
            let mut bytes = vec![0; 4096];
            while let Ok((size, peer)) = socket.recv_from(&mut bytes).await {
                let query = Message::from_vec(&bytes[..size]).unwrap();
                let is_challenge = query.queries[0].name().to_ascii().starts_with("_acme-challenge.");
                let reply = match is_challenge && behind.load(Ordering::SeqCst) {
                    true => absent(&query),
                    false => passed_on(&bytes[..size], first).await,
                };
                let _ = socket.send_to(&reply, peer).await;
            }
        });
        Self { address, is_behind }
    }
}

fn absent(query: &Message) -> Vec<u8> {
    let mut reply = Message::new(query.metadata.id, MessageType::Response, query.metadata.op_code);
    reply.metadata.authoritative = true;
    reply.metadata.response_code = ResponseCode::NXDomain;
    reply.queries = query.queries.clone();
    reply.to_vec().unwrap()
}

/// What the first server says, or nothing.
async fn passed_on(question: &[u8], first: SocketAddr) -> Vec<u8> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    socket.connect(first).await.unwrap();
    socket.send(question).await.unwrap();
    let mut bytes = vec![0; 4096];
    let size = timeout(Duration::from_secs(5), socket.recv(&mut bytes)).await;
    bytes.truncate(size.map_or(0, Result::unwrap));
    bytes
}
