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
pub mod proxy_protocol;
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

use crate::{
    base::backoff::Backoff,
    service::{AtOnce, Client, Respond},
};

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
const REST: Backoff = Backoff { first: Duration::from_millis(10), longest: Duration::from_secs(1) };
