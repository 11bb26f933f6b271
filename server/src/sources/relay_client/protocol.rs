//! Packets as HTTP requests and answers: `GET` and `PUT` of `/<key>`, with the packet after its key as the body.
//!
//! Redirects are not followed: whoever is named is asked, and a key shall not be told to anybody else. There are no
//! cookies, and no proxy out of the environment.

use std::{error::Error, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, Method, Request, StatusCode,
    header::{CACHE_CONTROL, USER_AGENT},
};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy,
    rt::{TokioExecutor, TokioTimer},
};
use pkdns_dht::signed_packet::{InvalidPacket, PublicKey, SignedPacket};

use super::RelayError;
use crate::{
    base::config::RelayUrl,
    sources::connector::{Connector, cause},
};

/// Bytes of an answer that are read: as many as a packet with its key has, as peers do. Without it, it has 1072.
const MAX_BODY_SIZE: usize = 1104;

/// No relay needs more for the head of an answer, in bytes.
const MAX_HEAD_SIZE: usize = 16 * 1024;

/// Without a request for this long a connection is closed: a NAT on the way may have forgotten it.
const MAX_IDLE: Duration = Duration::from_secs(60);

/// On how many DHT nodes a relay stored a packet.
const STORED_NODES: &str = "pkarr-dht-stored-nodes";

/// For a relay that answers without a packet although nothing was said to be known (RFC 9111 section 5.2.1).
const PAST_ALL_CACHES: &str = "no-cache, no-store, must-revalidate";

/// Sends requests to one relay, over connections that are used again.
#[derive(Debug, Clone)]
pub(super) struct Client(legacy::Client<Connector, Full<Bytes>>);

impl Client {
    pub(super) fn new(connector: Connector, max_idle_connections: usize) -> Self {
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(MAX_IDLE)
            .pool_max_idle_per_host(max_idle_connections)
            .http1_max_buf_size(MAX_HEAD_SIZE)
            .build(connector);
        Self(client)
    }

    pub(super) async fn get(
        &self,
        url: &RelayUrl,
        key: &PublicKey,
    ) -> Result<Option<SignedPacket>, RelayError> {
        let uri = url.below(&key.to_z32()).ok_or(RelayError::NotAPacket)?;
        let get = || Request::builder().method(Method::GET).uri(uri.clone());
        let mut answer = self.exchange(get(), Bytes::new()).await?;
        if answer.lacks_its_packet() {
            answer = self.exchange(get().header(CACHE_CONTROL, PAST_ALL_CACHES), Bytes::new()).await?;
        }
        match answer.status {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => {
                let body = answer.body.ok_or(RelayError::NotAPacket)?;
                read_packet(key, &body).map(Some)
            }
            status => Err(unwelcome(status)),
        }
    }

    /// Conditions (`If-Match`) are left out: relays of today know none, and those of yesterday would refuse whoever
    /// knows a newer packet than they do.
    pub(super) async fn put(&self, url: &RelayUrl, packet: &SignedPacket) -> Result<u32, RelayError> {
        let uri = url.below(&packet.key().to_z32()).ok_or(RelayError::NotAPacket)?;
        let request = Request::builder().method(Method::PUT).uri(uri);
        let answer = self.exchange(request, packet.to_payload().into()).await?;
        match answer.status {
            // Any other success may be that of a web server which takes whatever it is sent.
            StatusCode::NO_CONTENT => Ok(answer.stored_nodes()),
            StatusCode::CONFLICT | StatusCode::PRECONDITION_REQUIRED => Err(RelayError::NotMostRecent),
            StatusCode::PRECONDITION_FAILED => Err(RelayError::CasFailed),
            status => Err(unwelcome(status)),
        }
    }

    async fn exchange(&self, request: http::request::Builder, body: Bytes) -> Result<Answer, RelayError> {
        let request = request.header(USER_AGENT, "pkdns").body(Full::new(body));
        let request = request.map_err(|error| unreachable(&error))?;
        let response = self.0.request(request).await.map_err(|error| unreachable(&error))?;
        let (head, body) = response.into_parts();
        Ok(Answer { status: head.status, headers: head.headers, body: read(body).await? })
    }
}

/// What a relay sent back.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    /// `None` where there was more than is read.
    body: Option<Vec<u8>>,
}

impl Answer {
    /// Some relays, and caches before them, take a request for one that names what it knows already.
    fn lacks_its_packet(&self) -> bool {
        let is_empty = self.body.as_ref().is_some_and(Vec::is_empty);
        self.status == StatusCode::NOT_MODIFIED || (self.status.is_success() && is_empty)
    }

    fn stored_nodes(&self) -> u32 {
        let header = self.headers.get(STORED_NODES).and_then(|value| value.to_str().ok());
        header.and_then(|text| text.trim().parse().ok()).unwrap_or(1)
    }
}

/// Reads to the end, so that the connection can be used again, unless there is too much of it.
async fn read(mut body: Incoming) -> Result<Option<Vec<u8>>, RelayError> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| unreachable(&error))?;
        let Some(data) = frame.data_ref() else { continue };
        if bytes.len().saturating_add(data.len()) > MAX_BODY_SIZE {
            return Ok(None);
        }
        bytes.extend_from_slice(data);
    }
    Ok(Some(bytes))
}

fn read_packet(key: &PublicKey, body: &[u8]) -> Result<SignedPacket, RelayError> {
    SignedPacket::from_payload(key.clone(), body).map_err(|error| match error {
        InvalidPacket::TooShort => RelayError::NotAPacket,
        error => RelayError::Invalid(error),
    })
}

fn unwelcome(status: StatusCode) -> RelayError {
    match status {
        StatusCode::TOO_MANY_REQUESTS => RelayError::TooManyRequests,
        status if status.is_server_error() => RelayError::Unavailable(status),
        status if status.is_redirection() && status != StatusCode::NOT_MODIFIED => {
            RelayError::Redirect(status)
        }
        status => RelayError::Refused(status),
    }
}

fn unreachable(error: &(dyn Error + 'static)) -> RelayError {
    RelayError::Unreachable(cause(error).to_string())
}
