//! Our server, as the origin.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use hickory_proto::rr::Record;
use pkdns::{config::Config, metrics::Metrics, server::Server};
use pkdns_dht::{
    NetworkError,
    signed_packet::{Keypair, SignedPacket},
};
use pkdns_testing::{
    common::{HeldNetwork, packet_message},
    lab::internet::{DNS_PORT, Internet, ORIGIN, SERVERS},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::published::{self, key, other};

/// It stops when this is dropped.
pub(crate) struct Origin {
    network: Arc<HeldNetwork>,
    /// Where its relay is.
    pub(crate) http: SocketAddr,
    metrics: Metrics,
    _stop: DropGuard,
}

impl Origin {
    /// Both keys have published, with these times to live. `more` stands at the beginning of its configuration, which has nothing
    /// else that matters here.
    pub(crate) fn start(internet: &Internet, ttl: u32, more: &str) -> Self {
        let file = internet.directory.path().join("origin.zone");
        let [_, inside] = SERVERS;
        fs::write(&file, published::origin_zone(&format!("ns2 A {inside}\n"))).unwrap();
        // The others are on this machine as well, whose own networks are served otherwise.
        let text = format!(
            "[access]\nallow = ['127.0.0.0/8']\n{more}\n[relay]\nenabled = true\n\
             [[origin]]\nname = '{ORIGIN}'\nname_servers = ['ns1.example.net', 'ns2.{ORIGIN}']\nzone_file = '{}'\n",
            file.display()
        );
        let mut config: Config = toml::from_str(&text).unwrap();
        let mut listen = SERVERS.to_vec();
        listen.push(Ipv4Addr::LOCALHOST);
        config.listen = listen.into_iter().map(|address| (address, DNS_PORT).into()).collect();
        config.doh.plain_listen = vec![(Ipv4Addr::LOCALHOST, 0).into()];
        let network = Arc::new(HeldNetwork::default());
        network.publish(&key(), 1_790_000_000_000_000, &published::records_of_key(ttl));
        // In the year 2020.
        network.publish(&other(), 1_590_000_000_000_000, &published::records_of_other(ttl));
        let server = Server::bind_to_network(config, network.clone()).unwrap();
        let (http, metrics) = (server.http_addresses()[0], server.metrics().clone());
        let stop = CancellationToken::new();
        tokio::spawn(server.run(stop.clone()));
        Self { network, http, metrics, _stop: stop.drop_guard() }
    }

    /// Publishes at its relay.
    pub(crate) async fn put(&self, owner: &Keypair, timestamp: u64, records: &[Record]) {
        let packet = SignedPacket::sign(owner, timestamp, &packet_message(records)).unwrap();
        let payload =
            [packet.signature().as_slice(), &packet.timestamp().to_be_bytes(), packet.dns()].concat();
        let mut stream = TcpStream::connect(self.http).await.unwrap();
        let head = format!(
            "PUT /{} HTTP/1.1\r\nhost: relay\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            owner.to_z32(),
            payload.len()
        );
        stream.write_all(&[head.as_bytes(), &payload].concat()).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        assert!(response.starts_with("HTTP/1.1 204"), "{response}");
    }

    /// From now on nobody can be asked about any key.
    pub(crate) fn cut_off(&self) {
        *self.network.failure.lock().unwrap() = Some(NetworkError::Unreachable);
    }

    /// Questions that were answered over `protocol`.
    pub(crate) fn questions(&self, protocol: &str) -> u64 {
        let page = self.metrics.encode().unwrap();
        let start = format!("pkdns_queries_total{{protocol=\"{protocol}\"");
        let lines = page.lines().filter(|line| line.starts_with(&start));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }
}
