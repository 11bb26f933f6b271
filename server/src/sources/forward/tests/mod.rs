mod fairness;

use std::{net::SocketAddr, sync::Mutex};

use hickory_proto::{
    op::ResponseCode,
    rr::rdata::{A, AAAA, CNAME},
};
use tokio::{
    net::UdpSocket,
    time::{Instant, sleep, timeout},
};

use super::{
    testing::{Honest, Scripted, question},
    *,
};

/// Long enough for a busy machine; no test that passes waits for it.
const LONG: Duration = Duration::from_secs(10);

const CLIENT: Asker =
    Asker::Client { address: IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), is_proven: true };

fn record(name: &str, data: RData) -> Record {
    Record::from_rdata(Name::from_ascii(name).expect("a name"), 300, data)
}

fn a(last: u8) -> RData {
    RData::A(A::new(192, 0, 2, last))
}

fn forwarder_to(upstreams: Vec<SocketAddr>) -> Forwarder {
    let tls = TlsClient::new(None).expect("nothing to read");
    Forwarder::new(upstreams.into_iter().map(UpstreamAddress::from).collect(), &tls)
}

async fn answering(code: u8) -> Scripted {
    Scripted::start(move |received| vec![received.response().code(code).0]).await
}

async fn ask(forwarder: &Forwarder, name: &str) -> Result<Arc<Message>, ForwardError> {
    timeout(LONG, forwarder.ask(CLIENT, &question(name, RecordType::A), false, false)).await.expect("an end")
}

#[tokio::test]
async fn a_name_is_answered_by_the_first_upstream() {
    let first = Honest::start(vec![record("example.com.", a(1))]).await;
    let second = Scripted::silent().await;
    let forwarder = forwarder_to(vec![first.address, second.address]);
    let answer = ask(&forwarder, "Example.COM.").await.expect("an answer");
    assert_eq!(addresses_in(&answer.answers, &Name::from_ascii("example.com.").expect("a name")).len(), 1);
    assert_eq!(ask(&forwarder, "absent.example.").await.expect("an answer").code, ResponseCode::NXDomain);
    assert_eq!(second.received().len(), 0);
}

#[tokio::test]
async fn after_a_reload_others_are_asked_also_what_is_under_way_and_those_that_stay_are_known_as_before() {
    let (silent, second) =
        (Scripted::silent().await, Honest::start(vec![record("example.com.", a(2))]).await);
    let encrypted: UpstreamAddress = "tls://127.0.0.1".parse().expect("an address");
    let directory = tempfile::tempdir().expect("a directory");
    let authority = directory.path().join("authority.pem");
    let made = rcgen::generate_simple_self_signed(["dns.example".to_string()]).expect("a certificate");
    std::fs::write(&authority, made.cert.pem()).expect("written");
    let tls = TlsClient::new(None).expect("nothing to read");
    let forwarder = Arc::new(Forwarder::new(vec![silent.address.into(), encrypted.clone()], &tls));
    let asking = tokio::spawn({
        let forwarder = forwarder.clone();
        async move { ask(&forwarder, "example.com.").await }
    });
    while silent.received().is_empty() {
        sleep(Duration::from_millis(5)).await;
    }
    let reload = |tls: &TlsClient| {
        let upstreams = vec![second.address.into(), silent.address.into(), encrypted.clone()];
        forwarder.reload(upstreams, &[], tls);
        forwarder.asked.load_full()
    };
    let (before, after) = (forwarder.asked.load_full(), reload(&tls));
    assert_eq!(ask(&forwarder, "example.com.").await.expect("an answer").answers.len(), 1);
    assert_eq!(second.asked(), 1);
    asking.abort();
    for (old, new) in [(0, 1), (1, 2)] {
        assert!(Arc::ptr_eq(&before.upstreams.list[old], &after.upstreams.list[new]));
    }
    assert!(Arc::ptr_eq(&after.upstreams, &reload(&tls).upstreams), "nothing differs");
    // A connection shows nobody else than whom it was made for.
    let others = reload(&TlsClient::new(Some(&authority)).expect("an authority"));
    let stay = |index: usize| Arc::ptr_eq(&after.upstreams.list[index], &others.upstreams.list[index]);
    assert_eq!([0, 1, 2].map(stay), [true, true, false]);
}

