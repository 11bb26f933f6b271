//! Connections as they come in.

use std::{io, net::IpAddr, os::fd::AsRawFd};

use tokio::{
    net::{TcpListener, TcpStream},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::{REST, descriptors};

/// Calls `each` with every connection and the address of its client, until `stop` is cancelled.
pub async fn accept(
    listener: TcpListener,
    stop: &CancellationToken,
    mut each: impl FnMut(TcpStream, IpAddr),
) {
    let mut failures = 0_u32;
    let most_in_use = descriptors::most_in_use(descriptors::limit());
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        match accepted.and_then(|(stream, peer)| spare(stream, most_in_use).map(|stream| (stream, peer))) {
            Ok((stream, peer)) => {
                failures = 0;
                each(stream, peer.ip().to_canonical());
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                if failures == 1 {
                    tracing::warn!(%error, "cannot accept connections, trying again");
                }
                stop.run_until_cancelled(sleep(REST.after(failures))).await;
            }
        }
    }
}

/// `stream`, unless it took one of the last descriptors, which are for questions to others: a connection without them
/// could not be answered. The number of a descriptor is the lowest that is free, so that all below it are in use.
fn spare(stream: TcpStream, most_in_use: usize) -> io::Result<TcpStream> {
    match usize::try_from(stream.as_raw_fd()) {
        Ok(number) if number >= most_in_use => {
            Err(io::Error::other("too many files are open; raise their limit (LimitNOFILE=, ulimit -n)"))
        }
        _ => Ok(stream),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_that_takes_one_of_the_last_descriptors_is_not_kept() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connect = async || TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (kept, closed) = (connect().await, connect().await);
        let number = |stream: &TcpStream| usize::try_from(stream.as_raw_fd()).unwrap();
        let most_in_use = number(&closed);
        assert!(spare(closed, most_in_use).is_err());
        let most_in_use = number(&kept) + 1;
        assert!(spare(kept, most_in_use).is_ok());
    }
}
