//! A verified connection to a site.

mod race;
#[cfg(test)]
mod tests;

use std::{
    hash::RandomState,
    io,
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hickory_proto::rr::Name;
use lru::LruCache;
use pkarr::PublicKey;
use thiserror::Error;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        self, AlertDescription, ClientConfig, PeerIncompatible, SupportedProtocolVersion,
        client::Resumption,
        crypto::{CryptoProvider, ring},
        pki_types::ServerName,
        version::{TLS12, TLS13},
    },
};

use super::verify::{Form, Mismatch, Verifier};
use crate::resolver::site::{Proof, Selector, Site};

/// For all of it: whoever has clicked on a link waits.
const DEADLINE: Duration = Duration::from_secs(10);

/// Addresses of a site that are tried.
const MAX_ADDRESSES: usize = 4;

/// Bytes of each direction that TLS keeps while the other side does not take them.
const BUFFER: usize = 64 * 1024;

/// Sites of which is known in which form they show their key, with some 200 bytes each.
const MAX_KNOWN: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// Characters of z-base-32 in a key.
const KEY_LENGTH: usize = 52;

/// Connects to sites, and verifies them.
#[derive(Debug)]
pub struct SiteConnector {
    provider: Arc<CryptoProvider>,
    /// In which form an end point has shown its key, so that it is asked for that first.
    known: Mutex<LruCache<Name, Form, RandomState>>,
}

/// A site that has shown that it is the right one.
#[derive(Debug)]
pub struct Connected {
    /// The connection to it.
    pub stream: TlsStream<TcpStream>,
    /// What is spoken there, if it has chosen one of the protocols that were offered.
    pub alpn: Option<Vec<u8>>,
}

/// Why there is no connection to a site.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// None of its addresses can be reached.
    #[error("the site cannot be reached: {}", told(.0))]
    Unreachable(Vec<(SocketAddr, io::Error)>),
    /// Something answers, and does not speak TLS.
    #[error("{0} does not speak TLS")]
    NoTls(SocketAddr),
    /// The two sides do not agree, or the signature of the handshake is wrong.
    #[error("the TLS handshake with {address} has failed: {reason}")]
    Refused {
        /// Where.
        address: SocketAddr,
        /// What was said.
        reason: String,
    },
    /// It is not the site of this key, or nobody has told what its certificate is.
    #[error(
        "the site is not the one that its records name: it should show {expected}, and {address} shows {shown}"
    )]
    AnotherKey {
        /// Where.
        address: SocketAddr,
        /// What its records say.
        expected: String,
        /// What it is.
        shown: String,
    },
    /// It took too long.
    #[error("the site has not answered within {} s", DEADLINE.as_secs())]
    Deadline,
}

fn told(failures: &[(SocketAddr, io::Error)]) -> String {
    let told: Vec<String> = failures.iter().map(|(address, error)| format!("{address}: {error}")).collect();
    told.join(", ")
}

/// A handshake that came to nothing.
enum Failed {
    /// The connection itself, before anything could be said.
    Connection(io::Error),
    /// Another form of the key might do.
    Form(rustls::Error),
    /// Nothing of the kind.
    Final(ConnectError),
}

impl SiteConnector {
    /// Knows of no site yet.
    ///
    /// # Errors
    ///
    /// Only if the TLS library refuses its own defaults.
    pub fn new() -> Result<Self, rustls::Error> {
        // Named, because rustls panics when it has to choose between two providers.
        let provider = Arc::new(ring::default_provider());
        ClientConfig::builder_with_provider(provider.clone()).with_protocol_versions(&[&TLS13, &TLS12])?;
        let known = LruCache::with_hasher(MAX_KNOWN, RandomState::new());
        Ok(Self { provider, known: Mutex::new(known) })
    }

    /// Connects to `site`, offers it the protocols `alpn`, and verifies it. Takes ten seconds at most.
    ///
    /// # Errors
    ///
    /// When there is no connection to it, or it is not what its records say. There is never one that is not verified.
    pub async fn connect(&self, site: &Site, alpn: &[Vec<u8>]) -> Result<Connected, ConnectError> {
        timeout(DEADLINE, self.connect_to_any(site, alpn)).await.unwrap_or(Err(ConnectError::Deadline))
    }

    async fn connect_to_any(&self, site: &Site, alpn: &[Vec<u8>]) -> Result<Connected, ConnectError> {
        let mut addresses: Vec<_> = site.addresses.iter().copied().take(MAX_ADDRESSES).collect();
        let mut unreachable = Vec::new();
        let mut refused = None;
        while !addresses.is_empty() {
            let raced = race::connect(&addresses).await;
            unreachable.extend(raced.failures);
            let Some((address, stream)) = raced.connected else { break };
            match self.shake_hands(site, alpn, address, stream).await {
                Ok(connected) => return Ok(connected),
                // Another address must not hide that somebody stands in for the site.
                Err(Failed::Final(error @ ConnectError::AnotherKey { .. })) => return Err(error),
                Err(Failed::Final(error)) => refused = Some(error),
                Err(Failed::Form(error)) => refused = Some(refusal(address, &error)),
                Err(Failed::Connection(error)) => unreachable.push((address, error)),
            }
            addresses
                .retain(|other| *other != address && !unreachable.iter().any(|(failed, _)| failed == other));
        }
        // What somebody has said tells more than a silence elsewhere.
        Err(refused.unwrap_or(ConnectError::Unreachable(unreachable)))
    }

