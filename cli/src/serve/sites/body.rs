//! Bodies on their way through.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full, combinators::UnsyncBoxBody};
use hyper::body::{Body, Frame, Incoming, SizeHint};

/// What clients get.
pub(super) type Reply = UnsyncBoxBody<Bytes, hyper::Error>;

pub(super) fn empty() -> Reply {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

pub(super) fn text(text: String) -> Reply {
    Full::from(text).map_err(|never| match never {}).boxed_unsync()
}

/// The body of a request, which tells whether it is still coming.
pub(super) struct Outgoing {
    body: Incoming,
    has_moved: Arc<AtomicBool>,
}

impl Outgoing {
    /// `has_moved` is set with each piece.
    pub(super) fn new(body: Incoming, has_moved: Arc<AtomicBool>) -> Self {
        Self { body, has_moved }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if polled.is_ready() {
            self.has_moved.store(true, Ordering::Relaxed);
        }
        polled
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
