//! The TLS handshake of a client, and what it failed of.

use std::io;

use prometheus_client::metrics::counter::Counter;
use tokio::{
    io::{ReadHalf, WriteHalf, split},
    net::TcpStream,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{AlertDescription, Error},
    server::TlsStream,
};

use super::{SharedTls, TLS_BUFFER};
use crate::base::metrics::HandshakeFailures;

/// Shakes hands, without end: the deadline is the caller's. One that comes to nothing is counted in `failures`, also when
/// it is given up.
///
/// # Errors
///
/// When the connection ends, or the two sides do not agree.
pub async fn shake_hands(
    tls: &TlsAcceptor,
    stream: TcpStream,
    failures: &HandshakeFailures,
) -> io::Result<TlsStream<TcpStream>> {
    count_handshake(tls.accept(stream), failures).await
}

/// Both directions of a connection after [`shake_hands`].
///
/// # Errors
///
/// As that one.
pub async fn encrypt(
    tls: &SharedTls,
    stream: TcpStream,
    failures: &HandshakeFailures,
) -> io::Result<(ReadHalf<TlsStream<TcpStream>>, WriteHalf<TlsStream<TcpStream>>)> {
    let mut stream = shake_hands(&tls.acceptor(), stream, failures).await?;
    stream.get_mut().1.set_buffer_limit(Some(TLS_BUFFER));
    Ok(split(stream))
}

/// As [`shake_hands`], for a handshake that has begun.
///
/// # Errors
///
/// As that one.
pub async fn count_handshake<S>(
    handshake: impl Future<Output = io::Result<S>>,
    failures: &HandshakeFailures,
) -> io::Result<S> {
    let mut counted = Counted(Some(&failures.unfinished));
    let shaken = handshake.await;
    counted.0 = shaken.as_ref().err().map(|error| reason(failures, error));
    shaken
}

/// What a handshake came to, unless it was dropped before.
struct Counted<'a>(Option<&'a Counter>);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        if let Some(counter) = self.0 {
            counter.inc();
        }
    }
}

fn reason<'a>(failures: &'a HandshakeFailures, error: &io::Error) -> &'a Counter {
    let said = error.get_ref().and_then(|error| error.downcast_ref::<Error>());
    match (said, error.kind()) {
        (Some(Error::AlertReceived(alert)), _) => match alert {
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied => &failures.certificate_refused,
            _ => &failures.alert,
        },
        (Some(Error::NoApplicationProtocol | Error::PeerIncompatible(_)), _) => &failures.nothing_in_common,
        // This is what rustls says where its resolver has none.
        (Some(Error::General(text)), _) if text.contains("no server certificate") => &failures.no_certificate,
        (Some(Error::InvalidMessage(_) | Error::InappropriateMessage { .. }), _) => &failures.not_tls,
        (None, io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => {
            &failures.closed
        }
        (Some(_) | None, _) => &failures.other,
    }
}
