mod conclusions;
mod cookies;
mod odd_servers;

use std::{
    collections::HashSet,
    net::{Ipv4Addr, Ipv6Addr},
};

use hickory_proto::rr::{RData, RecordType};
use tokio::net::UdpSocket;

use super::{
    datagram::{FIRST_PORT, Heard, listen},
    *,
};
use crate::{
    base::message::HEADER_SIZE,
    sources::forward::testing::{Honest, Received, Response, Scripted, question},
};

const RESOLVER: Flags = Flags { recursion_desired: true, dnssec_ok: false, checking_disabled: false };

/// Long enough for a busy machine; no test that passes waits for it.
const LONG: Duration = Duration::from_secs(10);

/// Long enough for loopback, where nothing is to come.
const SHORT: Duration = Duration::from_millis(100);

async fn ask_within(
    server: &Scripted,
    question: &Question,
    time: Duration,
) -> Result<Message, ExchangeError> {
    Exchanger::new(10).exchange(server.address, question, RESOLVER, Instant::now() + time).await
}

async fn ask_for(server: &Scripted, name: &str) -> Result<Message, ExchangeError> {
    ask_within(server, &question(name, RecordType::A), LONG).await
}

/// The last byte of the one address in an answer.
fn last_byte(message: &Message) -> u8 {
    match message.answers.as_slice() {
        [record] => match record.data {
            RData::Unknown { ref rdata, .. } => rdata.anything[3],
            RData::A(address) => address.0.octets()[3],
            ref other => panic!("not an address: {other:?}"),
        },
        other => panic!("not one record: {other:?}"),
    }
}

fn over_udp(
    script: impl Fn(&Received) -> Vec<Response> + Send + Sync + 'static,
) -> impl Future<Output = Scripted> {
    Scripted::start(move |received| {
        let responses = if received.is_tcp { Vec::new() } else { script(received) };
        responses.into_iter().map(|response| response.0).collect()
    })
}

#[tokio::test]
async fn ids_and_ports_and_spellings_cannot_be_guessed() {
    let server = over_udp(|received| vec![received.response().address(1)]).await;
    for _ in 0..32 {
        ask_for(&server, "a-rather-long-name.example.com.").await.expect("an answer");
    }
    let received = server.received();
    let ids: Vec<_> = received.iter().map(Received::id).collect();
    let ports: Vec<_> = received.iter().map(|received| received.from.port()).collect();
    let names: HashSet<_> =
        received.iter().map(|received| received.question().wire_name().to_vec()).collect();
    for numbers in [&ids, &ports] {
        let distinct: HashSet<_> = numbers.iter().collect();
        // Two of 32 may fall together by chance; more do so less than once in a billion runs.
        assert!(distinct.len() >= 30, "{numbers:?}");
        let near = numbers.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) < 16).count();
        assert!(near <= 4, "in a row: {numbers:?}");
    }
    // Not only from the range that Linux hands out, which starts at 32768.
    assert!(ports.iter().any(|port| *port < 32768), "{ports:?}");
    assert!(ports.iter().all(|port| *port >= FIRST_PORT), "{ports:?}");
    assert!(names.len() >= 30, "spelling: {names:?}");
}

#[tokio::test]
async fn what_does_not_belong_to_the_question_is_ignored_and_the_answer_still_taken() {
    type Forgery = fn(&Received) -> Response;
    let forgeries: [(&str, Forgery); 11] = [
        ("an id", |received| received.response().address(66).with(|bytes| bytes[0] ^= 1)),
        ("another name", |received| received.response().address(66).with(|bytes| bytes[13] = b'-')),
        ("another type", |received| received.response().address(66).with(|bytes| bytes[30] ^= 1)),
        ("another class", |received| received.response().address(66).with(|bytes| bytes[32] ^= 2)),
        ("another spelling", |received| received.response().address(66).with(|bytes| bytes[13] ^= 0x20)),
        ("a query", |received| received.response().address(66).with(|bytes| bytes[2] &= 0x7f)),
        ("another opcode", |received| received.response().address(66).with(|bytes| bytes[2] |= 0x20)),
        ("no question", |received| received.response().with(|bytes| bytes[5] = 0)),
        ("two questions", |received| received.response().address(66).with(|bytes| bytes[5] = 2)),
        ("a record that is cut", |received| {
            received.response().address(66).with(|bytes| bytes.truncate(bytes.len() - 1))
        }),
        ("a bare FORMERR", |received| {
            received.response().code(1).with(|bytes| {
                bytes.truncate(HEADER_SIZE);
                bytes[5] = 0;
            })
        }),
    ];
    for (what, forgery) in forgeries {
        let server = over_udp(move |received| vec![forgery(received), received.response().address(1)]).await;
        let answer = ask_for(&server, "www.example.com.").await;
        assert_eq!(last_byte(&answer.expect(what)), 1, "{what}");
        let alone = over_udp(move |received| vec![forgery(received)]).await;
        let nothing = ask_within(&alone, &question("www.example.com.", RecordType::A), SHORT).await;
        assert_eq!(nothing.expect_err(what), ExchangeError::Silent, "{what}");
    }
}

