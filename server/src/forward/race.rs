//! Whom to ask when: one upstream after the other, without giving up on those before.

use std::time::Duration;

use futures_util::{StreamExt, stream::FuturesUnordered};
use hickory_proto::op::ResponseCode;
use tokio::time::{Instant, timeout_at};

use super::{
    DEADLINE, ExchangeError, ForwardError,
    upstream::{Standing, Turn, Upstream},
};
use crate::message::Message;

/// After this much silence the next upstream is asked, or the same one again.
const PATIENCE: Duration = Duration::from_millis(1200);

/// The same for an upstream that has not answered of late: then a quick failure is better than a slow one.
const LITTLE_PATIENCE: Duration = Duration::from_millis(400);

/// Datagrams sent for one question where there are fewer upstreams than this.
const MIN_TRIES: usize = 3;

/// Asks the upstreams in the order of `turns` with `exchange`, which gets the time at which to give up. One that was
/// silent may still win while the next one is asked: a cold name takes a resolver long, and asking again would take
/// it as long again.
pub(super) async fn ask_in_turn<'a, E, A>(
    upstreams: &'a [Upstream],
    turns: Vec<Turn>,
    exchange: E,
) -> Result<Message, ForwardError>
where
    E: Fn(&'a Upstream, Instant) -> A,
    A: Future<Output = Result<Message, ExchangeError>>,
{
    let end = Instant::now() + DEADLINE;
    let all_held = turns.iter().all(|turn| turn.standing == Standing::Held);
    let mut tries = plan(turns).into_iter().enumerate();
    let patience = DEADLINE / u32::try_from(tries.len()).unwrap_or(u32::MAX).max(1);
    let mut pending = FuturesUnordered::new();
    let mut outcome = Outcome { failed: vec![false; upstreams.len()], refusal: None, trouble: None };

    loop {
        // Once one has refused, silence is not worth a second try.
        let next = tries.find(|(_, next)| outcome.refusal.is_none() || !next.is_repeat);
        let next = next.and_then(|(number, next)| Some((number, next.turn, upstreams.get(next.turn.index)?)));
        let until = match next {
            Some((number, turn, upstream)) => {
                let answer = exchange(upstream, end);
                pending.push(async move { (number, turn, upstream, answer.await) });
                let standing_patience =
                    if turn.standing == Standing::Held { LITTLE_PATIENCE } else { PATIENCE };
                Instant::now() + standing_patience.min(patience)
            }
            None if pending.is_empty() || outcome.refusal.is_some() => return outcome.finish(),
            None if all_held => Instant::now() + PATIENCE,
            None => end,
        };
        loop {
            match timeout_at(until.min(end), pending.next()).await {
                Ok(Some((number, turn, upstream, result))) => {
                    if let Some(answer) = outcome.note(turn, upstream, result) {
                        return Ok(answer);
                    }
                    if next.is_some_and(|(newest, ..)| newest == number) {
                        break;
                    }
                }
                Ok(None) => break,
                Err(_) => match next {
                    Some((_, turn, upstream)) => {
                        outcome.note_failure(turn, upstream);
                        break;
                    }
                    None => return outcome.finish(),
                },
            }
        }
    }
}

struct Try {
    turn: Turn,
    is_repeat: bool,
}

/// Everyone once; then again, because datagrams get lost, those that can be expected to answer.
fn plan(turns: Vec<Turn>) -> Vec<Try> {
    let again: Vec<_> = turns.iter().copied().filter(|turn| turn.standing != Standing::Held).collect();
    let repeats = MIN_TRIES.saturating_sub(turns.len());
    let first = turns.into_iter().map(|turn| Try { turn, is_repeat: false });
    let again = again.into_iter().cycle().take(repeats).map(|turn| Try { turn, is_repeat: true });
    first.chain(again).collect()
}

/// What is known when nobody has given a good answer yet.
struct Outcome {
    /// By upstream: a question counts as one failure, however often it was sent.
    failed: Vec<bool>,
    refusal: Option<Message>,
    /// Of our own, so that silence may be no answer.
    trouble: Option<ExchangeError>,
}

impl Outcome {
    /// Returns the answer if it is one to end with.
    fn note(
        &mut self,
        turn: Turn,
        upstream: &Upstream,
        result: Result<Message, ExchangeError>,
    ) -> Option<Message> {
        match result {
            Ok(mut message) => {
                upstream.answered();
                message.authentic_data &= upstream.is_trusted();
                if !is_refusal(message.code) {
                    return Some(message);
                }
                self.refusal = Some(message);
            }
            Err(error) if error.is_ours() => self.trouble = Some(error),
            Err(_) => self.note_failure(turn, upstream),
        }
        None
    }

    fn note_failure(&mut self, turn: Turn, upstream: &Upstream) {
        if let Some(failed) = self.failed.get_mut(turn.index)
            && !std::mem::replace(failed, true)
        {
            upstream.failed(turn.standing, Instant::now());
        }
    }

    fn finish(self) -> Result<Message, ForwardError> {
        match (self.refusal, self.trouble) {
            (Some(refusal), _) => Ok(refusal),
            (None, Some(ExchangeError::Busy)) => Err(ForwardError::Busy),
            (None, Some(_)) => Err(ForwardError::Local),
            (None, None) => Err(ForwardError::NoAnswer),
        }
    }
}

/// Codes by which another resolver may know better.
fn is_refusal(code: ResponseCode) -> bool {
    matches!(
        code,
        ResponseCode::ServFail | ResponseCode::Refused | ResponseCode::FormErr | ResponseCode::NotImp
    )
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, net::SocketAddr, sync::Mutex};

    use super::*;
    use crate::forward::{encrypted::TlsClient, upstream::in_order};

    /// What an upstream does, and after how many milliseconds.
    #[derive(Clone, Copy)]
    enum Act {
        Answer(u64),
        Refuse(u64),
        Fail(u64),
        /// Does not get as far as to be asked.
        CannotSend,
        Silence,
    }
    use Act::{Answer, CannotSend, Fail, Refuse, Silence};

    struct Scene {
        upstreams: Vec<Upstream>,
        acts: Vec<Act>,
        /// Milliseconds since the start and index of each exchange.
        log: Mutex<Vec<(u64, usize)>>,
    }

    impl Scene {
        fn new(acts: &[Act]) -> Self {
            let address = |index: usize| SocketAddr::from(([192, 0, 2, index as u8], 53));
            let tls = TlsClient::new(None).expect("nothing to read");
            let upstreams = (0..acts.len()).map(|index| Upstream::new(address(index).into(), &tls)).collect();
            Self { upstreams, acts: acts.to_vec(), log: Mutex::new(Vec::new()) }
        }

        /// Returns who answered, the milliseconds that it took, and the log.
        async fn run(&self) -> (Result<usize, ForwardError>, u64, Vec<(u64, usize)>) {
            let start = Instant::now();
            let since_start = || start.elapsed().as_millis() as u64;
            let indices: HashMap<_, _> = self
                .upstreams
                .iter()
                .enumerate()
                .map(|(index, upstream)| (upstream.address.socket_address(), index))
                .collect();
            let result =
                ask_in_turn(&self.upstreams, in_order(&self.upstreams, start), |upstream, deadline| {
                    let index = indices[&upstream.address.socket_address()];
                    self.log.lock().expect("no panic while held").push((since_start(), index));
                    let act = self.acts[index];
                    async move {
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
                        let after = |millis| tokio::time::sleep(Duration::from_millis(millis));
                        match act {
                            Answer(millis) => after(millis).await,
                            Refuse(millis) => {
                                after(millis).await;
                                return Ok(message(ResponseCode::Refused));
                            }
                            Fail(millis) => {
                                after(millis).await;
                                return Err(ExchangeError::Malformed);
                            }
                            CannotSend => return Err(ExchangeError::Local(std::io::ErrorKind::Other)),
                            Silence => {
                                tokio::time::sleep_until(deadline).await;
                                return Err(ExchangeError::Silent);
                            }
                        }
                        Ok(message(ResponseCode::NoError))
                    }
                })
                .await;
            let result = result.map(|message| {
                assert!(!message.authentic_data, "these upstreams are not on this machine");
                usize::from(message.id)
            });
            let log = std::mem::take(&mut *self.log.lock().expect("no panic while held"));
            (result, since_start(), log)
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
    async fn a_lost_datagram_is_sent_again_and_an_answer_may_take_its_time() {
        let silent = Err(ForwardError::NoAnswer);
        let alone = Scene::new(&[Silence]).run().await;
        assert_eq!(alone, (silent, 4000, vec![(0, 0), (1200, 0), (2400, 0)]));
        let two = Scene::new(&[Silence, Silence]).run().await;
        assert_eq!(two, (silent, 4000, vec![(0, 0), (1200, 1), (2400, 0)]));
        let late = Scene::new(&[Answer(3900)]).run().await;
        assert_eq!((late.0, late.1), (Ok(0), 3900));
    }

    #[tokio::test(start_paused = true)]
    async fn many_silent_upstreams_each_get_a_turn_before_the_deadline() {
        let (result, took, log) = Scene::new(&[Silence; 8]).run().await;
        assert_eq!((result, took), (Err(ForwardError::NoAnswer), 4000));
        assert_eq!(log, (0..8).map(|index| (500 * index as u64, index)).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_counts_as_one_failure_however_often_it_was_sent() {
        let scene = Scene::new(&[Silence]);
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
        let scene = Scene::new(&[Silence, Silence]);
        for _ in 0..3 {
            assert_eq!(scene.run().await.1, 4000);
        }
        // Both went on hold in the third run, for a second, and the run went on after that for longer.
        let (_, took, _) = scene.run().await;
        assert_eq!(took, 4000, "this one probes");
        for upstream in &scene.upstreams {
            upstream.failed(Standing::Probe, Instant::now());
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
}
