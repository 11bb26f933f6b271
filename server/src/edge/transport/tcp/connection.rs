//! One stream of queries, whatever carries it.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Instant, timeout, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    super::{Ending, MAX_REQUEST_SIZE, Slot, at_once},
    Connections,
};
use crate::{
    base::{
        message::{Query, Reply},
        metrics::Reason,
    },
    edge::held::Permit,
    service::{AtOnce, Client, Respond, Transport},
};

/// Bytes read at once. Holds the longest request, so that one is always either whole or still growing.
const READ_BUFFER: usize = 2 * MAX_REQUEST_SIZE;

/// Replies to queries that came together go out together, up to about this many bytes.
const REPLY_BATCH: usize = 16 << 10;

/// Batches of replies that may wait to be written on one connection.
const WRITE_QUEUE: usize = 16;

/// How long a client that was told of the end may go on sending. Closing while its bytes are unread would reset the
/// connection and take replies with it that the client has not read yet.
pub(super) const LINGER: Duration = Duration::from_millis(500);

/// Bytes read after the stop, at most, of what has arrived before it: what a client sends in a moment.
const MAX_READ_AFTER_STOP: usize = 64 << 10;

/// One stream of queries.
pub struct Connection<R> {
    address: IpAddr,
    transport: Transport,
    responder: Arc<R>,
    connections: Arc<Connections>,
    /// Ends the reading of this connection; what was read is still answered.
    stop: CancellationToken,
    /// Cancelled before it, if another process takes new connections in our place: this one ends when it is silent.
    leaving: CancellationToken,
    tasks: TaskTracker,
    in_flight: Arc<Semaphore>,
}

/// Replies on their way to the writer, each with its length before it.
struct Outgoing {
    bytes: Vec<u8>,
    // Given back when the bytes are written or the connection is gone.
    _unread: Permit,
    _in_flight: Option<OwnedSemaphorePermit>,
}

/// Why reading ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The client has nothing more to say, or nothing that could be understood.
    ByClient,
    /// We have had enough, while the client may still be sending.
    ByUs,
}

impl<R: Respond> Connection<R> {
    /// The caller holds the place of the connection until [`Connection::serve`] returns. Once it is
    /// leaving, it is not kept for long when it is silent.
    pub fn new(
        address: IpAddr,
        transport: Transport,
        responder: Arc<R>,
        connections: Arc<Connections>,
        ending: Ending,
        tasks: TaskTracker,
    ) -> Arc<Self> {
        let in_flight = Arc::new(Semaphore::new(connections.limits.lookups_per_connection));
        Arc::new(Self {
            address,
            transport,
            responder,
            connections,
            stop: ending.stop().child_token(),
            leaving: ending.leaving().clone(),
            tasks,
            in_flight,
        })
    }

