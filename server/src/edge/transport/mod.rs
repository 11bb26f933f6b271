//! UDP, TCP and TLS: bytes to the service and back.
//!
//! The server binds every address first ([`bind`]), says which, and then hands each to [`udp::serve`], [`tcp::serve`]
//! or [`tcp::serve_tls`]. They only start tasks on the tracker; cancelling the token makes them stop reading, answer what
//! they have taken in, and end. An [`Ending`] in place of the token lets connections go on for a while.

mod accept;
mod bind;
mod bind_error;
pub mod descriptors;
mod ending;
mod entrance;
#[cfg(feature = "tls")]
mod handshake;
mod inherited;
#[cfg(not(feature = "tls"))]
mod no_tls;
mod proxy_protocol;
#[cfg(feature = "tls")]
mod shared_tls;
mod slots;
mod strangers;
pub mod tcp;
mod turnover;
pub mod udp;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

pub use accept::accept;
pub use bind::{UdpSockets, bind, bind_tcp, bind_udp};
pub use bind_error::{BindError, Protocol};
pub use ending::Ending;
pub use entrance::{Admission, Caps, Entrance, Guest, PLACES_PER_EXTRA, Standing};
#[cfg(feature = "tls")]
pub use handshake::{count_handshake, encrypt, shake_hands};
pub use inherited::{Heirloom, Inherited, Purpose};
#[cfg(not(feature = "tls"))]
pub use no_tls::{SharedTls, encrypt};
#[cfg(feature = "tls")]
pub use shared_tls::SharedTls;
pub use slots::{Full, Slot, Slots};
pub use strangers::STRANGER_TIME;
pub use turnover::Watched;

use crate::service::{AtOnce, Client, Respond};

/// Longest request taken, in bytes, over UDP and streams alike. A question with EDNS, cookie and padding stays far
/// below.
pub const MAX_REQUEST_SIZE: usize = 4096;

/// Protocols of HTTPS, by preference (ALPN).
pub const HTTP_PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Bytes that may wait in the TLS of a connection, where they are not counted as held any more. Holds a whole record.
pub const TLS_BUFFER: usize = 17 << 10;

/// A responder that panics costs one request, not the listener; the panic hook has then logged it. What `out` holds
/// after [`AtOnce::Silence`] is not a reply.
pub fn at_once<R: Respond>(responder: &R, request: &[u8], client: Client, out: &mut Vec<u8>) -> AtOnce {
    catch_unwind(AssertUnwindSafe(|| responder.at_once(request, client, out))).unwrap_or(AtOnce::Silence)
}

/// The same for the request of a client that [`Respond::admit`] has let pass.
pub fn at_once_admitted<R: Respond>(
    responder: &R,
    request: &[u8],
    client: Client,
    out: &mut Vec<u8>,
) -> AtOnce {
    let respond = || responder.at_once_admitted(request, client, out);
    catch_unwind(AssertUnwindSafe(respond)).unwrap_or(AtOnce::Silence)
}

/// How long to leave a socket alone that keeps failing, as when descriptors have run out: trying again at once would
/// spin a core and not help.
#[derive(Debug, Default)]
struct BackOff {
    failures: u32,
}

impl BackOff {
    const FIRST: Duration = Duration::from_millis(10);
    const LONGEST: Duration = Duration::from_secs(1);

    fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// 10 ms, then twice as long each time, up to 1 s.
    fn failed(&mut self) -> Duration {
        let wait = Self::FIRST.saturating_mul(2_u32.saturating_pow(self.failures)).min(Self::LONGEST);
        self.failures = self.failures.saturating_add(1);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_off_doubles_to_one_second_and_starts_over_after_a_success() {
        let mut back_off = BackOff::default();
        let waits: Vec<_> = (0..10).map(|_| back_off.failed().as_millis()).collect();
        assert_eq!(waits, [10, 20, 40, 80, 160, 320, 640, 1000, 1000, 1000]);
        for _ in 0..100 {
            back_off.failed();
        }
        assert_eq!(back_off.failed(), BackOff::LONGEST);
        back_off.succeeded();
        assert_eq!(back_off.failed(), BackOff::FIRST);
    }
}
