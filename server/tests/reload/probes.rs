//! What a client sees, in a word or two.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use hickory_proto::{
    op::Message,
    rr::{DNSClass, RecordType},
};
use pkdns_testing::{
    server::{keypair, query},
    support::client::ask_on,
    tls_client,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::{sleep, timeout},
};
use tokio_rustls::rustls::DEFAULT_VERSIONS;

use super::stage::{Stage, key};

/// Longest wait for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A connection is taken for open when it is silent for this long.
const SILENT: Duration = Duration::from_millis(500);

/// Looks at a server.
pub(crate) type Probe = Box<dyn for<'a> Fn(&'a Stage) -> BoxFuture<'a, String> + Send + Sync>;

pub(crate) fn probe(
    look: impl for<'a> Fn(&'a Stage) -> BoxFuture<'a, String> + Send + Sync + 'static,
) -> Probe {
    Box::new(look)
}

/// Code and data of the reply.
fn told(reply: &[u8]) -> String {
    let Ok(message) = Message::from_vec(reply) else { return "nonsense".into() };
    let data = message.answers.iter().map(|record| format!(" {}", record.data));
    format!("{:?}{}", message.metadata.response_code, data.collect::<String>())
}

pub(crate) async fn over_udp(server: SocketAddr, request: &[u8]) -> String {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    socket.connect(server).await.unwrap();
    let mut buffer = vec![0; 4096];
    let asked = Instant::now();
    // Nobody is kept from losing a datagram.
    while asked.elapsed() < PATIENCE {
        if socket.send(request).await.is_err() {
            return "closed".into();
        }
        match timeout(Duration::from_secs(6), socket.recv(&mut buffer)).await {
            Ok(Ok(size)) => return told(&buffer[..size]),
            Ok(Err(_)) => return "closed".into(),
            Err(_) => {}
        }
    }
    "silence".into()
}

/// Over a stream, in the clear or not. What ends without a reply is `closed`.
pub(crate) async fn over(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &[u8]) -> String {
    let exchange = async {
        let reply = ask_on(stream, request).await?;
        std::io::Result::Ok(told(&reply))
    };
    timeout(PATIENCE, exchange).await.expect("an end").unwrap_or_else(|_| "closed".into())
}

pub(crate) async fn over_tcp(server: SocketAddr, request: &[u8]) -> String {
    match TcpStream::connect(server).await {
        Ok(mut stream) => over(&mut stream, request).await,
        Err(_) => "refused".into(),
    }
}

pub(crate) fn www() -> Vec<u8> {
    query("www.example", RecordType::A)
}

/// Asks over UDP.
pub(crate) fn asks(name: impl Into<String>, record_type: RecordType) -> Probe {
    let request = query(&name.into(), record_type);
    probe(move |stage| {
        let request = request.clone();
        Box::pin(async move { over_udp(stage.address("udp"), &request).await })
    })
}

/// Asks what the server says of itself.
pub(crate) fn asks_itself(name: &str) -> Probe {
    let mut request = query(name, RecordType::TXT);
    let at = request.len() - 1;
    request[at] = u16::from(DNSClass::CH) as u8;
    probe(move |stage| {
        let request = request.clone();
        Box::pin(async move { over_udp(stage.address("udp"), &request).await })
    })
}

/// How many of five questions over as many connections are answered.
pub(crate) fn answered_of_five() -> Probe {
    probe(|stage| {
        Box::pin(async move {
            let mut answered = 0;
            for _ in 0..5 {
                answered += usize::from(over_tcp(stage.address("tcp"), &www()).await.starts_with("NoError"));
            }
            answered.to_string()
        })
    })
}

/// How many of three keys, which nobody asked for before, are looked up.
pub(crate) fn lookups_of_three(first: u8) -> Probe {
    probe(move |stage| {
        Box::pin(async move {
            let before = stage.lookups();
            // Others each time that this looks.
            for number in 0..3 {
                let key = keypair(first + number + 10 * u8::try_from(before).unwrap());
                over_tcp(stage.address("tcp"), &query(&key.to_z32(), RecordType::A)).await;
            }
            (stage.lookups() - before).to_string()
        })
    })
}

/// Whether a key that has been asked for is soon looked for again.
pub(crate) fn is_asked_for_again(seed: u8, waits: bool) -> Probe {
    probe(move |stage| {
        Box::pin(async move {
            let request = query(&keypair(seed).to_z32(), RecordType::A);
            over_udp(stage.address("udp"), &request).await;
            let (before, start) = (stage.lookups(), Instant::now());
            while stage.lookups() == before && waits {
                assert!(start.elapsed() < PATIENCE, "never asked for again");
                sleep(Duration::from_millis(100)).await;
                over_udp(stage.address("udp"), &request).await;
            }
            if stage.lookups() > before { "again" } else { "held" }.into()
        })
    })
}

/// How many addresses with this protocol answer.
pub(crate) fn listening(protocol: &'static str) -> Probe {
    probe(move |stage| {
        Box::pin(async move {
            let mut answering = 0;
            for address in stage.all(protocol) {
                let reply = match protocol {
                    "udp" => over_udp(address, &www()).await,
                    "tls" => over_tls(address, &www()).await,
                    "bridge" => no_such_name(address).await,
                    "bridge-http" => get(address, "/", "").await.replace("421", "NoError"),
                    "https" => if tls_client::shown(address).await.is_some() { "NoError" } else { "" }.into(),
                    "metrics" => get(address, "/metrics", "").await.replace("200", "NoError"),
                    _ => get(address, "/", "").await.replace("200", "NoError"),
                };
                answering += usize::from(reply.starts_with("NoError"));
            }
            answering.to_string()
        })
    })
}

