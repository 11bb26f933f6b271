//! A matrix of odd upstreams, in process: what a client is answered, and what a question costs the first time and the
//! tenth, when all that can be learnt of the upstream has been.
//!
//! The longest that a client waits is a matter of paused time, in `forward::race`; what it comes to here is printed:
//! `cargo test -p pkdns --test upstreams another -- --nocapture`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail where it stands")]

mod encrypted;
mod encrypted_rows;
mod link_local;
mod plain;
mod plain_rows;
mod raw_http;

use std::{
    net::IpAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use hickory_proto::{
    op::ResponseCode,
    rr::{DNSClass, Name, RData, RecordType},
};
use pkdns::{
    config::{Config, UpstreamAddress},
    message::{self, Message, Question},
    sources::forward::{Asker, ForwardError, Forwarder, TlsClient},
};
use pkdns_testing::{server::TestServer, support::client};
use tokio::time::timeout;

/// Long enough for a busy machine; no test that passes waits for it.
const LONG: Duration = Duration::from_secs(60);

/// Questions after which nothing new is learnt.
const QUESTIONS: usize = 10;

/// What has reached an upstream: questions, whether datagrams, messages on a stream or requests, and connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Cost {
    pub(crate) questions: usize,
    pub(crate) connections: usize,
}

pub(crate) const fn cost(questions: usize, connections: usize) -> Cost {
    Cost { questions, connections }
}

/// Counts both, as long as an upstream lives.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    questions: AtomicUsize,
    connections: AtomicUsize,
}

impl Counts {
    /// What is asked to find out how the upstream is doesn't count.
    pub(crate) fn question(&self, name_starts: Option<&u8>) {
        if name_starts.is_some_and(|length| *length > 0) {
            self.questions.fetch_add(1, Ordering::SeqCst);
        }
    }

    pub(crate) fn connection(&self) {
        self.connections.fetch_add(1, Ordering::SeqCst);
    }

    fn so_far(&self) -> Cost {
        cost(self.questions.load(Ordering::SeqCst), self.connections.load(Ordering::SeqCst))
    }
}

/// What comes of a question.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Expected {
    /// The upstream's address, 192.0.2.1.
    Address,
    /// The upstream's code and no records.
    Code(ResponseCode),
    /// No answer, for a reason that has these words.
    Because(&'static str),
    /// The address of another upstream that is asked second, 192.0.2.2.
    Second,
}

/// One upstream that is odd.
pub(crate) struct Row {
    pub(crate) what: &'static str,
    pub(crate) upstream: UpstreamAddress,
    pub(crate) counts: Arc<Counts>,
    pub(crate) expected: Expected,
    pub(crate) first: Cost,
    /// At most.
    pub(crate) tenth: Cost,
}

impl Row {
    /// Asks ten questions, and then one of a whole server. Returns what is wrong.
    pub(crate) async fn faults(self, second: UpstreamAddress, authority: &Path) -> Vec<String> {
        let mut faults = Vec::new();
        let upstreams = match self.expected {
            Expected::Second => vec![self.upstream.clone(), second],
            _ => vec![self.upstream.clone()],
        };
        let tls = TlsClient::new(Some(authority)).unwrap();
        let forwarder = Forwarder::new(upstreams.clone(), &tls);
        let mut costs = Vec::new();
        for number in 0..QUESTIONS {
            let before = self.counts.so_far();
            let answer = ask(&forwarder, number).await;
            if let Some(fault) = self.fault(&answer) {
                faults.push(format!("{}: question {number}: {fault}", self.what));
            }
            let after = self.counts.so_far();
            costs.push(cost(after.questions - before.questions, after.connections - before.connections));
        }
        let (mut first, tenth) = (costs[0], costs[QUESTIONS - 1]);
        // What a silent upstream minds is found out before it is asked again, unless this machine is slow.
        if self.what.starts_with("silence") && first.questions <= 2 * self.first.questions {
            first = self.first;
        }
        // To find out whether a silent upstream is there takes connections as well.
        let connections_count = !matches!(self.expected, Expected::Second);
        if first.questions != self.first.questions
            || (connections_count && first.connections != self.first.connections)
            || tenth.questions > self.tenth.questions
            || (connections_count && tenth.connections > self.tenth.connections)
        {
            faults.push(format!("{}: costs {costs:?}", self.what));
        }
        let mut config = Config { fallback_dns: upstreams, ..Config::default() };
        config.fallback_ca_path = Some(authority.to_owned());
        let server = TestServer::builder().config(config).start();
        let name = Name::from_ascii("a-rather-long-name.example.").unwrap();
        let question = client::Question::new(name, RecordType::A);
        match question.ask(server.address, client::Transport::Udp).await {
            Ok(reply) => {
                let expected = match self.expected {
                    Expected::Address | Expected::Second => (ResponseCode::NoError, 1, None),
                    Expected::Code(code @ (ResponseCode::NoError | ResponseCode::NXDomain)) => {
                        (code, 0, None)
                    }
                    Expected::Code(code) => (code, 0, Some(0)),
                    Expected::Because(_) => (ResponseCode::ServFail, 0, Some(22)),
                };
                let reply = (reply.code, reply.answers.len(), reply.extended_error);
                if reply != expected {
                    faults.push(format!("{}: a client is answered {reply:?}", self.what));
                }
            }
            Err(error) => faults.push(format!("{}: a client: {error}", self.what)),
        }
        faults
    }

