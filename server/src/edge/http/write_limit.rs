//! A connection whose client takes nothing out is not kept for ever, nor one whose client does not come to the end of a head.

use std::{
    io,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use super::activity::Activity;
use crate::edge::held::Budget;

/// Fails when nothing of what is written leaves within a time. hyper has no such limit, and responses without a body are
/// not watched in another way.
pub(super) struct WriteLimit<S> {
    stream: S,
    limit: Duration,
    client: IpAddr,
    unread: Budget,
    /// Told of what is read, where that matters.
    activity: Option<Arc<Activity>>,
    /// When it is given up. Kept apart, because few connections ever need it.
    given_up: Option<Pin<Box<Sleep>>>,
}

impl<S> WriteLimit<S> {
    /// `limit`: how long a write may make no progress. `unread` takes note of a client that it did not suffice for.
    pub(super) fn new(stream: S, limit: Duration, client: IpAddr, unread: Budget) -> Self {
        Self { stream, limit, client, unread, activity: None, given_up: None }
    }

    /// Tells `activity` when something is read.
    pub(super) fn telling(self, activity: Arc<Activity>) -> Self {
        Self { activity: Some(activity), ..self }
    }

    /// Takes note of how a write went.
    fn wrote<T>(&mut self, outcome: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.given_up = None;
            return outcome;
        }
        let limit = self.limit;
        let given_up = self.given_up.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(given_up.as_mut().poll(context));
        self.unread.note_too_slow(self.client);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteLimit<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before
            && let Some(activity) = &self.activity
        {
            activity.has_read();
        }
        outcome
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteLimit<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(outcome, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, buffers);
        self.wrote(outcome, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(context);
        self.wrote(outcome, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_shutdown(context);
        self.wrote(outcome, context)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, duplex},
        time::Instant,
    };

    use super::*;

    const LIMIT: Duration = Duration::from_secs(15);

    #[tokio::test(start_paused = true)]
    async fn what_makes_no_progress_ends_in_time_and_what_makes_some_goes_on() {
        let (mut client, server) = duplex(64);
        let mut server = WriteLimit::new(server, LIMIT, Ipv4Addr::LOCALHOST.into(), Budget::default());
        let start = Instant::now();
        let taking = async {
            for _ in 0..4 {
                sleep(LIMIT * 2 / 3).await;
                client.read_exact(&mut [0; 20]).await.unwrap();
            }
        };
        let (outcome, ()) = tokio::join!(server.write_all(&[7; 200]), taking);
        assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::TimedOut);
        // 80 bytes were taken, so that 144 have left.
        assert_eq!(start.elapsed(), LIMIT * 2 / 3 * 4 + LIMIT);
    }
}
