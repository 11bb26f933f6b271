//! Listening sockets, and errors that say what helps.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::OwnedFd,
};

use nix::{
    errno::Errno,
    sys::socket::{setsockopt, sockopt},
};
use socket2::{Domain, Socket, Type};
use tokio::net::TcpListener;
use tracing::warn;

use crate::path_mtu;

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

/// How messages reach an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Datagrams.
    Udp,
    /// Streams, with or without TLS.
    Tcp,
}

/// Why an address cannot be listened on, and what helps.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// EACCES on a port below 1024.
    #[error(
        "cannot listen on {protocol} {address}: ports below 1024 need a right that this process does not have. \
         Any one of these helps:\n  \
         sudo setcap cap_net_bind_service=+ep {program}\n  \
         sudo sysctl net.ipv4.ip_unprivileged_port_start={port}\n  \
         pkdns --listen 127.0.0.1:5300",
        port = address.port(),
        program = program()
    )]
    NotPermitted {
        /// What was to be bound.
        protocol: Protocol,
        /// What was to be bound.
        address: SocketAddr,
    },
    /// EADDRINUSE.
    #[error(
        "cannot listen on {protocol} {address}: another socket holds this port. This shows whose:\n  {}{}",
        show_holder(*protocol, *address),
        free_port_53(*address)
    )]
    Taken {
        /// What was to be bound.
        protocol: Protocol,
        /// What was to be bound.
        address: SocketAddr,
    },
    /// EADDRNOTAVAIL.
    #[error(
        "cannot listen on {protocol} {address}: no interface of this machine has that address. \
         `ip address` shows those it has; {} stands for all of them",
        all_addresses(*address)
    )]
    NoSuchAddress {
        /// What was to be bound.
        protocol: Protocol,
        /// What was to be bound.
        address: SocketAddr,
    },
    /// EAFNOSUPPORT: this machine has no IPv6 (or no IPv4). A server that also listens on the other goes on.
    #[error(
        "cannot listen on {protocol} {address}: this machine does not speak {}. \
         Take the address out of `listen`",
        if address.is_ipv6() { "IPv6" } else { "IPv4" }
    )]
    FamilyUnavailable {
        /// What was to be bound.
        protocol: Protocol,
        /// What was to be bound.
        address: SocketAddr,
    },
    /// Anything else.
    #[error("cannot listen on {protocol} {address}: {source}")]
    Other {
        /// What was to be bound.
        protocol: Protocol,
        /// What was to be bound.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
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
/// it is bound all the same, where the system can do that.
fn bind_socket(socket: &Socket, address: SocketAddr) -> io::Result<Presence> {
    match socket.bind(&address.into()) {
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
            bind_freely(socket, address).map_err(|_| error)?;
            Ok(Presence::Absent)
        }
        bound => bound.map(|()| Presence::Present),
    }
}

#[cfg(target_os = "linux")]
fn bind_freely(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    setsockopt(socket, sockopt::IpFreebind, &true)?;
    socket.bind(&address.into())
}

#[cfg(not(target_os = "linux"))]
fn bind_freely(_: &Socket, _: SocketAddr) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

fn new_socket(address: SocketAddr, socket_type: Type) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), socket_type, None)?;
    if address.is_ipv6() {
        // So that 0.0.0.0 and [::] can have the same port.
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

impl BindError {
    pub(super) fn new(protocol: Protocol, address: SocketAddr, source: io::Error) -> Self {
        match source.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EACCES) if address.port() < 1024 => Self::NotPermitted { protocol, address },
            Some(Errno::EADDRINUSE) => Self::Taken { protocol, address },
            Some(Errno::EADDRNOTAVAIL) => Self::NoSuchAddress { protocol, address },
            Some(Errno::EAFNOSUPPORT) => Self::FamilyUnavailable { protocol, address },
            _ => Self::Other { protocol, address, source },
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        })
    }
}

fn program() -> String {
    std::env::current_exe().map_or_else(|_| "$(command -v pkdns)".into(), |path| path.display().to_string())
}

fn show_holder(protocol: Protocol, address: SocketAddr) -> String {
    let flags = match protocol {
        Protocol::Udp => "-lunp",
        Protocol::Tcp => "-ltnp",
    };
    format!("sudo ss {flags} 'sport = :{}'", address.port())
}

/// systemd-resolved answers on 127.0.0.53:53 of most desktops, which keeps anything else from all of port 53.
fn free_port_53(address: SocketAddr) -> &'static str {
    if address.port() != 53 {
        return "";
    }
    "\nIf it is systemd-resolved, put the line `DNSStubListener=no` under [Resolve] in \
     /etc/systemd/resolved.conf and run\n  \
     sudo systemctl restart systemd-resolved\n\
     or choose another port:\n  \
     pkdns --listen 127.0.0.1:5300"
}

fn all_addresses(address: SocketAddr) -> String {
    let all = if address.is_ipv6() { "[::]" } else { "0.0.0.0" };
    format!("{all}:{}", address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_needs_rights_names_the_commands_that_help() {
        let text = text(Protocol::Udp, "0.0.0.0:53", Errno::EACCES);
        assert!(text.contains("udp 0.0.0.0:53"), "{text}");
        let program = std::env::current_exe().unwrap();
        assert!(text.contains(&format!("setcap cap_net_bind_service=+ep {}", program.display())), "{text}");
        assert!(text.contains("sysctl net.ipv4.ip_unprivileged_port_start=53"), "{text}");
        assert!(text.contains("--listen 127.0.0.1:5300"), "{text}");
    }

    #[test]
    fn a_refusal_that_is_not_about_low_ports_does_not_speak_of_them() {
        let text = text(Protocol::Udp, "0.0.0.0:5300", Errno::EACCES);
        assert!(!text.contains("setcap"), "{text}");
    }

    #[test]
    fn a_taken_port_names_the_command_that_shows_the_holder() {
        let udp = text(Protocol::Udp, "127.0.0.53:53", Errno::EADDRINUSE);
        assert!(udp.contains("ss -lunp 'sport = :53'"), "{udp}");
        assert!(udp.contains("DNSStubListener=no"), "{udp}");
        let tcp = text(Protocol::Tcp, "127.0.0.1:5300", Errno::EADDRINUSE);
        assert!(tcp.contains("ss -ltnp 'sport = :5300'"), "{tcp}");
        assert!(!tcp.contains("systemd-resolved"), "{tcp}");
    }

    #[test]
    fn an_address_of_another_machine_names_the_command_that_shows_the_own_ones() {
        let text = text(Protocol::Udp, "192.0.2.1:53", Errno::EADDRNOTAVAIL);
        assert!(text.contains("`ip address`") && text.contains("0.0.0.0:53"), "{text}");
    }

    #[test]
    fn a_machine_without_ipv6_is_told_apart() {
        let error = io::Error::from(Errno::EAFNOSUPPORT);
        let error = BindError::new(Protocol::Udp, "[::]:53".parse().unwrap(), error);
        assert!(matches!(error, BindError::FamilyUnavailable { .. }));
        assert!(error.to_string().contains("IPv6"), "{error}");
    }

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

    #[cfg(target_os = "linux")]
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

    #[cfg(target_os = "linux")]
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

    fn text(protocol: Protocol, address: &str, errno: Errno) -> String {
        BindError::new(protocol, address.parse().unwrap(), errno.into()).to_string()
    }
}
