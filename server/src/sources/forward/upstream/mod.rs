//! The upstream resolvers: their order, and who of them is left in peace for a while.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::{
    Channel, ExchangeError, TlsClient,
    capabilities::Capabilities,
    places::{Line, Place},
    route::Route,
};
use crate::base::{
    backoff::Backoff,
    config::UpstreamAddress,
    metrics::{UpstreamMetrics, UpstreamState},
};

/// Questions in a row that an upstream leaves unanswered before the others come first.
const FAILURES_BEFORE_HOLD: u32 = 3;

const HOLDS: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(60) };

/// Reasons why an upstream is of no use are logged no more often than this, and the same one again after so long.
const COMPLAINT_EVERY: Duration = Duration::from_secs(60);
const SAME_COMPLAINT_EVERY: Duration = Duration::from_secs(3600);

/// While one question finds out whether an upstream is back, the others do not wait for it.
const PROBE_TIME: Duration = Duration::from_secs(2);

/// A resolver that we forward to.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) address: UpstreamAddress,
    /// The way to ask it, where that is not UDP and TCP.
    pub(super) channel: Option<Channel>,
    /// It sends our own questions back to us.
    pub(super) is_looping: AtomicBool,
    /// It is being asked whether it is there.
    pub(super) is_checked: AtomicBool,
    pub(super) metrics: UpstreamMetrics,
    route: Route,
    health: Mutex<Health>,
    logged: Mutex<Logged>,
}

/// What the log has been told of an upstream.
#[derive(Debug)]
struct Logged {
    complaint: Option<(String, Instant)>,
    capabilities: Capabilities,
}

/// The place of one upstream in the order in which one question is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn {
    /// Position in the configured list.
    pub(super) index: usize,
    pub(super) standing: Standing,
}

/// Why an upstream has the place it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// In its configured place.
    Usual,
    /// Its hold is over, and this question is the one to find out whether it is back.
    Probe,
    /// Behind the others.
    Held,
}

/// Upstreams that do not loop, in the order to ask them; those on hold come last. Those to which this machine has no
/// route, such as all of IPv6 where there is none, are left out while it has one to another: they cost no question a try.
pub(super) fn in_order(upstreams: &[Arc<Upstream>], now: Instant) -> Vec<Turn> {
    let usable = upstreams.iter().enumerate();
    let mut usable: Vec<_> =
        usable.filter(|(_, upstream)| !upstream.is_looping.load(Ordering::Relaxed)).collect();
    let has_route = |(_, upstream): &(usize, &Arc<Upstream>)| upstream.route.is_there(now);
    if usable.len() > 1 && usable.iter().any(has_route) {
        usable.retain(has_route);
    }
    let mut turns: Vec<_> = usable
        .into_iter()
        .map(|(index, upstream)| Turn { index, standing: upstream.health().standing(now) })
        .collect();
    turns.sort_by_key(|turn| turn.standing == Standing::Held);
    turns
}

impl Upstream {
    pub(super) fn new(address: UpstreamAddress, tls: &TlsClient) -> Self {
        let channel = Channel::new(&address, tls);
        let (is_looping, is_checked) = (AtomicBool::new(false), AtomicBool::new(false));
        let (route, health) = (Route::new(address.socket_address()), Mutex::default());
        let logged = Mutex::new(Logged { complaint: None, capabilities: Capabilities::ALL });
        let metrics = UpstreamMetrics::default();
        Self { address, channel, is_looping, is_checked, metrics, route, health, logged }
    }

    /// Whether nobody can change an answer on its way to us.
    pub(super) fn is_trusted(&self) -> bool {
        self.channel.is_some() || self.address.socket_address().ip().to_canonical().is_loopback()
    }

    /// Waits until a question of `line` may leave. Only a connection has room for few.
    pub(super) async fn turn(&self, line: Line) -> Result<Option<Place>, ExchangeError> {
        match &self.channel {
            Some(channel) => channel.turn(line).await.map(Some),
            None => Ok(None),
        }
    }

    /// Whether it has answered any question since `sent`.
    pub(super) fn has_answered_since(&self, sent: Instant) -> bool {
        self.health().last_answer.is_some_and(|last| last >= sent)
    }

