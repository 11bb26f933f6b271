//! Whether something happens on a connection.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, sleep},
};

/// How often it is looked.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(15);

/// A connection without a request is closed when it was silent at so many looks: browsers open another one when they want to.
const IDLE_LOOKS: u32 = 5;

/// One with a request or a WebSocket is closed after a quarter of an hour of silence. Pages that wait for news say something
/// more often, or are opened again by the browser.
const SILENT_LOOKS: u32 = 60;

/// What happens on one connection.
#[derive(Debug)]
pub(super) struct Activity {
    was_used: AtomicBool,
    requests: AtomicUsize,
    /// When it began, or its last request ended.
    idle_since: Mutex<Instant>,
}

/// A request, until this is dropped.
#[derive(Debug)]
pub(super) struct UnderWay(Arc<Activity>);

impl Default for Activity {
    fn default() -> Self {
        let idle_since = Mutex::new(Instant::now());
        Self { was_used: AtomicBool::default(), requests: AtomicUsize::default(), idle_since }
    }
}

impl Activity {
    pub(super) fn begin(self: &Arc<Self>) -> UnderWay {
        self.requests.fetch_add(1, Ordering::Relaxed);
        UnderWay(self.clone())
    }

    /// How many requests there are.
    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// Since when there has been no request. `None` if there is one.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        (self.requests() == 0).then(|| *self.idle_since.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns when the connection has been silent for so long that nobody is expected to come back to it.
    pub(super) async fn silence(&self) {
        let mut silent = 0;
        loop {
            sleep(LOOK_EVERY).await;
            silent = if self.was_used.swap(false, Ordering::Relaxed) { 0 } else { silent + 1 };
            let is_idle = self.requests() == 0;
            if silent >= if is_idle { IDLE_LOOKS } else { SILENT_LOOKS } {
                return;
            }
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        *self.0.idle_since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream on which everything that moves is noted.
#[derive(Debug)]
pub(super) struct Watched<S> {
    stream: S,
    activity: Arc<Activity>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, activity: Arc<Activity>) -> Self {
        Self { stream, activity }
    }

    fn note<T>(&self, moved: &Poll<io::Result<T>>) {
        if matches!(moved, Poll::Ready(Ok(_))) {
            self.activity.was_used.store(true, Ordering::Relaxed);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.note(&read);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note(&written);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_that_waits_is_waited_for_longer_than_one_that_may_come() {
        let activity = Arc::new(Activity::default());
        let start = Instant::now();
        activity.silence().await;
        assert_eq!(start.elapsed(), LOOK_EVERY * IDLE_LOOKS);
        let under_way = activity.begin();
        let start = Instant::now();
        activity.silence().await;
        assert_eq!(start.elapsed(), LOOK_EVERY * SILENT_LOOKS);
        drop(under_way);
        activity.was_used.store(true, Ordering::Relaxed);
        let start = Instant::now();
        activity.silence().await;
        assert_eq!(start.elapsed(), LOOK_EVERY * (IDLE_LOOKS + 1));
    }
}