#[tokio::test]
async fn garbage_before_the_answer_is_ignored() {
    let server = over_udp(|received| {
        let random: Vec<_> = (0..40).map(|size| Response(vec![0xff; size])).collect();
        [random, vec![received.response().address(1)]].concat()
    })
    .await;
    assert_eq!(last_byte(&ask_for(&server, "example.com.").await.expect("an answer")), 1);
}

#[tokio::test]
async fn an_answer_from_another_address_is_not_taken() {
    let other = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let server = Scripted::start(move |received| {
        if !received.is_tcp {
            other.send_to(&received.response().address(66).0, received.from).expect("sent");
        }
        Vec::new()
    })
    .await;
    let result = ask_within(&server, &question("example.com.", RecordType::A), SHORT).await;
    assert_eq!(result.expect_err("a forgery"), ExchangeError::Silent);
}

#[tokio::test]
async fn a_datagram_from_before_the_socket_was_connected_is_not_taken() {
    let localhost = (Ipv4Addr::LOCALHOST, 0);
    let (socket, stranger) = tokio::join!(UdpSocket::bind(localhost), UdpSocket::bind(localhost));
    let (socket, stranger) = (socket.expect("a port"), stranger.expect("a port"));
    let asked = question("example.com.", RecordType::A);
    let request = Request::new(&asked, RESOLVER, Edns::LeftOut, Spelling::Random).expect("random numbers");
    let mut response = request.bytes.clone();
    response[2] |= 0x80;
    stranger.send_to(&response, socket.local_addr().expect("it is bound")).await.expect("sent");
    let server = SocketAddr::from((Ipv4Addr::LOCALHOST, 53));
    let heard = tokio::time::timeout(SHORT, listen(&socket, server, &request)).await;
    assert!(heard.is_err(), "from a stranger");
    stranger.send_to(&response, socket.local_addr().expect("it is bound")).await.expect("sent");
    let server = stranger.local_addr().expect("it is bound");
    let heard = tokio::time::timeout(LONG, listen(&socket, server, &request)).await;
    assert!(matches!(heard, Ok(Heard::Answer(..))));
}

#[tokio::test]
async fn a_server_that_does_not_keep_the_spelling_is_asked_over_tcp() {
    let server = Scripted::start(|received| {
        let last = if received.is_tcp { 2 } else { 1 };
        let response = received.response().address(last);
        vec![response.with(|bytes| bytes[HEADER_SIZE..HEADER_SIZE + 30].make_ascii_lowercase()).0]
    })
    .await;
    let answer = ask_for(&server, "a-rather-long-name.example.com.").await;
    assert_eq!(last_byte(&answer.expect("an answer")), 2);
}

#[tokio::test]
async fn a_cut_answer_is_asked_for_again_over_tcp() {
    let text = [[255; 256].as_slice(), &[255; 256], &[255; 256], &[255; 256]].concat();
    let long = text.clone();
    let server = Scripted::start(move |received| match received.is_tcp {
        // Cut in the middle of a record.
        false => vec![received.response().truncated().record(16, &long).with(|bytes| bytes.truncate(512)).0],
        true => vec![received.response().record(16, &long).record(16, &long).record(16, &long).0],
    })
    .await;
    let answer =
        ask_within(&server, &question("example.com.", RecordType::TXT), LONG).await.expect("an answer");
    assert!(!answer.truncated);
    assert_eq!(answer.answers.len(), 3);
    assert!(answer.answers.iter().all(|record| data(&record.data) == text));
    let transports: Vec<_> = server.received().iter().map(|received| received.is_tcp).collect();
    assert_eq!(transports, [false, true]);
}

