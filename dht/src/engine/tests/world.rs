//! A DHT in memory, and an engine in it. Time moves by hand.

use super::*;
use crate::table::Contact;

/// A node, which answers after `delay` or, without one, never.
pub(super) struct Node {
    pub(super) id: Id,
    pub(super) address: SocketAddr,
    pub(super) delay: Option<Duration>,
    pub(super) packet: Option<SignedPacket>,
    /// It shows this packet under a signature of nobody.
    pub(super) forgery: Option<SignedPacket>,
    /// It stores what it is given and says nothing.
    pub(super) loses_acknowledgements: bool,
    /// The error that it answers a `put` with.
    pub(super) refusal: Option<i64>,
    pub(super) asked: usize,
}

pub(super) struct World {
    pub(super) engine: Engine,
    pub(super) nodes: Vec<Node>,
    pub(super) now: Instant,
    pub(super) sent: usize,
    /// How often the engine was woken, with or without a datagram.
    pub(super) turns: usize,
    pub(super) known: watch::Receiver<usize>,
    under_way: Vec<(Instant, SocketAddr, Vec<u8>)>,
}

/// A search that somebody waits for.
pub(super) struct Finding {
    pub(super) found: mpsc::UnboundedReceiver<SignedPacket>,
    pub(super) done: oneshot::Receiver<Result<Evidence, NetworkError>>,
}

/// The addresses and ids of nodes, evenly spread over the key space.
pub(super) fn place(index: usize, is_ipv4: bool) -> (Id, SocketAddr) {
    let mut id = [7; 20];
    let number = index as u16;
    id[..2].copy_from_slice(&number.wrapping_mul(40_503).to_be_bytes());
    let [high, low] = number.to_be_bytes();
    let address = match is_ipv4 {
        true => SocketAddr::from(([127, 1, high, low], 6881)),
        false => SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, number], 6881)),
    };
    (Id::from(id), address)
}

impl World {
    /// Each family has so many nodes, which answer after 50 ms.
    pub(super) fn new(ipv4: usize, ipv6: usize, settings: &DhtSettings) -> Self {
        let (known_sender, known) = watch::channel(0);
        let addresses = vec!["127.0.0.1:1".parse().unwrap(), "[::1]:1".parse().unwrap()];
        let now = Instant::now();
        let places = (0..ipv4).map(|index| place(index, true));
        let places = places.chain((0..ipv6).map(|index| place(index, false)));
        let node = |(id, address)| Node {
            id,
            address,
            delay: Some(Duration::from_millis(50)),
            packet: None,
            forgery: None,
            loses_acknowledgements: false,
            refusal: None,
            asked: 0,
        };
        let nodes = places.map(node).collect();
        let engine = Engine::new(addresses, settings, known_sender, now);
        Self { engine, nodes, now, sent: 0, turns: 0, known, under_way: Vec::new() }
    }

    /// One in which all nodes are known.
    pub(super) fn joined(ipv4: usize, ipv6: usize) -> Self {
        Self::joined_as(ipv4, ipv6, &DhtSettings::on_loopback(Vec::new()))
    }

    /// As [`World::joined`], with a client of these settings.
    pub(super) fn joined_as(ipv4: usize, ipv6: usize, settings: &DhtSettings) -> Self {
        let mut world = Self::new(ipv4, ipv6, settings);
        let nodes: Vec<_> = world.nodes.iter().map(|node| (node.id, node.address)).collect();
        world.remember(nodes.into_iter());
        world.pass(Duration::from_secs(5));
        assert_eq!(*world.known.borrow(), ipv4 + ipv6);
        world
    }

    /// Nodes of an earlier run.
    pub(super) fn remember(&mut self, nodes: impl Iterator<Item = (Id, SocketAddr)>) {
        let contact = |(id, address)| Contact { id, address, rtt: None, stores: true };
        self.command(Command::Remember(nodes.map(contact).collect()));
    }

    pub(super) fn command(&mut self, command: Command) {
        self.engine.command(command, self.now);
        self.deliver();
    }

    pub(super) fn find(&mut self, key: &PublicKey, for_publication: bool) -> Finding {
        let (sender, found) = mpsc::unbounded_channel();
        let (done_sender, done) = oneshot::channel();
        self.command(Command::Find {
            key: key.clone(),
            found: sender,
            done: done_sender,
            for_publication,
            moment: Moment::default(),
        });
        Finding { found, done }
    }

    pub(super) fn put(&mut self, packet: &SignedPacket) -> oneshot::Receiver<Result<u32, PutError>> {
        let (done, stored) = oneshot::channel();
        let progress = watch::Sender::new(0);
        self.command(Command::Put { packet: packet.clone(), cas: None, progress, enough: u32::MAX, done });
        stored
    }

