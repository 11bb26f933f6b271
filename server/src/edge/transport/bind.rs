//! Listening sockets.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::OwnedFd,
};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Socket, Type};
use tokio::net::TcpListener;
use tracing::warn;

use super::{BindError, Protocol};
use pkdns_dht::internal::path_mtu;

/// Receive buffer asked for, in bytes: a burst of some thousands of queries. The kernel may grant less
/// (`net.core.rmem_max`).
const UDP_RECEIVE_BUFFER: usize = 4 << 20;

/// Connections that may wait to be accepted. The kernel may grant less (`net.core.somaxconn`).
const TCP_BACKLOG: i32 = 1024;

/// Tries to find a port that is free for UDP and TCP alike, when any port will do.
const ANY_PORT_TRIES: usize = 16;

/// UDP sockets that share one address; the kernel spreads clients over them.
#[derive(Debug)]
pub struct UdpSockets {
    pub(super) sockets: Vec<UdpSocket>,
    pub(super) address: SocketAddr,
}

impl UdpSockets {
    /// The address they are bound to, its port never 0.
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// Further descriptors of the same sockets, to hand over.
    ///
    /// # Errors
    ///
    /// When there are too many descriptors.
    pub fn duplicates(&self) -> io::Result<Vec<OwnedFd>> {
        self.sockets.iter().map(|socket| socket.try_clone().map(Into::into)).collect()
    }
}

/// Binds `udp_sockets` UDP sockets and one TCP listener to the same address; with port 0, to the same free port.
/// Must be called within a Tokio runtime.
pub fn bind(address: SocketAddr, udp_sockets: usize) -> Result<(UdpSockets, TcpListener), BindError> {
    let mut tries = 1;
    loop {
        let tcp = bind_tcp(address)?;
        let actual = tcp.local_addr().map_err(|error| BindError::new(Protocol::Tcp, address, error))?;
        match bind_udp(actual, udp_sockets) {
            // The port that TCP was given may be taken for UDP: take another.
            Err(BindError::Taken { .. }) if address.port() == 0 && tries < ANY_PORT_TRIES => tries += 1,
            udp => return Ok((udp?, tcp)),
        }
    }
}

/// Binds so many UDP sockets (at least one) to one address.
pub fn bind_udp(address: SocketAddr, sockets: usize) -> Result<UdpSockets, BindError> {
    let failed = |error| BindError::new(Protocol::Udp, address, error);
    // With SO_REUSEPORT the kernel would let this process share the port with another of the same user and send it
    // part of the queries. A socket without that option finds out, and finds a port when any will do.
    let probe = udp_socket(address).map_err(failed)?;
    bind_socket(&probe, address).map_err(failed)?;
    let actual = UdpSocket::from(probe).local_addr().map_err(failed)?;
    let sockets = (0..sockets.max(1)).map(|_| share_udp(actual)).collect::<Result<_, _>>().map_err(failed)?;
    Ok(UdpSockets { sockets, address: actual })
}

/// Listens for TCP connections. Must be called within a Tokio runtime.
pub fn bind_tcp(address: SocketAddr) -> Result<TcpListener, BindError> {
    listen_tcp(address).map_err(|error| BindError::new(Protocol::Tcp, address, error))
}

fn share_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = udp_socket(address)?;
    socket.set_reuse_port(true)?;
    prepare_udp(&socket, address)?;
    bind_socket(&socket, address)?;
    Ok(socket.into())
}

/// Sets what holds for a socket for datagrams, bound or not.
pub(super) fn prepare_udp(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    path_mtu::disregard(socket, address.is_ipv6())?;
    // Best effort: a smaller buffer loses queries in a burst and nothing else.
    let _ = socket.set_recv_buffer_size(UDP_RECEIVE_BUFFER);
    // RFC 1122 section 4.1.3.5: a wildcard socket must itself see to it that the reply comes from where the query
    // went. Clients drop replies from elsewhere.
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => setsockopt(socket, sockopt::Ipv4PacketInfo, &true)?,
        IpAddr::V6(ip) if ip.is_unspecified() => setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)?,
        _ => {}
    }
    Ok(())
}

