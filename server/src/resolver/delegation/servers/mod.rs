//! Questions to the name servers of zones: each asked once for all who want to know, in turns of their clients, and
//! with a share for each zone.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ahash::RandomState;
use hickory_proto::rr::{Name, RecordType};
use lru::LruCache;
use tokio::time::Instant;

use crate::{
    base::{
        client::Line,
        fair_flight::FairFlight,
        fair_queue::{self, FairQueue},
        fair_share::{self, FairShare, Share},
        message::{Message, Question},
    },
    sources::forward::{ExchangeError, Exchanger, Flags},
};

/// Questions to name servers under way at once, apart from those to the upstreams: 400 a second of one client whose
/// servers are all silent, and ten thousand to servers 50 ms away.
const MAX_QUESTIONS: usize = 512;

/// Questions that wait for one of those to end, in all and in the line of one client. All who wait for an answer to
/// them are fewer than may wait over UDP alone.
const MAX_QUEUED: usize = 2048;
const MAX_QUEUED_PER_CLIENT: usize = 512;

/// A question that has waited this long is given up. What is left of the 4.5 s of a query is enough for two servers.
const LONGEST_QUEUEING: Duration = Duration::from_secs(2);

/// Questions of one zone under way. Enough for four thousand a second to servers 30 ms away; those of
/// a zone whose servers are silent leave the rest to others.
const MAX_QUESTIONS_PER_ZONE: usize = 128;

/// What a client may have of these however few are left.
const LEAST_PER_CLIENT: usize = 4;

/// A server gets this long to answer.
const SERVER_TIMEOUT: Duration = Duration::from_millis(1200);

/// A server that did not answer is left alone this long, while others do.
const DEAD_FOR: Duration = Duration::from_secs(30);
const MAX_REMEMBERED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4095);

/// What came of a question, for all who asked it.
type Answered = Result<Arc<Message>, ExchangeError>;

/// How one question is asked of one server.
pub(super) trait Exchange: Send + Sync + 'static {
    /// Until `deadline`. `finds_out`: in all the ways in which a server may answer that is silent, as firewalls before some
    /// drop EDNS or UDP.
    fn exchange(
        &self,
        server: SocketAddr,
        question: &Question,
        flags: Flags,
        finds_out: bool,
        deadline: Instant,
    ) -> impl Future<Output = Result<Message, ExchangeError>> + Send;
}

impl Exchange for Exchanger {
    async fn exchange(
        &self,
        server: SocketAddr,
        question: &Question,
        flags: Flags,
        finds_out: bool,
        deadline: Instant,
    ) -> Result<Message, ExchangeError> {
        match finds_out {
            true => self.exchange_or_find_out(server, question, flags, deadline).await,
            false => Exchanger::exchange(self, server, question, flags, deadline).await,
        }
    }
}

/// The name servers of all zones. Cheap to clone.
#[derive(Debug)]
pub(super) struct NameServers<E = Exchanger>(Arc<Inner<E>>);

#[derive(Debug)]
struct Inner<E> {
    exchanger: E,
    /// Each question once, whoever asks it.
    questions: FairFlight<Line, Asked, Answered>,
    zones: Arc<Zones>,
    health: Health,
}

/// What makes two questions the same: neither spelling nor who asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Asked {
    server: SocketAddr,
    /// Wire form in lower case. The length of a label is below 64, so it is never taken for a letter.
    name: Box<[u8]>,
    record_type: RecordType,
    dnssec_ok: bool,
    checking_disabled: bool,
}

impl<E> Clone for NameServers<E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl NameServers {
    pub(super) fn new() -> Self {
        Self::asked_by(Exchanger::new(MAX_QUESTIONS))
    }
}

impl<E: Exchange> NameServers<E> {
    fn asked_by(exchanger: E) -> Self {
        let limits = fair_queue::Limits {
            in_flight: MAX_QUESTIONS,
            queued: MAX_QUEUED,
            queued_per_client: MAX_QUEUED_PER_CLIENT,
        };
        // The turns bound it; those that find their question under way when it is theirs are few.
        let capacity = MAX_QUEUED + 2 * MAX_QUESTIONS;
        Self(Arc::new(Inner {
            exchanger,
            questions: FairFlight::new(FairQueue::new(limits), capacity, LONGEST_QUEUEING),
            zones: Arc::default(),
            health: Health::new(),
        }))
    }

