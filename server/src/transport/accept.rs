//! Connections as they come in.

use std::net::IpAddr;

use tokio::{
    net::{TcpListener, TcpStream},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::BackOff;

/// Calls `each` with every connection and the address of its client, until `stop` is cancelled.
pub async fn accept(
    listener: TcpListener,
    stop: &CancellationToken,
    mut each: impl FnMut(TcpStream, IpAddr),
) {
    let mut back_off = BackOff::default();
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, peer)) => {
                back_off.succeeded();
                each(stream, peer.ip().to_canonical());
            }
            Err(error) => {
                let wait = back_off.failed();
                if wait == BackOff::FIRST {
                    tracing::warn!(%error, "cannot accept connections, trying again");
                }
                stop.run_until_cancelled(sleep(wait)).await;
            }
        }
    }
}