    /// Whether it is asked, without any say in that.
    pub(super) fn state(&self, now: Instant) -> UpstreamState {
        if self.is_looping.load(Ordering::Relaxed) {
            return UpstreamState::Looping;
        }
        match &self.health().hold {
            Some(hold) => UpstreamState::LeftAlone(hold.until.saturating_duration_since(now)),
            None if self.route.is_there(now) => UpstreamState::InUse,
            None => UpstreamState::NoRoute,
        }
    }

    /// How long it has answered nothing.
    pub(super) fn silent_for(&self, now: Instant) -> Option<Duration> {
        self.health().last_answer.map(|last| now.saturating_duration_since(last))
    }

    pub(super) fn answered(&self, now: Instant) {
        if self.health().answered(now) {
            info!("upstream {} answers again", self.address);
        }
    }

    /// Takes note of a question that left at `sent` and got no answer. That says something about the upstream only if
    /// it has answered nothing else since: others decide whether a name gets an answer. And only if there is a way to it.
    pub(super) fn failed(&self, standing: Standing, sent: Instant, now: Instant) {
        if self.route.is_there(now) && self.health().failed(standing, sent, now) {
            warn!("upstream {} does not answer; others are asked first until it does", self.address);
        }
    }

    /// Logs why it gave no usable answer, unless that has been said.
    pub(super) fn complain(&self, error: &ExchangeError, now: Instant) {
        let complaint = error.to_string();
        if self.logged().is_news(&complaint, now) {
            warn!("upstream {}: {complaint}", self.address);
        } else {
            debug!("upstream {}: {complaint}", self.address);
        }
    }

    /// Logs what is known of it, once for each change.
    pub(super) fn note_capabilities(&self, capabilities: Capabilities) {
        let before = std::mem::replace(&mut self.logged().capabilities, capabilities);
        if before != capabilities && capabilities != Capabilities::ALL {
            info!("upstream {} {capabilities}; this is tried again after a while", self.address);
        }
    }

    fn logged(&self) -> MutexGuard<'_, Logged> {
        self.logged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Logged {
    /// Whoever chooses names may choose those that an upstream has no usable answer to. The log shall not be filled by it.
    fn is_news(&mut self, complaint: &str, now: Instant) -> bool {
        let is_old = self.complaint.as_ref().is_some_and(|(before, at)| {
            now < *at + if before == complaint { SAME_COMPLAINT_EVERY } else { COMPLAINT_EVERY }
        });
        if !is_old {
            self.complaint = Some((complaint.to_owned(), now));
        }
        !is_old
    }
}

#[derive(Debug, Default)]
struct Health {
    failures_in_row: u32,
    last_answer: Option<Instant>,
    hold: Option<Hold>,
}

#[derive(Debug)]
struct Hold {
    /// It is the how many-th since the last answer.
    number: u32,
    until: Instant,
}

impl Health {
    fn standing(&mut self, now: Instant) -> Standing {
        match &mut self.hold {
            None => Standing::Usual,
            Some(hold) if now < hold.until => Standing::Held,
            Some(hold) => {
                hold.until = now + PROBE_TIME;
                Standing::Probe
            }
        }
    }

    /// Returns whether it was on hold until now.
    fn answered(&mut self, now: Instant) -> bool {
        self.failures_in_row = 0;
        self.last_answer = Some(now);
        self.hold.take().is_some()
    }

    /// Returns whether it goes on hold with this failure. Many questions that fail together are one outage: only the
    /// probe makes the hold longer.
    fn failed(&mut self, standing: Standing, sent: Instant, now: Instant) -> bool {
        if self.last_answer.is_some_and(|last| last >= sent) {
            return false;
        }
        match (&mut self.hold, standing) {
            (None, _) => {
                self.failures_in_row = self.failures_in_row.saturating_add(1);
                if self.failures_in_row < FAILURES_BEFORE_HOLD {
                    return false;
                }
                self.hold = Some(Hold { number: 1, until: now + HOLDS.first });
                true
            }
            (Some(hold), Standing::Probe) => {
                hold.number = hold.number.saturating_add(1);
                hold.until = now + HOLDS.after(hold.number);
                false
            }
            (Some(_), Standing::Usual | Standing::Held) => false,
        }
    }
}

#[cfg(test)]
mod tests;
