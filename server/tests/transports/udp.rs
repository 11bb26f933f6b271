use std::net::{Ipv6Addr, SocketAddr};

use pkdns::transport::{BindError, Slots, bind_udp, udp};
use tokio::{net::UdpSocket, time::timeout};

use super::*;

#[tokio::test]
async fn a_wildcard_socket_replies_from_the_ipv4_address_that_was_asked() {
    let (serving, server) = start("0.0.0.0:0", 2);
    for asked in ["127.0.0.1", "127.0.0.2", "127.1.2.3"] {
        // A connected socket takes datagrams from nowhere else.
        let client = client_of("127.0.0.1:0", SocketAddr::new(asked.parse().unwrap(), server.port())).await;
        for name in ["now", "slow.5"] {
            assert_eq!(ask(&client, 7, name).await, Some(7), "{asked} {name}");
        }
    }
    stop(serving).await;
}

#[tokio::test]
async fn a_wildcard_socket_replies_from_the_ipv6_address_that_was_asked() {
    let sockets = match bind_udp("[::]:0".parse().unwrap(), 2) {
        Err(BindError::FamilyUnavailable { .. }) => return,
        sockets => sockets.unwrap(),
    };
    let port = sockets.local_address().port();
    let serving = Serving::new();
    serve(&serving, sockets, Slots::new(100, 100));
    for asked in own_ipv6_addresses() {
        let client = client_of("[::1]:0", SocketAddr::new(asked.into(), port)).await;
        for name in ["now", "slow.5"] {
            assert_eq!(ask(&client, 7, name).await, Some(7), "{asked} {name}");
        }
    }
    stop(serving).await;
}

#[tokio::test]
async fn a_socket_of_one_address_replies() {
    for address in ["127.0.0.1:0", "127.0.0.9:0"] {
        let (serving, server) = start(address, 1);
        let client = client_of("127.0.0.1:0", server).await;
        assert_eq!(ask(&client, 1, "now").await, Some(1));
        assert_eq!(ask(&client, 2, "slow.5").await, Some(2));
        stop(serving).await;
    }
}

#[tokio::test]
async fn a_slow_lookup_does_not_delay_the_next_query() {
    let (serving, server) = start("127.0.0.1:0", 1);
    let client = client_of("127.0.0.1:0", server).await;
    client.send(&query(1, "slow.300")).await.unwrap();
    client.send(&query(2, "now")).await.unwrap();
    assert_eq!(receive(&client).await, Some(2));
    assert_eq!(receive(&client).await, Some(1));
    stop(serving).await;
}

#[tokio::test]
async fn one_client_cannot_collect_more_slow_replies_than_its_cap() {
    let sockets = bind_udp("127.0.0.1:0".parse().unwrap(), 1).unwrap();
    let server = sockets.local_address();
    let serving = Serving::new();
    serve(&serving, sockets, Slots::new(3, 2));
    let greedy = client_of("127.0.0.1:0", server).await;
    for id in 0..20 {
        greedy.send(&query(id, "slow.400")).await.unwrap();
    }
    // A second client has the one place that is left, a third none.
    let (second, third) = (client_of("127.0.0.2:0", server).await, client_of("127.0.0.3:0", server).await);
    second.send(&query(100, "slow.400")).await.unwrap();
    assert_eq!(ask(&second, 101, "now").await, Some(101));
    third.send(&query(200, "slow.1")).await.unwrap();
    assert_eq!(ask(&third, 201, "now").await, Some(201));

    assert_eq!(receive(&second).await, Some(100));
    assert_eq!((receive(&greedy).await, receive(&greedy).await), (Some(0), Some(1)));
    assert!(nothing_comes(&greedy).await && nothing_comes(&third).await);
    assert_eq!(ask(&greedy, 300, "slow.1").await, Some(300), "places come back");
    stop(serving).await;
}

#[tokio::test]
async fn a_responder_that_panics_costs_one_query_and_not_the_listener() {
    let sockets = bind_udp("127.0.0.1:0".parse().unwrap(), 1).unwrap();
    let server = sockets.local_address();
    let serving = Serving::new();
    serve(&serving, sockets, Slots::new(1, 1));
    let client = client_of("127.0.0.1:0", server).await;
    for name in ["panic", "slowpanic"] {
        client.send(&query(1, name)).await.unwrap();
        assert!(nothing_comes(&client).await, "{name}");
        assert_eq!(ask(&client, 2, "now").await, Some(2), "{name}");
        assert_eq!(ask(&client, 3, "slow.1").await, Some(3), "{name}");
    }
    stop(serving).await;
}

