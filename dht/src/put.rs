//! Storing a packet on the nodes that a search has found. Pure: it says whom to ask, and is told what came.

use std::{collections::BTreeMap, net::SocketAddr, time::Instant};

use super::{
    NetworkError,
    client::PutError,
    family::PerFamily,
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

/// BEP 44: `cas` is not the `seq` that the node holds.
const CAS_MISMATCH: i64 = 301;

/// BEP 44: the node holds a greater `seq`.
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
    token: Box<[u8]>,
    attempts: u32,
    state: State,
}

/// What a store does next.
#[derive(Debug)]
pub(super) enum Poll<'a> {
    /// It asks a node, if that may be.
    Ask(Turn<'a>),
    /// It waits for answers, until this time.
    Wait(Instant),
    /// It is over: nobody is to be asked, and no answer is to be expected.
    Over,
}

/// A request that a store wants to make. Nothing has changed before [`Turn::take`].
#[derive(Debug)]
pub(super) struct Turn<'a> {
    target: &'a mut Target,
    cas: Option<i64>,
    late: Instant,
    /// When the first of the requests under way is late.
    wake: Option<Instant>,
}

/// A node to ask, with its token and the `cas` of BEP 44.
pub(super) type Asked<'a> = (Request, &'a [u8], Option<i64>);

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
        let targets = responders.into_iter().filter_map(Target::new).collect();
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
            && let Some(target) = Target::new(responder)
        {
            self.targets.insert(place, target);
            self.late += 1;
        }
    }

    /// Nodes that have confirmed that they stored it.
    pub(super) fn stored(&self) -> u32 {
        self.stored
    }

    /// Whether as many nodes have it as are meant to.
    pub(super) fn has_enough(&self) -> bool {
        usize::try_from(self.stored).is_ok_and(|stored| stored >= REPLICAS)
    }

    /// Asks the nearest node that has neither confirmed nor refused, unless those under way are enough. Where one of
    /// the nearest fails, the next nearest takes its place.
    pub(super) fn poll_next(&mut self, typical: &Rtt, now: Instant) -> Poll<'_> {
        self.expire_requests(now);
        let under_way = self.targets.iter().filter_map(|target| match target.state {
            State::Asked { late } => Some(late),
            State::Untried | State::Done => None,
        });
        let (asked, wake) = (under_way.clone().count(), under_way.min());
        let stored = usize::try_from(self.stored).unwrap_or(usize::MAX);
        let may = asked.saturating_add(stored) < REPLICAS + SPARE + self.late;
        let untried = self.targets.iter_mut().find(|target| may && target.state == State::Untried);
        match (untried, wake) {
            (Some(target), wake) => {
                let Responder { rtt, seq, .. } = target.responder;
                let late = now + patience(rtt, typical) * (1 << target.attempts);
                // A node that missed the last update shows an older `seq`. It is brought up to date like the others.
                let cas = self.cas.map(|cas| seq.map_or(cas, |seq| seq.min(cas)));
                Poll::Ask(Turn { target, cas, late, wake })
            }
            (None, Some(at)) => Poll::Wait(at),
            (None, None) => Poll::Over,
        }
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

    /// Takes up again or gives up requests that are late by now.
    fn expire_requests(&mut self, now: Instant) {
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

/// How it went in both families together. A few nodes that refuse are outvoted by those that stored it, so that a node
/// that lies cannot keep a packet from being published.
pub(super) fn outcome(puts: &PerFamily<Put>) -> Result<u32, PutError> {
    let stored = puts.values().map(Put::stored).sum();
    let refusals = || puts.values().flat_map(|put| &put.refusals);
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

impl<'a> Turn<'a> {
    /// The node, which now counts as asked.
    pub(super) fn take(self) -> Asked<'a> {
        let Self { target, cas, late, .. } = self;
        target.attempts += 1;
        target.state = State::Asked { late };
        let Responder { id, address, .. } = target.responder;
        (Request { id, address }, &target.token, cas)
    }

    /// The request may not be sent now. When the store is to go on, at `again` or before.
    pub(super) fn hold_up(self, again: Instant) -> Instant {
        self.wake.map_or(again, |wake| wake.min(again))
    }
}

impl Target {
    /// `None`: a node that gave no token cannot be asked.
    fn new(mut responder: Responder) -> Option<Self> {
        let token = responder.token.take()?;
        Some(Self { responder, token, attempts: 0, state: State::Untried })
    }

    fn is(&self, id: &Id, address: SocketAddr) -> bool {
        self.responder.id == *id && self.responder.address == address
    }
}
