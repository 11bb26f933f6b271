//! What a simulated network is like.

use std::{io, ops::RangeInclusive, time::Duration};

use super::{Hostile, addresses, random::Random};
use crate::family::Family;

/// Most nodes of a network on loopback: some addresses are left for those who join later. Each takes 8 bytes, and more if
/// it holds something.
pub const MAX_NODES: usize = 16_500_000;
const _: () = assert!(MAX_NODES < addresses::ON_LOOPBACK as usize);

/// As [`MAX_NODES`], of a network without sockets.
pub const MAX_NODES_OFFLINE: usize = 64_000_000;

/// Longest round trip, and longest jitter.
const MAX_DELAY: Duration = Duration::from_secs(60);

/// Nodes come and go at least so often in steps, where they do.
pub(super) const AGING_STEP: Duration = Duration::from_secs(60);

/// The network to simulate. Shares are parts of one: 0.2 is 20 %.
#[derive(Debug, Clone, PartialEq)]
pub struct World {
    /// Family of addresses of all nodes; IPv6 without sockets only: see [`Offline`](super::Offline).
    pub family: Family,
    /// How many nodes there are, dead and hostile ones among them; at least one.
    pub nodes: usize,
    /// Each node has a round-trip time of its own, drawn from these. It is added to that of the machine.
    pub round_trip: RoundTrips,
    /// Up to this much is added to the round trip of each message.
    pub jitter: Duration,
    /// Share of datagrams lost, in each direction.
    pub loss: f64,
    /// Share of nodes that never answer. Others name them all the same, and they count among those nearest to a key.
    pub dead: f64,
    /// Share of nodes behind a NAT that lets nobody in whom they have not asked first. Others, whom they have asked, name
    /// them; for a client that answers no queries and so is never asked, they are as good as dead.
    pub behind_nat: f64,
    /// Share of nodes whose program has no BEP 44: error 204 is their answer to `get` and `put`.
    pub without_bep_44: f64,
    /// Share of answers that come late because their node has much to do, and by how much at most.
    pub late: (f64, Duration),
    /// Share of the entries in nodes' tables that name somebody who has left the network.
    pub stale_entries: f64,
    /// Share of nodes whose ids are bound to their addresses (BEP 42). Who is on loopback is exempt from that, but not
    /// where `internet_of_tests` is switched on. Anything but 0 costs time. On
    /// loopback, some of very many nodes find no address that fits and are nowhere: one in 200 of ten million.
    pub bound_ids: f64,
    /// Share of nodes that know the attackers of a key ([`Simulator::attack`]), and name them before all others when
    /// asked about it.
    ///
    /// [`Simulator::attack`]: super::Simulator::attack
    pub know_attackers: f64,
    /// How long nodes stay: shares of them, each with a mean time. Who leaves is followed by another one. Empty: all
    /// stay.
    pub stays: Vec<(f64, Duration)>,
    /// Nodes forget what they have not been given for so long. `None`: never.
    pub memory: Option<Duration>,
    /// Packets are put onto the nearest nodes of those that live and know BEP 44, as if their owner had tried all. Or
    /// else onto the nearest of all, which is harder on who looks for them.
    pub on_living_only: bool,
    /// Share of the nodes nearest to a key that get the older packet in [`Simulator::store_stale`].
    ///
    /// [`Simulator::store_stale`]: super::Simulator::store_stale
    pub stale: f64,
    /// Kinds of hostile nodes, and their shares of all nodes.
    pub hostile: Vec<(Hostile, f64)>,
    /// Decides ids, roles, tables and round trips: the same number makes the same network.
    pub seed: u64,
    /// UDP port of all nodes. `None` takes any that is free.
    pub port: Option<u16>,
    /// Values that a node keeps. Beyond, it forgets the one that was not asked for the longest.
    pub items_per_node: usize,
    /// Whether messages are counted per target as well.
    pub count_targets: bool,
}

/// How long the way to a node and back takes. A constant of the node.
#[derive(Debug, Clone, PartialEq)]
pub enum RoundTrips {
    /// Evenly distributed.
    Even(RangeInclusive<Duration>),
    /// The logarithm is distributed normally: many are near the median, and some far beyond.
    LogNormal {
        /// Half are shorter.
        median: Duration,
        /// The deviation of the natural logarithm: two thirds are within the factor `exp(sigma)`.
        sigma: f64,
        /// None is shorter or longer.
        within: RangeInclusive<Duration>,
    },
}

impl From<RangeInclusive<Duration>> for RoundTrips {
    fn from(range: RangeInclusive<Duration>) -> Self {
        Self::Even(range)
    }
}

impl RoundTrips {
    pub(super) fn draw(&self, random: &mut Random) -> Duration {
        match self {
            Self::Even(range) => *range.start() + random.up_to(range.end().saturating_sub(*range.start())),
            Self::LogNormal { median, sigma, within } => {
                let seconds = median.as_secs_f64() * (sigma * random.normal()).exp();
                let seconds = seconds.clamp(within.start().as_secs_f64(), within.end().as_secs_f64());
                Duration::try_from_secs_f64(seconds).unwrap_or(*within.end())
            }
        }
    }

