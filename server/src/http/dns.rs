//! DNS over HTTPS (RFC 8484).

use std::{io::Write, sync::Arc};

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

use super::{
    Limits, Refusal, Visitor,
    accept::{Format, negotiate},
    json::{self, parameter},
};
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
    /// At most `limits.lookups` run at once, `limits.lookups_per_client` for one client.
    pub(super) fn new(responder: Arc<R>, limits: &Limits, tasks: TaskTracker) -> Self {
        let lookups =
            Slots::new(limits.lookups, limits.lookups_per_client).with_forwarders(limits.forwarders.clone());
        Self { responder, lookups, tasks }
    }

    pub(super) fn responder(&self) -> &R {
        &self.responder
    }

    /// The response to a request for a path of DNS, if everything for it is at hand. This is the way of cached answers:
    /// it waits for nothing and keeps no state.
    pub(super) fn begin<B>(&self, request: &Request<B>, visitor: Visitor) -> Begun {
        let is_head = request.method() == Method::HEAD;
        match self.try_begin(request, visitor) {
            Ok(Begun::Answered(response)) if is_head => Begun::Answered(without_body(response)),
            Ok(begun) => begun,
            Err(refusal) if is_head => Begun::Answered(without_body(refusal.response())),
            Err(refusal) => Begun::Answered(refusal.response()),
        }
    }

    fn try_begin<B>(&self, request: &Request<B>, visitor: Visitor) -> Result<Begun, Refusal> {
        let is_head = request.method() == Method::HEAD;
        if request.method() == Method::POST {
            let format = read_post_head(request)?;
            return Ok(Begun::Waiting(Waiting::Body { format, visitor }));
        }
        if request.method() == Method::OPTIONS {
            return Ok(Begun::Answered(preflight()));
        }
        if !is_head && request.method() != Method::GET {
            return Err(Refusal::Method);
        }
        let (question, format) = read_get(request)?;
        Ok(match self.reply(&question, visitor)? {
            AtHand::Reply(reply) => Begun::Answered(response(reply, format)?),
            AtHand::Lookup(query, client) => {
                Begun::Waiting(Waiting::Lookup { query, client, format, is_head })
            }
        })
    }

    /// The response to a request that has to wait, for its own body or for an answer.
    pub(super) async fn finish<B: Body<Data = Bytes>>(
        &self,
        waiting: Waiting,
        body: B,
    ) -> Response<Full<Bytes>> {
        match waiting {
            Waiting::Body { format, visitor } => {
                let reply = match read_body(body).await.and_then(|question| self.reply(&question, visitor)) {
                    Ok(AtHand::Reply(reply)) => Ok(reply),
                    Ok(AtHand::Lookup(query, client)) => self.look_up(query, client).await,
                    Err(refusal) => Err(refusal),
                };
                reply.and_then(|reply| response(reply, format)).unwrap_or_else(Refusal::response)
            }
            Waiting::Lookup { query, client, format, is_head } => {
                let reply = self.look_up(query, client).await;
                let response =
                    reply.and_then(|reply| response(reply, format)).unwrap_or_else(Refusal::response);
                if is_head { without_body(response) } else { response }
            }
        }
    }

    /// The reply to a question in wire form, if it is at hand.
    fn reply(&self, question: &[u8], visitor: Visitor) -> Result<AtHand, Refusal> {
        let client = Client {
            address: visitor.address,
            transport: Transport::Http,
            reply: Reply::Stream { idle_timeout: None, is_encrypted: visitor.is_encrypted },
            now: Instant::now(),
        };
        let mut reply = Vec::with_capacity(REPLY_SIZE);
        match at_once(&*self.responder, question, client, &mut reply) {
            AtOnce::Replied => {
                // No question in it: there was none to be repeated.
                let has_question = reply.get(4..6) != Some(&[0; 2]);
                let is_nonsense = !has_question && read_message(question).is_err();
                if is_nonsense { Err(Refusal::Message) } else { Ok(AtHand::Reply(reply)) }
            }
            AtOnce::Silence => Err(Refusal::Message),
            AtOnce::OverQuota => Err(Refusal::Quota),
            AtOnce::Later(query) => Ok(AtHand::Lookup(query, client)),
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

/// How far a request has come.
pub(super) enum Begun {
    /// To its end.
    Answered(Response<Full<Bytes>>),
    /// [`Dns::finish`] goes on.
    Waiting(Waiting),
}

/// What a request waits for.
pub(super) enum Waiting {
    /// The question, in its own body.
    Body { format: Format, visitor: Visitor },
    /// The answer.
    Lookup { query: Box<Query>, client: Client, format: Format, is_head: bool },
}

enum AtHand {
    Reply(Vec<u8>),
    Lookup(Box<Query>, Client),
}

/// What the answer to a POST is to look like.
fn read_post_head<B>(request: &Request<B>) -> Result<Format, Refusal> {
    if !request.headers().get(header::CONTENT_TYPE).is_some_and(is_dns_message) {
        return Err(Refusal::MediaType);
    }
    negotiate(request.headers(), false).ok_or(Refusal::NotAcceptable)
}

/// The question in an address, in wire form, and what its answer is to look like.
fn read_get<B>(request: &Request<B>) -> Result<(Bytes, Format), Refusal> {
    let parameters = request.uri().query().unwrap_or_default();
    if let Some(message) = parameter(parameters, "dns") {
        if message.len() > MAX_REQUEST_SIZE.div_ceil(3) * 4 {
            return Err(Refusal::TooLong);
        }
        let question = BASE64URL.decode(&*message).map_err(|_| Refusal::Base64)?.into();
        let format = negotiate(request.headers(), false).ok_or(Refusal::NotAcceptable)?;
        return Ok((question, format));
    }
    let question = json::question(parameters)?.into();
    let format = json::wanted_format(parameters).or_else(|| negotiate(request.headers(), true));
    Ok((question, format.ok_or(Refusal::NotAcceptable)?))
}

fn is_dns_message(content_type: &HeaderValue) -> bool {
    let wanted = Format::Message.media_type();
    content_type == wanted
        || content_type
            .to_str()
            .is_ok_and(|text| text.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(wanted))
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
            if body.is_end_stream() {
                break;
            }
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

fn response(reply: Vec<u8>, format: Format) -> Result<Response<Full<Bytes>>, Refusal> {
    let cache_control = match freshness(&reply) {
        Some(seconds) => max_age(seconds),
        None => HeaderValue::from_static("no-store"),
    };
    let body = match format {
        Format::Message => reply,
        Format::DnsJson | Format::Json => json::write(&reply).ok_or(Refusal::Busy)?,
    };
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
    headers.insert(header::CACHE_CONTROL, cache_control);
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static(ANY_ORIGIN));
    if format != Format::Message {
        // Browsers show it, and anybody's text is in it.
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    }
    let mut response = Response::new(Full::from(body));
    *response.headers_mut() = headers;
    Ok(response)
}

fn max_age(seconds: u32) -> HeaderValue {
    let mut text = [0; "max-age=4294967295".len()];
    let mut rest = &mut text[..];
    // There is room for any number.
    let _ = write!(rest, "max-age={seconds}");
    let unused = rest.len();
    let written = text.get(..text.len() - unused).unwrap_or_default();
    HeaderValue::from_bytes(written).unwrap_or(HeaderValue::from_static("no-store"))
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
