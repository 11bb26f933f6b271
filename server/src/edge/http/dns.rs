//! DNS over HTTPS (RFC 8484).

use std::{io::Write, net::IpAddr, sync::Arc, time::Duration};

use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use base64::{
    Engine,
    alphabet::URL_SAFE,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::Bytes;
use hyper::body::Body;
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

use super::{
    Limits, RESPONSE_COST, Refusal, SiteBody, Visitor,
    json::{self, parameter},
    negotiate::{Format, negotiate},
    request_body::{Unreadable, discard_body, read_body},
};
use crate::{
    base::{
        message::{HEADER_SIZE, Query, Reply, freshness, read_message},
        metrics::Reason,
    },
    edge::{
        held::{Budget, Permit},
        transport::{MAX_REQUEST_SIZE, Slots, at_once, at_once_admitted},
    },
    service::{AtOnce, Client, Refused, Respond, Transport},
};

/// Where DNS messages are taken.
pub const DNS_PATH: &str = "/dns-query";

/// Where questions in JSON are taken; those at [`DNS_PATH`] are as well.
pub const JSON_PATH: &str = "/resolve";

/// Some clients and proxies put a slash at the end.
pub(super) fn is_dns_path(path: &str) -> bool {
    matches!(path.strip_suffix('/').unwrap_or(path), DNS_PATH | JSON_PATH)
}

/// Whom pages may be from that read answers, where everybody is served.
const ANY_ORIGIN: HeaderValue = HeaderValue::from_static("*");

/// A client that is refused while its body is on the way may lose the refusal with its stream or connection, as some
/// proxies do. So a short body is let in and dropped as it comes, for this long at most.
const UNWANTED_BODY_TIME: Duration = Duration::from_secs(1);

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
    unread: Budget,
    tasks: TaskTracker,
}

impl<R: Respond> Dns<R> {
    /// At most `limits.lookups` run at once, `limits.lookups_per_client` for one client.
    pub(super) fn new(responder: Arc<R>, limits: &Limits, tasks: TaskTracker) -> Self {
        let lookups =
            Slots::new(limits.lookups, limits.lookups_per_client).with_forwarders(limits.forwarders.clone());
        Self { responder, lookups, unread: limits.unread.clone(), tasks }
    }

    pub(super) fn responder(&self) -> &R {
        &self.responder
    }

    /// The response to a request for a path of DNS, if everything for it is at hand. This is the way of cached answers:
    /// it waits for nothing and keeps no state. `any_origin`: whether a page from anywhere may read the answers (CORS).
    /// Where only some clients are served, their browsers would tell it what only they may know.
    pub(super) fn begin<B>(&self, request: &Request<B>, visitor: Visitor, any_origin: bool) -> Begun {
        let is_head = request.method() == Method::HEAD;
        match self.try_begin(request, visitor, any_origin) {
            Ok(Begun::Answered(response)) => Begun::Answered(shared(response, is_head, any_origin)),
            Ok(begun) => begun,
            Err(refusal) => Begun::Answered(shared(refusal.response(), is_head, any_origin)),
        }
    }