fn udp_socket(address: SocketAddr) -> io::Result<Socket> {
    new_socket(address, Type::DGRAM)
}

fn listen_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = new_socket(address, Type::STREAM)?;
    socket.set_nonblocking(true)?;
    // Connections of the last run that linger in TIME_WAIT do not hold up the next start.
    socket.set_reuse_address(true)?;
    if bind_socket(&socket, address)? == Presence::Absent {
        warn!(
            "no interface of this machine has the address {} yet; what comes to it is answered once one has. \
             `ip address` shows those there are",
            address.ip()
        );
    }
    socket.listen(TCP_BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Whether an interface of this machine has an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    Present,
    Absent,
}

/// At boot, an address may come later than we do, from DHCP or because it is still being looked for who else has it. Then
/// it is bound all the same.
fn bind_socket(socket: &Socket, address: SocketAddr) -> io::Result<Presence> {
    match socket.bind(&address.into()) {
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
            bind_freely(socket, address).map_err(|_| error)?;
            Ok(Presence::Absent)
        }
        bound => bound.map(|()| Presence::Present),
    }
}

fn bind_freely(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    setsockopt(socket, sockopt::IpFreebind, &true)?;
    socket.bind(&address.into())
}

fn new_socket(address: SocketAddr, socket_type: Type) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), socket_type, None)?;
    if address.is_ipv6() {
        // So that 0.0.0.0 and [::] can have the same port.
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_whose_holder_would_share_it_is_reported_as_taken_and_not_shared() {
        let held = bind_udp("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        let error = bind_udp(held.local_address(), 2).unwrap_err();
        assert!(matches!(error, BindError::Taken { protocol: Protocol::Udp, .. }), "{error}");
    }

    #[tokio::test]
    async fn a_taken_tcp_port_is_reported() {
        let held = bind_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let error = bind_tcp(held.local_addr().unwrap()).unwrap_err();
        assert!(matches!(error, BindError::Taken { protocol: Protocol::Tcp, .. }), "{error}");
    }

    #[tokio::test]
    async fn an_address_that_no_interface_has_yet_is_bound_for_when_one_has_it() {
        for address in ["192.0.2.1:0", "[2001:db8::1]:0"] {
            match bind(address.parse().unwrap(), 2) {
                Ok((udp, tcp)) => assert_eq!(udp.local_address(), tcp.local_addr().unwrap()),
                Err(BindError::FamilyUnavailable { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[tokio::test]
    async fn port_zero_gives_udp_and_tcp_the_same_port() {
        for _ in 0..20 {
            let (udp, tcp) = bind("127.0.0.1:0".parse().unwrap(), 3).unwrap();
            assert_ne!(udp.local_address().port(), 0);
            assert_eq!(udp.local_address(), tcp.local_addr().unwrap());
            assert_eq!(udp.sockets.len(), 3);
        }
    }

    #[tokio::test]
    async fn all_of_ipv4_and_all_of_ipv6_can_have_the_same_port() {
        let (_udp, tcp) = bind("0.0.0.0:0".parse().unwrap(), 1).unwrap();
        let port = tcp.local_addr().unwrap().port();
        match bind(SocketAddr::new("::".parse().unwrap(), port), 1) {
            Ok(_) | Err(BindError::FamilyUnavailable { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }

    #[tokio::test]
    async fn replies_keep_their_size_whatever_icmp_says_of_the_way() {
        use rustix::net::sockopt::{
            Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, ip_mtu_discover, ipv6_mtu_discover,
        };
        for address in ["127.0.0.1:0", "0.0.0.0:0"] {
            for socket in &bind_udp(address.parse().unwrap(), 2).unwrap().sockets {
                assert_eq!(ip_mtu_discover(socket).unwrap(), Ipv4PathMtuDiscovery::OMIT, "{address}");
            }
        }
        for address in ["[::1]:0", "[::]:0"] {
            // A machine without IPv6 sends nothing there.
            let Ok(udp) = bind_udp(address.parse().unwrap(), 2) else { continue };
            for socket in &udp.sockets {
                assert_eq!(ipv6_mtu_discover(socket).unwrap(), Ipv6PathMtuDiscovery::OMIT, "{address}");
            }
        }
    }
}
