//! What hostile nodes do.

use std::{net::IpAddr, sync::Arc, time::Duration};

use mainline::Id;

use super::{
    Family,
    item::StoredItem,
    population::BUCKET,
    responder::{Answer, Responder, target_of},
};
use crate::{
    krpc::{Method, Query},
    signed_packet::Keypair,
};

/// Size of a value that no node may store, in bytes.
const OVERSIZED: usize = 1100;

/// Made-up nodes in one answer, of IPv4 and of IPv6: with them a datagram still fits the loopback interface.
const FLOOD: [usize; 2] = [2000, 1600];

/// Last id that a slow drip makes up, in bits shared with the target. There are no others nearer.
const MAX_SHARED: u8 = 159;

/// A way to do harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hostile {
    /// Answers everything with random bytes.
    Garbage,
    /// Answers under another transaction id than the one asked with.
    WrongTransaction,
    /// Gives a changed value with a higher seq, under the signature of the true one.
    ForgedValue,
    /// Gives a value that another key has signed.
    OtherKey,
    /// Acknowledges newer values, and goes on giving the oldest that it ever had.
    StaleForever,
    /// Answers `get` without the value that it holds.
    DeniesValue,
    /// Names made-up nodes close to the target, at addresses where nobody answers.
    FakeNeighbours,
    /// Names other hostile nodes only, whatever they do, so that who asks stays among them (an eclipse).
    HostileNeighbours,
    /// Answers after one to three seconds with one neighbour, who does the same: each is nearer than the last, for as
    /// long as somebody follows.
    SlowDrip,
    /// Refuses the tokens that it gave (error 203).
    BadTokens,
    /// Acknowledges puts without storing them.
    AcknowledgesOnly,
    /// Names 2000 made-up nodes in one datagram (of IPv6, 1600), or ends a list of nodes within a node.
    MalformedNodes,
    /// Gives a value over 1000 bytes. It is signed by its key if that was lent ([`Simulator::lend_key`]).
    ///
    /// [`Simulator::lend_key`]: super::Simulator::lend_key
    OversizedValue,
    /// Gives a value with seq -1. It is signed by its key if that was lent ([`Simulator::lend_key`]).
    ///
    /// [`Simulator::lend_key`]: super::Simulator::lend_key
    NegativeSeq,
    /// Answers `get` without the value that it holds, and names 40 nodes around the target, whatever that is, who do the
    /// same: they are nearer than any other and in 20 subnets.
    Dense,
}

impl Hostile {
    /// Every kind but [`Hostile::Dense`], which takes more than a few nodes that do as they like.
    pub const ALL: [Self; 14] = [
        Self::Garbage,
        Self::WrongTransaction,
        Self::ForgedValue,
        Self::OtherKey,
        Self::StaleForever,
        Self::DeniesValue,
        Self::FakeNeighbours,
        Self::HostileNeighbours,
        Self::SlowDrip,
        Self::BadTokens,
        Self::AcknowledgesOnly,
        Self::MalformedNodes,
        Self::OversizedValue,
        Self::NegativeSeq,
    ];

    /// All those kinds in equal parts, `share` of the network together.
    pub fn mix(share: f64) -> Vec<(Self, f64)> {
        Self::ALL.map(|kind| (kind, share / Self::ALL.len() as f64)).to_vec()
    }
}

/// Values that an owner would not sign, signed with the owner's key.
#[derive(Debug)]
pub(super) struct Lent {
    oversized: Arc<StoredItem>,
    negative: Arc<StoredItem>,
}

impl Responder {
    /// Lets hostile nodes sign with this key.
    pub(super) fn lend_key(&mut self, keypair: &Keypair) {
        let oversized = StoredItem::signed(keypair, i64::MAX / 2, vec![0; OVERSIZED]).into();
        let negative = StoredItem::signed(keypair, -1, vec![0; 100]).into();
        self.lent.insert(target_of(&keypair.public_key()), Lent { oversized, negative });
    }

