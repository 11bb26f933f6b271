//! Bodies on their way through.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full, combinators::UnsyncBoxBody};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

/// How long a visitor may keep us waiting for the rest of a body, and what earns more time, up to as much again: bytes in a second.
const GRACE: Duration = Duration::from_secs(30);
const LEAST_PER_SECOND: u64 = 1000;

/// What clients get.
pub(super) type Reply = UnsyncBoxBody<Bytes, hyper::Error>;

pub(super) fn empty() -> Reply {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

pub(super) fn text(text: String) -> Reply {
    Full::from(text).map_err(|never| match never {}).boxed_unsync()
}

/// What has become of the body of a request.
#[derive(Debug, Default)]
pub(super) struct Coming {
    has_moved: AtomicBool,
    fault: OnceLock<Fault>,
}

/// Why a body has no end. It is the visitor's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It comes too slowly.
    Slow,
    /// It is not what HTTP says, or the connection is gone.
    Broken,
}

impl Coming {
    /// Whether a piece has come since this was last asked.
    pub(super) fn has_moved(&self) -> bool {
        self.has_moved.swap(false, Ordering::Relaxed)
    }

    pub(super) fn fault(&self) -> Option<Fault> {
        self.fault.get().copied()
    }

    fn fail(&self, fault: Fault) {
        let _ = self.fault.set(fault);
    }
}

/// The time for which a visitor may still keep us waiting. Time in which the web server takes nothing does not count.
struct Patience {
    left: Duration,
    waiting_since: Option<Instant>,
    end: Pin<Box<Sleep>>,
}

impl Patience {
    fn new() -> Self {
        Self { left: GRACE, waiting_since: None, end: Box::pin(sleep(GRACE)) }
    }

    /// Ready when it has come to its end.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.waiting_since.is_none() {
            let now = Instant::now();
            self.waiting_since = Some(now);
            self.end.as_mut().reset(now + self.left);
        }
        self.end.as_mut().poll(context)
    }

    fn earn(&mut self, bytes: usize) {
        let waited = self.waiting_since.take().map(|since| since.elapsed()).unwrap_or_default();
        let earned = Duration::from_millis((bytes as u64).saturating_mul(1000) / LEAST_PER_SECOND);
        self.left = self.left.saturating_sub(waited).saturating_add(earned).min(GRACE);
    }
}

/// The body of a request, which tells whether it is still coming, and ends when it comes too slowly.
pub(super) struct Outgoing<B = Incoming> {
    body: B,
    coming: Arc<Coming>,
    patience: Patience,
}

impl<B> Outgoing<B> {
    pub(super) fn new(body: B, coming: Arc<Coming>) -> Self {
        Self { body, coming, patience: Patience::new() }
    }
}

impl<B> Body for Outgoing<B>
where
    B: Body<Data = Bytes, Error: std::error::Error + Send + Sync + 'static> + Unpin,
{
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        let Poll::Ready(frame) = polled else {
            ready!(self.patience.poll_end(context));
            self.coming.fail(Fault::Slow);
            return Poll::Ready(Some(Err(io::ErrorKind::TimedOut.into())));
        };
        self.coming.has_moved.store(true, Ordering::Relaxed);
        Poll::Ready(frame.map(|frame| match frame {
            Ok(frame) => {
                self.patience.earn(frame.data_ref().map_or(0, Bytes::len));
                Ok(frame)
            }
            Err(error) => {
                self.coming.fail(Fault::Broken);
                Err(io::Error::other(error))
            }
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of a response, with what is held for as long as it has not gone.
pub(super) struct Held<H> {
    body: Incoming,
    _held: H,
}

impl<H: Send + Unpin + 'static> Held<H> {
    pub(super) fn reply(body: Incoming, held: H) -> Reply {
        Self { body, _held: held }.boxed_unsync()
    }
}

impl<H: Unpin> Body for Held<H> {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::StreamBody;

    use super::*;

    /// How long a body is waited for of which so many bytes come every five seconds, for ten minutes at most.
    async fn waited(bytes: usize) -> (Duration, Option<Fault>) {
        let pieces = stream::unfold(0, move |piece| async move {
            tokio::time::sleep(Duration::from_secs(5)).await;
            (piece < 120).then(|| (Ok::<_, io::Error>(Frame::data(Bytes::from(vec![0; bytes]))), piece + 1))
        });
        let coming = Arc::new(Coming::default());
        let start = Instant::now();
        let mut body = Outgoing::new(Box::pin(StreamBody::new(pieces)), coming.clone());
        while let Some(Ok(_)) = body.frame().await {}
        (start.elapsed(), coming.fault())
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_comes_in_drops_is_given_up_and_one_at_a_kilobyte_a_second_is_not() {
        let (after, fault) = waited(1).await;
        assert!(after >= GRACE && after < GRACE + Duration::from_secs(1), "{after:?}");
        assert_eq!(fault, Some(Fault::Slow));
        let (after, fault) = waited(5000).await;
        assert!(after > GRACE * 20 && fault.is_none(), "{after:?} {fault:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_fast_earns_no_more_than_the_first_time_again() {
        let mut patience = Patience::new();
        patience.earn(1 << 30);
        assert_eq!(patience.left, GRACE);
    }
}
