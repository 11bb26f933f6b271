use std::{collections::BTreeSet, net::UdpSocket as StdUdpSocket, time::Duration};

use tokio::time::timeout;

use super::*;

#[tokio::test]
async fn more_than_a_batch_arrives_whole_and_says_where_from() {
    for (mut near, mut far) in pairs() {
        let (from, to) = (near.local_address(), far.local_address());
        let mut outbox = Outbox::default();
        for number in 0..300_u32 {
            // Of every length up to the longest, so that one datagram's bytes cannot pass for another's.
            let length = usize::try_from(number).unwrap() * 6;
            outbox.push(to, |out| {
                out.extend(number.to_be_bytes());
                out.resize(out.len() + length, number as u8);
            });
        }
        assert_eq!(near.send(&mut outbox), 300);
        assert!(outbox.is_empty());
        let mut numbers = BTreeSet::new();
        receive_until(&mut far, 300, |datagram, sender| {
            let (number, rest) = datagram.split_first_chunk().unwrap();
            let number = u32::from_be_bytes(*number);
            assert_eq!(rest, vec![number as u8; number as usize * 6]);
            assert_eq!(sender, from);
            numbers.insert(number);
        })
        .await;
        assert_eq!(numbers, (0..300).collect());
        assert_eq!((near.unsent(), far.dropped_by_kernel()), (0, 0));
    }
}

#[tokio::test]
async fn packets_keep_their_size_whatever_icmp_says_of_the_way() {
    use rustix::net::sockopt::{
        Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, ip_mtu_discover, ipv6_mtu_discover,
    };
    for (near, _) in pairs() {
        match near.local_address() {
            SocketAddr::V4(_) => {
                assert_eq!(ip_mtu_discover(&near.socket).unwrap(), Ipv4PathMtuDiscovery::OMIT);
            }
            SocketAddr::V6(_) => {
                assert_eq!(ipv6_mtu_discover(&near.socket).unwrap(), Ipv6PathMtuDiscovery::OMIT);
            }
        }
    }
}

#[tokio::test]
async fn destinations_that_cannot_be_reached_do_not_stop_the_others() {
    for (mut near, mut far) in pairs() {
        let to = far.local_address();
        let refused = StdUdpSocket::bind((to.ip(), 0)).unwrap().local_addr().unwrap();
        let no_port = SocketAddr::new(to.ip(), 0);
        // Not permitted without SO_BROADCAST, and of the wrong family.
        let unreachable = ["255.255.255.255:1", "[ff0e::1]:1"].map(|address| address.parse().unwrap());
        let mut outbox = Outbox::default();
        for number in 0..100_u8 {
            for to in [refused, to, no_port, unreachable[0]] {
                outbox.push(to, |out| out.push(number));
            }
            // Where a route to the multicast address exists, it is reached.
            if to.is_ipv4() {
                outbox.push(unreachable[1], |out| out.push(number));
            }
        }
        let wanted = outbox.len();
        let sent = near.send(&mut outbox);
        assert_eq!(sent, 200, "to the refused port and to the open one");
        assert_eq!(near.unsent(), (wanted - sent) as u64);
        let mut numbers = BTreeSet::new();
        receive_until(&mut far, 100, |datagram, _| {
            numbers.insert(datagram[0]);
        })
        .await;
        assert_eq!(numbers, (0..100).collect());
        // What ICMP brought back harms neither sending nor receiving.
        let mut outbox = Outbox::default();
        outbox.push(near.local_address(), |out| out.extend(b"still here"));
        assert_eq!(far.send(&mut outbox), 1);
        receive_until(&mut near, 1, |datagram, _| assert_eq!(datagram, b"still here")).await;
    }
}

#[tokio::test]
async fn a_datagram_that_does_not_fit_is_dropped_and_an_empty_one_is_handed_out() {
    for (mut near, mut far) in pairs() {
        let mut outbox = Outbox::default();
        for length in [DATAGRAM + 1, DATAGRAM, 9000, 0, 1] {
            outbox.push(far.local_address(), |out| out.extend(vec![7; length]));
        }
        assert_eq!(near.send(&mut outbox), 5);
        let mut lengths = Vec::new();
        receive_until(&mut far, 3, |datagram, _| lengths.push(datagram.len())).await;
        assert_eq!(lengths, [DATAGRAM, 0, 1]);
    }
}

