//! A setting for test networks in which the addresses of this machine count as those of the internet.
//!
//! The rules about networks of one operator (a few nodes of a /24 are trusted) and about ids that are bound to addresses
//! (BEP 42) leave loopback addresses alone, and so all nodes of a test network. In this setting they hold for 127/8 too,
//! which is far too small for ten million nodes of which most have a /24 of their own. So it stands for a larger one.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::atomic::{AtomicBool, Ordering},
};

/// `1` in this variable of the environment switches it on in the program, for benchmarks.
pub const VARIABLE: &str = "PKDNS_INTERNET_OF_TESTS";

/// From this second number on, a /24 of 127/8 is that of a hoster with many nodes.
const HOSTERS: u8 = 224;

/// A fact about the machine that this process is on, as those who test see it.
static IS_ON: AtomicBool = AtomicBool::new(false);

/// Switches it on, for the whole process and for good. Before anything is started, or some of it does not know.
pub fn switch_on() {
    IS_ON.store(true, Ordering::Relaxed);
}

/// Addresses in 127/8 that share a subnet share this number. `None`: the setting is off, or does not concern the address.
/// Below 127.224.0.0 each address is in a subnet of its own, above each /24 is one.
pub(super) fn subnet(ip: IpAddr) -> Option<u32> {
    let IpAddr::V4(ip) = concerned(ip)? else { return None };
    let [_, second, ..] = ip.octets();
    Some(if second < HOSTERS { ip.to_bits() } else { ip.to_bits() >> 8 })
}

/// The address that stands for it where ids are bound to addresses.
pub(super) fn stand_in(ip: IpAddr) -> IpAddr {
    match concerned(ip) {
        Some(IpAddr::V4(ip)) => stand_in_v4(ip).into(),
        Some(IpAddr::V6(_)) | None => ip,
    }
}

/// The second number counts twice, because BEP 42 takes no heed of half of it, and 127 says nothing.
pub(crate) fn stand_in_v4(ip: Ipv4Addr) -> Ipv4Addr {
    let [_, second, third, fourth] = ip.octets();
    Ipv4Addr::new(FIRST | (second >> 4), second, third, fourth)
}

/// Not private, whatever the lower four bits.
const FIRST: u8 = 0x50;

fn concerned(ip: IpAddr) -> Option<IpAddr> {
    (ip.is_loopback() && IS_ON.load(Ordering::Relaxed)).then_some(ip)
}
