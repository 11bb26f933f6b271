//! DNS cookies on the side that asks (RFC 7873 section 5.3).

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use proptest::prelude::*;

use super::*;

/// What a server gives, by number.
fn part(number: u8) -> [u8; 16] {
    [number; 16]
}

impl Response {
    /// Closes the response with a cookie, which is the client's and this part of the server.
    fn cookie(self, received: &Received, server: &[u8]) -> Self {
        let client = received.cookie().expect("a cookie").client();
        self.cookie_bytes(0, &[&client, server].concat())
    }

    fn cookie_bytes(self, extended_code: u8, cookie: &[u8]) -> Self {
        self.edns(extended_code, &[&[0, 10, 0, cookie.len() as u8], cookie].concat())
    }

    /// Closes the response with BADCOOKIE.
    fn bad_cookie(self, received: &Received, server: &[u8]) -> Self {
        let client = received.cookie().expect("a cookie").client();
        self.code(7).cookie_bytes(1, &[&client, server].concat())
    }
}

/// The parts of the server's in what came, by transport; `None` for no cookie at all.
fn parts(server: &Scripted) -> Vec<(bool, Option<Vec<u8>>)> {
    let part = |received: &Received| received.cookie().map(|cookie| cookie.server().to_vec());
    server.received().iter().map(|received| (received.is_tcp, part(received))).collect()
}

const UDP: bool = false;
const TCP: bool = true;

fn given(number: u8) -> Option<Vec<u8>> {
    Some(part(number).to_vec())
}

fn none_yet() -> Option<Vec<u8>> {
    Some(Vec::new())
}

async fn ask_of(exchanger: &Exchanger, server: &Scripted, time: Duration) -> Result<Message, ExchangeError> {
    let asked = question("www.example.com.", RecordType::A);
    exchanger.exchange(server.address, &asked, RESOLVER, Instant::now() + time).await
}

async fn answer_of(exchanger: &Exchanger, server: &Scripted) -> Message {
    ask_of(exchanger, server, LONG).await.expect("an answer")
}

/// A server that gives a cookie with the first answer and does what it is told from then on, by the number of what it got.
async fn giving(then: impl Fn(&Received, usize) -> Vec<Response> + Send + Sync + 'static) -> Scripted {
    let count = AtomicUsize::new(0);
    Scripted::start(move |received| {
        let responses = match count.fetch_add(1, Ordering::SeqCst) {
            0 => vec![received.response().address(1).cookie(received, &part(1))],
            number => then(received, number),
        };
        responses.into_iter().map(|response| response.0).collect()
    })
    .await
}

#[tokio::test]
async fn each_server_gets_a_cookie_of_its_own_over_udp_and_tcp() {
    // Too large for a datagram, so that it is not always asked over TCP.
    let truncated = |received: &Received| {
        let response = received.response();
        vec![if received.is_tcp { response.record(16, &[255; 512]) } else { response.truncated() }.0]
    };
    let servers = [Scripted::start(truncated).await, Scripted::start(truncated).await];
    let exchanger = Exchanger::new(1);
    let mut cookies = HashSet::new();
    for server in &servers {
        for _ in 0..8 {
            answer_of(&exchanger, server).await;
        }
        let received = server.received();
        assert_eq!(received.len(), 16);
        cookies.extend(received.iter().map(|received| received.cookie().expect("a cookie").client()));
    }
    // Not even a server without cookies gets one of them twice.
    assert_eq!(cookies.len(), 32);
    assert!(parts(&servers[0]).iter().all(|(_, part)| *part == none_yet()));
}

#[tokio::test]
async fn what_a_server_gives_comes_back_to_it_alone() {
    let server = giving(|received, number| {
        vec![received.response().address(1).cookie(received, &part(1 + number as u8))]
    })
    .await;
    let other = over_udp(|received| vec![received.response().address(1)]).await;
    let exchanger = Exchanger::new(1);
    for _ in 0..3 {
        answer_of(&exchanger, &server).await;
        answer_of(&exchanger, &other).await;
    }
    assert_eq!(parts(&server), [(UDP, none_yet()), (UDP, given(1)), (UDP, given(2))]);
    assert_eq!(parts(&other), vec![(UDP, none_yet()); 3]);
    let clients = server.received().into_iter().map(|received| received.cookie().expect("one").client());
    assert_eq!(clients.collect::<HashSet<_>>().len(), 1, "its part belongs to ours");
}

