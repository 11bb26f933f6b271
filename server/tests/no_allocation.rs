//! A cached answer over UDP allocates nothing, from the datagram that comes to the one that goes.
//!
//! Alone in its file: the allocator counts what the whole process does.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail where it stands")]

#[allow(dead_code, reason = "shared with tests that use more of it")]
mod common;

use std::{
    alloc::System,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use common::{Running, Upstream, keypair, query, record, with_edns};
use hickory_proto::rr::{RData, RecordType, rdata::A};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const HITS: usize = 20_000;

/// What the rest of the process may allocate meanwhile: timers of the runtime, at most a few for each second.
const BACKGROUND: usize = 100;

/// Allocations of the whole process while a client gets so many hits in lockstep.
fn allocations(server: SocketAddr, request: &[u8]) -> usize {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
    socket.connect(server).unwrap();
    let mut buffer = [0; 1500];
    let mut ask = || {
        socket.send(request).unwrap();
        socket.recv(&mut buffer).unwrap();
    };
    // Into the cache, and whatever is made once.
    (0..100).for_each(|_| ask());
    let region = Region::new(ALLOCATOR);
    (0..HITS).for_each(|_| ask());
    let change = region.change();
    change.allocations + change.reallocations
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_hit_over_udp_allocates_nothing() {
    for listen in ["127.0.0.1:0", "0.0.0.0:0"] {
        let change = |config: &mut pkdns::config::Config| {
            config.listen = vec![listen.parse().unwrap()];
            // A quota that counts this client but never refuses it.
            config.rate_limit.requests_per_minute = 1_000_000_000;
            config.rate_limit.burst_size = 1_000_000_000;
        };
        let server = Running::start_with(Upstream::plain().await, change).await;
        let alice = keypair(1);
        let data = RData::A(A::new(192, 0, 2, 1));
        server.network.publish(&alice, 1, &[record(&alice, "", 3600, data)]);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, server.address.port()));
        for name in [alice.to_z32().as_str(), "www.example.com", "nothing.invalid"] {
            let request = with_edns(query(name, RecordType::A), false);
            let count = tokio::task::spawn_blocking(move || allocations(address, &request)).await.unwrap();
            assert!(count < BACKGROUND, "{count} allocations for {HITS} hits of {name} on {listen}");
        }
    }
}
