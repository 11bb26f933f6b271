use std::{net::SocketAddr, sync::Mutex};

use tokio::time::{sleep, sleep_until};

use super::*;
use crate::sources::forward::{encrypted::TlsClient, upstream::in_order};

/// What an upstream does, and after how many milliseconds.
#[derive(Clone, Copy)]
enum Act {
    Answer(u64),
    Refuse(u64),
    /// Answers with this code.
    Say(ResponseCode),
    Fail(u64),
    /// Does not get as far as to be asked.
    CannotSend,
    Silence,
}
use Act::{Answer, CannotSend, Fail, Refuse, Say, Silence};

struct Scene {
    upstreams: Vec<Arc<Upstream>>,
    acts: Vec<Act>,
    start: Instant,
    /// Milliseconds since the start and index of each exchange.
    log: Mutex<Vec<(u64, usize)>>,
    /// The same for each time that an upstream is in doubt.
    doubts: Mutex<Vec<(u64, usize)>>,
    /// Milliseconds before there is a turn to ask, for all tries but the first.
    turn_after: u64,
}

impl Scene {
    fn new(acts: &[Act]) -> Self {
        let address = |index: usize| SocketAddr::from(([192, 0, 2, index as u8], 53));
        let tls = TlsClient::new(None).expect("nothing to read");
        let upstreams =
            (0..acts.len()).map(|index| Arc::new(Upstream::new(address(index).into(), &tls))).collect();
        Self {
            upstreams,
            acts: acts.to_vec(),
            start: Instant::now(),
            log: Mutex::default(),
            doubts: Mutex::default(),
            turn_after: 0,
        }
    }

    fn since_start(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    fn index(&self, upstream: &Upstream) -> usize {
        self.upstreams.iter().position(|one| std::ptr::eq(&**one, upstream)).expect("one of them")
    }

    /// Returns who answered, the milliseconds that it took, and the log.
    async fn run(&mut self) -> (Result<usize, ForwardError>, u64, Vec<(u64, usize)>) {
        self.start = Instant::now();
        let turns = in_order(&self.upstreams, self.start);
        let result = ask_in_turn(&self.upstreams, turns, self, ()).await;
        let result = result.map(|message| {
            assert!(!message.authentic_data, "these upstreams are not on this machine");
            usize::from(message.id)
        });
        let log = std::mem::take(&mut *self.log.lock().expect("no panic while held"));
        (result, self.since_start(), log)
    }
}

impl Ask for Scene {
    type Place = ();

    async fn turn(&self, _: &Upstream) -> Result<(), ExchangeError> {
        sleep(Duration::from_millis(self.turn_after)).await;
        Ok(())
    }

    async fn exchange(
        &self,
        upstream: &Upstream,
        (): (),
        deadline: Instant,
    ) -> Result<Message, ExchangeError> {
        let index = self.index(upstream);
        self.log.lock().expect("no panic while held").push((self.since_start(), index));
        let message = |code| Message {
            id: index as u16,
            truncated: false,
            authentic_data: true,
            code,
            answers: Vec::new(),
            authorities: Vec::new(),
            additionals: Vec::new(),
            extended_error: None,
        };
        let after = |millis| sleep(Duration::from_millis(millis));
        match self.acts[index] {
            Answer(millis) => after(millis).await,
            Refuse(millis) => {
                after(millis).await;
                return Ok(message(ResponseCode::Refused));
            }
            Say(code) => return Ok(message(code)),
            Fail(millis) => {
                after(millis).await;
                return Err(ExchangeError::Malformed);
            }
            CannotSend => return Err(ExchangeError::Local(std::io::ErrorKind::Other)),
            Silence => {
                sleep_until(deadline).await;
                return Err(ExchangeError::Silent);
            }
        }
        Ok(message(ResponseCode::NoError))
    }