#[tokio::test]
async fn an_answer_with_a_cookie_that_is_not_ours_is_ignored_and_the_true_one_still_taken() {
    type Forgery = fn(&Received) -> Vec<u8>;
    let forgeries: [(&str, Forgery); 5] = [
        ("another of a client", |_| vec![9; 24]),
        ("another of a client, and the server's", |_| [&[9; 8][..], &part(1)].concat()),
        ("one byte", |received| {
            let mut client = received.cookie().expect("a cookie").client();
            client[7] ^= 1;
            [&client[..], &part(1)].concat()
        }),
        ("too short", |received| received.cookie().expect("a cookie").client()[..7].to_vec()),
        ("too long", |received| [&received.cookie().expect("a cookie").client()[..], &[1; 33]].concat()),
    ];
    for (what, forgery) in forgeries {
        for truncated in [false, true] {
            let forged = move |received: &Received| {
                let response = received.response();
                let response = if truncated { response.truncated() } else { response.address(66) };
                response.cookie_bytes(0, &forgery(received))
            };
            let server = over_udp(move |received| {
                let right = received.response().address(1).cookie(received, &part(1));
                vec![forged(received), right]
            })
            .await;
            let exchanger = Exchanger::new(1);
            // To a server that is not known, and to one that is.
            for _ in 0..2 {
                assert_eq!(last_byte(&answer_of(&exchanger, &server).await), 1, "{what}");
            }
            assert_eq!(parts(&server), [(UDP, none_yet()), (UDP, given(1))], "{what}");
            let alone = over_udp(move |received| vec![forged(received)]).await;
            let nothing = ask_of(&Exchanger::new(1), &alone, SHORT).await;
            assert_eq!(nothing.expect_err(what), ExchangeError::Silent, "{what}");
            assert_eq!(alone.received().len(), 1, "{what}");
        }
    }
}

#[tokio::test]
async fn answers_without_the_cookie_that_a_server_gives_are_settled_over_tcp() {
    let server = giving(|received, _| match received.is_tcp {
        // However often.
        false => vec![received.response().address(66), received.response().address(66)],
        true => vec![received.response().address(2).cookie(received, &part(2))],
    })
    .await;
    let exchanger = Exchanger::new(1);
    answer_of(&exchanger, &server).await;
    for _ in 0..2 {
        assert_eq!(last_byte(&answer_of(&exchanger, &server).await), 2);
    }
    let expected = [
        (UDP, none_yet()),
        (UDP, given(1)),
        (TCP, given(1)),
        // It is still one that gives cookies.
        (UDP, given(2)),
        (TCP, given(2)),
    ];
    assert_eq!(parts(&server), expected);
}

#[tokio::test]
async fn the_true_answer_with_its_cookie_is_taken_while_tcp_hangs() {
    let server = giving(|received, _| match received.is_tcp {
        false => {
            let right = received.response().address(1).cookie(received, &part(1));
            vec![received.response().address(66), right]
        }
        true => Vec::new(),
    })
    .await;
    let exchanger = Exchanger::new(1);
    for _ in 0..3 {
        assert_eq!(last_byte(&answer_of(&exchanger, &server).await), 1);
    }
}

#[tokio::test]
async fn a_server_that_stops_giving_cookies_costs_tcp_once() {
    let server = giving(|received, _| vec![received.response().address(3)]).await;
    let exchanger = Exchanger::new(1);
    for _ in 0..4 {
        answer_of(&exchanger, &server).await;
    }
    let expected = [(UDP, none_yet()), (UDP, given(1)), (TCP, given(1)), (UDP, None), (UDP, None)];
    assert_eq!(parts(&server), expected);
}

