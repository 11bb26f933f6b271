//! Which counters the events of the client belong to.

use pkdns_dht::{Asked, Effort, Event, Ignored, LookupEnd, NetworkError, Observer, PutError, RequestEnd};
use prometheus_client::metrics::counter::Counter;

use super::{DatagramsIgnored, DhtMetrics, LookupOutcomes, PutOutcomes};

impl Observer for DhtMetrics {
    fn observe(&self, event: Event<'_>) {
        match event {
            Event::Lookup(LookupEnd { result, effort, .. }) => {
                self.lookups.of(result).inc();
                if let Some(effort) = effort {
                    self.count_effort(&effort);
                }
            }
            Event::Put(result) => {
                self.puts.of(result).inc();
                if let Ok(stored) = result {
                    self.put_acknowledgements.observe(f64::from(*stored));
                }
            }
            Event::Request { asked, end } => self.count_request(asked, end),
            Event::SignatureChecked { is_valid: true } => _ = self.signature_checks.valid.inc(),
            Event::SignatureChecked { is_valid: false } => _ = self.signature_checks.invalid.inc(),
            Event::Received => _ = self.datagrams_received.inc(),
            Event::Ignored(why) => _ = self.datagrams_ignored.of(why).inc(),
            Event::DroppedByKernel(many) => _ = self.datagrams_dropped_by_kernel.inc_by(many),
            Event::Sent(many) => _ = self.datagrams_sent.inc_by(many),
            Event::Unsent(many) => _ = self.datagrams_unsent.inc_by(many),
            Event::Withheld(many) => _ = self.datagrams_withheld.inc_by(many),
            Event::Standing { tasks, v4, v6 } => {
                let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
                self.lookups_in_flight.set(gauge(tasks));
                self.nodes.ipv4.set(gauge(v4));
                self.nodes.ipv6.set(gauge(v6));
            }
            // What a later version of the client tells has no metric yet.
            _ => {}
        }
    }
}

impl DhtMetrics {
    fn count_effort(&self, effort: &Effort) {
        self.lookup_duration.observe(effort.duration.as_secs_f64());
        self.messages_per_lookup.observe(effort.messages.into());
        if let Some((messages, time)) = effort.first {
            self.first_answer.observe(time.as_secs_f64());
            self.messages_before_first_answer.observe(messages.into());
        }
        if effort.was_stale {
            self.stale_first_answers.inc();
        }
    }

    fn count_request(&self, asked: Asked, end: RequestEnd) {
        let outcomes = match asked {
            Asked::Nodes => &self.requests.find_node,
            Asked::Packet => &self.requests.get,
            Asked::Storage => &self.requests.put,
        };
        let (outcome, round_trip) = match end {
            RequestEnd::Answered(time) => (&outcomes.answered, Some(time)),
            RequestEnd::Unsupported(time) => (&outcomes.unsupported, Some(time)),
            RequestEnd::Refused(time) => (&outcomes.refused, Some(time)),
            RequestEnd::Unanswered => (&outcomes.unanswered, None),
        };
        outcome.inc();
        if let Some(time) = round_trip {
            self.round_trip.observe(time.as_secs_f64());
        }
    }
}

impl LookupOutcomes {
    fn of(&self, result: Result<bool, NetworkError>) -> &Counter {
        match result {
            Ok(true) => &self.found,
            Ok(false) => &self.absent,
            Err(NetworkError::NotReady) => &self.not_ready,
            Err(NetworkError::Busy) => &self.busy,
            Err(NetworkError::Unreachable | NetworkError::Disabled) => &self.unreachable,
        }
    }
}

impl PutOutcomes {
    fn of(&self, result: &Result<u32, PutError>) -> &Counter {
        match result {
            Ok(_) => &self.stored,
            Err(PutError::NotMostRecent) => &self.not_most_recent,
            Err(PutError::CasFailed) => &self.cas_failed,
            Err(PutError::Refused(..)) => &self.refused,
            Err(PutError::Network(_)) => &self.unreachable,
        }
    }
}

impl DatagramsIgnored {
    fn of(&self, why: Ignored) -> &Counter {
        match why {
            Ignored::Garbage => &self.garbage,
            Ignored::UnknownTransaction => &self.unknown_transaction,
            Ignored::WrongAddress => &self.wrong_address,
            Ignored::Refused => &self.refused,
        }
    }
}
