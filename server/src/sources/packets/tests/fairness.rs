//! Who gets a turn when more is asked than may be in flight.

use futures_util::poll;
use tokio::{
    sync::{Semaphore, mpsc},
    task::{JoinHandle, yield_now},
};

use super::*;

const GREEDY: IpAddr = CLIENT;
const MODEST: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

/// What one client may have in flight.
const ONE_CLIENTS_SHARE: usize = MAX_IN_FLIGHT / 5 * 4;

const BUSY: Result<PacketAnswer, FetchError> = Err(FetchError::Network(NetworkError::Busy));

/// A network in which each lookup goes on until the test ends one.
struct Blocking {
    ends: Semaphore,
    asked: Mutex<Vec<PublicKey>>,
}

#[async_trait]
impl Network for Blocking {
    async fn lookup(
        &self,
        key: &PublicKey,
        _: mpsc::UnboundedSender<SignedPacket>,
    ) -> Result<Evidence, NetworkError> {
        self.asked.lock().unwrap().push(key.clone());
        self.ends.acquire().await.unwrap().forget();
        ANSWERED
    }
}

type Asking = JoinHandle<Result<PacketAnswer, FetchError>>;

struct Flooded {
    packets: Packets,
    network: Arc<Blocking>,
    flood: Vec<Asking>,
}

impl Flooded {
    /// One client has taken all that it may have in flight, and `waiting` more of its searches wait.
    async fn with(waiting: usize) -> Self {
        let network = Arc::new(Blocking { ends: Semaphore::new(0), asked: Mutex::default() });
        let packets = Packets::new(&config::Cache::default(), network.clone());
        let mut flooded = Self { packets, network, flood: Vec::new() };
        flooded.flood =
            (0..ONE_CLIENTS_SHARE + waiting).map(|number| flooded.ask(GREEDY, &key(number))).collect();
        until(|| flooded.packets.in_flight() + flooded.packets.queued() == ONE_CLIENTS_SHARE + waiting).await;
        flooded
    }

    fn ask(&self, client: IpAddr, key: &PublicKey) -> Asking {
        let (packets, key) = (self.packets.clone(), key.clone());
        tokio::spawn(async move { packets.get(&key, client, || true).await })
    }

    /// Asks, and returns when the search waits.
    async fn ask_and_wait(&self, client: IpAddr, key: &PublicKey) -> Asking {
        let queued = self.packets.queued();
        let asking = self.ask(client, key);
        until(|| self.packets.queued() > queued).await;
        asking
    }

    /// Ends two lookups, in whose turns the search for `wanted` has to begin, and then all.
    async fn ends_before(&self, wanted: &PublicKey) {
        // Whoever has just asked has a place, or stands in line.
        for _ in 0..10 {
            yield_now().await;
        }
        let before = self.asked().len();
        self.network.ends.add_permits(2);
        until(|| self.asked().contains(wanted)).await;
        let turns = self.asked().len() - before;
        assert!(turns <= 3, "{turns} searches began before");
        self.network.ends.add_permits(2 * MAX_IN_FLIGHT);
    }

    fn asked(&self) -> Vec<PublicKey> {
        self.network.asked.lock().unwrap().clone()
    }
}

/// Lets the others run until `condition` holds. No time passes meanwhile, so that no deadline ends what waits.
async fn until(condition: impl Fn() -> bool) {
    for _ in 0..100_000 {
        if condition() {
            return;
        }
        yield_now().await;
    }
    panic!("this never comes true");
}

fn key(number: usize) -> PublicKey {
    let mut secret = [7; 32];
    secret[..8].copy_from_slice(&number.to_le_bytes());
    Keypair::from_secret_key(&secret).public_key()
}

