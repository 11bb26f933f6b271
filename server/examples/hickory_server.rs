//! Our service in a hickory server, over a DHT and an upstream that run in this process:
//!
//!     cargo run -p pkdns --example hickory_server
//!
//! Prints what to ask it, and runs until Ctrl-C.

use std::{
    error::Error,
    io::{self, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, SystemTime},
};

use hickory_server::Server;
use pkdns::{
    config::Config,
    metrics::Metrics,
    program::testnet::{LocalNetwork, SampleUpstream, sample_keypair, sample_packet},
    request_handler::HickoryHandler,
    resolver::{DEADLINE, Resolver},
    service::Service,
    sources::{
        forward::{Forwarder, TlsClient},
        packets::Packets,
    },
};
use pkdns_dht::{Dht, DhtSettings};
use tokio::net::{TcpListener, UdpSocket};

const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5301);

/// Nodes of the DHT.
const NODES: usize = 10;

/// Replies that may wait to be written on one connection.
const RESPONSE_BUFFER: usize = 32;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let udp = UdpSocket::bind(ADDRESS).await?;
    let tcp = TcpListener::bind(ADDRESS).await?;

    let network = LocalNetwork::start(NODES).await?;
    let upstream = SampleUpstream::start().await?;
    let dht = join(&network).await?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    dht.put(&sample_packet(&sample_keypair(), u64::try_from(now.as_micros())?)?, None).await?;

    // The service, put together by hand. `pkdns::server::Server::service` has one of a whole server.
    let config = Config::default();
    let tls = TlsClient::new(None)?;
    let forwarder = Arc::new(Forwarder::new(vec![upstream.address().into()], &tls));
    let packets = Packets::new(&config.cache, Arc::new(dht));
    let resolver = Resolver::new(&config, packets, forwarder.clone());
    let service = Service::new(&config, resolver, forwarder, &Metrics::default());

    // The handler takes the place that a `Catalog` of zones has in most hickory servers. A server that needs both
    // implements `RequestHandler` once more, and passes each request to the one or to the other.
    let mut server = Server::new(HickoryHandler::new(Arc::new(service)));
    server.register_socket(udp);
    // The timeout goes on while an answer is looked up.
    server.register_listener(tcp, DEADLINE + Duration::from_secs(5), RESPONSE_BUFFER);

    let key = sample_keypair().public_key().to_z32();
    let dig = format!("dig @{} -p {}", ADDRESS.ip(), ADDRESS.port());
    writeln!(
        io::stdout(),
        "\n  {dig} {key}\n  {dig} +tcp www.{key}.key\n  {dig} example.com\n\nCtrl-C ends it."
    )?;
    tokio::signal::ctrl_c().await?;
    server.shutdown_gracefully().await?;
    Ok(())
}

async fn join(network: &LocalNetwork) -> Result<Dht, Box<dyn Error>> {
    let settings = DhtSettings::on_loopback(network.bootstrap());
    // The nodes are given by address, so that there is nothing to resolve.
    let dht = Dht::start(settings, Arc::new(|_| Box::pin(async { Vec::new() })))?;
    dht.ready(Duration::from_secs(10)).await?;
    Ok(dht)
}
