//! Where each node is, and who is where.

use std::net::IpAddr;

use mainline::Id;

use super::{Draw, Population, id};
use crate::simulator::{
    addresses::Addresses,
    binding::{Binding, CLASS_BITS},
    random::Random,
};

/// A node whose id is not bound to its address is where nodes would be whose ids begin otherwise in these bits.
const ELSEWHERE: u32 = 0x0f_5a3c;

/// How often an address that is free is drawn for, at most.
const ATTEMPTS: usize = 20;

impl Population {
    /// The node at an address.
    pub(in crate::simulator) fn at(&self, address: IpAddr) -> Option<u32> {
        if let Some(number) = self.moved_in.get(&address) {
            return Some(*number);
        }
        let number = if address == self.first_address() {
            self.first()
        } else if let (Some(binding), IpAddr::V4(address)) = (&self.binding, address) {
            let (group, place) = self.addresses.group(address)?;
            self.members(binding, group).nth(place as usize).filter(|number| *number != self.first())?
        } else {
            let index = self.addresses.index(address).filter(|index| *index < self.len())?;
            let number = self.order.invert(index);
            // An address of IPv6 says no more than who would be there.
            (address.is_ipv4() || self.contact(number)?.1 == address).then_some(number)?
        };
        (!self.newcomers.contains_key(&number)).then_some(number)
    }

    pub(in crate::simulator) fn contact(&self, number: u32) -> Option<(Id, IpAddr)> {
        let mut id = *id(self.ids.get(number)?, &mut self.draws(Draw::Id, number)).as_bytes();
        let newcomer = self.newcomers.get(&number).map(|newcomer| newcomer.address);
        let [.., end] = &mut id;
        let Some(binding) = &self.binding else {
            let index = newcomer.and_then(|address| self.addresses.index(address));
            let (address, last) = self.address_at(index.unwrap_or_else(|| self.order.apply(number)), number);
            *end = last.map_or(*end, |last| (*end & !7) | last);
            return Some((Id::from(id), address));
        };
        if self.is_bound(number) {
            *end = (*end & !7) | binding.place(self.class(number)?).last;
        }
        let address = newcomer.or_else(|| {
            if number == self.first() {
                return Some(self.first_address());
            }
            let group = self.group(binding, number)?;
            let place = self.members(binding, group).position(|it| it == number)?;
            let address = self.addresses.in_group(group, place as u32).map(IpAddr::V4);
            address.filter(|it| *it != self.first_address())
        });
        Some((Id::from(id), address.unwrap_or_else(|| self.addresses.nowhere())))
    }

    /// The address with this index where it is that of the node, and the last three bits of an id that is bound to it.
    fn address_at(&self, index: u32, number: u32) -> (IpAddr, Option<u8>) {
        let class = self.class(number).filter(|_| number != self.first() && self.is_bound(number));
        match (&self.addresses, class) {
            (Addresses::Ipv6(internet), Some(class)) => {
                let (address, last) = internet.bound(index, class);
                (address.into(), Some(last))
            }
            (addresses, _) => (addresses.at(index), None),
        }
    }

    /// The nodes whose addresses are in the group.
    fn members<'a>(&'a self, binding: &'a Binding, group: u32) -> impl Iterator<Item = u32> + 'a {
        let of_class = move |class: u32, bound: bool| {
            let range = self.ids.sharing(u64::from(class) << (u64::BITS - CLASS_BITS), CLASS_BITS);
            range.filter(move |number| self.is_bound(*number) == bound)
        };
        binding
            .classes(group)
            .flat_map(move |class| of_class(class, true).chain(of_class(class ^ ELSEWHERE, false)))
    }

    fn group(&self, binding: &Binding, number: u32) -> Option<u32> {
        let class = self.class(number)?;
        Some(binding.place(if self.is_bound(number) { class } else { class ^ ELSEWHERE }).group)
    }

    /// The beginning of its id.
    fn class(&self, number: u32) -> Option<u32> {
        Some((self.ids.get(number)? >> (u64::BITS - CLASS_BITS)) as u32)
    }

    fn is_bound(&self, number: u32) -> bool {
        self.draws_for_ever(Draw::Bound, number).happens(self.bound_ids)
    }

    /// One that has never been anybody's, if there is any.
    pub(super) fn free_address(&mut self, number: u32) -> Option<IpAddr> {
        if let Some(binding) = &self.binding {
            let group = self.group(binding, number)?;
            let mut places = Random::of(&[self.random.next()]);
            let mut draw =
                || self.addresses.in_group(group, places.below(self.addresses.group_size() as usize) as u32);
            let mut drawn = (0..ATTEMPTS).filter_map(|_| draw()).map(IpAddr::V4);
            return drawn.find(|address| self.at(*address).is_none());
        }
        if self.next_address < self.addresses.count() {
            self.next_address += 1;
            return Some(self.address_at(self.next_address - 1, number).0);
        }
        self.moved_out.pop_front()
    }

    /// Somewhere where nobody is for now.
    pub(super) fn address_of_nobody(&self, random: &mut Random) -> IpAddr {
        let mut draw = || self.addresses.at(random.below(self.addresses.count() as usize) as u32);
        let drawn = (0..ATTEMPTS).map(|_| draw()).find(|address| self.at(*address).is_none());
        drawn.unwrap_or_else(|| self.addresses.nowhere())
    }
}
