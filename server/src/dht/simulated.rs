//! The client in the simulated DHT, without sockets: time moves by hand, and a week takes seconds.
//!
//! Nodes come and go and forget, as those of the public DHT do. The engine, its searches and stores are those of the
//! product, and so is every byte that goes to and fro.

mod week;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4},
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::sleep_until,
};

use super::{
    DhtSettings, Evidence, Network, NetworkError, PutError,
    engine::{Command, Engine},
    krpc::{Body, Id, Message, Method},
    values::Moment,
};
use crate::{
    signed_packet::{PublicKey, SignedPacket, target},
    simulator::{Responder, World},
};

const PORT: u16 = 6881;
const FIRST_NODE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), PORT);

/// A tenth of the nodes goes in an hour, little by little.
const CHURN: f64 = 0.01;
const CHURN_EVERY: Duration = Duration::from_secs(360);

/// Nodes forget what they have not been given for this long.
const MEMORY: Duration = Duration::from_secs(2 * 3600);

/// What a client does for so long when nobody wants anything of it is done; the rest of the time is left out where
/// the test is not optimised. It then knows less of the nodes than in reality.
const LEISURE: Duration =
    if cfg!(debug_assertions) { Duration::from_secs(2) } else { Duration::from_secs(3600) };

/// What a client does is over by then.
const LIMIT: Duration = Duration::from_secs(15);

/// All nodes, and what time it is.
pub(crate) struct SimulatedDht {
    nodes: Responder,
    pub(crate) now: Instant,
    /// When each value was last given to each node.
    given: HashMap<(Ipv4Addr, Id), Instant>,
    next_churn: Instant,
}

/// When it arrives, its number in the order in which they were sent, from whom it is, and its bytes.
type Datagram = (Instant, usize, SocketAddr, Vec<u8>);

/// A client of it.
pub(crate) struct Client {
    engine: Engine,
    address: SocketAddrV4,
    under_way: BinaryHeap<Reverse<Datagram>>,
    sent: usize,
}

impl SimulatedDht {
    pub(crate) fn new(world: World) -> Self {
        // In a test with paused time, that time.
        let now = tokio::time::Instant::now().into_std();
        let nodes = Responder::new(world, PORT);
        Self { nodes, now, given: HashMap::new(), next_churn: now + CHURN_EVERY }
    }

    /// How many nodes that live hold a packet of this key.
    pub(crate) fn holders(&self, key: &PublicKey) -> usize {
        self.nodes.holders(key).len()
    }

    /// Lets nodes go and forget until `now`.
    fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
        while self.next_churn <= now {
            self.nodes.churn(CHURN);
            let end = self.next_churn;
            let nodes = &mut self.nodes;
            self.given.retain(|(address, target), at| {
                let is_remembered = end.duration_since(*at) < MEMORY;
                if !is_remembered {
                    nodes.forget(*address, target);
                }
                is_remembered
            });
            self.next_churn += CHURN_EVERY;
        }
    }

    /// What the node sends back, and when that arrives.
    fn answer(&mut self, datagram: &[u8], from: SocketAddrV4, to: SocketAddr) -> Option<(Instant, Vec<u8>)> {
        let SocketAddr::V4(to) = to else { return None };
        let mut reply = Vec::new();
        let delay = self.nodes.answer(datagram, from, *to.ip(), &mut reply);
        let Some(Message { body: Body::Query(query), .. }) = Message::decode(datagram) else { return None };
        if let Method::Put(put) = query.method {
            let key = PublicKey::try_from(put.item.key).unwrap();
            let given = self.given.entry((*to.ip(), target(&key)));
            match Message::decode(&reply) {
                Some(Message { body: Body::Response(_), .. }) => *given.or_insert(self.now) = self.now,
                Some(_) => {}
                // It may have been stored, and the answer lost.
                None => {
                    given.or_insert(self.now);
                }
            }
        }
        let delay = delay?;
        Some((self.now + delay, reply))
    }
}

