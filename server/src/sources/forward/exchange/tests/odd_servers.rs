//! Servers that can do less than others: what is learnt of them, what a question costs then, and what nobody off the path
//! can make us believe of a server.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use tokio::task::JoinHandle;

use super::*;
use crate::sources::forward::capabilities::LIFETIME;

const UDP: bool = false;
const TCP: bool = true;

/// A server on a port that is closed for TCP.
struct WithoutTcp {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    task: JoinHandle<()>,
}

impl WithoutTcp {
    async fn start(script: impl Fn(&Received) -> Vec<Response> + Send + Sync + 'static) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = socket.local_addr().expect("it is bound");
        let received = Arc::new(Mutex::new(Vec::new()));
        let log = received.clone();
        let task = tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let message = Received { bytes: buffer[..length].to_vec(), from, is_tcp: false };
                log.lock().expect("no panic while held").push(message.clone());
                for response in script(&message) {
                    let _ = socket.send_to(&response.0, from).await;
                }
            }
        });
        Self { address, received, task }
    }

    fn asked(&self) -> usize {
        self.received.lock().expect("no panic while held").len()
    }
}

impl Drop for WithoutTcp {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(super) async fn ask(
    exchanger: &Exchanger,
    server: SocketAddr,
    time: Duration,
) -> Result<Message, ExchangeError> {
    let asked = question("a-rather-long-name.example.com.", RecordType::A);
    exchanger.exchange(server, &asked, RESOLVER, Instant::now() + time).await
}

pub(super) async fn answer(exchanger: &Exchanger, server: SocketAddr) -> Message {
    ask(exchanger, server, LONG).await.expect("an answer")
}

/// By transport, what the server has got from number `from` on.
fn got(server: &Scripted, from: usize) -> Vec<bool> {
    server.received()[from..].iter().map(|received| received.is_tcp).collect()
}

fn is_plain(received: &Received) -> bool {
    let question = received.question();
    question.wire_name().to_ascii_lowercase() == question.wire_name()
}

pub(super) fn has_edns(received: &Received) -> bool {
    received.bytes[11] == 1
}

fn lower(response: Response) -> Response {
    response.with(|bytes| {
        let end = bytes.len().min(HEADER_SIZE + 33);
        bytes[HEADER_SIZE..end].make_ascii_lowercase();
    })
}

/// A header and no more.
fn bare(received: &Received, code: u8) -> Response {
    received.response().code(code).with(|bytes| {
        bytes.truncate(HEADER_SIZE);
        bytes[5] = 0;
    })
}

#[tokio::test]
async fn a_server_that_does_not_keep_the_spelling_is_asked_in_plain_spelling_for_a_while() {
    let server = Scripted::start(|received| vec![lower(received.response().address(1)).0]).await;
    let exchanger = Exchanger::new(4);
    for expected in [&[UDP, TCP][..], &[UDP], &[UDP]] {
        let before = server.received().len();
        assert_eq!(last_byte(&answer(&exchanger, server.address).await), 1);
        assert_eq!(got(&server, before), expected);
    }
    let plain: Vec<_> = server.received().iter().map(is_plain).collect();
    assert_eq!(plain, [false, false, true, true]);
    tokio::time::pause();
    tokio::time::advance(LIFETIME).await;
    tokio::time::resume();
    answer(&exchanger, server.address).await;
    assert_eq!(got(&server, 4), [UDP, TCP], "tried anew");
}

#[tokio::test]
async fn a_server_that_neither_keeps_the_spelling_nor_has_tcp_is_asked_twice_at_once() {
    let server = WithoutTcp::start(|received| vec![lower(received.response().address(1))]).await;
    let exchanger = Exchanger::new(4);
    for expected in [2, 3, 4] {
        assert_eq!(last_byte(&answer(&exchanger, server.address).await), 1);
        assert_eq!(server.asked(), expected);
    }
}

#[tokio::test]
async fn one_socket_that_was_guessed_does_not_switch_the_spelling_off() {
    // A server that keeps it, and somebody who sends to the first of its two sockets as much as they like.
    let questions = AtomicUsize::new(0);
    let server = over_udp(move |received| match questions.fetch_add(1, Ordering::SeqCst) {
        0 => vec![lower(received.response().address(66)); 20],
        _ => vec![received.response().address(1)],
    })
    .await;
    let exchanger = Exchanger::new(4);
    assert_eq!(last_byte(&answer(&exchanger, server.address).await), 1);
    answer(&exchanger, server.address).await;
    // TCP hangs there.
    assert!(server.received().iter().all(|received| received.is_tcp || !is_plain(received)));
}

#[tokio::test]
async fn a_spelling_that_tcp_keeps_is_switched_off_by_three_in_a_row_alone() {
    // The numbers of questions over UDP that are answered in another spelling, as a box on the way would, or a forger.
    for (misspelt, plain_from) in [(0..=9, Some(3)), (0..=1, None), (7..=8, None)] {
        let questions = AtomicUsize::new(0);
        let server = Scripted::start(move |received| {
            let response = received.response().address(1);
            let is_misspelt =
                !received.is_tcp && misspelt.contains(&questions.fetch_add(1, Ordering::SeqCst));
            vec![if is_misspelt { lower(response) } else { response }.0]
        })
        .await;
        let exchanger = Exchanger::new(4);
        for _ in 0..10 {
            answer(&exchanger, server.address).await;
        }
        let over_udp = server.received().into_iter().filter(|received| !received.is_tcp);
        assert_eq!(over_udp.collect::<Vec<_>>().iter().position(is_plain), plain_from);
    }
}

#[tokio::test]
async fn a_server_without_edns_is_asked_without_it_for_a_while() {
    // FORMERR, NOTIMP and BADVERS, the latter with an OPT record.
    for code in [1, 4, 16] {
        let server = Scripted::start(move |received| {
            let response = received.response();
            vec![match (has_edns(received), code) {
                (false, _) => response.address(1).0,
                (true, 16) => response.edns(1, &[]).0,
                (true, code) => response.code(code).0,
            }]
        })
        .await;
        let exchanger = Exchanger::new(4);
        // With a cookie, with EDNS alone, and without.
        for expected in [3, 4, 5] {
            assert_eq!(last_byte(&answer(&exchanger, server.address).await), 1, "{code}");
            assert_eq!(server.received().len(), expected, "{code}");
        }
        tokio::time::pause();
        tokio::time::advance(LIFETIME).await;
        tokio::time::resume();
        answer(&exchanger, server.address).await;
        assert!(server.received().len() > 6, "{code}: tried anew");
    }
}

#[tokio::test]
async fn a_question_that_is_refused_in_every_form_says_nothing_about_edns() {
    let server = over_udp(|received| vec![received.response().code(1)]).await;
    let exchanger = Exchanger::new(4);
    for _ in 0..3 {
        assert_eq!(answer(&exchanger, server.address).await.code, ResponseCode::FormErr);
    }
    let forms: Vec<_> = server.received().iter().map(has_edns).collect();
    assert_eq!(forms, [true, true, false].repeat(3));
    assert_eq!(server.received().iter().filter(|received| received.cookie().is_some()).count(), 3);
}

#[tokio::test]
async fn a_refusal_that_is_a_header_alone_is_one_at_once_with_and_without_tcp() {
    for code in [1, 2, 4, 5] {
        let with_tcp = Scripted::start(move |received| vec![bare(received, code).0]).await;
        let without = WithoutTcp::start(move |received| vec![bare(received, code)]).await;
        for address in [with_tcp.address, without.address] {
            let failed = answer(&Exchanger::new(4), address).await;
            assert_eq!(u16::from(failed.code), u16::from(code));
        }
        // FORMERR and NOTIMP may be for the cookie or for EDNS.
        let forms = if matches!(code, 1 | 4) { 3 } else { 1 };
        assert_eq!((with_tcp.received().len(), without.asked()), (2 * forms, 2 * forms), "{code}");
    }
}

#[tokio::test]
async fn a_header_alone_from_one_who_guessed_a_socket_ends_nothing() {
    for code in [1, 2, 4, 5] {
        let questions = AtomicUsize::new(0);
        let server = over_udp(move |received| match questions.fetch_add(1, Ordering::SeqCst) {
            0 => vec![bare(received, code); 20],
            _ => vec![received.response().address(1)],
        })
        .await;
        let exchanger = Exchanger::new(4);
        assert_eq!(last_byte(&answer(&exchanger, server.address).await), 1, "{code}");
        answer(&exchanger, server.address).await;
        assert!(server.received().iter().all(has_edns), "{code}");
    }
}

#[tokio::test]
async fn a_server_that_cuts_every_answer_is_asked_over_tcp_at_once() {
    let server = Scripted::start(|received| {
        let response = received.response();
        vec![if received.is_tcp { response.address(1) } else { response.truncated() }.0]
    })
    .await;
    let exchanger = Exchanger::new(4);
    for _ in 0..10 {
        assert_eq!(last_byte(&answer(&exchanger, server.address).await), 1);
    }
    assert_eq!(got(&server, 0)[..6], [UDP, TCP, UDP, TCP, UDP, TCP]);
    assert_eq!(got(&server, 6), [TCP; 7], "from the fourth question on");
}

fn unreadable(received: &Received) -> Response {
    received.response().address(66).with(|bytes| bytes.truncate(bytes.len() - 1))
}

#[tokio::test]
async fn a_server_whose_datagrams_cannot_be_read_is_asked_over_tcp_at_once() {
    let server = Scripted::start(|received| {
        vec![if received.is_tcp { received.response().address(1) } else { unreadable(received) }.0]
    })
    .await;
    let exchanger = Exchanger::new(4);
    for _ in 0..10 {
        assert_eq!(last_byte(&answer(&exchanger, server.address).await), 1);
    }
    assert_eq!(got(&server, 0)[..6], [UDP, TCP, UDP, TCP, UDP, TCP]);
    assert_eq!(got(&server, 6), [TCP; 7], "from the fourth question on");
}

#[tokio::test]
async fn what_cannot_be_read_in_any_way_is_said_at_once() {
    let with_tcp = Scripted::start(|received| vec![unreadable(received).0]).await;
    let without = WithoutTcp::start(|received| vec![unreadable(received)]).await;
    for address in [with_tcp.address, without.address] {
        let failed = ask(&Exchanger::new(4), address, LONG).await;
        assert_eq!(failed.expect_err("nothing to read"), ExchangeError::Malformed);
    }
    assert_eq!((got(&with_tcp, 0), without.asked()), (vec![UDP, TCP], 2));
}

#[tokio::test]
async fn what_cannot_be_read_from_one_who_guessed_a_socket_ends_nothing() {
    let questions = AtomicUsize::new(0);
    let server = over_udp(move |received| match questions.fetch_add(1, Ordering::SeqCst) {
        0 => vec![unreadable(received); 20],
        _ => vec![received.response().address(1)],
    })
    .await;
    let exchanger = Exchanger::new(4);
    assert_eq!(last_byte(&answer(&exchanger, server.address).await), 1);
    assert_eq!(exchanger.capabilities(server.address), Capabilities::ALL);
}

#[tokio::test]
async fn a_server_that_is_silent_to_edns_or_over_udp_is_found_out_while_a_question_waits() {
    type Hears = fn(&Received) -> bool;
    let cases: [(&str, Hears, [bool; 2]); 2] = [
        ("EDNS", |received| !has_edns(received), [false, true]),
        ("UDP", |received| received.is_tcp, [true, false]),
    ];
    for (what, hears, expected) in cases {
        let server = Scripted::start(move |received| match hears(received) {
            true => vec![received.response().address(1).0],
            false => Vec::new(),
        })
        .await;
        let exchanger = Exchanger::new(4);
        let root = question(".", RecordType::NS);
        let find_out = exchanger.find_out(server.address, &root, RESOLVER, Instant::now() + LONG);
        let (first, found) = tokio::join!(answer(&exchanger, server.address), find_out);
        assert_eq!(last_byte(&first), 1, "{what}");
        assert!(found.is_ok(), "{what}");
        let known = exchanger.capabilities(server.address);
        assert_eq!([known.edns, known.udp], expected, "{what}");
        let before = server.received().len();
        answer(&exchanger, server.address).await;
        assert_eq!(server.received().len(), before + 1, "{what}");
    }
}

#[tokio::test]
async fn a_server_that_knows_edns_is_not_taken_for_one_without_when_it_is_silent() {
    let is_silent = Arc::new(AtomicUsize::new(0));
    let silent = is_silent.clone();
    let server = over_udp(move |received| {
        let is_silent = silent.load(Ordering::SeqCst) == 1 && has_edns(received);
        if is_silent { Vec::new() } else { vec![received.response().address(1)] }
    })
    .await;
    let exchanger = Exchanger::new(4);
    answer(&exchanger, server.address).await;
    is_silent.store(1, Ordering::SeqCst);
    let root = question(".", RecordType::NS);
    let deadline = Instant::now() + 4 * NEXT_WAY;
    let found = exchanger.find_out(server.address, &root, RESOLVER, deadline).await;
    assert_eq!(found.expect_err("silence"), ExchangeError::Silent);
    assert!(exchanger.capabilities(server.address).edns);
}

#[tokio::test]
async fn a_server_that_no_longer_has_tcp_is_asked_over_udp_again() {
    let server = WithoutTcp::start(|received| vec![received.response().address(1)]).await;
    let exchanger = Exchanger::new(4);
    exchanger.capabilities.lacks(server.address, Capability::Udp, Instant::now());
    answer(&exchanger, server.address).await;
    assert!(exchanger.capabilities(server.address).udp);
    assert_eq!(server.asked(), 1);
}

#[tokio::test]
async fn where_nothing_listens_the_waiting_ends_at_once() {
    let closed = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let address = closed.local_addr().expect("it is bound");
    drop(closed);
    let result = ask(&Exchanger::new(4), address, LONG).await;
    let refused = ExchangeError::Unreachable(io::ErrorKind::ConnectionRefused);
    assert_eq!(result.expect_err("nobody is there"), refused);
}

#[tokio::test]
async fn what_icmp_says_of_one_socket_does_not_end_the_waiting_for_a_server_without_tcp() {
    let server = WithoutTcp::start(|received| vec![received.response().address(1)]).await;
    let exchanger = Exchanger::new(4);
    let asked = question("example.com.", RecordType::A);
    let exchange = Exchange {
        server: server.address,
        question: &asked,
        flags: RESOLVER,
        cookies: &exchanger.cookies,
        capabilities: &exchanger.capabilities,
    };
    // The one socket hears from a closed port, as if somebody had guessed its number; the other from the server.
    let closed = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let address = closed.local_addr().expect("it is bound");
    drop(closed);
    let refused = Exchange { server: address, ..exchange }.send(Form::Bare).await.expect("sent");
    let answer = tokio::time::timeout(LONG, exchange.settle(refused, Form::Bare)).await;
    let answer = answer.expect("an end").expect("an answer");
    assert_eq!((last_byte(&answer), server.asked()), (1, 1));
}

#[tokio::test]
async fn what_icmp_says_alone_does_not_end_the_waiting() {
    // Of an ICMP message the port has to be guessed, and nothing more. TCP says nothing here.
    let hangs = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let address = hangs.local_addr().expect("it is bound");
    let deadline = Instant::now() + SHORT;
    let result = ask(&Exchanger::new(4), address, SHORT).await;
    assert_eq!(result.expect_err("nobody is there"), ExchangeError::Silent);
    assert!(Instant::now() >= deadline);
}
