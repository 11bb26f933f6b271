//! A question that is under way: its place, its turns, and those whom it is asked of.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use hickory_proto::rr::{DNSClass, Name, RecordType};
use tokio::time::{Instant, timeout};
use tracing::{error, info};

use super::{
    ExchangeError, Exchanger, Flags, ForwardError, LONGEST_QUEUEING, TlsClient,
    counted::CountedRequest,
    loops::{self, LoopProbes},
    places::{self, Line, Place, Places},
    race::{self, MIN_TRIES},
    upstream::{self, Turn, Upstream},
};
use crate::base::{
    config::UpstreamAddress,
    message::{Message, Question},
};

/// Sockets for datagrams to upstreams at once. Each question may have one for each of its tries, so that this bounds
/// the questions too: 1024 of them with up to three upstreams.
pub(super) const MAX_SOCKETS: usize = 3072;

/// Questions that wait for a place among those under way. Each is held by a client of a transport that bounds them.
pub(super) const MAX_QUEUED: usize = 4096;

/// For the question by which an upstream that is in doubt shows that it is there.
const CHECK_TIME: Duration = Duration::from_millis(1600);

const LOOP_PROBE_TIME: Duration = Duration::from_secs(3);

/// What a question that is under way needs, whoever waits for it.
#[derive(Debug)]
pub(super) struct Upstreams {
    pub(super) list: Vec<Arc<Upstream>>,
    pub(super) places: Places,
    pub(super) exchanger: Exchanger,
    pub(super) loop_probes: LoopProbes,
    tls: TlsClient,
}

/// The right to begin with a question: its place, whom it asks, and its place at the first of them.
pub(super) struct Start {
    place: Place,
    turns: Vec<Turn>,
    first: Option<Place>,
}

impl Upstreams {
    /// With `sockets` for questions of clients. Those that `old` has as well keep their connections, and what is known of
    /// them; where nothing differs, these are the old ones.
    pub(super) fn renew(
        upstreams: &[UpstreamAddress],
        tls: &TlsClient,
        sockets: usize,
        old: Option<&Arc<Self>>,
    ) -> Arc<Self> {
        let trusted_as_before = old.is_some_and(|old| old.tls.trusts_as(tls));
        let is_same = |old: &&Arc<Self>| {
            trusted_as_before && old.list.iter().map(|upstream| &upstream.address).eq(upstreams)
        };
        if let Some(old) = old.filter(is_same) {
            return old.clone();
        }
        let known = |address: &UpstreamAddress| {
            let mut known = old?.list.iter();
            known.find(|known| known.address == *address && (trusted_as_before || known.channel.is_none()))
        };
        let upstream = |address: &UpstreamAddress| {
            known(address).cloned().unwrap_or_else(|| Arc::new(Upstream::new(address.clone(), tls)))
        };
        let tries = upstreams.len().max(MIN_TRIES);
        // Whoever has a place has a socket for each try. What is asked for ourselves has few.
        let questions = sockets + places::OWN.in_flight * tries;
        Arc::new(Self {
            loop_probes: LoopProbes::new(upstreams.len()),
            list: upstreams.iter().map(upstream).collect(),
            places: Places::new(sockets / tries, MAX_QUEUED),
            exchanger: match old {
                Some(old) => Exchanger::knowing(questions, &old.exchanger),
                None => Exchanger::new(questions),
            },
            tls: tls.clone(),
        })
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.list.iter().map(|upstream| upstream.address.socket_address())
    }

    /// Waits until a question of `line` may leave. `None` when too many wait.
    pub(super) async fn turn(&self, line: Line) -> Option<Start> {
        let mut place = self.places.acquire(line).await.ok()?;
        let turns = upstream::in_order(&self.list, Instant::now());
        let first = match turns.first().and_then(|turn| self.list.get(turn.index)) {
            Some(upstream) => tokio::select! {
                biased;
                first = upstream.turn(line) => first.ok()?,
                () = place.revoked() => return None,
            },
            None => None,
        };
        Some(Start { place, turns, first })
    }

    pub(super) async fn ask(
        self: &Arc<Self>,
        question: &Question,
        flags: Flags,
        line: Line,
        start: Start,
    ) -> Result<Message, ForwardError> {
        let Start { mut place, turns, first } = start;
        if turns.is_empty() && !self.list.is_empty() {
            return Err(ForwardError::Loop);
        }
        let asking = Asking { upstreams: self, question, flags, line };
        tokio::select! {
            biased;
            answer = race::ask_in_turn(&self.list, turns, &asking, first) => answer,
            () = place.revoked() => Err(ForwardError::Busy),
        }
    }

    async fn exchange(
        &self,
        upstream: &Upstream,
        question: &Question,
        flags: Flags,
        deadline: Instant,
    ) -> Result<Message, ExchangeError> {
        let request = CountedRequest::begin(&upstream.metrics);
        let answer = match &upstream.channel {
            Some(channel) => channel.exchange(question, flags, deadline).await,
            None => {
                let address = upstream.address.socket_address();
                let answer = self.exchanger.exchange(address, question, flags, deadline).await;
                upstream.note_capabilities(self.exchanger.capabilities(address));
                answer
            }
        };
        request.end(&answer);
        answer
    }

