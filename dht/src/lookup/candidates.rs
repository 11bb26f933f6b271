//! The nodes that a search has heard of, nearest first, and whether to believe in them.

use std::{net::SocketAddr, time::Instant};

use crate::{krpc::Id, rtt::Rtt, subnet::Subnet, table::Contact};

/// Nodes remembered in one search.
const MAX_CANDIDATES: usize = 240;

/// Nodes in one subnet: an attacker who has many addresses there must not surround a key.
const MAX_PER_SUBNET: usize = 3;

/// A node of which so many suggestions are dead or overdue, and none alive, is not followed further.
const MAX_DEAD_SUGGESTIONS: u8 = 5;

/// As long as none of its suggestions has answered, no more of them are asked at once: a node that makes up others must
/// not occupy the whole search.
const MAX_UNPROVEN: u8 = 4;

/// Nodes by their distance to the target.
#[derive(Debug)]
pub(super) struct Candidates {
    target: Id,
    nearest: Vec<Candidate>,
    sources: Vec<Source>,
    /// Requests that are on their way in good time.
    in_time: usize,
    /// Before then, none of them is overdue or given up.
    due: Option<Instant>,
}

/// A node of the search.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) id: Id,
    pub(super) address: SocketAddr,
    pub(super) rtt: Option<Rtt>,
    /// Whether it may hold values, as far as we know (BEP 44).
    pub(super) stores: bool,
    pub(super) state: State,
    distance: Id,
    /// `distance` as a share of the key space.
    fraction: f64,
    subnet: Option<Subnet>,
    /// Who named it, as places in `sources`. None: we knew it.
    named_by: Option<[usize; 2]>,
}

/// How far the search has come with a node.
#[derive(Debug)]
pub(super) enum State {
    Untried,
    Asked {
        late: Instant,
        patience: Instant,
        hopeless: Instant,
    },
    /// Overdue. Others are asked in its place. The search does not end without it before `patience` is over.
    Late {
        patience: Instant,
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
    /// Of those it named, how many are being asked, and how many are dead or overdue.
    asked: u8,
    dead: u8,
    has_named_living: bool,
}

impl Candidates {
    pub(super) fn new(target: Id) -> Self {
        Self { target, nearest: Vec::new(), sources: Vec::new(), in_time: 0, due: None }
    }

