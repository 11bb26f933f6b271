//! Replies that wait for a lookup: how many there may be, and which of them are still sent when they are ready.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use super::late::{LATE_AFTER, LateReplies};
use crate::{
    base::{
        access::Forwarders,
        fair_share::{FairShare, Limits, Share},
        message::Query,
        view::View,
    },
    service::Client,
};

/// Replies that may wait for a lookup at once, over all UDP listeners. Enough for 1800 lookups a second that all take
/// their full 4.5 s, and few enough that they cost some tens of megabytes. A query beyond is dropped, and its client
/// asks again.
pub const MAX_WAITING: usize = 8192;

/// Replies that may wait at once for one client, the least that each may have however many others wait, and what is
/// left to those that have shown that they are where they say. A forwarder for a whole network with 1000 in flight
/// stays below.
pub const MAX_WAITING_PER_CLIENT: usize = 1024;
const LEAST_WAITING: usize = 16;
const RESERVED: usize = 1024;

/// The same for a public network, at which all its replies could be aimed, and for one of ours, whose hosts are clients
/// of their own.
const MAX_WAITING_PER_NETWORK: usize = 2048;
const MAX_WAITING_PER_LAN: usize = 4096;

/// The same for those who are served names in an origin alone, so that none of theirs is in the way of those who are served
/// everything: a quarter of the memory. A resolver of the public has hundreds of addresses.
const STRANGERS: Limits = Limits {
    in_all: MAX_WAITING / 4,
    reserved: RESERVED / 4,
    per_client: MAX_WAITING_PER_CLIENT / 4,
    per_network: MAX_WAITING_PER_NETWORK / 4,
    per_lan: MAX_WAITING_PER_LAN / 4,
    least: LEAST_WAITING / 4,
};

/// The replies that wait on all UDP listeners of a server.
pub struct Waiting {
    places: Arc<FairShare>,
    strangers: Arc<FairShare>,
    late: Mutex<LateReplies>,
}

/// One reply that waits, until this is dropped.
pub struct WaitingReply {
    waiting: Arc<Waiting>,
    client: Client,
    is_proven: bool,
    _place: Share,
}

impl Waiting {
    /// With room for [`MAX_WAITING`]; `forwarders` count as many clients each.
    pub fn new(forwarders: Forwarders) -> Arc<Self> {
        let limits = Limits {
            in_all: MAX_WAITING,
            reserved: RESERVED,
            per_client: MAX_WAITING_PER_CLIENT,
            per_network: MAX_WAITING_PER_NETWORK,
            per_lan: MAX_WAITING_PER_LAN,
            least: LEAST_WAITING,
        };
        Self::with(FairShare::with_forwarders(limits, forwarders))
    }

    /// With other limits.
    pub fn with_limits(limits: Limits) -> Arc<Self> {
        Self::with(FairShare::new(limits))
    }

    fn with(places: Arc<FairShare>) -> Arc<Self> {
        let strangers = FairShare::new(STRANGERS);
        Arc::new(Self { places, strangers, late: Mutex::new(LateReplies::new()) })
    }

    /// A place for the reply to a query of `client`, from when it came. `None` when the client has as many as it may.
    pub fn begin(self: &Arc<Self>, client: Client, query: &Query) -> Option<WaitingReply> {
        let places = match query.view {
            View::Resolver | View::Bridged => &self.places,
            View::Origin => &self.strangers,
        };
        let place = places.take(client.address, query.is_proven)?;
        Some(WaitingReply { waiting: self.clone(), client, is_proven: query.is_proven, _place: place })
    }
}

impl WaitingReply {
    /// Whether the reply may be sent, which is ready at `now`: always if it is quick, and later if few others are late
    /// that go to the same network, or if the client has shown that it asked.
    pub fn may_be_sent(&self, now: Instant) -> bool {
        if self.is_proven || now.saturating_duration_since(self.client.now) < LATE_AFTER {
            return true;
        }
        let mut late = self.waiting.late.lock().unwrap_or_else(PoisonError::into_inner);
        late.admit(self.client.address, now)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::{base::message::Reply, service::Transport};

    #[test]
    fn however_many_strangers_wait_those_who_are_served_have_their_places() {
        let waiting = Waiting::new(Forwarders::default());
        let request = [0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'a', 0, 0, 1, 0, 1];
        let query = |view| Query { view, ..Query::decode(&request).unwrap() };
        let client = |bits: u32| Client {
            address: Ipv4Addr::from_bits(bits).into(),
            transport: Transport::Udp,
            reply: Reply::Datagram,
            now: Instant::now(),
        };
        let strangers = query(View::Origin);
        // From everywhere.
        let held: Vec<_> =
            (0..100_000).filter_map(|number| waiting.begin(client(number << 12), &strangers)).collect();
        assert!((1000..=STRANGERS.in_all).contains(&held.len()), "{}", held.len());
        assert!(waiting.begin(client(7), &strangers).is_none());
        let served: Vec<_> =
            (0..512).map_while(|_| waiting.begin(client(7), &query(View::Resolver))).collect();
        assert_eq!(served.len(), 512);
    }
}
