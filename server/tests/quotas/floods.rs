//! A whole server whose client is flooded for: forged datagrams bear its address.

use std::{io, net::SocketAddr, time::Duration};

use pkdns::{config::Config, metrics::Reason};
use pkdns_testing::{
    server::{GRACE, TestServer},
    support::client::{self, connect_from},
    tls_client::trusting_anyone,
    wait::eventually,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{DEFAULT_VERSIONS, pki_types::ServerName},
};

use super::{
    CLIENT,
    messages::{CLIENT_COOKIE, NOERROR, code, cookie, is_truncated, plain, with_cookie},
};

const PATIENCE: Duration = Duration::from_secs(20);

/// What a client asks in each way.
const QUESTIONS: usize = 20;

/// What a client may ask at once: enough for all that this one asks.
pub(crate) const BURST: u32 = 200;

/// A server with every transport.
pub(crate) fn start() -> TestServer {
    let quota = |config: &mut Config| {
        (config.rate_limit.requests_per_minute, config.rate_limit.burst_size) = (1, BURST);
    };
    TestServer::builder().encrypted().self_signed().change(quota).start()
}

/// Sends datagrams in the name of [`CLIENT`] until no more of them is answered in full, and as many again.
pub(crate) async fn flood(server: &TestServer, count: usize) {
    let socket = datagrams(server.address).await;
    for number in 0..count {
        socket.send(&plain()).await.unwrap();
        // So that the kernel drops few.
        if number % 100 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    let is_spent = async || server.metrics.refusals.count(Reason::QueryQuota) > 0;
    eventually("the quota of forged datagrams is spent", is_spent).await;
}

async fn datagrams(server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((CLIENT, 0)).await.unwrap();
    socket.connect(server).await.unwrap();
    socket
}

async fn encrypted(server: SocketAddr, protocol: &str) -> io::Result<TlsStream<TcpStream>> {
    let config = trusting_anyone(DEFAULT_VERSIONS, &[protocol]);
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(std::sync::Arc::new(config)).connect(name, connect_from(CLIENT, server).await?).await
}

/// Asks on one connection, and counts the answers.
async fn ask_on<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> io::Result<usize> {
    let mut answered = 0;
    for _ in 0..QUESTIONS {
        let reply = client::ask_on(&mut stream, &plain()).await?;
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
    let server = start();
    flood(&server, 5000).await;
    // Over UDP alone the client is told within a few tries what to do.
    let cookie = learn(server.address, 20).await.expect("one in three is answered");
    let all = async {
        assert_eq!(ask_on(connect_from(CLIENT, server.address).await?).await?, QUESTIONS, "TCP");
        assert_eq!(ask_on(encrypted(server.tls(), "dot").await?).await?, QUESTIONS, "DNS over TLS");
        assert_eq!(ask_over_https(server.https()).await?, QUESTIONS, "DNS over HTTPS");
        assert_eq!(ask_with(server.address, &cookie).await, QUESTIONS, "UDP with a cookie");
        io::Result::Ok(())
    };
    // Meanwhile the flood goes on.
    let (served, ()) = tokio::join!(all, flood(&server, 5000));
    served.unwrap();
    let without = datagrams(server.address).await;
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
