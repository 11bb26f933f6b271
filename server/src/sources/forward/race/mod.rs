//! Whom to ask when: one upstream after the other, without giving up on those before.

use std::{pin::pin, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use hickory_proto::op::ResponseCode;
use tokio::time::{Instant, timeout_at};

use super::{
    DEADLINE, ExchangeError, ForwardError,
    upstream::{Standing, Turn, Upstream},
};
use crate::base::message::Message;

/// After this much silence the next upstream is asked, or the same one again.
const PATIENCE: Duration = Duration::from_millis(1200);

/// The same for an upstream that has not answered of late: then a quick failure is better than a slow one.
const LITTLE_PATIENCE: Duration = Duration::from_millis(400);

/// Reasons that a client is told why there is no answer.
const MAX_REASONS: usize = 3;

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
    upstreams: &[Arc<Upstream>],
    turns: Vec<Turn>,
    ask: &A,
    first: A::Place,
) -> Result<Message, ForwardError> {
    let end = Instant::now() + DEADLINE;
    let all_held = turns.iter().all(|turn| turn.standing == Standing::Held);
    let (tries, count) = plan(turns);
    let mut tries = tries.into_iter().enumerate();
    let mut left = count;
    let patience = DEADLINE / u32::try_from(count).unwrap_or(u32::MAX).max(1);
    let mut pending = FuturesUnordered::new();
    let mut awaited: Vec<(&Upstream, Instant)> = Vec::new();
    let mut outcome = Outcome { failed: vec![None; upstreams.len()], refusal: None, trouble: None };
    let mut first = Some(first);

    loop {
        // Once one has refused, silence is not worth a second try. Nor is an upstream that has said why it cannot answer.
        let is_worth_it =
            |next: &Try| !next.is_repeat || (outcome.refusal.is_none() && outcome.may_pass(next.turn.index));
        let next = if left > 0 { tries.find(|(_, next)| is_worth_it(next)) } else { None };
        left = left.saturating_sub(1);
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
                            awaited.retain(|(other, _)| !std::ptr::eq(*other, upstream));
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
                awaited.push((upstream, sent));
                let standing_patience =
                    if turn.standing == Standing::Held { LITTLE_PATIENCE } else { PATIENCE };
                (sent + standing_patience.min(patience), sent)
            }
            None if pending.is_empty() => return outcome.finish(),
            // One that answers others takes its time for this name alone, and may know better.
            None if outcome.refusal.is_some() => {
                if !awaited.iter().any(|(upstream, sent)| upstream.has_answered_since(*sent)) {
                    return outcome.finish();
                }
                (Instant::now() + PATIENCE, end)
            }
            None if all_held => (Instant::now() + PATIENCE, end),
            None => (end, end),
        };
        // Half of its time is left for it to show that it is only this name that has no answer.
        let mut doubt = next.map(|(_, turn, upstream)| (sent + (until - sent) / 2, turn, upstream));
        loop {
            let wake = doubt.map_or(until, |(at, ..)| at);
            match timeout_at(wake.min(end), pending.next()).await {
                Ok(Some(Ended { number, turn, upstream, sent, result })) => {
                    awaited.retain(|(other, _)| !std::ptr::eq(*other, upstream));
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
                        outcome.note_failure(turn, upstream, sent, ExchangeError::Silent);
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

/// Everyone once; then again, because datagrams get lost, those that can be expected to answer. Returns as well how many
/// of these tries are made at most: there are enough that one takes the turn of another that is not worth it.
fn plan(turns: Vec<Turn>) -> (Vec<Try>, usize) {
    let again: Vec<_> = turns.iter().copied().filter(|turn| turn.standing != Standing::Held).collect();
    let repeats = if again.is_empty() { 0 } else { MIN_TRIES.saturating_sub(turns.len()) };
    let (count, spare) = (turns.len() + repeats, repeats * again.len());
    let first = turns.into_iter().map(|turn| Try { turn, is_repeat: false });
    let again = again.into_iter().cycle().take(spare).map(|turn| Try { turn, is_repeat: true });
    (first.chain(again).collect(), count)
}

/// What is known when nobody has given a good answer yet.
struct Outcome {
    /// By upstream, the last word of each: a question counts as one failure, however often it was sent.
    failed: Vec<Option<ExchangeError>>,
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
            Err(error) => self.note_failure(turn, upstream, sent, error),
        }
        None
    }

    fn note_failure(&mut self, turn: Turn, upstream: &Upstream, sent: Instant, error: ExchangeError) {
        let Some(failed) = self.failed.get_mut(turn.index) else { return };
        if failed.is_none() {
            upstream.failed(turn.standing, sent, Instant::now());
        }
        if error != ExchangeError::Silent {
            upstream.complain(&error, Instant::now());
        }
        // Silence after a reason is for the same reason.
        if failed.is_none() || error != ExchangeError::Silent {
            *failed = Some(error);
        }
    }

    fn may_pass(&self, index: usize) -> bool {
        self.failed.get(index).and_then(Option::as_ref).is_none_or(ExchangeError::may_pass)
    }

    /// What the upstreams said, each reason once. Which of them said it is in the log, and no matter of clients.
    fn reasons(&self) -> Option<Arc<str>> {
        let mut reasons: Vec<String> = Vec::new();
        for error in self.failed.iter().flatten().filter(|error| **error != ExchangeError::Silent) {
            let reason = error.to_string();
            if reasons.len() < MAX_REASONS && !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
        (!reasons.is_empty()).then(|| reasons.join("; ").into())
    }

    fn finish(mut self) -> Result<Message, ForwardError> {
        match (self.refusal.take(), self.trouble.take()) {
            (Some(refusal), _) => Ok(refusal),
            (None, Some(ExchangeError::Busy)) => Err(ForwardError::Busy),
            (None, Some(_)) => Err(ForwardError::Local),
            (None, None) => Err(self.reasons().map_or(ForwardError::NoAnswer, ForwardError::Unusable)),
        }
    }
}

/// Whether another resolver may know better: all codes say so but those that a name itself may have (RFC 6672 section 2.2
/// for the last).
pub(super) fn is_refusal(code: ResponseCode) -> bool {
    !matches!(code, ResponseCode::NoError | ResponseCode::NXDomain | ResponseCode::YXDomain)
}

#[cfg(test)]
mod tests;