#[tokio::test]
async fn what_the_kernel_drops_is_counted() {
    for address in loopback() {
        let mut socket = Socket::bind_with_buffers(address, 4096).unwrap();
        let sender = StdUdpSocket::bind(address).unwrap();
        for round in 1..=2_u64 {
            for _ in 0..500 {
                sender.send_to(&[0; 100], socket.local_address()).unwrap();
            }
            let mut received = drain(&mut socket).await;
            // The count comes with the datagram after the gap.
            sender.send_to(&[1; 100], socket.local_address()).unwrap();
            received += drain(&mut socket).await;
            assert!(received < 501, "nothing was dropped");
            let dropped = socket.dropped_by_kernel();
            assert!(dropped > 400 * (round - 1), "{dropped}");
            assert!(received as u64 + dropped >= 501, "{received} received, {dropped} dropped");
            assert!(dropped < 501 * round, "{dropped}");
        }
    }
}

#[test]
fn the_count_of_drops_goes_on_where_the_kernels_counter_begins_again() {
    let mut overflow = Overflow::default();
    for counter in [u32::MAX - 1, u32::MAX - 1, 3] {
        overflow.update(counter);
    }
    assert_eq!(overflow.total, (1 << 32) + 3);
}

#[tokio::test]
async fn waiting_ends_when_something_arrives_and_begins_again_when_it_was_taken() {
    for (mut near, mut far) in pairs() {
        assert_eq!(far.receive(|_, _| panic!("nothing was sent")).unwrap(), 0);
        for _ in 0..3 {
            timeout(Duration::from_millis(20), far.readable()).await.unwrap_err();
            let mut outbox = Outbox::default();
            outbox.push(far.local_address(), |out| out.push(1));
            let (ready, sent) = tokio::join!(far.readable(), async { near.send(&mut outbox) });
            ready.unwrap();
            assert_eq!(sent, 1);
            assert_eq!(far.receive(|_, _| {}).unwrap(), 1);
        }
    }
}

/// Loopback never fills a send buffer, so the kernel is played here.
#[test]
fn a_full_send_buffer_ends_the_sending_and_a_refusal_costs_one_datagram() {
    let mut tried = Vec::new();
    let mut room = 150;
    let sent = send_batches(&mut (0..200).collect::<Vec<_>>(), |batch| {
        tried.push((batch[0], batch.len()));
        match batch[0] {
            _ if room == 0 => Err(Refusal::AGAIN),
            10 => Err(Refusal::INVAL),
            first => {
                let until_refused = if first < 10 { 10 - first } else { batch.len() };
                let taken = until_refused.min(room);
                room -= taken;
                Ok(taken)
            }
        }
    });
    assert_eq!(sent, 150);
    assert_eq!(tried, [(0, 64), (10, 64), (11, 64), (75, 64), (139, 61), (151, 49)]);
}

#[tokio::test]
async fn buffers_are_as_large_as_the_kernel_lets_them_be() {
    let socket = Socket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let most = std::fs::read_to_string("/proc/sys/net/core/rmem_max").unwrap();
    let most: usize = most.trim().parse().unwrap();
    assert_eq!(socket.receive_buffer_size().unwrap(), 2 * most.min(BUFFER));
}

#[tokio::test]
async fn ipv6_leaves_the_same_port_of_ipv4_free() {
    let Ok(socket) = Socket::bind("[::]:0".parse().unwrap()) else { return };
    let port = socket.local_address().port();
    Socket::bind(SocketAddr::new("0.0.0.0".parse().unwrap(), port)).unwrap();
}

/// Loopback addresses of the families that this host has.
fn loopback() -> Vec<SocketAddr> {
    let addresses: [SocketAddr; 2] = ["127.0.0.1:0", "[::1]:0"].map(|address| address.parse().unwrap());
    addresses.into_iter().filter(|address| address.is_ipv4() || Socket::bind(*address).is_ok()).collect()
}

fn pairs() -> Vec<(Socket, Socket)> {
    let bind = |address| Socket::bind(address).unwrap();
    loopback().into_iter().map(|address| (bind(address), bind(address))).collect()
}

async fn receive_until(socket: &mut Socket, count: usize, mut each: impl FnMut(&[u8], SocketAddr)) {
    let mut received = 0;
    while received < count {
        timeout(Duration::from_secs(5), socket.readable()).await.expect("something arrives").unwrap();
        received += socket.receive(&mut each).unwrap();
    }
    assert_eq!(received, count);
}

/// Takes everything that has arrived.
async fn drain(socket: &mut Socket) -> usize {
    let mut received = 0;
    while timeout(Duration::from_millis(100), socket.readable()).await.is_ok() {
        received += socket.receive(|_, _| {}).unwrap();
    }
    received
}
