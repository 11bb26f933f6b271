//! Bytes from one end of a connection to the other and back, at the pace of who takes them.

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    net::IpAddr,
    pin::pin,
    task::{Context, Poll},
    time::Duration,
};

use prometheus_client::metrics::counter::Counter;
use tokio::time::{Instant, sleep_until, timeout};

use super::peer::{Heard, Peer};
use crate::{
    base::metrics::Reason,
    edge::{
        held::{Budget, Permit},
        transport::Ending,
    },
};

/// Bytes that are read at once: two records of TLS. With one that had begun before, that is what may wait for a peer that takes
/// nothing. One such buffer serves all connections of a thread.
const PIECE: usize = 32 << 10;

/// A connection without a byte either way is kept for so long: a WebSocket or a page that waits for news may be silent for long,
/// and whether it is one cannot be seen from outside of HTTP.
const IDLE: Duration = Duration::from_secs(3600);

/// The same where three quarters of the places are taken, or one of the two has ended its side.
const IDLE_WHEN_CROWDED: Duration = Duration::from_secs(300);

/// How long a peer may take none of what waits for it.
const WRITE_LIMIT: Duration = Duration::from_secs(60);

/// How often both are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// While another process takes new connections in our place, one that is silent for so long is closed.
const IDLE_WHEN_LEAVING: Duration = Duration::from_secs(2);

/// At a stop, a connection may go on for so long while something is on its way, and has to be silent for less to be closed.
const DRAIN: Duration = Duration::from_secs(3);
const IDLE_WHEN_STOPPING: Duration = Duration::from_millis(300);

/// What the last words to both ends may take.
const FAREWELL: Duration = Duration::from_secs(1);

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; PIECE]);
}

/// Whose connection it is, and what it may take.
pub(super) struct Terms<'a> {
    /// For whom bytes are held.
    pub(super) client: IpAddr,
    /// What may be held.
    pub(super) unread: &'a Budget,
    /// Counts bytes to the site.
    pub(super) to_site: &'a Counter,
    /// Counts bytes to the client.
    pub(super) to_client: &'a Counter,
}

/// One of the two directions.
#[derive(Default)]
struct Way {
    is_over: bool,
    /// Since when nothing of what waits was taken.
    stalled: Option<Instant>,
    /// For what waits.
    permit: Option<Permit>,
    bytes: u64,
}

struct Link<'a, A, B> {
    client: A,
    site: B,
    upward: Way,
    downward: Way,
    terms: Terms<'a>,
    /// Since this was last looked at.
    is_used: bool,
}

/// Copies until both have said all, one is gone, nothing has moved for too long, or the server ends. `is_crowded` says whether
/// places are scarce.
pub(super) async fn copy<A: Peer, B: Peer>(
    client: A,
    site: B,
    terms: Terms<'_>,
    ending: &Ending,
    is_crowded: impl Fn() -> bool,
) -> io::Result<()> {
    let mut link =
        Link { client, site, upward: Way::default(), downward: Way::default(), terms, is_used: false };
    let (mut stopped, mut leaving) = (pin!(ending.stop().cancelled()), pin!(ending.leaving().cancelled()));
    let mut is_leaving = false;
    let mut last_used = Instant::now();
    let mut next_look = last_used + LOOK_EVERY;
    loop {
        tokio::select! {
            outcome = poll_fn(|context| link.poll(context)) => return outcome,
            () = &mut stopped => break,
            () = &mut leaving, if !is_leaving => {
                is_leaving = true;
                next_look = Instant::now() + IDLE_WHEN_LEAVING / 2;
            }
            () = sleep_until(next_look) => {
                let now = Instant::now();
                if link.is_stalled(now) {
                    link.terms.unread.note_too_slow(link.terms.client);
                    return Err(io::ErrorKind::TimedOut.into());
                }
                if std::mem::take(&mut link.is_used) {
                    last_used = now;
                }
                let (idle, look) = match () {
                    () if is_leaving => (IDLE_WHEN_LEAVING, IDLE_WHEN_LEAVING / 2),
                    () if link.is_half_over() || is_crowded() => (IDLE_WHEN_CROWDED, LOOK_EVERY),
                    () => (IDLE, LOOK_EVERY),
                };
                if now.duration_since(last_used) >= idle {
                    return link.farewell().await;
                }
                next_look = now + look;
            }
        }
    }
    let until = Instant::now() + DRAIN;
    loop {
        link.is_used = false;
        let moving = timeout(IDLE_WHEN_STOPPING, poll_fn(|context| link.poll(context)));
        if let Ok(outcome) = moving.await {
            return outcome;
        }
        if !link.is_used {
            return link.farewell().await;
        }
        if Instant::now() >= until {
            // Something is missing, which the end without a word shows.
            return Ok(());
        }
    }
}

