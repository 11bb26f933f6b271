//! Where an encrypted upstream is, and how a TLS connection to it is made.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, UNIX_EPOCH},
};

use tokio::{net::TcpStream, time::Instant};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        self, AlertDescription, CertificateError, ClientConfig,
        pki_types::{ServerName, UnixTime},
    },
};

use super::{ExchangeError, lock};
use crate::sources::forward::capabilities::LIFETIME;

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
        Failed::Handshake(error) => match cause(error).and_then(about_time) {
            Some(words) => ExchangeError::unusable(words),
            None => ExchangeError::unusable(format_args!("its TLS handshake failed: {error}")),
        },
    }
}

fn cause(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref().and_then(|error| error.downcast_ref())
}

/// What is wrong with the time of a certificate, or with the clock of this machine. The library counts seconds.
fn about_time(error: &rustls::Error) -> Option<String> {
    let rustls::Error::InvalidCertificate(error) = error else { return None };
    match error {
        CertificateError::ExpiredContext { time, not_after } => {
            Some(format!("its certificate expired on {}, and it is {} here", date(*not_after), date(*time)))
        }
        CertificateError::NotValidYetContext { time, not_before } => Some(format!(
            "its certificate is valid from {} on, and it is {} here",
            date(*not_before),
            date(*time)
        )),
        _ => None,
    }
}

fn date(time: UnixTime) -> String {
    // Later ones have no such form. A certificate may hold any.
    const LAST: Duration = Duration::from_secs(253_402_300_799);
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(time.as_secs()).min(LAST))
}

/// Whether the server refuses all the protocols that it was offered, or chose another one (RFC 7301 section 3.2).
fn is_about_protocols(failed: &Failed) -> bool {
    let Failed::Handshake(error) = failed else { return false };
    matches!(
        cause(error),
        Some(
            rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)
                | rustls::Error::NoApplicationProtocol
                | rustls::Error::PeerMisbehaved(rustls::PeerMisbehaved::SelectedUnofferedApplicationProtocol)
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_out_of_its_time_says_when_that_is_and_what_time_is_believed() {
        let [before, now, never] = [1_700_000_000, 1_800_000_000, u64::MAX]
            .map(|seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds)));
        for (error, expected) in [
            (
                CertificateError::ExpiredContext { time: now, not_after: before },
                "its certificate expired on Tue, 14 Nov 2023 22:13:20 GMT, and it is Fri, 15 Jan 2027 08:00:00 GMT here",
            ),
            (
                CertificateError::NotValidYetContext { time: before, not_before: now },
                "its certificate is valid from Fri, 15 Jan 2027 08:00:00 GMT on, and it is Tue, 14 Nov 2023 22:13:20 \
                 GMT here",
            ),
        ] {
            let error = io::Error::other(rustls::Error::InvalidCertificate(error));
            assert_eq!(failure(&Failed::Handshake(error)).to_string(), expected);
        }
        let error = CertificateError::NotValidYetContext { time: before, not_before: never };
        let error = io::Error::other(rustls::Error::InvalidCertificate(error));
        assert!(failure(&Failed::Handshake(error)).to_string().contains("31 Dec 9999"));
    }
}
