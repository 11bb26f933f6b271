//! A histogram of durations, exact to three percent.

use std::time::Duration;

/// Steps between a power of two and the next.
const STEPS: usize = 32;

pub(crate) struct Histogram {
    counts: Vec<u64>,
    count: u64,
    longest: Duration,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; STEPS * 64], count: 0, longest: Duration::ZERO }
    }
}

impl Histogram {
    pub(crate) fn add(&mut self, time: Duration) {
        self.counts[step(time)] += 1;
        self.count += 1;
        self.longest = self.longest.max(time);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(own, other)| *own += other);
        self.count += other.count;
        self.longest = self.longest.max(other.longest);
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn longest(&self) -> Duration {
        self.longest
    }

    /// Not exceeded by this share.
    pub(crate) fn percentile(&self, share: f64) -> Duration {
        let wanted = (self.count as f64 * share).ceil() as u64;
        let mut seen = 0;
        let reached = self.counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        reached.map_or(Duration::ZERO, end).min(self.longest)
    }
}

fn step(time: Duration) -> usize {
    let nanoseconds = u64::try_from(time.as_nanos()).unwrap();
    if nanoseconds < STEPS as u64 {
        return nanoseconds as usize;
    }
    let shift = nanoseconds.ilog2() - STEPS.ilog2();
    shift as usize * STEPS + (nanoseconds >> shift) as usize
}

/// The longest time of a step.
fn end(step: usize) -> Duration {
    if step < 2 * STEPS {
        return Duration::from_nanos(step as u64);
    }
    let shift = step / STEPS - 1;
    let within = (step % STEPS + STEPS) as u64;
    Duration::from_nanos(((within + 1) << shift) - 1)
}
