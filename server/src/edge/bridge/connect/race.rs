//! Addresses of a site that are tried one after the other, without much waiting for one that is silent (RFC 8305).

use std::{io, net::SocketAddr, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{net::TcpStream, time::sleep};

/// Before the next address is tried as well (RFC 8305 section 5).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

/// What came of it.
pub(super) struct Raced {
    pub(super) connected: Option<(SocketAddr, TcpStream)>,
    /// What failed before that.
    pub(super) failures: Vec<(SocketAddr, io::Error)>,
}

/// Connects to the first of `addresses` that takes the connection, which need not be the first in their order. The deadline is
/// the caller's.
pub(super) async fn connect(addresses: &[SocketAddr]) -> Raced {
    let mut waiting = addresses.iter().copied();
    let mut attempts = FuturesUnordered::new();
    let mut failures = Vec::new();
    let attempt = |address| async move { (address, TcpStream::connect(address).await) };
    attempts.extend(waiting.next().map(attempt));
    loop {
        tokio::select! {
            attempted = attempts.next() => match attempted {
                Some((address, Ok(stream))) => return Raced { connected: Some((address, stream)), failures },
                Some((address, Err(error))) => {
                    failures.push((address, error));
                    attempts.extend(waiting.next().map(attempt));
                }
                None => return Raced { connected: None, failures },
            },
            () = sleep(NEXT_ADDRESS), if waiting.len() > 0 => attempts.extend(waiting.next().map(attempt)),
        }
    }
}
