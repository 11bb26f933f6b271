//! `testnet`: a DHT on this machine.

mod quantities;

use std::{fmt, io, ops::RangeInclusive, time::Duration};

use clap::{Args, CommandFactory, error::ErrorKind};
use pkdns::simulator::{Hostile, Simulator, World};
use serde::Serialize;

use crate::{failure::Failure, network, terminal};
use quantities::{Percentage, in_units};

/// Run a DHT on this machine, for trying things out without the public one
///
/// Each node has an address in 127.0.0.0/8, which only this machine can reach. It runs until Ctrl-C or SIGTERM, and
/// forgets everything then.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Number of DHT nodes
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u16).range(3..=20_000))]
    nodes: u16,
    /// Round trip to a node: one time for all, or a range such as 30ms-230ms, of which each node has its own
    #[arg(long, value_name = "TIME", default_value = "0ms", value_parser = quantities::durations)]
    rtt: RangeInclusive<Duration>,
    /// Longest that a round trip takes beyond that, at random
    #[arg(long, value_name = "TIME", default_value = "0ms", value_parser = quantities::duration)]
    jitter: Duration,
    /// Share of datagrams that get lost, in each direction, such as 2%
    #[arg(long, value_name = "PERCENTAGE", default_value = "0%")]
    loss: Percentage,
    /// Share of nodes that never answer, though others know them
    #[arg(long, value_name = "PERCENTAGE", default_value = "0%")]
    dead: Percentage,
    /// Share of nodes that keep the first packet of a key for ever
    #[arg(long, value_name = "PERCENTAGE", default_value = "0%")]
    stale: Percentage,
    /// Share of nodes that do harm, each in one of many ways
    #[arg(long, value_name = "PERCENTAGE", default_value = "0%")]
    hostile: Percentage,
    /// UDP port of all nodes [default: any that is free]
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
    world: String,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let world = arguments.world();
    network::block_on(async {
        // First of all, so that a signal that comes early is not lost.
        let stopped = stop_signal()?;
        let simulator = start(world)?;
        let bootstrap = simulator.bootstrap().into_iter().next().unwrap_or_default();
        if arguments.json {
            let (nodes, world) = (arguments.nodes, arguments.to_string());
            terminal::print_json(&Started { bootstrap: [&bootstrap], nodes, world })?;
        } else {
            terminal::print(&report(&bootstrap, arguments))?;
        }
        stopped.await;
        terminal::note(&simulator.statistics().to_string());
        Ok(())
    })
}

impl Arguments {
    /// Exits with a message when the shares are of more nodes than there are.
    fn world(&self) -> World {
        if self.dead.share() + self.stale.share() + self.hostile.share() > 1.0 {
            let mut command = crate::Arguments::command();
            command.build();
            let message = "--dead, --stale and --hostile are more than 100% together";
            match command.find_subcommand_mut("testnet") {
                Some(testnet) => testnet.error(ErrorKind::ValueValidation, message).exit(),
                None => command.error(ErrorKind::ValueValidation, message).exit(),
            }
        }
        let mut hostile = Hostile::mix(self.hostile.share());
        hostile.push((Hostile::StaleForever, self.stale.share()));
        World {
            nodes: self.nodes.into(),
            round_trip: self.rtt.clone().into(),
            jitter: self.jitter,
            loss: self.loss.share(),
            dead: self.dead.share(),
            hostile,
            port: self.port,
            ..World::default()
        }
    }
}

fn start(world: World) -> Result<Simulator, Failure> {
    let port = world.port;
    Simulator::start(world).map_err(|error| {
        Failure::Failed(match port {
            Some(port) if error.kind() == io::ErrorKind::AddrInUse => {
                format!("cannot use UDP port {port}: {error}. Choose another with --port")
            }
            Some(_) | None => format!("cannot start a local DHT: {error}; try fewer nodes, or another port"),
        })
    })
}

/// The world in one line.
impl fmt::Display for Arguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rtt {}", in_units(*self.rtt.start()))?;
        if self.rtt.start() != self.rtt.end() {
            write!(f, "-{}", in_units(*self.rtt.end()))?;
        }
        let Self { loss, dead, stale, hostile, .. } = self;
        let jitter = in_units(self.jitter);
        write!(f, ", jitter {jitter}, loss {loss}, dead {dead}, stale {stale}, hostile {hostile}")
    }
}

fn report(bootstrap: &str, arguments: &Arguments) -> String {
    format!(
        "A DHT of {} nodes is running on this machine. Stop it with Ctrl-C; it forgets everything then.\n\
         Its world: {arguments}.\n\
         \n\
         Use it from another terminal:\n  \
           pkdns-cli --bootstrap {bootstrap} publish SEEDFILE ZONEFILE\n  \
           pkdns-cli --bootstrap {bootstrap} resolve KEY\n\
         \n\
         or from pkdns, in its configuration file:\n  \
           [dht]\n  \
           bootstrap = [\"{bootstrap}\"]",
        arguments.nodes
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
