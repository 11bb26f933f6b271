//! Upstreams over TLS (RFC 7858) and HTTPS (RFC 8484): one connection to each, which many questions share, and which
//! is dialled anew when it has died.

mod https;
mod stream;
#[cfg(test)]
mod tests;
mod tls;

use std::{
    io,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use hickory_proto::op::ResponseCode;
use http::uri::PathAndQuery;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, pki_types::ServerName},
};
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, warn};

pub use tls::{TlsClient, TlsError};

use super::{
    ExchangeError,
    exchange::Flags,
    places::{Line, Place, Places},
    request::{Edns, Request, Spelling},
};
use crate::{
    config::UpstreamAddress,
    message::{Message, Question},
    single_flight::SingleFlight,
};

/// Questions of clients that are under way at once to one upstream, where it allows so many, and that wait.
const MAX_IN_FLIGHT: usize = 512;
const MAX_QUEUED: usize = 4096;

/// For a connection to be made, with both handshakes.
const DIAL_TIME: Duration = Duration::from_secs(3);

/// A connection that brings nothing for this long after a question gets no more of them. Below the time after which
/// the same upstream may be asked again.
const STALL: Duration = Duration::from_secs(1);

/// Without a question for this long a connection is not used again: a NAT on the way may have forgotten it.
const MAX_IDLE: Duration = Duration::from_secs(60);

/// The way to an upstream that is asked over TLS or HTTPS.
#[derive(Debug)]
pub(super) struct Channel {
    dialler: Arc<Dialler>,
    dialling: SingleFlight<(), Result<Arc<Connection>, ExchangeError>>,
    places: Places,
    /// For how many streams of a connection they are made.
    streams: AtomicUsize,
}

impl Channel {
    /// `None` for an upstream that is asked over UDP and TCP. Does not touch the network.
    pub(super) fn new(upstream: &UpstreamAddress, tls: &TlsClient) -> Option<Self> {
        let (name, address, path, tls) = match upstream {
            UpstreamAddress::Plain(_) => return None,
            UpstreamAddress::Tls { name, address } => (name, address, None, tls.for_tls()),
            UpstreamAddress::Https { name, address, path } => (name, address, Some(path), tls.for_https()),
        };
        let dialler = Dialler {
            upstream: upstream.to_string(),
            name: name.clone(),
            address: *address,
            path: path.cloned(),
            tls,
            connection: Mutex::new(None),
            complaint: Mutex::new(None),
        };
        Some(Self {
            dialler: Arc::new(dialler),
            dialling: SingleFlight::new(1),
            places: Places::new(MAX_IN_FLIGHT, MAX_QUEUED),
            streams: AtomicUsize::new(MAX_IN_FLIGHT),
        })
    }

    /// Waits until a question of `line` may leave.
    pub(super) async fn turn(&self, line: Line) -> Result<Place, ExchangeError> {
        self.places.acquire(line).await.map_err(|_| ExchangeError::Busy)
    }

    /// Asks until there is an answer or `deadline` passes. Any answer to the question counts, whatever its code. To
    /// wait for a turn first is up to the caller.
    pub(super) async fn exchange(
        &self,
        question: &Question,
        flags: Flags,
        deadline: Instant,
    ) -> Result<Message, ExchangeError> {
        let answer = async {
            let message = self.ask(question, flags, Edns::Padded).await?;
            // RFC 6891 section 7: a server from before EDNS says so in one of these ways.
            if matches!(message.code, ResponseCode::FormErr | ResponseCode::NotImp) {
                return self.ask(question, flags, Edns::LeftOut).await;
            }
            Ok(message)
        };
        timeout_at(deadline, answer).await.unwrap_or(Err(ExchangeError::Silent))
    }

    async fn ask(&self, question: &Question, flags: Flags, edns: Edns) -> Result<Message, ExchangeError> {
        let request = Request::new(question, flags, edns, Spelling::LowerCase)?;
        let first = self.connection().await?;
        let mut response = match self.ask_over(&first, &request.bytes).await {
            // A server closes a connection when it likes, also while a question is on its way.
            Err(ExchangeError::Unreachable(_)) => {
                let second = self.connection().await?;
                self.ask_over(&second, &request.bytes).await?
            }
            result => result?,
        };
        request.read_whole(&mut response)
    }

    /// The connection there is, or a new one. Those who want a new one at once get the same.
    async fn connection(&self) -> Result<Arc<Connection>, ExchangeError> {
        if let Some(connection) = self.dialler.current() {
            return Ok(connection);
        }
        let dialler = self.dialler.clone();
        let dialled = self.dialling.run((), || Some(async move { dialler.dial().await })).await;
        dialled.unwrap_or(Err(ExchangeError::Unreachable(io::ErrorKind::Other)))
    }

