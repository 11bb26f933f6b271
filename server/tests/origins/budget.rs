//! What strangers can have looked up: floods of made-up keys cost nobody else anything.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::RecordType,
};
use pkdns::metrics::Reason;
use pkdns_dht::{NetworkError, signed_packet::Keypair, testing::FakeNetwork};
use pkdns_testing::server::{address, keypair, query, record, signed, with_edns};
use tokio::{
    net::UdpSocket,
    time::{advance, sleep, timeout},
};

use super::{OWN, STRANGER, Served, ask_service, extended_error, iterative, name_in_origin, octets, service};

/// Lookups that an origin may begin in a minute for keys that nobody knows, if anybody may have asked; and at once.
const UNSEEN_PER_MINUTE: usize = 750;
const UNSEEN_AT_ONCE: usize = 125;

/// Many keys.
fn made_up(number: u32) -> Keypair {
    let mut secret = [9; 32];
    secret[..4].copy_from_slice(&number.to_be_bytes());
    Keypair::from_secret_key(&secret)
}

/// The question for a key of its own, in the origin.
fn question(number: u32) -> Vec<u8> {
    iterative(&name_in_origin("", &made_up(number)), RecordType::A)
}

/// Asks for one key after the other from many addresses, and reads no reply, until it is told to stop. Returns how many.
async fn flood(served: &Served, first: u32, is_over: &AtomicBool) -> u32 {
    let mut sockets = Vec::new();
    for host in 20..60 {
        let socket = UdpSocket::bind((Ipv4Addr::new(127, 0, 7, host), 0)).await.unwrap();
        socket.connect(served.address).await.unwrap();
        sockets.push(socket);
    }
    let mut number = first;
    while !is_over.load(Ordering::SeqCst) {
        for socket in &sockets {
            socket.send(&question(number)).await.unwrap();
            number += 1;
        }
        sleep(Duration::from_millis(2)).await;
    }
    number - first
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_made_up_keys_costs_known_keys_and_those_who_are_served_nothing() {
    let served = Served::start();
    let known = keypair(1);
    served.publish(&known, 1, &[record(&known, "", 300, address(1))]);
    let fresh: Vec<Keypair> = (0..40).map(|number| made_up(1_000_000 + number)).collect();
    for key in &fresh {
        served.publish(key, 1, &[record(key, "", 300, address(2))]);
    }
    let ask_known = iterative(&name_in_origin("", &known), RecordType::A);
    assert_eq!(octets(&served.ask(STRANGER, &ask_known).await), [1]);
    let (started, is_over) = (Instant::now(), AtomicBool::new(false));
    let others = async {
        for (number, key) in fresh.iter().enumerate() {
            // The known key itself and a name that is not in the cache yet, from strangers; a fresh key for who is served.
            assert_eq!(octets(&served.ask(STRANGER, &ask_known).await), [1]);
            let other = name_in_origin(&format!("n{number}."), &known);
            let other = served.ask(STRANGER, &iterative(&other, RecordType::A)).await;
            assert_eq!(other.metadata.response_code, ResponseCode::NXDomain);
            let name = if number % 2 == 0 { key.to_z32() } else { name_in_origin("", key) };
            assert_eq!(octets(&served.ask(OWN, &query(&name, RecordType::A)).await), [2], "{number}");
        }
        is_over.store(true, Ordering::SeqCst);
    };
    let (sent, ()) = tokio::join!(flood(&served, 0, &is_over), others);
    let most = UNSEEN_AT_ONCE + UNSEEN_PER_MINUTE * (started.elapsed().as_secs() as usize + 1) / 60;
    let lookups = served.network.lookups() - 1 - fresh.len();
    assert!(lookups <= most, "{lookups} lookups, and {most} may be");
    assert!(lookups >= UNSEEN_AT_ONCE / 2 && sent as usize > 2 * most, "{sent} sent, {lookups} lookups");
    assert!(served.metrics.refusals.count(Reason::OriginBudget) > 0);
}

#[tokio::test]
async fn who_gets_no_lookup_over_udp_is_told_to_show_where_it_is_and_gets_one_then() {
    let served = Served::start();
    let request = (0..).map(question);
    let mut cut = None;
    for (number, request) in request.enumerate().take(UNSEEN_AT_ONCE * 2) {
        let reply = served.send_from(STRANGER, &request).await;
        assert!(reply.len() <= request.len() + 100, "{number}");
        if Message::from_vec(&reply).unwrap().metadata.truncation {
            assert!(reply.len() <= request.len());
            cut = Some(number as u32);
            break;
        }
    }
    let cut = cut.expect("more lookups than may be");
    let owner = made_up(cut);
    served.publish(&owner, 1, &[record(&owner, "", 300, address(3))]);
    let request = question(cut);
    assert_eq!(octets(&served.ask_tcp(STRANGER, &request).await), [3]);
    // Once it is known, for everybody.
    assert_eq!(octets(&served.ask(STRANGER, &request).await), [3]);
    // Over TCP there is an end to it as well, which is no lame server's.
    let mut codes = Vec::new();
    for number in 10_000..10_000 + 2 * UNSEEN_AT_ONCE as u32 {
        let reply = served.ask_tcp(STRANGER, &with_edns(question(number), false)).await;
        codes.push((reply.metadata.response_code, extended_error(&reply)));
    }
    assert!(codes.contains(&(ResponseCode::NXDomain, None)), "{codes:?}");
    assert_eq!(codes.last(), Some(&(ResponseCode::ServFail, Some(0))));
}

/// Knows the key of seed 1.
fn network() -> Arc<FakeNetwork> {
    let known = keypair(1);
    Arc::new(FakeNetwork::holding([signed(&known, 1, &[record(&known, "", 300, address(1))])]))
}

#[tokio::test(start_paused = true)]
async fn what_is_held_is_served_past_its_time_in_both_views_and_nothing_fails_that_is_held() {
    for client in [STRANGER, OWN] {
        let network = network();
        let service = service(&network);
        let request = with_edns(iterative(&name_in_origin("", &keypair(1)), RecordType::A), false);
        assert_eq!(octets(&ask_service(&service, client, &request).await), [1]);
        network.delay(Duration::from_secs(4));
        network.fail(NetworkError::Unreachable);
        for hour in 0..20 {
            advance(Duration::from_secs(3600)).await;
            let reply = ask_service(&service, client, &request).await;
            let outcome = (octets(&reply), reply.metadata.authoritative, extended_error(&reply));
            assert_eq!(outcome, (vec![1], true, Some(3)), "{client} after {hour} h");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn keys_that_nobody_knows_are_denied_for_as_long_as_the_network_was_sure_without_another_look() {
    let network = network();
    let service = service(&network);
    for _ in 0..10 {
        for labels in ["", "www.", "a.b."] {
            let name = name_in_origin(labels, &made_up(1));
            let reply = ask_service(&service, STRANGER, &iterative(&name, RecordType::AAAA)).await;
            assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain);
        }
        advance(Duration::from_secs(1)).await;
    }
    assert_eq!(network.lookups(), 1);
}

#[tokio::test]
async fn over_its_quota_a_stranger_is_sent_no_more_than_it_sent() {
    let served = Served::start_with(|config| {
        (config.rate_limit.requests_per_minute, config.rate_limit.burst_size) = (1, 1);
    });
    let socket = UdpSocket::bind((STRANGER, 0)).await.unwrap();
    socket.connect(served.address).await.unwrap();
    let name = iterative(&name_in_origin("", &keypair(1)), RecordType::A);
    let cookie_only = {
        let mut request = name.clone();
        request[11] = 1;
        request
            .extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 12, 0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]);
        request
    };
    let no_question = [&[0x12, 0x34, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1][..], &cookie_only[name.len()..]].concat();
    let mut notify = name.clone();
    notify[2] = 4 << 3;
    let requests = [name.clone(), with_edns(name, true), cookie_only, no_question, notify];
    socket.send(&requests[0]).await.unwrap();
    let mut reply = [0; 4096];
    socket.recv(&mut reply).await.unwrap();
    for request in requests {
        let mut replies = 0;
        for _ in 0..9 {
            socket.send(&request).await.unwrap();
        }
        while let Ok(size) = timeout(Duration::from_millis(300), socket.recv(&mut reply)).await {
            replies += 1;
            let size = size.unwrap();
            assert!(size <= request.len(), "{size} for {} of {request:?}", request.len());
        }
        assert!(replies <= 3, "{replies}");
    }
}
