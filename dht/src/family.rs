//! The two families of addresses, and what there is of each.

use std::{
    net::SocketAddr,
    ops::{Index, IndexMut},
};

/// A family of addresses. Each has a DHT of its own (BEP 32).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(
    not(any(test, feature = "simulator")),
    expect(unreachable_pub, reason = "it belongs to the interface of the simulator")
)]
pub enum Family {
    /// IPv4
    #[default]
    V4,
    /// IPv6
    V6,
}

impl Family {
    /// IPv4 first, as nearly all of the DHT is there.
    pub(crate) const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The family that the address belongs to.
    pub(crate) fn of(address: SocketAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// One value for each family.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PerFamily<T> {
    pub(crate) v4: T,
    pub(crate) v6: T,
}

impl<T> PerFamily<T> {
    pub(crate) fn from_fn(mut value: impl FnMut(Family) -> T) -> Self {
        Self { v4: value(Family::V4), v6: value(Family::V6) }
    }

    pub(crate) fn map<U>(self, mut convert: impl FnMut(T) -> U) -> PerFamily<U> {
        PerFamily { v4: convert(self.v4), v6: convert(self.v6) }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Family, &T)> {
        Family::ALL.into_iter().zip([&self.v4, &self.v6])
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        [&self.v4, &self.v6].into_iter()
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        [&mut self.v4, &mut self.v6].into_iter()
    }
}

impl<T> PerFamily<Option<T>> {
    /// The families of which there is one.
    pub(crate) fn present(&self) -> impl Iterator<Item = (Family, &T)> {
        self.iter().filter_map(|(family, value)| Some((family, value.as_ref()?)))
    }

    /// As [`PerFamily::present`], to be changed.
    pub(crate) fn present_mut(&mut self) -> impl Iterator<Item = (Family, &mut T)> {
        Family::ALL
            .into_iter()
            .zip(self.values_mut())
            .filter_map(|(family, value)| Some((family, value.as_mut()?)))
    }
}

impl<T> Index<Family> for PerFamily<T> {
    type Output = T;

    fn index(&self, family: Family) -> &T {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }
}

impl<T> IndexMut<Family> for PerFamily<T> {
    fn index_mut(&mut self, family: Family) -> &mut T {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }
}