    /// Keeps to what the server allows, so that nobody waits in the connection, where there are no turns.
    fn fit(&self, connection: &Connection) {
        let Carrier::Https(carrier) = &connection.carrier else { return };
        let streams = carrier.max_streams().min(MAX_IN_FLIGHT);
        if self.streams.swap(streams, Ordering::Relaxed) != streams {
            self.places.resize(streams);
        }
    }

    async fn ask_over(&self, connection: &Arc<Connection>, message: &[u8]) -> Result<Vec<u8>, ExchangeError> {
        self.fit(connection);
        let answers = connection.answers.load(Ordering::Relaxed);
        let mut answer = pin!(connection.exchange(message));
        let result = match timeout(STALL, &mut answer).await {
            Ok(result) => result,
            Err(_) => {
                // A path that has lost the connection says nothing. The answer may still come: the name may be slow.
                if connection.answers.load(Ordering::Relaxed) == answers {
                    self.dialler.retire(connection);
                }
                answer.await
            }
        };
        if let Err(ExchangeError::Unreachable(_)) = result {
            self.dialler.retire(connection);
        }
        result
    }
}

/// Makes connections to one upstream and keeps the one in use.
#[derive(Debug)]
struct Dialler {
    /// For the log.
    upstream: String,
    name: ServerName<'static>,
    address: SocketAddr,
    /// Over HTTPS.
    path: Option<PathAndQuery>,
    tls: Arc<ClientConfig>,
    connection: Mutex<Option<Arc<Connection>>>,
    /// Why the last connection could not be made, so that the log says it once.
    complaint: Mutex<Option<String>>,
}

impl Dialler {
    fn current(&self) -> Option<Arc<Connection>> {
        let now = Instant::now();
        let mut kept = lock(&self.connection);
        kept.take_if(|connection| !connection.is_usable(now));
        kept.clone()
    }

    /// Takes `connection` out of use. Questions that wait for it go on waiting.
    fn retire(&self, connection: &Arc<Connection>) {
        lock(&self.connection).take_if(|kept| Arc::ptr_eq(kept, connection));
    }

    async fn dial(&self) -> Result<Arc<Connection>, ExchangeError> {
        let dialled = timeout(DIAL_TIME, self.connect()).await;
        let dialled = dialled.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        match dialled {
            Ok(connection) => {
                let connection = Arc::new(connection);
                *lock(&self.connection) = Some(connection.clone());
                *lock(&self.complaint) = None;
                debug!("connected to upstream {}", self.upstream);
                Ok(connection)
            }
            Err(error) => {
                let complaint = error.to_string();
                let before = lock(&self.complaint).replace(complaint.clone());
                if before.as_ref() != Some(&complaint) {
                    warn!("cannot connect to upstream {}: {complaint}", self.upstream);
                }
                Err(error.into())
            }
        }
    }

    async fn connect(&self) -> io::Result<Connection> {
        let tcp = TcpStream::connect(self.address).await?;
        tcp.set_nodelay(true)?;
        let tls = TlsConnector::from(self.tls.clone()).connect(self.name.clone(), tcp).await?;
        let (carrier, task) = match &self.path {
            None => {
                let (carrier, work) = stream::start(tls);
                (Carrier::Stream(carrier), tokio::spawn(work))
            }
            Some(path) => {
                let uri = https::uri(&self.name, self.address.port(), path).map_err(io::Error::other)?;
                let (carrier, work) = https::start(tls, uri).await?;
                (Carrier::Https(carrier), tokio::spawn(work))
            }
        };
        Ok(Connection {
            carrier,
            task: AbortOnDropHandle::new(task),
            answers: AtomicU64::new(0),
            last_question: Mutex::new(Instant::now()),
        })
    }
}

/// A connection, which ends when nobody holds it any more.
#[derive(Debug)]
struct Connection {
    carrier: Carrier,
    task: AbortOnDropHandle<()>,
    /// Answers that it brought so far.
    answers: AtomicU64,
    last_question: Mutex<Instant>,
}

#[derive(Debug)]
enum Carrier {
    Stream(stream::Carrier),
    Https(https::Carrier),
}

impl Connection {
    fn is_usable(&self, now: Instant) -> bool {
        let is_idle = now.duration_since(*lock(&self.last_question)) > MAX_IDLE;
        !is_idle && !self.task.is_finished()
    }

    /// Waits for the answer without a limit; [`ExchangeError::Unreachable`] when the connection has died.
    async fn exchange(&self, message: &[u8]) -> Result<Vec<u8>, ExchangeError> {
        *lock(&self.last_question) = Instant::now();
        let mut response = match &self.carrier {
            Carrier::Stream(carrier) => carrier.exchange(message).await?,
            Carrier::Https(carrier) => carrier.exchange(message).await?,
        };
        self.answers.fetch_add(1, Ordering::Relaxed);
        // On the way it had an id that the carrier chose.
        if let (Some(id), Some(own)) = (response.get_mut(..2), message.get(..2)) {
            id.copy_from_slice(own);
        }
        Ok(response)
    }
}

/// Nothing is left half done under these locks, so that a panic elsewhere leaves them whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
