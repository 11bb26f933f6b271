//! A network for tests: it holds what a test publishes and does what a test says.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    sync::{Semaphore, mpsc},
    time::{Instant, sleep, sleep_until},
};

use crate::{
    Evidence, Network, NetworkError, PutError,
    signed_packet::{PublicKey, SignedPacket},
};

/// Nodes that are asked in each search, and that take each packet.
const NODES: u32 = 20;

/// A [`Network`] without nodes. A key is absent unless its packet was published or stored.
pub struct FakeNetwork {
    state: Mutex<State>,
    /// One permit for each search that is held and may end.
    releases: Semaphore,
}

#[derive(Default)]
struct State {
    packets: HashMap<[u8; 32], SignedPacket>,
    failure: Option<NetworkError>,
    unreachable: HashSet<[u8; 32]>,
    delay: Duration,
    holds_all: bool,
    held: HashSet<[u8; 32]>,
    searches: Option<VecDeque<ScriptedSearch>>,
    stores: VecDeque<(Duration, Result<u32, PutError>)>,
    asked: Vec<PublicKey>,
    stored: Vec<SignedPacket>,
}

/// How one search goes.
#[derive(Debug, Clone)]
pub struct ScriptedSearch {
    /// What it finds, and how long after its start.
    pub packets: Vec<(Duration, SignedPacket)>,
    /// How long it takes.
    pub took: Duration,
    /// How it ends.
    pub end: Result<Evidence, NetworkError>,
}

impl Default for FakeNetwork {
    fn default() -> Self {
        Self { state: Mutex::default(), releases: Semaphore::new(0) }
    }
}

impl FakeNetwork {
    /// How a search ends in which all nodes answered that they do not hold the key.
    pub const ANSWERED: Result<Evidence, NetworkError> =
        Ok(Evidence { queried: NODES, responded: NODES, held: 0 });

    /// A network that holds these packets.
    pub fn holding(packets: impl IntoIterator<Item = SignedPacket>) -> Self {
        let network = Self::default();
        packets.into_iter().for_each(|packet| network.publish(packet));
        network
    }

    /// A network in which every lookup fails.
    pub fn failing(failure: NetworkError) -> Self {
        let network = Self::default();
        network.fail(failure);
        network
    }

    /// A network whose searches go like these, one after the other. One more fails the test.
    pub fn scripted(searches: impl IntoIterator<Item = ScriptedSearch>) -> Self {
        let network = Self::default();
        network.state().searches = Some(searches.into_iter().collect());
        network
    }

    /// Holds `packet` from now on, whatever was held before.
    pub fn publish(&self, packet: SignedPacket) {
        self.state().packets.insert(*packet.key().as_bytes(), packet);
    }

    /// Holds nothing of `key` any more.
    pub fn forget(&self, key: &PublicKey) {
        self.state().packets.remove(key.as_bytes());
    }

    /// The packet of `key` that is held.
    pub fn packet(&self, key: &PublicKey) -> Option<SignedPacket> {
        self.state().packets.get(key.as_bytes()).cloned()
    }

    /// How many packets are held.
    pub fn len(&self) -> usize {
        self.state().packets.len()
    }

    /// Whether no packet is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Nothing can be asked or stored until [`FakeNetwork::recover`].
    pub fn fail(&self, failure: NetworkError) {
        self.state().failure = Some(failure);
    }

    /// Ends [`FakeNetwork::fail`].
    pub fn recover(&self) {
        self.state().failure = None;
    }

    /// From now on nobody can be asked about `key`.
    pub fn cut_off(&self, key: &PublicKey) {
        self.state().unreachable.insert(*key.as_bytes());
    }

    /// Each search takes this long from now on before it finds something, or fails.
    pub fn delay(&self, delay: Duration) {
        self.state().delay = delay;
    }

    /// Searches that begin from now on find what is there, and end when [`FakeNetwork::release`] says so.
    pub fn hold(&self) {
        self.state().holds_all = true;
    }

    /// As [`FakeNetwork::hold`], for searches for `key`.
    pub fn hold_key(&self, key: &PublicKey) {
        self.state().held.insert(*key.as_bytes());
    }

