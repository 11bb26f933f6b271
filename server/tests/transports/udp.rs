use std::{
    net::{Ipv6Addr, SocketAddr},
    time::Instant,
};

use pkdns::{
    base::fair_share::Limits,
    edge::transport::{BindError, UdpSockets, bind_udp, udp},
};
use tokio::{net::UdpSocket, runtime::Runtime, time::timeout};

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
    serve(&serving, sockets, udp::Waiting::new(Default::default()));
    for asked in own_ipv6_addresses() {
        let client = client_of("[::1]:0", SocketAddr::new(asked.into(), port)).await;
        for name in ["now", "slow.5"] {
            assert_eq!(ask(&client, 7, name).await, Some(7), "{asked} {name}");
        }
    }
    stop(serving).await;
}

/// It may be that of a service manager, or of another process that goes on reading.
#[tokio::test]
async fn a_stop_leaves_the_socket_to_others_who_share_it() {
    let sockets = bind_udp("127.0.0.1:0".parse().unwrap(), 1).unwrap();
    let shared = std::net::UdpSocket::from(sockets.duplicates().unwrap().remove(0));
    let serving = Serving::new();
    serve(&serving, sockets, udp::Waiting::new(Default::default()));
    stop(serving).await;
    shared.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let waited = shared.recv(&mut [0; 16]).map_err(|error| error.kind());
    assert_eq!(waited, Err(std::io::ErrorKind::WouldBlock), "nothing has come, and nobody is woken");
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
    serve(&serving, sockets, few(3, 2));
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
    serve(&serving, sockets, few(1, 1));
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

#[tokio::test]
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
async fn queries_that_pile_up_are_answered_each_from_the_address_that_it_asked() {
    let (serving, server) = start("0.0.0.0:0", 1);
    let mut clients = Vec::new();
    for number in 1..=7 {
        let asked = SocketAddr::new([127, 0, 0, number].into(), server.port());
        clients.push((client_of("127.0.0.1:0", asked).await, Vec::new()));
    }
    clients[0].0.send(&query(0, "hold.200")).await.unwrap();
    clients[0].1.push((0, "hold.200"));
    for id in 1..200 {
        let (client, expected) = &mut clients[usize::from(id % 7)];
        let name = match id % 10 {
            3 => "silent",
            5 => "panic",
            8 => "slow.1",
            9 => "big.1000",
            _ => "now",
        };
        let mut bytes = query(id, name);
        if id % 10 == 7 {
            bytes.resize(5000, 0);
        } else if !["silent", "panic"].contains(&name) {
            expected.push((id, name));
        }
        client.send(&bytes).await.unwrap();
    }
    for (client, expected) in clients {
        let mut replies = Vec::new();
        for _ in &expected {
            replies.push(receive_bytes(&client).await.expect("a reply to each"));
        }
        replies.sort_unstable();
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(id, name)| {
                let mut reply = reply_to(&Query::decode(&query(id, name)).unwrap());
                if name == "big.1000" {
                    reply.resize(1000, 0);
                }
                reply
            })
            .collect();
        assert_eq!(replies, expected);
    }
    stop(serving).await;
}

#[tokio::test]
async fn a_stop_answers_what_is_in_flight_and_what_lies_in_the_socket_buffer() {
    let (serving, server) = start("127.0.0.1:0", 1);
    let client = client_of("127.0.0.1:0", server).await;
    client.send(&query(0, "slow.100")).await.unwrap();
    assert_eq!(ask(&client, 1, "now").await, Some(1));
    // Nobody reads while this one is held, and no other task has a turn before the next await: the rest lies in the
    // buffer when the stop comes.
    client.try_send(&query(2, "hold.300")).unwrap();
    for id in 3..200 {
        client.try_send(&query(id, if id % 2 == 0 { "now" } else { "slow.1" })).unwrap();
    }
    stop(serving).await;
    let mut ids = Vec::new();
    for _ in 0..199 {
        ids.push(receive(&client).await.expect("a reply to each"));
    }
    ids.sort_unstable();
    assert_eq!(ids, [&[0], &(2..200).collect::<Vec<u16>>()[..]].concat());
}

/// As when the program fails elsewhere: nobody is left to say stop, and a socket that stays open without a reader
/// would keep its share of the queries from those who could answer.
#[test]
fn sockets_are_closed_when_their_runtime_ends_without_a_stop() {
    let runtime = Runtime::new().unwrap();
    let address = runtime.block_on(async { start("127.0.0.1:0", 2).1 });
    assert!(bind_udp(address, 1).is_err());
    drop(runtime);
    let started = Instant::now();
    while bind_udp(address, 1).is_err() {
        assert!(started.elapsed() < PATIENCE);
        thread::sleep(Duration::from_millis(10));
    }
}

fn start(address: &str, sockets: usize) -> (Serving, SocketAddr) {
    let sockets = bind_udp(address.parse().unwrap(), sockets).unwrap();
    let address = sockets.local_address();
    let serving = Serving::new();
    serve(&serving, sockets, udp::Waiting::new(Default::default()));
    (serving, address)
}

fn serve(serving: &Serving, sockets: UdpSockets, waiting: Arc<udp::Waiting>) {
    let (responder, stop) = (serving.responder.clone(), serving.stop.clone());
    drop(udp::serve(sockets, responder, waiting, stop, &serving.tasks));
}

/// Room for so many replies, in all and per client.
fn few(in_all: usize, per_client: usize) -> Arc<udp::Waiting> {
    let (per_network, per_lan) = (in_all, in_all);
    udp::Waiting::with_limits(Limits { in_all, reserved: 0, per_client, per_network, per_lan, least: 1 })
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
    receive_bytes(client).await.map(|reply| id_of(&reply))
}

async fn receive_bytes(client: &UdpSocket) -> Option<Vec<u8>> {
    let mut reply = [0; 4096];
    let length = timeout(PATIENCE, client.recv(&mut reply)).await.ok()?.ok()?;
    Some(reply[..length].to_vec())
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
