//! A server that is a relay, in front of a real DHT on loopback.

use pkdns_dht::simulator::Simulator;
use tokio_util::sync::DropGuard;

use super::*;

const NODES: usize = 20;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A relay in front of a DHT.
pub(crate) struct World {
    pub(crate) relay: String,
    pub(crate) http: SocketAddr,
    pub(crate) dns: SocketAddr,
    network: Arc<Simulator>,
    _upstream: Upstream,
    _stop: DropGuard,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::on(Arc::new(Simulator::with_nodes(NODES).unwrap())).await
    }

    /// Another server on the same DHT.
    pub(crate) async fn beside(&self) -> Self {
        Self::on(self.network.clone()).await
    }

    async fn on(network: Arc<Simulator>) -> Self {
        let upstream = Upstream::plain().await;
        let any = (Ipv4Addr::LOCALHOST, 0).into();
        let mut config =
            Config { listen: vec![any], fallback_dns: vec![upstream.address.into()], ..Config::default() };
        config.doh.plain_listen = vec![any];
        config.relay.enabled = true;
        config.dht.bootstrap = network.bootstrap();
        let server = Server::bind(config).unwrap();
        let (http, dns) = (server.http_addresses()[0], server.addresses()[0]);
        let stop = CancellationToken::new();
        tokio::spawn(server.run(stop.clone()));
        let relay = format!("http://{http}");
        Self { relay, http, dns, network, _upstream: upstream, _stop: stop.drop_guard() }
    }

    /// The data of the first answer, as text.
    pub(crate) async fn resolve(&self, name: &str, record_type: RecordType) -> String {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        socket.send_to(&query(name, record_type), self.dns).await.unwrap();
        let mut reply = [0; 2048];
        let size = timeout(PATIENCE, socket.recv(&mut reply)).await.unwrap().unwrap();
        let message = Message::from_vec(&reply[..size]).unwrap();
        message.answers.first().map_or_else(|| format!("{message:?}"), |record| record.data.to_string())
    }
}
