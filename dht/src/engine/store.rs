//! One packet on its way to its nodes, in both families.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::{
    budget::Urgency,
    families::{Families, Member},
    family::Purpose,
    goal::Publication,
    search::{Next, Prepared},
};
use crate::{
    PutError,
    family::{Family, PerFamily},
    krpc::{self, Id, Item, Method, Refusal, Response},
    lookup::Responder,
    put::{Poll, Put, outcome},
    signed_packet::{SignedPacket, target},
    values::Verdict,
};

/// It is over after this, whatever comes.
const DEADLINE: Duration = Duration::from_secs(4);

/// When the budget of datagrams is used up, look again after this.
const BUDGET_PAUSE: Duration = Duration::from_millis(10);

/// A store under way.
#[derive(Debug)]
pub(super) struct Store {
    puts: PerFamily<Put>,
    publication: Publication,
    started: Instant,
}

impl Store {
    /// Begins, unless what the network holds forbids it.
    pub(super) fn begin(
        publication: Publication,
        prepared: Prepared,
        now: Instant,
    ) -> Result<Self, Box<(Publication, PutError)>> {
        if let Some(held) = publication.values.newest() {
            let cas = publication.cas.and_then(|cas| u64::try_from(cas).ok());
            let packet = &publication.packet;
            // Of two packets of the same time some nodes keep the one and some the other.
            if held != packet && held.timestamp() >= packet.timestamp() {
                let mismatch = cas.is_some_and(|cas| cas != held.timestamp());
                let error = if mismatch { PutError::CasFailed } else { PutError::NotMostRecent };
                return Err(Box::new((publication, error)));
            }
            if cas.is_some_and(|cas| cas != held.timestamp()) {
                return Err(Box::new((publication, PutError::CasFailed)));
            }
        }
        let seq = item(&publication.packet).seq;
        let target = target(publication.packet.key());
        let puts = prepared.map(|responders| Put::new(target, seq, publication.cas, responders));
        Ok(Self { puts, publication, started: now })
    }

    /// A node has answered the search that came before, too late for it. Where it is one of the nearest, it gets the
    /// packet as well: others will ask it.
    pub(super) fn heard(&mut self, family: Family, response: &Response<'_>, from: SocketAddr, now: Instant) {
        let verdict = response.item.as_ref().map(|item| self.publication.values.offer(item, from.ip(), now));
        if verdict.is_some_and(Verdict::is_of_a_liar) {
            return;
        }
        let Some(token) = response.short_token() else { return };
        self.puts[family].joined(Responder {
            id: response.id,
            address: from,
            rtt: None,
            token: Some(token.into()),
            seq: response.held(),
        });
    }

    /// A node has stored it.
    pub(super) fn acknowledged(&mut self, family: Family, id: &Id, from: SocketAddr) {
        self.puts[family].acknowledged(id, from);
        let stored = self.puts.values().map(Put::stored).sum();
        self.publication.progress.send_replace(stored);
        let is_enough = stored >= self.publication.enough;
        if let Some(done) = self.publication.done.take_if(|_| is_enough) {
            // The one who asked may have gone, here and below.
            let _ = done.send(outcome(&self.puts));
        }
    }

    /// A node has refused.
    pub(super) fn refused(&mut self, family: Family, id: &Id, from: SocketAddr, refusal: &Refusal<'_>) {
        self.puts[family].refused(id, from, refusal);
    }

    /// Asks whom it wants to ask next.
    pub(super) fn advance(&mut self, task: u64, families: &mut Families, now: Instant) -> Next {
        let mut wake = self.started + DEADLINE;
        let mut is_over = true;
        for family in Family::ALL {
            let Some(member) = families.member(family) else { continue };
            let again = self.ask(member, task, now);
            is_over &= again.is_none() || self.puts[family].has_enough();
            wake = again.map_or(wake, |again| wake.min(again));
        }
        if is_over || now >= self.started + DEADLINE { Next::Over } else { Next::Wait(wake) }
    }

    /// Asks the nodes of one family as far as the budget allows. When it goes on; `None`: nothing is left to do.
    fn ask(&mut self, mut member: Member<'_>, task: u64, now: Instant) -> Option<Instant> {
        let packet = &self.publication.packet;
        let target = Some(target(packet.key()));
        let typical = member.state.typical;
        let put = &mut self.puts[member.family];
        loop {
            let (to, token, cas) = match put.poll_next(&typical, now) {
                Poll::Ask(turn) if member.may_send(Urgency::Awaited, now) => turn.take(),
                Poll::Ask(turn) => return Some(turn.hold_up(now + BUDGET_PAUSE)),
                Poll::Wait(until) => return Some(until),
                Poll::Over => return None,
            };
            let method = Method::Put(krpc::Put { target, token, item: item(packet), cas });
            member.ask(to, method, Purpose::Task(task), now);
        }
    }

    /// Sends the result to the caller, if that has not been done.
    pub(super) fn finish(self) -> Result<u32, PutError> {
        let result = outcome(&self.puts);
        self.publication.done.map(|done| done.send(result.clone()));
        result
    }
}

fn item(packet: &SignedPacket) -> Item<'_> {
    Item {
        key: packet.key().as_bytes(),
        signature: packet.signature(),
        // A verified packet has no timestamp above i64::MAX.
        seq: i64::try_from(packet.timestamp()).unwrap_or(i64::MAX),
        value: packet.dns(),
    }
}
