//! HTTP to an ACME authority, with an end to everything.

use std::{
    fmt::Display,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header::RETRY_AFTER};
use http_body_util::Limited;
use hyper_util::{client::legacy, rt::TokioExecutor};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use tokio::time::timeout;

use super::Connections;
use crate::sources::connector::Connector;

/// How long a request may take, to the head of its response.
const REQUEST_DEADLINE: Duration = Duration::from_secs(30);

/// Largest response in bytes. Chains of certificates have some thousands.
const MAX_RESPONSE_SIZE: usize = 1 << 20;

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Client {
    http: legacy::Client<Connector, BodyWrapper<Bytes>>,
    not_before: Arc<Mutex<Option<SystemTime>>>,
}

impl Client {
    pub(super) fn new(connections: Connections) -> Self {
        let connector = Connector::new(connections.tls, connections.resolve_host);
        // Nothing is kept between two orders.
        let http = legacy::Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Self { http, not_before: Arc::default() }
    }

    /// Until when the authority wanted to be left alone when it last refused, if it said so.
    pub(super) fn not_before(&self) -> Option<SystemTime> {
        *self.not_before.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let response = timeout(REQUEST_DEADLINE, self.http.request(request));
        let not_before = self.not_before.clone();
        Box::pin(async move {
            let response = response.await.map_err(|_| other("the request took too long"))?.map_err(chain)?;
            if matches!(response.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
                let until = retry_after(response.headers(), SystemTime::now());
                *not_before.lock().unwrap_or_else(PoisonError::into_inner) = until;
            }
            Ok(BytesResponse::from(response.map(|body| Limited::new(body, MAX_RESPONSE_SIZE))))
        })
    }
}

/// RFC 9110 section 10.2.3: a date, or seconds.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<SystemTime> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match text.parse() {
        Ok(seconds) => now.checked_add(Duration::from_secs(seconds)),
        Err(_) => httpdate::parse_http_date(text).ok(),
    }
}

fn other(text: impl Display) -> Error {
    Error::Other(text.to_string().into())
}

/// The reason is behind an error that only says that there was one.
fn chain(error: legacy::Error) -> Error {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    other(text)
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn it_is_heeded_until_when_an_authority_wants_to_be_left_alone() {
        let now = UNIX_EPOCH + Duration::from_secs(1000);
        for (text, seconds) in [
            ("7", Some(1007)),
            ("Thu, 01 Jan 1970 00:30:00 GMT", Some(1800)),
            ("soon", None),
            ("99999999999999999999", None),
            ("18446744073709551615", None),
        ] {
            let headers = [(RETRY_AFTER, text.parse().unwrap())].into_iter().collect();
            let expected = seconds.map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds));
            assert_eq!(retry_after(&headers, now), expected, "{text}");
        }
    }
}