    fn try_begin<B>(
        &self,
        request: &Request<B>,
        visitor: Visitor,
        any_origin: bool,
    ) -> Result<Begun, Refusal> {
        let is_head = request.method() == Method::HEAD;
        if request.method() == Method::POST {
            let admitted = read_post_head(request).and_then(|format| {
                let admitted = self.responder.admit(client_of(visitor)).map(|()| format);
                admitted.map_err(|refused| match refused {
                    Refused::Access => Refusal::Denied,
                    Refused::Quota => Refusal::Quota,
                })
            });
            return Ok(Begun::Waiting(match admitted {
                Ok(format) => Waiting::Body { format, visitor },
                Err(refusal) => Waiting::Refused { refusal, visitor },
            }));
        }
        if request.method() == Method::OPTIONS {
            return Ok(Begun::Answered(preflight(any_origin)));
        }
        if !is_head && request.method() != Method::GET {
            return Err(Refusal::Method);
        }
        let (question, format) = read_get(request)?;
        Ok(match self.reply(&question, client_of(visitor), at_once)? {
            AtHand::Reply(reply) => Begun::Answered(self.response(reply, format)?),
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
        any_origin: bool,
    ) -> Response<SiteBody> {
        let (outcome, is_head) = match waiting {
            Waiting::Body { format, visitor } => (self.answer_to_body(body, format, visitor).await, false),
            Waiting::Refused { refusal, .. } => {
                // One that does not say its length, or is too long, is of no such client.
                if body.size_hint().upper().is_some_and(|most| most <= MAX_REQUEST_SIZE as u64) {
                    let _ = timeout(UNWANTED_BODY_TIME, discard_body(body)).await;
                }
                (Err(refusal), false)
            }
            Waiting::Lookup { query, client, format, is_head } => {
                let reply = self.look_up(query, client).await;
                (reply.and_then(|reply| self.response(reply, format)), is_head)
            }
        };
        shared(outcome.unwrap_or_else(Refusal::response), is_head, any_origin)
    }

    async fn answer_to_body<B: Body<Data = Bytes>>(
        &self,
        body: B,
        format: Format,
        visitor: Visitor,
    ) -> Result<Response<SiteBody>, Refusal> {
        let (question, permit) = read_body(body, MAX_REQUEST_SIZE, visitor.address, &self.unread)
            .await
            .map_err(|unreadable| match unreadable {
                Unreadable::TooLarge => Refusal::TooLarge,
                Unreadable::Incomplete => Refusal::Body,
                Unreadable::Held => Refusal::Held,
            })?;
        let at_hand = self.reply(&question, client_of(visitor), at_once_admitted)?;
        drop((question, permit));
        let reply = match at_hand {
            AtHand::Reply(reply) => reply,
            AtHand::Lookup(query, client) => self.look_up(query, client).await?,
        };
        self.response(reply, format)
    }

    /// The reply to a question in wire form, if it is at hand.
    fn reply(
        &self,
        question: &[u8],
        client: Client,
        at_once: fn(&R, &[u8], Client, &mut Vec<u8>) -> AtOnce,
    ) -> Result<AtHand, Refusal> {
        let mut reply = Vec::with_capacity(REPLY_SIZE);
        match at_once(&*self.responder, question, client, &mut reply) {
            AtOnce::Replied => {
                // No question in it: there was none to be repeated.
                let has_question = reply.get(4..6) != Some(&[0; 2]);
                let is_nonsense = !has_question && read_message(question).is_err();
                if is_nonsense {
                    return Err(Refusal::Message);
                }
                Ok(AtHand::Reply(HeldReply::new(reply, client.address, &self.unread)?))
            }
            AtOnce::Silence => Err(Refusal::Message),
            AtOnce::OverQuota => Err(Refusal::Quota),
            AtOnce::Later(query) => Ok(AtHand::Lookup(query, client)),
        }
    }

    /// In a task of its own: a client that gives up asks again, and then the answer is there. Many lookups may end at
    /// once, long before their clients are written to, so that each reply counts from here.
    async fn look_up(&self, query: Box<Query>, client: Client) -> Result<HeldReply, Refusal> {
        let Some(slot) = self.lookups.take(client.address) else {
            self.responder.turned_away(client);
            return Err(Refusal::Busy);
        };
        let (responder, unread) = (self.responder.clone(), self.unread.clone());
        let lookup = self.tasks.spawn(async move {
            let mut reply = Vec::with_capacity(REPLY_SIZE);
            responder.later(&query, client, &mut reply).await;
            drop(slot);
            HeldReply::new(reply, client.address, &unread)
        });
        match lookup.await {
            Ok(Ok(reply)) if reply.bytes.len() < HEADER_SIZE => Err(Refusal::Busy),
            Ok(reply) => reply,
            Err(_) => Err(Refusal::Busy),
        }
    }

    /// A reply in the form that is wanted.
    fn response(&self, reply: HeldReply, format: Format) -> Result<Response<SiteBody>, Refusal> {
        let HeldReply { bytes: reply, permit } = reply;
        let cache_control = match freshness(&reply) {
            Some(seconds) => max_age(seconds),
            None => HeaderValue::from_static("no-store"),
        };
        let body = match format {
            Format::Message => SiteBody::new(reply, permit),
            Format::DnsJson | Format::Json => json::write(&reply, permit)?,
        };
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
        headers.insert(header::CACHE_CONTROL, cache_control);
        headers.insert(header::VARY, HeaderValue::from_static("accept"));
        if format != Format::Message {
            // Browsers show it, and anybody's text is in it.
            headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        }
        let mut response = Response::new(body);
        *response.headers_mut() = headers;
        Ok(response)
    }
}

/// What every response has in common.
fn shared(mut response: Response<SiteBody>, is_head: bool, any_origin: bool) -> Response<SiteBody> {
    if any_origin {
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, ANY_ORIGIN);
    }
    if is_head {
        let length = std::mem::take(response.body_mut()).len();
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
}

/// How far a request has come.
pub(super) enum Begun {
    /// To its end.
    Answered(Response<SiteBody>),
    /// [`Dns::finish`] goes on.
    Waiting(Waiting),
}

/// What a request waits for.
pub(super) enum Waiting {
    /// The question, in its own body.
    Body { format: Format, visitor: Visitor },
    /// The end of a body that nobody reads.
    Refused { refusal: Refusal, visitor: Visitor },
    /// The answer.
    Lookup { query: Box<Query>, client: Client, format: Format, is_head: bool },
}

fn client_of(visitor: Visitor) -> Client {
    Client {
        address: visitor.address,
        transport: if visitor.is_tls { Transport::Http } else { Transport::PlainHttp },
        reply: Reply::Stream { idle_timeout: None, is_encrypted: visitor.is_encrypted },
        now: Instant::now(),
    }
}

impl Waiting {
    /// Who waits.
    pub(super) fn client(&self) -> IpAddr {
        match self {
            Self::Body { visitor, .. } | Self::Refused { visitor, .. } => visitor.address,
            Self::Lookup { client, .. } => client.address,
        }
    }
}

/// A reply in wire form, and the leave to hold it and a response.
struct HeldReply {
    bytes: Vec<u8>,
    permit: Permit,
}

impl HeldReply {
    fn new(mut bytes: Vec<u8>, client: IpAddr, unread: &Budget) -> Result<Self, Refusal> {
        if bytes.capacity() > 2 * bytes.len().max(REPLY_SIZE) {
            bytes.shrink_to_fit();
        }
        let size = bytes.capacity() + RESPONSE_COST;
        let permit = unread.take(client, size, Reason::Unread).ok_or(Refusal::Held)?;
        Ok(Self { bytes, permit })
    }
}

enum AtHand {
    Reply(HeldReply),
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

fn max_age(seconds: u32) -> HeaderValue {
    let mut text = [0; "max-age=4294967295".len()];
    let mut rest = &mut text[..];
    // There is room for any number.
    let _ = write!(rest, "max-age={seconds}");
    let unused = rest.len();
    let written = text.get(..text.len() - unused).unwrap_or_default();
    HeaderValue::from_bytes(written).unwrap_or(HeaderValue::from_static("no-store"))
}

/// Which pages may ask (CORS): any or none.
fn preflight(any_origin: bool) -> Response<SiteBody> {
    const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, OPTIONS");
    let mut response = Response::new(SiteBody::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ALLOW, METHODS);
    if any_origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        let allowed = HeaderValue::from_static("accept, content-type");
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    }
    response
}
