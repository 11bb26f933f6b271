//! Why an address cannot be listened on, and what helps.

use std::{fmt, io, net::SocketAddr};

use nix::errno::Errno;

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

    fn text(protocol: Protocol, address: &str, errno: Errno) -> String {
        BindError::new(protocol, address.parse().unwrap(), errno.into()).to_string()
    }
}
