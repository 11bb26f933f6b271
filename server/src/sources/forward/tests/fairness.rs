//! Who gets a turn when more is asked than may be under way, and what is held against an upstream meanwhile. In paused
//! time, without sockets: names of several kinds, by their first letters.

use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicUsize, Ordering},
};

use futures_util::{FutureExt, future::BoxFuture};
use tokio::task::{JoinHandle, yield_now};

use super::*;
use crate::sources::forward::{
    testing::Script,
    upstream::Standing,
    upstreams::{MAX_QUEUED, MAX_SOCKETS},
};

/// What a question to the upstream takes whose answer it knows.
const ROUND_TRIP: Duration = Duration::from_millis(30);

/// The same for a name that begins with `late`.
const LATE: Duration = Duration::from_secs(1);

const GREEDY: Asker = client(1);
const MODEST: Asker = client(99);

const fn client(last: u8) -> Asker {
    Asker::Client { address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)), is_proven: true }
}

struct World {
    forwarder: Arc<Forwarder>,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    names: Mutex<Vec<String>>,
    under_way: AtomicUsize,
    most: AtomicUsize,
}

/// One that is under way at the upstream.
struct UnderWay(Arc<Seen>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

impl World {
    /// An upstream that says nothing to names that begin with `slow`, and all else after a round trip.
    fn new() -> Self {
        Self::with(|name| name.starts_with("slow"))
    }

    fn with(is_silent: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        let seen = Arc::new(Seen::default());
        let script = {
            let seen = seen.clone();
            Script::new(move |question| -> BoxFuture<'static, _> {
                let name = question.name().to_ascii();
                let under_way = UnderWay(seen.clone());
                let now = seen.under_way.fetch_add(1, Ordering::Relaxed) + 1;
                seen.most.fetch_max(now, Ordering::Relaxed);
                let (is_silent, is_late) = (is_silent(&name), name.starts_with("late"));
                seen.names.lock().unwrap().push(name);
                async move {
                    let _under_way = under_way;
                    if is_silent {
                        std::future::pending::<()>().await;
                    }
                    sleep(if is_late { LATE } else { ROUND_TRIP }).await;
                    Ok(Message {
                        id: 0,
                        truncated: false,
                        authentic_data: false,
                        code: ResponseCode::NoError,
                        answers: vec![record("fast.example.", a(1))],
                        authorities: Vec::new(),
                        additionals: Vec::new(),
                        extended_error: None,
                    })
                }
                .boxed()
            })
        };
        let upstream = SocketAddr::from(([192, 0, 2, 53], 53)).into();
        Self { forwarder: Arc::new(Forwarder::scripted(vec![upstream], script)), seen }
    }

    fn ask(&self, asker: Asker, name: &str) -> JoinHandle<(Result<Arc<Message>, ForwardError>, Duration)> {
        let (forwarder, question) = (self.forwarder.clone(), question(name, RecordType::A));
        tokio::spawn(async move {
            let asked = Instant::now();
            let answer = forwarder.ask(asker, &question, false, false).await;
            (answer, asked.elapsed())
        })
    }

    /// Asks for `count` slow names, and returns when they are under way, wait, or were turned away.
    async fn flood(&self, asker: Asker, count: usize) {
        let Asker::Client { address, .. } = asker else { panic!("a client floods") };
        for number in 0..count {
            self.ask(asker, &format!("slow-{number}.{}.example.", address.to_string().replace('.', "-")));
        }
        // Each lets all others run.
        for _ in 0..200 {
            yield_now().await;
        }
    }

    fn asked(&self, name: &str) -> usize {
        self.seen.names.lock().unwrap().iter().filter(|asked| *asked == name).count()
    }

    fn standing(&self) -> Standing {
        upstream::in_order(&self.forwarder.asked.load().upstreams.list, Instant::now())[0].standing
    }
}

#[tokio::test(start_paused = true)]
async fn forged_questions_in_the_name_of_a_client_neither_delay_nor_fail_its_own() {
    let world = World::new();
    let Asker::Client { address, .. } = GREEDY else { panic!("it is a client") };
    world.flood(Asker::Client { address, is_proven: false }, 5000).await;
    for number in 0..50 {
        let (answer, took) = world.ask(GREEDY, &format!("fast-{number}.example.")).await.unwrap();
        assert!(answer.is_ok(), "{number}: {answer:?}");
        assert_eq!(took, ROUND_TRIP, "{number}");
    }
}

#[tokio::test(start_paused = true)]
async fn slow_names_of_one_client_neither_delay_nor_fail_the_names_of_another() {
    let world = World::new();
    let (mut modest, mut greedy) = (Vec::new(), Vec::new());
    for tenth in 0..100 {
        let slow = (0..90).map(|number| world.ask(GREEDY, &format!("slow-{tenth}-{number}.example.")));
        greedy.extend(slow);
        modest.push(world.ask(MODEST, &format!("fast-{tenth}.example.")));
        sleep(Duration::from_millis(100)).await;
        assert_eq!(
            world.standing(),
            Standing::Usual,
            "the upstream is held for what others are silent about"
        );
    }
    for (answer, took) in join_all(modest).await.into_iter().map(Result::unwrap) {
        assert!(answer.is_ok() && took <= ROUND_TRIP, "{answer:?} after {took:?}");
    }
    let busy = |(answer, _): (Result<_, _>, _)| answer.err() == Some(ForwardError::Busy);
    let hears_of_it = join_all(greedy).await.into_iter().map(Result::unwrap).any(busy);
    assert!(hears_of_it, "whoever asks for more than its share is told so");
}

