//! HTTP to an ACME authority, with an end to everything.

use std::{fmt::Display, future::Future, pin::Pin, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body_util::Limited;
use hyper_util::{client::legacy, rt::TokioExecutor};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use tokio::time::timeout;

use super::Connections;
use crate::connector::Connector;

/// How long a request may take, to the head of its response.
const REQUEST_DEADLINE: Duration = Duration::from_secs(30);

/// Largest response in bytes. Chains of certificates have some thousands.
const MAX_RESPONSE_SIZE: usize = 1 << 20;

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Client(legacy::Client<Connector, BodyWrapper<Bytes>>);

impl Client {
    pub(super) fn new(connections: Connections) -> Self {
        let connector = Connector::new(connections.tls, connections.resolve_host);
        // Nothing is kept between two orders.
        Self(legacy::Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector))
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let response = timeout(REQUEST_DEADLINE, self.0.request(request));
        Box::pin(async move {
            let response = response.await.map_err(|_| other("the request took too long"))?.map_err(chain)?;
            Ok(BytesResponse::from(response.map(|body| Limited::new(body, MAX_RESPONSE_SIZE))))
        })
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
