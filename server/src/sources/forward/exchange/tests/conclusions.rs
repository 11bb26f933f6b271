//! What must not be concluded of a server, from datagrams that got lost, from questions that a client has chosen, or from one
//! way that no longer works.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{
    odd_servers::{answer, ask, has_edns},
    *,
};
use crate::sources::forward::testing::bind;

/// Whether the name that is asked for begins with this label.
fn is_for(received: &Received, label: &str) -> bool {
    let question = received.question();
    question
        .wire_name()
        .get(1..=label.len())
        .is_some_and(|first| first.eq_ignore_ascii_case(label.as_bytes()))
}

async fn answer_for(exchanger: &Exchanger, server: SocketAddr, name: &str) -> Message {
    let asked = question(name, RecordType::A);
    exchanger.exchange(server, &asked, RESOLVER, Instant::now() + LONG).await.expect("an answer")
}

#[tokio::test]
async fn answers_that_are_too_large_do_not_lead_to_tcp_however_many_are_asked_for() {
    let server = Scripted::start(|received| {
        let response = received.response();
        vec![match (is_for(received, "large"), received.is_tcp) {
            (false, _) => response.address(1).0,
            (true, false) => response.truncated().0,
            (true, true) => response.record(16, &[255; 256]).record(16, &[255; 256]).0,
        }]
    })
    .await;
    let exchanger = Exchanger::new(4);
    for _ in 0..20 {
        answer_for(&exchanger, server.address, "large.example.").await;
    }
    assert!(exchanger.capabilities(server.address).udp);
}

#[tokio::test]
async fn cut_answers_that_tcp_does_not_give_do_not_lead_there() {
    // Over TCP, questions are taken and left unanswered.
    let server = over_udp(|received| {
        let response = received.response();
        vec![if is_for(received, "large") { response.truncated() } else { response.address(1) }]
    })
    .await;
    let exchanger = Exchanger::new(20);
    let large = question("large.example.", RecordType::TXT);
    for _ in 0..10 {
        let deadline = Instant::now() + SHORT;
        exchanger.exchange(server.address, &large, RESOLVER, deadline).await.expect_err("nothing comes");
    }
    assert!(exchanger.capabilities(server.address).udp);
    assert_eq!(last_byte(&answer(&exchanger, server.address).await), 1);
}

#[tokio::test]
async fn a_server_that_no_longer_answers_over_tcp_is_asked_over_udp_again() {
    let server = over_udp(|received| vec![received.response().address(1)]).await;
    let exchanger = Exchanger::new(4);
    exchanger.capabilities.lacks(server.address, Capability::Udp, Instant::now());
    assert_eq!(last_byte(&answer(&exchanger, server.address).await), 1);
    assert!(exchanger.capabilities(server.address).udp, "it has answered there");
}

#[tokio::test]
async fn a_server_that_is_slow_over_tcp_is_waited_for() {
    let (_silent, tcp, address) = bind().await;
    let serving = tokio::spawn(async move {
        let (mut stream, from) = tcp.accept().await.expect("a connection");
        let mut bytes = vec![0; usize::from(stream.read_u16().await.expect("a length"))];
        stream.read_exact(&mut bytes).await.expect("a question");
        // Longer than it is asked over TCP alone.
        sleep(2 * TCP_HEAD_START).await;
        let response = Received { bytes, from, is_tcp: true }.response().address(1).0;
        stream.write_u16(response.len() as u16).await.expect("written");
        stream.write_all(&response).await.expect("written");
    });
    let exchanger = Exchanger::new(4);
    exchanger.capabilities.lacks(address, Capability::Udp, Instant::now());
    assert_eq!(last_byte(&answer(&exchanger, address).await), 1);
    assert!(!exchanger.capabilities(address).udp);
    serving.await.expect("no panic");
}

