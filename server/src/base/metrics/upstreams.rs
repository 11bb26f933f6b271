//! The upstream resolvers: what became of the questions to each of them, and whether it is asked.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{
        MetricType,
        counter::{ConstCounter, Counter},
        gauge::ConstGauge,
    },
};

use super::Durations;

/// In seconds. A question is given up after four.
const LATENCIES: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.2, 2.0, 4.0];

/// An answer counts for one part in this many in the smoothed latency, as in TCP (RFC 6298 section 2).
const SMOOTHING: u64 = 8;

/// What is counted at one upstream. Clones count together.
#[derive(Debug, Clone)]
pub struct UpstreamMetrics {
    /// Questions that it answered.
    pub answered: Counter,
    /// Questions that it answered with a code by which another upstream may know better, such as SERVFAIL.
    pub refused: Counter,
    /// Questions to which it said nothing that can be used, or to which there was no way.
    pub failed: Counter,
    /// Questions that were given up without an answer, also because another upstream was quicker.
    pub unanswered: Counter,
    /// Questions that did not leave, for want of something here.
    pub unsent: Counter,
    /// From a question to its answer.
    pub latency: Durations,
    smoothed_micros: Arc<AtomicU64>,
}

impl Default for UpstreamMetrics {
    fn default() -> Self {
        Self {
            answered: Counter::default(),
            refused: Counter::default(),
            failed: Counter::default(),
            unanswered: Counter::default(),
            unsent: Counter::default(),
            latency: Durations::new(&LATENCIES),
            smoothed_micros: Arc::default(),
        }
    }
}

impl UpstreamMetrics {
    /// Takes note of the time that an answer took.
    pub fn observe(&self, latency: Duration) {
        self.latency.observe(latency.as_secs_f64());
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).clamp(1, u64::MAX / SMOOTHING);
        let smooth = |before: u64| match before {
            0 => Some(micros),
            before => Some(before - before / SMOOTHING + micros / SMOOTHING),
        };
        // The closure never refuses.
        let _ = self.smoothed_micros.fetch_update(Ordering::Relaxed, Ordering::Relaxed, smooth);
    }

    /// What an answer has taken of late, if there was one.
    pub fn smoothed_latency(&self) -> Option<Duration> {
        match self.smoothed_micros.load(Ordering::Relaxed) {
            0 => None,
            micros => Some(Duration::from_micros(micros)),
        }
    }

    /// Each outcome with the questions that had it.
    pub fn readings(&self) -> Vec<(&'static str, u64)> {
        self.outcomes().into_iter().map(|(outcome, counter)| (outcome, counter.get())).collect()
    }

    fn outcomes(&self) -> [(&'static str, &Counter); 5] {
        [
            ("answered", &self.answered),
            ("refused", &self.refused),
            ("failed", &self.failed),
            ("unanswered", &self.unanswered),
            ("unsent", &self.unsent),
        ]
    }
}

/// Whether an upstream is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamState {
    /// In its configured place.
    InUse,
    /// After the others for so long, because it did not answer.
    LeftAlone(Duration),
    /// Not at all: it sends questions back to this server.
    Looping,
    /// Not while others can be: this machine has no route to it.
    NoRoute,
}

/// One upstream at this moment.
#[derive(Debug, Clone)]
pub struct UpstreamReading {
    /// As it is configured.
    pub address: String,
    /// The zones that it is asked about, or "." for all others.
    pub zone: String,
    /// Whether it is asked.
    pub state: UpstreamState,
    /// How long ago it last answered anything.
    pub last_answer: Option<Duration>,
    /// What is counted of it.
    pub metrics: UpstreamMetrics,
}

/// Reads the upstreams whenever somebody looks.
pub(super) struct UpstreamCollector(pub(super) Box<dyn Fn() -> Vec<UpstreamReading> + Send + Sync>);

impl fmt::Debug for UpstreamCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamCollector").finish_non_exhaustive()
    }
}

impl Collector for UpstreamCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let readings = (self.0)();
        if readings.is_empty() {
            return Ok(());
        }
        let help = "Questions to upstreams by what became of them.";
        let mut family = encoder.encode_descriptor("upstream_requests", help, None, MetricType::Counter)?;
        for reading in &readings {
            for (outcome, counter) in reading.metrics.outcomes() {
                let [upstream, zone] = reading.labels();
                let labels = [("outcome", outcome), upstream, zone];
                ConstCounter::new(counter.get()).encode(family.encode_family(&labels)?)?;
            }
        }
        let help = "From a question to an upstream to its answer.";
        let mut family = encoder.encode_descriptor("upstream_seconds", help, None, MetricType::Histogram)?;
        for reading in &readings {
            reading.metrics.latency.encode(family.encode_family(&reading.labels())?)?;
        }
        let help = "Whether an upstream is asked in its configured place.";
        let mut family = encoder.encode_descriptor("upstream_in_use", help, None, MetricType::Gauge)?;
        for reading in &readings {
            let is_in_use = i64::from(reading.state == UpstreamState::InUse);
            ConstGauge::new(is_in_use).encode(family.encode_family(&reading.labels())?)?;
        }
        let help = "For how long an upstream that did not answer is left alone.";
        let mut family =
            encoder.encode_descriptor("upstream_left_alone_seconds", help, None, MetricType::Gauge)?;
        for reading in &readings {
            let seconds = match reading.state {
                UpstreamState::LeftAlone(left) => left.as_secs_f64(),
                UpstreamState::InUse | UpstreamState::Looping | UpstreamState::NoRoute => 0.0,
            };
            ConstGauge::new(seconds).encode(family.encode_family(&reading.labels())?)?;
        }
        Ok(())
    }
}

impl UpstreamReading {
    fn labels(&self) -> [(&str, &str); 2] {
        [("upstream", &self.address), ("zone", &self.zone)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_is_smoothed_and_begins_with_the_first_answer() {
        let metrics = UpstreamMetrics::default();
        assert_eq!(metrics.smoothed_latency(), None);
        metrics.observe(Duration::from_millis(80));
        assert_eq!(metrics.smoothed_latency(), Some(Duration::from_millis(80)));
        metrics.observe(Duration::from_millis(160));
        assert_eq!(metrics.smoothed_latency(), Some(Duration::from_millis(90)));
        (0..100).for_each(|_| metrics.observe(Duration::from_millis(10)));
        assert!(metrics.smoothed_latency().is_some_and(|latency| latency < Duration::from_millis(11)));
        metrics.observe(Duration::MAX);
    }
}
