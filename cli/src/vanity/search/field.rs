//! Arithmetic modulo 2^255 - 19 on the functions of fiat-crypto, which are proven correct. Nothing here takes the same
//! time for all values: it is for points that will be public, or thrown away.

use fiat_crypto::curve25519_64::{
    fiat_25519_add, fiat_25519_carry, fiat_25519_carry_mul, fiat_25519_carry_square, fiat_25519_from_bytes,
    fiat_25519_loose_field_element, fiat_25519_relax, fiat_25519_sub, fiat_25519_tight_field_element,
    fiat_25519_to_bytes,
};

/// A number modulo 2^255 - 19.
#[derive(Clone, Copy)]
pub(crate) struct Element(fiat_25519_tight_field_element);

/// A sum or a difference of two, which can be multiplied but not added to.
#[derive(Clone, Copy)]
pub(crate) struct Sum(fiat_25519_loose_field_element);

impl Element {
    pub(crate) const ZERO: Self = Self(fiat_25519_tight_field_element([0; 5]));
    pub(crate) const ONE: Self = Self::small(1);

    pub(crate) const fn small(value: u32) -> Self {
        Self(fiat_25519_tight_field_element([value as u64, 0, 0, 0, 0]))
    }

    /// From bytes in little-endian order; the top bit is left out.
    pub(crate) fn from_bytes(mut bytes: [u8; 32]) -> Self {
        bytes[31] &= 0x7f;
        let mut element = Self::ZERO;
        fiat_25519_from_bytes(&mut element.0, &bytes);
        element
    }

    /// The one form that all numbers have, little-endian.
    #[inline]
    pub(crate) fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        fiat_25519_to_bytes(&mut bytes, &self.0);
        bytes
    }

    #[inline]
    pub(crate) fn plus(self, other: Self) -> Sum {
        let mut sum = Sum(fiat_25519_loose_field_element([0; 5]));
        fiat_25519_add(&mut sum.0, &self.0, &other.0);
        sum
    }

    #[inline]
    pub(crate) fn minus(self, other: Self) -> Sum {
        let mut difference = Sum(fiat_25519_loose_field_element([0; 5]));
        fiat_25519_sub(&mut difference.0, &self.0, &other.0);
        difference
    }

    #[inline]
    pub(crate) fn times(self, other: impl Into<Sum>) -> Self {
        Sum::from(self).times(other)
    }

    #[inline]
    pub(crate) fn squared(self) -> Self {
        let mut square = Self::ZERO;
        fiat_25519_carry_square(&mut square.0, &Sum::from(self).0);
        square
    }

    /// The inverse; of zero, zero.
    pub(crate) fn inverted(self) -> Self {
        // The exponent p - 2 is 8 (2^252 - 3) + 3.
        self.to_2_252_minus_3().squared_times(3).times(self.squared().times(self))
    }

    /// A square root of `numerator` / `denominator`, if there is one.
    pub(crate) fn root_of_ratio(numerator: Self, denominator: Self) -> Option<Self> {
        // RFC 8032, section 5.1.3: (u v^3) (u v^7)^((p - 5) / 8), which may be off by a square root of -1.
        let (u, v) = (numerator, denominator);
        let v3 = v.squared().times(v);
        let v7 = v3.squared().times(v);
        let root = u.times(v3).times(u.times(v7).to_2_252_minus_3());
        let is_root = |root: Self| v.times(root.squared()).minus(u).carried().to_bytes() == [0; 32];
        if is_root(root) {
            return Some(root);
        }
        let root = root.times(root_of_minus_one());
        is_root(root).then_some(root)
    }

    pub(crate) fn negated(self) -> Self {
        Self::ZERO.minus(self).carried()
    }

    fn squared_times(self, times: usize) -> Self {
        (0..times).fold(self, |power, _| power.squared())
    }

    /// The power (p - 5) / 8.
    fn to_2_252_minus_3(self) -> Self {
        // `power` is this number to the power of 2^n - 1; squared k times and multiplied with that of 2^k - 1, it
        // is that of 2^(n + k) - 1.
        let joined = |power: Self, k: usize, other: Self| power.squared_times(k).times(other);
        let n2 = joined(self, 1, self);
        let n4 = joined(n2, 2, n2);
        let n5 = joined(n4, 1, self);
        let n10 = joined(n5, 5, n5);
        let n20 = joined(n10, 10, n10);
        let n40 = joined(n20, 20, n20);
        let n50 = joined(n40, 10, n10);
        let n100 = joined(n50, 50, n50);
        let n200 = joined(n100, 100, n100);
        let n250 = joined(n200, 50, n50);
        joined(n250, 2, self)
    }
}

impl Sum {
    #[inline]
    pub(crate) fn times(self, other: impl Into<Self>) -> Element {
        let mut product = Element::ZERO;
        fiat_25519_carry_mul(&mut product.0, &self.0, &other.into().0);
        product
    }

    #[inline]
    pub(crate) fn carried(self) -> Element {
        let mut element = Element::ZERO;
        fiat_25519_carry(&mut element.0, &self.0);
        element
    }
}

impl From<Element> for Sum {
    #[inline]
    fn from(element: Element) -> Self {
        let mut sum = Self(fiat_25519_loose_field_element([0; 5]));
        fiat_25519_relax(&mut sum.0, &element.0);
        sum
    }
}

/// Inverts all of them, none of which may be zero, at three multiplications each and one inversion.
pub(crate) fn invert_all(elements: &mut [Element]) {
    let mut product = Element::ONE;
    let products: Vec<Element> = elements
        .iter()
        .map(|&element| {
            let before = product;
            product = product.times(element);
            before
        })
        .collect();
    let mut inverse = product.inverted();
    for (element, before) in elements.iter_mut().zip(products).rev() {
        let next = inverse.times(*element);
        *element = inverse.times(before);
        inverse = next;
    }
}

/// 2 is not a square, so that its power (p - 1) / 4 squared is -1.
fn root_of_minus_one() -> Element {
    let two = Element::small(2);
    two.to_2_252_minus_3().squared().times(two)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(element: Element) -> [u8; 32] {
        element.to_bytes()
    }

    #[test]
    fn a_number_times_its_inverse_is_one() {
        for value in [1, 2, 3, 121_666, u32::MAX] {
            let number = Element::small(value);
            assert_eq!(bytes(number.times(number.inverted())), bytes(Element::ONE));
            assert_eq!(bytes(number.negated().times(number.inverted())), bytes(Element::ONE.negated()));
        }
        let mut numbers: Vec<_> = (1..20).map(|value| Element::small(value).negated()).collect();
        let inverses: Vec<_> = numbers.iter().map(|number| bytes(number.inverted())).collect();
        invert_all(&mut numbers);
        assert_eq!(numbers.into_iter().map(bytes).collect::<Vec<_>>(), inverses);
    }

    #[test]
    fn half_of_the_numbers_have_a_root() {
        let root = |value| Element::root_of_ratio(Element::small(value), Element::small(7));
        let roots: Vec<_> = (1..200).filter_map(|value| Some((value, root(value)?))).collect();
        assert!((80..120).contains(&roots.len()), "{}", roots.len());
        for (value, root) in roots {
            assert_eq!(bytes(root.squared().times(Element::small(7))), bytes(Element::small(value)));
        }
        assert_eq!(bytes(root_of_minus_one().squared()), bytes(Element::ONE.negated()));
    }
}
