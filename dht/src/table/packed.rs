//! Nodes in as few bytes as they need, because there may be a million of them: 36 for IPv4, 48 for IPv6.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Contact, Id};
use crate::rtt::Rtt;

/// Stands for a round trip that is not known.
const NO_RTT: u16 = u16::MAX;

const FAILING: u8 = 1;
const STORES_NOTHING: u8 = 2;
const UNCONFIRMED: u8 = 4;
const ASKED: u8 = 8;

/// A node of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) contact: Contact,
    /// When it last answered, or since when it does not, in tenths of a second since the table's start.
    pub(super) since: u32,
    /// It did not answer the last question.
    pub(super) is_failing: bool,
    /// It is one of an earlier run and has not answered in this one.
    pub(super) is_unconfirmed: bool,
    /// It was handed out to be asked.
    pub(super) is_asked: bool,
}

/// Room for nodes of one family of addresses.
#[derive(Debug)]
pub(super) enum Places {
    V4(Box<[Packed<V4>]>),
    V6(Box<[Packed<V6>]>),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Packed<A> {
    since: u32,
    id: [u8; 20],
    address: A,
    smoothed: u16,
    deviation: u16,
    flags: u8,
}

pub(super) type V4 = [u8; 6];
pub(super) type V6 = [u8; 18];

const _: () = assert!(size_of::<Packed<V4>>() == 36 && size_of::<Packed<V6>>() == 48);

impl Places {
    pub(super) fn new(count: usize, is_ipv4: bool) -> Self {
        match is_ipv4 {
            true => Self::V4(vec![Packed::empty([0; 6]); count].into()),
            false => Self::V6(vec![Packed::empty([0; 18]); count].into()),
        }
    }

    /// Bytes of memory.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        match self {
            Self::V4(places) => size_of_val(&**places),
            Self::V6(places) => size_of_val(&**places),
        }
    }

    /// Whether nodes at such addresses are kept here. A scope (RFC 4007) has no room.
    pub(super) fn take(&self, address: SocketAddr) -> bool {
        match (self, address) {
            (Self::V4(_), SocketAddr::V4(_)) => true,
            (Self::V6(_), SocketAddr::V6(address)) => address.scope_id() == 0,
            (Self::V4(_), SocketAddr::V6(_)) | (Self::V6(_), SocketAddr::V4(_)) => false,
        }
    }

    /// What is at a place, if anything ever was.
    pub(super) fn get(&self, place: usize) -> Option<Entry> {
        match self {
            Self::V4(places) => places.get(place).map(|packed| packed.entry(unpack_v4(packed.address))),
            Self::V6(places) => places.get(place).map(|packed| packed.entry(unpack_v6(packed.address))),
        }
    }

    /// The address there alone, which is what the index compares.
    pub(super) fn address(&self, place: usize) -> Option<SocketAddr> {
        match self {
            Self::V4(places) => places.get(place).map(|packed| unpack_v4(packed.address)),
            Self::V6(places) => places.get(place).map(|packed| unpack_v6(packed.address)),
        }
    }

    /// The id there alone, so that looking for one reads no more than it has to.
    pub(super) fn id(&self, place: usize) -> Option<&[u8; 20]> {
        match self {
            Self::V4(places) => places.get(place).map(|packed| &packed.id),
            Self::V6(places) => places.get(place).map(|packed| &packed.id),
        }
    }

    pub(super) fn set(&mut self, place: usize, entry: &Entry) {
        match (self, entry.contact.address) {
            (Self::V4(places), SocketAddr::V4(address)) => {
                let [a, b, c, d] = address.ip().octets();
                let [high, low] = address.port().to_be_bytes();
                if let Some(packed) = places.get_mut(place) {
                    *packed = Packed::of(entry, [a, b, c, d, high, low]);
                }
            }
            (Self::V6(places), SocketAddr::V6(address)) => {
                let mut bytes = [0; 18];
                let (ip, port) = bytes.split_at_mut(16);
                ip.copy_from_slice(&address.ip().octets());
                port.copy_from_slice(&address.port().to_be_bytes());
                if let Some(packed) = places.get_mut(place) {
                    *packed = Packed::of(entry, bytes);
                }
            }
            (Self::V4(_), SocketAddr::V6(_)) | (Self::V6(_), SocketAddr::V4(_)) => {}
        }
    }
}

impl<A> Packed<A> {
    fn empty(address: A) -> Self {
        Self { since: 0, id: [0; 20], address, smoothed: NO_RTT, deviation: 0, flags: 0 }
    }

    fn of(entry: &Entry, address: A) -> Self {
        let Entry { contact, since, is_failing, is_unconfirmed, is_asked } = entry;
        let [smoothed, deviation] = contact.rtt.map_or([NO_RTT, 0], Rtt::pack);
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        let flags = flag(*is_failing, FAILING)
            | flag(!contact.stores, STORES_NOTHING)
            | flag(*is_unconfirmed, UNCONFIRMED)
            | flag(*is_asked, ASKED);
        Self { since: *since, id: *contact.id.as_bytes(), address, smoothed, deviation, flags }
    }

    fn entry(&self, address: SocketAddr) -> Entry {
        let rtt = (self.smoothed != NO_RTT).then(|| Rtt::unpack([self.smoothed, self.deviation]));
        let stores = self.flags & STORES_NOTHING == 0;
        Entry {
            contact: Contact { id: Id::from(self.id), address, rtt, stores },
            since: self.since,
            is_failing: self.flags & FAILING != 0,
            is_unconfirmed: self.flags & UNCONFIRMED != 0,
            is_asked: self.flags & ASKED != 0,
        }
    }
}

fn unpack_v4([a, b, c, d, high, low]: V4) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), u16::from_be_bytes([high, low]))
}

fn unpack_v6([ip @ .., high, low]: V6) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::from(ip)), u16::from_be_bytes([high, low]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_packed_comes_back(
            id: [u8; 20], ip: IpAddr, port: u16, rtt: Option<(u16, u16)>, flags: [bool; 4], since: u32,
        ) {
            let rtt = rtt.map(|(smoothed, deviation)| {
                Rtt::unpack([smoothed, deviation].map(|ticks| ticks.min(NO_RTT - 1)))
            });
            let contact = Contact { id: id.into(), address: SocketAddr::new(ip, port), rtt, stores: flags[0] };
            let entry = Entry {
                contact,
                since,
                is_failing: flags[1],
                is_unconfirmed: flags[2],
                is_asked: flags[3],
            };
            let mut places = Places::new(2, ip.is_ipv4());
            prop_assert!(places.take(contact.address));
            places.set(1, &entry);
            prop_assert_eq!(places.get(1), Some(entry));
            prop_assert_eq!(places.address(1), Some(contact.address));
            prop_assert_eq!(places.id(1), Some(&id));
            prop_assert_eq!(places.get(2), None);
        }
    }

    #[test]
    fn there_is_no_room_for_the_other_family_or_a_scope() {
        for (is_ipv4, address, taken) in [
            (true, "192.0.2.1:1", true),
            (true, "[2001:db8::1]:1", false),
            (false, "192.0.2.1:1", false),
            (false, "[2001:db8::1]:1", true),
            (false, "[fe80::1%7]:1", false),
        ] {
            assert_eq!(Places::new(1, is_ipv4).take(address.parse().unwrap()), taken, "{address}");
        }
    }
}
