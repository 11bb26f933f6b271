//! Bodies of requests: read as far as they may be long, and counted while they are held.

use std::{net::IpAddr, pin::pin};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Body;

use crate::{
    base::metrics::Reason,
    edge::held::{Budget, Permit},
};

/// Why there is no body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// It is longer than it may be.
    TooLarge,
    /// It ended before its time.
    Incomplete,
    /// Too much is held for its client.
    Held,
}

/// A body of at most `most` bytes. They are copied out of what the connection read: a byte of it would keep all of that
/// in memory.
pub(super) async fn read_body<B: Body<Data = Bytes>>(
    body: B,
    most: usize,
    client: IpAddr,
    budget: &Budget,
) -> Result<(Vec<u8>, Permit), Unreadable> {
    if body.size_hint().lower() > most as u64 {
        return Err(Unreadable::TooLarge);
    }
    let mut permit = budget.take(client, 0, Reason::Bodies).ok_or(Unreadable::Held)?;
    let mut body = pin!(body);
    let mut all = Vec::new();
    while !body.is_end_stream()
        && let Some(frame) = body.frame().await
    {
        let Ok(data) = frame.map_err(|_| Unreadable::Incomplete)?.into_data() else { continue };
        let size = all.len() + data.len();
        if size > most {
            return Err(Unreadable::TooLarge);
        }
        if size > all.capacity() {
            let room = size.max(2 * all.capacity()).min(most);
            if !permit.resize(room) {
                return Err(Unreadable::Held);
            }
            all.reserve_exact(room - all.len());
        }
        all.extend_from_slice(&data);
    }
    Ok((all, permit))
}

/// Drops what comes of a body, up to its end.
pub(super) async fn discard_body<B: Body<Data = Bytes>>(body: B) {
    let mut body = pin!(body);
    while !body.is_end_stream() && matches!(body.frame().await, Some(Ok(_))) {}
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, net::Ipv4Addr};

    use futures_util::stream;
    use http_body_util::{Full, StreamBody};
    use hyper::body::Frame;

    use super::*;
    use crate::base::metrics::Refusals;

    const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn in_pieces(size: usize, piece: usize) -> impl Body<Data = Bytes, Error = Infallible> {
        let pieces: Vec<_> = vec![7; size].chunks(piece).map(Bytes::copy_from_slice).collect();
        StreamBody::new(stream::iter(pieces.into_iter().map(|piece| Ok(Frame::data(piece)))))
    }

    #[tokio::test]
    async fn a_body_counts_as_long_as_it_is_held_and_no_more_than_it_may_be_long() {
        let budget = Budget::new(1 << 20, Refusals::default());
        for (size, piece) in [(1, 1), (4096, 4096), (4096, 100), (77, 1), (0, 1)] {
            let (body, permit) = read_body(in_pieces(size, piece), 4096, CLIENT, &budget).await.unwrap();
            assert_eq!((body.len(), body.capacity()), (size, permit.bytes()));
            assert!(budget.held() >= size && budget.held() <= 4096, "{size}");
            drop(permit);
            assert_eq!(budget.held(), 0);
        }
        for piece in [1, 4097] {
            let body = read_body(in_pieces(4097, piece), 4096, CLIENT, &budget).await;
            assert_eq!(body.unwrap_err(), Unreadable::TooLarge);
        }
        let body = read_body(Full::new(Bytes::from(vec![7; 5000])), 4096, CLIENT, &budget).await;
        assert_eq!(body.unwrap_err(), Unreadable::TooLarge);
    }

    #[tokio::test]
    async fn a_body_that_is_one_too_many_is_not_read_on() {
        let refusals = Refusals::default();
        let budget = Budget::new(3 * 5000, refusals.clone());
        let held = budget.take(CLIENT, 2000, Reason::Bodies).unwrap();
        let body = read_body(in_pieces(4096, 100), 4096, CLIENT, &budget).await;
        assert_eq!((body.unwrap_err(), refusals.count(Reason::Bodies)), (Unreadable::Held, 1));
        assert_eq!(budget.held(), 2000);
        drop(held);
    }
}
