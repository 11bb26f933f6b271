//! Ends nodes for good: nobody comes to live where they were.

use std::{
    net::UdpSocket,
    time::{Duration, Instant},
};

use tokio::time::sleep;

const LIMIT: Duration = Duration::from_secs(20);

/// Waits until the nodes at these addresses have gone, and holds their ports: the nodes of another test would answer in their
/// place.
pub async fn silence(addresses: &[String]) -> Vec<UdpSocket> {
    let start = Instant::now();
    let mut sockets = Vec::new();
    for address in addresses {
        sockets.push(loop {
            match UdpSocket::bind(address) {
                Ok(socket) => break socket,
                Err(error) => assert!(start.elapsed() < LIMIT, "{address}: {error}"),
            }
            sleep(Duration::from_millis(20)).await;
        });
    }
    sockets
}
