//! How densely the network is populated, as far as searches show. Pure.

use std::collections::VecDeque;

/// Searches that are remembered. Half of them would have to be misled to mislead us.
const SAMPLES: usize = 31;

/// With fewer remembered, a search that knew nobody near may be half of what we know.
const ENOUGH: usize = 5;

/// With so many remembered, no single step leads far away from what they say.
const SETTLED: usize = 15;
const LARGEST_STEP: f64 = 2.0;

/// No network is denser: a hundred times the nodes there have ever been. Made-up ids may lie at the target itself.
const LEAST_SPACING: f64 = 1e-9;

/// Share of the key space per node that may hold values: the median of what the latest searches have seen.
#[derive(Debug, Default)]
pub(super) struct Density {
    samples: VecDeque<f64>,
    spacing: Option<f64>,
}

impl Density {
    /// `None` as long as no search has shown any.
    pub(super) fn spacing(&self) -> Option<f64> {
        self.spacing
    }

    /// Whether enough searches agree on it to tell what is denser than chance allows.
    pub(super) fn is_sound(&self) -> bool {
        self.samples.len() >= ENOUGH
    }

    /// A search has ended among nodes that are so far apart.
    pub(super) fn learn(&mut self, sample: f64) {
        let mut sample = sample.max(LEAST_SPACING);
        if let Some(spacing) = self.spacing.filter(|_| self.samples.len() >= SETTLED) {
            sample = sample.clamp(spacing / LARGEST_STEP, spacing * LARGEST_STEP);
        }
        if self.samples.len() >= SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
        let mut sorted: Vec<f64> = self.samples.iter().copied().collect();
        sorted.sort_unstable_by(f64::total_cmp);
        self.spacing = sorted.get(sorted.len() / 2).copied();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned(samples: impl IntoIterator<Item = f64>) -> Density {
        let mut density = Density::default();
        samples.into_iter().for_each(|sample| density.learn(sample));
        density
    }

    #[test]
    fn one_search_in_three_that_is_misled_changes_little() {
        for wrong in [0.0, 1e-9, 1.0] {
            let samples = (0..300).map(|number| if number % 3 == 0 { wrong } else { 1e-7 });
            assert_eq!(learned(samples).spacing(), Some(1e-7), "{wrong}");
        }
    }

    #[test]
    fn a_first_search_that_knew_nobody_near_is_soon_outvoted() {
        let spacing = learned([1e-3, 1e-7, 2e-7]).spacing();
        assert_eq!(spacing, Some(2e-7));
        assert_eq!(Density::default().spacing(), None);
    }

    #[test]
    fn who_leads_all_searches_astray_for_a_while_is_forgotten_after_as_many_honest_ones() {
        let mut density = learned([1e-7; 31]);
        (0..31).for_each(|_| density.learn(0.0));
        let misled = density.spacing().unwrap();
        assert!(misled >= 1e-7 / LARGEST_STEP.powi(2), "{misled}");
        (0..31).for_each(|_| density.learn(1e-7));
        assert_eq!(density.spacing(), Some(1e-7));
    }
}
