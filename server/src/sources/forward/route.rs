//! Whether this machine has a way to an address. The system knows that without anything being sent.

use std::{
    io,
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use rustix::io::Errno;
use socket2::{Domain, Socket, Type};
use tokio::time::Instant;

/// Networks come and go: what was found is believed for so long. To look again costs some microseconds.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Whether this machine has a way to `address`. One with IPv4 alone has none to IPv6, and the other way round. Sends
/// nothing; where the system does not say, there is one.
pub fn has_route(address: SocketAddr) -> bool {
    // Connecting a socket for datagrams is a look at the routes.
    let connected = Socket::new(Domain::for_address(address), Type::DGRAM, None)
        .and_then(|socket| socket.connect(&address.into()));
    connected.err().is_none_or(|error| !is_for_want_of_a_route(&error))
}

fn is_for_want_of_a_route(error: &io::Error) -> bool {
    // The last two: no address of this family, and no such family at all.
    let wants = [Errno::NETUNREACH, Errno::HOSTUNREACH, Errno::ADDRNOTAVAIL, Errno::AFNOSUPPORT];
    error.raw_os_error().is_some_and(|number| wants.contains(&Errno::from_raw_os_error(number)))
}

/// The way to one server, as it was when it was last looked for.
#[derive(Debug)]
pub(super) struct Route {
    address: SocketAddr,
    seen: Mutex<Option<(Instant, bool)>>,
}

impl Route {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address, seen: Mutex::new(None) }
    }

    /// Whether there is one, or was a moment ago.
    pub(super) fn is_there(&self, now: Instant) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match *seen {
            Some((at, is_there)) if now.saturating_duration_since(at) < LOOK_EVERY => is_there,
            _ => {
                let is_there = has_route(self.address);
                *seen = Some((now, is_there));
                is_there
            }
        }
    }
}

#[cfg(test)]
impl Route {
    pub(super) fn pretend_to_have_none(&self, now: Instant) {
        *self.seen.lock().expect("no panic while held") = Some((now, false));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_a_route() {
        assert!(has_route(([127, 0, 0, 1], 53).into()));
    }

    #[test]
    fn what_a_process_lacks_is_no_want_of_a_route() {
        for (error, expected) in [
            (Errno::NETUNREACH, true),
            (Errno::ADDRNOTAVAIL, true),
            (Errno::AFNOSUPPORT, true),
            (Errno::MFILE, false),
            (Errno::ACCESS, false),
        ] {
            let error = io::Error::from_raw_os_error(error.raw_os_error());
            assert_eq!(is_for_want_of_a_route(&error), expected, "{error}");
        }
    }

    #[test]
    fn what_was_seen_is_believed_for_a_second() {
        let (route, now) = (Route::new(([127, 0, 0, 1], 53).into()), Instant::now());
        route.pretend_to_have_none(now);
        assert!(!route.is_there(now + LOOK_EVERY - Duration::from_millis(1)));
        assert!(route.is_there(now + LOOK_EVERY));
    }
}
