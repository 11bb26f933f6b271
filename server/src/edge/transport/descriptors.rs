//! How many descriptors there are, and how many of them connections may take. Whatever clients open, some are left for
//! the sockets to others: without them nothing can be looked up.

use nix::sys::resource::{Resource, getrlimit};

/// Kept for what is not a connection of a client. Two for each question to upstreams and to name servers that may be
/// under way (1024 and 512), the rest for relays, Redis, the DHT, the disk and the listeners. Half of all where that is
/// less: few clients ask for that much at once.
const RESERVE: usize = 4096;

/// How many files and sockets this process may have open.
pub fn limit() -> usize {
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, _)) => usize::try_from(soft).unwrap_or(usize::MAX),
        // What POSIX promises at least is no use; this is what systems have.
        Err(_) => 1024,
    }
}

/// What connections may take of `limit` descriptors.
pub fn for_connections(limit: usize) -> usize {
    limit - RESERVE.min(limit / 2)
}

/// Above so many in use, whoever uses them, no connection is taken.
pub fn most_in_use(limit: usize) -> usize {
    limit - RESERVE.min(limit / 2) / 2
}

/// Shares `room` among those who wish for so much: nobody gets more than it wishes for, and who gets less gets as much
/// as any other. Each gets at least one.
pub fn share<const N: usize>(room: usize, wishes: [usize; N]) -> [usize; N] {
    let mut by_size: [usize; N] = std::array::from_fn(|index| index);
    by_size.sort_by_key(|index| wishes.get(*index));
    let mut shares = wishes;
    let mut left = room;
    for (served, index) in by_size.into_iter().enumerate() {
        if let Some(share) = shares.get_mut(index) {
            let fair = left / (N - served);
            left = left.saturating_sub((*share).min(fair));
            *share = (*share).min(fair.max(1));
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn where_there_is_room_everyone_has_what_it_wishes() {
        let wishes = [2000, 20_000, 20_000, 64];
        assert_eq!(share(for_connections(524_288), wishes), wishes);
        assert_eq!(share(for_connections(usize::MAX), wishes), wishes);
    }

    #[test]
    fn where_there_is_little_small_wishes_are_met_first() {
        assert_eq!(share(for_connections(4096), [2000, 20_000, 20_000, 64]), [661, 661, 662, 64]);
        assert_eq!(share(for_connections(1100), [2000, 0, 0, 0]), [550, 0, 0, 0]);
        assert_eq!(share(0, [2000, 0, 5, 0]), [1, 0, 1, 0]);
    }

    #[test]
    fn half_of_few_descriptors_and_thousands_of_many_are_kept() {
        for (limit, kept) in [(48, 24), (1024, 512), (4096, 2048), (20_000, 4096), (1 << 20, 4096)] {
            assert_eq!(limit - for_connections(limit), kept, "{limit}");
            assert!(for_connections(limit) <= most_in_use(limit) && most_in_use(limit) < limit);
        }
    }

    proptest! {
        #[test]
        fn shares_are_within_room_and_wishes(room in 4..100_000_usize, wishes: [u16; 4]) {
            let wishes = wishes.map(usize::from);
            let shares = share(room, wishes);
            prop_assert!(shares.iter().sum::<usize>() <= room);
            for (share, wish) in shares.iter().zip(wishes) {
                prop_assert!(*share <= wish && (*share > 0 || wish == 0));
                // Who has less than it wishes for has as much as any other, but for the remainder.
                prop_assert!(*share == wish || shares.iter().all(|other| *other <= *share + 1));
            }
        }
    }
}
