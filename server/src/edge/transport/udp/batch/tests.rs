use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use nix::sys::socket::{setsockopt, sockopt};

use super::*;

#[test]
fn datagrams_are_received_and_answered_in_batches() {
    let socket = bind("127.0.0.1:0");
    let clients = [(); 3].map(|()| client("127.0.0.1:0", socket.local_addr().unwrap()));
    let mut batch = Batch::new(false);
    for round in 0..3 {
        for (number, client) in (0_u8..).zip(&clients) {
            client.send(&vec![number; 1 + 10 * round]).unwrap();
        }
        assert_eq!(batch.receive(&socket, Wait::ForOne).unwrap(), 3);
        batch.answer(|request, peer, reply| {
            assert_eq!(peer.address, clients[usize::from(request[0])].local_addr().unwrap());
            reply.extend([request, b"!"].concat());
            true
        });
        batch.send(&socket);
        for (number, client) in (0_u8..).zip(&clients) {
            assert_eq!(receive(client), [&vec![number; 1 + 10 * round], &b"!"[..]].concat());
        }
    }
}

#[test]
fn more_than_one_batch_waits_for_the_next_call() {
    let socket = bind("127.0.0.1:0");
    let client = client("127.0.0.1:0", socket.local_addr().unwrap());
    let mut batch = Batch::new(false);
    assert_eq!(batch.receive(&socket, Wait::ForNone).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    for number in 0..=BATCH {
        client.send(&[number as u8]).unwrap();
    }
    assert_eq!(echo(&mut batch, &socket), BATCH);
    assert_eq!(echo(&mut batch, &socket), 1);
    for number in 0..=BATCH {
        assert_eq!(receive(&client), [number as u8]);
    }
}

#[test]
fn what_is_no_reply_is_not_sent_and_leaves_no_trace_in_the_next() {
    let socket = bind("127.0.0.1:0");
    let client = client("127.0.0.1:0", socket.local_addr().unwrap());
    for request in [&b"one"[..], b"two", b"", &[0; MAX_REQUEST_SIZE + 1], &[3; MAX_REQUEST_SIZE]] {
        client.send(request).unwrap();
    }
    let mut batch = Batch::new(false);
    assert_eq!(batch.receive(&socket, Wait::ForOne).unwrap(), 5);
    let mut asked = Vec::new();
    batch.answer(|request, _, reply| {
        asked.push(request.len());
        reply.extend_from_slice(request);
        request != b"one"
    });
    batch.send(&socket);
    assert_eq!(asked, [3, 3, 0, MAX_REQUEST_SIZE]);
    assert_eq!(receive(&client), b"two");
    assert_eq!(receive(&client), [3; MAX_REQUEST_SIZE]);
}

#[test]
fn a_wildcard_socket_replies_from_the_ipv4_addresses_that_were_asked() {
    let socket = bind("0.0.0.0:0");
    setsockopt(&socket, sockopt::Ipv4PacketInfo, &true).unwrap();
    let port = socket.local_addr().unwrap().port();
    let mut batch = Batch::new(true);
    // A connected socket takes datagrams from nowhere else.
    let clients = [1, 2, 3].map(|number| client("127.0.0.1:0", (Ipv4Addr::new(127, 0, 0, number), port)));
    for _ in 0..3 {
        for client in &clients {
            client.send(b"x").unwrap();
        }
        assert_eq!(echo(&mut batch, &socket), 3);
        for client in &clients {
            assert_eq!(receive(client), b"x");
        }
    }
}

#[test]
fn a_wildcard_socket_replies_from_the_ipv6_address_that_was_asked() {
    // Not every machine has IPv6.
    let Ok(socket) = UdpSocket::bind("[::]:0") else { return };
    setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true).unwrap();
    let client = client("[::1]:0", (Ipv6Addr::LOCALHOST, socket.local_addr().unwrap().port()));
    let mut batch = Batch::new(true);
    for _ in 0..3 {
        client.send(b"x").unwrap();
        assert_eq!(batch.receive(&socket, Wait::ForOne).unwrap(), 1);
        batch.answer(|request, peer, reply| {
            assert_eq!(peer.address, client.local_addr().unwrap());
            reply.extend_from_slice(request);
            true
        });
        batch.send(&socket);
        assert_eq!(receive(&client), b"x");
    }
}

