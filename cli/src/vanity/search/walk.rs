//! Public keys by the thousand, from one scalar multiplication.
//!
//! A public key is the multiple aB of the base point B of edwards25519. From one centre P = aB the keys P ± Q of many
//! fixed points Q = 8iB are reached by additions, and the next centre by one more; multiples of 8 keep the scalars
//! clamped (RFC 8032, section 5.1.5). Only the y coordinates are needed, for they are the keys but for a sign.
//!
//! On the curve -x² + y² = 1 + d x² y² the two sums of P = (x1, y1) and ±Q = (±x2, y2) have
//!
//! ```text
//! y = (y1 y2 ± x1 x2) / (1 ∓ d x1 x2 y1 y2)
//! ```
//!
//! Expanded so that both have the same denominator, and with y² (1 - d x²) = 1 + x², that is
//!
//! ```text
//!      1      (1 + x2²) / y2 ± k x2              (1 + d) x1 y1            1 + d
//! y = ---- * -----------------------   with  k = -------------   and c = -------
//!      y1       c - d (1 + x2²)                     1 + x1²              1 + x1²
//! ```
//!
//! What depends on Q alone comes from a table, and what depends on P alone is computed once. There remain, for a pair
//! of keys, one multiplication for k x2, three for the inverse of the denominator (all of a batch share one
//! inversion), and one for each key. No denominator is ever zero: those of the first form are not, as d is no square,
//! and neither x² = -1 nor y = 0 are met among the multiples of B, which have odd order.

use curve25519_dalek::{constants::ED25519_BASEPOINT_COMPRESSED, edwards::EdwardsPoint};
use zeroize::Zeroizing;

use super::field::{Element, Sum, invert_all};

/// Points on either side of a centre: as many as the cache of a core holds, so that the inversion that they share
/// costs a hundredth.
pub(crate) const STEPS: usize = 1024;

/// The cofactor, which scalars are multiples of.
const COFACTOR: u64 = 8;

/// A point of the curve.
#[derive(Clone, Copy)]
struct Point {
    x: Element,
    y: Element,
}

/// The constants of the curve.
#[derive(Clone, Copy)]
struct Curve {
    d: Element,
    d_plus_one: Element,
}

/// What is to be known of a point Q.
struct Step {
    x: Element,
    /// (1 + x²) / y
    ratio: Element,
    /// d (1 + x²)
    subtrahend: Element,
}

/// The fixed points of a walk, which all threads share.
pub(crate) struct Steps {
    curve: Curve,
    steps: Vec<Step>,
    /// From one centre to the next.
    stride: Point,
}

impl Steps {
    /// The multiples of 8B from 1 to `count`.
    pub(crate) fn new(count: usize) -> Self {
        let curve = Curve::new();
        let mut base = curve.base_point();
        for _ in 0..COFACTOR.ilog2() {
            base = curve.sums(base, &[base]).remove(0);
        }
        let mut points = vec![base];
        while let Some(missing) = count.checked_sub(points.len()).filter(|&missing| missing > 0) {
            let farthest = points[points.len() - 1];
            let others = &points[..missing.min(points.len())];
            points.extend(curve.sums(farthest, others));
        }
        let farthest = points[points.len() - 1];
        let both_sides = curve.sums(farthest, &[farthest])[0];
        let stride = curve.sums(both_sides, &[base])[0];
        let steps = points.into_iter().map(|point| curve.step(point)).collect();
        Self { curve, steps, stride }
    }

    /// Keys of a batch: the centre, and both sides.
    pub(crate) fn batch(&self) -> u64 {
        2 * self.steps.len() as u64 + 1
    }
}

/// A walk from centre to centre.
pub(crate) struct Walk<'a> {
    steps: &'a Steps,
    /// The scalar of the first centre.
    start: Zeroizing<[u8; 32]>,
    /// Centres so far.
    centres: u64,
    centre: Point,
    /// 1 / (1 + x²) and 1 / y of the centre.
    inverses: [Element; 2],
    /// Products of the denominators up to each, kept to be used again.
    products: Vec<Element>,
}

