//! A connection that takes nothing in while the client takes nothing out.

use std::{
    io,
    net::IpAddr,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use crate::held::Budget;

/// Reads nothing while what was written waits: a client that sends requests without end and reads no response would
/// otherwise pile them up, as hyper bounds what it buffers of bodies, and not of heads. Fails when nothing of it leaves
/// within a time.
pub(super) struct Backpressure<S> {
    stream: S,
    limit: Duration,
    client: IpAddr,
    unread: Budget,
    /// Whether the last write, or flush, could not end.
    is_blocked: bool,
    /// When it is given up. Kept apart, because few connections ever need it.
    given_up: Option<Pin<Box<Sleep>>>,
    reader: Option<Waker>,
}

impl<S> Backpressure<S> {
    /// `limit`: how long a write may make no progress. `unread` takes note of a client that it did not suffice for.
    pub(super) fn new(stream: S, limit: Duration, client: IpAddr, unread: Budget) -> Self {
        Self { stream, limit, client, unread, is_blocked: false, given_up: None, reader: None }
    }

    /// Takes note of how a write went.
    fn wrote<T>(&mut self, outcome: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        self.is_blocked = outcome.is_pending();
        if !self.is_blocked {
            self.given_up = None;
            if let Some(reader) = self.reader.take() {
                reader.wake();
            }
            return outcome;
        }
        let limit = self.limit;
        let given_up = self.given_up.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(given_up.as_mut().poll(context));
        self.unread.note_too_slow(self.client);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Backpressure<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_blocked {
            self.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Backpressure<S> {
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
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split},
        time::{Instant, timeout},
    };

    use super::*;

    const LIMIT: Duration = Duration::from_secs(15);

    fn backpressure(stream: DuplexStream) -> Backpressure<DuplexStream> {
        Backpressure::new(stream, LIMIT, Ipv4Addr::LOCALHOST.into(), Budget::default())
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_read_while_nothing_is_taken_and_reading_goes_on_afterwards() {
        let (mut client, server) = duplex(64);
        let (mut input, mut output) = split(backpressure(server));
        client.write_all(b"request").await.unwrap();
        let writing = tokio::spawn(async move { output.write_all(&[7; 100]).await });
        tokio::task::yield_now().await;
        let mut request = [0; 7];
        assert!(timeout(LIMIT / 2, input.read_exact(&mut request)).await.is_err());
        let mut taken = [0; 100];
        let (read, _) = tokio::join!(input.read_exact(&mut request), client.read_exact(&mut taken));
        assert_eq!((read.unwrap(), &request), (7, b"request"));
        writing.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_makes_no_progress_ends_in_time() {
        let (_client, server) = duplex(64);
        let mut server = backpressure(server);
        let start = Instant::now();
        assert_eq!(server.write_all(&[7; 100]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(start.elapsed(), LIMIT);
    }
}