    /// Tries one form of the key, and the other one where the site has none of the first.
    async fn shake_hands(
        &self,
        site: &Site,
        alpn: &[Vec<u8>],
        address: SocketAddr,
        stream: TcpStream,
    ) -> Result<Connected, Failed> {
        let [first, second] = self.forms(site);
        let Some(first) = first else {
            let reason = "the records of the site do not say how it is verified".to_string();
            return Err(Failed::Final(ConnectError::Refused { address, reason }));
        };
        let failed = match self.handshake(site, alpn, address, stream, first).await {
            Err(Failed::Form(error)) => error,
            done => return done,
        };
        let Some(second) = second else { return Err(Failed::Form(failed)) };
        let stream = TcpStream::connect(address).await.map_err(Failed::Connection)?;
        self.handshake(site, alpn, address, stream, second).await
    }

    async fn handshake(
        &self,
        site: &Site,
        alpn: &[Vec<u8>],
        address: SocketAddr,
        stream: TcpStream,
        form: Form,
    ) -> Result<Connected, Failed> {
        let verifier = Verifier::new(site.proof.clone(), form, &self.provider);
        let unusable = |error: rustls::Error| Failed::Final(refusal(address, &error));
        let mut config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(versions(&site.proof, form))
            .map_err(unusable)?
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone())
            .with_no_client_auth();
        config.alpn_protocols = alpn.to_vec();
        // A session that is resumed shows no key, and its records may name another one by now. Each connection is used for all
        // requests of a browser, so that a second handshake hardly ever happens.
        config.resumption = Resumption::disabled();
        stream.set_nodelay(true).map_err(Failed::Connection)?;
        let connector = TlsConnector::from(Arc::new(config));
        let bounded = |connection: &mut rustls::ClientConnection| connection.set_buffer_limit(Some(BUFFER));
        let shaken = connector.connect_with(server_name(&site.end_point), stream, bounded).await;
        let stream = shaken.map_err(|error| failed(address, error, verifier.mismatch()))?;
        self.known.lock().unwrap_or_else(PoisonError::into_inner).put(site.end_point.clone(), form);
        let alpn = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        Ok(Connected { stream, alpn })
    }

    /// The forms in which the site may show its key, in the order in which they are tried.
    fn forms(&self, site: &Site) -> [Option<Form>; 2] {
        let Proof { key, certificates } = &site.proof;
        let has_records = !certificates.is_empty();
        let names_key =
            key.is_some() || certificates.iter().any(|record| record.selector == Selector::PublicKey);
        let raw = names_key.then_some(Form::RawKey);
        let certificate = (key.is_some() || has_records).then_some(Form::Certificate);
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&site.end_point).copied();
        // Without records the key alone says what the site is, which is how Pubky homeservers are published.
        let is_raw_first = raw.is_some() && known.map_or(!has_records, |known| known == Form::RawKey);
        if is_raw_first { [raw, certificate] } else { [certificate, raw] }
    }
}

/// A key alone speaks TLS 1.3, as raw keys do. TLSA records name older servers too.
fn versions(proof: &Proof, form: Form) -> &'static [&'static SupportedProtocolVersion] {
    static NEW: [&SupportedProtocolVersion; 1] = [&TLS13];
    static BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
    match form {
        Form::Certificate if !proof.certificates.is_empty() => &BOTH,
        Form::Certificate | Form::RawKey => &NEW,
    }
}

fn failed(address: SocketAddr, error: io::Error, mismatch: Option<Mismatch>) -> Failed {
    if let Some(Mismatch { expected, shown }) = mismatch {
        return Failed::Final(ConnectError::AnotherKey { address, expected, shown });
    }
    let Some(said) = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()) else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof => Failed::Final(ConnectError::NoTls(address)),
            _ => Failed::Connection(error),
        };
    };
    match said {
        // A server that knows nothing of raw keys, or has nothing else. Those of rustls say the first in both cases, those that
        // follow RFC 7250 section 4.2 the second; OpenSSL and Go pass over the question, which the third is about.
        rustls::Error::AlertReceived(
            AlertDescription::HandshakeFailure
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::UnsupportedExtension
            | AlertDescription::IllegalParameter,
        )
        | rustls::Error::PeerIncompatible(PeerIncompatible::IncorrectCertificateTypeExtension) => {
            Failed::Form(said.clone())
        }
        rustls::Error::InvalidMessage(_) => Failed::Final(ConnectError::NoTls(address)),
        said => Failed::Final(refusal(address, said)),
    }
}

fn refusal(address: SocketAddr, said: &rustls::Error) -> ConnectError {
    let reason = match said {
        rustls::Error::PeerIncompatible(PeerIncompatible::IncorrectCertificateTypeExtension) => {
            "it has no key in the form that its records ask for".to_string()
        }
        rustls::Error::AlertReceived(AlertDescription::ProtocolVersion) => {
            "it speaks an old version of TLS: 1.3 is needed, and 1.2 is enough where a TLSA record names its certificate"
                .to_string()
        }
        rustls::Error::AlertReceived(AlertDescription::UnrecognisedName) => {
            "it does not serve this name".to_string()
        }
        said => said.to_string(),
    };
    ConnectError::Refused { address, reason }
}

/// What the site is asked for: the end point as its key's holder would write it, without a suffix of this resolver.
fn server_name(end_point: &Name) -> ServerName<'static> {
    let labels: Vec<&str> = end_point.iter().filter_map(|label| std::str::from_utf8(label).ok()).collect();
    let is_key = |label: &&str| label.len() == KEY_LENGTH && PublicKey::try_from(*label).is_ok();
    let last = labels.iter().rposition(is_key);
    let below = last.and_then(|last| labels.get(..=last)).unwrap_or(&labels);
    let key = below.last().copied().unwrap_or_default();
    // A name that may not be sent would end the connection. The key alone says what is meant.
    let name =
        [below.join("."), key.to_string()].into_iter().find_map(|name| ServerName::try_from(name).ok());
    name.unwrap_or(ServerName::IpAddress(Ipv4Addr::UNSPECIFIED.into()))
}