#[tokio::test]
async fn a_datagram_longer_than_any_query_gets_silence_and_harms_nobody() {
    let (serving, server) = start("127.0.0.1:0", 1);
    let client = client_of("127.0.0.1:0", server).await;
    let mut padded = query(1, "now");
    padded.resize(4097, 0);
    client.send(&padded).await.unwrap();
    client.send(&[]).await.unwrap();
    assert!(nothing_comes(&client).await);
    padded.truncate(4096);
    client.send(&padded).await.unwrap();
    assert_eq!(receive(&client).await, Some(1));
    stop(serving).await;
}

#[tokio::test]
async fn clients_that_are_gone_before_their_reply_harm_nobody() {
    let (serving, server) = start("127.0.0.1:0", 1);
    for id in 0..50 {
        let client = client_of("127.0.0.1:0", server).await;
        client.send(&query(id, "slow.1")).await.unwrap();
    }
    let client = client_of("127.0.0.1:0", server).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(ask(&client, 1, "now").await, Some(1));
    stop(serving).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clients_at_once_all_get_their_own_replies() {
    let (serving, server) = start("0.0.0.0:0", 4);
    let server = SocketAddr::new("127.0.0.1".parse().unwrap(), server.port());
    let clients: Vec<_> = (0..100)
        .map(|number: u16| {
            tokio::spawn(async move {
                let client = client_of("127.0.0.1:0", server).await;
                for turn in 0..20 {
                    let id = number * 100 + turn;
                    let name = if turn % 4 == 0 { "slow.1" } else { "now" };
                    assert_eq!(ask(&client, id, name).await, Some(id));
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    stop(serving).await;
}

#[tokio::test]
async fn a_stop_answers_what_is_in_flight_and_what_lies_in_the_socket_buffer() {
    let (serving, server) = start("127.0.0.1:0", 1);
    let client = client_of("127.0.0.1:0", server).await;
    client.send(&query(0, "slow.100")).await.unwrap();
    assert_eq!(ask(&client, 1, "now").await, Some(1));
    // Nothing else runs on this thread until the next await: these lie in the buffer when the stop comes.
    for id in 2..50 {
        client.try_send(&query(id, if id % 2 == 0 { "now" } else { "slow.1" })).unwrap();
    }
    stop(serving).await;
    let mut ids = Vec::new();
    for _ in 0..49 {
        ids.push(receive(&client).await.expect("a reply to each"));
    }
    ids.sort_unstable();
    assert_eq!(ids, [&[0], &(2..50).collect::<Vec<u16>>()[..]].concat());
}

fn start(address: &str, sockets: usize) -> (Serving, SocketAddr) {
    let sockets = bind_udp(address.parse().unwrap(), sockets).unwrap();
    let address = sockets.local_address();
    let serving = Serving::new();
    serve(&serving, sockets, Slots::new(udp::MAX_WAITING, udp::MAX_WAITING_PER_CLIENT));
    (serving, address)
}

fn serve(serving: &Serving, sockets: pkdns::transport::UdpSockets, waiting: Arc<Slots>) {
    udp::serve(sockets, serving.responder.clone(), waiting, serving.stop.clone(), &serving.tasks);
}

async fn stop(serving: Serving) {
    serving.stop.cancel();
    serving.ended().await;
}

async fn client_of(from: &str, server: SocketAddr) -> UdpSocket {
    let client = UdpSocket::bind(from).await.unwrap();
    client.connect(server).await.unwrap();
    client
}

async fn ask(client: &UdpSocket, id: u16, name: &str) -> Option<u16> {
    client.send(&query(id, name)).await.unwrap();
    receive(client).await
}

async fn receive(client: &UdpSocket) -> Option<u16> {
    let mut reply = [0; 4096];
    let length = timeout(PATIENCE, client.recv(&mut reply)).await.ok()?.ok()?;
    Some(id_of(&reply[..length]))
}

async fn nothing_comes(client: &UdpSocket) -> bool {
    timeout(GRACE, client.recv(&mut [0; 4096])).await.is_err()
}

/// Addresses of this machine that need no interface beside them. Packets to them never leave it.
fn own_ipv6_addresses() -> Vec<Ipv6Addr> {
    let table = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let addresses = table.lines().filter_map(|line| u128::from_str_radix(line.get(..32)?, 16).ok());
    addresses.map(Ipv6Addr::from_bits).filter(|address| !address.is_unicast_link_local()).collect()
}
