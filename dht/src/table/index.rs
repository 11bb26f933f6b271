//! Where the node at each address is: the number of its place, four bytes, found by a hash of the address.

use std::net::SocketAddr;

use ahash::RandomState;
use hashbrown::HashTable;

/// Places for which one hash table has room, and so many of them that it is given: which address goes to which table is up
/// to chance, and with 6 % to spare none is ever full.
const ROOM: usize = 114_688;
const PLACES_PER_TABLE: usize = 108_000;

/// Hash tables have a power of two of slots, so that one for a million places would have two million. Several small ones
/// together have hardly more than are needed.
#[derive(Debug)]
pub(super) struct Index {
    tables: Vec<HashTable<u32>>,
    hasher: RandomState,
}

impl Index {
    /// With room for so many places. It takes the memory for them.
    pub(super) fn new(places: usize) -> Self {
        let count = places.div_ceil(PLACES_PER_TABLE).max(1);
        let room = if count == 1 { places } else { ROOM };
        let tables = std::iter::repeat_with(|| HashTable::with_capacity(room)).take(count).collect();
        Self { tables, hasher: RandomState::new() }
    }

    /// How many addresses are in it.
    pub(super) fn len(&self) -> usize {
        self.tables.iter().map(HashTable::len).sum()
    }

    /// The place of an address. `address_at`: which one is at a place.
    pub(super) fn find(
        &self,
        address: SocketAddr,
        address_at: impl Fn(usize) -> Option<SocketAddr>,
    ) -> Option<usize> {
        let hash = self.hasher.hash_one(address);
        let is_there = |place: &u32| address_at(*place as usize) == Some(address);
        let place = self.tables.get(self.table_of(hash))?.find(hash, is_there)?;
        Some(*place as usize)
    }

    /// An address that is not in it is at this place from now on.
    pub(super) fn insert(
        &mut self,
        address: SocketAddr,
        place: u32,
        address_at: impl Fn(usize) -> Option<SocketAddr>,
    ) {
        let hash = self.hasher.hash_one(address);
        let number = self.table_of(hash);
        let Self { tables, hasher } = self;
        // Asked for where a table has no room after all, of those that are in it.
        let hash_of = |place: &u32| address_at(*place as usize).map_or(0, |it| hasher.hash_one(it));
        if let Some(table) = tables.get_mut(number) {
            table.insert_unique(hash, place, hash_of);
        }
    }

    /// The address is no longer at this place.
    pub(super) fn remove(&mut self, address: SocketAddr, place: usize) {
        let hash = self.hasher.hash_one(address);
        let number = self.table_of(hash);
        let found =
            self.tables.get_mut(number).map(|table| table.find_entry(hash, |it| *it as usize == place));
        if let Some(Ok(entry)) = found {
            entry.remove();
        }
    }

    /// Bits of the hash that the tables themselves make no use of: they take the lowest and the highest.
    fn table_of(&self, hash: u64) -> usize {
        let middle = (hash >> 24) & u64::from(u32::MAX);
        ((middle * self.tables.len() as u64) >> u32::BITS) as usize
    }

    /// Bytes of memory.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.tables.iter().map(HashTable::allocation_size).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(place: usize) -> SocketAddr {
        let [.., a, b, c] = place.to_be_bytes().map(u16::from);
        SocketAddr::from(([0x2a00, a, b, c, 0, 0, 0, 1], 6881))
    }

    #[test]
    fn every_address_is_found_and_no_table_grows_when_all_have_come() {
        let address_at = |place| Some(address(place));
        for places in [0, 1, 5, 8192, PLACES_PER_TABLE, PLACES_PER_TABLE + 1, 220_000] {
            let mut index = Index::new(places);
            let size = index.memory();
            assert!(places < 8192 || size < places * 14, "{size} bytes for {places}");
            for place in 0..places {
                assert_eq!(index.find(address(place), address_at), None);
                index.insert(address(place), place as u32, address_at);
            }
            assert_eq!((index.len(), index.memory()), (places, size));
            assert!((0..places).all(|place| index.find(address(place), address_at) == Some(place)));
            (0..places).step_by(2).for_each(|place| index.remove(address(place), place));
            assert_eq!(index.len(), places / 2);
            assert!(
                (0..places).all(|place| index.find(address(place), address_at).is_some() == (place % 2 == 1))
            );
        }
    }
}