    fn within(&self) -> &RangeInclusive<Duration> {
        let (Self::Even(within) | Self::LogNormal { within, .. }) = self;
        within
    }
}

/// A small network without any faults, on any port.
impl Default for World {
    fn default() -> Self {
        Self {
            family: Family::V4,
            nodes: 20,
            round_trip: RoundTrips::Even(Duration::ZERO..=Duration::ZERO),
            jitter: Duration::ZERO,
            loss: 0.0,
            dead: 0.0,
            behind_nat: 0.0,
            without_bep_44: 0.0,
            late: (0.0, Duration::ZERO),
            stale_entries: 0.0,
            bound_ids: 0.0,
            know_attackers: 0.2,
            stays: Vec::new(),
            memory: None,
            on_living_only: false,
            stale: 0.0,
            hostile: Vec::new(),
            seed: 1,
            port: None,
            items_per_node: 10_000,
            count_targets: false,
        }
    }
}

impl World {
    /// A network like the public one, with so many nodes: it has some ten million. The shares are guesses on the hard
    /// side.
    ///
    /// A quarter of the nodes is dead though others name them; 30 % of all have no BEP 44. Round trips are log-normal
    /// with a median of 120 ms and a sigma of 0.7, from 5 ms to 3 s, with up to 8 ms of jitter. 2 % of datagrams get
    /// lost, each way. Packets are on the 20 nearest nodes that live and know BEP 44. Nobody leaves; see
    /// [`World::public_stays`].
    pub fn realistic(nodes: usize) -> Self {
        Self {
            nodes,
            round_trip: RoundTrips::LogNormal {
                median: Duration::from_millis(120),
                sigma: 0.7,
                within: Duration::from_millis(5)..=Duration::from_secs(3),
            },
            jitter: Duration::from_millis(8),
            loss: 0.02,
            dead: 0.25,
            without_bep_44: 0.3,
            on_living_only: true,
            ..Self::default()
        }
    }

    /// How long nodes of the public DHT stay, for [`World::stays`]. As measured there in March 2025 (pkarr-churn): one
    /// node of those that store a packet is there after an hour with 85.9 %, after a day with 38.9 %, and of 20 there is
    /// one after two days with 99.64 %. Two kinds of nodes fit all three figures.
    pub fn public_stays() -> Vec<(f64, Duration)> {
        vec![(0.3823, Duration::from_secs(8_729)), (0.6177, Duration::from_secs(186_900))]
    }

    /// As [`World::check`], of nodes that have sockets, or addresses like those that have.
    pub(super) fn check_on_loopback(&self) -> io::Result<()> {
        if self.family == Family::V6 {
            let why = "nodes of IPv6 have no addresses on this machine: of loopback addresses, IPv4 has 16 million and \
                       IPv6 has one";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        self.check(MAX_NODES)
    }

    /// Refuses what cannot be. The text says what is wrong.
    pub(super) fn check(&self, most_nodes: usize) -> io::Result<()> {
        let refuse = |what: String| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        if !(1..=most_nodes).contains(&self.nodes) {
            return refuse(format!("a network has 1 to {most_nodes} nodes, not {}", self.nodes));
        }
        let round_trips = self.round_trip.within();
        if round_trips.is_empty() {
            return refuse("the shortest round trip is longer than the longest".into());
        }
        if matches!(self.round_trip, RoundTrips::LogNormal { sigma, .. } if !(0.0..=10.0).contains(&sigma)) {
            return refuse("sigma is at least 0 and at most 10".into());
        }
        if *round_trips.end() > MAX_DELAY || self.jitter > MAX_DELAY || self.late.1 > MAX_DELAY {
            let longest = MAX_DELAY.as_secs();
            return refuse(format!("round trip, jitter and lateness are at most {longest} s"));
        }
        if self.items_per_node == 0 {
            return refuse("a node keeps at least one item".into());
        }
        if self.stays.iter().any(|(_, mean)| *mean < AGING_STEP) {
            return refuse(format!("nodes stay {} s or longer", AGING_STEP.as_secs()));
        }
        let hostile = self.hostile.iter().map(|(_, share)| *share);
        let stays = self.stays.iter().map(|(share, _)| *share);
        let of_nodes = [self.dead, self.behind_nat, self.without_bep_44];
        let others =
            [self.loss, self.stale, self.stale_entries, self.late.0, self.bound_ids, self.know_attackers];
        let mut shares = of_nodes.into_iter().chain(others).chain(hostile.clone()).chain(stays.clone());
        if !shares.all(|share| (0.0..=1.0).contains(&share)) {
            return refuse("a share is at least 0 and at most 1".into());
        }
        let sums = [of_nodes.into_iter().chain(hostile).sum::<f64>(), stays.sum()];
        if sums.iter().any(|sum| *sum > 1.0 + f64::EPSILON) {
            return refuse("shares of nodes, such as the dead and the hostile, are more than all".into());
        }
        Ok(())
    }
}