#[tokio::test]
async fn a_server_that_stops_giving_cookies_and_has_no_tcp_loses_one_question() {
    let server = giving(|received, _| match received.is_tcp {
        false => vec![received.response().address(3)],
        true => Vec::new(),
    })
    .await;
    let exchanger = Exchanger::new(1);
    answer_of(&exchanger, &server).await;
    assert_eq!(ask_of(&exchanger, &server, SHORT).await.expect_err("TCP hangs"), ExchangeError::Silent);
    for _ in 0..2 {
        assert_eq!(last_byte(&answer_of(&exchanger, &server).await), 3);
    }
}

#[tokio::test]
async fn a_box_that_strips_cookies_from_udp_does_not_cost_tcp() {
    let server = Scripted::start(|received| {
        let is_first = received.cookie().is_some_and(|cookie| cookie.server().is_empty());
        vec![match received.is_tcp {
            true => received.response().address(1).cookie(received, &part(1)).0,
            false if is_first => received.response().truncated().0,
            false => received.response().address(1).0,
        }]
    })
    .await;
    let exchanger = Exchanger::new(1);
    for _ in 0..3 {
        answer_of(&exchanger, &server).await;
    }
    assert_eq!(parts(&server), [(UDP, none_yet()), (TCP, none_yet()), (UDP, given(1)), (UDP, given(1))]);
}

#[tokio::test]
async fn bad_cookie_brings_a_new_one_and_the_question_again() {
    // So many times in a row, and what is sent for it.
    for (times, expected) in [
        (1, vec![(UDP, given(1)), (UDP, given(2))]),
        (2, vec![(UDP, given(1)), (UDP, given(2)), (TCP, given(3))]),
        (3, vec![(UDP, given(1)), (UDP, given(2)), (TCP, given(3)), (UDP, None)]),
    ] {
        let server = giving(move |received, number| {
            vec![match number {
                number if number <= times => {
                    received.response().bad_cookie(received, &part(1 + number as u8))
                }
                _ if received.cookie().is_some() => received.response().address(4).cookie(received, &part(9)),
                _ => received.response().address(4),
            }]
        })
        .await;
        let exchanger = Exchanger::new(1);
        answer_of(&exchanger, &server).await;
        let answer = answer_of(&exchanger, &server).await;
        assert_eq!((answer.code, last_byte(&answer)), (ResponseCode::NoError, 4), "{times}");
        assert_eq!(parts(&server)[1..], expected, "{times}");
    }
}

#[tokio::test]
async fn bad_cookie_is_never_the_answer() {
    // With a cookie, and without one, whatever was sent.
    for has_cookie in [true, false] {
        let server = Scripted::start(move |received| {
            let response = match received.cookie() {
                Some(_) if has_cookie => received.response().bad_cookie(received, &part(1)),
                _ => received.response().code(7).edns(1, &[]),
            };
            vec![response.0]
        })
        .await;
        let exchanger = Exchanger::new(1);
        assert_eq!(answer_of(&exchanger, &server).await.code, ResponseCode::ServFail);
        let transports: Vec<_> =
            parts(&server).into_iter().map(|(is_tcp, part)| (is_tcp, part.is_some())).collect();
        assert_eq!(transports, [(UDP, true), (UDP, true), (TCP, true), (UDP, false)]);
        assert_eq!(answer_of(&exchanger, &server).await.code, ResponseCode::ServFail);
        assert_eq!(server.received().len(), 5, "it does without cookies now");
    }
    // Upstreams over TLS and HTTPS get no cookie.
    let asked = question("example.com.", RecordType::A);
    let request = Request::new(&asked, RESOLVER, Edns::Padded, Spelling::LowerCase).expect("random numbers");
    let received = Received { bytes: request.bytes.clone(), from: ([127, 0, 0, 1], 1).into(), is_tcp: true };
    assert_eq!(received.cookie(), None);
    let mut response = received.response().code(7).edns(1, &[]).0;
    assert_eq!(request.read_whole(&mut response).expect("an answer").code, ResponseCode::ServFail);
}