#[tokio::test(start_paused = true)]
async fn with_thousands_of_questions_of_five_clients_under_way_a_sixth_is_served() {
    let world = World::new();
    for greedy in 1..=5 {
        world.flood(client(greedy), 800).await;
    }
    let modest: Vec<_> =
        (0..20).map(|number| world.ask(MODEST, &format!("fast-{number}.example."))).collect();
    for (answer, took) in join_all(modest).await.into_iter().map(Result::unwrap) {
        assert!(answer.is_ok() && took <= ROUND_TRIP, "{answer:?} after {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn when_everything_is_full_the_longest_line_gives_way() {
    let world = World::new();
    for greedy in 1..=50 {
        world.flood(client(greedy), 200).await;
    }
    world.flood(GREEDY, 200).await;
    let asked = world.forwarder.asked.load_full();
    let places = &asked.upstreams.places;
    assert_eq!((places.in_flight(), places.queued()), (MAX_SOCKETS / 3, MAX_QUEUED));
    let (answer, took) = world.ask(MODEST, "fast.example.").await.unwrap();
    assert!(answer.is_ok() && took <= ROUND_TRIP, "{answer:?} after {took:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_is_bounded_whoever_asks() {
    let world = World::new();
    for greedy in 1..=20 {
        for number in 0..500 {
            world.ask(client(greedy), &format!("slow-{number}.{greedy}.example."));
        }
    }
    sleep(DEADLINE * 3).await;
    let asked = world.forwarder.asked.load_full();
    let (most, places) = (world.seen.most.load(Ordering::Relaxed), &asked.upstreams.places);
    assert!((MAX_SOCKETS / 2..=MAX_SOCKETS + places::OWN.in_flight).contains(&most), "{most}");
    assert_eq!((places.in_flight(), places.queued(), asked.flights.under_way()), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn who_gets_no_turn_hears_of_it_within_the_time_of_a_question() {
    let world = World::new();
    world.flood(GREEDY, 2000).await;
    let (answer, took) = world.ask(GREEDY, "fast.example.").await.unwrap();
    assert_eq!(answer.err(), Some(ForwardError::Busy));
    assert!(took <= DEADLINE, "{took:?}");
    assert_eq!(world.asked("fast.example."), 0);
}

#[tokio::test(start_paused = true)]
async fn who_joins_a_question_waits_no_longer_than_for_its_own_turn() {
    let world = World::new();
    world.flood(GREEDY, 2000).await;
    let queued = world.forwarder.asked.load().upstreams.places.queued();
    let greedy = world.ask(GREEDY, "fast.example.");
    while world.forwarder.asked.load().upstreams.places.queued() == queued {
        yield_now().await;
    }
    let (answer, took) = world.ask(MODEST, "fast.example.").await.unwrap();
    assert!(answer.is_ok() && took <= ROUND_TRIP, "{answer:?} after {took:?}");
    assert!(greedy.await.unwrap().0.is_ok(), "whoever asked first gets the answer too");
    assert_eq!(world.asked("fast.example."), 1);
    assert_eq!(world.forwarder.asked.load().upstreams.places.queued(), queued, "and leaves its line");
}

#[tokio::test(start_paused = true)]
async fn who_joined_a_question_that_gave_up_its_place_gets_a_turn_of_its_own() {
    let world = World::new();
    let greedy = world.ask(GREEDY, "late.example.");
    yield_now().await;
    let modest = world.ask(MODEST, "late.example.");
    world.flood(GREEDY, 2000).await;
    assert_eq!(world.asked("late.example."), 1);
    for other in 2..=20 {
        world.flood(client(other), 200).await;
    }
    assert_eq!(greedy.await.unwrap().0.err(), Some(ForwardError::Busy), "the oldest of whoever has the most");
    assert!(modest.await.unwrap().0.is_ok());
    assert_eq!(world.asked("late.example."), 2);
    assert_eq!(world.standing(), Standing::Usual);
}

#[tokio::test(start_paused = true)]
async fn questions_of_our_own_pass_a_full_queue() {
    let world = World::new();
    for greedy in 1..=50 {
        world.flood(client(greedy), 200).await;
    }
    let asked = Instant::now();
    assert_eq!(
        world.forwarder.lookup_host("fast.example").await.len(),
        2,
        "one for each type that is asked for"
    );
    assert!(asked.elapsed() <= ROUND_TRIP);
    world.forwarder.asked.load_full().upstreams.look_for_loops().await;
    assert!(asked.elapsed() <= 2 * ROUND_TRIP);
}

#[tokio::test(start_paused = true)]
async fn silent_names_alone_put_no_upstream_on_hold_and_are_asked_for_again() {
    let world = World::new();
    for number in 0..20 {
        let name = format!("slow-{number}.example.");
        assert_eq!(world.ask(GREEDY, &name).await.unwrap().0.err(), Some(ForwardError::NoAnswer));
        assert_eq!(world.standing(), Standing::Usual);
        assert_eq!(world.asked(&name), 3, "a lost datagram costs no answer");
    }
    assert!(world.asked(".") > 0, "it was asked whether it is there");
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_is_silent_about_everything_goes_on_hold() {
    let world = World::with(|_| true);
    let asking: Vec<_> = (0..3).map(|number| world.ask(GREEDY, &format!("{number}.example."))).collect();
    sleep(Duration::from_millis(1300)).await;
    assert_eq!(world.standing(), Standing::Held);
    assert!(join_all(asking).await.into_iter().all(|asking| asking.unwrap().0.is_err()));
    assert!(world.asked(".") <= 4, "once at a time");
}
