//! Places for connections and for requests. An address that has all of its connections gives up the one that has been idle for
//! longest, and one that has many requests under way gets only a few more for each connection.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use pkdns::{
    base::{access::Forwarders, client::ClientKey},
    edge::transport::{Slot, Slots},
};
use tokio_util::sync::CancellationToken;

use super::activity::{Activity, UnderWay};

/// Connections of all visitors. One holds some 100 kB while it is busy.
const CONNECTIONS: usize = 1024;

/// Those of one address. The visitors of a bridge share its address.
const CONNECTIONS_PER_CLIENT: usize = 256;

/// Connections that have given up their place and are about to end, of all and of one address.
const LEAVING: usize = 128;
const LEAVING_PER_CLIENT: usize = 32;

/// Requests of all visitors that wait for a web server, and those of one address.
const REQUESTS: usize = 1024;
const REQUESTS_PER_CLIENT: usize = 256;

/// Once an address has this many requests under way, each of its connections may have [`FEW`] at once.
const AMPLE_PER_CLIENT: usize = REQUESTS_PER_CLIENT / 2;

/// What a page of a browser asks for at once, more or less. Fifteen connections of one visitor have to be full before others
/// at the same address find nothing.
const FEW: usize = 16;

/// All places. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Places {
    bridges: Forwarders,
    connections: Arc<Slots>,
    leaving: Arc<Slots>,
    stays: Arc<Mutex<HashMap<ClientKey, Vec<Arc<Stay>>>>>,
    requests: Arc<Slots>,
    ample: Arc<Slots>,
}

/// A connection that may have to make room.
#[derive(Debug)]
struct Stay {
    activity: Arc<Activity>,
    leave: CancellationToken,
    slot: Mutex<Slot>,
}

/// The place of a connection, until this is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    places: Places,
    client: ClientKey,
    stay: Arc<Stay>,
}

/// The place of a request, until this is dropped.
#[derive(Debug)]
pub(super) struct RequestPlace {
    _under_way: UnderWay,
    _slot: Slot,
    _ample: Option<Slot>,
}

impl Places {
    /// Each of `bridges` may have twice as much as another address, which is half of all.
    pub(super) fn new(bridges: Forwarders) -> Self {
        let slots = |cap, per_client| Slots::new(cap, per_client).with_forwarders(bridges.clone());
        Self {
            connections: slots(CONNECTIONS, CONNECTIONS_PER_CLIENT),
            leaving: slots(LEAVING, LEAVING_PER_CLIENT),
            stays: Arc::default(),
            requests: slots(REQUESTS, REQUESTS_PER_CLIENT),
            ample: slots(REQUESTS, AMPLE_PER_CLIENT),
            bridges,
        }
    }

    /// Whose addresses stand for many visitors.
    pub(super) fn bridges(&self) -> &Forwarders {
        &self.bridges
    }

    /// A place for a connection. `None` if there is none, and the address has no idle one that could make room.
    pub(super) fn connection(&self, address: IpAddr) -> Option<Seat> {
        let client = ClientKey::from(address);
        let slot = self.connections.take(address).or_else(|| self.displace(client, address))?;
        let (activity, leave) = (Arc::new(Activity::default()), CancellationToken::new());
        let stay = Arc::new(Stay { activity, leave, slot: Mutex::new(slot) });
        self.stays().entry(client).or_default().push(stay.clone());
        Some(Seat { places: self.clone(), client, stay })
    }

    /// Tells the connection to end that has been without a request for longest, and gives its place.
    fn displace(&self, client: ClientKey, address: IpAddr) -> Option<Slot> {
        let leaving = self.leaving.take(address)?;
        let displaced = {
            let mut stays = self.stays();
            let stays = stays.get_mut(&client)?;
            let idle =
                stays.iter().enumerate().filter_map(|(at, stay)| Some((stay.activity.idle_since()?, at)));
            let (_, longest) = idle.min()?;
            stays.remove(longest)
        };
        let slot =
            std::mem::replace(&mut *displaced.slot.lock().unwrap_or_else(PoisonError::into_inner), leaving);
        displaced.leave.cancel();
        Some(slot)
    }

