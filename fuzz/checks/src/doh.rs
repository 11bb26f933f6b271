//! The input is an HTTP request in lines, and what becomes of its question: `<fate> <method> <address>`, headers, an
//! empty line, a body. What GET does not need of the body are the records of the answer.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use futures_util::stream;
use hickory_proto::{op::ResponseCode, rr::RecordType};
use http::{HeaderName, HeaderValue, Request, Response, header, request};
use http_body_util::{BodyExt, Either, Full, StreamBody};
use pkdns::{
    base::access::{AccessList, TrustedProxies},
    edge::http::{DNS_PATH, JSON_PATH, Limits, Site, metrics_routes},
    message::{Age, Answer, HEADER_SIZE, MAX_STREAM_SIZE, Query, Rejection, read_message, read_records},
    metrics::Metrics,
    service::{AtOnce, Client, Respond},
};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio_util::task::TaskTracker;

const MESSAGE: &str = "application/dns-message";

/// A trusted proxy, so that what it says of its client is read.
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Bytes in which a body without a length comes.
const PIECE: usize = 300;

type Body = Either<Full<Bytes>, StreamBody<stream::Iter<std::vec::IntoIter<Piece>>>>;
type Piece = Result<hyper::body::Frame<Bytes>, std::convert::Infallible>;

thread_local! {
    static SERVER: Server = Server::new();
}

/// Panics where the module does, or where it breaks a promise.
pub fn check(input: &[u8]) {
    let Some((fate, request, body)) = read(input) else { return };
    let sent = request.clone();
    let asked = is_clearly_asked(&sent, fate, &body);
    let (head, reply) = SERVER.with(|server| server.exchange(fate, request, body));
    let response = Response::from_parts(head, reply);
    if ![DNS_PATH, JSON_PATH].contains(&sent.uri.path()) {
        assert!([200, 400, 404, 405].contains(&response.status().as_u16()));
        return;
    }
    assert!(!asked || response.status() == 200, "a good question gets {}", response.status());
    match response.headers().get(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
        Some(origin) => assert_eq!(origin, "*"),
        // Two headers name different clients: nobody knows who would read it.
        None => assert_eq!(response.status(), 400),
    }
    match response.status().as_u16() {
        200 => check_answer(&sent, &response),
        204 => assert!(sent.method == "OPTIONS" && response.body().is_empty()),
        400 | 405 | 406 | 413 | 414 | 415 | 429 => check_refusal(&sent, &response),
        other => assert_eq!(other, 0, "this status is not documented"),
    }
}

fn check_answer(sent: &request::Parts, response: &Response<Bytes>) {
    let (headers, body) = (response.headers(), response.body());
    let kept = headers[header::CACHE_CONTROL].to_str().unwrap_or_default();
    let kept = kept.strip_prefix("max-age=").map(|seconds| seconds.parse::<u32>().unwrap_or(u32::MAX));
    assert!(kept.is_some() || headers[header::CACHE_CONTROL] == "no-store");
    assert_eq!(headers[header::VARY], "accept");
    if sent.method == "HEAD" {
        let length = headers[header::CONTENT_LENGTH].to_str().map(str::parse::<usize>);
        assert!(
            body.is_empty() && length.is_ok_and(|length| length.is_ok_and(|length| length >= HEADER_SIZE))
        );
        return;
    }
    let (code, times) = if headers[header::CONTENT_TYPE] == MESSAGE {
        assert!(body.len() <= MAX_STREAM_SIZE);
        assert_eq!(Query::decode(body).err(), Some(Rejection::Silence), "not a response");
        let message = read_message(body);
        assert!(message.is_ok(), "a body that cannot be read: {body:02x?}");
        let Ok(message) = message else { return };
        (u16::from(message.code), message.answers.iter().map(|record| record.ttl).collect::<Vec<_>>())
    } else {
        let json: Value = serde_json::from_slice(body).unwrap_or_default();
        assert!(json["Question"].is_array() && json["Status"].is_u64(), "not the JSON that is known: {json}");
        let answers = json["Answer"].as_array().cloned().unwrap_or_default();
        for answer in &answers {
            assert!(answer["name"].is_string() && answer["data"].is_string() && answer["type"].is_u64());
        }
        let number = |value: &Value| value.as_u64().and_then(|number| u32::try_from(number).ok());
        let times = answers.iter().map(|answer| number(&answer["TTL"]).unwrap_or_default()).collect();
        (number(&json["Status"]).unwrap_or(u32::MAX) as u16, times)
    };
    if let Some(kept) = kept {
        assert!(matches!(code, 0 | 3), "a failure is kept");
        assert!(times.iter().all(|ttl| *ttl >= kept), "kept for {kept} s, records for {times:?}");
    }
}

fn check_refusal(sent: &request::Parts, response: &Response<Bytes>) {
    let headers = response.headers();
    assert_eq!(headers[header::CONTENT_TYPE], "text/plain; charset=utf-8");
    assert_eq!(headers[header::CACHE_CONTROL], "no-store");
    assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    assert_eq!(response.status() == 429, headers.contains_key(header::RETRY_AFTER));
    assert_eq!(response.status() == 405, headers.contains_key(header::ALLOW));
    let text = std::str::from_utf8(response.body()).unwrap_or_default();
    assert!(text.contains(DNS_PATH) || sent.method == "HEAD", "nothing to read for people");
}

