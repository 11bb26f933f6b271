//! One connection: its requests, and its end.

use std::{
    future::poll_fn,
    net::IpAddr,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_util::future::FutureExt;
use hyper::server::conn::{http1, http2};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulConnection,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::task::TaskTracker;

use super::{
    Site,
    activity::{Activity, LOOKS},
    requests::Requests,
    streams::Streams,
    write_limit::WriteLimit,
};
use crate::{
    edge::transport::{Ending, Guest, MAX_REQUEST_SIZE, STRANGER_TIME, Standing},
    service::Respond,
};

/// Bytes of the head of an HTTP/1.1 request; one that does not fit is refused.
const HTTP1_HEAD_SIZE: usize = 16 << 10;

/// Bytes of the head of an HTTP/2 request, as RFC 9113 section 10.5.1 counts them. Also bounds what CONTINUATION
/// frames may add up to.
const HTTP2_HEAD_SIZE: u32 = 16 << 10;

/// Requests that a client may take back before they are looked at. More of them end the connection (Rapid Reset).
const PENDING_RESETS: usize = 20;

/// Bytes of request bodies that a client may send before they are read: of one request, which has no more, and of all,
/// which HTTP/2 does not let be less.
const STREAM_WINDOW: u32 = MAX_REQUEST_SIZE as u32;
const CONNECTION_WINDOW: u32 = 64 << 10;

/// Bytes of a response that may wait for a client that does not read.
const SEND_BUFFER: usize = 64 << 10;

/// While another process takes new connections in our place, one over HTTP/1 that is silent for so long is closed. HTTP/2
/// says that it ends, and needs no such time.
const IDLE_WHEN_LEAVING: Duration = Duration::from_secs(2);

/// What was asked before the end is answered within this time of it.
const DRAIN: Duration = Duration::from_secs(5);

/// Where a connection comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin {
    /// The peer, or whom a trusted proxy named before the first request.
    pub(super) peer: IpAddr,
    pub(super) is_tls: bool,
    /// Whether it gets one response alone, being outside of the access list.
    pub(super) is_stranger: bool,
}

