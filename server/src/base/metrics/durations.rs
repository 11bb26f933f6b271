//! A histogram of times that can be read again, and that counts without a lock. That of the library has neither.

use std::{
    fmt,
    iter::Sum,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::{MetricType, TypedMetric},
};

/// How long things took. Clones count together.
#[derive(Debug, Clone)]
pub struct Durations(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// In seconds, in ascending order.
    bounds: Box<[f64]>,
    /// What fell into each of them and into none before, and what was above all.
    counts: Box<[AtomicU64]>,
    micros: AtomicU64,
}

/// What was observed until now.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Observed {
    /// How often.
    pub count: u64,
    /// All of it together.
    pub seconds: f64,
}

impl Sum for Observed {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            count: sum.count + one.count,
            seconds: sum.seconds + one.seconds,
        })
    }
}

impl Durations {
    /// None yet. `bounds` are in seconds, in ascending order.
    pub fn new(bounds: &[f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self(Arc::new(Inner { bounds: bounds.into(), counts, micros: AtomicU64::new(0) }))
    }

    /// Takes note of one that took so long.
    pub fn observe(&self, seconds: f64) {
        let bucket = self.0.bounds.partition_point(|bound| *bound < seconds);
        if let Some(count) = self.0.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        // A cast of a negative number or of one that is none is zero.
        self.0.micros.fetch_add((seconds * 1e6) as u64, Ordering::Relaxed);
    }

    /// What was observed until now.
    pub fn observed(&self) -> Observed {
        let count = self.0.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum();
        Observed { count, seconds: self.0.micros.load(Ordering::Relaxed) as f64 / 1e6 }
    }

    /// Writes it, with so many more that took no time.
    pub(super) fn encode_with(&self, instant: u64, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let bounds = self.0.bounds.iter().copied().chain([f64::INFINITY]);
        let counts = self.0.counts.iter().map(|count| count.load(Ordering::Relaxed));
        let mut buckets: Vec<_> = bounds.zip(counts).collect();
        if let Some((_, first)) = buckets.first_mut() {
            *first += instant;
        }
        let count = buckets.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(self.observed().seconds, count, &buckets, None)
    }
}

impl EncodeMetric for Durations {
    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        self.encode_with(0, encoder)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl TypedMetric for Durations {
    const TYPE: MetricType = MetricType::Histogram;
}

#[cfg(test)]
mod tests {
    use prometheus_client::{encoding::text, registry::Registry};

    use super::*;

    #[test]
    fn each_falls_into_the_first_bucket_that_holds_it() {
        let durations = Durations::new(&[0.1, 1.0]);
        for seconds in [0.0, 0.1, 0.2, 1.0, 1.1, -1.0, f64::NAN] {
            durations.observe(seconds);
        }
        let mut registry = Registry::default();
        registry.register("things", "Things", durations.clone());
        let mut page = String::new();
        text::encode(&mut page, &registry).unwrap();
        for line in [
            "things_bucket{le=\"0.1\"} 4\n",
            "things_bucket{le=\"1.0\"} 6\n",
            "things_bucket{le=\"+Inf\"} 7\n",
            "things_count 7\n",
            "things_sum 2.4\n",
        ] {
            assert!(page.contains(line), "{line} is not in\n{page}");
        }
        assert_eq!(durations.observed(), Observed { count: 7, seconds: 2.4 });
    }
}
