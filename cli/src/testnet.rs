//! `testnet`: a DHT on this machine.

use std::{io, net::Ipv4Addr, time::Duration};

use clap::Args;
use mainline::async_dht::AsyncDht;
use pkdns::testnet::LocalNetwork;
use serde::Serialize;
use tokio::time::timeout;

use crate::{failure::Failure, network, terminal};

/// How long the node at a chosen port may take to find the others.
const JOIN_DEADLINE: Duration = Duration::from_secs(10);

/// Run a DHT on this machine, for trying things out without the public one
///
/// It listens on 127.0.0.1 only, runs until Ctrl-C or SIGTERM, and forgets everything then.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Number of DHT nodes
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u16).range(3..=100))]
    nodes: u16,
    /// UDP port of the node that others join through [default: any that is free]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Print one line of JSON once it runs
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Started<'a> {
    bootstrap: [&'a str; 1],
    nodes: u16,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    network::block_on(async {
        // First of all, so that a signal that comes early is not lost.
        let mut stopped = Box::pin(stop_signal()?);
        let network = tokio::select! {
            network = Running::start(arguments.nodes, arguments.port) => network?,
            () = &mut stopped => return Ok(()),
        };
        let bootstrap = [network.bootstrap.as_str()];
        if arguments.json {
            terminal::print_json(&Started { bootstrap, nodes: arguments.nodes })?;
        } else {
            terminal::print(&report(&network.bootstrap, arguments.nodes))?;
        }
        stopped.await;
        Ok(())
    })
}

/// The network, for as long as this is held.
struct Running {
    /// Node to join through.
    bootstrap: String,
    _network: LocalNetwork,
    _entrance: Option<AsyncDht>,
}

impl Running {
    async fn start(nodes: u16, port: Option<u16>) -> Result<Self, Failure> {
        let failed = |error| Failure::Failed(format!("cannot start a local DHT: {error}"));
        let others = nodes.saturating_sub(u16::from(port.is_some()));
        let network = LocalNetwork::start(others.into()).await.map_err(failed)?;
        let (bootstrap, entrance) = match port {
            Some(port) => {
                let entrance = entrance(port, &network.bootstrap()).await.map_err(|error| {
                    Failure::Failed(format!(
                        "cannot use UDP port {port}: {error}. Choose another with --port"
                    ))
                })?;
                (format!("{}:{port}", Ipv4Addr::LOCALHOST), Some(entrance))
            }
            None => {
                let no_address = || failed(io::Error::other("no node has an address"));
                (network.bootstrap().into_iter().next().ok_or_else(no_address)?, None)
            }
        };
        Ok(Self { bootstrap, _network: network, _entrance: entrance })
    }
}

/// One more node, at the port that was asked for.
async fn entrance(port: u16, bootstrap: &[String]) -> io::Result<AsyncDht> {
    let mut builder = mainline::Dht::builder();
    builder.server_mode().bootstrap(bootstrap).bind_address(Ipv4Addr::LOCALHOST).port(port);
    let node = builder.build()?.as_async();
    match timeout(JOIN_DEADLINE, node.bootstrapped()).await {
        Ok(true) => Ok(node),
        Ok(false) | Err(_) => Err(io::Error::other("its node could not join the others")),
    }
}

fn report(bootstrap: &str, nodes: u16) -> String {
    format!(
        "A DHT of {nodes} nodes is running on this machine. Stop it with Ctrl-C; it forgets everything then.\n\
         \n\
         Use it from another terminal:\n  \
           pkdns-cli --bootstrap {bootstrap} publish SEEDFILE ZONEFILE\n  \
           pkdns-cli --bootstrap {bootstrap} resolve KEY\n\
         \n\
         or from pkdns, in its configuration file:\n  \
           [dht]\n  \
           bootstrap = [\"{bootstrap}\"]"
    )
}

/// Ends at Ctrl-C or SIGTERM. Both are caught from the moment of the call.
fn stop_signal() -> Result<impl Future<Output = ()>, Failure> {
    let failed = |error| Failure::Failed(format!("cannot wait for signals: {error}"));
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        Ok(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
    }
    #[cfg(not(unix))]
    {
        let mut interrupt = tokio::signal::windows::ctrl_c().map_err(failed)?;
        Ok(async move {
            interrupt.recv().await;
        })
    }
}
