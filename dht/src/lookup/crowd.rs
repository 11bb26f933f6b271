//! Whether nodes lie closer together than chance allows. Pure.
//!
//! Ids are free to choose, so that an attacker who wants to hide a key puts nodes right beside it. Honest ids are
//! spread evenly: how many lie within a distance follows the Poisson distribution.

/// A set of nodes so dense happens by chance in fewer than one of a million searches.
const IMPROBABLE: f64 = -13.8;

/// What is believed about the density may be wrong by less than this.
const DENSER: f64 = 4.0;

/// Fewer nodes than this are never taken for a crowd: they cannot outvote the others.
const LEAST: usize = 6;

/// How many of the nearest nodes are a crowd, from the distances of nodes that answered, nearest first, as shares of the
/// key space. `spacing`: share of the key space per node. Of all numbers that are improbable it is the most improbable
/// one, as the honest nodes right behind a crowd make up for it only little by little.
pub(super) fn crowd(distances: impl Iterator<Item = f64>, spacing: f64) -> usize {
    let suspects = (1_usize..).zip(distances).skip(LEAST - 1);
    let judged = suspects.map(|(number, distance)| (number, log_probability(number, distance / spacing)));
    let densest = judged.min_by(|(fewer, one), (more, other)| one.total_cmp(other).then(more.cmp(fewer)));
    densest.filter(|(_, logarithm)| *logarithm < IMPROBABLE).map_or(0, |(number, _)| number)
}

/// An upper bound (Chernoff's) of the logarithm of the probability that at least `number` nodes are where `expected`
/// are to be expected.
fn log_probability(number: usize, expected: f64) -> f64 {
    let number = number as f64;
    if expected * DENSER > number { 0.0 } else { number - expected + number * (expected / number).ln() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Distances of nodes that are so many times as dense as usual.
    fn evenly(count: usize, density: f64) -> impl Iterator<Item = f64> {
        (1..=count).map(move |number| number as f64 / density)
    }

    #[test]
    fn nodes_as_dense_as_all_are_no_crowd_and_those_right_beside_the_key_are() {
        for (density, expected) in
            [(0.5, 0), (1.0, 0), (3.0, 0), (100.0, 40), (1e12, 40), (f64::INFINITY, 40)]
        {
            assert_eq!(crowd(evenly(40, density), 1.0), expected, "{density}");
        }
    }

    #[test]
    fn those_beyond_the_crowd_are_not_of_it() {
        let beside = (1..=14).map(|number| f64::from(number) * 1e-6);
        let others = (1..=20).map(f64::from);
        assert_eq!(crowd(beside.chain(others), 1.0), 14);
        assert_eq!(crowd((1..=5).map(|number| f64::from(number) * 1e-9), 1.0), 0);
    }

    #[test]
    fn chance_hardly_ever_makes_a_crowd() {
        // SplitMix64, so that the test does the same each time.
        let mut state = 1_u64;
        let mut share = move || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = state;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
        };
        let mut crowds = 0;
        for _ in 0..20_000 {
            let mut distance = 0.0;
            let distances: Vec<f64> = (0..30)
                .map(|_| {
                    distance -= (1.0 - share()).ln();
                    distance
                })
                .collect();
            crowds += usize::from(crowd(distances.into_iter(), 1.0) > 0);
        }
        assert!(crowds <= 2, "{crowds}");
    }
}