#[tokio::test]
async fn an_honest_server_gives_an_answer_of_3000_bytes() {
    use hickory_proto::rr::{Name, Record, rdata::TXT};
    let name = Name::from_ascii("large.example.").expect("a name");
    let text = || RData::TXT(TXT::new(vec!["x".repeat(250); 4]));
    let records = (0..3).map(|ttl| Record::from_rdata(name.clone(), 60 + ttl, text())).collect();
    let server = Honest::start(records).await;
    let asked = question("large.example.", RecordType::TXT);
    let answer = Exchanger::new(1).exchange(server.address, &asked, RESOLVER, Instant::now() + LONG).await;
    let size: usize = answer.expect("an answer").answers.iter().map(|record| data(&record.data).len()).sum();
    assert_eq!(size, 3 * 4 * 251);
    assert_eq!(server.asked(), 2, "over UDP, then over TCP");
}

#[tokio::test]
async fn an_answer_larger_than_1024_bytes_comes_in_one_datagram() {
    let server = over_udp(|received| vec![received.response().record(65280, &[7; 1180])]).await;
    let asked = question("example.com.", RecordType::Unknown(65280));
    let answer = ask_within(&server, &asked, LONG).await.expect("an answer");
    assert_eq!(data(&answer.answers[0].data), [7; 1180]);
    assert_eq!(server.received().len(), 1);
}

#[tokio::test]
async fn an_answer_over_tcp_to_another_question_is_not_taken() {
    // The id, the name, QR.
    for change in [0, 13, 2] {
        let server = Scripted::start(move |received| match received.is_tcp {
            false => vec![received.response().truncated().0],
            true => vec![received.response().address(66).with(|bytes| bytes[change] ^= 0x81).0],
        })
        .await;
        let result = ask_for(&server, "example.com.").await;
        assert_eq!(result.expect_err("a forgery"), ExchangeError::Malformed, "byte {change}");
    }
}

#[tokio::test]
async fn an_answer_that_is_cut_over_tcp_too_is_not_taken() {
    let server = Scripted::start(|received| vec![received.response().truncated().0]).await;
    assert_eq!(ask_for(&server, "example.com.").await.expect_err("cut"), ExchangeError::Malformed);
}

#[tokio::test]
async fn an_answer_over_tcp_that_stops_halfway_ends_in_time() {
    let server = Scripted::start(|received| match received.is_tcp {
        false => vec![received.response().truncated().0],
        // Nothing: the connection stays open.
        true => Vec::new(),
    })
    .await;
    let result = ask_within(&server, &question("example.com.", RecordType::A), SHORT).await;
    assert_eq!(result.expect_err("no answer"), ExchangeError::Silent);
}

#[tokio::test]
async fn a_server_from_before_edns_is_asked_without_it() {
    for bare in [false, true] {
        let server = Scripted::start(move |received| {
            let has_edns = received.bytes[11] == 1;
            let response = received.response();
            match (has_edns, bare) {
                (false, _) => vec![response.address(1).0],
                (true, false) => vec![response.code(1).0],
                (true, true) => vec![
                    response
                        .code(4)
                        .with(|bytes| {
                            bytes.truncate(HEADER_SIZE);
                            bytes[5] = 0;
                        })
                        .0,
                ],
            }
        })
        .await;
        assert_eq!(last_byte(&ask_for(&server, "example.com.").await.expect("an answer")), 1, "bare: {bare}");
    }
}

#[tokio::test]
async fn a_refusal_of_the_question_itself_is_an_answer() {
    for code in [1, 2, 3, 4, 5] {
        let server = over_udp(move |received| vec![received.response().code(code)]).await;
        let answer = ask_for(&server, "example.com.").await.expect("an answer");
        assert_eq!(u16::from(answer.code), u16::from(code));
    }
}

#[tokio::test]
async fn edns_is_our_own_and_flags_are_as_asked() {
    let server = over_udp(|received| vec![received.response()]).await;
    let asked = question("example.com.", RecordType::A);
    for bits in 0..8 {
        let flags = Flags {
            recursion_desired: bits & 1 != 0,
            dnssec_ok: bits & 2 != 0,
            checking_disabled: bits & 4 != 0,
        };
        let exchanger = Exchanger::new(1);
        exchanger.exchange(server.address, &asked, flags, Instant::now() + LONG).await.expect("an answer");
        let sent = server.received().pop().expect("it was asked").bytes;
        assert_eq!(sent[2] & 0x01 != 0, flags.recursion_desired);
        assert_eq!(sent[3] & 0x10 != 0, flags.checking_disabled);
        assert_eq!(sent[3] & 0x20 != 0, flags.recursion_desired, "AD, for resolvers alone");
        let dnssec_ok = u8::from(flags.dnssec_ok) << 7;
        let edns = sent.split_at(HEADER_SIZE + asked.wire_name().len() + 4).1;
        let (edns, cookie) = edns.split_at(edns.len() - 8);
        assert_eq!(edns, [0, 0, 41, 0x04, 0xd0, 0, 0, dnssec_ok, 0, 0, 12, 0, 10, 0, 8], "{cookie:?}");
        assert_eq!(sent[4..HEADER_SIZE], [0, 1, 0, 0, 0, 0, 0, 1]);
    }
}

