mod stale;

use std::net::{Ipv4Addr, UdpSocket};

use futures_util::future::join_all;
use hickory_proto::rr::{RData, Record, rdata::A};
use pkdns_dht::{NetworkError, testing::FakeNetwork};
use tokio::{task::yield_now, time::advance};

use super::*;
use crate::{
    base::message::Answer,
    sources::{forward::TlsClient, packets::Packets},
};

const GREEDY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 1, 1));
const MODEST: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 2, 1));

/// A service whose only upstream hears every question and says nothing.
fn service() -> (Service, UdpSocket) {
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut config = Config { fallback_dns: vec![silent.local_addr().unwrap().into()], ..Config::default() };
    config.rate_limit.requests_per_minute = 0;
    let tls = TlsClient::new(None).unwrap();
    let forwarder = Arc::new(Forwarder::new(config.fallback_dns.clone(), &tls));
    let packets = Packets::new(&config.cache, Arc::new(FakeNetwork::failing(NetworkError::Unreachable)));
    let resolver = Resolver::new(&config, packets, forwarder.clone());
    (Service::new(&config, resolver, forwarder, &Metrics::default()), silent)
}

fn client(address: IpAddr) -> Client {
    let reply = Reply::Stream { idle_timeout: None, is_encrypted: false };
    Client { address, transport: Transport::Tcp, reply, now: Instant::now() }
}

fn request(number: usize) -> Vec<u8> {
    let label = format!("name{number}");
    let mut request = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, label.len() as u8];
    request.extend_from_slice(label.as_bytes());
    request.extend_from_slice(&[7, b'e', b'x', b'a', b'm', b'p', b'l', b'e', 0, 0, 1, 0, 1]);
    request
}

/// Keeps an answer for a minute.
fn keep(service: &Service, number: usize) {
    let query = Query::decode(&request(number)).unwrap();
    let mut answer = Answer::empty(ResponseCode::NoError);
    let data = RData::A(A(Ipv4Addr::new(192, 0, 2, 1)));
    answer.answers = vec![Record::from_rdata(query.question.name(), 60, data)];
    let encoded = &answer.encode(&query.question);
    let lifetime = Duration::from_secs(60);
    let refresh_in = Some(lifetime * 9 / 10);
    let new = NewAnswer { encoded, authority: Authority::Upstream, lifetime, refresh_in, revisions: &[] };
    service.0.load().answers.insert(&query, &new, Instant::now());
}

/// Asks for an answer that is kept.
fn hit(service: &Service, address: IpAddr, number: usize) {
    let mut out = Vec::new();
    assert!(matches!(service.at_once(&request(number), client(address), &mut out), AtOnce::Replied));
    assert_eq!(out.get(3).map(|code| code & 15), Some(0));
}

fn refreshing(service: &Service) -> usize {
    service.0.load().unattended.in_use()
}

#[tokio::test(start_paused = true)]
async fn refreshes_of_one_client_leave_places_to_others_and_are_not_lost() {
    let (service, _upstream) = service();
    (0..3000).for_each(|number| keep(&service, number));
    advance(Duration::from_secs(55)).await;
    for number in 0..2000 {
        hit(&service, GREEDY, number);
    }
    let of_greedy = refreshing(&service);
    assert!((1..=64).contains(&of_greedy), "{of_greedy}");
    // Another client has its refreshes, and those that the first could not have.
    for number in 2500..2510 {
        hit(&service, MODEST, number);
    }
    assert_eq!(refreshing(&service), of_greedy + 10);
    advance(REFRESH_PAUSE).await;
    for number in 1990..2000 {
        hit(&service, MODEST, number);
    }
    assert_eq!(refreshing(&service), of_greedy + 20);
    // What is being asked for already is not asked for again.
    for number in 2500..2510 {
        hit(&service, MODEST, number);
    }
    assert_eq!(refreshing(&service), of_greedy + 20);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_fails_is_tried_again_by_whoever_asks_next() {
    let (service, _upstream) = service();
    keep(&service, 1);
    advance(Duration::from_secs(54)).await;
    hit(&service, GREEDY, 1);
    assert_eq!(refreshing(&service), 1);
    while refreshing(&service) > 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    hit(&service, GREEDY, 1);
    assert_eq!(refreshing(&service), 0, "not at once");
    advance(REFRESH_AFTER_FAILURE).await;
    hit(&service, GREEDY, 1);
    assert_eq!(refreshing(&service), 1);
}

#[tokio::test(start_paused = true)]
async fn searches_of_clients_that_took_an_old_answer_are_bounded() {
    let (service, _upstream) = service();
    (0..300).for_each(|number| keep(&service, number));
    advance(Duration::from_secs(61)).await;
    let ask = |number| {
        let service = service.clone();
        async move {
            let mut out = Vec::new();
            let query = Query::decode(&request(number)).unwrap();
            service.later(&query, client(GREEDY), &mut out).await;
            out
        }
    };
    let replies = join_all((0..300).map(ask)).await;
    assert!(replies.iter().all(|reply| reply.get(3).is_some_and(|code| code & 15 == 0)));
    yield_now().await;
    let unattended = refreshing(&service);
    assert!((1..=64).contains(&unattended), "{unattended}");
}
