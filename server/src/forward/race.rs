//! Whom to ask when: one upstream after the other, without giving up on those before.

use std::{pin::pin, time::Duration};

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
pub(super) const MIN_TRIES: usize = 3;

/// How to ask one question.
pub(super) trait Ask {
    /// The right to ask an upstream, held while it is asked.
    type Place;

    /// Waits for that right. An upstream is not given less time for it.
    fn turn(&self, upstream: &Upstream) -> impl Future<Output = Result<Self::Place, ExchangeError>> + Send;

    /// Asks until `deadline`.
    fn exchange(
        &self,
        upstream: &Upstream,
        place: Self::Place,
        deadline: Instant,
    ) -> impl Future<Output = Result<Message, ExchangeError>> + Send;

    /// Has the upstream at `index`, which is silent about everything just now, asked whether it is there.
    fn doubt(&self, index: usize);
}

/// Asks the upstreams in the order of `turns`, the first of them with the right `first`. One that was silent may still
/// win while the next one is asked: a cold name takes a resolver long, and asking again would take it as long again.
pub(super) async fn ask_in_turn<A: Ask>(
    upstreams: &[Upstream],
    turns: Vec<Turn>,
    ask: &A,
    first: A::Place,
) -> Result<Message, ForwardError> {
    let end = Instant::now() + DEADLINE;
    let all_held = turns.iter().all(|turn| turn.standing == Standing::Held);
    let mut tries = plan(turns).into_iter().enumerate();
    let patience = DEADLINE / u32::try_from(tries.len()).unwrap_or(u32::MAX).max(1);
    let mut pending = FuturesUnordered::new();
    let mut outcome = Outcome { failed: vec![false; upstreams.len()], refusal: None, trouble: None };
    let mut first = Some(first);

    loop {
        // Once one has refused, silence is not worth a second try.
        let next = tries.find(|(_, next)| outcome.refusal.is_none() || !next.is_repeat);
        let next = next.and_then(|(number, next)| Some((number, next.turn, upstreams.get(next.turn.index)?)));
        let (until, sent) = match next {
            Some((number, turn, upstream)) => {
                let mut place = pin!(async {
                    match first.take() {
                        Some(place) => Ok(place),
                        None => timeout_at(end, ask.turn(upstream)).await.unwrap_or(Err(ExchangeError::Busy)),
                    }
                });
                let place = loop {
                    tokio::select! {
                        biased;
                        place = &mut place => break place,
                        Some(Ended { turn, upstream, sent, result, .. }) = pending.next() => {
                            if let Some(answer) = outcome.note(turn, upstream, sent, result) {
                                return Ok(answer);
                            }
                        }
                    }
                };
                // From here on it is the upstream's time.
                let sent = Instant::now();
                let exchange = async move {
                    match place {
                        Ok(place) => ask.exchange(upstream, place, end).await,
                        Err(error) => Err(error),
                    }
                };
                pending.push(async move { Ended { number, turn, upstream, sent, result: exchange.await } });
                let standing_patience =
                    if turn.standing == Standing::Held { LITTLE_PATIENCE } else { PATIENCE };
                (sent + standing_patience.min(patience), sent)
            }
            None if pending.is_empty() || outcome.refusal.is_some() => return outcome.finish(),
            None if all_held => (Instant::now() + PATIENCE, end),
            None => (end, end),
        };
        // Half of its time is left for it to show that it is only this name that has no answer.
        let mut doubt = next.map(|(_, turn, upstream)| (sent + (until - sent) / 2, turn, upstream));
        loop {
            let wake = doubt.map_or(until, |(at, ..)| at);
            match timeout_at(wake.min(end), pending.next()).await {
                Ok(Some(Ended { number, turn, upstream, sent, result })) => {
                    if let Some(answer) = outcome.note(turn, upstream, sent, result) {
                        return Ok(answer);
                    }
                    if next.is_some_and(|(newest, ..)| newest == number) {
                        break;
                    }
                }
                Ok(None) => break,
                Err(_) => match (doubt.take(), next) {
                    (Some((_, turn, upstream)), _) => {
                        if !upstream.has_answered_since(sent) {
                            ask.doubt(turn.index);
                        }
                    }
                    (None, Some((_, turn, upstream))) => {
                        outcome.note_failure(turn, upstream, sent);
                        break;
                    }
                    (None, None) => return outcome.finish(),
                },
            }
        }
    }
}

/// What became of one try.
struct Ended<'a> {
    number: usize,
    turn: Turn,
    upstream: &'a Upstream,
    sent: Instant,
    result: Result<Message, ExchangeError>,
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
        sent: Instant,
        result: Result<Message, ExchangeError>,
    ) -> Option<Message> {
        match result {
            Ok(mut message) => {
                upstream.answered(Instant::now());
                message.authentic_data &= upstream.is_trusted();
                if !is_refusal(message.code) {
                    return Some(message);
                }
                self.refusal = Some(message);
            }
            Err(error) if error.is_ours() => self.trouble = Some(error),
            Err(_) => self.note_failure(turn, upstream, sent),
        }
        None
    }

    fn note_failure(&mut self, turn: Turn, upstream: &Upstream, sent: Instant) {
        if let Some(failed) = self.failed.get_mut(turn.index)
            && !std::mem::replace(failed, true)
        {
            upstream.failed(turn.standing, sent, Instant::now());
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
mod tests;
