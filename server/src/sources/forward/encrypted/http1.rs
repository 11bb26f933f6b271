//! Questions and answers as HTTP/1.1 requests, for servers that speak nothing newer. A connection carries one at a time,
//! so that there are several.

use std::{
    error::Error,
    io,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{
    Method, Request, Uri,
    header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HOST},
};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, sync::Semaphore};
use tokio_rustls::client::TlsStream;
use tokio_util::task::AbortOnDropHandle;

use super::{
    ExchangeError,
    endpoint::Endpoint,
    https::{MAX_HEADER_SIZE, MEDIA_TYPE, NO_CODING, check, without_id},
    lock,
};
use crate::base::message::MAX_STREAM_SIZE;

/// Connections to one server, and so requests that are under way: as many as browsers and their proxies make together.
pub(super) const MAX_CONNECTIONS: usize = 16;

/// Sends requests on connections that are used again.
#[derive(Debug)]
pub(super) struct Carrier {
    endpoint: Arc<Endpoint>,
    uri: Uri,
    idle: Mutex<Vec<Connection>>,
    places: Semaphore,
}

/// One connection, which ends when it is dropped.
#[derive(Debug)]
struct Connection {
    requests: SendRequest<Full<Bytes>>,
    _task: AbortOnDropHandle<()>,
}

impl Carrier {
    /// Begins with the connection `tls`.
    pub(super) async fn start(
        endpoint: Arc<Endpoint>,
        tls: TlsStream<TcpStream>,
        uri: Uri,
    ) -> Result<Self, ExchangeError> {
        let idle = Mutex::new(vec![Connection::start(tls).await?]);
        Ok(Self { endpoint, uri, idle, places: Semaphore::new(MAX_CONNECTIONS) })
    }

    pub(super) async fn exchange(&self, message: &[u8]) -> Result<Vec<u8>, ExchangeError> {
        // Whoever came before it was known how few there are waits here.
        let _place = self.places.acquire().await.map_err(|_| ExchangeError::Busy)?;
        let mut connection = match self.idle().await {
            Some(connection) => connection,
            None => Connection::start(self.endpoint.connect().await?).await?,
        };
        let authority = self.uri.authority().map_or("", |authority| authority.as_str());
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(HOST, authority)
            .header(ACCEPT, MEDIA_TYPE)
            .header(ACCEPT_ENCODING, NO_CODING)
            .header(CONTENT_TYPE, MEDIA_TYPE)
            .body(Full::new(without_id(message)))
            .map_err(|_| ExchangeError::Malformed)?;
        let response = connection.requests.send_request(request).await.map_err(|error| lost(&error))?;
        check(&response)?;
        let mut body = response.into_body();
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| lost(&error))?;
            let Some(data) = frame.data_ref() else { continue };
            if bytes.len() + data.len() > MAX_STREAM_SIZE {
                return Err(ExchangeError::Malformed);
            }
            bytes.extend_from_slice(data);
        }
        // One that was given up halfway does not get here, and is closed.
        lock(&self.idle).push(connection);
        Ok(bytes)
    }

    /// The connection that was used last, as the others may have been closed for being idle.
    async fn idle(&self) -> Option<Connection> {
        loop {
            let mut connection = lock(&self.idle).pop()?;
            // Its last answer has been read to the end, so that it is ready at once or has been closed.
            if connection.requests.ready().await.is_ok() {
                return Some(connection);
            }
        }
    }
}

impl Connection {
    async fn start(tls: TlsStream<TcpStream>) -> Result<Self, ExchangeError> {
        let made = Builder::new().max_buf_size(MAX_HEADER_SIZE).handshake(TokioIo::new(tls)).await;
        let (requests, connection) = made.map_err(|error| lost(&error))?;
        let task = tokio::spawn(async {
            if let Err(error) = connection.await {
                tracing::debug!("connection to an upstream ended: {error}");
            }
        });
        Ok(Self { requests, _task: AbortOnDropHandle::new(task) })
    }
}

fn lost(error: &hyper::Error) -> ExchangeError {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return ExchangeError::from_io(error);
        }
        cause = error.source();
    }
    if error.is_parse() || error.is_parse_too_large() {
        return ExchangeError::unusable("what it answers is not HTTP");
    }
    ExchangeError::Unreachable(io::ErrorKind::ConnectionAborted)
}
