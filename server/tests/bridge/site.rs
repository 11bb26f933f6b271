//! A site over TLS that counts what it is sent.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use pkdns_testing::tls_client;
use rcgen::{CertificateParams, KeyPair};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    rustls::{
        DEFAULT_VERSIONS,
        pki_types::{CertificateDer, PrivateKeyDer},
    },
    server::TlsStream,
};

/// What a site does with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Sends back what it gets, until there is no more, and ends.
    Echo,
    /// Says so many bytes, ends its side, and then sends back how many it has got.
    SayThenCount(usize),
    /// Answers a request with this body, and ends without a word of TLS, as many servers do.
    Cut(&'static str),
    /// Says nothing and takes nothing.
    Silent,
    /// Writes without end.
    Endless,
}

pub(crate) struct TlsSite {
    pub(crate) address: SocketAddr,
    pub(crate) certificate: CertificateDer<'static>,
    /// Connections whose handshake was completed.
    pub(crate) connections: Arc<AtomicUsize>,
    /// Bytes inside of TLS.
    pub(crate) received: Arc<AtomicUsize>,
}

impl TlsSite {
    /// `protocols` are what it speaks (ALPN).
    pub(crate) async fn start(manner: Manner, protocols: &[&str]) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["site".to_owned()]).unwrap().self_signed(&key).unwrap();
        let certificate = certificate.der().clone();
        let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let acceptor = tls_client::acceptor(certificate.clone(), private, DEFAULT_VERSIONS, protocols);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, received) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let counts = (connections.clone(), received.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, (connections, received)) = (acceptor.clone(), counts.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    connections.fetch_add(1, Ordering::SeqCst);
                    behave(manner, stream, &received).await;
                });
            }
        });
        Self { address, certificate, connections, received }
    }

    pub(crate) fn received(&self) -> usize {
        self.received.load(Ordering::SeqCst)
    }
}

async fn behave(manner: Manner, mut stream: TlsStream<TcpStream>, received: &AtomicUsize) {
    let mut buffer = vec![0; 16 << 10];
    match manner {
        Manner::Echo => {
            while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                received.fetch_add(count, Ordering::SeqCst);
                if stream.write_all(&buffer[..count]).await.is_err() {
                    return;
                }
                let _ = stream.flush().await;
            }
            let _ = stream.shutdown().await;
        }
        Manner::SayThenCount(size) => {
            // What is said is over before the rest is read.
            let _ = stream.write_all(&vec![b's'; size]).await;
            let _ = stream.shutdown().await;
            while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                received.fetch_add(count, Ordering::SeqCst);
            }
        }
        Manner::Cut(body) => {
            let count = stream.read(&mut buffer).await.unwrap_or(0);
            received.fetch_add(count, Ordering::SeqCst);
            let response = format!("HTTP/1.0 200 OK\r\n\r\n{body}");
            let _ = stream.write_all(response.as_bytes()).await;
            let _ = stream.flush().await;
            // Dropped without close_notify.
        }
        Manner::Silent => std::future::pending().await,
        Manner::Endless => while stream.write_all(&buffer).await.is_ok() {},
    }
}
