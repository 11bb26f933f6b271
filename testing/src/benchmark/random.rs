//! Random numbers that are the same in each run.

/// SplitMix64 (Steele, Lea and Flood, 2014).
pub struct Random(pub u64);

impl Random {
    #[allow(clippy::should_implement_trait, reason = "it never ends, and is no iterator")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `limit`.
    pub fn below(&mut self, limit: u32) -> u32 {
        below(self.next(), limit)
    }

    /// The numbers below `count`, in any order.
    pub fn shuffled(&mut self, count: u32) -> Vec<u32> {
        let mut numbers: Vec<_> = (0..count).collect();
        for last in (1..count).rev() {
            numbers.swap(last as usize, self.below(last + 1) as usize);
        }
        numbers
    }
}

/// Scales the upper half of `chance`.
fn below(chance: u64, limit: u32) -> u32 {
    (((chance >> 32) * u64::from(limit)) >> 32) as u32
}

/// Ranks, of which the n-th comes up 1/n times as often as the first (Zipf's law with s = 1). Counts from zero.
pub struct Zipf(Vec<Column>);

/// A column of the alias method (Walker, 1977; Vose, 1991): all are equally probable, and each stands for two ranks,
/// its own one below the threshold and the other above.
#[derive(Clone, Copy)]
struct Column {
    threshold: u32,
    other: u32,
}

impl Zipf {
    pub fn new(count: u32) -> Self {
        let sum: f64 = (1..=count).map(|rank| 1.0 / f64::from(rank)).sum();
        let mut shares: Vec<_> = (1..=count).map(|rank| f64::from(count) / f64::from(rank) / sum).collect();
        let mut columns: Vec<_> = (0..count).map(|other| Column { threshold: u32::MAX, other }).collect();
        let (mut low, mut high): (Vec<u32>, Vec<u32>) =
            (0..count).partition(|rank| shares[*rank as usize] < 1.0);
        while let (Some(poor), Some(rich)) = (low.pop(), high.pop()) {
            let share = shares[poor as usize];
            columns[poor as usize] = Column { threshold: (share * 2f64.powi(32)) as u32, other: rich };
            shares[rich as usize] -= 1.0 - share;
            if shares[rich as usize] < 1.0 { low.push(rich) } else { high.push(rich) }
        }
        Self(columns)
    }

    pub fn count(&self) -> u32 {
        self.0.len() as u32
    }

    pub fn draw(&self, random: &mut Random) -> u32 {
        let chance = random.next();
        let rank = below(chance, self.count());
        let column = self.0[rank as usize];
        if (chance as u32) < column.threshold { rank } else { column.other }
    }
}
