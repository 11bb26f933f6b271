use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv4Addr},
    sync::{Mutex, atomic::AtomicUsize, atomic::Ordering},
    time::SystemTime,
};

use async_trait::async_trait;
use futures_util::future::join_all;
use hickory_proto::{
    rr::{RData, Record, rdata::A},
    serialize::binary::{BinEncodable, BinEncoder},
};
use pkarr::Keypair;
use pkdns_dht::{Evidence, PutError, signed_packet::SignedPacket};
use tokio::{
    sync::mpsc,
    time::{advance, sleep},
};

use super::*;

mod failures;
mod fairness;
mod keep_alive;
mod publish;

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// A network that plays one script a search: packets with the time at which each comes, and how it ends.
#[derive(Default)]
struct Scripted {
    scripts: Mutex<VecDeque<Script>>,
    searches: AtomicUsize,
    /// How long each store takes, and how it ends.
    stores: Mutex<VecDeque<(Duration, Result<u32, PutError>)>>,
    stored: Mutex<Vec<SignedPacket>>,
}

#[derive(Clone)]
struct Script {
    packets: Vec<(Duration, SignedPacket)>,
    took: Duration,
    end: Result<Evidence, NetworkError>,
}

#[async_trait]
impl Network for Scripted {
    async fn lookup(
        &self,
        _: &PublicKey,
        found: mpsc::UnboundedSender<SignedPacket>,
    ) -> Result<Evidence, NetworkError> {
        self.searches.fetch_add(1, Ordering::SeqCst);
        let script =
            self.scripts.lock().unwrap().pop_front().expect("a search that the test does not expect");
        let started = Instant::now();
        for (at, packet) in script.packets {
            tokio::time::sleep_until(started + at).await;
            let _ = found.send(packet);
        }
        tokio::time::sleep_until(started + script.took).await;
        script.end
    }

    async fn store(&self, packet: &SignedPacket, _: Option<u64>) -> Result<u32, PutError> {
        let store = self.stores.lock().unwrap().pop_front();
        let (took, end) = store.expect("a store that the test does not expect");
        sleep(took).await;
        self.stored.lock().unwrap().push(packet.clone());
        end
    }
}

const ANSWERED: Result<Evidence, NetworkError> = Ok(Evidence { queried: 20, responded: 20, held: 0 });

fn keypair() -> Keypair {
    Keypair::from_secret_key(&[3; 32])
}

fn packet(timestamp: u64, ttl: u32) -> SignedPacket {
    let mut dns = Vec::new();
    let mut encoder = BinEncoder::new(&mut dns);
    encoder.emit_vec(&[0, 0, 0x80, 0, 0, 0, 0, 1, 0, 0, 0, 0]).unwrap();
    let name = crate::resolver::name::zone_name(&keypair().public_key());
    Record::from_rdata(name, ttl, RData::A(A::new(192, 0, 2, 1))).emit(&mut encoder).unwrap();
    SignedPacket::sign(&keypair(), timestamp, &dns).unwrap()
}

fn finds(packet: SignedPacket) -> Script {
    Script { packets: vec![(Duration::from_millis(50), packet)], took: Duration::from_secs(2), end: ANSWERED }
}

fn ends(end: Result<Evidence, NetworkError>) -> Script {
    Script { packets: Vec::new(), took: Duration::from_secs(2), end }
}

fn packets(scripts: impl IntoIterator<Item = Script>) -> (Packets, Arc<Scripted>) {
    let network =
        Arc::new(Scripted { scripts: Mutex::new(scripts.into_iter().collect()), ..Default::default() });
    let settings = config::Cache { ttl_seconds: 100, max_stale_seconds: 1000, ..Default::default() };
    (Packets::new(&settings, network.clone()), network)
}

async fn get(packets: &Packets) -> Result<PacketAnswer, FetchError> {
    packets.get(&keypair().public_key(), CLIENT, || true).await
}

async fn timestamp(packets: &Packets) -> u64 {
    match get(packets).await {
        Ok(PacketAnswer::Found(found)) => found.packet.timestamp(),
        other => panic!("{other:?}"),
    }
}

fn searches(network: &Scripted) -> usize {
    network.searches.load(Ordering::SeqCst)
}