    /// Asks an upstream that has been silent what every resolver knows, once at a time.
    pub(super) async fn check(&self, upstream: &Upstream) {
        let Some(_check) = Check::begin(&upstream.is_checked) else { return };
        if let Some(question) = Question::new(&Name::root(), RecordType::NS, DNSClass::IN)
            && self.find_out(upstream, &question).await.is_ok()
        {
            upstream.answered(Instant::now());
        }
    }

    /// In each way in which it may answer.
    async fn find_out(&self, upstream: &Upstream, question: &Question) -> Result<Message, ExchangeError> {
        let flags = Flags { recursion_desired: true, dnssec_ok: false, checking_disabled: false };
        if upstream.channel.is_some() {
            return self.exchange_for_ourselves(upstream, question, flags, CHECK_TIME).await;
        }
        let turn = timeout(LONGEST_QUEUEING, self.places.acquire(Line::Own)).await;
        let _turn = turn.ok().and_then(Result::ok).ok_or(ExchangeError::Busy)?;
        let (address, deadline) = (upstream.address.socket_address(), Instant::now() + CHECK_TIME);
        let request = CountedRequest::begin(&upstream.metrics);
        let answer = self.exchanger.find_out(address, question, flags, deadline).await;
        request.end(&answer);
        answer
    }

    /// `time` begins when it is our turn.
    async fn exchange_for_ourselves(
        &self,
        upstream: &Upstream,
        question: &Question,
        flags: Flags,
        time: Duration,
    ) -> Result<Message, ExchangeError> {
        let turn = async {
            let place = self.places.acquire(Line::Own).await;
            Some((place.ok()?, upstream.turn(Line::Own).await.ok()?))
        };
        let _turn = timeout(LONGEST_QUEUEING, turn).await.ok().flatten().ok_or(ExchangeError::Busy)?;
        self.exchange(upstream, question, flags, Instant::now() + time).await
    }

    pub(super) async fn look_for_loops(&self) {
        let Some(token) = self.loop_probes.begin_round() else {
            return;
        };
        join_all((0..self.list.len()).map(|index| self.send_loop_probe(index, &token))).await;
    }

    async fn send_loop_probe(&self, index: usize, token: &str) {
        let (Some(upstream), Some(probe)) = (self.list.get(index), loops::probe(index, token)) else {
            return;
        };
        let flags = Flags { recursion_desired: true, dnssec_ok: false, checking_disabled: false };
        let result = self.exchange_for_ourselves(upstream, &probe, flags, LOOP_PROBE_TIME).await;
        let is_looping = self.loop_probes.came_back(index);
        if !is_looping && result.is_err() {
            // Nothing was sent, or it got lost, so that nothing is known.
            return;
        }
        if !is_looping {
            upstream.answered(Instant::now());
        }
        match (upstream.is_looping.swap(is_looping, Ordering::Relaxed), is_looping) {
            (false, true) => error!(
                "upstream {} sends our questions back to us: set fallback_dns to a resolver that does not forward here",
                upstream.address
            ),
            (true, false) => info!("upstream {} no longer sends our questions back to us", upstream.address),
            (false, false) | (true, true) => {}
        }
    }
}

/// One check of an upstream. However it ends, the next may begin.
struct Check<'a>(&'a AtomicBool);

impl<'a> Check<'a> {
    /// `None` while there is one.
    fn begin(is_checked: &'a AtomicBool) -> Option<Self> {
        (!is_checked.swap(true, Ordering::Relaxed)).then(|| Self(is_checked))
    }
}

impl Drop for Check<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// One question, for those who decide whom to ask when.
struct Asking<'a> {
    upstreams: &'a Arc<Upstreams>,
    question: &'a Question,
    flags: Flags,
    line: Line,
}

impl race::Ask for Asking<'_> {
    type Place = Option<Place>;

    async fn turn(&self, upstream: &Upstream) -> Result<Self::Place, ExchangeError> {
        upstream.turn(self.line).await
    }

    async fn exchange(
        &self,
        upstream: &Upstream,
        place: Self::Place,
        deadline: Instant,
    ) -> Result<Message, ExchangeError> {
        let exchange = self.upstreams.exchange(upstream, self.question, self.flags, deadline);
        let Some(mut place) = place else { return exchange.await };
        tokio::select! {
            biased;
            answer = exchange => answer,
            () = place.revoked() => Err(ExchangeError::Busy),
        }
    }

    fn doubt(&self, index: usize) {
        let upstreams = self.upstreams.clone();
        tokio::spawn(async move {
            if let Some(upstream) = upstreams.list.get(index) {
                upstreams.check(upstream).await;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_that_does_not_come_to_its_end_is_not_the_last() {
        let is_checked = AtomicBool::new(false);
        let check = Check::begin(&is_checked);
        assert!(check.is_some() && Check::begin(&is_checked).is_none());
        drop(check);
        assert!(Check::begin(&is_checked).is_some());
    }
}