impl Client {
    /// Joins, and is about to get to know the network.
    pub(crate) fn join(dht: &mut SimulatedDht, explore: bool) -> Self {
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 4000);
        let settings = DhtSettings { explore, ..DhtSettings::on_loopback(Vec::new()) };
        let (known, watching) = watch::channel(0);
        let engine = Engine::new(vec![address.into()], &settings, known, dht.now);
        let mut client = Self { engine, address, under_way: BinaryHeap::new(), sent: 0 };
        let start = dht.now;
        while *watching.borrow() == 0 {
            assert!(dht.now - start < LIMIT, "nobody answers");
            // As the task does that keeps it joined, once a second.
            client.command(dht, Command::Join(vec![FIRST_NODE]));
            client.pass(dht, dht.now + Duration::from_secs(1));
        }
        client
    }

    /// What is newest, as [`Dht::most_recent`](super::Dht::most_recent) finds it for who `may_publish` next, or as a
    /// lookup that goes to its end.
    pub(crate) fn find(
        &mut self,
        dht: &mut SimulatedDht,
        key: &PublicKey,
        may_publish: bool,
    ) -> Result<(Option<SignedPacket>, Evidence), NetworkError> {
        let (sender, mut found) = mpsc::unbounded_channel();
        let (done_sender, done) = oneshot::channel();
        let command = Command::Find {
            key: key.clone(),
            found: sender,
            done: done_sender,
            for_publication: may_publish,
            moment: Moment::default(),
        };
        self.command(dht, command);
        let evidence = self.wait(dht, done)?;
        Ok((std::iter::from_fn(|| found.try_recv().ok()).last(), evidence))
    }

    pub(crate) fn put(
        &mut self,
        dht: &mut SimulatedDht,
        packet: &SignedPacket,
        cas: Option<u64>,
    ) -> Result<u32, PutError> {
        let (done, stored) = oneshot::channel();
        let cas = cas.map(|cas| cas.try_into().unwrap());
        let command = Command::Put {
            packet: packet.clone(),
            cas,
            progress: watch::Sender::new(0),
            enough: u32::MAX,
            done,
        };
        self.command(dht, command);
        self.wait(dht, stored)
    }

    /// Lets time pass in which nobody wants anything.
    pub(crate) fn rest(&mut self, dht: &mut SimulatedDht, end: Instant) {
        self.pass(dht, end.min(dht.now + LEISURE));
        if dht.now < end {
            dht.advance(end);
            self.turn(dht);
        }
    }

    fn pass(&mut self, dht: &mut SimulatedDht, end: Instant) {
        while self.step(dht, end) {}
    }

    fn wait<T>(&mut self, dht: &mut SimulatedDht, mut done: oneshot::Receiver<T>) -> T {
        let end = dht.now + LIMIT;
        loop {
            match done.try_recv() {
                Ok(result) => return result,
                Err(_) => assert!(self.step(dht, end), "it never ends"),
            }
        }
    }

    /// Goes on to the next thing that happens before `end`, or to that.
    fn step(&mut self, dht: &mut SimulatedDht, end: Instant) -> bool {
        let arrival = self.under_way.peek().map(|Reverse((at, ..))| *at);
        let next = arrival.into_iter().chain([self.engine.wake_at()]).min().unwrap_or(end);
        dht.advance(next.min(end));
        self.turn(dht);
        next < end
    }

    fn turn(&mut self, dht: &mut SimulatedDht) {
        while self.under_way.peek().is_some_and(|Reverse((at, ..))| *at <= dht.now) {
            let Some(Reverse((_, _, from, datagram))) = self.under_way.pop() else { break };
            self.engine.receive(&datagram, from, dht.now);
        }
        self.engine.tick(dht.now);
        self.deliver(dht);
    }

    fn command(&mut self, dht: &mut SimulatedDht, command: Command) {
        self.engine.command(command, dht.now);
        self.deliver(dht);
    }

    fn deliver(&mut self, dht: &mut SimulatedDht) {
        let outbox = self.engine.outbox(0).unwrap();
        for (datagram, to) in outbox.datagrams() {
            if let Some((at, reply)) = dht.answer(datagram, self.address, to) {
                self.sent += 1;
                self.under_way.push(Reverse((at, self.sent, to, reply)));
            }
        }
        outbox.clear();
    }
}

/// The DHT and a client in it, for whoever lives in the paused time of tokio, with which theirs goes along.
pub(crate) struct Joined(Mutex<(SimulatedDht, Client)>);

impl Joined {
    pub(crate) fn new(world: World) -> Self {
        let mut dht = SimulatedDht::new(world);
        let client = Client::join(&mut dht, true);
        Self(Mutex::new((dht, client)))
    }

    /// A client that has never asked for anything looks for the key.
    pub(crate) fn find_as_other(&self, key: &PublicKey) -> Option<SignedPacket> {
        let (dht, _) = &mut *self.at_present();
        Client::join(dht, false).find(dht, key, false).ok()?.0
    }

    fn at_present(&self) -> MutexGuard<'_, (SimulatedDht, Client)> {
        let mut both = self.0.lock().unwrap();
        let (dht, client) = &mut *both;
        client.rest(dht, tokio::time::Instant::now().into_std());
        both
    }
}

#[async_trait]
impl Network for Joined {
    async fn lookup(
        &self,
        key: &PublicKey,
        found: mpsc::UnboundedSender<SignedPacket>,
    ) -> Result<Evidence, NetworkError> {
        let (result, end) = {
            let (dht, client) = &mut *self.at_present();
            (client.find(dht, key, false), dht.now)
        };
        sleep_until(end.into()).await;
        let (packet, evidence) = result?;
        packet.map(|packet| found.send(packet));
        Ok(evidence)
    }

    async fn store(&self, packet: &SignedPacket, cas: Option<u64>) -> Result<u32, PutError> {
        let (result, end) = {
            let (dht, client) = &mut *self.at_present();
            (client.put(dht, packet, cas), dht.now)
        };
        sleep_until(end.into()).await;
        result
    }
}
