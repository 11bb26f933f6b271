//! Questions and answers as HTTP/2 requests (RFC 8484).

use std::{io, net::IpAddr};

use bytes::Bytes;
use h2::client::SendRequest;
use http::{
    HeaderValue, Method, Request, Response, StatusCode, Uri, Version,
    header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE},
    uri::PathAndQuery,
};
use tokio::net::TcpStream;
use tokio_rustls::{client::TlsStream, rustls::pki_types::ServerName};

use super::ExchangeError;
use crate::base::{config::HTTPS_PORT, message::MAX_STREAM_SIZE};

pub(super) const MEDIA_TYPE: &str = "application/dns-message";

/// Answers are short, and who says nothing about codings takes all of them (RFC 9110 section 12.5.3).
pub(super) const NO_CODING: &str = "identity";

/// No server needs more for what we ask, in bytes.
pub(super) const MAX_HEADER_SIZE: usize = 16 * 1024;

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

/// Whether the server has chosen HTTP/2 in the handshake. Where it chose nothing, HTTP/1.1 is what it speaks.
pub(super) fn is_http2(tls: &TlsStream<TcpStream>) -> bool {
    tls.get_ref().1.alpn_protocol() == Some(b"h2")
}

/// The future serves the connection until it ends or fails.
pub(super) async fn start(
    tls: TlsStream<TcpStream>,
    uri: Uri,
) -> Result<(Carrier, impl Future<Output = ()> + Send), ExchangeError> {
    let mut builder = h2::client::Builder::new();
    builder.enable_push(false).max_header_list_size(MAX_HEADER_SIZE as u32);
    let (requests, connection) = builder.handshake(tls).await.map_err(lost)?;
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
        let message = without_id(message);
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.uri.clone())
            .version(Version::HTTP_2)
            .header(ACCEPT, MEDIA_TYPE)
            .header(ACCEPT_ENCODING, NO_CODING)
            .header(CONTENT_TYPE, MEDIA_TYPE)
            .header(CONTENT_LENGTH, message.len())
            .body(())
            .map_err(|_| ExchangeError::Malformed)?;
        // Waits where the server allows no more streams.
        let mut requests = self.requests.clone().ready().await.map_err(lost)?;
        let (response, mut body) = requests.send_request(request, false).map_err(lost)?;
        body.send_data(message, true).map_err(lost)?;
        let response = response.await.map_err(lost)?;
        check(&response)?;
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

/// RFC 8484 section 4.1: the same question is the same request.
pub(super) fn without_id(message: &[u8]) -> Bytes {
    Bytes::from([&[0, 0], message.get(2..).unwrap_or_default()].concat())
}

/// Whether the body can be a DNS message.
pub(super) fn check<B>(response: &Response<B>) -> Result<(), ExchangeError> {
    let status = response.status();
    if status.is_redirection() {
        return Err(ExchangeError::unusable(format_args!(
            "it redirects elsewhere (HTTP status {}), which is not followed",
            status.as_u16()
        )));
    }
    if status != StatusCode::OK {
        return Err(ExchangeError::unusable(format_args!("it answers with HTTP status {}", status.as_u16())));
    }
    let coding = response.headers().get(CONTENT_ENCODING).map(|coding| coding.as_bytes().trim_ascii());
    if let Some(coding) = coding.filter(|coding| !coding.eq_ignore_ascii_case(NO_CODING.as_bytes())) {
        let coding = String::from_utf8_lossy(coding);
        return Err(ExchangeError::unusable(format_args!(
            "it answers with Content-Encoding {coding}, which nobody asked for"
        )));
    }
    match response.headers().get(CONTENT_TYPE) {
        Some(found) if is_dns_message(found) => Ok(()),
        Some(found) => {
            let found = String::from_utf8_lossy(found.as_bytes());
            Err(ExchangeError::unusable(format_args!("it answers with {found}, not with {MEDIA_TYPE}")))
        }
        None => Err(ExchangeError::unusable("it answers without a media type")),
    }
}

/// RFC 9110 section 8.3.1: the type is the same in any case, and parameters may follow it.
fn is_dns_message(media_type: &HeaderValue) -> bool {
    let essence = media_type.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(MEDIA_TYPE.as_bytes())
}

fn lost(error: h2::Error) -> ExchangeError {
    let kind = error.get_io().map_or(io::ErrorKind::ConnectionAborted, io::Error::kind);
    ExchangeError::Unreachable(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_media_type_is_read_in_any_case_and_with_parameters() {
        for (text, expected) in [
            ("application/dns-message", true),
            ("application/dns-message; charset=utf-8", true),
            ("application/dns-message;charset=utf-8", true),
            ("application/dns-message ; a=b; c=\"d\"", true),
            ("Application/DNS-Message", true),
            ("application/dns-message\t;", true),
            ("application/dns-messages", false),
            ("application/dns-json", false),
            ("text/html; charset=application/dns-message", false),
            ("", false),
        ] {
            let media_type = HeaderValue::from_str(text).expect("it can be sent");
            assert_eq!(is_dns_message(&media_type), expected, "{text}");
        }
    }

    #[test]
    fn an_answer_in_a_coding_says_so() {
        for (coding, expected) in [
            ("identity", None),
            ("Identity", None),
            ("gzip", Some("it answers with Content-Encoding gzip, which nobody asked for")),
            ("br, gzip", Some("it answers with Content-Encoding br, gzip, which nobody asked for")),
        ] {
            let response =
                Response::builder().header(CONTENT_TYPE, MEDIA_TYPE).header(CONTENT_ENCODING, coding);
            let found = check(&response.body(()).expect("a response")).err().map(|error| error.to_string());
            assert_eq!(found.as_deref(), expected);
        }
    }

    #[test]
    fn what_is_no_dns_message_says_what_it_is_instead() {
        for (status, media_type, expected) in [
            (200, Some("application/dns-message"), None),
            (200, Some("text/html"), Some("it answers with text/html, not with application/dns-message")),
            (200, None, Some("it answers without a media type")),
            (404, Some("application/dns-message"), Some("it answers with HTTP status 404")),
            (503, None, Some("it answers with HTTP status 503")),
            (308, None, Some("it redirects elsewhere (HTTP status 308), which is not followed")),
        ] {
            let mut response = Response::builder().status(status);
            if let Some(media_type) = media_type {
                response = response.header(CONTENT_TYPE, media_type);
            }
            let found = check(&response.body(()).expect("a response")).err().map(|error| error.to_string());
            assert_eq!(found.as_deref(), expected);
        }
    }
}