#[test]
fn a_wildcard_socket_that_is_not_told_what_was_asked_does_not_answer() {
    let socket = bind("0.0.0.0:0");
    let client = client("127.0.0.1:0", (Ipv4Addr::LOCALHOST, socket.local_addr().unwrap().port()));
    let mut batch = Batch::new(true);
    let mut answers = |request: &[u8]| {
        client.send(request).unwrap();
        assert_eq!(batch.receive(&socket, Wait::ForOne).unwrap(), 1);
        requests(&mut batch)
    };
    let nothing: [&[u8]; 0] = [];
    assert_eq!(answers(b"without"), nothing);
    setsockopt(&socket, sockopt::Ipv4PacketInfo, &true).unwrap();
    assert_eq!(answers(b"with"), [b"with"]);
    setsockopt(&socket, sockopt::Ipv4PacketInfo, &false).unwrap();
    assert_eq!(answers(b"without, after one with"), nothing);
    setsockopt(&socket, sockopt::Ipv4PacketInfo, &true).unwrap();
    // Comes second and finds no room.
    setsockopt(&socket, sockopt::Ipv4RecvTtl, &true).unwrap();
    assert_eq!(answers(b"cut behind it"), nothing);
    // Comes first and leaves no room.
    setsockopt(&socket, sockopt::ReceiveTimestamp, &true).unwrap();
    assert_eq!(answers(b"cut"), nothing);
}

#[test]
fn a_reply_that_cannot_be_sent_does_not_hold_up_those_behind_it() {
    let socket = bind("127.0.0.1:0");
    let clients = [(); 6].map(|()| client("127.0.0.1:0", socket.local_addr().unwrap()));
    for (number, client) in (0_u8..).zip(&clients) {
        client.send(&[number]).unwrap();
    }
    let mut batch = Batch::new(false);
    assert_eq!(batch.receive(&socket, Wait::ForOne).unwrap(), 6);
    batch.answer(|request, _, reply| {
        reply.extend_from_slice(request);
        true
    });
    for unreachable in [0, 2, 3, 5] {
        batch.origins[unreachable].address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into();
    }
    batch.send(&socket);
    for number in [1, 4] {
        assert_eq!(receive(&clients[number]), [number as u8]);
    }
}

#[test]
fn a_socket_that_is_shut_down_hands_out_what_has_arrived_and_does_not_wait() {
    let socket = bind("127.0.0.1:0");
    let client = client("127.0.0.1:0", socket.local_addr().unwrap());
    let mut batch = Batch::new(false);
    client.send(b"before").unwrap();
    assert_eq!((batch.receive(&socket, Wait::ForOne).unwrap(), requests(&mut batch).len()), (1, 1));
    client.send(b"waiting").unwrap();
    let _ = socket2::SockRef::from(&socket).shutdown(std::net::Shutdown::Read);
    assert_eq!(batch.receive(&socket, Wait::ForNone).unwrap(), 1);
    assert_eq!(requests(&mut batch), [b"waiting"]);
    let _ = batch.receive(&socket, Wait::ForOne);
    assert_eq!(requests(&mut batch).len(), 0, "no datagram, and not the last one once more");
    assert_eq!(batch.receive(&socket, Wait::ForNone).unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

fn echo(batch: &mut Batch, socket: &UdpSocket) -> usize {
    let received = batch.receive(socket, Wait::ForOne).unwrap();
    batch.answer(|request, _, reply| {
        reply.extend_from_slice(request);
        true
    });
    batch.send(socket);
    received
}

fn requests(batch: &mut Batch) -> Vec<Vec<u8>> {
    let mut requests = Vec::new();
    batch.answer(|request, _, _| {
        requests.push(request.to_vec());
        false
    });
    requests
}

fn bind(address: &str) -> UdpSocket {
    UdpSocket::bind(address).unwrap()
}

fn client(from: &str, to: impl std::net::ToSocketAddrs) -> UdpSocket {
    let client = UdpSocket::bind(from).unwrap();
    client.connect(to).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    client
}

fn receive(client: &UdpSocket) -> Vec<u8> {
    let mut reply = [0; 8192];
    let length = client.recv(&mut reply).unwrap();
    reply[..length].to_vec()
}
