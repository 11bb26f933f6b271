//! Our server, as the origin.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
};

use hickory_proto::rr::Record;
use http::{Method, Version};
use pkdns::config::Config;
use pkdns_dht::{NetworkError, signed_packet::Keypair, testing::FakeNetwork};
use pkdns_testing::{
    lab::internet::{DNS_PORT, Internet, ORIGIN, SERVERS},
    server::{TestServer, any_port, signed},
};

use crate::published::{self, key, other};

/// It stops when this is dropped.
pub(crate) struct Origin(TestServer);

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
        config.doh.plain_listen = vec![any_port()];
        let network = FakeNetwork::default();
        network.publish(signed(&key(), 1_790_000_000_000_000, &published::records_of_key(ttl)));
        // In the year 2020.
        network.publish(signed(&other(), 1_590_000_000_000_000, &published::records_of_other(ttl)));
        Self(TestServer::builder().config(config).network(network).start())
    }

    /// Where its relay is.
    pub(crate) fn http(&self) -> SocketAddr {
        self.0.http()
    }

    /// Publishes at its relay.
    pub(crate) async fn put(&self, owner: &Keypair, timestamp: u64, records: &[Record]) {
        let (path, payload) =
            (format!("/{}", owner.to_z32()), signed(owner, timestamp, records).to_payload());
        let reply = self.0.request(Version::HTTP_11, Method::PUT, &path, &[], &payload).await;
        assert_eq!(reply.status, 204, "{}", reply.text());
    }

    /// From now on nobody can be asked about any key.
    pub(crate) fn cut_off(&self) {
        self.0.network.fail(NetworkError::Unreachable);
    }

    /// Questions that were answered over `protocol`.
    pub(crate) fn questions(&self, protocol: &str) -> u64 {
        let page = self.0.metrics.encode().unwrap();
        let start = format!("pkdns_queries_total{{protocol=\"{protocol}\"");
        let lines = page.lines().filter(|line| line.starts_with(&start));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }
}