    /// Asks `server` about a name of `zone` when it is the turn of `client`, or waits for those who ask the same. Goes
    /// on when the caller leaves. Ends within [`LONGEST_QUEUEING`] and [`SERVER_TIMEOUT`].
    ///
    /// # Errors
    ///
    /// [`ExchangeError::Busy`] when the client or the zone has as many questions as it may, or gets no turn in time.
    pub(super) async fn ask(
        &self,
        zone: &Name,
        server: SocketAddr,
        question: &Question,
        flags: Flags,
        client: IpAddr,
        is_proven: bool,
    ) -> Answered {
        let inner = &self.0;
        let asked = Asked {
            server,
            name: question.wire_name().to_ascii_lowercase().into(),
            record_type: question.record_type(),
            dnssec_ok: flags.dnssec_ok,
            checking_disabled: flags.checking_disabled,
        };
        let line = Line::of(client, is_proven);
        let (held_by, zone, question) = (inner.clone(), zone.clone(), question.clone());
        let start = move |permit| {
            let place = held_by.zones.take(&zone, client, is_proven)?;
            Some(async move {
                let _held = (permit, place);
                held_by.exchange(server, &question, flags).await
            })
        };
        // What ends without a result says nothing about the server.
        inner.questions.run(line, asked, || true, start).await.unwrap_or(Err(ExchangeError::Busy))
    }

    /// Whether it has been silent a short while ago, and has not answered since.
    pub(super) fn is_dead(&self, server: IpAddr) -> bool {
        self.0.health.is_dead(server, Instant::now())
    }
}

impl<E: Exchange> Inner<E> {
    async fn exchange(&self, server: SocketAddr, question: &Question, flags: Flags) -> Answered {
        // Only now, so that no time in our own queue is held against the server.
        let left = Instant::now();
        // Once it has been in vain, a server that is asked all the same costs one datagram.
        let finds_out = !self.health.is_dead(server.ip(), left);
        let deadline = left + SERVER_TIMEOUT;
        let answered = self.exchanger.exchange(server, question, flags, finds_out, deadline).await;
        let answered = answered.map(Arc::new);
        self.health.note(server.ip(), left, answered.as_ref().err(), Instant::now());
        answered
    }
}

/// The questions of each zone that are under way, by client.
#[derive(Debug, Default)]
struct Zones(Mutex<HashMap<Name, Arc<FairShare>, RandomState>>);

/// One of them, until it is dropped.
struct ZonePlace {
    zones: Arc<Zones>,
    zone: Name,
    share: Option<Share>,
}

impl Zones {
    fn take(self: &Arc<Self>, zone: &Name, client: IpAddr, is_proven: bool) -> Option<ZonePlace> {
        let limits = fair_share::Limits {
            in_all: MAX_QUESTIONS_PER_ZONE,
            reserved: 0,
            per_client: MAX_QUESTIONS_PER_ZONE,
            per_network: MAX_QUESTIONS_PER_ZONE,
            per_lan: MAX_QUESTIONS_PER_ZONE,
            least: LEAST_PER_CLIENT,
        };
        let mut zones = self.lock();
        let share =
            zones.entry(zone.clone()).or_insert_with(|| FairShare::new(limits)).take(client, is_proven)?;
        Some(ZonePlace { zones: self.clone(), zone: zone.clone(), share: Some(share) })
    }

    /// Each change is complete before anything can panic.
    fn lock(&self) -> MutexGuard<'_, HashMap<Name, Arc<FairShare>, RandomState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ZonePlace {
    fn drop(&mut self) {
        let mut zones = self.zones.lock();
        drop(self.share.take());
        // Of a zone without questions nothing is left.
        if zones.get(&self.zone).is_some_and(|share| share.in_use() == 0) {
            zones.remove(&self.zone);
        }
    }
}

/// Which servers answered lately, and which did not.
#[derive(Debug)]
struct Health(Mutex<LruCache<IpAddr, Standing, RandomState>>);

#[derive(Debug, Clone, Copy)]
enum Standing {
    AnsweredAt(Instant),
    DeadUntil(Instant),
}

impl Health {
    fn new() -> Self {
        Self(Mutex::new(LruCache::with_hasher(MAX_REMEMBERED, RandomState::new())))
    }

    fn is_dead(&self, server: IpAddr, now: Instant) -> bool {
        let standing = self.lock().get(&server).copied();
        matches!(standing, Some(Standing::DeadUntil(until)) if now < until)
    }

    /// What came of a question that left at `left`. One that got no answer is no evidence against a server that has
    /// answered others since: whoever asks about names of their own choice can ask about those that it says nothing of.
    fn note(&self, server: IpAddr, left: Instant, error: Option<&ExchangeError>, now: Instant) {
        let mut known = self.lock();
        match error {
            None => {
                known.put(server, Standing::AnsweredAt(now));
            }
            Some(error) if error.is_ours() => {}
            Some(_) => {
                let standing = known.get(&server);
                if !matches!(standing, Some(Standing::AnsweredAt(at)) if *at >= left) {
                    known.put(server, Standing::DeadUntil(now + DEAD_FOR));
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<IpAddr, Standing, RandomState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