#[tokio::test(start_paused = true)]
async fn the_first_packet_answers_and_the_newest_of_the_search_stays() {
    let later = (Duration::from_secs(1), packet(2, 300));
    let (packets, network) = packets([Script {
        packets: vec![finds(packet(1, 300)).packets.remove(0), later],
        ..finds(packet(1, 300))
    }]);
    let started = Instant::now();
    assert_eq!(timestamp(&packets).await, 1);
    assert!(started.elapsed() < Duration::from_millis(100));
    sleep(Duration::from_secs(3)).await;
    assert_eq!(timestamp(&packets).await, 2);
    assert_eq!(searches(&network), 1);
}

#[tokio::test(start_paused = true)]
async fn an_older_packet_never_replaces_a_newer_one() {
    let (packets, _) = packets([finds(packet(5, 0)), finds(packet(4, 0))]);
    assert_eq!(timestamp(&packets).await, 5);
    sleep(Duration::from_secs(103)).await;
    assert_eq!(timestamp(&packets).await, 5);
    sleep(Duration::from_secs(3)).await;
    assert_eq!(timestamp(&packets).await, 5);
}

#[tokio::test(start_paused = true)]
async fn an_older_packet_is_not_believed_after_a_newer_one_was_dropped_for_its_age() {
    let newer = (Duration::from_secs(1), packet(5, 0));
    let both = Script { packets: vec![finds(packet(4, 0)).packets.remove(0), newer], ..finds(packet(4, 0)) };
    let (packets, _) = packets([finds(packet(5, 0)), ends(ANSWERED), finds(packet(4, 0)), both]);
    assert_eq!(timestamp(&packets).await, 5);
    sleep(Duration::from_secs(1200)).await;
    assert!(matches!(get(&packets).await, Ok(PacketAnswer::Absent(_))));
    assert!(packets.is_empty());
    sleep(Duration::from_secs(61)).await;
    assert!(matches!(get(&packets).await, Ok(PacketAnswer::Absent(_))), "only an older one was found");
    sleep(Duration::from_secs(61)).await;
    assert_eq!(timestamp(&packets).await, 5, "the search goes on behind the older one");
}

#[tokio::test(start_paused = true)]
async fn an_older_packet_is_not_believed_after_a_newer_one_was_pushed_out() {
    let other = SignedPacket::sign(&Keypair::from_secret_key(&[4; 32]), 1, packet(1, 300).dns()).unwrap();
    let other_key = other.key().clone();
    let scripts = [finds(packet(5, 300)), finds(other), finds(packet(4, 300)), finds(packet(6, 300))];
    let network = Scripted { scripts: Mutex::new(scripts.into()), ..Default::default() };
    let settings = config::Cache { max_entries: 1, ..Default::default() };
    let packets = Packets::new(&settings, Arc::new(network));
    assert_eq!(timestamp(&packets).await, 5);
    assert!(matches!(packets.get(&other_key, CLIENT, || true).await, Ok(PacketAnswer::Found(_))));
    sleep(Duration::from_secs(3)).await;
    assert!(matches!(get(&packets).await, Ok(PacketAnswer::Absent(_))));
    sleep(Duration::from_secs(61)).await;
    assert_eq!(timestamp(&packets).await, 6);
}

