//! How long answers take, by where they come from.

use std::{fmt, time::Duration};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::MetricType,
};

use super::{Durations, Observed, StripedCounter};

/// In seconds. An answer is given within 4.5.
const TIMES: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.2, 2.0, 3.0, 4.5];

/// The farthest place that was asked for an answer, whether or not it had one: what its time depends on. Of several the one that
/// stands last here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Farthest {
    /// Known here: special names, names of the own network, refusals.
    Local,
    /// The cache of whole answers.
    AnswerCache,
    /// The packets in memory.
    Memory,
    /// The packets on disk.
    Disk,
    /// The packets that servers share.
    Shared,
    /// A search in the DHT, and through relays.
    Dht,
    /// The name servers of a key's zone.
    NameServer,
    /// An upstream resolver.
    Upstream,
    /// An answer past its time, since nothing newer came.
    Stale,
}

impl Farthest {
    const ALL: [Self; 9] = [
        Self::Local,
        Self::AnswerCache,
        Self::Memory,
        Self::Disk,
        Self::Shared,
        Self::Dht,
        Self::NameServer,
        Self::Upstream,
        Self::Stale,
    ];

    /// The label in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::AnswerCache => "answer_cache",
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Shared => "shared_store",
            Self::Dht => "dht",
            Self::NameServer => "name_server",
            Self::Upstream => "upstream",
            Self::Stale => "stale",
        }
    }
}

/// The times of answers. Clones count together.
#[derive(Debug, Clone)]
pub struct AnswerTimes([Durations; Farthest::ALL.len()]);

impl Default for AnswerTimes {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Durations::new(&TIMES)))
    }
}

impl AnswerTimes {
    /// Takes note of an answer that was given so long after its question came. Never blocks.
    pub fn observe(&self, source: Farthest, took: Duration) {
        if let Some(times) = self.0.get(source as usize) {
            times.observe(took.as_secs_f64());
        }
    }

    /// All answers that were not at hand when their question came.
    pub fn observed(&self) -> Observed {
        self.0.iter().map(Durations::observed).sum()
    }
}

/// Writes the times, and among them what the answer cache had at once. These are counted only: the clock is read once
/// for all queries that came together, so that there is no time to tell.
#[derive(Debug)]
pub(super) struct AnswerTimesCollector {
    pub(super) times: AnswerTimes,
    pub(super) hits: StripedCounter,
}

impl Collector for AnswerTimesCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "From a query to its answer, by where the answer came from.";
        let kind = MetricType::Histogram;
        let mut family = encoder.encode_descriptor("answer_seconds", help, None, kind)?;
        for (source, times) in Farthest::ALL.iter().zip(&self.times.0) {
            let instant = if *source == Farthest::AnswerCache { self.hits.get() } else { 0 };
            let labels = [("source", source.label())];
            let series = family.encode_family(&labels)?;
            match instant {
                0 => times.encode(series)?,
                instant => times.encode_with(instant, series)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::base::metrics::Metrics;

    use super::*;

    #[test]
    fn each_source_has_its_times_and_hits_of_the_cache_take_none() {
        let metrics = Metrics::default();
        metrics.service.times.observe(Farthest::Dht, Duration::from_millis(300));
        metrics.service.times.observe(Farthest::AnswerCache, Duration::from_millis(30));
        metrics.service.answer_cache.hit.inc_by(7);
        let page = metrics.encode().unwrap();
        for series in [
            "pkdns_answer_seconds_bucket{le=\"0.2\",source=\"dht\"} 0\n",
            "pkdns_answer_seconds_bucket{le=\"0.4\",source=\"dht\"} 1\n",
            "pkdns_answer_seconds_sum{source=\"dht\"} 0.3\n",
            "pkdns_answer_seconds_bucket{le=\"0.001\",source=\"answer_cache\"} 7\n",
            "pkdns_answer_seconds_count{source=\"answer_cache\"} 8\n",
            "pkdns_answer_seconds_count{source=\"upstream\"} 0\n",
        ] {
            assert!(page.contains(series), "{series} is not in\n{page}");
        }
    }
}
