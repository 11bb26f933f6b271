mod refusals;
mod sites;

use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicUsize, Ordering},
};

use pkarr::Keypair;
use rcgen::{CertificateParams, KeyPair};
use sha2::{Digest, Sha256, Sha512};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivatePkcs8KeyDer},
        server::{AlwaysResolvesServerRawPublicKeys, ResolvesServerCert},
        sign::{CertifiedKey, SigningKey, SingleCertAndKey},
    },
};

use super::*;
use crate::resolver::site::{Matching, Tlsa};

/// What stands before the seed of a key of Ed25519 in PKCS #8 (RFC 8410 section 7).
const PKCS8_PREFIX: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

fn key(seed: u8) -> Keypair {
    Keypair::from_secret_key(&[seed; 32])
}

fn pkcs8(seed: u8) -> PrivatePkcs8KeyDer<'static> {
    [&PKCS8_PREFIX[..], &[seed; 32]].concat().into()
}

fn signing_key(seed: u8) -> Arc<dyn SigningKey> {
    ring::sign::any_eddsa_type(&pkcs8(seed)).unwrap()
}

fn public_key_info(seed: u8) -> Vec<u8> {
    signing_key(seed).public_key().unwrap().to_vec()
}

/// A certificate for another name, whose time is long over.
fn odd_certificate(key: &KeyPair) -> CertificateDer<'static> {
    let mut parameters = CertificateParams::new(["old.example.com".to_string()]).unwrap();
    parameters.not_before = rcgen::date_time_ymd(2001, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(2002, 1, 1);
    parameters.self_signed(key).unwrap().der().clone()
}

fn ed25519_certificate(seed: u8) -> CertificateDer<'static> {
    odd_certificate(&KeyPair::try_from(&pkcs8(seed)).unwrap())
}

/// A site that answers a byte with the next one, on connections over TLS of the versions that are given.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Server {
    async fn start(
        resolver: Arc<dyn ResolvesServerCert>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let tls = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (address, connections) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let counted = connections.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                let tls = tls.clone();
                tokio::spawn(async move {
                    let mut stream = tls.accept(stream).await?;
                    let byte = stream.read_u8().await?;
                    stream.write_u8(byte + 1).await?;
                    stream.flush().await
                });
            }
        });
        Self { address, connections }
    }

    async fn raw(shown: u8, signs: u8) -> Self {
        let certified = CertifiedKey::new(vec![public_key_info(shown).into()], signing_key(signs));
        Self::start(Arc::new(AlwaysResolvesServerRawPublicKeys::new(Arc::new(certified))), &[&TLS13]).await
    }

    async fn certified(
        certificate: CertificateDer<'static>,
        key: Arc<dyn SigningKey>,
        version: &'static SupportedProtocolVersion,
    ) -> Self {
        let certified = CertifiedKey::new(vec![certificate], key);
        Self::start(Arc::new(SingleCertAndKey::from(certified)), &[version]).await
    }

    fn site(&self, proof: Proof) -> Site {
        let end_point = Name::from_ascii(format!("www.{}.", key(1).public_key().to_z32())).unwrap();
        Site { end_point, addresses: vec![self.address], proof }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

fn of_key(seed: u8) -> Proof {
    Proof { key: Some(key(seed).public_key()), certificates: Vec::new() }
}

fn record(selector: Selector, matching: Matching, data: &[u8]) -> Tlsa {
    let data = match matching {
        Matching::Exact => data.to_vec(),
        Matching::Sha256 => Sha256::digest(data).to_vec(),
        Matching::Sha512 => Sha512::digest(data).to_vec(),
    };
    Tlsa { selector, matching, data }
}

fn of_record(record: Tlsa) -> Proof {
    Proof { key: None, certificates: vec![record] }
}

fn alpn() -> Vec<Vec<u8>> {
    vec![b"http/1.1".to_vec()]
}

/// Connects, and sees that bytes come and go.
async fn use_site(connector: &SiteConnector, site: &Site) -> Result<Connected, ConnectError> {
    let mut connected = connector.connect(site, &alpn()).await?;
    connected.stream.write_u8(7).await.unwrap();
    connected.stream.flush().await.unwrap();
    assert_eq!(connected.stream.read_u8().await.unwrap(), 8);
    assert_eq!(connected.alpn.as_deref(), Some(&b"http/1.1"[..]));
    Ok(connected)
}