#[tokio::test]
async fn a_server_that_refuses_cookies_alone_keeps_edns() {
    // FORMERR and NOTIMP.
    for code in [1, 4] {
        let server = over_udp(move |received| {
            let response = received.response();
            vec![if received.cookie().is_some() { response.code(code) } else { response.address(1) }]
        })
        .await;
        let exchanger = Exchanger::new(1);
        for _ in 0..3 {
            assert_eq!(last_byte(&answer_of(&exchanger, &server).await), 1);
        }
        assert!(server.received().iter().all(|received| received.bytes[11] == 1), "EDNS");
        assert_eq!(parts(&server), [(UDP, none_yet()), (UDP, None), (UDP, None), (UDP, None)]);
    }
}

#[tokio::test]
async fn one_odd_name_does_not_switch_cookies_off_for_the_others() {
    // The first question that a server gets, refused without a cookie in whatever form it comes.
    for code in [1, 4] {
        let server = over_udp(move |received| {
            let response = received.response();
            let is_odd = received.question().wire_name().starts_with(&[3]);
            vec![match received.cookie() {
                _ if is_odd => response.code(code),
                Some(_) => response.address(1).cookie(received, &part(1)),
                None => response.address(1),
            }]
        })
        .await;
        let exchanger = Exchanger::new(1);
        let odd = question("odd.example.com.", RecordType::A);
        let refused = exchanger.exchange(server.address, &odd, RESOLVER, Instant::now() + LONG).await;
        assert_eq!(u16::from(refused.expect("a refusal").code), u16::from(code));
        let before = server.received().len();
        for _ in 0..2 {
            let other = question("a-rather-long-name.example.com.", RecordType::A);
            exchanger
                .exchange(server.address, &other, RESOLVER, Instant::now() + LONG)
                .await
                .expect("an answer");
        }
        assert_eq!(parts(&server)[before..], [(UDP, none_yet()), (UDP, given(1))]);
    }
}

#[tokio::test]
async fn a_server_that_refuses_a_question_keeps_its_cookie() {
    let refuses = Arc::new(AtomicUsize::new(1));
    let code = refuses.clone();
    let server = over_udp(move |received| {
        let response = received.response();
        match (received.cookie(), code.load(Ordering::SeqCst) as u8) {
            (None, code) => vec![response.code(code)],
            (Some(_), code) => vec![response.code(code).cookie(received, &part(1))],
        }
    })
    .await;
    let exchanger = Exchanger::new(1);
    assert_eq!(answer_of(&exchanger, &server).await.code, ResponseCode::FormErr);
    refuses.store(0, Ordering::SeqCst);
    assert_eq!(answer_of(&exchanger, &server).await.code, ResponseCode::NoError);
    assert_eq!(parts(&server), [(UDP, none_yet()), (UDP, None), (UDP, given(1))]);
}

proptest! {
    #[test]
    fn whatever_options_come_only_our_own_cookie_counts(
        options in prop::collection::vec(prop_oneof![any::<u8>(), 0..16_u8, Just(0)], 0..80),
        is_opened in any::<bool>(),
        is_expected in any::<bool>(),
        cut in 0..16_usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let _entered = runtime.enter();
        let (cookies, now) = (ServerCookies::new(), Instant::now());
        let (server, local) = (([192, 0, 2, 1], 53).into(), [192, 0, 2, 2].into());
        let mut sent = cookies.cookie_for(server, local, now).expect("random numbers").expect("a cookie");
        sent.is_expected = is_expected;
        let asked = question("example.com.", RecordType::A);
        let request =
            Request::new(&asked, RESOLVER, Edns::Sent(Some(sent)), Spelling::Random).expect("random numbers");
        let received = Received { bytes: request.bytes.clone(), from: server, is_tcp: false };
        // In some of them the random bytes stand where those of a cookie of the right length do.
        let opened = if is_opened { [&[0, 10, 0, options.len() as u8], &options[..]].concat() } else { options };
        let mut response = received.response().address(1).edns(0, &opened).0;
        response.truncate(response.len() - cut.min(opened.len()));
        match request.returned_cookie(&response) {
            Returned::Ours(_) => prop_assert!(false, "64 bits are not guessed"),
            Returned::Missing => prop_assert!(is_expected),
            Returned::Nothing => prop_assert!(!is_expected),
            Returned::Foreign => prop_assert!(opened.windows(2).any(|code| code == [0, 10])),
        }
        let _ = request.read_whole(&mut response);
    }
}
