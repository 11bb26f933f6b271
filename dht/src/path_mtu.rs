//! Datagrams keep their size, whatever ICMP says of the way they go.

use std::{io, os::fd::AsFd};

use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
};

/// Has the kernel pass over what ICMP says of the path's MTU: any stranger can forge that for any client, and 1232 bytes
/// would leave in fragments for ten minutes, the second of which can be replaced by somebody else's (RFC 9715). Routers
/// on the way may still cut an IPv4 datagram that does not fit.
///
/// # Errors
///
/// When the socket is of the other family.
pub fn disregard(socket: &impl AsFd, is_ipv6: bool) -> io::Result<()> {
    match is_ipv6 {
        true => set_ipv6_mtu_discover(socket, Ipv6PathMtuDiscovery::OMIT)?,
        false => set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::OMIT)?,
    }
    Ok(())
}