#[tokio::test]
async fn a_hundred_identical_questions_are_one_to_the_upstream() {
    let upstream = Honest::start(vec![record("example.com.", a(1))]).await;
    let forwarder = forwarder_to(vec![upstream.address]);
    let spellings = ["example.com.", "EXAMPLE.com.", "example.COM."];
    let asks = (0..100).map(|index| ask(&forwarder, spellings[index % 3]));
    let answers = join_all(asks).await;
    assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|answer| answer.answers.len() == 1)));
    assert_eq!(upstream.asked(), 1);
}

#[tokio::test]
async fn whoever_is_alone_with_a_question_has_its_answer_alone_and_copies_no_record() {
    let upstream = Honest::start(vec![record("example.com.", a(1))]).await;
    let forwarder = forwarder_to(vec![upstream.address]);
    let answer = ask(&forwarder, "example.com.").await.expect("an answer");
    assert!(Arc::try_unwrap(answer).is_ok());
}

#[tokio::test]
async fn questions_that_differ_in_do_or_cd_or_type_are_not_shared() {
    let upstream = Honest::start(vec![record("example.com.", a(1))]).await;
    let forwarder = forwarder_to(vec![upstream.address]);
    let (address, text) =
        (question("example.com.", RecordType::A), question("example.com.", RecordType::TXT));
    let asks =
        [(&address, false, false), (&address, true, false), (&address, false, true), (&text, false, false)];
    let asks =
        asks.map(|(question, dnssec_ok, checking)| forwarder.ask(CLIENT, question, dnssec_ok, checking));
    assert!(join_all(asks).await.iter().all(Result::is_ok));
    assert_eq!(upstream.asked(), 4);
}