    /// Lets so many held searches end, also those that come later. They find what was published in between.
    pub fn release(&self, searches: usize) {
        self.releases.add_permits(searches);
    }

    /// How the next stores go: what each takes, and how it ends. One beyond these takes no time and is checked as nodes
    /// of the DHT do it.
    pub fn script_stores(&self, stores: impl IntoIterator<Item = (Duration, Result<u32, PutError>)>) {
        self.state().stores.extend(stores);
    }

    /// The keys that were searched for, in order.
    pub fn asked(&self) -> Vec<PublicKey> {
        self.state().asked.clone()
    }

    /// How many searches there were.
    pub fn lookups(&self) -> usize {
        self.state().asked.len()
    }

    /// All packets that were to be stored, in order, whatever became of them.
    pub fn stored(&self) -> Vec<SignedPacket> {
        self.state().stored.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn find(&self, key: &PublicKey) -> Result<Option<SignedPacket>, NetworkError> {
        match self.failure {
            Some(failure) => Err(failure),
            None if self.unreachable.contains(key.as_bytes()) => Err(NetworkError::Unreachable),
            None => Ok(self.packets.get(key.as_bytes()).cloned()),
        }
    }

    fn is_held(&self, key: &PublicKey) -> bool {
        self.holds_all || self.held.contains(key.as_bytes())
    }

    fn store(&mut self, packet: &SignedPacket, cas: Option<u64>) -> Result<u32, PutError> {
        if let Some(held) = self.find(packet.key())? {
            if cas.is_some_and(|cas| cas != held.timestamp()) {
                return Err(PutError::CasFailed);
            }
            if held != *packet && held.timestamp() >= packet.timestamp() {
                return Err(PutError::NotMostRecent);
            }
        }
        self.packets.insert(*packet.key().as_bytes(), packet.clone());
        Ok(NODES)
    }
}

#[async_trait]
impl Network for FakeNetwork {
    #[allow(clippy::expect_used, reason = "a test fails by panicking")]
    async fn lookup(
        &self,
        key: &PublicKey,
        found: mpsc::UnboundedSender<SignedPacket>,
    ) -> Result<Evidence, NetworkError> {
        let (search, delay) = {
            let mut state = self.state();
            state.asked.push(key.clone());
            let next =
                |searches: &mut VecDeque<_>| searches.pop_front().expect("a search that is not expected");
            (state.searches.as_mut().map(next), state.delay)
        };
        if let Some(search) = search {
            return search.play(&found).await;
        }
        // Even a sleep of no length would let others have their turn.
        if !delay.is_zero() {
            sleep(delay).await;
        }
        let (mut packet, is_held) = {
            let state = self.state();
            (state.find(key)?, state.is_held(key))
        };
        // Nobody may want to know by now.
        packet.iter().for_each(|packet| drop(found.send(packet.clone())));
        if is_held {
            self.releases.acquire().await.expect("it is never closed").forget();
            let newest = self.state().find(key)?;
            if newest != packet {
                newest.iter().for_each(|packet| drop(found.send(packet.clone())));
                packet = newest;
            }
        }
        let held = if packet.is_some() { NODES } else { 0 };
        Ok(Evidence { queried: NODES, responded: NODES, held })
    }

    async fn store(&self, packet: &SignedPacket, cas: Option<u64>) -> Result<u32, PutError> {
        let scripted = self.state().stores.pop_front();
        if let Some((took, _)) = &scripted {
            sleep(*took).await;
        }
        let mut state = self.state();
        state.stored.push(packet.clone());
        match scripted {
            Some((_, end)) => end,
            None => state.store(packet, cas),
        }
    }
}

impl ScriptedSearch {
    async fn play(mut self, found: &mpsc::UnboundedSender<SignedPacket>) -> Result<Evidence, NetworkError> {
        let started = Instant::now();
        for (at, packet) in mem::take(&mut self.packets) {
            until(started + at).await;
            let _ = found.send(packet);
        }
        until(started + self.took).await;
        self.end
    }
}

async fn until(time: Instant) {
    if time > Instant::now() {
        sleep_until(time).await;
    }
}