impl<'a> Walk<'a> {
    /// A walk from a random scalar, of which bits 0 to 2 and 255 are zero and bit 254 is one. It must not be so close
    /// to the ends of these numbers that a walk could leave them; one in 2^30 is, and gets `None`.
    pub(crate) fn new(steps: &'a Steps, start: Zeroizing<[u8; 32]>) -> Option<Self> {
        let top = u32::from_le_bytes([start[28], start[29], start[30], start[31]]);
        if top == 0x4000_0000 || top == 0x7fff_ffff || !start[0].is_multiple_of(8) || top >> 30 != 1 {
            return None;
        }
        let centre =
            steps.curve.decompressed(EdwardsPoint::mul_base_clamped(*start).compress().to_bytes())?;
        let mut inverses = [Element::ONE.plus(centre.x.squared()).carried(), centre.y];
        invert_all(&mut inverses);
        let products = Vec::with_capacity(steps.steps.len());
        Some(Self { steps, start, centres: 0, centre, inverses, products })
    }

    /// Visits the keys around the centre, as the bytes of y and their place on the walk, and goes on to the next.
    #[inline]
    pub(crate) fn batch(&mut self, mut visit: impl FnMut(i64, [u8; 32])) {
        let Steps { curve, steps, stride } = self.steps;
        let Point { x, y } = self.centre;
        let [inverse_w, inverse_y] = self.inverses;
        let c = curve.d_plus_one.times(inverse_w);
        let k = c.times(x).times(y);

        let mut product = Element::ONE;
        self.products.clear();
        for step in steps {
            self.products.push(product);
            product = product.times(c.minus(step.subtrahend));
        }
        // The next centre needs inverses as well: those of its own denominators, and of its 1 + x² and y, which are
        // known but for these denominators.
        let next = curve.unfinished_sum(self.centre, *stride);
        let w_numerator = next.x_denominator.squared().plus(next.x_numerator.squared()).carried();
        let mut extra = [product, next.x_denominator, next.y_denominator, w_numerator, next.y_numerator];
        invert_all(&mut extra);
        let [inverse, inverse_x_denominator, inverse_y_denominator, inverse_w_numerator, inverse_y_numerator] =
            extra;

        let place = i64::try_from(self.centres * self.steps.batch()).unwrap_or(i64::MAX);
        visit(place, y.to_bytes());
        let mut inverse = inverse.times(inverse_y);
        let mut distance = i64::try_from(steps.len()).unwrap_or(i64::MAX);
        for (step, &product) in steps.iter().zip(&self.products).rev() {
            let scale = Sum::from(inverse.times(product));
            inverse = inverse.times(c.minus(step.subtrahend));
            let kx = k.times(step.x);
            visit(place + distance, scale.times(step.ratio.plus(kx)).to_bytes());
            visit(place - distance, scale.times(step.ratio.minus(kx)).to_bytes());
            distance -= 1;
        }

        self.centre = Point {
            x: next.x_numerator.times(inverse_x_denominator),
            y: next.y_numerator.times(inverse_y_denominator),
        };
        self.inverses = [
            next.x_denominator.squared().times(inverse_w_numerator),
            next.y_denominator.times(inverse_y_numerator),
        ];
        self.centres += 1;
    }

    /// The clamped scalar of the key at a place.
    pub(crate) fn scalar(&self, place: i64) -> Zeroizing<[u8; 32]> {
        let mut scalar = self.start.clone();
        let mut carry = i128::from(place) * i128::from(COFACTOR);
        for byte in scalar.iter_mut() {
            carry += i128::from(*byte);
            // The low byte of a number in two's complement, whatever its sign.
            *byte = carry.rem_euclid(256) as u8;
            carry = carry.div_euclid(256);
        }
        scalar
    }
}

/// A sum of two points before the division.
struct UnfinishedSum {
    x_numerator: Element,
    x_denominator: Element,
    y_numerator: Element,
    y_denominator: Element,
}

impl Curve {
    fn new() -> Self {
        let d = Element::small(121_665).negated().times(Element::small(121_666).inverted());
        Self { d, d_plus_one: d.plus(Element::ONE).carried() }
    }

    fn base_point(&self) -> Point {
        // The constant is a point; nothing else could become of it.
        let identity = Point { x: Element::ZERO, y: Element::ONE };
        self.decompressed(ED25519_BASEPOINT_COMPRESSED.to_bytes()).unwrap_or(identity)
    }

