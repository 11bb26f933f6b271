//! What the engine counts, in the terms of its own outcomes.

use std::{ops::Deref, time::Instant};

use super::{
    UNKNOWN_METHOD,
    families::Families,
    family::{Asks, Transaction},
    search::Summary,
};
use crate::{
    dht::{
        NetworkError, PutError,
        krpc::{Body, Refusal},
        values::Verdict,
    },
    metrics::{DhtMetrics, RequestOutcomes},
};

/// The metrics of the DHT.
#[derive(Debug)]
pub(super) struct Counters(pub(super) DhtMetrics);

impl Deref for Counters {
    type Target = DhtMetrics;

    fn deref(&self) -> &DhtMetrics {
        &self.0
    }
}

impl Counters {
    /// The reply to a request has come.
    pub(super) fn count_reply(&self, request: &Transaction, reply: &Body<'_>, now: Instant) {
        let outcomes = self.requests(request.asks);
        let outcome = match reply {
            Body::Error(Refusal { code: UNKNOWN_METHOD, .. }) => &outcomes.unsupported,
            Body::Error(_) => &outcomes.refused,
            Body::Query(_) | Body::Response(_) => &outcomes.answered,
        };
        outcome.inc();
        self.round_trip.observe(request.round_trip(now).as_secs_f64());
    }

    /// No reply has come in time.
    pub(super) fn count_overdue(&self, families: &mut Families) {
        for asks in families.iter_mut().flat_map(|family| family.overdue.drain(..)) {
            self.requests(asks).unanswered.inc();
        }
    }

    fn requests(&self, asks: Asks) -> &RequestOutcomes {
        match asks {
            Asks::Nodes => &self.requests.find_node,
            Asks::Value => &self.requests.get,
            Asks::Storage => &self.requests.put,
        }
    }

    pub(super) fn count_verdict(&self, verdict: Option<Verdict>) {
        match verdict {
            Some(Verdict::Newer) => _ = self.signature_checks.valid.inc(),
            Some(Verdict::Forged) => _ = self.signature_checks.invalid.inc(),
            Some(Verdict::Unsound | Verdict::Undated) => _ = self.datagrams_ignored.refused.inc(),
            Some(Verdict::NotNewer | Verdict::TooMany) | None => {}
        }
    }

    pub(super) fn count_lookup(&self, summary: &Summary) {
        let outcome = match summary.result {
            Ok(true) => &self.lookups.found,
            Ok(false) => &self.lookups.absent,
            Err(NetworkError::NotReady) => &self.lookups.not_ready,
            Err(NetworkError::Busy) => &self.lookups.busy,
            Err(NetworkError::Unreachable | NetworkError::Disabled) => &self.lookups.unreachable,
        };
        outcome.inc();
        self.lookup_duration.observe(summary.duration.as_secs_f64());
        self.messages_per_lookup.observe(summary.requests.into());
        if let Some((requests, time)) = summary.first {
            self.first_answer.observe(time.as_secs_f64());
            self.messages_before_first_answer.observe(requests.into());
        }
        if summary.was_stale {
            self.stale_first_answers.inc();
        }
    }

    pub(super) fn count_put(&self, result: &Result<u32, PutError>) {
        let outcome = match result {
            Ok(stored) => {
                self.put_acknowledgements.observe(f64::from(*stored));
                &self.puts.stored
            }
            Err(PutError::NotMostRecent) => &self.puts.not_most_recent,
            Err(PutError::CasFailed) => &self.puts.cas_failed,
            Err(PutError::Refused(..)) => &self.puts.refused,
            Err(PutError::Network(_)) => &self.puts.unreachable,
        };
        outcome.inc();
    }

    /// How things stand.
    pub(super) fn show(&self, tasks: usize, v4: usize, v6: usize, withheld: u64) {
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.lookups_in_flight.set(gauge(tasks));
        self.nodes.ipv4.set(gauge(v4));
        self.nodes.ipv6.set(gauge(v6));
        let counted = self.datagrams_withheld.get();
        self.datagrams_withheld.inc_by(withheld.saturating_sub(counted));
    }
}
