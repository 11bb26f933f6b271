//! What is answered where the bytes arrived: refusals, and what the answer cache holds.

use std::sync::Arc;

use super::{AtOnce, Client, Inner, Source, Transport, note};
use crate::{
    base::{
        message::{Age, Query, Rejection, Reply},
        metrics::{Queries, Reason},
        view::View,
    },
    resolver::error::ResolveError,
    service::cookies::Standing,
};

impl Inner {
    /// Replies from what is at hand, and says where that came from.
    pub(super) fn respond(
        self: &Arc<Self>,
        request: &[u8],
        client: Client,
        is_admitted: bool,
        out: &mut Vec<u8>,
    ) -> (AtOnce, Source) {
        let Queries { answered, unanswered } = self.queries(client);
        let decoded = Query::decode(request);
        if decoded.as_ref().is_err_and(|rejection| *rejection == Rejection::Silence) {
            unanswered.malformed.inc();
            return (AtOnce::Silence, Source::Refused);
        }
        let cookie = self.check_cookie(&decoded, client);
        let has_cookie = cookie.is_some_and(|checked| checked.standing == Standing::Valid);
        let is_proven = has_cookie || client.has_shaken_hands();
        let is_over_quota = !is_admitted && !self.quota.admit(client.address, is_proven);
        let view = if is_admitted { Some(View::Resolver) } else { self.view_of(client) };
        if is_over_quota && !is_proven {
            return (self.slip(decoded, cookie, client, view, request.len(), out), Source::Refused);
        }
        let refusal = if is_over_quota {
            self.refusals.note(Reason::QueryQuota, client.address);
            Some(ResolveError::QueryQuota)
        } else if view.is_none() {
            self.refusals.note(Reason::Access, client.address);
            Some(ResolveError::Access)
        } else {
            None
        };
        let mut query = match (decoded, &refusal) {
            (Ok(query), _) => query,
            (Err(Rejection::Reply(rejected)), None) => {
                let view = view.unwrap_or_default();
                return (self.answer_rejected(rejected, cookie, client, view, out), Source::Refused);
            }
            (Err(_), _) => {
                unanswered.malformed.inc();
                let silence = if is_over_quota { AtOnce::OverQuota } else { AtOnce::Silence };
                return (silence, Source::Refused);
            }
        };
        query.is_proven = is_proven;
        query.view = match view.unwrap_or_default() {
            View::Resolver if self.led.leads(client.transport, &query.question) => View::Bridged,
            view => view,
        };
        if refusal != Some(ResolveError::Access) {
            query.reply_cookie = cookie.map(|checked| checked.reply);
        }
        let is_newer_edns = query.edns.is_some_and(|edns| edns.version > 0);
        if let Some(error) = refusal.or(is_newer_edns.then_some(ResolveError::EdnsVersion)) {
            self.refuse(&error, &query, client, out);
            let is_on_stream = client.has_shaken_hands();
            let replied = if is_over_quota && is_on_stream { AtOnce::OverQuota } else { AtOnce::Replied };
            return (replied, Source::Refused);
        }
        let Some(hit) = self.answers.get(&query, client.reply, client.now, out) else {
            if query.view == View::Origin && !self.resolver.is_in_origin(&query.question) {
                self.refusals.note(Reason::Access, client.address);
                query.reply_cookie = None;
                self.refuse(&ResolveError::Access, &query, client, out);
                return (AtOnce::Replied, Source::Refused);
            }
            self.metrics.answer_cache.miss.inc();
            return (AtOnce::Later(Box::new(query)), Source::Failed);
        };
        self.metrics.answer_cache.hit.inc();
        answered.with(hit.code).inc();
        note::say_cached(&query, client, hit.code);
        if hit.refresh {
            self.refresh(&query, client);
        }
        (AtOnce::Replied, Source::of(hit))
    }

    /// As whom a client is answered; `None` for one that is not. Names in an origin are for everybody but those who are refused
    /// by name, over what name servers speak.
    fn view_of(&self, client: Client) -> Option<View> {
        if self.access.allows(client.address) {
            return Some(View::Resolver);
        }
        let is_of_name_servers = matches!(client.transport, Transport::Udp | Transport::Tcp);
        let is_open = is_of_name_servers && self.resolver.has_origins();
        (is_open && !self.access.denies(client.address)).then_some(View::Origin)
    }

    fn refuse(&self, error: &ResolveError, query: &Query, client: Client, out: &mut Vec<u8>) {
        let mut answer = error.answer();
        if *error == ResolveError::Access && client.reply == Reply::Datagram {
            // A stranger may be a forged address: it gets hardly more than was sent in its name.
            answer.extended_error.iter_mut().for_each(|error| error.text.clear());
        }
        self.queries(client).answered.with(answer.code).inc();
        answer.encode(&query.question).write(query, client.reply, Age::Seconds(0), out);
    }
}
