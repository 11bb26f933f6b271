//! The certificate that somebody else's server shows, whatever it is worth.

use std::{io, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        self, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
        client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
        pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
    },
};

use super::{CertificateError, end, trust};
use crate::base::metrics::CertificateReading;

/// How long connecting and the handshake may take together.
const DEADLINE: Duration = Duration::from_secs(10);

/// What a server shows to those who come for a name.
#[derive(Debug, Clone)]
pub struct Look {
    /// What it shows, if that can be read.
    pub certificate: Option<CertificateReading>,
    /// Why clients that trust the public authorities do not believe it; `None` if they do.
    pub doubt: Option<String>,
}

/// Looks at what the server at `address` shows to those who come for `name`. Besides the public authorities those in the PEM
/// file `more` are trusted.
///
/// # Errors
///
/// When nobody can be connected to there, or does not speak TLS.
pub async fn look(address: SocketAddr, name: &str, more: Option<&Path>) -> io::Result<Look> {
    let server = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = more {
        for authority in CertificateDer::pem_file_iter(path).map_err(io::Error::other)? {
            roots.add(authority.map_err(io::Error::other)?).map_err(io::Error::other)?;
        }
    }
    let stream = connect(address, &server, Vec::new(), DEADLINE).await?;
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let doubt = trust::verify(chain, roots, &server, UnixTime::now()).err();
    Ok(Look { certificate: end::read_first(chain), doubt: doubt.map(|error| error.to_string()) })
}

/// TLS with whoever answers at `address`, for one of these protocols.
pub(super) async fn connect(
    address: SocketAddr,
    server: &ServerName<'static>,
    protocols: Vec<Vec<u8>>,
    deadline: Duration,
) -> io::Result<TlsStream<TcpStream>> {
    let mut config = trusting_anyone().map_err(io::Error::other)?;
    config.alpn_protocols = protocols;
    let connecting = async {
        let tcp = TcpStream::connect(address).await?;
        TlsConnector::from(Arc::new(config)).connect(server.clone(), tcp).await
    };
    timeout(deadline, connecting).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// TLS with whoever it may be. Nothing may be believed that is read there until somebody has verified it in another way.
///
/// # Errors
///
/// Only if the TLS library refuses its own defaults.
pub fn trusting_anyone() -> Result<ClientConfig, CertificateError> {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(CertificateError::Tls)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        .with_no_client_auth();
    Ok(config)
}

/// TLS with those alone whom this authority certifies, whose certificate is given in DER.
///
/// # Errors
///
/// Only if the TLS library refuses its own defaults. What is no certificate certifies nobody.
pub fn trusting_only(authority: &[u8]) -> Result<ClientConfig, CertificateError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates([CertificateDer::from(authority)]);
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(CertificateError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

/// Nothing is sent to whom is looked at, so anyone may be looked at. Whether they have the key is checked all the same.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
