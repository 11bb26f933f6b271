//! How the counts of a server went in the last minutes and in the last hour. Pure.

use std::{collections::VecDeque, time::Duration};

use serde::Serialize;
use tokio::time::Instant;

use crate::base::metrics::Observed;

/// Samples of each period, which are the ends of sixty spans.
const SAMPLES: usize = 61;

/// Between samples of the last five minutes, and of the last hour.
const SHORT: Duration = Duration::from_secs(5);
const LONG: Duration = Duration::from_secs(60);

/// What has been counted since the start.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counted {
    /// Replies to queries.
    pub replies: u64,
    /// Those of them that were SERVFAIL.
    pub failures: u64,
    /// Requests refused and connections closed.
    pub refusals: u64,
    /// Queries that the answer cache answered at once.
    pub hits: u64,
    /// Queries that it did not.
    pub misses: u64,
    /// How long answers took that were not at hand.
    pub answers: Observed,
    /// Requests to nodes of the DHT that were answered.
    pub dht_answered: u64,
    /// Those that ended, answered or not.
    pub dht_ended: u64,
    /// The round trips of their replies.
    pub dht_round_trips: Observed,
    /// How long answers of upstream resolvers took.
    pub upstreams: Observed,
}

/// Samples of two periods. As many as are kept, however long the server runs.
#[derive(Debug)]
pub struct Trends {
    short: Samples,
    long: Samples,
}

#[derive(Debug)]
struct Samples {
    every: Duration,
    samples: VecDeque<(Instant, Counted)>,
}

/// One period, as it is shown.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Period {
    /// Between two values.
    pub every_seconds: u64,
    /// What was seen, each over the same time.
    pub trends: Vec<Trend>,
}

/// One figure over time.
#[derive(Debug, Clone, Serialize)]
pub struct Trend {
    /// A word for programs.
    pub name: &'static str,
    /// What people call it.
    #[serde(skip)]
    pub title: &'static str,
    /// What it is counted in.
    pub unit: &'static str,
    /// The oldest first. Nothing where there was nothing to measure.
    pub values: Vec<Option<f64>>,
}

impl Default for Trends {
    fn default() -> Self {
        let samples = |every| Samples { every, samples: VecDeque::with_capacity(SAMPLES) };
        Self { short: samples(SHORT), long: samples(LONG) }
    }
}

impl Trends {
    /// Takes note of what has been counted until now, as often as one likes: some are kept.
    pub fn note(&mut self, at: Instant, counted: Counted) {
        self.short.note(at, counted);
        self.long.note(at, counted);
    }

    /// The last five minutes.
    pub fn short(&self) -> Period {
        self.short.period()
    }

    /// The last hour.
    pub fn long(&self) -> Period {
        self.long.period()
    }
}

impl Samples {
    fn note(&mut self, at: Instant, counted: Counted) {
        // A clock that wakes up a little early is not to make two samples of one.
        let is_due = self
            .samples
            .back()
            .is_none_or(|(last, _)| at.saturating_duration_since(*last) >= self.every * 19 / 20);
        if is_due {
            if self.samples.len() == SAMPLES {
                self.samples.pop_front();
            }
            self.samples.push_back((at, counted));
        }
    }

    fn period(&self) -> Period {
        let pairs = || self.samples.iter().zip(self.samples.iter().skip(1));
        let trend = |name, title, unit, value: fn(&Counted, &Counted, f64) -> Option<f64>| {
            let value = |((from, before), (to, after)): (&(Instant, Counted), &(Instant, Counted))| {
                value(before, after, to.saturating_duration_since(*from).as_secs_f64())
            };
            Trend { name, title, unit, values: pairs().map(value).collect() }
        };
        Period {
            every_seconds: self.every.as_secs(),
            trends: vec![
                trend("queries", "Queries", "/s", |before, after, seconds| {
                    rate(before.replies, after.replies, seconds)
                }),
                trend("answer_time", "Time to answer what is not at hand", "ms", |before, after, _| {
                    mean_ms(before.answers, after.answers)
                }),
                trend("cache_hits", "Answered from the cache", "%", |before, after, _| {
                    let hits = after.hits.saturating_sub(before.hits);
                    share(hits, hits + after.misses.saturating_sub(before.misses))
                }),
                trend("failures", "SERVFAIL", "/s", |before, after, seconds| {
                    rate(before.failures, after.failures, seconds)
                }),
                trend("refusals", "Refused or cut off", "/s", |before, after, seconds| {
                    rate(before.refusals, after.refusals, seconds)
                }),
                trend("upstream_time", "Time of upstream resolvers", "ms", |before, after, _| {
                    mean_ms(before.upstreams, after.upstreams)
                }),
                trend("dht_replies", "DHT requests that are answered", "%", |before, after, _| {
                    let answered = after.dht_answered.saturating_sub(before.dht_answered);
                    share(answered, after.dht_ended.saturating_sub(before.dht_ended))
                }),
                trend("dht_round_trip", "Round trip to DHT nodes", "ms", |before, after, _| {
                    mean_ms(before.dht_round_trips, after.dht_round_trips)
                }),
            ],
        }
    }
}

fn rate(before: u64, after: u64, seconds: f64) -> Option<f64> {
    (seconds > 0.0).then(|| after.saturating_sub(before) as f64 / seconds)
}

fn share(part: u64, all: u64) -> Option<f64> {
    (all > 0).then(|| part as f64 * 100.0 / all as f64)
}

fn mean_ms(before: Observed, after: Observed) -> Option<f64> {
    let count = after.count.saturating_sub(before.count);
    (count > 0).then(|| (after.seconds - before.seconds).max(0.0) * 1000.0 / count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(period: &Period, name: &str) -> Vec<Option<f64>> {
        period.trends.iter().find(|trend| trend.name == name).unwrap().values.clone()
    }

    #[test]
    fn a_day_of_counting_is_no_more_than_sixty_spans_of_each_period() {
        let (start, mut trends) = (Instant::now(), Trends::default());
        for step in 0..17_280_u32 {
            let counted = Counted {
                replies: u64::from(step) * 50,
                hits: u64::from(step) * 3,
                misses: u64::from(step),
                answers: Observed { count: u64::from(step), seconds: f64::from(step) * 0.02 },
                ..Counted::default()
            };
            trends.note(start + Duration::from_secs(5) * step, counted);
        }
        for (period, every) in [(trends.short(), 5), (trends.long(), 60)] {
            assert_eq!(period.every_seconds, every);
            assert_eq!(values(&period, "queries"), [Some(10.0); 60]);
            assert_eq!(values(&period, "cache_hits"), [Some(75.0); 60]);
            let times = values(&period, "answer_time");
            assert!(
                times.iter().all(|time| time.is_some_and(|time| (time - 20.0).abs() < 1e-6)),
                "{times:?}"
            );
            // Nothing was asked of anybody: that is no share and no time.
            assert_eq!(values(&period, "dht_replies"), [None; 60]);
            assert_eq!(values(&period, "upstream_time"), [None; 60]);
        }
    }

    #[test]
    fn whoever_notes_often_takes_nothing_from_a_period() {
        let (start, mut trends) = (Instant::now(), Trends::default());
        for step in 0..600 {
            trends.note(start + Duration::from_millis(100) * step, Counted::default());
        }
        assert!((11..=13).contains(&trends.short.samples.len()), "{}", trends.short.samples.len());
        assert_eq!(trends.short().trends.len(), trends.long().trends.len());
    }
}
