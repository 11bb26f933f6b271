//! Fetches lists from other servers.
//!
//! Redirects are not followed: whoever names a server trusts it, and not whom that one names.

use std::{error::Error, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, Request, StatusCode,
    header::{ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, LOCATION, USER_AGENT},
};
use http_body_util::{BodyExt, Empty};
use hyper_util::{client::legacy, rt::TokioExecutor};
use thiserror::Error;
use tokio::time::timeout;

use super::{
    copy::Validators,
    reader::{NoList, Reader},
};
use crate::{
    base::{backoff::Backoff, config::ListUrl},
    sources::connector::{Connector, cause},
};

/// For a whole list. One of the greatest size comes in this time over 6 Mbit/s.
const DEADLINE: Duration = Duration::from_secs(120);

/// No server needs more for the head of a response, in bytes.
const MAX_HEAD_SIZE: usize = 16 * 1024;

/// Bytes of what a server calls a version of its list by. A longer one is not repeated to it.
const MAX_VALIDATOR_SIZE: usize = 256;

/// A server that does not answer is asked again after this; it doubles each time, up to the usual pause.
const FIRST_PAUSE: Duration = Duration::from_secs(60);

/// What a server has said.
pub(super) enum Fetched {
    /// There is nothing newer.
    Unchanged,
    /// The list, still to be put in order.
    New(Box<Reader>, Validators),
}

/// Why there is no list.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum FetchError {
    #[error("it cannot be fetched: {0}")]
    Unreachable(String),
    #[error("it was not complete within {DEADLINE:?}")]
    TimedOut,
    #[error("its server redirects to {0}: write that address if you trust it")]
    Redirect(String),
    #[error("its server says {0}")]
    Status(StatusCode),
    #[error(transparent)]
    NoList(#[from] NoList),
}

/// Fetches lists. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Fetcher(legacy::Client<Connector, Empty<Bytes>>);

impl Fetcher {
    pub(super) fn new(connector: Connector) -> Self {
        // Each server is asked once an hour: no connection waits for that.
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        Self(builder.pool_max_idle_per_host(0).http1_max_buf_size(MAX_HEAD_SIZE).build(connector))
    }

    /// The list, if it is another one than that of `known`.
    pub(super) async fn fetch(&self, url: &ListUrl, known: &Validators) -> Result<Fetched, FetchError> {
        timeout(DEADLINE, self.try_fetch(url, known)).await.unwrap_or(Err(FetchError::TimedOut))
    }

    async fn try_fetch(&self, url: &ListUrl, known: &Validators) -> Result<Fetched, FetchError> {
        let mut request = Request::get(url.uri().clone()).header(USER_AGENT, "pkdns");
        for (name, value) in [(IF_NONE_MATCH, &known.etag), (IF_MODIFIED_SINCE, &known.last_modified)] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        let request = request.body(Empty::new()).map_err(|error| unreachable(&error))?;
        let response = self.0.request(request).await.map_err(|error| unreachable(&error))?;
        let (head, mut body) = response.into_parts();
        match head.status {
            StatusCode::NOT_MODIFIED if *known != Validators::default() => return Ok(Fetched::Unchanged),
            StatusCode::OK => {}
            status if status.is_redirection() && status != StatusCode::NOT_MODIFIED => {
                let to = text(&head.headers, LOCATION).unwrap_or_else(|| "another address".into());
                return Err(FetchError::Redirect(to));
            }
            status => return Err(FetchError::Status(status)),
        }
        let mut reader = Box::<Reader>::default();
        while let Some(frame) = body.frame().await {
            // A body that ends early is an error, too.
            let frame = frame.map_err(|error| unreachable(&error))?;
            if let Some(data) = frame.data_ref() {
                reader.push(data)?;
            }
        }
        let [etag, last_modified] = [ETAG, LAST_MODIFIED].map(|name| text(&head.headers, name));
        Ok(Fetched::New(reader, Validators { etag, last_modified }))
    }
}

/// How long a list is left alone after so many failures in a row.
pub(super) fn pause(failures: u32, refresh: Duration) -> Duration {
    match failures {
        0 => refresh,
        failures => Backoff { first: FIRST_PAUSE, longest: refresh }.after(failures),
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let text = headers.get(name)?.to_str().ok()?;
    (text.len() <= MAX_VALIDATOR_SIZE).then(|| text.to_owned())
}

fn unreachable(error: &(dyn Error + 'static)) -> FetchError {
    FetchError::Unreachable(cause(error).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_fails_is_asked_less_and_less_often_but_as_often_as_one_that_answers() {
        let hour = Duration::from_secs(3600);
        let minutes: Vec<_> = (0..9).map(|failures| pause(failures, hour).as_secs() / 60).collect();
        assert_eq!(minutes, [60, 1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(pause(u32::MAX, hour), hour);
        assert_eq!(pause(1, Duration::from_secs(60)), Duration::from_secs(60));
    }
}
