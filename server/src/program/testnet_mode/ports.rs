//! Where a testnet is to be reached: at the same ports each time, or at the next that are free.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket},
    ops::RangeInclusive,
};

/// Where it answers over HTTP.
pub(super) const HTTP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5380);

/// Where it answers over HTTPS.
pub(super) const HTTPS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8443);

/// Where its DHT is joined: at the usual port of BitTorrent, where `pkdns-cli --testnet` looks for it, or at one of the next.
pub(super) const DHT_PORTS: RangeInclusive<u16> = 6881..=6899;

/// How many ports are tried.
const TRIED: u16 = 50;

/// `usual`, or where its port is taken, the next that is free. Where none is, it is for the server to complain.
pub(super) fn next_free(usual: SocketAddr) -> SocketAddr {
    from(usual).find(|address| TcpListener::bind(address).is_ok()).unwrap_or(usual)
}

/// The next address behind `taken` whose port is free over UDP and TCP.
pub(super) fn next_free_for_dns(taken: SocketAddr) -> SocketAddr {
    let is_free =
        |address: &SocketAddr| TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok();
    from(taken).skip(1).find(is_free).unwrap_or(taken)
}

fn from(first: SocketAddr) -> impl Iterator<Item = SocketAddr> {
    let last = first.port().saturating_add(TRIED);
    (first.port()..=last).map(move |port| SocketAddr::new(first.ip(), port))
}

/// An address to ask, for one that means "all of them".
pub(super) fn reachable(address: &SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_passed_over() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let free = next_free(address);
        assert!(free.ip() == address.ip() && free.port() > address.port(), "{free}");
        assert!(next_free_for_dns(address).port() > address.port());
    }

    #[test]
    fn an_address_for_all_is_asked_on_loopback() {
        for (bound, asked) in
            [("0.0.0.0:53", "127.0.0.1:53"), ("[::]:53", "[::1]:53"), ("192.0.2.1:5", "192.0.2.1:5")]
        {
            assert_eq!(reachable(&bound.parse().unwrap()).to_string(), asked);
        }
    }
}