#[tokio::test]
async fn our_random_spelling_is_seen_nowhere_in_the_answer() {
    let server = over_udp(|received| {
        // Owners and targets that point to the question, and labels copied from it as a DNAME makes them.
        let copied: Vec<u8> = [&received.bytes[HEADER_SIZE..HEADER_SIZE + 19], b"\x03new\x00"].concat();
        vec![received.response().record(5, &[0xc0, 12]).record(5, &copied).record(2, &[0xc0, 31])]
    })
    .await;
    for _ in 0..4 {
        let answer = ask_for(&server, "a-rather-long-name.example.com.").await.expect("an answer");
        for record in &answer.answers {
            let text = format!("{} {}", record.name, record.data);
            assert_eq!(text, text.to_lowercase());
        }
    }
}

#[tokio::test]
async fn records_of_any_type_pass_byte_for_byte() {
    for (name, record_type, bytes) in [
        ("_443._tcp.example.com.", 52, [3, 1, 1].repeat(12)),
        ("host.example.com.", 44, [4, 2].repeat(17)),
        ("example.com.", 39, b"\x03New\x07Example\x00".to_vec()),
        ("example.com.", 65280, (0..=255).collect()),
        ("example.com.", 65280, Vec::new()),
        ("example.com.", 65, b"\x00\x01\x00\x00\x02\x00\x00".to_vec()),
        // RRSIG: its signer's name is not lower-cased, since the signature covers other bytes than we could make.
        (
            "example.com.",
            46,
            [&[0, 1, 13, 2], [9; 14].as_slice(), b"\x07Example\x03Com\x00", &[0xab; 64]].concat(),
        ),
    ] {
        let copy = bytes.clone();
        let server = over_udp(move |received| vec![received.response().record(record_type, &copy)]).await;
        let asked = question(name, RecordType::from(record_type));
        let answer = ask_within(&server, &asked, LONG).await.expect("an answer");
        assert_eq!(u16::from(answer.answers[0].record_type()), record_type);
        assert_eq!(data(&answer.answers[0].data), bytes, "type {record_type}");
    }
}

#[tokio::test]
async fn the_root_can_be_asked_about() {
    let server = over_udp(|received| vec![received.response().record(2, b"\x01a\x04root\x00")]).await;
    let answer = ask_within(&server, &question(".", RecordType::NS), LONG).await.expect("an answer");
    assert_eq!(answer.answers[0].data.to_string(), "a.root.");
    assert!(answer.answers[0].name.is_root());
}

#[tokio::test]
async fn a_question_beyond_the_capacity_spends_no_time_on_waiting() {
    let server = Scripted::silent().await;
    let exchanger = Exchanger::new(1);
    let asked = question("example.com.", RecordType::A);
    let first = exchanger.exchange(server.address, &asked, RESOLVER, Instant::now() + SHORT);
    let second = exchanger.exchange(server.address, &asked, RESOLVER, Instant::now() + LONG);
    let (first, second) = tokio::join!(first, second);
    assert_eq!(first.expect_err("silence"), ExchangeError::Silent);
    assert_eq!(second.expect_err("no room"), ExchangeError::Busy);
    assert_eq!(server.received().len(), 1);
}

#[tokio::test]
async fn servers_are_asked_over_ipv6_too() {
    let Ok(socket) = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).await else {
        // A machine without IPv6.
        return;
    };
    let address = socket.local_addr().expect("it is bound");
    let serve = async {
        let mut buffer = [0; 512];
        let (length, from) = socket.recv_from(&mut buffer).await.expect("a question");
        let received = Received { bytes: buffer[..length].to_vec(), from, is_tcp: false };
        socket.send_to(&received.response().address(1).0, from).await.expect("sent");
    };
    let asked = question("example.com.", RecordType::A);
    let exchanger = Exchanger::new(1);
    let asking = exchanger.exchange(address, &asked, RESOLVER, Instant::now() + LONG);
    assert_eq!(last_byte(&tokio::join!(asking, serve).0.expect("an answer")), 1);
}

/// Data of a record in wire form, which ends a message that holds nothing else.
fn data(data: &RData) -> Vec<u8> {
    use hickory_proto::serialize::binary::{BinEncodable, BinEncoder};
    let mut bytes = Vec::new();
    data.emit(&mut BinEncoder::new(&mut bytes)).expect("it came in a message");
    bytes
}