#[tokio::test]
async fn a_question_goes_on_when_its_client_leaves() {
    let upstream = Honest::start(vec![record("example.com.", a(1))]).await;
    let forwarder = forwarder_to(vec![upstream.address]);
    tokio::select! {
        biased;
        _ = ask(&forwarder, "example.com.") => panic!("the upstream is not that quick"),
        () = tokio::task::yield_now() => {}
    }
    assert_eq!(forwarder.asked.load().flights.under_way(), 1);
    let ended = async {
        while forwarder.asked.load().flights.under_way() > 0 {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(LONG, ended).await.expect("no task is left behind");
    assert_eq!(upstream.asked(), 1);
}

#[tokio::test]
async fn a_silent_upstream_is_passed_over() {
    let (silent, honest) =
        (Scripted::silent().await, Honest::start(vec![record("example.com.", a(1))]).await);
    let forwarder = forwarder_to(vec![silent.address, honest.address]);
    let answer = ask(&forwarder, "example.com.").await.expect("an answer");
    assert_eq!(answer.answers.len(), 1);
    assert_eq!(silent.received().iter().filter(|received| !received.question().name().is_root()).count(), 1);
}

#[tokio::test]
async fn servfail_and_refused_from_one_upstream_go_to_the_next() {
    for code in [2, 5] {
        let (unwilling, honest) =
            (answering(code).await, Honest::start(vec![record("example.com.", a(1))]).await);
        let forwarder = forwarder_to(vec![unwilling.address, honest.address]);
        assert_eq!(ask(&forwarder, "example.com.").await.expect("an answer").answers.len(), 1);
    }
}

#[tokio::test]
async fn servfail_from_all_upstreams_is_the_answer_with_its_reason() {
    let first = answering(5).await;
    let second = Scripted::start(|received| {
        let response = received.response().code(2).with(|bytes| {
            bytes[11] = 1;
            bytes.extend_from_slice(
                b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x09\x00\x0f\x00\x05\x00\x09why",
            );
        });
        vec![response.0]
    })
    .await;
    let forwarder = forwarder_to(vec![first.address, second.address]);
    let answer = ask(&forwarder, "example.com.").await.expect("an answer");
    assert_eq!(answer.code, ResponseCode::ServFail);
    let reason = answer.extended_error.clone().expect("a reason");
    assert_eq!((reason.code, reason.text.as_str()), (9, "why"));
    assert_eq!((first.received().len(), second.received().len()), (1, 1));
}

#[tokio::test]
async fn no_upstream_that_answers_is_an_error_within_the_deadline() {
    let (one, other) = (Scripted::silent().await, Scripted::silent().await);
    let forwarder = forwarder_to(vec![one.address, other.address]);
    let start = Instant::now();
    let result = ask(&forwarder, "example.com.").await;
    assert_eq!(result.expect_err("silence"), ForwardError::NoAnswer);
    let took = start.elapsed();
    assert!(took >= DEADLINE && took < DEADLINE + Duration::from_secs(3), "{took:?}");
    assert_eq!(forwarder.asked.load().flights.under_way(), 0, "no task is left behind");
}

#[tokio::test]
async fn without_upstreams_there_is_an_error_at_once() {
    let forwarder = forwarder_to(Vec::new());
    assert_eq!(ask(&forwarder, "example.com.").await.expect_err("nobody"), ForwardError::NoAnswer);
}

#[tokio::test]
async fn an_upstream_on_this_machine_may_vouch_for_data() {
    let upstream = Scripted::start(|received| vec![received.response().address(1).authentic().0]).await;
    let forwarder = forwarder_to(vec![upstream.address]);
    assert!(ask(&forwarder, "example.com.").await.expect("an answer").authentic_data);
}

#[tokio::test]
async fn hosts_are_looked_up_with_both_families_and_along_cnames() {
    let upstream = Honest::start(vec![
        record("router.example.", RData::CNAME(CNAME(Name::from_ascii("a.example.").expect("a name")))),
        record("a.example.", RData::CNAME(CNAME(Name::from_ascii("b.example.").expect("a name")))),
        record("b.example.", a(7)),
        record("b.example.", RData::AAAA(AAAA::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7))),
        record("stranger.example.", a(66)),
    ])
    .await;
    let forwarder = forwarder_to(vec![upstream.address]);
    let addresses: [IpAddr; 2] =
        ["192.0.2.7", "2001:db8::7"].map(|address| address.parse().expect("an address"));
    assert_eq!(forwarder.lookup_host("Router.example").await, addresses);
    assert_eq!(forwarder.lookup_host("absent.example").await, [] as [IpAddr; 0]);
    assert_eq!(forwarder.lookup_host("not a name..").await, [] as [IpAddr; 0]);
    let asked = upstream.asked();
    assert_eq!(
        forwarder.lookup_host("192.0.2.1").await,
        ["192.0.2.1".parse::<IpAddr>().expect("an address")]
    );
    assert_eq!(forwarder.lookup_host("2001:db8::1").await.len(), 1);
    assert_eq!(upstream.asked(), asked, "an address needs no question");
}

#[test]
fn addresses_of_names_outside_the_chain_are_not_taken() {
    let records = [
        record("b.example.", a(1)),
        record("a.example.", RData::CNAME(CNAME(Name::from_ascii("b.example.").expect("a name")))),
        record("b.example.", RData::CNAME(CNAME(Name::from_ascii("a.example.").expect("a name")))),
        record("c.example.", a(66)),
    ];
    let name = Name::from_ascii("A.example.").expect("a name");
    assert_eq!(addresses_in(&records, &name), ["192.0.2.1".parse::<IpAddr>().expect("an address")]);
}

/// Stands for a forwarder whose upstream we are: what it is asked, it asks us.
struct Relay {
    address: SocketAddr,
    /// The forwarder that gets the questions, while it is set.
    back_to: Arc<Mutex<Option<Arc<Forwarder>>>>,
    questions_back: Arc<Mutex<usize>>,
    /// Whether what it is asked gets lost.
    is_silent: Arc<Mutex<bool>>,
}

impl Relay {
    async fn start() -> Self {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = socket.local_addr().expect("it is bound");
        let back_to = Arc::new(Mutex::new(None::<Arc<Forwarder>>));
        let questions_back = Arc::new(Mutex::new(0));
        let is_silent = Arc::new(Mutex::new(false));
        let loses = is_silent.clone();
        let (forwarder, count) = (back_to.clone(), questions_back.clone());
        tokio::spawn(async move {
            let socket = Arc::new(socket);
            let mut buffer = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                if *loses.lock().expect("no panic while held") {
                    continue;
                }
                let received = testing::Received { bytes: buffer[..length].to_vec(), from, is_tcp: false };
                let forwarder = forwarder.lock().expect("no panic while held").clone();
                let (socket, count) = (socket.clone(), count.clone());
                // What our service does with a question that misses the caches.
                tokio::spawn(async move {
                    let code = match forwarder {
                        None => 3,
                        Some(forwarder) => {
                            *count.lock().expect("no panic while held") += 1;
                            let question = received.question();
                            if forwarder.is_loop_probe(&question) {
                                5
                            } else {
                                forwarder
                                    .ask(CLIENT, &question, false, false)
                                    .await
                                    .map_or(2, |message| message.code.low())
                            }
                        }
                    };
                    let _ = socket.send_to(&received.response().code(code).0, from).await;
                });
            }
        });
        Self { address, back_to, questions_back, is_silent }
    }

    fn relay_to(&self, forwarder: Option<&Arc<Forwarder>>) {
        *self.back_to.lock().expect("no panic while held") = forwarder.cloned();
    }

    fn questions_back(&self) -> usize {
        *self.questions_back.lock().expect("no panic while held")
    }
}