impl Origin {
    pub(super) fn of(guest: &Guest, is_tls: bool) -> Self {
        Self { peer: guest.address, is_tls, is_stranger: guest.standing == Standing::Stranger }
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Version {
    Http1,
    Http2,
}

/// Answers requests until either side has had enough. Not an async function: of thousands of connections that say
/// nothing, each would keep the stream twice.
pub(super) fn drive<R, S>(
    stream: S,
    version: Version,
    origin: Origin,
    site: Arc<Site<R>>,
    ending: Ending,
    tasks: TaskTracker,
) -> impl Future<Output = ()> + Send
where
    R: Respond,
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let activity = Arc::new(Activity::default());
    let streams = Streams::default();
    let leaving = ending.leaving().clone();
    let requests = Requests::new(site.clone(), origin, activity.clone(), leaving);
    let client = origin.peer;
    let (limit, unread) = (site.limits.request, site.limits.unread.clone());
    let stream = WriteLimit::new(stream, limit, client, unread);
    let is_stranger = origin.is_stranger;
    let running = Running {
        streams: streams.clone(),
        activity: activity.clone(),
        is_stranger,
        is_refused: AtomicBool::new(false),
        site: site.clone(),
        tasks,
        client,
    };
    match version {
        Version::Http1 => {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                // It begins when the connection has nothing to do. The head itself is watched beside it.
                .header_read_timeout(site.limits.keep_alive)
                .keep_alive(!is_stranger)
                .max_buf_size(HTTP1_HEAD_SIZE)
                .serve_connection(TokioIo::new(stream.telling(activity)), requests);
            running.until_the_end(Box::pin(connection), version, ending).left_future()
        }
        Version::Http2 => {
            let connection = http2::Builder::new(streams)
                .timer(TokioTimer::new())
                .max_concurrent_streams(if is_stranger { 1 } else { site.limits.streams })
                .max_header_list_size(HTTP2_HEAD_SIZE)
                .max_pending_accept_reset_streams(PENDING_RESETS)
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .max_send_buf_size(SEND_BUFFER)
                .serve_connection(TokioIo::new(stream), requests);
            running.until_the_end(Box::pin(connection), version, ending).right_future()
        }
    }
}

/// How far a connection has come.
enum Turn<E> {
    Ended(Result<(), E>),
    /// There is a body that the client has not taken whole.
    Untaken,
    /// The head of this number has begun and not ended.
    Head(u32),
    /// It is to end.
    Spent,
}

/// What there is a time for already.
#[derive(Clone, Copy)]
struct Watching {
    untaken: bool,
    head: bool,
}

struct Running<R> {
    streams: Streams,
    activity: Arc<Activity>,
    is_stranger: bool,
    /// Whether a stranger has had its one response.
    is_refused: AtomicBool,
    site: Arc<Site<R>>,
    tasks: TaskTracker,
    client: IpAddr,
}

impl<R> Running<R> {
    async fn until_the_end<C>(self, mut connection: Pin<Box<C>>, version: Version, ending: Ending)
    where
        C: GracefulConnection,
        C::Error: std::fmt::Display,
    {
        let limits = &self.site.limits;
        let (mut stopped, mut leaving) =
            (pin!(ending.stop().cancelled()), pin!(ending.leaving().cancelled()));
        let mut is_leaving = false;
        let mut quiet = 0;
        let first_look = match self.is_stranger {
            true => STRANGER_TIME,
            false => limits.idle_when_crowded.min(limits.idle) / LOOKS,
        };
        let mut next_look = Instant::now() + first_look;
        // Few connections ever have a body that is not taken at once, so that they are not looked at for it.
        let mut next_look_for_untaken = None::<Instant>;
        // Nor a head that does not come whole.
        let mut head = None::<(u32, Instant)>;
        loop {
            let watched = Watching { untaken: next_look_for_untaken.is_some(), head: head.is_some() };
            let soonest = [next_look_for_untaken, head.map(|(_, at)| at)].into_iter().flatten();
            let soonest = soonest.fold(next_look, Instant::min);
            tokio::select! {
                turn = poll_fn(|context| self.poll_turn(connection.as_mut(), watched, context)) => match turn {
                    Turn::Ended(outcome) => {
                        if let Err(error) = outcome {
                            tracing::debug!(%error, "connection ended");
                        }
                        return;
                    }
                    Turn::Untaken => next_look_for_untaken = Some(Instant::now() + limits.request / LOOKS),
                    Turn::Head(number) => head = Some((number, Instant::now() + limits.head)),
                    Turn::Spent => break,
                },
                () = &mut stopped => break,
                () = &mut leaving, if !is_leaving => match version {
                    // GOAWAY says which requests are answered, so that none is lost.
                    Version::Http2 => break,
                    Version::Http1 => {
                        is_leaving = true;
                        next_look = next_look.min(Instant::now() + IDLE_WHEN_LEAVING / LOOKS);
                    }
                },
                () = sleep_until(soonest) => {
                    let now = Instant::now();
                    if let Some((number, at)) = head
                        && at <= now
                    {
                        if self.activity.head() == Some(number) {
                            tracing::debug!("connection closed: the head of a request does not come to an end");
                            return;
                        }
                        head = None;
                    }
                    if next_look_for_untaken.is_some_and(|look| look <= now) {
                        if self.activity.is_overdue() {
                            limits.unread.note_too_slow(self.client);
                            break;
                        }
                        let has_untaken = self.activity.has_untaken();
                        next_look_for_untaken = has_untaken.then_some(now + limits.request / LOOKS);
                    }
                    if next_look > now {
                        continue;
                    }
                    if self.is_stranger {
                        break;
                    }
                    let idle = match self.site.entrance.is_crowded() {
                        _ if is_leaving => IDLE_WHEN_LEAVING,
                        true => limits.idle_when_crowded,
                        false => limits.idle,
                    };
                    quiet = if self.activity.was_used() { 0 } else { quiet + 1 };
                    if quiet >= LOOKS {
                        if self.activity.has_untaken() {
                            limits.unread.note_too_slow(self.client);
                        }
                        break;
                    }
                    next_look = now + idle / LOOKS;
                }
            }
        }
        connection.as_mut().graceful_shutdown();
        let all = Watching { untaken: true, head: true };
        let rest = poll_fn(|context| self.poll(connection.as_mut(), all, context));
        let is_left = ending.leaving().is_cancelled() && !ending.stop().is_cancelled();
        let limit = match is_left {
            _ if self.is_stranger => STRANGER_TIME,
            // Nobody waits for the process to end, and what was asked is answered.
            true => self.site.limits.request.max(DRAIN),
            false => DRAIN,
        };
        if timeout(limit, rest).await.is_err() {
            tracing::debug!("connection closed: its client does not come to an end");
        }
    }

    /// As [`Self::poll`], and notices when a stranger has had its one request, or a client more than it may hold.
    fn poll_turn<C: GracefulConnection>(
        &self,
        connection: Pin<&mut C>,
        watched: Watching,
        context: &mut Context<'_>,
    ) -> Poll<Turn<C::Error>> {
        match self.poll(connection, watched, context) {
            Poll::Ready(turn) => Poll::Ready(turn),
            Poll::Pending if self.activity.is_spent() || self.is_stranger && self.activity.was_used() => {
                Poll::Ready(Turn::Spent)
            }
            Poll::Pending => Poll::Pending,
        }
    }

    /// Requests that came together are answered together, so that their responses leave in one write.
    fn poll<C: GracefulConnection>(
        &self,
        mut connection: Pin<&mut C>,
        watched: Watching,
        context: &mut Context<'_>,
    ) -> Poll<Turn<C::Error>> {
        loop {
            if let Poll::Ready(outcome) = connection.as_mut().poll(context) {
                return Poll::Ready(Turn::Ended(outcome));
            }
            let fresh = self.streams.take();
            if fresh.is_empty() {
                if !watched.untaken && self.activity.has_untaken() {
                    return Poll::Ready(Turn::Untaken);
                }
                let head = self.activity.head().filter(|_| !watched.head);
                return head.map_or(Poll::Pending, |number| Poll::Ready(Turn::Head(number)));
            }
            for mut stream in fresh {
                if self.is_stranger && self.is_refused.swap(true, Ordering::Relaxed)
                    || self.activity.is_spent()
                {
                    continue;
                }
                // What is at hand is answered here; who has to wait, waits in a task.
                if stream.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
                    let (limit, unread) = (self.site.limits.request, self.site.limits.unread.clone());
                    let client = self.client;
                    self.tasks.spawn(async move {
                        // Dropping it resets the stream.
                        if timeout(limit, stream).await.is_err() {
                            unread.note_too_slow(client);
                        }
                    });
                }
            }
        }
    }
}