    fn doubt(&self, index: usize) {
        self.doubts.lock().expect("no panic while held").push((self.since_start(), index));
    }
}

#[tokio::test(start_paused = true)]
async fn upstreams_are_asked_in_strict_order_and_the_next_only_when_needed() {
    for (acts, winner, took, log) in [
        (&[Answer(20), Answer(1)][..], Ok(0), 20, &[(0, 0)][..]),
        (&[Refuse(20), Answer(10)], Ok(1), 30, &[(0, 0), (20, 1)]),
        (&[Fail(20), Answer(10)], Ok(1), 30, &[(0, 0), (20, 1)]),
        (&[Silence, Answer(10)], Ok(1), 1210, &[(0, 0), (1200, 1)]),
        (&[Answer(1300), Answer(500)], Ok(0), 1300, &[(0, 0), (1200, 1)]),
        (&[Silence, Refuse(10), Answer(10)], Ok(2), 1220, &[(0, 0), (1200, 1), (1210, 2)]),
        (&[Fail(1250), Answer(100), Answer(1)], Ok(1), 1300, &[(0, 0), (1200, 1)]),
        (&[Refuse(10), Silence], Ok(0), 1210, &[(0, 0), (10, 1)]),
        (&[Silence, Refuse(10)], Ok(1), 1210, &[(0, 0), (1200, 1)]),
        (&[Refuse(10), Refuse(10)], Ok(1), 20, &[(0, 0), (10, 1)]),
    ] {
        assert_eq!(Scene::new(acts).run().await, (winner, took, log.to_vec()));
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_code_is_no_answer_the_next_upstream_may_have_one() {
    for number in 1..=4000 {
        let code = ResponseCode::from((number >> 4) as u8, (number & 0x0f) as u8);
        let is_answer = matches!(number, 3 | 6);
        let (winner, _, _) = Scene::new(&[Say(code), Answer(10)]).run().await;
        assert_eq!(winner, Ok(usize::from(!is_answer)), "{number}");
        assert_eq!(Scene::new(&[Say(code)]).run().await.0, Ok(0), "{number}, and there is no other");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_is_slow_about_a_name_alone_may_still_win_over_a_refusal() {
    for (acts, winner, took) in [
        ([Answer(1300), Refuse(10)], 0, 1300),
        ([Answer(2400), Refuse(10)], 0, 2400),
        // It is not waited for any longer than it was before.
        ([Answer(3500), Refuse(10)], 1, 2410),
    ] {
        let scene = Scene::new(&acts);
        let answers = async {
            sleep(Duration::from_millis(700)).await;
            scene.upstreams[0].answered(Instant::now());
        };
        let asking = ask_in_turn(&scene.upstreams, in_order(&scene.upstreams, Instant::now()), &scene, ());
        let (answer, ()) = tokio::join!(asking, answers);
        assert_eq!((answer.unwrap().id, scene.since_start()), (winner, took));
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_datagram_is_sent_again_and_an_answer_may_take_its_time() {
    let silent = || Err(ForwardError::NoAnswer);
    let alone = Scene::new(&[Silence]).run().await;
    assert_eq!(alone, (silent(), 4000, vec![(0, 0), (1200, 0), (2400, 0)]));
    let two = Scene::new(&[Silence, Silence]).run().await;
    assert_eq!(two, (silent(), 4000, vec![(0, 0), (1200, 1), (2400, 0)]));
    let late = Scene::new(&[Answer(3900)]).run().await;
    assert_eq!((late.0, late.1), (Ok(0), 3900));
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_says_why_it_cannot_answer_is_not_asked_twice() {
    let why = || Err(ForwardError::Unusable(ExchangeError::Malformed.to_string().into()));
    assert_eq!(Scene::new(&[Fail(20)]).run().await, (why(), 20, vec![(0, 0)]), "an error at once");
    assert_eq!(Scene::new(&[Fail(20), Fail(5)]).run().await, (why(), 25, vec![(0, 0), (20, 1)]));
    // The other one, whose datagram may be lost, is asked in its place.
    let silent = Scene::new(&[Fail(20), Silence]).run().await;
    assert_eq!(silent, (why(), 4000, vec![(0, 0), (20, 1), (1220, 1)]));
    // A reason that comes late is one.
    assert_eq!(Scene::new(&[Fail(1500)]).run().await.0, why());
}

#[tokio::test(start_paused = true)]
async fn no_question_waits_longer_than_a_try_where_another_upstream_is_well() {
    // However ill the first is: what the tenth question costs in milliseconds and tries, and the first.
    for (ill, first, tenth) in [
        (Silence, (1210, 2), (10, 1)),
        (Fail(20), (30, 2), (10, 1)),
        (Refuse(20), (30, 2), (30, 2)),
        (CannotSend, (10, 2), (10, 2)),
    ] {
        let mut scene = Scene::new(&[ill, Answer(10)]);
        let mut costs = Vec::new();
        for _ in 0..10 {
            let (result, took, log) = scene.run().await;
            assert_eq!(result, Ok(1));
            costs.push((took, log.len()));
        }
        assert_eq!((costs[0], costs[9]), (first, tenth));
        assert!(costs.iter().all(|(took, _)| *took < 1500), "{costs:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn many_silent_upstreams_each_get_a_turn_before_the_deadline() {
    let (result, took, log) = Scene::new(&[Silence; 8]).run().await;
    assert_eq!((result, took), (Err(ForwardError::NoAnswer), 4000));
    assert_eq!(log, (0..8).map(|index| (500 * index as u64, index)).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_question_counts_as_one_failure_however_often_it_was_sent() {
    let mut scene = Scene::new(&[Silence]);
    for _ in 0..2 {
        assert_eq!(scene.run().await.2.len(), 3, "not on hold yet");
    }
}

#[tokio::test(start_paused = true)]
async fn what_this_server_could_not_send_is_not_held_against_an_upstream() {
    let mut scene = Scene::new(&[CannotSend, Answer(10)]);
    for _ in 0..10 {
        assert_eq!(scene.run().await, (Ok(1), 10, vec![(0, 0), (0, 1)]), "still in its place");
    }
    scene.acts[1] = CannotSend;
    assert_eq!(scene.run().await.0, Err(ForwardError::Local));
}

#[tokio::test(start_paused = true)]
async fn with_all_upstreams_on_hold_a_quick_round_is_still_tried() {
    let mut scene = Scene::new(&[Silence, Silence]);
    for _ in 0..3 {
        assert_eq!(scene.run().await.1, 4000);
    }
    // Both went on hold in the third run, for a second, and the run went on after that for longer.
    let (_, took, _) = scene.run().await;
    assert_eq!(took, 4000, "this one probes");
    for upstream in &scene.upstreams {
        upstream.failed(Standing::Probe, Instant::now(), Instant::now());
    }
    let (result, took, log) = scene.run().await;
    assert_eq!((result, took), (Err(ForwardError::NoAnswer), 2000));
    assert_eq!(log, [(0, 0), (400, 1)]);
}

#[tokio::test(start_paused = true)]
async fn the_first_upstream_gets_its_place_back_when_it_answers() {
    let mut scene = Scene::new(&[Silence, Answer(10)]);
    for _ in 0..3 {
        assert_eq!(scene.run().await.0, Ok(1));
    }
    assert_eq!(scene.run().await, (Ok(1), 10, vec![(0, 1)]), "on hold");
    scene.acts[0] = Answer(5);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(scene.run().await, (Ok(0), 5, vec![(0, 0)]), "the probe");
    assert_eq!(scene.run().await, (Ok(0), 5, vec![(0, 0)]), "back in its place");
}

#[tokio::test(start_paused = true)]
async fn an_upstream_loses_no_time_while_a_question_waits_for_its_turn() {
    let mut scene = Scene { turn_after: 1000, ..Scene::new(&[Silence, Answer(1100)]) };
    assert_eq!(scene.run().await, (Ok(1), 3300, vec![(0, 0), (2200, 1)]));
    // It was asked for the last time at 2200 ms, and was silent for as long as it may be from then on.
    let mut scene = Scene { turn_after: 1000, ..Scene::new(&[Silence]) };
    assert_eq!(
        scene.run().await,
        (Err(ForwardError::Busy), 4000, vec![(0, 0), (2200, 0)]),
        "one try was left"
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_comes_through_while_the_next_try_waits_for_its_turn() {
    let mut scene = Scene { turn_after: 3000, ..Scene::new(&[Answer(1500), Silence]) };
    assert_eq!(scene.run().await, (Ok(0), 1500, vec![(0, 0)]));
}

#[tokio::test(start_paused = true)]
async fn what_got_no_turn_in_time_is_not_held_against_an_upstream() {
    let mut scene = Scene { turn_after: 5000, ..Scene::new(&[Fail(10), Answer(10)]) };
    for _ in 0..3 {
        assert_eq!(scene.run().await, (Err(ForwardError::Busy), 4000, vec![(0, 0)]));
    }
    let standings = in_order(&scene.upstreams, Instant::now()).into_iter().map(|turn| turn.standing);
    assert_eq!(standings.collect::<Vec<_>>(), [Standing::Probe, Standing::Usual], "only one has failed");
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_says_nothing_for_half_its_time_is_in_doubt() {
    let mut scene = Scene::new(&[Silence, Answer(700)]);
    assert_eq!(scene.run().await.0, Ok(1));
    assert_eq!(*scene.doubts.lock().unwrap(), [(600, 0), (1800, 1)]);
    scene.doubts.lock().unwrap().clear();
    // It answers others meanwhile.
    let answers = async {
        sleep(Duration::from_millis(500)).await;
        scene.upstreams[0].answered(Instant::now());
    };
    let asking = ask_in_turn(&scene.upstreams, in_order(&scene.upstreams, Instant::now()), &scene, ());
    let (answer, ()) = tokio::join!(asking, answers);
    assert!(answer.is_ok());
    assert!(scene.doubts.lock().unwrap().iter().all(|(_, index)| *index != 0));
}

#[tokio::test(start_paused = true)]
async fn silence_about_some_names_is_not_held_against_an_upstream_that_answers_others() {
    let scene = Scene::new(&[Silence]);
    for _ in 0..20 {
        let asking = ask_in_turn(&scene.upstreams, in_order(&scene.upstreams, Instant::now()), &scene, ());
        let others = async {
            for _ in 0..4 {
                sleep(Duration::from_millis(900)).await;
                scene.upstreams[0].answered(Instant::now());
            }
        };
        assert_eq!(tokio::join!(asking, others).0.err(), Some(ForwardError::NoAnswer));
    }
    assert_eq!(
        scene.log.lock().unwrap().len(),
        60,
        "each name is asked for three times, as a datagram may be lost"
    );
}