    pub(super) fn target(&self) -> Id {
        self.target
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Candidate> {
        self.nearest.iter()
    }

    pub(super) fn get(&self, index: usize) -> Option<&Candidate> {
        self.nearest.get(index)
    }

    /// The nodes that have answered or still may, nearest first, with their places. Those that are overdue are not among
    /// them.
    pub(super) fn open(&self) -> impl Iterator<Item = (usize, &Candidate)> {
        self.open_or_late().filter(|(_, candidate)| !matches!(candidate.state, State::Late { .. }))
    }

    /// As [`Candidates::open`], with those that are overdue.
    pub(super) fn open_or_late(&self) -> impl Iterator<Item = (usize, &Candidate)> {
        self.nearest.iter().enumerate().filter(|(_, candidate)| match candidate.state {
            State::Untried => self.is_trusted(candidate),
            State::Failed => false,
            State::Answered { .. } | State::Asked { .. } | State::Late { .. } => true,
        })
    }

    /// Where the node is.
    pub(super) fn position(&self, id: &Id, address: SocketAddr) -> Option<usize> {
        let distance = self.target.xor(id);
        let index = self.nearest.binary_search_by_key(&distance, |candidate| candidate.distance).ok()?;
        self.nearest.get(index).filter(|candidate| candidate.address == address).map(|_| index)
    }

    /// A node is being asked.
    pub(super) fn ask(&mut self, index: usize, late: Instant, patience: Instant, hopeless: Instant) {
        self.change(index, State::Asked { late, patience, hopeless });
        self.due = self.due.into_iter().chain([late]).min();
    }

    /// The node has answered: those who named it are worth following.
    pub(super) fn answered(&mut self, index: usize, token: Option<&[u8]>, seq: Option<i64>) {
        self.change(index, State::Answered { token: token.map(Into::into), seq });
    }

    /// The node has said that it has no BEP 44. It may be asked once more, for others.
    pub(super) fn stores_nothing(&mut self, index: usize) {
        let Some(candidate) = self.nearest.get_mut(index) else { return };
        let state =
            if std::mem::replace(&mut candidate.stores, false) { State::Untried } else { State::Failed };
        self.change(index, state);
    }

    /// The node is of no use.
    pub(super) fn fail(&mut self, index: usize) {
        self.change(index, State::Failed);
    }

    /// Requests that are on their way in good time.
    pub(super) fn in_time(&self) -> usize {
        self.in_time
    }

    /// Changes the state of a node and what it says about those who named it.
    fn change(&mut self, index: usize, state: State) {
        let Some(candidate) = self.nearest.get_mut(index) else { return };
        let before = std::mem::replace(&mut candidate.state, state);
        let after = &candidate.state;
        self.in_time += usize::from(after.is_asked());
        self.in_time = self.in_time.saturating_sub(before.is_asked().into());
        let Some([first, second]) = candidate.named_by else { return };
        for source in [Some(first), Some(second).filter(|second| *second != first)].into_iter().flatten() {
            let Some(source) = self.sources.get_mut(source) else { continue };
            source.asked = source.asked.saturating_add(after.is_asked().into());
            source.asked = source.asked.saturating_sub(before.is_asked().into());
            source.dead = source.dead.saturating_add(after.is_suspect().into());
            source.dead = source.dead.saturating_sub(before.is_suspect().into());
            source.has_named_living |= matches!(after, State::Answered { .. });
        }
    }

    /// Moves requests on from asked to late to failed. Returns those that are given up.
    pub(super) fn expire_requests(&mut self, now: Instant) -> Vec<(Id, SocketAddr)> {
        let mut given_up = Vec::new();
        if self.due.is_none_or(|due| now < due) {
            return given_up;
        }
        self.due = None;
        for index in 0..self.nearest.len() {
            let Some(candidate) = self.nearest.get(index) else { break };
            match candidate.state {
                State::Asked { hopeless, .. } | State::Late { hopeless, .. } if now >= hopeless => {
                    given_up.push((candidate.id, candidate.address));
                    self.change(index, State::Failed);
                }
                State::Asked { late, patience, hopeless } if now >= late => {
                    self.change(index, State::Late { patience, hopeless });
                    self.due = self.due.into_iter().chain([hopeless]).min();
                }
                State::Asked { late: due, .. } | State::Late { hopeless: due, .. } => {
                    self.due = self.due.into_iter().chain([due]).min();
                }
                State::Untried | State::Answered { .. } | State::Failed => {}
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
    pub(super) fn insert(&mut self, contact: Contact, source: Option<usize>) {
        let Contact { id, address, rtt, stores } = contact;
        let distance = self.target.xor(&id);
        let named_by = source.map(|source| [source; 2]);
        let candidate = Candidate {
            id,
            address,
            rtt,
            stores,
            state: State::Untried,
            distance,
            fraction: fraction(&distance),
            subnet: Subnet::of(address.ip()),
            named_by,
        };
        match self.nearest.binary_search_by_key(&distance, |candidate| candidate.distance) {
            Ok(index) => {
                let is_crowded = self.is_crowded(address);
                let Some(known) = self.nearest.get_mut(index) else { return };
                let is_untried = matches!(known.state, State::Untried);
                if known.address != address {
                    // A node that names another at a false address must not hide where that is.
                    let is_better = is_untried && rtt.is_some() && known.rtt.is_none();
                    if !is_crowded && (is_better || matches!(known.state, State::Failed)) {
                        *known = candidate;
                    }
                } else if let (Some(source), Some([_, second]), true) =
                    (source, &mut known.named_by, is_untried)
                {
                    // Named again, by somebody else: it takes two to be fooled by. Once it is asked, what becomes of it
                    // counts for those it is asked on behalf of.
                    *second = source;
                }
            }
            Err(index) if index < MAX_CANDIDATES && !self.is_crowded(address) => {
                self.nearest.insert(index, candidate);
                self.forget_farthest();
            }
            Err(_) => {}
        }
    }

    /// Whether anybody who named it has not named dead ones only.
    fn is_trusted(&self, candidate: &Candidate) -> bool {
        self.vouches(candidate, |source| source.dead < MAX_DEAD_SUGGESTIONS)
    }

    /// Whether it may be asked now: a trusted one may have to wait for others that the same node has named.
    pub(super) fn is_eligible(&self, candidate: &Candidate) -> bool {
        let may = |source: &Source| source.dead < MAX_DEAD_SUGGESTIONS && source.asked < MAX_UNPROVEN;
        matches!(candidate.state, State::Untried) && self.vouches(candidate, may)
    }

    /// Whether we know the node ourselves, or somebody who named it has proven good, or is `good_enough`.
    fn vouches(&self, candidate: &Candidate, good_enough: impl Fn(&Source) -> bool) -> bool {
        candidate.named_by.is_none_or(|sources| {
            let mut sources = sources.into_iter().filter_map(|source| self.sources.get(source));
            sources.any(|source| source.has_named_living || good_enough(source))
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
            neighbours += usize::from(subnet.is_some() && candidate.subnet == subnet);
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

impl State {
    fn is_asked(&self) -> bool {
        matches!(self, Self::Asked { .. })
    }

    fn is_suspect(&self) -> bool {
        matches!(self, Self::Late { .. } | Self::Failed)
    }
}

impl Candidate {
    pub(super) fn has_answered(&self) -> bool {
        matches!(self.state, State::Answered { .. })
    }

    /// Whether nothing is to be expected of it any more.
    pub(super) fn has_failed(&self) -> bool {
        matches!(self.state, State::Failed)
    }

    /// How far it is from the target, as a share of the key space.
    pub(super) fn distance(&self) -> f64 {
        self.fraction
    }
}

/// A distance as a share of the key space. All of it counts: made-up ids may lie as near as one likes.
fn fraction(distance: &Id) -> f64 {
    distance.as_bytes().iter().rfold(0.0, |share, byte| (share + f64::from(*byte)) / 256.0)
}
