use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicUsize, Ordering},
};

use futures_util::future::join_all;
use hickory_proto::{op::ResponseCode, rr::DNSClass};
use tokio::{
    task::{JoinHandle, yield_now},
    time::{advance, sleep, sleep_until},
};

use super::*;

const GREEDY: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const MODEST: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));

const FLAGS: Flags = Flags { recursion_desired: false, dnssec_ok: false, checking_disabled: false };

/// Of all servers those below 10.0.0.0/8 are silent, but for names that begin with `known`; those below 172.0.0.0/8 fail
/// for a reason of ours, and all others answer after 200 ms.
#[derive(Default)]
struct World {
    /// What was asked, and for how long at most.
    asked: Mutex<Vec<(SocketAddr, Name, Duration)>>,
    finds_out: Mutex<Vec<bool>>,
    under_way: AtomicUsize,
}

impl Exchange for Arc<World> {
    async fn exchange(
        &self,
        server: SocketAddr,
        question: &Question,
        _: Flags,
        finds_out: bool,
        deadline: Instant,
    ) -> Result<Message, ExchangeError> {
        self.finds_out.lock().unwrap().push(finds_out);
        let patience = deadline.saturating_duration_since(Instant::now());
        self.asked.lock().unwrap().push((server, question.name(), patience));
        let IpAddr::V4(address) = server.ip() else { return Err(ExchangeError::Malformed) };
        self.under_way.fetch_add(1, Ordering::SeqCst);
        let is_known = question.name().to_string().starts_with("known");
        let answered = match address.octets()[0] {
            10 if !is_known => {
                sleep_until(deadline).await;
                Err(ExchangeError::Silent)
            }
            172 => Err(ExchangeError::Local(std::io::ErrorKind::Other)),
            _ => {
                sleep(Duration::from_millis(200)).await;
                Ok(message())
            }
        };
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        answered
    }
}

fn message() -> Message {
    Message {
        id: 0,
        truncated: false,
        authentic_data: false,
        code: ResponseCode::NoError,
        answers: Vec::new(),
        authorities: Vec::new(),
        additionals: Vec::new(),
        extended_error: None,
    }
}

struct Stage {
    servers: Arc<NameServers<Arc<World>>>,
    world: Arc<World>,
}

type Asking = JoinHandle<Answered>;

impl Stage {
    fn set() -> Self {
        let world = Arc::new(World::default());
        Self { servers: Arc::new(NameServers::asked_by(world.clone())), world }
    }

    fn ask(&self, client: IpAddr, zone: usize, server: [u8; 4], label: &str) -> Asking {
        let (servers, zone) = (self.servers.clone(), name(&format!("zone{zone}.")));
        let question = Question::new(&name(&format!("{label}.{zone}")), RecordType::A, DNSClass::IN).unwrap();
        let server = SocketAddr::from((server, 53));
        tokio::spawn(async move { servers.ask(&zone, server, &question, FLAGS, client, true).await })
    }

    /// So many different questions of one client to silent servers, in as many zones.
    fn flood(&self, client: IpAddr, count: usize, zones: usize) -> Vec<Asking> {
        let ask = |number: usize| {
            let server = [10, 0, (number % zones) as u8, 1];
            self.ask(client, number % zones, server, &format!("flood{number}"))
        };
        (0..count).map(ask).collect()
    }

    fn asked(&self) -> Vec<Name> {
        self.world.asked.lock().unwrap().iter().map(|(_, name, _)| name.clone()).collect()
    }

    fn times_asked(&self, label: &str) -> usize {
        self.asked().iter().filter(|name| name.to_string().starts_with(label)).count()
    }

    fn under_way(&self) -> usize {
        self.world.under_way.load(Ordering::SeqCst)
    }

