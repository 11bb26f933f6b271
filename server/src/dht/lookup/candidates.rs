//! The nodes that a search has heard of, nearest first, and whether to believe in them.

use std::{
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use super::fraction;
use crate::dht::{krpc::Id, rtt::Rtt, subnet::Subnet};

/// Nodes remembered in one search.
const MAX_CANDIDATES: usize = 96;

/// Nodes in one subnet: whoever has many addresses there must not surround a key.
const MAX_PER_SUBNET: usize = 3;

/// A node of which so many suggestions are dead, and none alive, is not followed further.
const MAX_DEAD_SUGGESTIONS: u8 = 3;

/// Nodes by their distance to the target.
#[derive(Debug)]
pub(super) struct Candidates {
    target: Id,
    nearest: Vec<Candidate>,
    sources: Vec<Source>,
}

/// A node of the search.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) id: Id,
    pub(super) address: SocketAddr,
    pub(super) rtt: Option<Rtt>,
    pub(super) state: State,
    distance: Id,
    /// Who named it, as places in `sources`. None: we knew it.
    named_by: Option<[usize; 2]>,
}

/// How far the search has come with a node.
#[derive(Debug)]
pub(super) enum State {
    Untried,
    Asked {
        late: Instant,
        hopeless: Instant,
    },
    /// Overdue. Others are asked in its place.
    Late {
        hopeless: Instant,
    },
    Answered {
        token: Option<Box<[u8]>>,
        seq: Option<i64>,
    },
    Failed,
}

/// A node that has named others.
#[derive(Debug, Default)]
struct Source {
    dead: u8,
    has_named_living: bool,
}

impl Candidates {
    pub(super) fn new(target: Id) -> Self {
        Self { target, nearest: Vec::with_capacity(MAX_CANDIDATES + 1), sources: Vec::new() }
    }