    /// A place for a request on a connection. `None` if there is none.
    pub(super) fn request(&self, address: IpAddr, activity: &Arc<Activity>) -> Option<RequestPlace> {
        let under_way = activity.begin();
        let ample = self.ample.take(address);
        if ample.is_none() && activity.requests() > FEW {
            return None;
        }
        let slot = self.requests.take(address)?;
        Some(RequestPlace { _under_way: under_way, _slot: slot, _ample: ample })
    }

    fn stays(&self) -> MutexGuard<'_, HashMap<ClientKey, Vec<Arc<Stay>>>> {
        self.stays.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    pub(super) fn activity(&self) -> &Arc<Activity> {
        &self.stay.activity
    }

    /// When another connection has this place.
    pub(super) fn leave(&self) -> &CancellationToken {
        &self.stay.leave
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut stays = self.places.stays();
        let Some(of_client) = stays.get_mut(&self.client) else { return };
        of_client.retain(|stay| !Arc::ptr_eq(stay, &self.stay));
        if of_client.is_empty() {
            stays.remove(&self.client);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn fill(places: &Places, last: u8) -> Vec<Seat> {
        (0..CONNECTIONS_PER_CLIENT).map(|_| places.connection(address(last)).unwrap()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_connection_that_is_idle_for_longest_makes_room_and_one_with_a_request_stays() {
        let places = Places::new(Forwarders::default());
        let seats = fill(&places, 1);
        let busy = seats[0].activity().begin();
        tokio::time::advance(Duration::from_secs(1)).await;
        // Its last request has just ended.
        drop(seats[1].activity().begin());
        let one_more = places.connection(address(1)).unwrap();
        let left: Vec<_> = (0..seats.len()).filter(|at| seats[*at].leave().is_cancelled()).collect();
        assert_eq!(left, [2]);
        drop((busy, one_more));
        drop(seats);
        assert!(places.stays().is_empty());
    }

    #[tokio::test]
    async fn an_address_whose_connections_are_all_busy_gets_no_more_and_others_do() {
        let places = Places::new(Forwarders::default());
        let seats = fill(&places, 1);
        let _busy: Vec<_> = seats.iter().map(|seat| seat.activity().begin()).collect();
        assert!(places.connection(address(1)).is_none());
        assert!(places.connection(address(2)).is_some());
    }

    #[tokio::test]
    async fn three_connections_full_of_requests_leave_some_to_others_at_the_same_address() {
        let places = Places::new(Forwarders::default());
        let connections: Vec<_> = (0..4).map(|_| Arc::new(Activity::default())).collect();
        let take = |at: usize, many: usize| -> Vec<_> {
            (0..many).filter_map(|_| places.request(address(1), &connections[at])).collect()
        };
        let held: Vec<_> = (0..3).flat_map(|at| take(at, 99)).collect();
        assert_eq!(held.len(), AMPLE_PER_CLIENT + FEW);
        assert_eq!(take(3, 99).len(), FEW);
        drop(held);
        assert_eq!(take(3, 99).len(), 99, "what has ended counts no more");
    }

    #[tokio::test]
    async fn a_bridge_may_have_half_of_all() {
        let places = Places::new(Forwarders::new(vec![address(1).into()]));
        let activity = Arc::new(Activity::default());
        let take = |last| (0..REQUESTS).map_while(|_| places.request(address(last), &activity)).count();
        let (held, mut of_bridge) = (Mutex::new(Vec::new()), 0);
        for _ in 0..REQUESTS {
            let Some(place) = places.request(address(1), &Arc::new(Activity::default())) else { break };
            held.lock().unwrap().push(place);
            of_bridge += 1;
        }
        assert_eq!(of_bridge, REQUESTS / 2);
        assert!(take(2) >= FEW);
    }
}