    /// Asks ten questions where `second` can be asked as well. Returns how long the first took and the longest of the others,
    /// or what is wrong.
    async fn times(self, second: UpstreamAddress, authority: &Path) -> Result<[Duration; 2], String> {
        let tls = TlsClient::new(Some(authority)).unwrap();
        let forwarder = Forwarder::new(vec![self.upstream.clone(), second], &tls);
        let mut times = [Duration::ZERO; 2];
        for number in 0..QUESTIONS {
            let asked = Instant::now();
            let answer = ask(&forwarder, number).await;
            let time = &mut times[number.min(1)];
            *time = asked.elapsed().max(*time);
            let is_of_second = matches!(&answer, Ok(answer) if addresses(answer) == [2]);
            if let Some(fault) = self.fault(&answer).filter(|_| !is_of_second) {
                return Err(format!("{}: question {number}: {fault}", self.what));
            }
        }
        println!("| {} | {:.0} ms | {:.0} ms |", self.what, millis(times[0]), millis(times[1]));
        Ok(times)
    }

    fn fault(&self, answer: &Result<Arc<Message>, ForwardError>) -> Option<String> {
        let is_expected = match (self.expected, answer) {
            (Expected::Address, Ok(answer)) => addresses(answer) == [1],
            (Expected::Second, Ok(answer)) => addresses(answer) == [2],
            (Expected::Code(code), Ok(answer)) => answer.code == code && answer.answers.is_empty(),
            (Expected::Because(words), Err(error)) => error.to_string().contains(words),
            _ => false,
        };
        (!is_expected).then(|| match answer {
            Ok(answer) => format!("{} {:?}", answer.code, addresses(answer)),
            Err(error) => error.to_string(),
        })
    }
}

async fn ask(forwarder: &Forwarder, number: usize) -> Result<Arc<Message>, ForwardError> {
    let name = Name::from_ascii(format!("a-rather-long-name-{number}.example.")).unwrap();
    let question = Question::new(&name, RecordType::A, DNSClass::IN).unwrap();
    timeout(LONG, forwarder.ask(Asker::Own, &question, false, false)).await.expect("an end")
}

fn addresses(answer: &Message) -> Vec<u8> {
    let last_byte = |data: &RData| match message::address(data) {
        Some(IpAddr::V4(address)) => address.octets()[3],
        _ => 0,
    };
    answer.answers.iter().map(|record| last_byte(&record.data)).collect()
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

async fn answered_by(upstream: &plain::Upstream) -> client::Reply {
    let config = Config { fallback_dns: vec![upstream.address.into()], ..Config::default() };
    let server = TestServer::builder().config(config).start();
    server.resolve("www.example.", RecordType::A).await
}

#[tokio::test]
async fn an_alias_that_leads_back_ends() {
    let reply = answered_by(&plain::start(plain::loops(), plain::Tcp::Serves).await).await;
    assert_eq!((reply.code, reply.answers.len()), (ResponseCode::NoError, 1), "as the upstream has it");
}

#[tokio::test]
async fn a_time_to_live_is_a_day_at_most_and_none_with_the_highest_bit() {
    // RFC 2181 section 8.
    let day = 86_400;
    for (given, expected) in
        [(day - 1, day - 1), (day, day), (day + 1, day), ((1 << 31) - 1, day), (1 << 31, 0), (u32::MAX, 0)]
    {
        let reply = answered_by(&plain::start(plain::lives(given), plain::Tcp::Serves).await).await;
        assert_eq!(reply.answers[0].ttl, expected, "{given}");
    }
}

/// Every row at once, as some take their time.
async fn check(rows: Vec<Row>, authority: &Path) {
    let second = plain::start(plain::answers(2), plain::Tcp::Serves).await;
    let faults = rows.into_iter().map(|row| row.faults(second.address.into(), authority));
    let faults: Vec<_> = futures_util::future::join_all(faults).await.into_iter().flatten().collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[tokio::test]
async fn plain_upstreams() {
    let authority = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(authority.path(), encrypted::certificate().cert.pem()).unwrap();
    let (rows, _servers) = plain_rows::rows().await;
    assert!(rows.len() >= 30);
    check(rows, authority.path()).await;
}

#[tokio::test]
async fn encrypted_upstreams() {
    let authority = tempfile::NamedTempFile::new().unwrap();
    let certificate = encrypted::certificate();
    std::fs::write(authority.path(), certificate.cert.pem()).unwrap();
    let (rows, _servers) = encrypted_rows::rows(&certificate).await;
    assert!(rows.len() >= 35);
    check(rows, authority.path()).await;
}

/// How long that takes is printed and not judged.
#[tokio::test]
async fn another_upstream_that_is_fine_answers_for_every_odd_one() {
    let authority = tempfile::NamedTempFile::new().unwrap();
    let certificate = encrypted::certificate();
    std::fs::write(authority.path(), certificate.cert.pem()).unwrap();
    let (mut rows, _plain) = plain_rows::rows().await;
    let (encrypted, _encrypted) = encrypted_rows::rows(&certificate).await;
    rows.extend(encrypted);
    let second = plain::start(plain::answers(2), plain::Tcp::Serves).await;
    println!("\n| an upstream that | first question | longest of nine more |\n|---|---:|---:|");
    let times = rows.into_iter().map(|row| row.times(second.address.into(), authority.path()));
    let times = futures_util::future::join_all(times).await;
    let faults: Vec<_> = times.iter().filter_map(|times| times.as_ref().err().cloned()).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let longest = |index: usize| times.iter().flatten().map(|times| times[index]).max().unwrap_or_default();
    println!(
        "| **the longest of {}** | {:.0} ms | {:.0} ms |",
        times.len(),
        millis(longest(0)),
        millis(longest(1))
    );
}
