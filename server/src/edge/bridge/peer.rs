//! The two ends of a bridged connection, over TLS or in the clear: what they say, and what waits for them.
//!
//! The TLS library reads four kilobytes at a time and would be asked through two more layers. Here it is given whole pieces
//! from a buffer that all connections of a thread share, so that a connection that is silent holds none.

use std::{
    io::{self, BufRead, Write},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::rustls::Connection;

/// What came of reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// So many bytes, none where they were the library's own.
    Bytes(usize),
    /// The peer has said that it says no more.
    End,
    /// The connection has ended without a word, so that something may be missing.
    Cut,
}

/// One end.
pub(super) trait Peer {
    /// Passes what comes next to `take`, by way of `scratch`. What `take` gets is bounded by the size of that.
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        scratch: &mut [u8],
        take: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Poll<io::Result<Heard>>;

    /// Keeps bytes for [`Peer::poll_flush`].
    fn queue(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// After what is queued, the connection ends on our side: with a word where `is_whole`, and without one where something may be
    /// missing.
    fn close(&mut self, is_whole: bool);

    /// Bytes that wait to be written, more or less.
    fn backlog(&self) -> usize;

    /// Writes what is queued. Returns how many bytes were, which `written` counts while there is more to come.
    fn poll_flush(&mut self, context: &mut Context<'_>, written: &mut usize) -> Poll<io::Result<()>>;
}

/// A stream, and whether our side of it is to end or has ended.
#[derive(Debug)]
struct Outlet<S> {
    stream: S,
    shutdown: Shutdown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shutdown {
    Open,
    Wanted,
    Done,
}

/// An end over TLS, whose handshake is over.
#[derive(Debug)]
pub(super) struct TlsPeer<S> {
    outlet: Outlet<S>,
    session: Connection,
    has_ended: bool,
    /// Bytes that were given to the session since it last had nothing to write.
    queued: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsPeer<S> {
    pub(super) fn new(stream: S, session: impl Into<Connection>) -> Self {
        let mut session = session.into();
        // Who copies bounds it: no more is read for a peer for whom something waits.
        session.set_buffer_limit(None);
        let has_ended = session.process_new_packets().is_ok_and(|state| state.peer_has_closed());
        Self { outlet: Outlet::new(stream), session, has_ended, queued: 0 }
    }

    /// Passes on what the session has decrypted.
    fn drain(&mut self, take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<usize> {
        let mut taken = 0;
        let mut reader = self.session.reader();
        loop {
            let length = match reader.fill_buf() {
                Ok([]) => return Ok(taken),
                Ok(bytes) => {
                    take(bytes)?;
                    bytes.len()
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(taken),
                Err(error) => return Err(error),
            };
            reader.consume(length);
            taken += length;
        }
    }

    /// The session's buffer for what is not decrypted yet shrinks when it is asked to read and there is nothing.
    fn shrink(&mut self) {
        struct Nothing;
        impl io::Read for Nothing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::WouldBlock.into())
            }
        }
        let _ = self.session.read_tls(&mut Nothing);
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer for TlsPeer<S> {
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        scratch: &mut [u8],
        take: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Poll<io::Result<Heard>> {
        let mut taken = self.drain(take)?;
        if taken > 0 {
            return Poll::Ready(Ok(Heard::Bytes(taken)));
        }
        if self.has_ended {
            return Poll::Ready(Ok(Heard::End));
        }
        let mut buffer = ReadBuf::new(scratch);
        if Pin::new(&mut self.outlet.stream).poll_read(context, &mut buffer)?.is_pending() {
            self.shrink();
            return Poll::Pending;
        }
        let mut bytes = buffer.filled();
        if bytes.is_empty() {
            return Poll::Ready(Ok(Heard::Cut));
        }
        while !bytes.is_empty() && !self.has_ended {
            if self.session.read_tls(&mut bytes)? == 0 {
                return Poll::Ready(Ok(Heard::Cut));
            }
            let state = self.session.process_new_packets().map_err(io::Error::other)?;
            taken += self.drain(take)?;
            self.has_ended = state.peer_has_closed();
        }
        Poll::Ready(Ok(Heard::Bytes(taken)))
    }

    fn queue(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.queued += bytes.len();
        self.session.writer().write_all(bytes)
    }

    fn close(&mut self, is_whole: bool) {
        if is_whole {
            self.session.send_close_notify();
        }
        self.outlet.want_shutdown();
    }

    fn backlog(&self) -> usize {
        if self.session.wants_write() { self.queued } else { 0 }
    }

    fn poll_flush(&mut self, context: &mut Context<'_>, written: &mut usize) -> Poll<io::Result<()>> {
        while self.session.wants_write() {
            let mut sink = Sink { stream: &mut self.outlet.stream, context };
            match self.session.write_tls(&mut sink) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(count) => *written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        self.queued = 0;
        self.outlet.poll_shutdown(context)
    }
}

/// An end in the clear.
#[derive(Debug)]
pub(super) struct PlainPeer<S> {
    outlet: Outlet<S>,
    /// What came before the rest of the connection.
    first: Vec<u8>,
    queued: Vec<u8>,
    /// Of these.
    written: usize,
}

impl<S> PlainPeer<S> {
    /// `first` has been read off `stream` already.
    pub(super) fn new(stream: S, first: Vec<u8>) -> Self {
        Self { outlet: Outlet::new(stream), first, queued: Vec::new(), written: 0 }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer for PlainPeer<S> {
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        scratch: &mut [u8],
        take: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Poll<io::Result<Heard>> {
        if !self.first.is_empty() {
            let first = std::mem::take(&mut self.first);
            take(&first)?;
            return Poll::Ready(Ok(Heard::Bytes(first.len())));
        }
        let mut buffer = ReadBuf::new(scratch);
        ready!(Pin::new(&mut self.outlet.stream).poll_read(context, &mut buffer))?;
        match buffer.filled() {
            [] => Poll::Ready(Ok(Heard::End)),
            bytes => {
                take(bytes)?;
                Poll::Ready(Ok(Heard::Bytes(bytes.len())))
            }
        }
    }

    fn queue(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.queued.extend_from_slice(bytes);
        Ok(())
    }

    fn close(&mut self, _: bool) {
        self.outlet.want_shutdown();
    }

    fn backlog(&self) -> usize {
        self.queued.len() - self.written.min(self.queued.len())
    }

    fn poll_flush(&mut self, context: &mut Context<'_>, written: &mut usize) -> Poll<io::Result<()>> {
        while let Some(rest) = self.queued.get(self.written..).filter(|rest| !rest.is_empty()) {
            let count = ready!(Pin::new(&mut self.outlet.stream).poll_write(context, rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
            *written += count;
        }
        // A connection on which nothing waits keeps no buffer.
        (self.queued, self.written) = (Vec::new(), 0);
        self.outlet.poll_shutdown(context)
    }
}

impl<S> Outlet<S> {
    fn new(stream: S) -> Self {
        Self { stream, shutdown: Shutdown::Open }
    }

    fn want_shutdown(&mut self) {
        if self.shutdown == Shutdown::Open {
            self.shutdown = Shutdown::Wanted;
        }
    }

    /// Ends our side of the connection, if that is wanted.
    fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        S: AsyncWrite + Unpin,
    {
        if self.shutdown == Shutdown::Wanted {
            // An error says that the other side has gone, and then there is nothing left to end.
            let _ = ready!(Pin::new(&mut self.stream).poll_shutdown(context));
            self.shutdown = Shutdown::Done;
        }
        Poll::Ready(Ok(()))
    }
}

/// A stream as the TLS library writes to it.
struct Sink<'a, 'b, S> {
    stream: &'a mut S,
    context: &'a mut Context<'b>,
}

impl<S: AsyncWrite + Unpin> Sink<'_, '_, S> {
    fn done(outcome: Poll<io::Result<usize>>) -> io::Result<usize> {
        match outcome {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl<S: AsyncWrite + Unpin> Write for Sink<'_, '_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Self::done(Pin::new(&mut *self.stream).poll_write(self.context, bytes))
    }

    fn write_vectored(&mut self, buffers: &[io::IoSlice<'_>]) -> io::Result<usize> {
        Self::done(Pin::new(&mut *self.stream).poll_write_vectored(self.context, buffers))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
