//! Packets of owners who have left, in a DHT that forgets, over days of virtual time.

use std::collections::HashMap;

use pkdns_dht::simulator::{self, Joined};

use super::*;
use crate::base::metrics::KeepAliveOutcomes;

const HOUR: Duration = Duration::from_secs(3600);

/// Nodes forget what they have not been given for this long.
const MEMORY: Duration = Duration::from_secs(2 * 3600);

/// A DHT that forgets.
#[derive(Default)]
struct Forgetful {
    held: Mutex<HashMap<[u8; 32], (SignedPacket, Instant)>>,
    /// When something was given to it, whatever became of it.
    stores: Mutex<Vec<Instant>>,
    is_down: Mutex<bool>,
}

impl Forgetful {
    fn find(&self, key: &PublicKey) -> Option<SignedPacket> {
        let held = self.held.lock().unwrap();
        held.get(key.as_bytes()).filter(|(_, at)| at.elapsed() < MEMORY).map(|(packet, _)| packet.clone())
    }

    /// As the owner does it.
    fn publish(&self, packet: SignedPacket) {
        self.held.lock().unwrap().insert(*packet.key().as_bytes(), (packet, Instant::now()));
    }

    fn stores(&self) -> usize {
        self.stores.lock().unwrap().len()
    }
}

#[async_trait]
impl Network for Forgetful {
    async fn lookup(
        &self,
        key: &PublicKey,
        found: mpsc::UnboundedSender<SignedPacket>,
    ) -> Result<Evidence, NetworkError> {
        sleep(Duration::from_millis(500)).await;
        if *self.is_down.lock().unwrap() {
            return Err(NetworkError::Unreachable);
        }
        self.find(key).map(|packet| found.send(packet));
        ANSWERED
    }

    async fn store(&self, packet: &SignedPacket, _: Option<u64>) -> Result<u32, PutError> {
        self.stores.lock().unwrap().push(Instant::now());
        sleep(Duration::from_secs(1)).await;
        if *self.is_down.lock().unwrap() {
            return Err(NetworkError::Unreachable.into());
        }
        if self.find(packet.key()).is_some_and(|held| held.is_newer_than(packet)) {
            return Err(PutError::NotMostRecent);
        }
        self.publish(packet.clone());
        Ok(20)
    }
}

struct World {
    packets: Packets,
    network: Arc<Forgetful>,
    outcomes: KeepAliveOutcomes,
}

impl World {
    fn start(per_hour: u32) -> Self {
        let network = Arc::new(Forgetful::default());
        let settings = config::Cache { ttl_seconds: 300, ..Default::default() };
        let packets = Packets::with_stores(&settings, network.clone(), Stores::default(), per_hour);
        let outcomes = KeepAliveOutcomes::default();
        tokio::spawn(packets.clone().keep_alive(outcomes.clone(), |_| true));
        Self { packets, network, outcomes }
    }

    async fn ask(&self, keypair: &Keypair) -> bool {
        let answer = self.packets.get(&keypair.public_key(), CLIENT, || true).await;
        matches!(answer, Ok(PacketAnswer::Found(_)))
    }

    /// Of an owner who never comes again.
    fn publish(&self, keypair: &Keypair, timestamp: u64) {
        let dns = packet(1, 300).dns().to_vec();
        self.network.publish(SignedPacket::sign(keypair, timestamp, &dns).unwrap());
    }
}