    /// The point with this y and, in the top bit, this sign of x.
    fn decompressed(&self, bytes: [u8; 32]) -> Option<Point> {
        let y = Element::from_bytes(bytes);
        let square = y.squared();
        let denominator = Element::ONE.plus(self.d.times(square)).carried();
        let x = Element::root_of_ratio(square.minus(Element::ONE).carried(), denominator)?;
        let sign = bytes[31] >> 7;
        Some(Point { x: if x.to_bytes()[0] & 1 == sign { x } else { x.negated() }, y })
    }

    fn unfinished_sum(&self, p: Point, q: Point) -> UnfinishedSum {
        let [xx, yy] = [p.x.times(q.x), p.y.times(q.y)];
        let c = self.d.times(xx).times(yy);
        UnfinishedSum {
            x_numerator: p.x.times(q.y).plus(p.y.times(q.x)).carried(),
            x_denominator: Element::ONE.plus(c).carried(),
            y_numerator: yy.plus(xx).carried(),
            y_denominator: Element::ONE.minus(c).carried(),
        }
    }

    /// The sums of one point and each of the others.
    fn sums(&self, point: Point, others: &[Point]) -> Vec<Point> {
        let sums: Vec<_> = others.iter().map(|&other| self.unfinished_sum(point, other)).collect();
        let mut inverses: Vec<_> =
            sums.iter().flat_map(|sum| [sum.x_denominator, sum.y_denominator]).collect();
        invert_all(&mut inverses);
        sums.iter()
            .zip(inverses.chunks_exact(2))
            .map(|(sum, inverses)| Point {
                x: sum.x_numerator.times(inverses[0]),
                y: sum.y_numerator.times(inverses[1]),
            })
            .collect()
    }

    fn step(&self, Point { x, y }: Point) -> Step {
        let square = x.squared();
        let ratio = y.times(Element::ONE.minus(self.d.times(square)));
        Step { x, ratio, subtrahend: self.d.times(Element::ONE.plus(square)) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn clamped(mut bytes: [u8; 32]) -> Zeroizing<[u8; 32]> {
        bytes[0] &= 0xf8;
        bytes[31] = bytes[31] & 0x7f | 0x40;
        Zeroizing::new(bytes)
    }

    /// Compares every key of some batches with a scalar multiplication by curve25519-dalek.
    fn assert_walks_right(steps: usize, batches: u64, start: [u8; 32]) {
        let steps = Steps::new(steps);
        let Some(mut walk) = Walk::new(&steps, clamped(start)) else { return };
        let mut places = Vec::new();
        for _ in 0..batches {
            let mut keys = Vec::new();
            walk.batch(|place, y| keys.push((place, y)));
            for (place, y) in keys {
                let scalar = walk.scalar(place);
                assert_eq!(scalar, clamped(*scalar), "stays clamped");
                let mut key = EdwardsPoint::mul_base_clamped(*scalar).compress().to_bytes();
                key[31] &= 0x7f;
                assert_eq!(y, key, "at {place}");
                places.push(place);
            }
        }
        places.sort_unstable();
        let first = -i64::try_from(steps.batch() / 2).unwrap();
        let all: Vec<_> = (first..).take(usize::try_from(batches * steps.batch()).unwrap()).collect();
        assert_eq!(places, all, "each once");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn every_key_of_a_walk_is_that_of_its_scalar(
            start in any::<[u8; 32]>(), steps in 1..12_usize, batches in 1..4_u64,
        ) {
            assert_walks_right(steps, batches, start);
        }
    }

    #[test]
    fn scalars_carry_and_borrow() {
        let mut low = [0; 32];
        low[28] = 1;
        assert_walks_right(5, 2, low);
        let mut high = [0xff; 32];
        high[28] = 0;
        assert_walks_right(5, 2, high);
    }

    #[test]
    fn a_walk_keeps_away_from_the_ends_of_the_clamped_scalars() {
        let steps = Steps::new(1);
        let [lowest, highest] = [[0; 32], [0xff; 32]].map(clamped);
        assert!(Walk::new(&steps, lowest).is_none());
        assert!(Walk::new(&steps, highest).is_none());
        assert!(Walk::new(&steps, Zeroizing::new([8; 32])).is_none(), "not clamped");
        assert!(Walk::new(&steps, clamped([8; 32])).is_some());
    }
}
