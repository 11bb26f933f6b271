//! Where an encrypted upstream is, and how a TLS connection to it is made.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{net::TcpStream, time::Instant};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{self, AlertDescription, ClientConfig, pki_types::ServerName},
};

use super::{ExchangeError, lock};
use crate::forward::capabilities::LIFETIME;

/// Makes TLS connections to one upstream.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) name: ServerName<'static>,
    pub(super) address: SocketAddr,
    tls: Arc<ClientConfig>,
    /// The same without protocols to agree on (ALPN), for a server that knows none of them and says so.
    without_protocols: Option<Arc<ClientConfig>>,
    refuses_protocols_until: Mutex<Option<Instant>>,
}

impl Endpoint {
    pub(super) fn new(
        name: ServerName<'static>,
        address: SocketAddr,
        tls: Arc<ClientConfig>,
        without_protocols: Option<Arc<ClientConfig>>,
    ) -> Self {
        Self { name, address, tls, without_protocols, refuses_protocols_until: Mutex::new(None) }
    }

    pub(super) async fn connect(&self) -> Result<TlsStream<TcpStream>, ExchangeError> {
        let now = Instant::now();
        let refuses_protocols = lock(&self.refuses_protocols_until).is_some_and(|until| now < until);
        if let Some(tls) = self.without_protocols.as_ref().filter(|_| refuses_protocols) {
            return self.connect_with(tls).await.map_err(|error| failure(&error));
        }
        match (self.connect_with(&self.tls).await, &self.without_protocols) {
            // Who asks for no protocol is no less sure of whom it speaks to, so that anybody may make us do so.
            (Err(error), Some(tls)) if is_about_protocols(&error) => {
                let stream = self.connect_with(tls).await.map_err(|error| failure(&error))?;
                *lock(&self.refuses_protocols_until) = Some(now + LIFETIME);
                Ok(stream)
            }
            (result, _) => result.map_err(|error| failure(&error)),
        }
    }

    async fn connect_with(&self, tls: &Arc<ClientConfig>) -> Result<TlsStream<TcpStream>, Failed> {
        let tcp = TcpStream::connect(self.address).await.map_err(Failed::Connect)?;
        tcp.set_nodelay(true).map_err(Failed::Connect)?;
        TlsConnector::from(tls.clone()).connect(self.name.clone(), tcp).await.map_err(Failed::Handshake)
    }
}

enum Failed {
    Connect(io::Error),
    Handshake(io::Error),
}

fn failure(failed: &Failed) -> ExchangeError {
    match failed {
        Failed::Connect(error) => ExchangeError::from_io(error),
        Failed::Handshake(error) if error.raw_os_error().is_some() => match ExchangeError::from_io(error) {
            ours if ours.is_ours() => ours,
            _ => ExchangeError::unusable(format_args!("its TLS handshake failed: {error}")),
        },
        Failed::Handshake(error) => {
            ExchangeError::unusable(format_args!("its TLS handshake failed: {error}"))
        }
    }
}

/// Whether the server refuses all the protocols that it was offered, or chose another one (RFC 7301 section 3.2).
fn is_about_protocols(failed: &Failed) -> bool {
    let Failed::Handshake(error) = failed else { return false };
    let error: Option<&rustls::Error> = error.get_ref().and_then(|error| error.downcast_ref());
    matches!(
        error,
        Some(
            rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)
                | rustls::Error::NoApplicationProtocol
                | rustls::Error::PeerMisbehaved(rustls::PeerMisbehaved::SelectedUnofferedApplicationProtocol)
        )
    )
}