    /// Changes the answer of an honest node to that of a hostile one.
    pub(super) fn do_harm(&mut self, kind: Hostile, number: u32, query: &Query<'_>, answer: &mut Answer) {
        let (target, is_get) = match &query.method {
            Method::FindNode(target) | Method::GetPeers(target) => (target, false),
            Method::Get { target, .. } => (target, true),
            Method::Ping | Method::Put(_) | Method::Unknown(_) => return,
        };
        match kind {
            Hostile::ForgedValue if is_get => self.forge(target, answer, |item| {
                item.seq = item.seq.saturating_add(1_000_000);
                item.value.push(0);
            }),
            Hostile::OtherKey if is_get => answer.item = Some(self.foreign.clone()),
            Hostile::OversizedValue if is_get => match self.lent.get(target) {
                Some(lent) => answer.item = Some(lent.oversized.clone()),
                None => self.forge(target, answer, |item| item.value.resize(OVERSIZED, 0)),
            },
            Hostile::NegativeSeq if is_get => match self.lent.get(target) {
                Some(lent) => answer.item = Some(lent.negative.clone()),
                None => self.forge(target, answer, |item| item.seq = -1),
            },
            Hostile::DeniesValue => (answer.item, answer.seq) = (None, None),
            Hostile::Dense => {
                (answer.item, answer.seq) = (None, None);
                self.name_attackers(target, answer);
            }
            Hostile::FakeNeighbours => {
                answer.nodes.clear();
                self.invent(BUCKET, target, answer);
            }
            Hostile::HostileNeighbours => {
                answer.nodes.clear();
                for (id, address) in self.population.hostile_near(target, number) {
                    answer.name(id, address, self.port);
                }
            }
            Hostile::SlowDrip => {
                let shared = answer.id.xor(target).leading_zeros();
                // Which of the made-up nodes it names, so that two drips do not meet at once.
                let [.., last] = number.to_be_bytes();
                self.drip(shared, last, target, answer);
            }
            Hostile::MalformedNodes => {
                if self.random.happens(0.5) {
                    answer.nodes.clear();
                    let [of_ipv4, of_ipv6] = FLOOD;
                    let is_ipv4 = self.population.addresses().family() == Family::V4;
                    self.invent(if is_ipv4 { of_ipv4 } else { of_ipv6 }, target, answer);
                } else {
                    answer.nodes.truncate(answer.nodes.len().saturating_sub(7));
                }
            }
            Hostile::Garbage
            | Hostile::WrongTransaction
            | Hostile::ForgedValue
            | Hostile::OtherKey
            | Hostile::StaleForever
            | Hostile::BadTokens
            | Hostile::AcknowledgesOnly
            | Hostile::OversizedValue
            | Hostile::NegativeSeq => {}
        }
    }

    /// Up to 600 random bytes.
    pub(super) fn garbage(&mut self, reply: &mut Vec<u8>) {
        let start = reply.len();
        reply.resize(start + 1 + self.random.below(600), 0);
        if let Some(bytes) = reply.get_mut(start..) {
            self.random.fill(bytes);
        }
    }

    /// Answers for the nodes that a slow drip has made up. Others that were made up are not there.
    pub(super) fn answer_as_invented(
        &mut self,
        answer: &mut Answer,
        query: &Query<'_>,
        asked: IpAddr,
    ) -> Option<Hostile> {
        let (Method::FindNode(target) | Method::GetPeers(target) | Method::Get { target, .. }) =
            &query.method
        else {
            return None;
        };
        let (shared @ ..=MAX_SHARED, last) = self.population.addresses().invented(asked)? else {
            return None;
        };
        answer.id = id_sharing(shared, target);
        answer.delay = Duration::ZERO;
        self.drip(shared, last, target, answer);
        Some(Hostile::SlowDrip)
    }

    /// Gives a changed copy of the true value, wherever it is held: hostile nodes know what is stored.
    fn forge(&self, target: &Id, answer: &mut Answer, change: impl FnOnce(&mut StoredItem)) {
        if let Some(item) = self.remembered.peek(target) {
            let mut forged = StoredItem::clone(item);
            change(&mut forged);
            answer.item = Some(forged.into());
        }
    }

    /// Names so many nodes that do not exist. Half are silent, for the others the system says that nobody is there.
    fn invent(&mut self, count: usize, target: &Id, answer: &mut Answer) {
        for _ in 0..count {
            let mut id = *id_sharing(20 + self.random.below(100) as u8, target).as_bytes();
            if let Some(end) = id.last_chunk_mut::<4>() {
                self.random.fill(end);
            }
            let last = 1 + self.random.below(250) as u8;
            let network = 200 + self.random.below(50) as u8;
            let address = self.population.addresses().of_invented(network, last);
            let port = if self.random.happens(0.5) { self.port } else { 1 };
            answer.name(Id::from(id), address, port);
        }
    }

    /// One node that is a bit nearer than one that shares `shared` bits with the target, after a while.
    fn drip(&mut self, shared: u8, last: u8, target: &Id, answer: &mut Answer) {
        answer.delay += Duration::from_secs(1) + self.random.up_to(Duration::from_secs(2));
        answer.nodes.clear();
        if shared < MAX_SHARED {
            let nearer = shared + 1;
            let address = self.population.addresses().of_invented(nearer, last);
            answer.name(id_sharing(nearer, target), address, self.port);
        }
    }
}

/// The id that has exactly so many leading bits in common with the target.
fn id_sharing(shared: u8, target: &Id) -> Id {
    let mut id = *target.as_bytes();
    if let Some(byte) = id.get_mut(usize::from(shared / 8)) {
        *byte ^= 0x80 >> (shared % 8);
    }
    Id::from(id)
}