/// Whether there can be no doubt that the request has to be answered.
fn is_clearly_asked(sent: &request::Parts, fate: Fate, body: &[u8]) -> bool {
    let is_plain =
        sent.headers.len() == 1 && sent.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == MESSAGE);
    let is_short = body.len() <= MAX_STREAM_SIZE;
    sent.method == "POST" && is_plain && is_short && fate.is_answer() && Query::decode(body).is_ok()
}

/// What becomes of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Cached,
    LookedUp,
    OverQuota,
    Lost,
}

impl Fate {
    fn is_answer(self) -> bool {
        matches!(self, Self::Cached | Self::LookedUp)
    }
}

fn read(input: &[u8]) -> Option<(Fate, request::Parts, Bytes)> {
    let end = input.windows(2).position(|pair| pair == b"\n\n")?;
    let body = Bytes::copy_from_slice(input.get(end + 2..)?);
    let mut lines = input.get(..end)?.split(|byte| *byte == b'\n');
    let mut words = lines.next()?.splitn(3, |byte| *byte == b' ');
    let fate = match words.next()? {
        b"cached" => Fate::Cached,
        b"quota" => Fate::OverQuota,
        b"lost" => Fate::Lost,
        _ => Fate::LookedUp,
    };
    let mut request = Request::builder().method(words.next()?).uri(words.next()?);
    for line in lines {
        let at = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = (line.get(..at)?, line.get(at + 1..)?.trim_ascii());
        request = request.header(HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?);
    }
    Some((fate, request.body(()).ok()?.into_parts().0, body))
}

struct Server {
    runtime: Runtime,
    site: Site<Scripted>,
    script: Arc<Scripted>,
}

impl Server {
    fn new() -> Self {
        let script = Arc::new(Scripted(Mutex::new((Fate::Lost, Answer::empty(ResponseCode::ServFail)))));
        let everyone = AccessList::new(vec!["0.0.0.0/0".parse().expect("a range")], Vec::new());
        let trusted = TrustedProxies::new(vec!["127.0.0.0/8".parse().expect("a range")]);
        let routes = metrics_routes(Metrics::default());
        let site = Site::new(routes, everyone, trusted, Limits::default())
            .with_dns(script.clone(), &TaskTracker::new());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.expect("a runtime");
        Self { runtime, site, script }
    }

    fn exchange(&self, fate: Fate, head: request::Parts, body: Bytes) -> (http::response::Parts, Bytes) {
        *self.script.0.lock().unwrap_or_else(PoisonError::into_inner) = (fate, answer(&body));
        let body: Body = if head.headers.contains_key(header::CONTENT_LENGTH) {
            Either::Left(Full::new(body))
        } else {
            let pieces = body.chunks(PIECE).map(|piece| Ok(hyper::body::Frame::data(body.slice_ref(piece))));
            Either::Right(StreamBody::new(stream::iter(pieces.collect::<Vec<Piece>>())))
        };
        self.runtime.block_on(async {
            let response = self.site.respond(PEER, true, Request::from_parts(head, body)).await;
            let (head, body) = response.into_parts();
            (head, body.collect().await.map(|body| body.to_bytes()).unwrap_or_default())
        })
    }
}

/// The answer that the bytes are, or have the records of.
fn answer(bytes: &[u8]) -> Answer {
    match read_message(bytes) {
        Ok(message) => Answer {
            answers: message.answers,
            authorities: message.authorities,
            additionals: message.additionals,
            authentic: message.authentic_data,
            extended_error: message.extended_error,
            ..Answer::empty(message.code)
        },
        Err(_) => {
            let mut answers = read_records(bytes);
            answers.retain(|record| record.record_type() != RecordType::OPT);
            Answer { answers, ..Answer::empty(ResponseCode::NoError) }
        }
    }
}

/// Deals with questions as the service does, but that the answer is given.
struct Scripted(Mutex<(Fate, Answer)>);

impl Scripted {
    fn fate(&self) -> Fate {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    fn write(&self, query: &Query, client: Client, out: &mut Vec<u8>) {
        let script = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        script.1.encode(&query.question).write(query, client.reply, Age::Seconds(1), out);
    }
}

impl Respond for Scripted {
    fn at_once(&self, request: &[u8], client: Client, out: &mut Vec<u8>) -> AtOnce {
        match (Query::decode(request), self.fate()) {
            (Err(Rejection::Silence), _) => AtOnce::Silence,
            (_, Fate::OverQuota) => AtOnce::OverQuota,
            (Err(Rejection::Reply(rejected)), _) => {
                rejected.write(pkdns::base::view::View::Resolver, None, out);
                AtOnce::Replied
            }
            (Ok(query), Fate::Cached) => {
                self.write(&query, client, out);
                AtOnce::Replied
            }
            (Ok(query), _) => AtOnce::Later(Box::new(query)),
        }
    }

    async fn later(&self, query: &Query, client: Client, out: &mut Vec<u8>) {
        if self.fate() != Fate::Lost {
            tokio::task::yield_now().await;
            self.write(query, client, out);
        }
    }
}
