//! `testnet`: a DHT on this machine.

mod quantities;

use std::{io, ops::RangeInclusive, time::Duration};

use clap::{Args, error::ErrorKind};
use pkdns_dht::simulator::{Hostile, RoundTrips, Simulator, World};
use serde::Serialize;

use crate::{command_line, failure::Failure, network, systemd::Stop, terminal};
use quantities::{Percentage, in_units};

/// From so many nodes on, a network is like the public one if it is not told otherwise.
const MANY: usize = 1_000_000;

/// Run a DHT on this machine, for trying things out without the public one
///
/// Each node has an address in 127.0.0.0/8, which only this machine can reach. It runs until Ctrl-C or SIGTERM, and
/// forgets everything then. Small networks have no faults but those that are asked for; with --realistic, or from a
/// million nodes on, all that is not said is as in the public DHT, as far as that is known.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Number of DHT nodes, such as 5000, 10k or 10M
    ///
    /// A million takes 8 MB.
    #[arg(long, value_name = "NUMBER", default_value = "20", value_parser = quantities::nodes)]
    nodes: usize,
    /// Be like the public DHT in all that no other option says
    #[arg(long)]
    realistic: bool,
    /// Round trip to a node, such as 80ms or 30ms-230ms [default: 0ms]
    ///
    /// Of a range, each node has a time of its own.
    #[arg(long, value_name = "TIME", value_parser = quantities::durations)]
    rtt: Option<RangeInclusive<Duration>>,
    /// Longest that a round trip takes beyond that, at random [default: 0ms]
    #[arg(long, value_name = "TIME", value_parser = quantities::duration)]
    jitter: Option<Duration>,
    /// Share of datagrams that get lost, in each direction, such as 2% [default: 0%]
    #[arg(long, value_name = "PERCENTAGE")]
    loss: Option<Percentage>,
    /// Share of nodes that never answer, though others know them [default: 0%]
    #[arg(long, value_name = "PERCENTAGE")]
    dead: Option<Percentage>,
    /// Share of nodes whose program stores no packets (it has no BEP 44) [default: 0%]
    #[arg(long, value_name = "PERCENTAGE")]
    without_bep_44: Option<Percentage>,
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
    nodes: usize,
    world: String,
    /// Of memory, for the ids of all nodes.
    bytes: usize,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let world = arguments.world();
    network::block_on(async {
        // First of all, so that a signal that comes early is not lost.
        let stop = Stop::new()?;
        if arguments.nodes >= MANY {
            terminal::progress(&format!("making {} nodes", arguments.nodes));
        }
        let description = describe(&world, arguments);
        let simulator = start(world)?;
        let (bytes, _) = simulator.size();
        let bootstrap = simulator.bootstrap().into_iter().next().unwrap_or_default();
        if arguments.json {
            let (nodes, world) = (arguments.nodes, description);
            terminal::print_json(&Started { bootstrap: [&bootstrap], nodes, world, bytes })?;
        } else {
            terminal::print(&report(&bootstrap, arguments.nodes, &description, bytes))?;
        }
        stop.requested().await;
        terminal::note(&simulator.statistics().to_string());
        Ok(())
    })
}

impl Arguments {
    /// Exits with a message when the shares are of more nodes than there are.
    fn world(&self) -> World {
        let is_realistic = self.realistic || self.nodes >= MANY;
        let base = if is_realistic { World::realistic(self.nodes) } else { World::default() };
        let share = |given: Option<Percentage>, usual| given.map_or(usual, Percentage::share);
        let dead = share(self.dead, base.dead);
        let without_bep_44 = share(self.without_bep_44, base.without_bep_44);
        if dead + without_bep_44 + self.stale.share() + self.hostile.share() > 1.0 {
            let message = "--dead, --without-bep-44, --stale and --hostile are more than 100% together";
            command_line::misused("testnet", ErrorKind::ValueValidation, message)
        }
        let mut hostile = Hostile::mix(self.hostile.share());
        hostile.push((Hostile::StaleForever, self.stale.share()));
        World {
            nodes: self.nodes,
            round_trip: self.rtt.clone().map_or(base.round_trip, Into::into),
            jitter: self.jitter.unwrap_or(base.jitter),
            loss: share(self.loss, base.loss),
            dead,
            without_bep_44,
            hostile,
            port: self.port,
            ..base
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
fn describe(world: &World, arguments: &Arguments) -> String {
    let range = |range: &RangeInclusive<Duration>| match (range.start(), range.end()) {
        (start, end) if start == end => in_units(*start),
        (start, end) => format!("{}-{}", in_units(*start), in_units(*end)),
    };
    let rtt = match &world.round_trip {
        RoundTrips::Even(within) => range(within),
        RoundTrips::LogNormal { median, sigma, within } => {
            let median = in_units(*median);
            format!("log-normal with median {median} and sigma {sigma} within {}", range(within))
        }
    };
    let percent = |share: f64| format!("{}%", (share * 1e6).round() / 1e4);
    let [loss, dead, without] = [world.loss, world.dead, world.without_bep_44].map(percent);
    let placed = if world.on_living_only { "that live and know BEP 44" } else { "dead or alive" };
    let (jitter, stale, hostile) = (in_units(world.jitter), arguments.stale, arguments.hostile);
    format!(
        "rtt {rtt}, jitter {jitter}, loss {loss}, dead {dead}, without BEP 44 {without}, stale {stale}, hostile \
         {hostile}; packets on the 20 nearest nodes {placed}"
    )
}

fn report(bootstrap: &str, nodes: usize, world: &str, bytes: usize) -> String {
    let memory = if nodes >= MANY {
        format!("Their ids take {} MB of memory; what is stored comes on top.\n", bytes.div_ceil(1_000_000))
    } else {
        String::new()
    };
    format!(
        "A DHT of {nodes} nodes is running on this machine. Stop it with Ctrl-C; it forgets everything then.\n\
         Its world: {world}.\n\
         {memory}\
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