#[tokio::test]
async fn an_upstream_that_forwards_to_us_is_found_and_skipped() {
    let (relay, honest) = (Relay::start().await, Honest::start(vec![record("example.com.", a(1))]).await);
    let forwarder = Arc::new(forwarder_to(vec![relay.address, honest.address]));
    relay.relay_to(Some(&forwarder));
    forwarder.asked.load_full().upstreams.look_for_loops().await;
    assert_eq!(relay.questions_back(), 1, "the probe");
    assert_eq!(ask(&forwarder, "example.com.").await.expect("an answer").answers.len(), 1);
    assert_eq!(relay.questions_back(), 1, "nothing but the probe goes round");
}

#[tokio::test]
async fn with_nothing_but_loops_questions_fail_at_once_and_are_asked_again_when_the_loop_is_gone() {
    let relay = Relay::start().await;
    let forwarder = Arc::new(forwarder_to(vec![relay.address]));
    relay.relay_to(Some(&forwarder));
    forwarder.asked.load_full().upstreams.look_for_loops().await;
    assert_eq!(ask(&forwarder, "example.com.").await.expect_err("a loop"), ForwardError::Loop);
    assert_eq!(relay.questions_back(), 1);

    relay.relay_to(None);
    forwarder.asked.load_full().upstreams.look_for_loops().await;
    assert_eq!(ask(&forwarder, "example.com.").await.expect("an answer").code, ResponseCode::NXDomain);
}

#[tokio::test]
async fn a_probe_that_got_lost_does_not_say_that_a_loop_is_gone() {
    let relay = Relay::start().await;
    let forwarder = Arc::new(forwarder_to(vec![relay.address]));
    relay.relay_to(Some(&forwarder));
    forwarder.asked.load_full().upstreams.look_for_loops().await;
    *relay.is_silent.lock().expect("no panic while held") = true;
    tokio::time::pause();
    forwarder.asked.load_full().upstreams.look_for_loops().await;
    assert_eq!(ask(&forwarder, "example.com.").await.expect_err("a loop"), ForwardError::Loop);
}

#[tokio::test]
async fn a_loop_that_is_not_found_yet_does_not_go_round_for_ever() {
    let relay = Relay::start().await;
    let forwarder = Arc::new(forwarder_to(vec![relay.address]));
    relay.relay_to(Some(&forwarder));
    let result = ask(&forwarder, "example.com.").await;
    assert_eq!(result.expect_err("nobody knows"), ForwardError::NoAnswer);
    // Each datagram of the one question comes back once and joins the question under way, and so does what the upstream
    // is asked meanwhile to see whether it is there.
    assert!(relay.questions_back() <= 12, "{}", relay.questions_back());
}

#[tokio::test]
async fn the_watch_looks_at_once_and_ends_when_told() {
    let relay = Relay::start().await;
    let forwarder = Arc::new(forwarder_to(vec![relay.address]));
    relay.relay_to(Some(&forwarder));
    let shutdown = CancellationToken::new();
    let (watched, told) = (forwarder.clone(), shutdown.clone());
    let watch = tokio::spawn(async move { watched.watch_for_loops(told).await });
    let found = async {
        while ask(&forwarder, "example.com.").await.err() != Some(ForwardError::Loop) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LONG, found).await.expect("the loop is found");
    shutdown.cancel();
    timeout(LONG, watch).await.expect("it ends").expect("without a panic");
}
