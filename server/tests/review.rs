//! Answers that are easy to get wrong between the parts: each held here by a whole server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "shared with tests that use more of it")]
mod common;

use std::{net::Ipv4Addr, sync::atomic::Ordering, time::Duration};

use common::{Running, Upstream, keypair, query, record, with_edns};
use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, CNAME, NS, NULL, SOA, TXT},
    },
};
use pkdns::{dht::NetworkError, message::read_message};

fn address(last: u8) -> RData {
    RData::A(A::new(192, 0, 2, last))
}

fn name(text: &str) -> Name {
    let mut name = Name::from_ascii(text).unwrap();
    name.set_fqdn(true);
    name
}

fn alias(target: &str) -> RData {
    RData::CNAME(CNAME(name(target)))
}

fn soa(apex: &str, ttl: u32) -> Record {
    let data = SOA::new(name(apex), name(apex), 1, 1, 1, 1, ttl);
    Record::from_rdata(name(apex), ttl, RData::SOA(data))
}

/// Data of a type, byte for byte.
fn raw(code: RecordType, data: &[u8]) -> RData {
    RData::Unknown { code, rdata: NULL::with(data.to_vec()) }
}

fn parse(bytes: &[u8]) -> Message {
    Message::from_vec(bytes).unwrap()
}

fn code(message: &Message) -> ResponseCode {
    message.metadata.response_code
}

fn text(index: usize) -> RData {
    RData::TXT(TXT::new(vec![format!("{index:0>200}")]))
}

#[tokio::test]
async fn a_question_for_an_alias_itself_does_not_follow_it_to_a_key() {
    let alice = keypair(1).to_z32();
    let target = alice.clone();
    let upstream = Upstream::start(move |query, response| {
        let name = query.queries[0].name().clone();
        response.add_answer(Record::from_rdata(name, 300, alias(&target)));
    })
    .await;
    let server = Running::start_with(upstream, |_| ()).await;
    // With the network away, whoever followed the alias would say SERVFAIL.
    *server.network.failure.lock().unwrap() = Some(NetworkError::Unreachable);
    let reply = server.ask("www.example.com", RecordType::CNAME).await;
    assert_eq!(code(&reply), ResponseCode::NoError);
    assert_eq!(reply.answers[0].data, alias(&alice));
    assert!(reply.authorities.is_empty());
    assert_eq!(server.network.lookups.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn nothing_is_denied_below_the_end_of_an_alias() {
    // The NXDOMAIN is about `gone`, not about the name that was asked for.
    let upstream = Upstream::start(|query, response| {
        let name = query.queries[0].name().clone();
        if name.to_lowercase() == self::name("www.example.com") {
            response.metadata.response_code = ResponseCode::NXDomain;
            response.add_answer(Record::from_rdata(name, 300, alias("gone.example.com")));
            response.add_authority(soa("example.com", 300));
        } else {
            response.add_answer(Record::from_rdata(name, 300, address(1)));
        }
    })
    .await;
    let server = Running::start_with(upstream, |_| ()).await;
    assert_eq!(code(&server.ask("www.example.com", RecordType::A).await), ResponseCode::NXDomain);
    assert_eq!(server.ask("a.www.example.com", RecordType::A).await.answers.len(), 1);
}

#[tokio::test]
async fn the_longest_name_is_answered_in_512_bytes_with_its_reason() {
    let server = Running::start().await;
    *server.network.failure.lock().unwrap() = Some(NetworkError::NotReady);
    let key = keypair(1).to_z32();
    let long = "a".repeat(63);
    // 255 bytes in wire form.
    let name = format!("{long}.{long}.{long}.{}.{key}", "b".repeat(8));
    for spelled in [name.clone(), name.to_uppercase()] {
        let mut request = with_edns(query(&spelled, RecordType::A), true);
        assert_eq!(request.len(), 12 + 255 + 4 + 11);
        let at = request.len() - 8;
        request[at..at + 2].copy_from_slice(&512u16.to_be_bytes());
        let reply = server.send(&request).await.unwrap();
        assert!(reply.len() <= 512);
        assert_eq!(reply[12..12 + 255], request[12..12 + 255]);
        let reply = parse(&reply);
        assert_eq!((code(&reply), reply.metadata.truncation), (ResponseCode::ServFail, false));
    }
}