impl<A: Peer, B: Peer> Link<'_, A, B> {
    /// Ready when both directions are over.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { client, site, upward, downward, terms, is_used } = self;
        let before = upward.bytes + downward.bytes;
        upward.poll(client, site, terms, context)?;
        downward.poll(site, client, terms, context)?;
        let moved = (upward.bytes + downward.bytes) > before;
        *is_used |= moved;
        terms.to_site.inc_by(std::mem::take(&mut upward.bytes));
        terms.to_client.inc_by(std::mem::take(&mut downward.bytes));
        // What reading has given rise to, as when keys are renewed.
        let upward_done = site.poll_flush(context, &mut 0)?.is_ready() && upward.is_over;
        let downward_done = client.poll_flush(context, &mut 0)?.is_ready() && downward.is_over;
        if upward_done && downward_done { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn is_stalled(&self, now: Instant) -> bool {
        let stalled = [&self.upward, &self.downward].into_iter().filter_map(|way| way.stalled);
        stalled.map(|since| now.duration_since(since)).any(|stalled| stalled >= WRITE_LIMIT)
    }

    fn is_half_over(&self) -> bool {
        self.upward.is_over || self.downward.is_over
    }

    /// Nothing is on its way: both may know that nothing is missing.
    async fn farewell(&mut self) -> io::Result<()> {
        let is_silent = self.client.backlog() == 0 && self.site.backlog() == 0;
        self.client.close(is_silent);
        self.site.close(is_silent);
        let flushing = poll_fn(|context| {
            let client = self.client.poll_flush(context, &mut 0)?;
            let site = self.site.poll_flush(context, &mut 0)?;
            if client.is_ready() && site.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending }
        });
        timeout(FAREWELL, flushing).await.unwrap_or(Ok(()))
    }
}

impl Way {
    fn poll<A: Peer, B: Peer>(
        &mut self,
        from: &mut A,
        to: &mut B,
        terms: &Terms<'_>,
        context: &mut Context<'_>,
    ) -> io::Result<()> {
        loop {
            let mut written = 0;
            match to.poll_flush(context, &mut written) {
                Poll::Ready(outcome) => {
                    outcome?;
                    (self.stalled, self.permit) = (None, None);
                }
                Poll::Pending => return self.wait(to.backlog(), written, terms),
            }
            if self.is_over {
                return Ok(());
            }
            let heard = SCRATCH.with_borrow_mut(|scratch| {
                from.poll_read(context, scratch, &mut |bytes| {
                    self.bytes += bytes.len() as u64;
                    to.queue(bytes)
                })
            });
            match heard {
                Poll::Pending => return Ok(()),
                Poll::Ready(heard) => match heard? {
                    Heard::Bytes(_) => {}
                    ended => {
                        to.close(ended == Heard::End);
                        self.is_over = true;
                    }
                },
            }
        }
    }

    /// For `to` to take what waits for it, for which there has to be leave.
    fn wait(&mut self, backlog: usize, written: usize, terms: &Terms<'_>) -> io::Result<()> {
        if self.stalled.is_none() || written > 0 {
            self.stalled = Some(Instant::now());
        }
        if self.permit.is_none() && backlog > 0 {
            let permit = terms.unread.take(terms.client, backlog, Reason::Unread);
            self.permit = Some(permit.ok_or_else(|| io::Error::other("too much waits for this client"))?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
