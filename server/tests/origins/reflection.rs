//! What a stranger's datagrams bring back, as their sender may be forged: bytes out over bytes in, for each kind of question.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use tokio::{net::UdpSocket, task::JoinSet, time::timeout};

use crate::{compliance::datagrams, world::stage};

/// Questions of each kind, after the one that is within its quota.
const FLOOD: usize = 60;

/// Bytes out over bytes in, without a cookie, once a client is over its quota.
const MOST: f64 = 1.5;

/// Nothing comes any more, on a machine that is busy.
const SILENCE: Duration = Duration::from_secs(3);

/// Bytes of all replies to these datagrams, which come from an address of their own.
async fn replies(from: Ipv4Addr, server: SocketAddr, request: &[u8], count: usize) -> usize {
    let socket = UdpSocket::bind((from, 0)).await.unwrap();
    socket.connect(server).await.unwrap();
    let mut buffer = vec![0; 65_535];
    let mut bytes = 0;
    for _ in 0..count {
        socket.send(request).await.unwrap();
        // Who sends faster than is read loses datagrams, which would look like silence.
        tokio::task::yield_now().await;
    }
    while let Ok(Ok(length)) = timeout(SILENCE, socket.recv(&mut buffer)).await {
        bytes += length;
    }
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_in_the_name_of_another_brings_him_at_most_one_and_a_half_times_as_much() {
    let stage = stage(|config| {
        (config.rate_limit.requests_per_minute, config.rate_limit.burst_size) = (1, 1);
    });
    let server = stage.server.address;
    let mut measured = JoinSet::new();
    for (at, (what, request)) in datagrams().into_iter().enumerate() {
        let from = Ipv4Addr::new(127, 0, 1, u8::try_from(at).expect("as many kinds as addresses"));
        measured.spawn(async move {
            let first = replies(from, server, &request, 1).await;
            let then = replies(from, server, &request, FLOOD).await;
            (at, what, request.len(), first, then)
        });
    }
    let mut rows = measured.join_all().await;
    rows.sort();
    println!("bytes in, out, out over in; out over in when over quota");
    let mut faults = Vec::new();
    for (_, what, size, first, then) in rows {
        let ratio = |out: usize, count: usize| out as f64 / (size * count) as f64;
        let flood = ratio(then, FLOOD);
        println!("{size:4} {first:4} {:5.2} {flood:5.2}  {what}", ratio(first, 1));
        if flood > MOST {
            faults.push(format!("{what}: {flood:.2}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
