//! Connections to the HTTP servers of others, whose names are resolved by our own upstreams: the system may ask us.

use std::{
    error::Error,
    io,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::{BoxFuture, select_ok};
use http::{Uri, uri::Scheme};
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use pkdns_dht::HostResolver;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{ClientConfig, pki_types::ServerName},
};
use tokio_util::either::Either;
use tower_service::Service;

use crate::base::config::{HTTP_PORT, HTTPS_PORT};

/// For the name to be looked up, and both handshakes. Requests have deadlines of their own, but a connection goes on
/// being made when its request has been answered over another one.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 8;

/// Before the next address is tried as well (RFC 8305 section 5).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

/// Makes connections, encrypted where the address says `https`. Cheap to clone.
#[derive(Clone)]
pub struct Connector {
    tls: TlsConnector,
    resolve_host: HostResolver,
}

impl Connector {
    /// `resolve_host` finds the addresses of names.
    pub fn new(mut tls: ClientConfig, resolve_host: HostResolver) -> Self {
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self { tls: Arc::new(tls).into(), resolve_host }
    }

    async fn connect(self, uri: Uri) -> io::Result<Stream> {
        let is_https = uri.scheme() == Some(&Scheme::HTTPS);
        let host = uri.host().ok_or_else(|| io::Error::other("there is no host"))?;
        let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let port = uri.port_u16().unwrap_or(if is_https { HTTPS_PORT } else { HTTP_PORT });
        let addresses = match host.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) => (self.resolve_host)(host.to_owned()).await,
        };
        let tcp = connect_to_any(addresses, port).await?;
        tcp.set_nodelay(true)?;
        if !is_https {
            return Ok(Stream(Either::Left(tcp)));
        }
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        Ok(Stream(Either::Right(self.tls.connect(name, tcp).await?)))
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<TokioIo<Stream>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = timeout(CONNECT_DEADLINE, self.clone().connect(uri));
        Box::pin(async move {
            let stream = connecting.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
            Ok(TokioIo::new(stream))
        })
    }
}

/// The innermost cause of an error, which says most: those around it say "client error", each in turn.
pub fn cause<'a>(mut error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    while let Some(source) = error.source() {
        error = source;
    }
    error
}

/// The first that connects. One family of addresses may lead nowhere, so none is waited for alone.
async fn connect_to_any(addresses: Vec<IpAddr>, port: u16) -> io::Result<TcpStream> {
    if addresses.is_empty() {
        return Err(io::Error::other("its name has no address"));
    }
    let mut wait = Duration::ZERO;
    let attempts = addresses.into_iter().take(MAX_ADDRESSES).map(|address| {
        let before = wait;
        wait = wait.saturating_add(NEXT_ADDRESS);
        Box::pin(async move {
            sleep(before).await;
            TcpStream::connect((address, port)).await
        })
    });
    let (tcp, _) = select_ok(attempts).await?;
    Ok(tcp)
}

/// A connection over TCP or of another kind, which is an encrypted one where nothing else is said.
pub struct Stream<Other = TlsStream<TcpStream>>(Either<TcpStream, Other>);

impl<Other> From<Either<TcpStream, Other>> for Stream<Other> {
    fn from(stream: Either<TcpStream, Other>) -> Self {
        Self(stream)
    }
}

impl<Other> Connection for Stream<Other> {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl<Other: AsyncRead + Unpin> AsyncRead for Stream<Other> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl<Other: AsyncWrite + Unpin> AsyncWrite for Stream<Other> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
