//! What became of each question to an upstream, for the metrics.

use tokio::time::Instant;

use super::{ExchangeError, race::is_refusal};
use crate::base::{message::Message, metrics::UpstreamMetrics};

/// A question that is under way. One that is dropped before its end had no answer.
pub(super) struct CountedRequest<'a> {
    metrics: &'a UpstreamMetrics,
    sent: Instant,
    has_ended: bool,
}

impl<'a> CountedRequest<'a> {
    pub(super) fn begin(metrics: &'a UpstreamMetrics) -> Self {
        Self { metrics, sent: Instant::now(), has_ended: false }
    }

    pub(super) fn end(mut self, outcome: &Result<Message, ExchangeError>) {
        self.has_ended = true;
        let metrics = self.metrics;
        if outcome.is_ok() {
            metrics.observe(self.sent.elapsed());
        }
        match outcome {
            Ok(message) if is_refusal(message.code) => &metrics.refused,
            Ok(_) => &metrics.answered,
            Err(ExchangeError::Silent) => &metrics.unanswered,
            Err(error) if error.is_ours() => &metrics.unsent,
            Err(_) => &metrics.failed,
        }
        .inc();
    }
}

impl Drop for CountedRequest<'_> {
    fn drop(&mut self) {
        if !self.has_ended {
            self.metrics.unanswered.inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn each_question_is_counted_once_however_it_ends() {
        let metrics = UpstreamMetrics::default();
        for outcome in [
            Err(ExchangeError::Silent),
            Err(ExchangeError::Busy),
            Err(ExchangeError::Malformed),
            Err(ExchangeError::Unreachable(io::ErrorKind::ConnectionRefused)),
        ] {
            CountedRequest::begin(&metrics).end(&outcome);
        }
        drop(CountedRequest::begin(&metrics));
        let counts =
            [&metrics.answered, &metrics.refused, &metrics.failed, &metrics.unanswered, &metrics.unsent]
                .map(|counter| counter.get());
        assert_eq!(counts, [0, 0, 2, 2, 1]);
        assert_eq!(metrics.smoothed_latency(), None);
    }
}
