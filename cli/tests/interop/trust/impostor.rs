//! Somebody on the way between a visitor and a server, who knows what the server hands out and has an authority of his own.

use pkdns_testing::tls_client;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::rustls::{
    DEFAULT_VERSIONS,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Certified by his own authority, and with pages of his own.
pub(crate) struct Impostor {
    pub(crate) place: String,
    _stop: DropGuard,
}

impl Impostor {
    /// Hands out the authority `genuine` and his own behind it as `ca.pem`, or his own first, and his own as that of the bridge.
    pub(crate) async fn start(genuine: &str, is_first: bool) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.distinguished_name.push(DnType::CommonName, "pkdns bridge authority");
        let own = authority.self_signed(&key).unwrap().pem();
        let leaf_key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let leaf = leaf.signed_by(&leaf_key, &Issuer::new(authority, &key)).unwrap();
        let leaf_key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf_key.serialize_der()));
        let acceptor = tls_client::acceptor(leaf.der().clone(), leaf_key, DEFAULT_VERSIONS, &[]);
        let both = if is_first { format!("{own}{genuine}") } else { format!("{genuine}{own}") };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = format!("https://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut request = [0; 1024];
                let length = stream.read(&mut request).await.unwrap_or_default();
                let is_bridge = request[..length].starts_with(b"GET /bridge-ca.pem ");
                let body = if is_bridge { &own } else { &both };
                let head =
                    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
                let _ = stream.write_all((head + body).as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        }));
        Self { place, _stop: stop.drop_guard() }
    }
}