#[tokio::test(start_paused = true)]
async fn a_thousand_questions_of_one_client_at_once_do_not_wait() {
    let network = Arc::new(Blocking { ends: Semaphore::new(0), asked: Mutex::default() });
    let packets = Packets::new(&config::Cache::default(), network.clone());
    for number in 0..1000 {
        let packets = packets.clone();
        tokio::spawn(async move { packets.get(&key(number), GREEDY, || true).await });
    }
    until(|| packets.in_flight() + packets.queued() == 1000).await;
    assert_eq!(packets.queued(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_flood_by_one_client_does_not_delay_the_search_of_another() {
    let flooded = Flooded::with(MAX_QUEUED_PER_CLIENT).await;
    let wanted = key(1_000_000);
    until(|| flooded.asked().len() == ONE_CLIENTS_SHARE).await;
    let modest = flooded.ask(MODEST, &wanted);
    until(|| flooded.asked().last() == Some(&wanted)).await;
    flooded.network.ends.add_permits(ONE_CLIENTS_SHARE + 1);
    assert!(matches!(modest.await.unwrap(), Ok(PacketAnswer::Absent(_))));
}

#[tokio::test(start_paused = true)]
async fn a_client_with_a_full_line_is_turned_away_at_once_and_another_is_not() {
    let flooded = Flooded::with(MAX_QUEUED_PER_CLIENT).await;
    let started = Instant::now();
    assert_eq!(flooded.ask(GREEDY, &key(1_000_000)).await.unwrap(), BUSY);
    assert!(started.elapsed().is_zero());
    let modest = flooded.ask(MODEST, &key(1_000_001));
    until(|| flooded.asked().len() > ONE_CLIENTS_SHARE).await;
    assert!(!modest.is_finished());
    assert_eq!(flooded.packets.queued(), MAX_QUEUED_PER_CLIENT);
    assert_eq!(flooded.asked().len(), ONE_CLIENTS_SHARE + 1, "no more of one client in flight");
}

#[tokio::test(start_paused = true)]
async fn a_search_that_gets_no_turn_in_time_is_forgotten_at_once() {
    let flooded = Flooded::with(0).await;
    let wanted = key(1_000_000);
    let started = Instant::now();
    assert_eq!(flooded.ask(GREEDY, &wanted).await.unwrap(), BUSY);
    assert_eq!(started.elapsed().as_secs(), LONGEST_QUEUEING.as_secs());
    assert_eq!(flooded.packets.queued(), 0);
    // What failed was the moment, not the key.
    flooded.network.ends.add_permits(ONE_CLIENTS_SHARE + 1);
    let answer = flooded.ask(GREEDY, &wanted).await.unwrap();
    assert!(matches!(answer, Ok(PacketAnswer::Absent(_))), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_what_another_client_waits_for_does_not_wait_in_its_line() {
    let flooded = Flooded::with(MAX_QUEUED_PER_CLIENT - 1).await;
    let wanted = key(1_000_000);
    let greedy = flooded.ask_and_wait(GREEDY, &wanted).await;
    let modest = flooded.ask(MODEST, &wanted);
    flooded.ends_before(&wanted).await;
    assert!(matches!(modest.await.unwrap(), Ok(PacketAnswer::Absent(_))));
    assert!(matches!(greedy.await.unwrap(), Ok(PacketAnswer::Absent(_))));
}

#[tokio::test(start_paused = true)]
async fn who_wants_the_newest_of_what_another_client_waits_for_does_not_wait_in_its_line() {
    let flooded = Flooded::with(MAX_QUEUED_PER_CLIENT - 1).await;
    let wanted = key(1_000_000);
    let newest = |client| {
        let (packets, wanted) = (flooded.packets.clone(), wanted.clone());
        tokio::spawn(async move { packets.newest(&wanted, client).await })
    };
    let greedy = newest(GREEDY);
    until(|| flooded.packets.queued() == MAX_QUEUED_PER_CLIENT).await;
    let modest = newest(MODEST);
    flooded.ends_before(&wanted).await;
    assert!(modest.await.unwrap().is_ok() && greedy.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_question_whose_client_left_keeps_its_turn_and_all_places_come_back() {
    let flooded = Flooded::with(10).await;
    flooded.flood.iter().for_each(JoinHandle::abort);
    flooded.network.ends.add_permits(ONE_CLIENTS_SHARE + 10);
    until(|| flooded.packets.in_flight() == 0).await;
    assert_eq!(flooded.asked().len(), ONE_CLIENTS_SHARE + 10);
    assert_eq!(flooded.packets.queued(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_lookup_keeps_its_place_while_it_goes_on_in_the_background() {
    let (packets, _) = packets([finds(packet(1, 300))]);
    timestamp(&packets).await;
    assert_eq!(packets.in_flight(), 1);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(packets.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_busy_network_is_asked_again_by_the_next_who_asks() {
    let busy = || ends(Err(NetworkError::Busy));
    let (packets, network) = packets([busy(), finds(packet(1, 100)), busy(), finds(packet(2, 100))]);
    assert_eq!(get(&packets).await, BUSY);
    assert_eq!(timestamp(&packets).await, 1);
    // In the last tenth: the first refresh fails, the packet stays what it is, the second succeeds.
    sleep(Duration::from_secs(2 + 91)).await;
    for _ in 0..2 {
        let Ok(PacketAnswer::Found(found)) = get(&packets).await else { panic!("no packet") };
        assert_eq!((found.packet.timestamp(), found.stale), (1, None));
        sleep(Duration::from_secs(3)).await;
    }
    assert_eq!(timestamp(&packets).await, 2);
    assert_eq!(searches(&network), 4);
}

#[tokio::test(start_paused = true)]
async fn refreshing_ahead_of_time_is_left_out_when_no_more_may_wait() {
    let (packets, network) = packets([finds(packet(1, 100))]);
    timestamp(&packets).await;
    sleep(Duration::from_secs(2 + 95)).await;
    let lookups = &packets.0.lookups;
    let _held: Vec<_> = join_all((0..ONE_CLIENTS_SHARE).map(|_| lookups.acquire(Starter::Refresh))).await;
    let mut waiting: Vec<_> =
        (0..MAX_QUEUED_PER_CLIENT).map(|_| Box::pin(lookups.acquire(Starter::Refresh))).collect();
    for waiting in &mut waiting {
        assert!(poll!(waiting).is_pending());
    }
    assert_eq!(timestamp(&packets).await, 1);
    for _ in 0..10 {
        yield_now().await;
    }
    assert_eq!((packets.queued(), searches(&network)), (MAX_QUEUED_PER_CLIENT, 1));
    assert!(
        packets.0.memory.begin_refresh(&keypair().public_key()),
        "the next who asks may begin another one"
    );
}
