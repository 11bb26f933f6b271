//! What the engine tells its observer, in the terms of its own outcomes.

use std::{sync::Arc, time::Instant};

use super::{UNKNOWN_METHOD, families::Families, family::Transaction};
use crate::{
    Observer, PutError,
    family::PerFamily,
    krpc::{Body, Refusal},
    observer::{Event, Ignored, LookupEnd, RequestEnd},
    values::Verdict,
};

/// Tells the observer.
#[derive(Debug)]
pub(super) struct Counters {
    observer: Arc<dyn Observer>,
    /// Of [`Families::withheld`], what has been told.
    withheld: u64,
}

impl Counters {
    pub(super) fn new(observer: Arc<dyn Observer>) -> Self {
        Self { observer, withheld: 0 }
    }

    pub(super) fn received(&self) {
        self.observer.observe(Event::Received);
    }

    pub(super) fn ignored(&self, why: Ignored) {
        self.observer.observe(Event::Ignored(why));
    }

    /// The reply to a request has come.
    pub(super) fn replied(&self, request: &Transaction, reply: &Body<'_>, now: Instant) {
        let round_trip = request.round_trip(now);
        let end = match reply {
            Body::Error(Refusal { code: UNKNOWN_METHOD, .. }) => RequestEnd::Unsupported(round_trip),
            Body::Error(_) => RequestEnd::Refused(round_trip),
            Body::Query(_) | Body::Response(_) => RequestEnd::Answered(round_trip),
        };
        self.observer.observe(Event::Request { asked: request.asked, end });
    }

    pub(super) fn checked(&self, verdict: Option<Verdict>) {
        match verdict {
            Some(Verdict::Newer) => self.observer.observe(Event::SignatureChecked { is_valid: true }),
            Some(Verdict::Forged) => self.observer.observe(Event::SignatureChecked { is_valid: false }),
            Some(Verdict::Unsound | Verdict::Undated) => self.ignored(Ignored::Refused),
            Some(Verdict::NotNewer | Verdict::TooMany) | None => {}
        }
    }

    pub(super) fn looked_up(&self, end: LookupEnd) {
        self.observer.observe(Event::Lookup(end));
    }

    pub(super) fn put(&self, result: &Result<u32, PutError>) {
        self.observer.observe(Event::Put(result));
    }

    /// Requests without a reply in time, messages that the budget did not allow, and how things stand.
    pub(super) fn tell(&mut self, families: &mut Families, tasks: usize, known: PerFamily<usize>) {
        for asked in families.iter_mut().flat_map(|family| family.overdue.drain(..)) {
            self.observer.observe(Event::Request { asked, end: RequestEnd::Unanswered });
        }
        let withheld = families.withheld().saturating_sub(self.withheld);
        if withheld > 0 {
            self.observer.observe(Event::Withheld(withheld));
            self.withheld = families.withheld();
        }
        self.observer.observe(Event::Standing { tasks, v4: known.v4, v6: known.v6 });
    }
}