    /// Answers queries until either side has had enough and the last one is answered.
    pub async fn serve<I, O>(self: Arc<Self>, mut input: I, output: O)
    where
        I: AsyncRead + Unpin,
        O: AsyncWrite + Unpin,
    {
        let (replies, outgoing) = mpsc::channel(WRITE_QUEUE);
        // The writer ends when the reader and every lookup have let go of the queue, so a client that half-closes
        // gets all its answers.
        let (end, written) = tokio::join!(
            self.read_queries(&mut input, replies),
            write_replies(output, outgoing, self.connections.limits.write)
        );
        if written.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::TimedOut) {
            self.connections.limits.unread.note_too_slow(self.address);
        }
        if end == End::ByUs && written.is_ok() {
            let _ = timeout(LINGER, tokio::io::copy(&mut input, &mut tokio::io::sink())).await;
        }
    }

    async fn read_queries<I>(self: &Arc<Self>, input: &mut I, queue: mpsc::Sender<Outgoing>) -> End
    where
        I: AsyncRead + Unpin,
    {
        let mut received = Vec::with_capacity(READ_BUFFER);
        let mut queries = 0;
        let mut deadline = Instant::now() + self.idle();
        let (stopped, leaving) = (self.stop.cancelled(), self.leaving.cancelled());
        tokio::pin!(stopped, leaving);
        let (mut is_leaving, mut read_after_stop) = (false, 0);
        loop {
            let was_empty = received.is_empty();
            let read = tokio::select! {
                // A query that has reached us before the stop is answered.
                biased;
                () = queue.closed() => return End::ByClient,
                read = timeout_at(deadline, input.read_buf(&mut received)) => read,
                () = &mut stopped => return End::ByUs,
                () = &mut leaving, if !is_leaving => {
                    is_leaving = true;
                    deadline = deadline.min(Instant::now() + self.idle());
                    continue;
                }
            };
            match read {
                Ok(Ok(0) | Err(_)) => return End::ByClient,
                Ok(Ok(size)) if self.stop.is_cancelled() => read_after_stop += size,
                Ok(Ok(_)) => {}
                Err(_) => return End::ByUs,
            }
            let taken = match self.answer_all(&received, &mut queries, &queue).await {
                Ok(taken) => taken,
                Err(end) => return end,
            };
            received.drain(..taken);
            if read_after_stop > MAX_READ_AFTER_STOP {
                return End::ByUs;
            }
            if received.is_empty() {
                deadline = Instant::now() + self.idle();
            } else if was_empty || taken > 0 {
                // The rest is the start of another message. More bytes of it do not buy more time.
                deadline = Instant::now() + self.connections.limits.partial_message;
            }
        }
    }

    /// Answers every whole message in `received`; returns how many bytes that were.
    async fn answer_all(
        self: &Arc<Self>,
        received: &[u8],
        queries: &mut usize,
        queue: &mpsc::Sender<Outgoing>,
    ) -> Result<usize, End> {
        let mut client = self.client(*queries);
        let mut replies = Vec::new();
        let mut rest = received;
        let mut end = None;
        while let Some((length, after)) = rest.split_first_chunk::<2>() {
            let length = usize::from(u16::from_be_bytes(*length));
            if length == 0 || length > MAX_REQUEST_SIZE {
                end = Some(End::ByClient);
                break;
            }
            let Some((message, after)) = after.split_at_checked(length) else { break };
            rest = after;
            if *queries == self.queries_untold() {
                client = self.client(*queries);
            }
            match framed(&mut replies, |out| at_once(&*self.responder, message, client, out)) {
                AtOnce::Replied | AtOnce::OverQuota | AtOnce::Silence => {}
                AtOnce::Later(query) => {
                    let Some(lookup) = self.connections.lookups.take(self.address) else {
                        self.responder.turned_away(client);
                        end = Some(End::ByUs);
                        break;
                    };
                    if self.in_flight.available_permits() == 0 {
                        // What is at hand does not wait for what is slow.
                        self.write(&mut replies, None, queue).await;
                    }
                    let Ok(permit) = self.in_flight.clone().acquire_owned().await else { break };
                    self.answer_later(query, client, lookup, permit, queue.clone());
                }
            }
            if replies.len() >= REPLY_BATCH {
                self.write(&mut replies, None, queue).await;
            }
            *queries += 1;
            if *queries >= self.connections.limits.queries_per_connection {
                end = Some(End::ByUs);
                break;
            }
        }
        self.write(&mut replies, None, queue).await;
        end.map_or(Ok(received.len() - rest.len()), Err)
    }

    fn answer_later(
        self: &Arc<Self>,
        query: Box<Query>,
        client: Client,
        lookup: Slot,
        permit: OwnedSemaphorePermit,
        queue: mpsc::Sender<Outgoing>,
    ) {
        let connection = self.clone();
        self.tasks.spawn(async move {
            let mut reply = vec![0; 2];
            connection.responder.later(&query, client, &mut reply).await;
            drop(lookup);
            if set_length(&mut reply, 0) {
                connection.write(&mut reply, Some(permit), &queue).await;
            }
        });
    }

    /// Passes `replies` to the writer and leaves them empty. Waits while the client does not read; the writer's
    /// time limit ends that.
    async fn write(
        &self,
        replies: &mut Vec<u8>,
        in_flight: Option<OwnedSemaphorePermit>,
        queue: &mpsc::Sender<Outgoing>,
    ) {
        let mut bytes = std::mem::take(replies);
        if bytes.is_empty() {
            return;
        }
        if bytes.len() > REPLY_BATCH {
            // It has grown by doubling, and the room beyond would wait as well.
            bytes.shrink_to_fit();
        }
        match self.connections.limits.unread.take(self.address, bytes.capacity(), Reason::Unread) {
            Some(unread) => {
                // Fails only when the writer has given up; the reader sees that too.
                let _ = queue.send(Outgoing { bytes, _unread: unread, _in_flight: in_flight }).await;
            }
            None => {
                tracing::debug!(client = %self.address, "connection closed: too many replies wait to be read");
                self.stop.cancel();
            }
        }
    }

    fn idle(&self) -> Duration {
        let idle = self.connections.idle();
        if self.leaving.is_cancelled() { idle.min(self.connections.limits.idle_when_scarce) } else { idle }
    }

    /// After so many queries the client is told that the connection ends, in each reply: it may have sent others before it
    /// reads the first of these, and those beyond the last allowed one get no answer.
    fn queries_untold(&self) -> usize {
        let allowed = self.connections.limits.queries_per_connection;
        allowed.saturating_sub((allowed / 10).max(1))
    }

    /// Who asks, after so many queries.
    fn client(&self, queries: usize) -> Client {
        let is_to_end = self.leaving.is_cancelled() || queries >= self.queries_untold();
        // RFC 7828 section 3.2.2: a timeout of zero asks the client to close the connection when it has its answers.
        let idle_timeout = if is_to_end { Duration::ZERO } else { self.connections.idle() };
        let reply = Reply::Stream {
            idle_timeout: Some(idle_timeout),
            is_encrypted: self.transport == Transport::Tls,
        };
        Client { address: self.address, transport: self.transport, reply, now: Instant::now() }
    }
}

/// Writes each batch whole, so that length and message leave together (RFC 7766 section 8), and then says goodbye.
async fn write_replies<O>(
    mut output: O,
    mut outgoing: mpsc::Receiver<Outgoing>,
    limit: Duration,
) -> io::Result<()>
where
    O: AsyncWrite + Unpin,
{
    while let Some(replies) = outgoing.recv().await {
        timeout(limit, async {
            output.write_all(&replies.bytes).await?;
            output.flush().await
        })
        .await??;
    }
    timeout(limit, output.shutdown()).await?
}

/// Lets `write` append a message and puts its length before it; leaves nothing when there was none.
fn framed(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> AtOnce) -> AtOnce {
    let start = out.len();
    out.extend_from_slice(&[0; 2]);
    let outcome = write(out);
    if !matches!(outcome, AtOnce::Replied | AtOnce::OverQuota) || !set_length(out, start) {
        out.truncate(start);
    }
    outcome
}

/// Sets the two bytes at `start` to the length of what follows; false when that is nothing or too much.
pub(super) fn set_length(out: &mut [u8], start: usize) -> bool {
    let Some((length, message)) = out.get_mut(start..).and_then(|frame| frame.split_first_chunk_mut::<2>())
    else {
        return false;
    };
    match u16::try_from(message.len()) {
        Ok(size @ 1..) => {
            *length = size.to_be_bytes();
            true
        }
        _ => false,
    }
}
