//! Upstreams over TLS and HTTPS.

use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use bytes::Bytes;
use http::{
    HeaderValue, Request, Response,
    header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, LOCATION},
};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use pkdns_testing::tls_client;
use rcgen::{CertificateParams, CertifiedKey, KeyPair};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        SupportedProtocolVersion,
        pki_types::{PrivateKeyDer, pem::PemObject},
    },
    server::TlsStream,
};

use super::{Counts, plain::Asked, raw_http};

pub(crate) const MEDIA_TYPE: &str = "application/dns-message";

/// What a server does with the connections that are left once they are encrypted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Speaks {
    /// DNS over TLS, and replies to what it is asked.
    Dns(fn(&Asked) -> Vec<u8>),
    /// The same for those who agree on `dot`, and nothing to others.
    DnsForDot,
    /// Nothing, and not even a handshake: it holds them.
    Silence,
    /// Nothing: it closes them.
    Nothing,
    /// HTTP, with this status and media type, where there is one.
    Http(u16, Option<&'static str>),
    /// HTTP with a status that sends elsewhere, and the place, where questions are answered as well.
    Redirects(u16),
    /// HTTP with a reply that is no DNS message.
    HttpGarbage,
    /// HTTP with a coding that is in the header.
    Encoded(&'static str),
    /// HTTP/1.1 or HTTP/2, as they stand in the bytes.
    Raw(raw_http::Way),
    /// HTTP that closes its connection after each answer.
    HttpOnce,
    /// Something that is neither.
    Gibberish,
}

/// Certifies 127.0.0.1.
pub(crate) fn certificate() -> CertifiedKey<KeyPair> {
    rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap()
}

/// The same, until 2020.
pub(crate) fn expired() -> CertifiedKey<KeyPair> {
    let mut parameters = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    parameters.not_after = rcgen::date_time_ymd(2020, 2, 29);
    let signing_key = KeyPair::generate().unwrap();
    CertifiedKey { cert: parameters.self_signed(&signing_key).unwrap(), signing_key }
}

pub(crate) fn acceptor(
    certificate: &CertifiedKey<KeyPair>,
    protocols: &[&str],
    versions: &[&'static SupportedProtocolVersion],
) -> TlsAcceptor {
    let key = PrivateKeyDer::from_pem_slice(certificate.signing_key.serialize_pem().as_bytes()).unwrap();
    tls_client::acceptor(certificate.cert.der().clone(), key, versions, protocols)
}

pub(crate) async fn start(acceptor: TlsAcceptor, speaks: Speaks) -> (SocketAddr, Arc<Counts>, JoinSet<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (address, counts, mut tasks) =
        (listener.local_addr().unwrap(), Arc::<Counts>::default(), JoinSet::new());
    let shared = counts.clone();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((tcp, _)) = listener.accept().await {
            shared.connection();
            let (acceptor, counts) = (acceptor.clone(), shared.clone());
            connections.spawn(async move {
                if let Speaks::Silence = speaks {
                    let _held = tcp;
                    return std::future::pending().await;
                }
                // Fails with a client that does not trust us, or agrees on nothing.
                if let Ok(stream) = acceptor.accept(tcp).await {
                    serve(stream, speaks, counts).await;
                }
            });
        }
    });
    (address, counts, tasks)
}

async fn serve(mut stream: TlsStream<TcpStream>, speaks: Speaks, counts: Arc<Counts>) {
    let [is_dot, is_http2] = [&b"dot"[..], b"h2"].map(|it| stream.get_ref().1.alpn_protocol() == Some(it));
    match speaks {
        Speaks::Dns(reply) => serve_dns(stream, reply, counts).await,
        Speaks::DnsForDot if is_dot => serve_dns(stream, |asked| asked.answer(1), counts).await,
        Speaks::DnsForDot | Speaks::Nothing | Speaks::Silence => {
            let _ = stream.shutdown().await;
        }
        Speaks::Gibberish => {
            let _ = stream.write_all(&[b'x'; 4096]).await;
            let _ = stream.read_u8().await;
        }
        // Ends when the client leaves.
        Speaks::Raw(way) => {
            let _ = raw_http::serve(stream, is_http2, way, counts).await;
        }
        Speaks::Http(..)
        | Speaks::Redirects(_)
        | Speaks::HttpGarbage
        | Speaks::Encoded(_)
        | Speaks::HttpOnce => {
            let service = service_fn(|request| answer(request, speaks, counts.clone()));
            let io = TokioIo::new(stream);
            let _ = if is_http2 {
                http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await
            } else {
                let keeps = !matches!(speaks, Speaks::HttpOnce);
                http1::Builder::new().keep_alive(keeps).serve_connection(io, service).await
            };
        }
    }
}

async fn serve_dns(mut stream: TlsStream<TcpStream>, reply: fn(&Asked) -> Vec<u8>, counts: Arc<Counts>) {
    while let Ok(length) = stream.read_u16().await {
        let mut bytes = vec![0; usize::from(length)];
        if stream.read_exact(&mut bytes).await.is_err() {
            return;
        }
        counts.question(bytes.get(12));
        let reply = reply(&Asked { bytes, is_tcp: true });
        let _ = stream.write_all(&[&(reply.len() as u16).to_be_bytes()[..], &reply].concat()).await;
        let _ = stream.flush().await;
    }
}

async fn answer(
    request: Request<Incoming>,
    speaks: Speaks,
    counts: Arc<Counts>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    assert_eq!((request.method().as_str(), request.uri().path()), ("POST", "/dns-query"));
    assert_eq!(request.headers()[CONTENT_TYPE], MEDIA_TYPE);
    assert_eq!(request.headers()[ACCEPT_ENCODING], "identity");
    // HTTP/1.1 wants the host, HTTP/2 has it in the address.
    assert!(request.headers().contains_key("host") || request.uri().authority().is_some());
    let bytes = request.into_body().collect().await.unwrap().to_bytes().to_vec();
    counts.question(bytes.get(12));
    let (status, media_type) = match speaks {
        Speaks::Http(status, media_type) => (status, media_type),
        Speaks::Redirects(status) => (status, Some(MEDIA_TYPE)),
        _ => (200, Some(MEDIA_TYPE)),
    };
    let asked = Asked { bytes, is_tcp: true };
    let body = if let Speaks::HttpGarbage = speaks { vec![0xff; 100] } else { asked.answer(1) };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status.try_into().unwrap();
    if let Some(media_type) = media_type {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    }
    let more = match speaks {
        Speaks::Redirects(_) => Some((LOCATION, "/elsewhere")),
        Speaks::Encoded(coding) => Some((CONTENT_ENCODING, coding)),
        _ => None,
    };
    response.headers_mut().extend(more.map(|(name, value)| (name, HeaderValue::from_static(value))));
    Ok(response)
}