#[tokio::test(start_paused = true)]
async fn who_waited_for_a_packet_gets_it_even_if_it_is_pushed_out_at_that_moment() {
    let owners = [3, 4, 5].map(|seed| Keypair::from_secret_key(&[seed; 32]));
    let dns = packet(1, 300).dns().to_vec();
    let scripts = owners.iter().map(|owner| finds(SignedPacket::sign(owner, 1, &dns).unwrap()));
    let network = Scripted { scripts: Mutex::new(scripts.collect()), ..Default::default() };
    let settings = config::Cache { max_entries: 1, ..Default::default() };
    let packets = Packets::new(&settings, Arc::new(network));
    let asking = owners.iter().map(|owner| {
        let (packets, key) = (packets.clone(), owner.public_key());
        tokio::spawn(async move { packets.get(&key, CLIENT, || true).await })
    });
    for (owner, answer) in owners.iter().zip(join_all(asking).await) {
        let Ok(PacketAnswer::Found(found)) = answer.unwrap() else { panic!("no packet") };
        assert_eq!(*found.packet.key(), owner.public_key());
    }
    assert_eq!(packets.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn without_a_least_age_a_packet_is_asked_for_each_time_and_is_not_stale() {
    let scripts = [finds(packet(1, 0)), finds(packet(2, 0)), finds(packet(3, 0))];
    let network = Scripted { scripts: Mutex::new(scripts.into()), ..Default::default() };
    let settings = config::Cache { ttl_seconds: 0, ..Default::default() };
    let packets = Packets::new(&settings, Arc::new(network));
    for expected in [1, 2, 3] {
        let newest = packets.newest(&keypair().public_key(), CLIENT).await;
        let Ok(PacketAnswer::Found(found)) = newest else { panic!("no packet") };
        assert_eq!((found.packet.timestamp(), found.stale), (expected, None));
    }
}

#[tokio::test(start_paused = true)]
async fn a_packet_is_asked_for_again_after_its_smallest_ttl_within_the_bounds() {
    for (ttl, fresh) in [(1, 100), (300, 300), (1_000_000, 86_400)] {
        let (packets, network) = packets([finds(packet(1, ttl)), finds(packet(2, ttl))]);
        assert_eq!(timestamp(&packets).await, 1);
        sleep(Duration::from_secs(3)).await;
        // Shortly before the last tenth nothing is asked.
        advance(Duration::from_secs(fresh * 9 / 10 - 5)).await;
        assert_eq!(timestamp(&packets).await, 1);
        sleep(Duration::from_millis(10)).await;
        assert_eq!(searches(&network), 1, "ttl {ttl}");
        advance(Duration::from_secs(fresh / 10 + 10)).await;
        assert_eq!(timestamp(&packets).await, 2, "ttl {ttl}");
    }
}

#[tokio::test(start_paused = true)]
async fn in_the_last_tenth_the_next_packet_is_fetched_while_the_old_one_is_served() {
    let (packets, network) = packets([finds(packet(1, 100)), finds(packet(2, 100))]);
    timestamp(&packets).await;
    sleep(Duration::from_secs(2 + 95)).await;
    let started = Instant::now();
    assert_eq!(timestamp(&packets).await, 1);
    assert!(started.elapsed().is_zero());
    sleep(Duration::from_secs(1)).await;
    assert_eq!(timestamp(&packets).await, 2);
    assert_eq!(searches(&network), 2);
}

#[tokio::test(start_paused = true)]
async fn different_keys_are_searched_at_the_same_time() {
    // One lookup at a time.
    let (packets, _) = packets(vec![ends(ANSWERED); 50]);
    let started = Instant::now();
    let tasks: Vec<_> = (0..50u8)
        .map(|seed| {
            let (packets, key) = (packets.clone(), Keypair::from_secret_key(&[seed; 32]).public_key());
            tokio::spawn(async move { packets.get(&key, CLIENT, || true).await })
        })
        .collect();
    for task in tasks {
        assert!(matches!(task.await.unwrap(), Ok(PacketAnswer::Absent(_))));
    }
    assert!(started.elapsed() < Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn one_search_serves_all_who_ask_and_only_its_starter_pays() {
    let (packets, network) = packets([finds(packet(1, 300))]);
    let paid = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let (packets, paid) = (packets.clone(), paid.clone());
            tokio::spawn(async move {
                let pay = || paid.fetch_add(1, Ordering::SeqCst) == 0;
                packets.get(&keypair().public_key(), CLIENT, pay).await
            })
        })
        .collect();
    for task in tasks {
        assert!(matches!(task.await.unwrap(), Ok(PacketAnswer::Found(_))));
    }
    assert_eq!((searches(&network), paid.load(Ordering::SeqCst)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn who_may_not_start_a_search_is_told_so_and_nothing_is_asked() {
    let (packets, network) = packets([]);
    let refused = packets.get(&keypair().public_key(), CLIENT, || false).await;
    assert_eq!(refused, Err(FetchError::Refused));
    assert_eq!(searches(&network), 0);
}

#[tokio::test(start_paused = true)]
async fn absence_is_remembered_for_a_while() {
    // Absence had no time of its own.
    let (packets, network) = packets([ends(ANSWERED), finds(packet(1, 300))]);
    assert!(matches!(get(&packets).await, Ok(PacketAnswer::Absent(_))));
    assert!(matches!(get(&packets).await, Ok(PacketAnswer::Absent(_))));
    assert_eq!(searches(&network), 1);
    sleep(Duration::from_secs(61)).await;
    assert_eq!(timestamp(&packets).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_network_that_cannot_be_asked_is_not_absence() {
    // An outage of the DHT became NXDOMAIN.
    let silent = Ok(Evidence { queried: 20, responded: 0, held: 0 });
    for end in [Err(NetworkError::Unreachable), silent] {
        let (packets, network) = packets([ends(end), finds(packet(1, 300))]);
        let unreachable = Err(FetchError::Network(NetworkError::Unreachable));
        assert_eq!(get(&packets).await, unreachable);
        // Remembered for a moment (RFC 9520), then tried again.
        assert_eq!(get(&packets).await, unreachable);
        assert_eq!(searches(&network), 1);
        sleep(Duration::from_secs(3)).await;
        assert_eq!(timestamp(&packets).await, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stale_packet_is_served_within_bounds_and_the_network_is_left_alone_in_between() {
    // After a failed refresh every query went to the DHT, with no end to staleness.
    let failure = || ends(Err(NetworkError::Unreachable));
    let (packets, network) = packets([finds(packet(1, 0)), failure(), failure(), failure(), failure()]);
    timestamp(&packets).await;
    sleep(Duration::from_secs(110)).await;
    let Ok(PacketAnswer::Found(found)) = get(&packets).await else { panic!("no packet") };
    assert_eq!(found.stale, Some(Staleness::Searching));
    sleep(Duration::from_secs(1)).await;
    for _ in 0..10 {
        let Ok(PacketAnswer::Found(found)) = get(&packets).await else { panic!("no packet") };
        assert_eq!(found.stale, Some(Staleness::Unreachable(NetworkError::Unreachable)));
        assert!(found.fresh_for <= Duration::from_secs(60));
    }
    assert_eq!(searches(&network), 2);
    sleep(Duration::from_secs(31)).await;
    assert!(matches!(get(&packets).await, Ok(PacketAnswer::Found(_))));
    assert_eq!(searches(&network), 3);
    sleep(Duration::from_secs(1000)).await;
    assert_eq!(get(&packets).await, Err(FetchError::Network(NetworkError::Unreachable)));
    assert!(packets.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_key_that_the_network_forgot_is_served_for_a_while_and_then_absent() {
    let (packets, _) = packets([finds(packet(1, 0)), ends(ANSWERED), ends(ANSWERED)]);
    timestamp(&packets).await;
    sleep(Duration::from_secs(110)).await;
    assert!(matches!(get(&packets).await, Ok(PacketAnswer::Found(_))));
    sleep(Duration::from_secs(1)).await;
    let Ok(PacketAnswer::Found(found)) = get(&packets).await else { panic!("no packet") };
    assert_eq!(found.stale, Some(Staleness::Forgotten));
    sleep(Duration::from_secs(1000)).await;
    assert!(matches!(get(&packets).await, Ok(PacketAnswer::Absent(_))));
}

#[tokio::test(start_paused = true)]
async fn a_search_goes_on_when_the_client_leaves() {
    let (packets, network) = packets([finds(packet(1, 300))]);
    let impatient = timeout(Duration::from_millis(10), get(&packets)).await;
    assert!(impatient.is_err());
    sleep(Duration::from_millis(100)).await;
    assert!(matches!(packets.held(&keypair().public_key()).await, Some(PacketAnswer::Found(_))));
    assert_eq!(searches(&network), 1);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_made_up_keys_pushes_out_no_packet() {
    let network = Scripted {
        scripts: Mutex::new([finds(packet(1, 300))].into_iter().chain(vec![ends(ANSWERED); 100]).collect()),
        ..Default::default()
    };
    let settings = config::Cache { max_entries: 10, ..Default::default() };
    let packets = Packets::new(&settings, Arc::new(network));
    timestamp(&packets).await;
    for seed in 0..100u8 {
        let key = Keypair::from_secret_key(&[seed + 100; 32]).public_key();
        let _ = packets.get(&key, CLIENT, || true).await;
    }
    assert!(matches!(packets.held(&keypair().public_key()).await, Some(PacketAnswer::Found(_))));
}

#[tokio::test(start_paused = true)]
async fn many_who_ask_in_the_last_tenth_cost_one_task() {
    let (packets, network) = packets([finds(packet(1, 100)), finds(packet(2, 100))]);
    timestamp(&packets).await;
    sleep(Duration::from_secs(2 + 95)).await;
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    for _ in 0..1000 {
        timestamp(&packets).await;
    }
    let added = tokio::runtime::Handle::current().metrics().num_alive_tasks() - tasks;
    assert!(added < 10, "{added} tasks");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(timestamp(&packets).await, 2);
    assert_eq!(searches(&network), 2);
}
