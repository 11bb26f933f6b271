//! Nodes that gather around a key, closer together than chance allows, to hide what is stored under it.

use std::{collections::HashMap, net::IpAddr};

use mainline::Id;

use super::{
    Hostile,
    ids::prefix,
    node::Role,
    population::BUCKET,
    random::Random,
    responder::{Answer, Responder},
};
use crate::krpc::{Method, Query};

/// Attackers around a key, two in each of 20 subnets.
pub(super) const ATTACKERS: u8 = 40;
const IN_SUBNET: u8 = 2;
const SUBNETS: u8 = ATTACKERS / IN_SUBNET;

/// Keys with attackers of their own. Those of more keys share their addresses.
const MAX_ATTACKED: u16 = 1200;

/// Those with which nodes of [`Hostile::Dense`] surround any other target.
const OF_ANY: u16 = 300;

/// There are 240 subnets for attackers, and so subnets of their own for as many keys. Others share them, at other hosts.
const KEYS_AT_ONCE: u16 = 12;

/// Who gathers around what.
#[derive(Debug, Default)]
pub(super) struct Attacks {
    /// A number for each key.
    numbers: HashMap<Id, u16>,
    /// The target of each number, or that which was asked for last.
    targets: HashMap<u16, Id>,
    begun: u16,
}

impl Attacks {
    fn number(&self, target: &Id) -> u16 {
        let any = || MAX_ATTACKED + Random::of(&[prefix(target)]).below(OF_ANY.into()) as u16;
        self.numbers.get(target).copied().unwrap_or_else(any)
    }

    pub(super) fn begin(&mut self, target: Id) {
        if self.numbers.contains_key(&target) {
            return;
        }
        let number = self.begun % MAX_ATTACKED;
        self.begun = self.begun.wrapping_add(1);
        self.numbers.insert(target, number);
        self.targets.insert(number, target);
    }

    pub(super) fn end(&mut self) {
        self.numbers.clear();
        self.targets.clear();
    }
}

impl Responder {
    /// Surrounds a target.
    pub(super) fn attack(&mut self, target: Id) {
        self.attacks.begin(target);
    }

    /// The attackers that a node names before all others, if the target is attacked and it knows of them.
    pub(super) fn attackers_known_to(&self, number: u32, target: &Id) -> Option<Vec<(Id, IpAddr)>> {
        let attacked = *self.attacks.numbers.get(target)?;
        let first = self.population.first_attacker_known_to(number, attacked, ATTACKERS)?;
        Some(self.attackers(attacked, target, first))
    }

    /// As a node that knows attackers of whatever target.
    pub(super) fn name_attackers(&mut self, target: &Id, answer: &mut Answer) {
        let number = self.attacks.number(target);
        if number >= MAX_ATTACKED {
            self.attacks.targets.insert(number, *target);
        }
        let first = self.random.below(ATTACKERS.into()) as u8;
        self.name_all(self.attackers(number, target, first), answer);
    }

    /// Answers as an attacker. `None`: none is there.
    pub(super) fn answer_as_attacker(
        &mut self,
        answer: &mut Answer,
        query: &Query<'_>,
        asked: IpAddr,
        from: IpAddr,
    ) -> Option<Role> {
        let (network, host) = self.population.addresses().attacker(asked)?;
        let host = host.checked_sub(1)?;
        let number = u16::from(host / IN_SUBNET) * KEYS_AT_ONCE + u16::from(network / SUBNETS);
        let rank = network % SUBNETS * IN_SUBNET + host % IN_SUBNET;
        let about = match &query.method {
            Method::FindNode(target) | Method::GetPeers(target) | Method::Get { target, .. } => Some(*target),
            Method::Ping | Method::Put(_) | Method::Unknown(_) => None,
        };
        let surrounded = about.filter(|target| self.attacks.number(target) == number);
        let target = surrounded.or_else(|| self.attacks.targets.get(&number).copied())?;
        answer.id = self.attacker_id(&target, rank);
        answer.delay = self.population.round_trip_of(&[prefix(&answer.id)]);
        if let Some(about) = about {
            let others = self.attackers(number, &target, (rank + 1) % ATTACKERS);
            self.name_all(others, answer);
            if !matches!(query.method, Method::FindNode(_)) {
                answer.token = Some(self.token(answer.id, from, &about));
            }
        }
        Some(Role::Hostile(Hostile::Dense))
    }

    /// A bucket's worth of those around a target, from the `first` on.
    fn attackers(&self, number: u16, target: &Id, first: u8) -> Vec<(Id, IpAddr)> {
        let (Ok(network), Ok(host)) =
            (u8::try_from(number % KEYS_AT_ONCE), u8::try_from(number / KEYS_AT_ONCE))
        else {
            return Vec::new();
        };
        let ranks = (0..BUCKET as u8).map(|turn| (first + turn) % ATTACKERS);
        let attacker = |rank: u8| {
            let network = network * SUBNETS + rank / IN_SUBNET;
            let host = 1 + host * IN_SUBNET + rank % IN_SUBNET;
            (self.attacker_id(target, rank), self.population.addresses().of_attacker(network, host))
        };
        ranks.map(attacker).collect()
    }

    /// Nearer to the target than any node that is not an attacker.
    fn attacker_id(&self, target: &Id, rank: u8) -> Id {
        let shared = 1 + self.population.nearest_shares(target) as usize;
        let mut id = *Random::of(&[self.world.seed, prefix(target), rank.into()]).id().as_bytes();
        for (place, (byte, of_target)) in id.iter_mut().zip(target.as_bytes()).enumerate() {
            let kept = shared.saturating_sub(place * 8).min(8);
            let mask = !(0xff_u16 >> kept) as u8;
            *byte = (*byte & !mask) | (of_target & mask);
        }
        Id::from(id)
    }

    fn name_all(&self, nodes: Vec<(Id, IpAddr)>, answer: &mut Answer) {
        answer.nodes.clear();
        for (id, address) in nodes {
            answer.name(id, address, self.port);
        }
    }
}
