//! Whole listeners on loopback, in front of a responder whose speed the question decides.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod connection;
mod tcp;
mod udp;

use std::{sync::Arc, thread, time::Duration};

use hickory_proto::rr::RecordType;
use pkdns::{
    base::access::{AccessList, TrustedProxies},
    edge::transport::Admission,
    message::{Query, Reply},
    metrics::{ConnectionMetrics, Refusals},
    service::{AtOnce, Client, Respond, Transport},
};
use pkdns_testing::server;
use tokio::time::sleep;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Longest that a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(10);

/// Long enough for what must not come.
const GRACE: Duration = Duration::from_millis(200);

/// The first label of the question says what becomes of it, a second one of digits how much:
/// `now`, `big.<bytes>`, `silent`, `panic` at once, as is `told`, with the idle timeout of its connection in seconds for its
/// id; `slow.<milliseconds>`, `slowpanic` later. `hold.<milliseconds>`
/// keeps whoever asks waiting, which no real responder does: meanwhile requests pile up.
struct Scripted;

impl Respond for Scripted {
    fn at_once(&self, request: &[u8], client: Client, out: &mut Vec<u8>) -> AtOnce {
        let Ok(query) = Query::decode(request) else { return AtOnce::Silence };
        match script(&query) {
            ("now", _) => out.extend_from_slice(&reply_to(&query)),
            ("told", _) => {
                let Reply::Stream { idle_timeout: Some(idle), .. } = client.reply else {
                    panic!("it is asked over streams")
                };
                let id = u16::try_from(idle.as_secs()).expect("less than a day");
                out.extend_from_slice(&reply_to(&Query { id, ..query }));
            }
            ("big", bytes) => {
                let start = out.len();
                out.extend_from_slice(&reply_to(&query));
                out.resize(start + bytes, 0);
            }
            ("panic", _) => {
                out.extend_from_slice(b"half a reply");
                panic!("as the question asks");
            }
            ("silent", _) => return AtOnce::Silence,
            ("hold", milliseconds) => {
                thread::sleep(Duration::from_millis(milliseconds as u64));
                out.extend_from_slice(&reply_to(&query));
            }
            _ => return AtOnce::Later(Box::new(query)),
        }
        AtOnce::Replied
    }

    async fn later(&self, query: &Query, _client: Client, out: &mut Vec<u8>) {
        match script(query) {
            ("slow", milliseconds) => sleep(Duration::from_millis(milliseconds as u64)).await,
            _ => panic!("as the question asks"),
        }
        out.extend_from_slice(&reply_to(query));
    }
}

/// What listeners need to run and to stop.
struct Serving {
    responder: Arc<Scripted>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Serving {
    fn new() -> Self {
        Self { responder: Arc::new(Scripted), stop: CancellationToken::new(), tasks: TaskTracker::new() }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.ended().await;
    }

    async fn ended(&self) {
        self.tasks.close();
        tokio::time::timeout(PATIENCE, self.tasks.wait()).await.expect("every task ends after a stop");
    }
}

/// A request for `name` of type A.
fn query(id: u16, name: &str) -> Vec<u8> {
    let mut message = server::query(name, RecordType::A);
    message[..2].copy_from_slice(&id.to_be_bytes());
    message
}

/// The id, and the name to tell replies apart.
fn reply_to(query: &Query) -> Vec<u8> {
    [&query.id.to_be_bytes(), query.question.wire_name()].concat()
}

fn id_of(reply: &[u8]) -> u16 {
    u16::from_be_bytes([reply[0], reply[1]])
}

fn script(query: &Query) -> (&'static str, usize) {
    let name = query.question.name().to_string();
    let mut labels = name.split('.');
    let first = labels.next().unwrap_or_default();
    let known = ["now", "told", "big", "silent", "panic", "hold", "slow", "slowpanic"];
    let verb = known.into_iter().find(|verb| *verb == first).unwrap_or("now");
    (verb, labels.next().and_then(|label| label.parse().ok()).unwrap_or(0))
}

/// Everyone is served but 127.0.0.66, and no proxy is trusted.
fn nobody() -> Admission {
    let everyone = ["0.0.0.0/0", "::/0"].map(|range| range.parse().unwrap());
    Admission {
        access: AccessList::new(everyone.into(), vec!["127.0.0.66/32".parse().unwrap()]),
        trusted: TrustedProxies::new(Vec::new()),
        answers_strangers: false,
        refusals: Refusals::default(),
        connections: ConnectionMetrics::default(),
    }
}
