//! The body of a response: whole, in memory, and counted for as long as anybody has a part of it.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use crate::edge::held::Permit;

/// Bytes that are handed on at once: what a frame of HTTP/2 holds.
///
/// hyper waits until a stream may send one byte and then hands on as much as it gets, and considers itself done after the
/// last of it. Of a body in one piece nothing would be left that could be given up.
const PIECE: usize = 16 << 10;

/// The body of a response, with the leave to hold it. It is given back when the last part of it is dropped, whoever has
/// it: hyper, the queue of an HTTP/2 stream, the socket's.
#[derive(Debug, Default)]
pub struct SiteBody {
    bytes: Bytes,
    /// Until the bytes are handed on, then it goes along.
    permit: Option<Permit>,
}

/// Bytes, and what is dropped with them.
struct Owner<T> {
    bytes: Bytes,
    _along: T,
}

impl<T> AsRef<[u8]> for Owner<T> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl SiteBody {
    /// A text that is part of the program and takes no memory.
    pub(super) fn from_program(text: &'static str) -> Self {
        Self { bytes: Bytes::from_static(text.as_bytes()), permit: None }
    }

    pub(super) fn new(bytes: impl Into<Bytes>, permit: Permit) -> Self {
        Self { bytes: bytes.into(), permit: Some(permit) }
    }

    /// Whether it is counted as held, or takes nothing that could be.
    pub(super) fn is_counted(&self) -> bool {
        self.permit.is_some() || self.bytes.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// With something that is dropped when the last part of the body is.
    pub(super) fn with<T: Send + 'static>(self, along: T) -> Self {
        if self.bytes.is_empty() {
            return self;
        }
        let owner = Owner { bytes: self.bytes, _along: (self.permit, along) };
        Self { bytes: Bytes::from_owner(owner), permit: None }
    }
}

impl Body for SiteBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.bytes.is_empty() {
            return Poll::Ready(None);
        }
        if self.permit.is_some() {
            *self = std::mem::take(&mut *self).with(());
        }
        let size = self.bytes.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.bytes.split_to(size)))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use http_body_util::BodyExt;

    use super::*;
    use crate::{
        base::metrics::{Reason, Refusals},
        edge::held::Budget,
    };

    #[tokio::test]
    async fn a_body_comes_in_pieces_and_counts_until_the_last_is_dropped() {
        let budget = Budget::new(1 << 20, Refusals::default());
        let permit = budget.take(Ipv4Addr::LOCALHOST.into(), 40_000, Reason::Unread).unwrap();
        let mut body = SiteBody::new(vec![7; 40_000], permit);
        assert_eq!(body.size_hint().exact(), Some(40_000));
        let mut pieces = Vec::new();
        while let Some(frame) = body.frame().await {
            pieces.push(frame.unwrap().into_data().unwrap());
        }
        assert_eq!(pieces.iter().map(Bytes::len).collect::<Vec<_>>(), [16_384, 16_384, 7232]);
        assert!(body.is_end_stream());
        drop(body);
        while let Some(piece) = pieces.pop() {
            assert_eq!(budget.held(), 40_000);
            drop(piece);
        }
        assert_eq!(budget.held(), 0);
    }
}
