//! Whether this user may listen where pkdns is to listen.

use std::{
    fs,
    io::{self, ErrorKind},
    net::{SocketAddr, TcpListener, UdpSocket},
};

use super::finding::Finding;

const CHECK: &str = "rights";

/// The first port that needs no right, on Linux.
const FIRST_FREE_PORT: &str = "/proc/sys/net/ipv4/ip_unprivileged_port_start";

/// Binds the address over UDP and TCP for a moment.
pub(super) fn observe(address: SocketAddr) -> io::Result<()> {
    UdpSocket::bind(address).and_then(|_udp| TcpListener::bind(address).map(drop))
}

/// The first port that needs no right, if the system says.
pub(super) fn first_free_port() -> Option<u16> {
    fs::read_to_string(FIRST_FREE_PORT).ok()?.trim().parse().ok()
}

/// `is_served`: pkdns answers there already.
pub(super) fn judge(
    listen: SocketAddr,
    attempt: &io::Result<()>,
    first_free: Option<u16>,
    is_served: bool,
) -> Finding {
    let port = listen.port();
    let error = match attempt {
        _ if is_served => return Finding::ok(CHECK, format!("pkdns listens on port {port} already")),
        Ok(()) => return Finding::ok(CHECK, format!("this user may listen on {listen}")),
        Err(error) => error,
    };
    match error.kind() {
        // Rights are looked at before that, so that they are there.
        ErrorKind::AddrInUse => {
            Finding::ok(CHECK, format!("this user may listen on {listen}, which is in use just now"))
        }
        ErrorKind::PermissionDenied => {
            let first =
                first_free.map_or_else(String::new, |first| format!(" (ports from {first} are free)"));
            let seen = format!("this user may not listen on port {port}{first}");
            let advice = format!(
                "run sudo setcap cap_net_bind_service=+ep \"$(command -v pkdns)\", which this check cannot see, or \
                 sudo sysctl net.ipv4.ip_unprivileged_port_start={port}, or use contrib/pkdns.service"
            );
            Finding::warning(CHECK, seen, advice)
        }
        ErrorKind::AddrNotAvailable => {
            let seen = format!("this machine has no address {}", listen.ip());
            Finding::failed(CHECK, seen, "write an address of this machine into listen in pkdns.toml")
        }
        _ => {
            let seen = format!("cannot listen on {listen}: {error}");
            Finding::failed(CHECK, seen, "write another address into listen in pkdns.toml")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Verdict;

    #[test]
    fn each_attempt_has_its_verdict_and_a_server_that_runs_has_the_right() {
        let listen = "0.0.0.0:53".parse().unwrap();
        for (attempt, is_served, verdict, part) in [
            (Ok(()), false, Verdict::Ok, "may listen on 0.0.0.0:53"),
            (Err(ErrorKind::AddrInUse), false, Verdict::Ok, "in use just now"),
            (Err(ErrorKind::PermissionDenied), false, Verdict::Warning, "setcap cap_net_bind_service=+ep"),
            (Err(ErrorKind::PermissionDenied), false, Verdict::Warning, "ports from 1024 are free"),
            (Err(ErrorKind::PermissionDenied), true, Verdict::Ok, "already"),
            (Err(ErrorKind::AddrNotAvailable), false, Verdict::Failed, "no address 0.0.0.0"),
            (Err(ErrorKind::OutOfMemory), false, Verdict::Failed, "out of memory"),
        ] {
            judge(listen, &attempt.map_err(io::Error::from), Some(1024), is_served).assert(verdict, &[part]);
        }
    }

    #[test]
    fn a_port_is_found_free_in_use_or_nowhere() {
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
        let kind = |address: SocketAddr| observe(address).map_err(|error| error.kind());
        assert_eq!(kind(taken.local_addr().unwrap()), Err(ErrorKind::AddrInUse));
        assert_eq!(kind("127.0.0.1:0".parse().unwrap()), Ok(()));
        assert_eq!(kind("192.0.2.1:0".parse().unwrap()), Err(ErrorKind::AddrNotAvailable));
    }
}
