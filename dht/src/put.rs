//! Storing a packet on the nodes that a search has found. Pure: it says whom to ask, and is told what came.

use std::{collections::BTreeMap, net::SocketAddr, time::Instant};

use super::{
    NetworkError,
    client::PutError,
    krpc::{Id, Refusal},
    lookup::{Request, Responder, patience},
    rtt::Rtt,
};

/// Nodes that a packet is stored on, the nearest, as all of this network do it.
pub const REPLICAS: usize = 20;

/// Nodes that have to confirm before a running server says that a packet is stored. The rest follows.
pub(super) const ENOUGH_REPLICAS: u32 = 12;

/// Nodes asked beyond those, at once: with a few lost datagrams, 20 have it after one round trip all the same.
const SPARE: usize = 4;

/// How often one node is asked: datagrams get lost. Each time it has twice as long (RFC 6298 section 5.5), for it has just
/// answered the search: it is more likely to be busy than gone.
const ATTEMPTS: u32 = 3;

/// BEP 44: the number to be replaced is not the one that the node holds.
const CAS_MISMATCH: i64 = 301;

/// BEP 44: the node holds a greater number.
const SEQ_TOO_LOW: i64 = 302;

/// A packet on its way to its nodes.
#[derive(Debug)]
pub(super) struct Put {
    /// Where it belongs.
    place: Id,
    seq: i64,
    cas: Option<i64>,
    /// Nearest first.
    targets: Vec<Target>,
    /// How many of them answered the search after it was over.
    late: usize,
    stored: u32,
    /// How often each error came, and the last text that came with it.
    refusals: BTreeMap<i64, (u32, String)>,
}

#[derive(Debug)]
struct Target {
    responder: Responder,
    attempts: u32,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Untried,
    Asked { late: Instant },
    Done,
}

impl Put {
    /// The packet `seq` of `place` to the nearest of `responders`, nearest first, of which those that gave no token cannot
    /// be asked.
    pub(super) fn new(place: Id, seq: i64, cas: Option<i64>, responders: Vec<Responder>) -> Self {
        let willing = responders.into_iter().filter(|responder| responder.token.is_some());
        let targets = willing.map(Target::new).collect();
        Self { place, seq, cas, targets, late: 0, stored: 0, refusals: BTreeMap::new() }
    }

    /// A node that the search did not wait for: it is asked as well if it is one of the nearest.
    pub(super) fn joined(&mut self, responder: Responder) {
        let distance = |id: &Id| self.place.xor(id);
        let own = distance(&responder.id);
        let place = self.targets.binary_search_by_key(&own, |target| distance(&target.responder.id));
        // Only the search asks, and each node once.
        if let Err(place) = place
            && place < REPLICAS
        {
            self.targets.insert(place, Target::new(responder));
            self.late += 1;
        }
    }

    /// Nodes that have confirmed that they stored it.
    pub(super) fn stored(&self) -> u32 {
        self.stored
    }

    /// Whether there is a node to ask.
    pub(super) fn wants(&mut self, now: Instant) -> bool {
        self.settle(now);
        let stored = usize::try_from(self.stored).unwrap_or(usize::MAX);
        let asked = self.targets.iter().filter(|target| matches!(target.state, State::Asked { .. })).count();
        let is_untried = |target: &Target| target.state == State::Untried;
        asked + stored < REPLICAS + SPARE + self.late && self.targets.iter().any(is_untried)
    }

    /// The next node to ask, its token, and the number that it must hold: the nearest that has neither confirmed nor
    /// refused. Where one of the nearest fails, the next nearest takes its place.
    pub(super) fn next(&mut self, typical: &Rtt, now: Instant) -> Option<(Request, Box<[u8]>, Option<i64>)> {
        let target = self.targets.iter_mut().find(|target| target.state == State::Untried)?;
        let responder = &target.responder;
        let token = responder.token.clone()?;
        // A node that missed the last update shows an older number. It is brought up to date like the others.
        let cas = self.cas.map(|cas| responder.seq.map_or(cas, |seq| seq.min(cas)));
        let late = now + patience(responder.rtt, typical) * (1 << target.attempts);
        let request = Request { id: responder.id, address: responder.address };
        target.attempts += 1;
        target.state = State::Asked { late };
        Some((request, token, cas))
    }

    /// The node has stored it.
    pub(super) fn acknowledged(&mut self, id: &Id, address: SocketAddr) {
        if let Some(target) = self.target(id, address) {
            target.state = State::Done;
            self.stored += 1;
        }
    }

    /// The node has refused. Some refuse what they hold already, where others keep it for longer: it is stored there.
    pub(super) fn refused(&mut self, id: &Id, address: SocketAddr, refusal: &Refusal<'_>) {
        let seq = self.seq;
        if let Some(target) = self.target(id, address) {
            target.state = State::Done;
            if refusal.code == SEQ_TOO_LOW && target.responder.seq == Some(seq) {
                self.stored += 1;
                return;
            }
            let (count, text) = self.refusals.entry(refusal.code).or_default();
            *count += 1;
            *text = refusal.text.escape_ascii().to_string().chars().take(100).collect();
        }
    }

    /// Whether enough nodes have it, or no more is to be expected.
    pub(super) fn is_over(&mut self, now: Instant) -> bool {
        self.settle(now);
        let is_stored = usize::try_from(self.stored).is_ok_and(|stored| stored >= REPLICAS);
        is_stored || self.targets.iter().all(|target| target.state == State::Done)
    }

    /// When something is to be decided although nothing arrives.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let late = self.targets.iter().filter_map(|target| match target.state {
            State::Asked { late } => Some(late),
            State::Untried | State::Done => None,
        });
        late.min()
    }

    fn settle(&mut self, now: Instant) {
        for target in &mut self.targets {
            if matches!(target.state, State::Asked { late } if now >= late) {
                target.state = if target.attempts < ATTEMPTS { State::Untried } else { State::Done };
            }
        }
    }

    fn target(&mut self, id: &Id, address: SocketAddr) -> Option<&mut Target> {
        let mut open = self.targets.iter_mut().filter(|target| target.state != State::Done);
        open.find(|target| target.is(id, address))
    }
}

/// How it went in both families together. A few nodes that refuse are outvoted by those that stored it; one that says
/// what is not so cannot keep a packet from being published.
pub(super) fn outcome(puts: &[Put; 2]) -> Result<u32, PutError> {
    let stored = puts.iter().map(Put::stored).sum();
    let refusals = || puts.iter().flat_map(|put| &put.refusals);
    let count = |wanted| refusals().filter(|(code, _)| **code == wanted).map(|(_, (count, _))| count).sum();
    if stored < count(SEQ_TOO_LOW) {
        return Err(PutError::NotMostRecent);
    }
    if stored < count(CAS_MISMATCH) {
        return Err(PutError::CasFailed);
    }
    if stored > 0 {
        return Ok(stored);
    }
    match refusals().max_by_key(|(_, (count, _))| *count) {
        Some((code, (_, text))) => Err(PutError::Refused(*code, text.clone())),
        None => Err(NetworkError::Unreachable.into()),
    }
}

impl Target {
    fn new(responder: Responder) -> Self {
        Self { responder, attempts: 0, state: State::Untried }
    }

    fn is(&self, id: &Id, address: SocketAddr) -> bool {
        self.responder.id == *id && self.responder.address == address
    }
}
