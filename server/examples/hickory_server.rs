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

use pkdns::{
    config::Config,
    program::testnet::{SampleUpstream, sample_keypair, sample_packet},
    request_handler::HickoryHandler,
    server::Server,
};
use pkdns_dht::simulator::Simulator;
use pkdns_dht::{Dht, DhtSettings};
use tokio::net::{TcpListener, UdpSocket};
use tokio_util::sync::CancellationToken;

const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5301);

/// Nodes of the DHT.
const NODES: usize = 10;

/// For a connection over TCP, which goes on while an answer is looked up: that takes up to 4.5 seconds.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Replies that may wait to be written on one connection.
const RESPONSE_BUFFER: usize = 32;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let udp = UdpSocket::bind(ADDRESS).await?;
    let tcp = TcpListener::bind(ADDRESS).await?;

    let network = Simulator::with_nodes(NODES)?;
    let upstream = SampleUpstream::start().await?;
    let dht = join(&network).await?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    dht.put(&sample_packet(&sample_keypair(), u64::try_from(now.as_micros())?)?, None).await?;

    // A server without listeners of its own. Without a network of its own it is `Server::bind`.
    let fallback_dns = vec![upstream.address().into()];
    let config = Config { listen: Vec::new(), fallback_dns, ..Config::default() };
    let ours = Server::bind_to_network(config, Arc::new(dht))?;

    // The handler takes the place that a `Catalog` of zones has in most hickory servers. A server that needs both
    // implements `RequestHandler` once more, and passes each request to the one or to the other.
    let handler = HickoryHandler::new(Arc::new(ours.service().clone()));
    let mut server = hickory_server::Server::new(handler);
    server.register_socket(udp);
    server.register_listener(tcp, TIMEOUT, RESPONSE_BUFFER);
    let stop = CancellationToken::new();
    let running = tokio::spawn(ours.run(stop.clone()));

    let key = sample_keypair().public_key().to_z32();
    let dig = format!("dig @{} -p {}", ADDRESS.ip(), ADDRESS.port());
    writeln!(
        io::stdout(),
        "\n  {dig} {key}\n  {dig} +tcp www.{key}.key\n  {dig} example.com\n\nCtrl-C ends it."
    )?;
    tokio::signal::ctrl_c().await?;
    server.shutdown_gracefully().await?;
    stop.cancel();
    running.await?;
    Ok(())
}

async fn join(network: &Simulator) -> Result<Dht, Box<dyn Error>> {
    let settings = DhtSettings::on_loopback(network.bootstrap());
    // The nodes are given by address, so that there is nothing to resolve.
    let dht = Dht::start(settings, Arc::new(|_| Box::pin(async { Vec::new() })))?;
    dht.ready(Duration::from_secs(10)).await?;
    Ok(dht)
}
