//! Connections to a Redis, which may say no more on them than it is asked for.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Cmd, RedisConnectionInfo, RedisError, ServerErrorKind, Value,
    aio::MultiplexedConnection,
};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
    time::{Instant, timeout},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, pki_types::ServerName},
};
use tokio_util::task::AbortOnDropHandle;

use super::super::MAX_STORED_SIZE;
use crate::base::config::{RedisAddress, RedisUrl};

/// For a connection to be made, the name looked up and all handshakes included. No lookup waits for it.
const DIAL_TIME: Duration = Duration::from_secs(2);

/// After this long without a word the connection is probed: a NAT on the way may have forgotten it.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Requests under way at once on one connection; at 1 ms each, a million a second.
pub(super) const MAX_UNDER_WAY: usize = 1024;

/// Longest reply in bytes: a record with one byte too many, and the length before it. Errors are shorter.
const MAX_REPLY_SIZE: usize = MAX_STORED_SIZE + 64;

/// How to make connections to the nodes of one store.
pub(super) struct Dialler {
    tls: Option<TlsConnector>,
    login: RedisConnectionInfo,
}

/// A connection that has been logged in on.
pub(super) struct Connection {
    redis: MultiplexedConnection,
    credit: Arc<Credit>,
    /// Reads and writes, and ends with the connection.
    driver: AbortOnDropHandle<()>,
    pub(super) made: Instant,
    /// Whether it has been of use.
    pub(super) has_answered: AtomicBool,
}

impl Dialler {
    pub(super) fn new(url: &RedisUrl, tls: Arc<ClientConfig>) -> Self {
        // `CLIENT SETINFO` is one command more that a user would need the right to.
        let mut login = RedisConnectionInfo::default().set_skip_set_lib_name().set_db(url.database.into());
        if let Some(user) = &url.user {
            login = login.set_username(user);
        }
        if let Some(password) = &url.password {
            login = login.set_password(password.expose());
        }
        Self { tls: url.is_tls.then(|| tls.into()), login }
    }

    /// A connection over which the server has answered something.
    pub(super) async fn dial(&self, address: &RedisAddress) -> Result<Connection, RedisError> {
        let dialling = async {
            let connection = match address {
                RedisAddress::Tcp(host, port) => self.dial_tcp(host, *port).await?,
                RedisAddress::Unix(path) => self.log_in(UnixStream::connect(path).await?).await?,
            };
            connection.greet().await?;
            Ok(connection)
        };
        timeout(DIAL_TIME, dialling)
            .await
            .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
    }

    async fn dial_tcp(&self, host: &str, port: u16) -> Result<Connection, RedisError> {
        let tcp = TcpStream::connect((host, port)).await?;
        tcp.set_nodelay(true)?;
        SockRef::from(&tcp).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))?;
        match &self.tls {
            None => self.log_in(tcp).await,
            Some(tls) => {
                let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
                self.log_in(tls.connect(name, tcp).await?).await
            }
        }
    }

    async fn log_in<S>(&self, stream: S) -> Result<Connection, RedisError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let credit = Arc::new(Credit::default());
        let stream = Limited { stream, credit: credit.clone() };
        // Who asks has a deadline of its own.
        let config = AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
        let (redis, driver) = MultiplexedConnection::new_with_config(&self.login, stream, config).await?;
        let driver = AbortOnDropHandle::new(tokio::spawn(driver));
        Ok(Connection { redis, credit, driver, made: Instant::now(), has_answered: AtomicBool::new(false) })
    }
}

impl Connection {
    pub(super) fn is_alive(&self) -> bool {
        !self.driver.is_finished()
    }

    /// Its reply, which may be an error that the server says. At most [`MAX_UNDER_WAY`] at once.
    pub(super) async fn request(&self, command: &Cmd) -> Result<Value, RedisError> {
        self.credit.grant();
        self.redis.clone().send_packed_command(command).await
    }

    /// A server that needs a password, or is not ready, is not one to ask yet. One that does not let us say `PING` is.
    async fn greet(&self) -> Result<(), RedisError> {
        match self.request(&redis::cmd("PING")).await? {
            Value::ServerError(error) if error.kind() != Some(ServerErrorKind::NoPerm) => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// Bytes that the server may still say. Each request adds those of the longest reply, so that whoever says more than
/// was asked for, as in an endless string, is cut off before it fills the memory.
struct Credit(AtomicUsize);

impl Credit {
    const MAX: usize = MAX_UNDER_WAY * MAX_REPLY_SIZE;

    /// Never less than what the replies under way may take.
    fn grant(&self) {
        let grant = |left: usize| Some(left.saturating_add(MAX_REPLY_SIZE).min(Self::MAX));
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grant);
    }

    fn spend(&self, bytes: usize) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).is_ok()
    }
}

impl Default for Credit {
    /// Logging in takes some replies, too.
    fn default() -> Self {
        Self(AtomicUsize::new(Self::MAX))
    }
}

/// A stream that ends where the credit does.
struct Limited<S> {
    stream: S,
    credit: Arc<Credit>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Limited<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let is_covered = self.credit.spend(buffer.filled().len().saturating_sub(before));
        let excess = || io::Error::new(io::ErrorKind::InvalidData, "it says more than it is asked for");
        Poll::Ready(if is_covered { Ok(()) } else { Err(excess()) })
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Limited<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
