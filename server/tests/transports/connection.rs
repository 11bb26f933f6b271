//! One stream without a network under it, in time that only moves when nothing else does.

use std::{
    net::IpAddr,
    pin::Pin,
    sync::Mutex,
    task::{Context, Poll},
};

use pkdns::{
    edge::{
        held::Budget,
        transport::{
            Ending,
            tcp::{Connection, Connections, Limits},
        },
    },
    metrics::Refusals,
};
use tokio::{
    io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex},
    task::JoinHandle,
    time::{Instant, timeout},
};

use super::*;

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_closed_after_ten_seconds_and_each_query_starts_the_clock_again() {
    let (mut client, _serving) = start(Limits::default());
    sleep(Duration::from_secs(9)).await;
    client.write_all(&framed(1, "now")).await.unwrap();
    assert_eq!(read_id(&mut client).await, Some(1));
    let start = Instant::now();
    assert_eq!(read_id(&mut client).await, None);
    assert_eq!(start.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn silence_is_shorter_while_connections_are_scarce() {
    let connections = Connections::new(Limits { connections: 4, ..Limits::default() }, nobody());
    let held: Vec<_> =
        (0..4).map(|_| connections.admit(CLIENT, &CancellationToken::new()).unwrap()).collect();
    let (mut client, server) = duplex(1 << 16);
    serve(server, &connections);
    let start = Instant::now();
    assert_eq!(read_id(&mut client).await, None);
    assert_eq!(start.elapsed().as_secs(), 2);
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_trickles_in_is_cut_off_three_seconds_after_its_first_byte() {
    let (mut client, _serving) = start(Limits::default());
    client.write_all(&framed(1, "now")).await.unwrap();
    assert_eq!(read_id(&mut client).await, Some(1));
    sleep(Duration::from_secs(5)).await;
    let start = Instant::now();
    let trickle = async {
        for byte in framed(2, "now") {
            client.write_all(&[byte]).await.unwrap();
            if timeout(Duration::from_millis(700), client.read_u8()).await.is_ok() {
                return;
            }
        }
        panic!("the whole message was waited for");
    };
    trickle.await;
    assert_eq!(start.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_rest_of_a_message_behind_a_whole_one_has_its_own_three_seconds() {
    let (mut client, _serving) = start(Limits::default());
    let mut bytes = framed(1, "now");
    bytes.extend_from_slice(&framed(2, "now")[..5]);
    sleep(Duration::from_secs(8)).await;
    client.write_all(&bytes).await.unwrap();
    assert_eq!(read_id(&mut client).await, Some(1));
    sleep(Duration::from_millis(2900)).await;
    client.write_all(&framed(2, "now")[5..]).await.unwrap();
    assert_eq!(read_id(&mut client).await, Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_left_after_five_seconds() {
    let connections = Connections::new(Limits::default(), nobody());
    let (mut client, server) = duplex(64);
    let served = serve(server, &connections);
    let start = Instant::now();
    client.write_all(&framed(1, "big.4000")).await.unwrap();
    served.await.unwrap();
    assert_eq!(start.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_holds_no_more_than_its_share_and_takes_nothing_from_others() {
    // A third of what is free: two replies of 4002 bytes, of which the first leaves less free for the second.
    let unread = Budget::new(33_000, Refusals::default());
    let connections = Connections::new(Limits { unread: unread.clone(), ..Limits::default() }, nobody());
    let mut clients = Vec::new();
    let mut served = Vec::new();
    for _ in 0..3 {
        let (mut client, server) = duplex(64);
        served.push(serve(server, &connections));
        client.write_all(&framed(1, "big.4000")).await.unwrap();
        sleep(Duration::from_millis(1)).await;
        clients.push(client);
    }
    // Two replies fit; the third connection is closed.
    assert_eq!(read_id(&mut clients[2]).await, None);
    assert!(unread.held() >= 2 * 4002 && unread.held() <= 33_000 / 4, "{}", unread.held());
    let (mut other, server) = duplex(64);
    let other_serving = connection_of("192.0.2.2".parse().unwrap(), &connections);
    let (input, output) = tokio::io::split(server);
    let other_serving = tokio::spawn(other_serving.serve(input, output));
    other.write_all(&framed(1, "big.4000")).await.unwrap();
    assert_eq!(read_id(&mut other).await, Some(1));
    drop(other);
    other_serving.await.unwrap();
    assert_eq!(read_id(&mut clients[0]).await, Some(1));
    assert_eq!(read_id(&mut clients[1]).await, Some(1));
    clients[0].write_all(&framed(2, "now")).await.unwrap();
    assert_eq!(read_id(&mut clients[0]).await, Some(2));
    drop(clients);
    for serving in served {
        serving.await.unwrap();
    }
    assert_eq!(unread.held(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_message_without_length_or_with_too_much_of_it_closes() {
    for nonsense in [vec![0, 0], 4097_u16.to_be_bytes().to_vec(), b"GET / HTTP/1.1\r\n\r\n".to_vec()] {
        let (mut client, _serving) = start(Limits::default());
        let start = Instant::now();
        client.write_all(&[framed(1, "now"), framed(2, "slow.100"), nonsense].concat()).await.unwrap();
        assert_eq!(read_id(&mut client).await, Some(1));
        assert_eq!(read_id(&mut client).await, Some(2), "what was asked before is answered");
        assert_eq!(read_id(&mut client).await, None);
        assert!(start.elapsed() < Duration::from_secs(1));
    }
}

#[tokio::test(start_paused = true)]
async fn the_longest_message_that_is_taken_is_answered() {
    let (mut client, _serving) = start(Limits::default());
    let mut message = query(1, "now");
    message.resize(4096, 0);
    let framed = [&4096_u16.to_be_bytes()[..], &message].concat();
    for _ in 0..5 {
        client.write_all(&framed).await.unwrap();
    }
    for _ in 0..5 {
        assert_eq!(read_id(&mut client).await, Some(1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_with_its_fill_of_lookups_is_not_read_until_one_is_answered() {
    let (mut client, _serving) = start(Limits { lookups_per_connection: 2, ..Limits::default() });
    let start = Instant::now();
    let pipeline = [
        framed(1, "slow.1000"),
        framed(2, "slow.2000"),
        framed(3, "now"),
        framed(4, "slow.1000"),
        framed(5, "now"),
    ];
    client.write_all(&pipeline.concat()).await.unwrap();
    let mut replies = Vec::new();
    for _ in 0..5 {
        replies.push((read_id(&mut client).await.unwrap(), start.elapsed().as_millis() / 100));
    }
    // What is at hand before the third lookup does not wait; what comes behind it does, until the first is done.
    assert_eq!(replies[..3], [(3, 0), (1, 10), (5, 10)]);
    let mut last = replies[3..].to_vec();
    last.sort_unstable();
    assert_eq!(last, [(2, 20), (4, 20)]);
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_waits_to_be_read_still_fills_the_place_of_its_lookup() {
    let connections = Connections::new(Limits { lookups_per_connection: 1, ..Limits::default() }, nobody());
    let (mut client, server) = duplex(8);
    serve(server, &connections);
    let start = Instant::now();
    client.write_all(&[framed(1, "slow.1000"), framed(2, "slow.1000")].concat()).await.unwrap();
    sleep(Duration::from_millis(1500)).await;
    assert_eq!(read_id(&mut client).await, Some(1));
    assert_eq!(read_id(&mut client).await, Some(2));
    assert_eq!(start.elapsed().as_millis() / 100, 25, "the second began when the first was read");
}

#[tokio::test(start_paused = true)]
async fn lookups_are_capped_per_client_over_all_its_connections() {
    let connections = Connections::new(Limits { lookups_per_client: 2, ..Limits::default() }, nobody());
    let (mut first, server) = duplex(1 << 16);
    serve(server, &connections);
    let (mut second, server) = duplex(1 << 16);
    serve(server, &connections);
    first.write_all(&[framed(1, "slow.1000"), framed(2, "slow.1000")].concat()).await.unwrap();
    sleep(Duration::from_millis(10)).await;
    second.write_all(&[framed(3, "now"), framed(4, "slow.1000"), framed(5, "now")].concat()).await.unwrap();
    assert_eq!(read_id(&mut second).await, Some(3));
    assert_eq!(read_id(&mut second).await, None);
    assert_eq!((read_id(&mut first).await, read_id(&mut first).await), (Some(1), Some(2)));
    first.write_all(&framed(6, "slow.1")).await.unwrap();
    assert_eq!(read_id(&mut first).await, Some(6), "places come back");
}

#[tokio::test(start_paused = true)]
async fn a_connection_ends_with_its_last_allowed_query() {
    let (mut client, _serving) = start(Limits { queries_per_connection: 3, ..Limits::default() });
    let pipeline: Vec<u8> =
        (1..=5).flat_map(|id| framed(id, if id == 2 { "slow.100" } else { "now" })).collect();
    client.write_all(&pipeline).await.unwrap();
    for id in [1, 3, 2] {
        assert_eq!(read_id(&mut client).await, Some(id));
    }
    assert_eq!(read_id(&mut client).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_client_is_told_that_its_connection_ends_in_time_to_ask_the_rest_on_another() {
    let limits = Limits { queries_per_connection: 30, ..Limits::default() };
    let (mut client, _serving) = start(limits);
    for (first, last) in [(0, 20), (20, 30)] {
        let pipeline: Vec<u8> = (first..last).flat_map(|id| framed(id, "told")).collect();
        client.write_all(&pipeline).await.unwrap();
        for number in first..last {
            let expected = if number < 27 { 10 } else { 0 };
            assert_eq!(read_id(&mut client).await, Some(expected), "{number}");
        }
    }
    assert_eq!(read_id(&mut client).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_vanishes_takes_its_connection_with_it() {
    let connections = Connections::new(Limits::default(), nobody());
    let (mut client, server) = duplex(1 << 16);
    let served = serve(server, &connections);
    client.write_all(&framed(1, "slow.1000")).await.unwrap();
    drop(client);
    let start = Instant::now();
    served.await.unwrap();
    assert!(start.elapsed() <= Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn length_and_message_leave_in_one_write() {
    let (mut client, server) = duplex(1 << 16);
    let writes = Writes::default();
    let connection = connection(&Connections::new(Limits::default(), nobody()));
    client
        .write_all(&[framed(1, "slow.100"), framed(2, "now"), framed(3, "slow.200")].concat())
        .await
        .unwrap();
    client.shutdown().await.unwrap();
    connection.serve(server, writes.clone()).await;
    let writes = writes.0.lock().unwrap();
    let ids: Vec<_> = writes
        .iter()
        .map(|write| {
            assert_eq!(usize::from(id_of(write)), write.len() - 2, "one whole message");
            id_of(&write[2..])
        })
        .collect();
    assert_eq!(ids, [2, 1, 3]);
}

#[tokio::test(start_paused = true)]
async fn what_came_before_the_stop_is_answered() {
    for _ in 0..50 {
        let ending = Ending::from(CancellationToken::new());
        let (mut client, server) = duplex(1 << 16);
        client.write_all(&framed(1, "now")).await.unwrap();
        ending.stop().cancel();
        serve_until(ending, server, &Connections::new(Limits::default(), nobody()));
        assert_eq!(read_id(&mut client).await, Some(1));
        assert_eq!(read_id(&mut client).await, None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_leaves_goes_on_while_it_is_asked_and_ends_after_two_silent_seconds() {
    let ending = Ending::from(CancellationToken::new());
    let (mut client, server) = duplex(1 << 16);
    serve_until(ending.clone(), server, &Connections::new(Limits::default(), nobody()));
    sleep(Duration::from_millis(1)).await;
    ending.leave();
    for id in 0..10 {
        sleep(Duration::from_millis(1500)).await;
        client.write_all(&framed(id, "now")).await.unwrap();
        assert_eq!(read_id(&mut client).await, Some(id));
    }
    let start = Instant::now();
    assert_eq!(read_id(&mut client).await, None);
    assert_eq!(start.elapsed().as_secs(), 2);
}

fn start(limits: Limits) -> (DuplexStream, JoinHandle<()>) {
    let (client, server) = duplex(1 << 16);
    let serving = serve(server, &Connections::new(limits, nobody()));
    (client, serving)
}

fn serve(server: DuplexStream, connections: &Arc<Connections>) -> JoinHandle<()> {
    serve_until(CancellationToken::new().into(), server, connections)
}

fn serve_until(ending: Ending, server: DuplexStream, connections: &Arc<Connections>) -> JoinHandle<()> {
    let connection = connection_until(ending, CLIENT, connections);
    let (input, output) = tokio::io::split(server);
    tokio::spawn(connection.serve(input, output))
}

fn connection(connections: &Arc<Connections>) -> Arc<Connection<Scripted>> {
    connection_of(CLIENT, connections)
}

fn connection_of(client: IpAddr, connections: &Arc<Connections>) -> Arc<Connection<Scripted>> {
    connection_until(CancellationToken::new().into(), client, connections)
}

fn connection_until(
    ending: Ending,
    client: IpAddr,
    connections: &Arc<Connections>,
) -> Arc<Connection<Scripted>> {
    let serving = Serving::new();
    Connection::new(client, Transport::Tcp, serving.responder, connections.clone(), ending, serving.tasks)
}

fn framed(id: u16, name: &str) -> Vec<u8> {
    let message = query(id, name);
    [&(message.len() as u16).to_be_bytes()[..], &message].concat()
}

async fn read_id(client: &mut DuplexStream) -> Option<u16> {
    let mut reply = vec![0; usize::from(client.read_u16().await.ok()?)];
    client.read_exact(&mut reply).await.ok()?;
    Some(id_of(&reply))
}

/// Remembers what each call to write was given.
#[derive(Clone, Default)]
struct Writes(Arc<Mutex<Vec<Vec<u8>>>>);

impl AsyncWrite for Writes {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.0.lock().unwrap().push(bytes.to_vec());
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
