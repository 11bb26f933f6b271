//! Upstreams over TLS and HTTPS.

use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use bytes::Bytes;
use hickory_proto::op::ResponseCode;
use http::{HeaderValue, Request, Response, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertifiedKey, KeyPair};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{PrivateKeyDer, pem::PemObject},
    },
    server::TlsStream,
};

use super::{Cost, Counts, Expected, Row, cost, plain::Asked};

const MEDIA_TYPE: &str = "application/dns-message";

/// What a server does with the connections that are left once they are encrypted.
#[derive(Debug, Clone, Copy)]
enum Speaks {
    /// DNS over TLS, and replies to what it is asked.
    Dns(fn(&Asked) -> Vec<u8>),
    /// The same for those who agree on `dot`, and nothing to others.
    DnsForDot,
    /// Nothing: it closes them.
    Nothing,
    /// HTTP, with this status and media type, where there is one.
    Http(u16, Option<&'static str>),
    /// HTTP with a reply that is no DNS message.
    HttpGarbage,
    /// HTTP that closes its connection after each answer.
    HttpOnce,
    /// Something that is neither.
    Gibberish,
}

/// Certifies 127.0.0.1.
pub(crate) fn certificate() -> CertifiedKey<KeyPair> {
    rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap()
}

fn acceptor(certificate: &CertifiedKey<KeyPair>, protocols: &[&str]) -> TlsAcceptor {
    let key = PrivateKeyDer::from_pem_slice(certificate.signing_key.serialize_pem().as_bytes()).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Arc::new(config).into()
}

async fn start(acceptor: TlsAcceptor, speaks: Speaks) -> (SocketAddr, Arc<Counts>, JoinSet<()>) {
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
    let is_dot = stream.get_ref().1.alpn_protocol() == Some(b"dot");
    match speaks {
        Speaks::Dns(reply) => serve_dns(stream, reply, counts).await,
        Speaks::DnsForDot if is_dot => serve_dns(stream, |asked| asked.answer(1), counts).await,
        Speaks::DnsForDot | Speaks::Nothing => {
            let _ = stream.shutdown().await;
        }
        Speaks::Gibberish => {
            let _ = stream.write_all(&[b'x'; 4096]).await;
            let _ = stream.read_u8().await;
        }
        Speaks::Http(..) | Speaks::HttpGarbage | Speaks::HttpOnce => {
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
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
    // HTTP/1.1 wants the host, HTTP/2 has it in the address.
    assert!(request.headers().contains_key("host") || request.uri().authority().is_some());
    let bytes = request.into_body().collect().await.unwrap().to_bytes().to_vec();
    counts.question(bytes.get(12));
    let (status, media_type) = match speaks {
        Speaks::Http(status, media_type) => (status, media_type),
        _ => (200, Some(MEDIA_TYPE)),
    };
    let asked = Asked { bytes, is_tcp: true };
    let body = if let Speaks::HttpGarbage = speaks { vec![0xff; 100] } else { asked.answer(1) };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status.try_into().unwrap();
    if let Some(media_type) = media_type {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    }
    Ok(response)
}

/// Scheme, certificate, protocols to agree on, what is spoken, what comes of it, and what the first and the tenth question
/// cost.
type Line<'a> =
    (&'static str, &'static str, &'a CertifiedKey<KeyPair>, &'a [&'a str], Speaks, Expected, Cost, Cost);

/// The matrix, and what has to be held while it is worked through.
pub(crate) async fn rows(certificate: &CertifiedKey<KeyPair>) -> (Vec<Row>, Vec<JoinSet<()>>) {
    use Expected::{Address, Because, Code, Second};
    use Speaks::{Dns, DnsForDot, Gibberish, Http, HttpGarbage, HttpOnce, Nothing};
    let stranger = self::certificate();
    let (ours, both) = (certificate, &["h2", "http/1.1"][..]);
    let answers = Dns(|asked| asked.answer(1));
    let well = Http(200, Some(MEDIA_TYPE));
    let fails = |expected| Because(expected);
    let table: Vec<Line<'_>> = vec![
        ("TLS", "tls", ours, &[], answers, Address, cost(1, 1), cost(1, 0)),
        ("TLS with ALPN dot", "tls", ours, &["dot"], answers, Address, cost(1, 1), cost(1, 0)),
        ("TLS for ALPN dot alone", "tls", ours, &["dot"], DnsForDot, Address, cost(1, 1), cost(1, 0)),
        ("TLS with another ALPN", "tls", ours, &["h2"], answers, Address, cost(1, 2), cost(1, 0)),
        (
            "TLS that refuses EDNS",
            "tls",
            ours,
            &[],
            Dns(|asked| if asked.bytes[11] == 1 { asked.code(1) } else { asked.answer(1) }),
            Address,
            cost(2, 1),
            cost(1, 0),
        ),
        (
            "TLS, a header with SERVFAIL",
            "tls",
            ours,
            &[],
            Dns(|asked| [&asked.code(2)[..5], &[0; 7]].concat()),
            Code(ResponseCode::ServFail),
            cost(1, 1),
            cost(1, 0),
        ),
        (
            "TLS that closes",
            "tls",
            ours,
            &[],
            Nothing,
            fails("it closes connections"),
            cost(0, 2),
            cost(0, 2),
        ),
        ("TLS of a stranger", "tls", &stranger, &[], answers, fails("certificate"), cost(0, 1), cost(0, 1)),
        ("TLS of a stranger before a second", "tls", &stranger, &[], answers, Second, cost(0, 1), cost(0, 1)),
        ("HTTP/2", "https", ours, both, well, Address, cost(1, 1), cost(1, 0)),
        ("HTTP/1.1", "https", ours, &["http/1.1"], well, Address, cost(1, 1), cost(1, 0)),
        ("HTTP/1.1 without ALPN", "https", ours, &[], well, Address, cost(1, 1), cost(1, 0)),
        ("HTTP/1.1 that closes", "https", ours, &["http/1.1"], HttpOnce, Address, cost(1, 1), cost(1, 1)),
        (
            "a charset",
            "https",
            ours,
            both,
            Http(200, Some("application/dns-message; charset=utf-8")),
            Address,
            cost(1, 1),
            cost(1, 0),
        ),
        (
            "a media type in capitals",
            "https",
            ours,
            both,
            Http(200, Some("Application/DNS-Message")),
            Address,
            cost(1, 1),
            cost(1, 0),
        ),
        (
            "text/html",
            "https",
            ours,
            both,
            Http(200, Some("text/html")),
            fails("text/html"),
            cost(1, 1),
            cost(1, 0),
        ),
        ("no media type", "https", ours, both, Http(200, None), fails("media type"), cost(1, 1), cost(1, 0)),
        (
            "404",
            "https",
            ours,
            both,
            Http(404, Some(MEDIA_TYPE)),
            fails("status 404"),
            cost(1, 1),
            cost(1, 0),
        ),
        (
            "503 over HTTP/1.1",
            "https",
            ours,
            &[],
            Http(503, None),
            fails("status 503"),
            cost(1, 1),
            cost(1, 1),
        ),
        ("a redirect", "https", ours, both, Http(302, None), fails("redirects"), cost(1, 1), cost(1, 0)),
        ("garbage over HTTPS", "https", ours, both, HttpGarbage, fails("malformed"), cost(1, 1), cost(1, 0)),
        ("404 before a second", "https", ours, both, Http(404, None), Second, cost(1, 1), cost(1, 0)),
        ("gibberish over HTTPS", "https", ours, &[], Gibberish, fails("not HTTP"), cost(0, 1), cost(0, 1)),
    ];
    let (mut rows, mut held) = (Vec::new(), Vec::new());
    for (what, scheme, certificate, protocols, speaks, expected, first, tenth) in table {
        let (address, counts, tasks) = start(acceptor(certificate, protocols), speaks).await;
        let upstream = format!("{scheme}://{address}").parse().unwrap();
        rows.push(Row { what, upstream, counts, expected, first, tenth });
        held.push(tasks);
    }
    (rows, held)
}