    pub(super) fn target(&self) -> Id {
        self.target
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Candidate> {
        self.nearest.iter()
    }

    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut Candidate> {
        self.nearest.get_mut(index)
    }

    /// The nearest nodes that have answered or still may, `width` of them, with their places.
    pub(super) fn window(&self, width: usize) -> impl Iterator<Item = (usize, &Candidate)> {
        let open = |(_, candidate): &(usize, &Candidate)| match candidate.state {
            State::Answered { .. } | State::Asked { .. } => true,
            State::Untried => self.is_trusted(candidate),
            State::Late { .. } | State::Failed => false,
        };
        self.nearest.iter().enumerate().filter(open).take(width)
    }

    /// Where the node is.
    pub(super) fn position(&self, id: &Id, address: SocketAddr) -> Option<usize> {
        let distance = self.target.xor(id);
        let index = self.nearest.binary_search_by_key(&distance, |candidate| candidate.distance).ok()?;
        self.nearest.get(index).filter(|candidate| candidate.address == address).map(|_| index)
    }

    /// The node has answered: those who named it are worth following.
    pub(super) fn answered(&mut self, index: usize, token: Option<&[u8]>, seq: Option<i64>) {
        let Some(candidate) = self.nearest.get_mut(index) else { return };
        candidate.state = State::Answered { token: token.map(Into::into), seq };
        for source in candidate.named_by.into_iter().flatten() {
            if let Some(source) = self.sources.get_mut(source) {
                source.has_named_living = true;
            }
        }
    }

    /// The node is of no use.
    pub(super) fn fail(&mut self, index: usize) {
        let Some(candidate) = self.nearest.get_mut(index) else { return };
        candidate.state = State::Failed;
        let [first, second] = candidate.named_by.unwrap_or([usize::MAX; 2]);
        for source in [Some(first), Some(second).filter(|second| *second != first)].into_iter().flatten() {
            if let Some(source) = self.sources.get_mut(source) {
                source.dead = source.dead.saturating_add(1);
            }
        }
    }

    /// Moves requests on from asked to late to failed. Returns those that are given up.
    pub(super) fn settle(&mut self, now: Instant) -> Vec<(Id, SocketAddr)> {
        let mut given_up = Vec::new();
        for index in 0..self.nearest.len() {
            let Some(candidate) = self.nearest.get_mut(index) else { break };
            match candidate.state {
                State::Asked { hopeless, .. } | State::Late { hopeless } if now >= hopeless => {
                    given_up.push((candidate.id, candidate.address));
                    self.fail(index);
                }
                State::Asked { late, hopeless } if now >= late => candidate.state = State::Late { hopeless },
                _ => {}
            }
        }
        given_up
    }

    /// A place for the next node that names others.
    pub(super) fn add_source(&mut self) -> usize {
        self.sources.push(Source::default());
        self.sources.len() - 1
    }

    /// Takes a node in, unless there are enough that are nearer, or of its kind. `source`: who named it; `None` where
    /// we know it ourselves.
    pub(super) fn insert(&mut self, id: Id, address: SocketAddr, rtt: Option<Rtt>, source: Option<usize>) {
        let distance = self.target.xor(&id);
        match self.nearest.binary_search_by_key(&distance, |candidate| candidate.distance) {
            Ok(index) => {
                // Named again, by somebody else: it takes two to be fooled by.
                let known = self.nearest.get_mut(index).filter(|known| known.address == address);
                if let (Some(known), Some(source)) = (known, source)
                    && let Some([_, second]) = &mut known.named_by
                {
                    *second = source;
                }
            }
            Err(index) if index < MAX_CANDIDATES && !self.is_crowded(address) => {
                let named_by = source.map(|source| [source; 2]);
                let state = State::Untried;
                self.nearest.insert(index, Candidate { id, address, rtt, state, distance, named_by });
                self.forget_farthest();
            }
            Err(_) => {}
        }
    }

    /// Whether anybody who named it has not named dead ones only.
    fn is_trusted(&self, candidate: &Candidate) -> bool {
        candidate.named_by.is_none_or(|sources| {
            let mut sources = sources.into_iter().filter_map(|source| self.sources.get(source));
            sources.any(|source| source.has_named_living || source.dead < MAX_DEAD_SUGGESTIONS)
        })
    }

    /// Whether the address is there already, under another id, or its subnet as often as it may be.
    fn is_crowded(&self, address: SocketAddr) -> bool {
        let subnet = Subnet::of(address.ip());
        let mut neighbours = 0;
        for candidate in &self.nearest {
            if candidate.address == address {
                return true;
            }
            neighbours += usize::from(subnet.is_some() && Subnet::of(candidate.address.ip()) == subnet);
        }
        neighbours >= MAX_PER_SUBNET
    }

    /// Nodes that were asked stay, so that their answers are known as such.
    fn forget_farthest(&mut self) {
        if self.nearest.len() > MAX_CANDIDATES {
            let is_idle = |candidate: &Candidate| matches!(candidate.state, State::Untried | State::Failed);
            if let Some(index) = self.nearest.iter().rposition(is_idle) {
                self.nearest.remove(index);
            }
        }
    }
}

impl Candidate {
    pub(super) fn has_answered(&self) -> bool {
        matches!(self.state, State::Answered { .. })
    }

    /// How far it is from the target, as a share of the key space.
    pub(super) fn distance(&self) -> f64 {
        fraction(&self.distance)
    }
}

/// Whether a node at `from` is to be believed that there is one at `named`. One out in the world must not make us send
/// anything into our own network, nor anyone to where no node can be.
pub(super) fn may_name(from: SocketAddr, named: SocketAddr) -> bool {
    let ip = named.ip();
    let is_broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    from.is_ipv4() == named.is_ipv4()
        && !(ip.is_unspecified() || ip.is_multicast() || is_broadcast)
        && (Subnet::of(ip).is_some() || Subnet::of(from.ip()).is_none())
}
