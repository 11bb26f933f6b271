//! Upstreams over TLS (RFC 7858) and HTTPS (RFC 8484): one connection to each, which many questions share, and which
//! is dialled anew when it has died.

mod endpoint;
mod http1;
mod https;
mod stream;
#[cfg(test)]
mod tests;
mod tls;

use std::{
    io,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use hickory_proto::op::ResponseCode;
use http::uri::PathAndQuery;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

use endpoint::Endpoint;
pub use tls::{TlsClient, TlsError};

use super::{
    ExchangeError,
    capabilities::Known,
    exchange::Flags,
    places::{Line, Place, Places},
    request::{Edns, Request, Spelling, has_lost_its_code, is_refusal_of_form},
};
use crate::base::{
    config::UpstreamAddress,
    health::Health,
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

/// An upstream with which no connection can be made is tried again after so long at most. A handshake costs both sides
/// more than a question.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What is said of a server whose connections end before they bring anything.
const CLOSES: &str = "it closes connections instead of answering";

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
    known: Mutex<Known>,
}

impl Channel {
    /// `None` for an upstream that is asked over UDP and TCP. Does not touch the network.
    pub(super) fn new(upstream: &UpstreamAddress, tls: &TlsClient) -> Option<Self> {
        let (endpoint, path) = match upstream {
            UpstreamAddress::Plain(_) => return None,
            UpstreamAddress::Tls { name, address } => {
                (Endpoint::new(name.clone(), *address, tls.for_dot(), Some(tls.for_tls())), None)
            }
            UpstreamAddress::Https { name, address, path } => {
                (Endpoint::new(name.clone(), *address, tls.for_https(), None), Some(path.clone()))
            }
        };
        let dialler = Dialler {
            upstream: upstream.to_string(),
            endpoint: Arc::new(endpoint),
            path,
            connection: Mutex::new(None),
            attempts: Mutex::new(Attempts { health: Health::new(LONGEST_PAUSE), failure: None }),
        };
        Some(Self {
            dialler: Arc::new(dialler),
            dialling: SingleFlight::new(1),
            places: Places::new(MAX_IN_FLIGHT, MAX_QUEUED),
            streams: AtomicUsize::new(MAX_IN_FLIGHT),
            known: Mutex::default(),
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
            if !lock(&self.known).capabilities(Instant::now()).edns {
                return self.ask(question, flags, Edns::LeftOut).await;
            }
            let message = self.ask(question, flags, Edns::Padded).await?;
            if !is_refusal_of_form(message.code) {
                lock(&self.known).has_edns(Instant::now());
                return Ok(message);
            }
            let bare = self.ask(question, flags, Edns::LeftOut).await?;
            if has_lost_its_code(&message, &bare) {
                return Ok(message);
            }
            if matches!(bare.code, ResponseCode::NoError | ResponseCode::NXDomain) {
                lock(&self.known).refused_edns(Instant::now());
            }
            Ok(bare)
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
                let result = self.ask_over(&second, &request.bytes).await;
                let is_closed = matches!(result, Err(ExchangeError::Unreachable(_)));
                if is_closed && second.answers.load(Ordering::Relaxed) == 0 {
                    return Err(ExchangeError::unusable(CLOSES));
                }
                result?
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
        // Nobody waits for what has just failed several times, for the same reason.
        if let Some(failure) = self.dialler.pausing() {
            return Err(failure);
        }
        let dialler = self.dialler.clone();
        let dialled = self.dialling.run((), || Some(async move { dialler.dial().await })).await;
        dialled.unwrap_or(Err(ExchangeError::Unreachable(io::ErrorKind::Other)))
    }

    /// Keeps to what the server allows, so that nobody waits in the connection, where there are no turns.
    fn fit(&self, connection: &Connection) {
        let streams = match &connection.carrier {
            Carrier::Stream(_) => return,
            Carrier::Http1(_) => http1::MAX_CONNECTIONS,
            Carrier::Https(carrier) => carrier.max_streams().min(MAX_IN_FLIGHT),
        };
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
        match result {
            Ok(_) => self.dialler.succeeded(),
            Err(ExchangeError::Unreachable(_)) => {
                let is_first = self.dialler.retire(connection);
                if is_first && connection.answers.load(Ordering::Relaxed) == 0 {
                    self.dialler.failed(connection.made, &ExchangeError::unusable(CLOSES));
                }
            }
            Err(_) => {}
        }
        result
    }
}

/// Makes connections to one upstream and keeps the one in use.
#[derive(Debug)]
struct Dialler {
    /// For the log.
    upstream: String,
    endpoint: Arc<Endpoint>,
    /// Over HTTPS.
    path: Option<PathAndQuery>,
    connection: Mutex<Option<Arc<Connection>>>,
    attempts: Mutex<Attempts>,
}

/// How it went with the last connections.
#[derive(Debug)]
struct Attempts {
    health: Health,
    /// Why there is none, until there is an answer.
    failure: Option<ExchangeError>,
}

impl Dialler {
    fn current(&self) -> Option<Arc<Connection>> {
        let now = Instant::now();
        let mut kept = lock(&self.connection);
        kept.take_if(|connection| !connection.is_usable(now));
        kept.clone()
    }

    /// Takes `connection` out of use. Questions that wait for it go on waiting.
    /// Returns whether it was in use.
    fn retire(&self, connection: &Arc<Connection>) -> bool {
        lock(&self.connection).take_if(|kept| Arc::ptr_eq(kept, connection)).is_some()
    }

    /// Why no connection is made just now, if so.
    fn pausing(&self) -> Option<ExchangeError> {
        let attempts = lock(&self.attempts);
        attempts.failure.clone().filter(|_| attempts.health.is_paused(Instant::now()))
    }

    fn succeeded(&self) {
        let mut attempts = lock(&self.attempts);
        attempts.health.succeeded();
        attempts.failure = None;
    }

    /// Takes note of a connection that began at `started` and came to nothing.
    fn failed(&self, started: Instant, failure: &ExchangeError) {
        // What this machine lacks is no reason, and a server that cannot be reached costs nothing to try.
        if failure.is_ours() || matches!(failure, ExchangeError::Unreachable(_)) {
            return;
        }
        let mut attempts = lock(&self.attempts);
        attempts.failure = Some(failure.clone());
        if let Some(pause) = attempts.health.failed(started, Instant::now()) {
            debug!("upstream {} is left alone for {:?}: {failure}", self.upstream, pause.length);
        }
    }

    async fn dial(&self) -> Result<Arc<Connection>, ExchangeError> {
        let started = Instant::now();
        let dialled = timeout(DIAL_TIME, self.connect()).await;
        let dialled = dialled
            .unwrap_or_else(|_| Err(ExchangeError::unusable("no TLS connection to it can be made in time")));
        match dialled {
            Ok(connection) => {
                let connection = Arc::new(connection);
                *lock(&self.connection) = Some(connection.clone());
                debug!("connected to upstream {}", self.upstream);
                Ok(connection)
            }
            Err(error) => {
                self.failed(started, &error);
                Err(error)
            }
        }
    }

    async fn connect(&self) -> Result<Connection, ExchangeError> {
        let made = Instant::now();
        let tls = self.endpoint.connect().await?;
        let (carrier, task) = match &self.path {
            None => {
                let (carrier, work) = stream::start(tls);
                (Carrier::Stream(carrier), Some(tokio::spawn(work)))
            }
            Some(path) => {
                let uri = https::uri(&self.endpoint.name, self.endpoint.address.port(), path);
                let uri = uri.map_err(|_| ExchangeError::Malformed)?;
                if https::is_http2(&tls) {
                    let (carrier, work) = https::start(tls, uri).await?;
                    (Carrier::Https(carrier), Some(tokio::spawn(work)))
                } else {
                    let carrier = http1::Carrier::start(self.endpoint.clone(), tls, uri).await?;
                    (Carrier::Http1(carrier), None)
                }
            }
        };
        Ok(Connection {
            carrier,
            task: task.map(AbortOnDropHandle::new),
            made,
            answers: AtomicU64::new(0),
            last_question: Mutex::new(Instant::now()),
        })
    }
}

/// A connection, which ends when nobody holds it any more.
#[derive(Debug)]
struct Connection {
    carrier: Carrier,
    /// Serves it; the connections of HTTP/1.1 have tasks of their own.
    task: Option<AbortOnDropHandle<()>>,
    made: Instant,
    /// Answers that it brought so far.
    answers: AtomicU64,
    last_question: Mutex<Instant>,
}

#[derive(Debug)]
enum Carrier {
    Stream(stream::Carrier),
    Https(https::Carrier),
    Http1(http1::Carrier),
}

impl Connection {
    fn is_usable(&self, now: Instant) -> bool {
        let is_idle = now.duration_since(*lock(&self.last_question)) > MAX_IDLE;
        !is_idle && self.task.as_ref().is_none_or(|task| !task.is_finished())
    }

    /// Waits for the answer without a limit; [`ExchangeError::Unreachable`] when the connection has died.
    async fn exchange(&self, message: &[u8]) -> Result<Vec<u8>, ExchangeError> {
        *lock(&self.last_question) = Instant::now();
        let mut response = match &self.carrier {
            Carrier::Stream(carrier) => carrier.exchange(message).await?,
            Carrier::Https(carrier) => carrier.exchange(message).await?,
            Carrier::Http1(carrier) => carrier.exchange(message).await?,
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
