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
    let mut outcome = Outcome { failed: vec![false; upstreams.len()], refusal: None, is_busy: false };

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
    is_busy: bool,
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
            // Our own trouble says nothing about the upstream.
            Err(ExchangeError::Busy | ExchangeError::Predictable) => self.is_busy = true,
            Err(ExchangeError::Silent | ExchangeError::Unreachable(_) | ExchangeError::Malformed) => {
                self.note_failure(turn, upstream);
            }
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
        match self.refusal {
            Some(refusal) => Ok(refusal),
            None if self.is_busy => Err(ForwardError::Busy),
            None => Err(ForwardError::NoAnswer),
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
