//! What the DHT did in the last minute, from what has been counted since the start. Pure.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use super::FRESH;
use crate::base::metrics::Observed;

/// Between two samples that are kept.
const SAMPLE_EVERY: Duration = Duration::from_secs(5);

/// As many as cover a minute, and the one before.
const SAMPLES: usize = 13;

/// What had been counted at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// When.
    pub at: Instant,
    /// Requests that were answered, with whatever.
    pub answered: u64,
    /// Requests that ended, answered or not.
    pub ended: u64,
    /// The round trips of replies.
    pub round_trips: Observed,
}

/// What was seen of the DHT in the last minute.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct DhtNow {
    /// Requests that ended.
    pub requests: u64,
    /// Which part of them was answered; nothing where none ended.
    pub reply_share: Option<f64>,
    /// How long a reply took on average.
    pub round_trip: Option<Duration>,
}

/// Samples of the last minute.
#[derive(Debug, Default)]
pub struct DhtWatch {
    samples: VecDeque<Sample>,
    newest: Option<Sample>,
    /// The last one that knew of more answers than the one before.
    answered: Option<Sample>,
}

impl DhtWatch {
    /// Takes note of what has been counted until now, as often as one likes: some are kept.
    pub fn note(&mut self, sample: Sample) {
        if sample.answered > self.newest.map_or(0, |newest| newest.answered) {
            self.answered = Some(sample);
        }
        self.newest = Some(sample);
        let is_due = self.samples.back().is_none_or(|last| sample.at - last.at >= SAMPLE_EVERY);
        if is_due {
            if self.samples.len() == SAMPLES {
                self.samples.pop_front();
            }
            self.samples.push_back(sample);
        }
    }

    /// Whether a node has answered in the last minute. While nothing is asked, what was so before is so still.
    pub fn has_answered(&self, now: Instant) -> bool {
        self.answered.is_some_and(|answered| {
            let is_idle = self.newest.is_some_and(|newest| newest.ended == answered.ended);
            is_idle || now.saturating_duration_since(answered.at) <= FRESH
        })
    }

    /// What was seen in the last minute, or since the start.
    pub fn now(&self) -> DhtNow {
        let Some((first, last)) = self.samples.front().zip(self.newest) else { return DhtNow::default() };
        let (answered, ended) = (last.answered - first.answered, last.ended - first.ended);
        let replies = last.round_trips.count - first.round_trips.count;
        let seconds = last.round_trips.seconds - first.round_trips.seconds;
        DhtNow {
            requests: ended,
            reply_share: (ended > 0).then(|| answered as f64 / ended as f64),
            round_trip: (replies > 0)
                .then(|| Duration::try_from_secs_f64(seconds / replies as f64).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(start: Instant, second: u64, answered: u64, ended: u64) -> Sample {
        let round_trips = Observed { count: answered, seconds: answered as f64 * 0.1 };
        Sample { at: start + Duration::from_secs(second), answered, ended, round_trips }
    }

    #[test]
    fn the_last_minute_counts_and_no_more() {
        let (start, mut watch) = (Instant::now(), DhtWatch::default());
        assert_eq!(watch.now(), DhtNow::default());
        // A hundred requests in five seconds, of which none is answered at first, and then three of four.
        for step in 0..100 {
            let answered = if step < 50 { 0 } else { (step - 50) * 75 };
            watch.note(sample(start, step * 5, answered, step * 100));
        }
        let now = watch.now();
        assert_eq!((now.requests, now.reply_share), (1200, Some(0.75)));
        assert_eq!(now.round_trip.map(|time| time.as_millis()), Some(100));
        assert!(watch.samples.len() <= SAMPLES);
    }

    #[test]
    fn whoever_asks_often_takes_nothing_from_the_minute() {
        let (start, mut watch) = (Instant::now(), DhtWatch::default());
        for step in 0..600 {
            watch.note(sample(start, step / 10, step, step));
        }
        assert!(watch.now().requests >= 590, "{:?}", watch.now());
    }

    #[test]
    fn silence_is_no_answer_and_a_dht_that_is_not_asked_is_as_it_was() {
        let (start, mut watch) = (Instant::now(), DhtWatch::default());
        let at = |second| start + Duration::from_secs(second);
        assert!(!watch.has_answered(start));
        watch.note(sample(start, 0, 0, 5));
        assert!(!watch.has_answered(start));
        watch.note(sample(start, 5, 1, 6));
        // Nobody asks for an hour.
        watch.note(sample(start, 3600, 1, 6));
        assert!(watch.has_answered(at(3600)));
        // What is asked then is not answered.
        watch.note(sample(start, 3605, 1, 9));
        assert!(!watch.has_answered(at(3605)));
        watch.note(sample(start, 3610, 2, 10));
        watch.note(sample(start, 3615, 2, 19));
        assert!(watch.has_answered(at(3670)) && !watch.has_answered(at(3671)));
    }
}
