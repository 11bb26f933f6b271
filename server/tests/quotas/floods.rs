//! A whole server whose client is flooded for: forged datagrams bear its address.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use pkdns::{config::Config, metrics::Metrics, server::Server};
use pkdns_testing::{
    common::{GRACE, HeldNetwork, Upstream},
    tls_client::trusting_anyone,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpSocket, TcpStream, UdpSocket},
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{DEFAULT_VERSIONS, pki_types::ServerName},
};
use tokio_util::sync::CancellationToken;

use super::{
    CLIENT,
    messages::{CLIENT_COOKIE, NOERROR, code, cookie, is_truncated, plain, with_cookie},
};

const PATIENCE: Duration = Duration::from_secs(20);

/// What a client asks in each way.
const QUESTIONS: usize = 20;

/// What a client may ask at once: enough for all that this one asks.
pub(crate) const BURST: u32 = 200;

/// A server with every transport; stops when dropped.
pub(crate) struct Running {
    pub(crate) dns: SocketAddr,
    dot: SocketAddr,
    https: SocketAddr,
    pub(crate) metrics: Metrics,
    stop: CancellationToken,
    _upstream: Upstream,
    _certificates: TempDir,
}

impl Running {
    pub(crate) async fn start() -> Self {
        let upstream = Upstream::plain().await;
        let certificates = tempfile::tempdir().unwrap();
        let any: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
        let mut config =
            Config { listen: vec![any], fallback_dns: vec![upstream.address.into()], ..Config::default() };
        (config.rate_limit.requests_per_minute, config.rate_limit.burst_size) = (1, BURST);
        config.certificate.self_signed = true;
        config.certificate.path = Some(certificates.path().to_owned());
        config.doh.enabled = true;
        config.doh.listen = vec![any];
        config.dot.enabled = true;
        config.dot.listen = vec![any];
        let server = Server::bind_to_network(config, std::sync::Arc::<HeldNetwork>::default()).unwrap();
        let (dns, dot, https) =
            (server.addresses()[0], server.tls_addresses()[0], server.https_addresses()[0]);
        let metrics = server.metrics().clone();
        let stop = CancellationToken::new();
        tokio::spawn(server.run(stop.clone()));
        Self { dns, dot, https, metrics, stop, _upstream: upstream, _certificates: certificates }
    }

    /// Sends datagrams in the name of [`CLIENT`] until no more of them is answered in full, and as many again.
    pub(crate) async fn flood(&self, count: usize) {
        let socket = datagrams(self.dns).await;
        for number in 0..count {
            socket.send(&plain()).await.unwrap();
            // So that the kernel drops few.
            if number % 100 == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        let spent = async {
            while self.metrics.refusals.count(pkdns::metrics::Reason::QueryQuota) == 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, spent).await.expect("the quota of forged datagrams is spent");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn datagrams(server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((CLIENT, 0)).await.unwrap();
    socket.connect(server).await.unwrap();
    socket
}

async fn stream(server: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((CLIENT, 0).into())?;
    socket.connect(server).await
}

async fn encrypted(server: SocketAddr, protocol: &str) -> io::Result<TlsStream<TcpStream>> {
    let config = trusting_anyone(DEFAULT_VERSIONS, &[protocol]);
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(std::sync::Arc::new(config)).connect(name, stream(server).await?).await
}

/// Asks on one connection, and counts the answers.
async fn ask_on<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> io::Result<usize> {
    let mut answered = 0;
    for _ in 0..QUESTIONS {
        let request = plain();
        stream.write_all(&[&(request.len() as u16).to_be_bytes()[..], &request].concat()).await?;
        let mut reply = vec![0; stream.read_u16().await?.into()];
        stream.read_exact(&mut reply).await?;
        answered += usize::from(code(&reply) == NOERROR && !is_truncated(&reply));
    }
    Ok(answered)
}

async fn ask_over_https(server: SocketAddr) -> io::Result<usize> {
    let mut stream = encrypted(server, "http/1.1").await?;
    let mut answered = 0;
    for _ in 0..QUESTIONS {
        let request = b"GET /resolve?name=localhost HTTP/1.1\r\nHost: localhost\r\n\r\n";
        stream.write_all(request).await?;
        let mut response = Vec::new();
        // JSON ends with the only closing brace before the end of a line.
        while !response.ends_with(b"}\n") && !response.windows(4).any(|end| end == b"429 ") {
            if stream.read_buf(&mut response).await? == 0 {
                break;
            }
        }
        answered += usize::from(response.starts_with(b"HTTP/1.1 200"));
    }
    Ok(answered)
}

/// Asks with a cookie, each once and without trying again.
async fn ask_with(server: SocketAddr, cookie: &[u8]) -> usize {
    let socket = datagrams(server).await;
    let mut answered = 0;
    for _ in 0..QUESTIONS {
        socket.send(&with_cookie(plain(), cookie)).await.unwrap();
        let mut reply = [0; 1500];
        let received = timeout(PATIENCE, socket.recv(&mut reply)).await;
        let Ok(Ok(size)) = received else { continue };
        answered += usize::from(code(&reply[..size]) == NOERROR && !is_truncated(&reply[..size]));
    }
    answered
}

/// What a client does that is told nothing, or that it comes from nowhere: it tries again, at most so many times.
async fn learn(server: SocketAddr, tries: usize) -> Option<Vec<u8>> {
    let socket = datagrams(server).await;
    for _ in 0..tries {
        socket.send(&with_cookie(plain(), &CLIENT_COOKIE)).await.unwrap();
        let mut reply = [0; 1500];
        if let Ok(Ok(size)) = timeout(GRACE, socket.recv(&mut reply)).await {
            return cookie(&reply[..size]);
        }
    }
    None
}

#[tokio::test]
async fn forged_datagrams_take_neither_tcp_nor_tls_nor_https_nor_cookies_from_the_client_whose_address_they_bear()
 {
    let server = Running::start().await;
    server.flood(5000).await;
    // Over UDP alone the client is told within a few tries what to do.
    let cookie = learn(server.dns, 20).await.expect("one in three is answered");
    let all = async {
        assert_eq!(ask_on(stream(server.dns).await?).await?, QUESTIONS, "TCP");
        assert_eq!(ask_on(encrypted(server.dot, "dot").await?).await?, QUESTIONS, "DNS over TLS");
        assert_eq!(ask_over_https(server.https).await?, QUESTIONS, "DNS over HTTPS");
        assert_eq!(ask_with(server.dns, &cookie).await, QUESTIONS, "UDP with a cookie");
        io::Result::Ok(())
    };
    // Meanwhile the flood goes on.
    let (served, ()) = tokio::join!(all, server.flood(5000));
    served.unwrap();
    let without = datagrams(server.dns).await;
    let mut truncated = 0;
    for _ in 0..20 {
        without.send(&plain()).await.unwrap();
        let mut reply = [0; 1500];
        if let Ok(Ok(size)) = timeout(GRACE, without.recv(&mut reply)).await {
            assert!(is_truncated(&reply[..size]));
            truncated += 1;
        }
    }
    assert!((1..20).contains(&truncated), "{truncated} of 20 are sent to TCP");
}
