//! DNS over HTTPS (RFC 8484).

use std::{fmt::Write, sync::Arc};

use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use base64::{
    Engine,
    alphabet::URL_SAFE,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Body;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::{Refusal, Visitor};
use crate::{
    message::{HEADER_SIZE, MAX_STREAM_SIZE, Query, Reply, freshness, read_message},
    service::{AtOnce, Client, Respond, Transport},
    transport::{MAX_REQUEST_SIZE, Slots, at_once},
};

/// Where DNS messages are taken.
pub const DNS_PATH: &str = "/dns-query";

/// Where questions in JSON are taken; those at [`DNS_PATH`] are as well.
pub const JSON_PATH: &str = "/resolve";

/// Nothing here is for the eyes of one site only.
pub(super) const ANY_ORIGIN: &str = "*";

const DNS_MESSAGE: &str = "application/dns-message";

/// Most answers fit.
const REPLY_SIZE: usize = 512;

/// With padding or without.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Answers questions that come in requests.
pub(super) struct Dns<R> {
    responder: Arc<R>,
    lookups: Arc<Slots>,
    tasks: TaskTracker,
}

impl<R: Respond> Dns<R> {
    /// At most `lookups` run at once, `lookups_per_client` for one client.
    pub(super) fn new(
        responder: Arc<R>,
        lookups: usize,
        lookups_per_client: usize,
        tasks: TaskTracker,
    ) -> Self {
        Self { responder, lookups: Slots::new(lookups, lookups_per_client), tasks }
    }

    /// The response to a request for a path of DNS.
    pub(super) async fn answer<B: Body<Data = Bytes>>(
        &self,
        request: Request<B>,
        visitor: Visitor,
    ) -> Response<Full<Bytes>> {
        if request.method() == Method::OPTIONS {
            return preflight();
        }
        let is_head = request.method() == Method::HEAD;
        let outcome = match read_question(request).await {
            Ok(question) => self.reply(&question, visitor).await.map(response),
            Err(refusal) => Err(refusal),
        };
        let response = outcome.unwrap_or_else(Refusal::response);
        if is_head { without_body(response) } else { response }
    }

    /// The reply to a question in wire form.
    async fn reply(&self, question: &[u8], visitor: Visitor) -> Result<Vec<u8>, Refusal> {
        let client = Client {
            address: visitor.address,
            transport: Transport::Http,
            reply: Reply::Stream { idle_timeout: None, is_encrypted: visitor.is_encrypted },
            now: Instant::now(),
        };
        let mut reply = Vec::with_capacity(REPLY_SIZE);
        match at_once(&*self.responder, question, client, &mut reply) {
            AtOnce::Replied => {
                // A bare header says that there was no question to be repeated.
                let is_nonsense = reply.len() == HEADER_SIZE && read_message(question).is_err();
                if is_nonsense { Err(Refusal::Message) } else { Ok(reply) }
            }
            AtOnce::Silence => Err(Refusal::Message),
            AtOnce::OverQuota => Err(Refusal::Quota),
            AtOnce::Later(query) => self.look_up(query, client).await,
        }
    }

    /// In a task of its own: a client that gives up asks again, and then the answer is there.
    async fn look_up(&self, query: Box<Query>, client: Client) -> Result<Vec<u8>, Refusal> {
        let Some(slot) = self.lookups.take(client.address) else {
            self.responder.turned_away(client);
            return Err(Refusal::Busy);
        };
        let responder = self.responder.clone();
        let lookup = self.tasks.spawn(async move {
            let mut reply = Vec::with_capacity(REPLY_SIZE);
            responder.later(&query, client, &mut reply).await;
            drop(slot);
            reply
        });
        match lookup.await {
            Ok(reply) if reply.len() >= HEADER_SIZE => Ok(reply),
            _ => Err(Refusal::Busy),
        }
    }
}

/// The question in wire form.
async fn read_question<B: Body<Data = Bytes>>(request: Request<B>) -> Result<Bytes, Refusal> {
    if request.method() == Method::POST {
        let content_type = request.headers().get(header::CONTENT_TYPE);
        if !content_type.is_some_and(|value| value.as_bytes() == DNS_MESSAGE.as_bytes()) {
            return Err(Refusal::MediaType);
        }
        return read_body(request.into_body()).await;
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return Err(Refusal::Method);
    }
    let parameters = request.uri().query().unwrap_or_default();
    let message = parameters.split('&').find_map(|pair| pair.strip_prefix("dns="));
    let message = message.ok_or(Refusal::NoQuestion)?;
    if message.len() > MAX_REQUEST_SIZE.div_ceil(3) * 4 {
        return Err(Refusal::TooLong);
    }
    BASE64URL.decode(message).map(Bytes::from).map_err(|_| Refusal::Base64)
}

async fn read_body<B: Body<Data = Bytes>>(body: B) -> Result<Bytes, Refusal> {
    if body.size_hint().lower() > MAX_STREAM_SIZE as u64 {
        return Err(Refusal::TooLarge);
    }
    let mut body = std::pin::pin!(body);
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Refusal::Body)?.into_data() else { continue };
        if all.len() + first.len() + data.len() > MAX_STREAM_SIZE {
            return Err(Refusal::TooLarge);
        }
        // Nearly always there is but one piece, and it is not copied.
        if first.is_empty() && all.is_empty() {
            first = data;
            continue;
        }
        if all.is_empty() {
            all.extend_from_slice(&first);
            first = Bytes::new();
        }
        all.extend_from_slice(&data);
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

fn response(reply: Vec<u8>) -> Response<Full<Bytes>> {
    let cache_control = match freshness(&reply) {
        Some(seconds) => max_age(seconds),
        None => HeaderValue::from_static("no-store"),
    };
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(DNS_MESSAGE));
    headers.insert(header::CACHE_CONTROL, cache_control);
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static(ANY_ORIGIN));
    let mut response = Response::new(Full::from(reply));
    *response.headers_mut() = headers;
    response
}

fn max_age(seconds: u32) -> HeaderValue {
    let mut text = String::with_capacity(20);
    // Writing to a string does not fail.
    let _ = write!(text, "max-age={seconds}");
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("no-store"))
}

/// Any page may ask (CORS).
fn preflight() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    for (name, value) in [
        (header::ALLOW, "GET, HEAD, POST, OPTIONS"),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, ANY_ORIGIN),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, POST, OPTIONS"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "accept, content-type"),
        (header::ACCESS_CONTROL_MAX_AGE, "86400"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn without_body(response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    let (mut head, body) = response.into_parts();
    let length = body.size_hint().exact().unwrap_or_default();
    head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    Response::from_parts(head, Full::default())
}
