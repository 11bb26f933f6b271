//! Questions and answers as HTTP/2 requests (RFC 8484).

use std::{io, net::IpAddr};

use bytes::Bytes;
use h2::client::SendRequest;
use http::{
    Method, Request, StatusCode, Uri, Version,
    header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE},
    uri::PathAndQuery,
};
use tokio::net::TcpStream;
use tokio_rustls::{client::TlsStream, rustls::pki_types::ServerName};

use super::ExchangeError;
use crate::{config::HTTPS_PORT, message::MAX_STREAM_SIZE};

const MEDIA_TYPE: &str = "application/dns-message";

/// No server needs more for what we ask, in bytes.
const MAX_HEADER_SIZE: u32 = 16 * 1024;

/// Sends requests on a connection.
#[derive(Debug)]
pub(super) struct Carrier {
    requests: SendRequest<Bytes>,
    uri: Uri,
}

/// What to ask the server `name` for.
pub(super) fn uri(name: &ServerName<'static>, port: u16, path: &PathAndQuery) -> Result<Uri, http::Error> {
    let host = match name {
        ServerName::IpAddress(address) => match IpAddr::from(*address) {
            IpAddr::V6(address) => format!("[{address}]"),
            IpAddr::V4(address) => address.to_string(),
        },
        name => name.to_str().into_owned(),
    };
    let authority = if port == HTTPS_PORT { host } else { format!("{host}:{port}") };
    Uri::builder().scheme("https").authority(authority).path_and_query(path.clone()).build()
}

/// The future serves the connection until it ends or fails.
pub(super) async fn start(
    tls: TlsStream<TcpStream>,
    uri: Uri,
) -> io::Result<(Carrier, impl Future<Output = ()> + Send)> {
    if tls.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "the server does not speak HTTP/2"));
    }
    let mut builder = h2::client::Builder::new();
    builder.enable_push(false).max_header_list_size(MAX_HEADER_SIZE);
    let (requests, connection) = builder.handshake(tls).await.map_err(io::Error::other)?;
    let serve = async {
        if let Err(error) = connection.await {
            tracing::debug!("connection to an upstream ended: {error}");
        }
    };
    Ok((Carrier { requests, uri }, serve))
}

impl Carrier {
    /// Requests that the server allows at once, as far as is known.
    pub(super) fn max_streams(&self) -> usize {
        self.requests.current_max_send_streams()
    }

    /// Chooses the id of `message` itself.
    pub(super) async fn exchange(&self, message: &[u8]) -> Result<Vec<u8>, ExchangeError> {
        // RFC 8484 section 4.1: the same question is the same request.
        let message = Bytes::from([&[0, 0], message.get(2..).unwrap_or_default()].concat());
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.uri.clone())
            .version(Version::HTTP_2)
            .header(ACCEPT, MEDIA_TYPE)
            .header(CONTENT_TYPE, MEDIA_TYPE)
            .header(CONTENT_LENGTH, message.len())
            .body(())
            .map_err(|_| ExchangeError::Malformed)?;
        // Waits where the server allows no more streams.
        let mut requests = self.requests.clone().ready().await.map_err(lost)?;
        let (response, mut body) = requests.send_request(request, false).map_err(lost)?;
        body.send_data(message, true).map_err(lost)?;
        let response = response.await.map_err(lost)?;
        let media_type = response.headers().get(CONTENT_TYPE);
        if response.status() != StatusCode::OK || media_type.is_none_or(|found| found != MEDIA_TYPE) {
            tracing::debug!("an upstream answered with status {} and type {media_type:?}", response.status());
            return Err(ExchangeError::Malformed);
        }
        let mut body = response.into_body();
        let mut bytes = Vec::new();
        while let Some(chunk) = body.data().await {
            let chunk = chunk.map_err(lost)?;
            if bytes.len() + chunk.len() > MAX_STREAM_SIZE {
                return Err(ExchangeError::Malformed);
            }
            bytes.extend_from_slice(&chunk);
            body.flow_control().release_capacity(chunk.len()).map_err(lost)?;
        }
        Ok(bytes)
    }
}

fn lost(error: h2::Error) -> ExchangeError {
    let kind = error.get_io().map_or(io::ErrorKind::ConnectionAborted, io::Error::kind);
    ExchangeError::Unreachable(kind)
}