/// What the bridge says of a name that is none of a key.
async fn no_such_name(bridge: SocketAddr) -> String {
    let config = tls_client::trusting_anyone(DEFAULT_VERSIONS, &[]);
    match tls_client::connect(bridge, "localhost", config).await {
        Err(error) if error.to_string().contains("UnrecognisedName") => "NoError".into(),
        _ => "something else".into(),
    }
}

pub(crate) async fn over_tls(server: SocketAddr, request: &[u8]) -> String {
    let config = tls_client::trusting_anyone(DEFAULT_VERSIONS, &["dot"]);
    match tls_client::connect(server, "localhost", config).await {
        Ok(mut stream) => over(&mut stream, request).await,
        Err(_) => "refused".into(),
    }
}

/// Which of the files of the world is shown.
pub(crate) fn shows(protocol: &'static str) -> Probe {
    probe(move |stage| {
        Box::pin(async move {
            let shown = tls_client::shown(stage.address(protocol)).await.expect("a certificate");
            let is_of = |name: &&str| {
                let pem = std::fs::read(stage.world.path(&format!("{name}.pem"))).unwrap();
                use tokio_rustls::rustls::pki_types::{CertificateDer, pem::PemObject};
                CertificateDer::from_pem_slice(&pem).unwrap() == shown
            };
            ["a", "b"].into_iter().find(is_of).unwrap_or("another").into()
        })
    })
}

/// The status of a response over plain HTTP; `closed` where there is none.
pub(crate) async fn get(server: SocketAddr, path: &str, headers: &str) -> String {
    let (head, _) = response(server, "GET", path, headers).await;
    head.split(' ').nth(1).unwrap_or("closed").into()
}

/// Head and body.
pub(crate) async fn response(
    server: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
) -> (String, String) {
    let host = if headers.contains("host:") { String::new() } else { format!("host: {server}\r\n") };
    let request =
        format!("{method} {path} HTTP/1.1\r\n{host}connection: close\r\ncontent-length: 0\r\n{headers}\r\n");
    let exchange = async {
        let mut stream = TcpStream::connect(server).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut response = Vec::new();
        stream.read_to_end(&mut response).await?;
        std::io::Result::Ok(String::from_utf8_lossy(&response).into_owned())
    };
    let response = timeout(PATIENCE, exchange).await.expect("an end").unwrap_or_default();
    let (head, body) = response.split_once("\r\n\r\n").unwrap_or_default();
    (head.to_owned(), body.to_owned())
}

/// The status of a page.
pub(crate) fn gets(path: impl Into<String>, headers: &'static str) -> Probe {
    let path = path.into();
    probe(move |stage| {
        let path = path.clone();
        Box::pin(async move { get(stage.address("http"), &path, headers).await })
    })
}

/// The statuses of two requests.
pub(crate) fn two(method: &'static str) -> Probe {
    probe(move |stage| {
        Box::pin(async move {
            let mut statuses = Vec::new();
            for _ in 0..2 {
                let path = format!("/{}", key().to_z32());
                let (head, _) = response(stage.address("http"), method, &path, "").await;
                statuses.push(head.split(' ').nth(1).unwrap_or("closed").to_owned());
            }
            statuses.join(" ")
        })
    })
}

/// How many of four connections stay open.
pub(crate) fn open_of_four(protocol: &'static str) -> Probe {
    probe(move |stage| {
        Box::pin(async move {
            let mut open = Vec::new();
            for _ in 0..4 {
                let Ok(stream) = TcpStream::connect(stage.address(protocol)).await else { continue };
                open.push(stream);
                // One after the other, so that they are counted in this order.
                sleep(Duration::from_millis(20)).await;
            }
            let looks = open.iter_mut().map(|stream| async {
                let mut byte = [0];
                timeout(SILENT, stream.read(&mut byte)).await.is_err()
            });
            let stay = futures_util::future::join_all(looks).await;
            stay.into_iter().filter(|stays| *stays).count().to_string()
        })
    })
}

/// What becomes of a connection that begins without the header of the PROXY protocol.
pub(crate) fn without_proxy_header(protocol: &'static str) -> Probe {
    probe(move |stage| {
        Box::pin(async move {
            let server = stage.address(protocol);
            match protocol {
                "tcp" => over_tcp(server, &www()).await,
                "tls" => over_tls(server, &www()).await,
                _ => get(server, "/", "").await,
            }
        })
    })
}

/// The value of a metric.
pub(crate) fn metric(name: &'static str) -> Probe {
    probe(move |stage| {
        Box::pin(async move {
            for seed in [1, 2, 3] {
                over_udp(stage.address("udp"), &query(&keypair(seed).to_z32(), RecordType::A)).await;
            }
            let page = stage.metrics.encode().unwrap();
            let value = page.lines().find_map(|line| line.strip_prefix(name)).expect("it is there");
            value.trim().into()
        })
    })
}