    /// Lets time pass, from one thing that happens to the next.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let arrival = self.under_way.iter().map(|(at, ..)| *at).min();
            let next = arrival.into_iter().chain([self.engine.wake_at()]).min().unwrap_or(end);
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            self.turn();
        }
        self.now = end;
        self.turn();
    }

    /// Lets time pass until `done` says so. How long that took.
    pub(super) fn wait<T>(&mut self, done: &mut oneshot::Receiver<T>) -> (T, Duration) {
        let start = self.now;
        for _ in 0..10_000 {
            match done.try_recv() {
                Ok(result) => return (result, self.now - start),
                Err(oneshot::error::TryRecvError::Empty) => self.pass(Duration::from_millis(1)),
                Err(oneshot::error::TryRecvError::Closed) => break,
            }
        }
        panic!("it never ends");
    }

    pub(super) fn set(&mut self, index: usize, packet: &SignedPacket) {
        self.nodes[index].packet = Some(packet.clone());
    }

    pub(super) fn silence(&mut self, silent: impl Fn(SocketAddr) -> bool) {
        self.nodes.iter_mut().filter(|node| silent(node.address)).for_each(|node| node.delay = None);
    }

    /// The nodes of a family nearest to the key, nearest first.
    pub(super) fn nearest(&self, key: &PublicKey, is_ipv4: bool) -> Vec<usize> {
        let target = target(key);
        let mut places: Vec<usize> =
            (0..self.nodes.len()).filter(|index| self.nodes[*index].address.is_ipv4() == is_ipv4).collect();
        places.sort_by_key(|index| *target.xor(&self.nodes[*index].id).as_bytes());
        places
    }

    pub(super) fn transactions(&self) -> usize {
        self.engine.families.iter().map(FamilyState::transactions_under_way).sum()
    }

    fn turn(&mut self) {
        self.turns += 1;
        let now = self.now;
        let (arrived, rest) =
            std::mem::take(&mut self.under_way).into_iter().partition(|(at, ..)| *at <= now);
        self.under_way = rest;
        let arrived: Vec<(Instant, SocketAddr, Vec<u8>)> = arrived;
        for (_, from, datagram) in arrived {
            self.engine.receive(&datagram, from, now);
        }
        self.engine.tick(now);
        self.deliver();
    }

    fn deliver(&mut self) {
        for family in Family::ALL {
            let Some(outbox) = self.engine.outbox(family) else { continue };
            let datagrams: Vec<_> = outbox.datagrams().map(|(bytes, to)| (bytes.to_vec(), to)).collect();
            outbox.clear();
            self.sent += datagrams.len();
            for (datagram, to) in datagrams {
                self.answer(&datagram, to);
            }
        }
    }

    fn answer(&mut self, datagram: &[u8], to: SocketAddr) {
        let message = Message::decode(datagram).unwrap();
        let Body::Query(query) = message.body else { panic!("a client answers nothing") };
        let mut places: Vec<_> = self
            .nodes
            .iter()
            .filter(|node| node.address.is_ipv4() == to.is_ipv4())
            .map(|node| (node.id, node.address))
            .collect();
        let Some(node) = self.nodes.iter_mut().find(|node| node.address == to) else { return };
        node.asked += 1;
        let mut response = Response { token: Some(b"token"), ..Response::of(node.id) };
        let mut compact = Vec::new();
        let mut body = None;
        if let Method::Put(put) = &query.method {
            let packet = SignedPacket::verify(
                PublicKey::try_from(put.item.key).unwrap(),
                put.item.seq.try_into().unwrap(),
                *put.item.signature,
                put.item.value,
            );
            match node.refusal {
                Some(code) => body = Some(Body::Error(Refusal { code, text: b"no" })),
                None => node.packet = Some(packet.unwrap()),
            }
            if node.loses_acknowledgements {
                return;
            }
        }
        if let Method::Get { target, .. } | Method::FindNode(target) = query.method {
            places.sort_by_key(|(id, _)| *target.xor(id).as_bytes());
            places.iter().take(8).for_each(|(id, address)| Nodes::push(&mut compact, *id, *address));
        }
        let is_ipv4 = to.is_ipv4();
        response.nodes = if is_ipv4 { Nodes::new(&compact, &[]) } else { Nodes::new(&[], &compact) };
        let packet = node.packet.clone().filter(|_| matches!(query.method, Method::Get { .. }));
        response.item = packet.as_ref().map(|packet| Item {
            key: packet.key().as_bytes(),
            signature: packet.signature(),
            seq: packet.timestamp() as i64,
            value: packet.dns(),
        });
        let forgery = node.forgery.clone().filter(|_| matches!(query.method, Method::Get { .. }));
        if let Some(packet) = &forgery {
            response.item = Some(Item {
                key: packet.key().as_bytes(),
                signature: &[1; 64],
                seq: packet.timestamp() as i64,
                value: packet.dns(),
            });
        }
        response.seq = response.item.map(|item| item.seq);
        let body = body.unwrap_or(Body::Response(response));
        let mut bytes = Vec::new();
        Message { read_only: false, observed: None, transaction: message.transaction, body }
            .encode(&mut bytes);
        if let Some(delay) = node.delay {
            self.under_way.push((self.now + delay, to, bytes));
        }
    }
}