    fn queued(&self) -> usize {
        self.servers.0.questions.queued()
    }
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

/// Lets the others run. No time passes meanwhile.
async fn settle() {
    for _ in 0..20_000 {
        yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn equal_questions_at_once_are_one_question_at_the_server() {
    let stage = Stage::set();
    let one_client = (0..200).map(|_| stage.ask(GREEDY, 0, [192, 0, 2, 53], "same"));
    let many = (0..200).map(|number| stage.ask([203, 0, number, 1].into(), 0, [192, 0, 2, 53], "SAME"));
    let answers = join_all(one_client.chain(many)).await;
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap().is_ok()));
    assert_eq!(stage.asked().len(), 1);
    // Neither another server nor another question is the same.
    stage.ask(GREEDY, 0, [192, 0, 2, 54], "same").await.unwrap().unwrap();
    stage.ask(GREEDY, 0, [192, 0, 2, 53], "other").await.unwrap().unwrap();
    assert_eq!(stage.asked().len(), 3);
}

/// One client asks 400 times a second, all within its quota, for names of a zone with four silent servers.
#[tokio::test(start_paused = true)]
async fn a_flood_of_a_zone_with_silent_servers_takes_nothing_from_the_zone_of_another_client() {
    let stage = Stage::set();
    let distant = [192, 0, 2, 53];
    let mut floods = Vec::new();
    let mut answers = 0;
    for number in 0..4000 {
        let silent = [10, 0, 0, (number % 4) as u8];
        floods.push(stage.ask(GREEDY, 1, silent, &format!("flood{number}")));
        sleep(Duration::from_micros(2500)).await;
        if number % 100 == 0 {
            let answer = stage.ask(MODEST, 2, distant, &format!("wanted{number}")).await.unwrap();
            answers += usize::from(answer.is_ok());
            assert!(!stage.servers.is_dead(distant.into()));
        }
    }
    assert_eq!(answers, 40);
    assert!(stage.servers.is_dead([10, 0, 0, 1].into()));
    join_all(floods).await;
    assert_eq!((stage.under_way(), stage.queued(), stage.servers.0.zones.lock().len()), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn one_zone_has_a_share_and_no_client_all_of_it() {
    let stage = Stage::set();
    let _flood = stage.flood(GREEDY, 1000, 1);
    settle().await;
    assert_eq!(stage.under_way(), MAX_QUESTIONS_PER_ZONE / 2);
    // The zone is open to others, and other zones to this client.
    let _other = stage.ask(MODEST, 0, [10, 0, 0, 1], "wanted");
    let _own = stage.ask(GREEDY, 1, [10, 0, 1, 1], "own");
    settle().await;
    assert_eq!((stage.times_asked("wanted"), stage.times_asked("own")), (1, 1));
    // What is too much fails at once, and is no evidence.
    let refused = stage.ask(GREEDY, 0, [10, 0, 0, 9], "refused").await.unwrap();
    assert_eq!(refused.unwrap_err(), ExchangeError::Busy);
    assert!(!stage.servers.is_dead([10, 0, 0, 9].into()));
}

#[tokio::test(start_paused = true)]
async fn whoever_floods_all_zones_delays_another_client_by_a_turn_and_is_bounded() {
    let stage = Stage::set();
    let flood = stage.flood(GREEDY, 3000, 50);
    settle().await;
    assert!(stage.under_way() <= MAX_QUESTIONS);
    assert_eq!(stage.queued(), MAX_QUEUED_PER_CLIENT);
    let _wanted = stage.ask(MODEST, 99, [192, 0, 2, 53], "wanted");
    settle().await;
    // One server gives up, and then it is the other client's turn.
    advance(SERVER_TIMEOUT).await;
    settle().await;
    let asked = stage.asked();
    let position = asked.iter().position(|name| name.to_string().starts_with("wanted")).unwrap();
    assert!(position <= MAX_QUESTIONS + 1, "{position}");
    let busy = join_all(flood).await;
    let busy = busy.into_iter().filter(|asked| matches!(asked, Ok(Err(ExchangeError::Busy)))).count();
    assert!(busy >= 3000 - MAX_QUESTIONS - MAX_QUEUED_PER_CLIENT, "{busy}");
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_what_another_client_waits_for_does_not_wait_in_its_line() {
    let stage = Stage::set();
    let _flood = stage.flood(GREEDY, 1000, 50);
    settle().await;
    let of_greedy = stage.ask(GREEDY, 99, [192, 0, 2, 53], "same");
    settle().await;
    let of_modest = stage.ask(MODEST, 99, [192, 0, 2, 53], "same");
    settle().await;
    advance(SERVER_TIMEOUT).await;
    settle().await;
    let position = stage.asked().iter().position(|name| name.to_string().starts_with("same")).unwrap();
    assert!(position <= MAX_QUESTIONS + 1, "{position}");
    assert!(of_modest.await.unwrap().is_ok());
    drop(of_greedy);
}

#[tokio::test(start_paused = true)]
async fn a_server_has_all_its_time_however_long_its_question_waited() {
    let stage = Stage::set();
    let flood = stage.flood(GREEDY, 1000, 50);
    join_all(flood).await;
    let asked = stage.world.asked.lock().unwrap();
    assert!(asked.len() > MAX_QUESTIONS);
    assert!(asked.iter().all(|(_, _, patience)| *patience == SERVER_TIMEOUT));
}

#[tokio::test(start_paused = true)]
async fn silence_about_one_name_is_no_evidence_while_others_are_answered() {
    let stage = Stage::set();
    let server = [10, 0, 0, 1];
    let odd = stage.ask(GREEDY, 0, server, "odd");
    sleep(Duration::from_millis(100)).await;
    assert!(stage.ask(MODEST, 1, server, "known").await.unwrap().is_ok());
    assert_eq!(odd.await.unwrap().unwrap_err(), ExchangeError::Silent);
    assert!(!stage.servers.is_dead(server.into()));
    // An answer from before the question says nothing of now.
    let _ = stage.ask(GREEDY, 0, server, "odd").await;
    assert!(stage.servers.is_dead(server.into()));
    assert!(stage.ask(MODEST, 1, server, "known").await.unwrap().is_ok());
    assert!(!stage.servers.is_dead(server.into()));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_silent_is_found_out_once_while_it_is_left_alone() {
    let stage = Stage::set();
    for number in 0..3 {
        stage.ask(MODEST, 0, [10, 0, 0, 1], &format!("x{number}")).await.unwrap().unwrap_err();
    }
    advance(DEAD_FOR).await;
    stage.ask(MODEST, 0, [10, 0, 0, 1], "y").await.unwrap().unwrap_err();
    assert_eq!(*stage.world.finds_out.lock().unwrap(), [true, false, false, true]);
}

#[tokio::test(start_paused = true)]
async fn our_own_trouble_is_not_held_against_a_server() {
    let stage = Stage::set();
    let server = [172, 0, 0, 1];
    let error = stage.ask(GREEDY, 0, server, "name").await.unwrap().unwrap_err();
    assert!(error.is_ours());
    assert!(!stage.servers.is_dead(server.into()));
}