fn owners(count: u8) -> Vec<Keypair> {
    (1..=count).map(|seed| Keypair::from_secret_key(&[seed; 32])).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_for_stays_for_two_days_and_what_is_not_fades() {
    for (per_hour, expected) in [(100, true), (0, false)] {
        let world = World::start(per_hour);
        let [asked, unasked] = &owners(2)[..] else { panic!() };
        world.publish(asked, 1);
        world.publish(unasked, 1);
        assert!(world.ask(asked).await);
        for hour in 1..48 {
            sleep(HOUR).await;
            let is_there = world.network.find(&asked.public_key()).is_some();
            assert_eq!(is_there, expected || hour < 2, "{per_hour}, after {hour} hours");
            assert_eq!(world.network.find(&unasked.public_key()).is_some(), hour < 2);
        }
        // Nobody has asked for two days.
        sleep(4 * HOUR).await;
        assert_eq!(world.network.find(&asked.public_key()), None);
        assert_eq!(world.network.stores() > 0, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_may_not_be_kept_alive_fades() {
    let world = World::start(0);
    let [denied, other] = &owners(2)[..] else { panic!() };
    [denied, other].into_iter().for_each(|owner| world.publish(owner, 1));
    world.packets.set_keep_alive(100);
    let not_denied = {
        let denied = denied.public_key();
        move |key: &PublicKey| *key != denied
    };
    tokio::spawn(world.packets.clone().keep_alive(world.outcomes.clone(), not_denied));
    assert!(world.ask(denied).await && world.ask(other).await);
    sleep(4 * HOUR).await;
    let there = [denied, other].map(|owner| world.network.find(&owner.public_key()).is_some());
    assert_eq!(there, [false, true]);
}

#[tokio::test(start_paused = true)]
async fn another_budget_holds_for_the_keys_that_were_asked_for_before() {
    let world = World::start(100);
    let [asked] = &owners(1)[..] else { panic!() };
    world.publish(asked, 1);
    assert!(world.ask(asked).await);
    for (per_hour, expected) in [(50, true), (7, true), (0, false)] {
        world.packets.set_keep_alive(per_hour);
        let keeping = tokio::spawn(world.packets.clone().keep_alive(world.outcomes.clone(), |_| true));
        sleep(4 * HOUR).await;
        keeping.abort();
        assert_eq!(world.network.find(&asked.public_key()).is_some(), expected, "{per_hour}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_than_the_budget_is_stored_and_each_in_its_hour() {
    let world = World::start(60);
    let owners = owners(90);
    owners.iter().for_each(|owner| world.publish(owner, 1));
    assert!(join_all(owners.iter().map(|owner| world.ask(owner))).await.into_iter().all(|found| found));
    // The last sixty are those that are kept.
    sleep(Duration::from_secs(1)).await;
    for owner in &owners[30..] {
        world.ask(owner).await;
    }
    sleep(24 * HOUR).await;
    let stores = world.network.stores.lock().unwrap().clone();
    for two in stores.windows(2) {
        assert!(two[1] - two[0] >= Duration::from_secs(60), "{:?}", two[1] - two[0]);
    }
    assert!((22 * 60..=24 * 60).contains(&stores.len()), "{}", stores.len());
    let kept = owners.iter().filter(|owner| world.network.find(&owner.public_key()).is_some());
    assert_eq!(kept.count(), 60);
}

#[tokio::test(start_paused = true)]
async fn an_older_packet_never_takes_the_place_of_a_newer_one() {
    let world = World::start(100);
    let owner = &owners(1)[0];
    world.publish(owner, 1);
    assert!(world.ask(owner).await);
    sleep(HOUR / 2).await;
    world.publish(owner, 2);
    for hour in 1..24 {
        sleep(HOUR).await;
        let held = world.network.find(&owner.public_key()).unwrap();
        assert_eq!(held.timestamp(), 2, "after {hour} hours");
    }
    assert_eq!(world.outcomes.outdated.get(), 1);
    assert!(world.outcomes.stored.get() > 20);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_is_tried_again_before_the_packet_fades() {
    let world = World::start(100);
    let owner = &owners(1)[0];
    world.publish(owner, 1);
    assert!(world.ask(owner).await);
    sleep(HOUR - Duration::from_secs(10)).await;
    *world.network.is_down.lock().unwrap() = true;
    sleep(HOUR / 2).await;
    assert_eq!((world.outcomes.stored.get(), world.outcomes.failed.get()), (0, 3));
    *world.network.is_down.lock().unwrap() = false;
    sleep(HOUR).await;
    assert!(world.network.find(&owner.public_key()).is_some());
    assert_eq!(world.outcomes.failed.get(), 3);
}

/// The real search and the real store, among nodes of which a tenth leaves every hour.
#[tokio::test(start_paused = true)]
async fn a_key_whose_owner_has_gone_outlives_the_nodes_of_the_dht_for_a_day() {
    for (per_hour, expected) in [(100, true), (0, false)] {
        let nodes = simulator::World {
            nodes: 300,
            round_trip: (Duration::from_millis(30)..=Duration::from_millis(230)).into(),
            loss: 0.02,
            dead: 0.15,
            stays: vec![(1.0, HOUR * 10)],
            memory: Some(HOUR * 2),
            ..Default::default()
        };
        let network = Arc::new(Joined::new(nodes).unwrap());
        let settings = config::Cache::default();
        let packets = Packets::with_stores(&settings, network.clone(), Stores::default(), per_hour);
        tokio::spawn(packets.clone().keep_alive(KeepAliveOutcomes::default(), |_| true));
        let owners = owners(10);
        for owner in &owners {
            let dns = packet(1, 300).dns().to_vec();
            let packet = SignedPacket::sign(owner, 1, &dns).unwrap();
            assert!(network.store(&packet, None).await.unwrap() > 0);
            // Asked for once.
            let answer = packets.get(&packet.key().clone(), CLIENT, || true).await;
            assert!(matches!(answer, Ok(PacketAnswer::Found(_))));
        }
        for hour in 1..=24 {
            sleep(HOUR).await;
            let found = owners.iter().filter(|owner| network.find_as_other(&owner.public_key()).is_some());
            let (found, all) = (found.count(), owners.len());
            match expected {
                true => assert_eq!(found, all, "after {hour} hours"),
                false => assert!(hour < 3 || found == 0, "{found} after {hour} hours"),
            }
        }
    }
}
