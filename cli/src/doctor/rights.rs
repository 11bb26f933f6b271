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

/// What came of binding the address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Attempt {
    Bound,
    /// Rights are looked at before that, so that they are there.
    InUse,
    Denied,
    NoSuchAddress,
    Failed(String),
}

/// Binds the address over UDP and TCP for a moment.
pub(super) fn observe(address: SocketAddr) -> Attempt {
    let attempt = UdpSocket::bind(address).and_then(|_udp| TcpListener::bind(address).map(|_tcp| ()));
    match attempt {
        Ok(()) => Attempt::Bound,
        Err(error) => match error.kind() {
            ErrorKind::AddrInUse => Attempt::InUse,
            ErrorKind::PermissionDenied => Attempt::Denied,
            ErrorKind::AddrNotAvailable => Attempt::NoSuchAddress,
            _ => Attempt::Failed(error.to_string()),
        },
    }
}

/// The first port that needs no right, if the system says.
pub(super) fn first_free_port() -> Option<u16> {
    let text: io::Result<String> = fs::read_to_string(FIRST_FREE_PORT);
    text.ok()?.trim().parse().ok()
}

/// `is_served`: pkdns answers there already.
pub(super) fn judge(
    listen: SocketAddr,
    attempt: &Attempt,
    first_free: Option<u16>,
    is_served: bool,
) -> Finding {
    let port = listen.port();
    match attempt {
        _ if is_served => Finding::ok(CHECK, format!("pkdns listens on port {port} already")),
        Attempt::Bound => Finding::ok(CHECK, format!("this user may listen on {listen}")),
        Attempt::InUse => {
            Finding::ok(CHECK, format!("this user may listen on {listen}, which is in use just now"))
        }
        Attempt::Denied => {
            let first =
                first_free.map_or_else(String::new, |first| format!(" (ports from {first} are free)"));
            let seen = format!("this user may not listen on port {port}{first}");
            let advice = format!(
                "run sudo setcap cap_net_bind_service=+ep \"$(command -v pkdns)\", which this check cannot see, or \
                 sudo sysctl net.ipv4.ip_unprivileged_port_start={port}, or use contrib/pkdns.service"
            );
            Finding::warning(CHECK, seen, advice)
        }
        Attempt::NoSuchAddress => {
            let seen = format!("this machine has no address {}", listen.ip());
            Finding::failed(CHECK, seen, "write an address of this machine into listen in pkdns.toml")
        }
        Attempt::Failed(why) => {
            let seen = format!("cannot listen on {listen}: {why}");
            Finding::failed(CHECK, seen, "write another address into listen in pkdns.toml")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Verdict;

    fn judged(attempt: &Attempt, is_served: bool) -> (Verdict, String) {
        let finding = judge("0.0.0.0:53".parse().unwrap(), attempt, Some(1024), is_served);
        (finding.verdict, format!("{} {}", finding.seen, finding.advice.unwrap_or_default()))
    }

    #[test]
    fn each_attempt_has_its_verdict() {
        for (attempt, verdict, part) in [
            (Attempt::Bound, Verdict::Ok, "may listen on 0.0.0.0:53"),
            (Attempt::InUse, Verdict::Ok, "in use just now"),
            (Attempt::Denied, Verdict::Warning, "setcap cap_net_bind_service=+ep"),
            (Attempt::Denied, Verdict::Warning, "ports from 1024 are free"),
            (Attempt::NoSuchAddress, Verdict::Failed, "no address 0.0.0.0"),
            (Attempt::Failed("odd".to_string()), Verdict::Failed, "odd"),
        ] {
            let (judged, text) = judged(&attempt, false);
            assert!(judged == verdict && text.contains(part), "{attempt:?}: {text}");
        }
    }

    #[test]
    fn a_server_that_runs_has_the_right_whatever_this_user_has() {
        assert_eq!(judged(&Attempt::Denied, true).0, Verdict::Ok);
    }

    #[test]
    fn a_port_is_found_free_in_use_or_nowhere() {
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(observe(taken.local_addr().unwrap()), Attempt::InUse);
        assert_eq!(observe("127.0.0.1:0".parse().unwrap()), Attempt::Bound);
        assert_eq!(observe("192.0.2.1:0".parse().unwrap()), Attempt::NoSuchAddress);
    }
}