#[tokio::test]
async fn datagrams_that_got_lost_say_nothing_of_a_server() {
    // The first is lost, which had EDNS; then the first two, so that TCP is what works.
    for lost in [1, 2] {
        let datagrams = AtomicUsize::new(0);
        let server = Scripted::start(move |received| {
            let is_lost = !received.is_tcp && datagrams.fetch_add(1, Ordering::SeqCst) < lost;
            if is_lost { Vec::new() } else { vec![received.response().address(1).0] }
        })
        .await;
        let exchanger = Exchanger::new(4);
        let root = question(".", RecordType::NS);
        let found = exchanger.find_out(server.address, &root, RESOLVER, Instant::now() + LONG).await;
        assert!(found.is_ok());
        let known = exchanger.capabilities(server.address);
        assert_eq!(known, Capabilities::ALL, "{lost} lost");
    }
}

#[tokio::test]
async fn a_server_that_is_silent_to_edns_or_over_udp_is_found_out_by_one_question() {
    for over_tcp_alone in [false, true] {
        let server = Scripted::start(move |received| {
            let is_heard = if over_tcp_alone { received.is_tcp } else { !has_edns(received) };
            if is_heard { vec![received.response().address(1).0] } else { Vec::new() }
        })
        .await;
        let exchanger = Exchanger::new(4);
        let asked = question("a-rather-long-name.example.com.", RecordType::A);
        for _ in 0..2 {
            let before = server.received().len();
            let answer =
                exchanger.exchange_or_find_out(server.address, &asked, RESOLVER, Instant::now() + LONG).await;
            assert_eq!(last_byte(&answer.expect("an answer")), 1, "{over_tcp_alone}");
            assert!(before == 0 || server.received().len() == before + 1, "once it is known, once");
        }
        let known = exchanger.capabilities(server.address);
        assert_eq!((known.edns, known.udp), (over_tcp_alone, !over_tcp_alone));
    }
}

#[tokio::test]
async fn a_name_that_is_refused_with_edns_does_not_switch_it_off_for_others() {
    let server = Scripted::start(|received| {
        let response = received.response();
        let is_refused = is_for(received, "odd") && has_edns(received);
        vec![if is_refused { response.code(1).0 } else { response.address(1).0 }]
    })
    .await;
    let exchanger = Exchanger::new(4);
    answer(&exchanger, server.address).await;
    assert_eq!(last_byte(&answer_for(&exchanger, server.address, "odd.example.").await), 1);
    assert!(exchanger.capabilities(server.address).edns);
}

#[tokio::test]
async fn a_datagram_larger_than_there_is_room_for_is_one_that_was_cut() {
    let server = Scripted::start(|received| {
        let response = received.response();
        vec![match received.is_tcp {
            true => response.address(2).0,
            false => (0..5).fold(response, |response, _| response.record(16, &[255; 1024])).0,
        }]
    })
    .await;
    assert_eq!(last_byte(&ask(&Exchanger::new(4), server.address, LONG).await.expect("an answer")), 2);
}

#[tokio::test]
async fn a_referral_is_no_answer_of_a_resolver() {
    const RECURSION_AVAILABLE: u8 = 0x80;
    for (desired, available, expected) in [
        (true, 0, ResponseCode::ServFail),
        (true, RECURSION_AVAILABLE, ResponseCode::NoError),
        (false, 0, ResponseCode::NoError),
    ] {
        let server = over_udp(move |received| {
            // The name servers of the name that was asked for.
            vec![received.response().record(2, &[1, b'a', 0]).with(|bytes| {
                bytes[3] = available;
                (bytes[7], bytes[9]) = (0, 1);
            })]
        })
        .await;
        let asked = question("www.example.", RecordType::A);
        let flags = Flags { recursion_desired: desired, ..RESOLVER };
        let deadline = Instant::now() + LONG;
        let answer = Exchanger::new(1).exchange(server.address, &asked, flags, deadline).await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.code, expected);
        let says_why = answer.extended_error.is_some_and(|error| error.text.contains("no resolver"));
        assert_eq!(says_why, expected == ResponseCode::ServFail);
        assert_eq!(answer.authorities.is_empty(), says_why);
    }
}
