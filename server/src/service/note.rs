//! What is written about queries: one call for each way that they end, so that no transport can forget it.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use hickory_proto::op::ResponseCode;
use tracing::debug;

use super::{AtOnce, Client, Inner, Source, Transport};
use crate::{
    base::message::{Query, code_name, read_question},
    service::event::{Event, Protocol},
};

impl Inner {
    /// As [`Inner::respond`], and notes what came and what became of it.
    pub(super) fn respond_and_note(
        self: &Arc<Self>,
        request: &[u8],
        client: Client,
        is_admitted: bool,
        out: &mut Vec<u8>,
    ) -> AtOnce {
        let log = &self.query_log;
        if !log.is_on() {
            return self.respond(request, client, is_admitted, out).0;
        }
        let start = out.len();
        let (outcome, source) = self.respond(request, client, is_admitted, out);
        let mut event = event(client, source);
        event.request = Some(request);
        match outcome {
            // Scraps, and replies that nobody asked for: not queries.
            AtOnce::Silence => {}
            AtOnce::Later(_) => log.note_asked(&event),
            AtOnce::Replied | AtOnce::OverQuota => {
                let question = read_question(request);
                event.question = question.as_ref();
                event.reply = out.get(start..).unwrap_or_default();
                log.note_asked(&event);
                log.note_answered(&event);
            }
        }
        outcome
    }

    /// Notes an answer that took work.
    pub(super) fn note_later(
        &self,
        query: &Query,
        client: Client,
        code: ResponseCode,
        source: Source,
        took: Duration,
        reply: &[u8],
    ) {
        debug!(
            target: "pkdns::service",
            client = %client.address,
            question = question(query).as_str(),
            code = %name(code),
            ?took
        );
        if self.query_log.is_on() {
            let event = Event { question: Some(&query.question), reply, ..event(client, source) };
            self.query_log.note_answered(&event);
        }
    }

    /// Notes a query that was not read, and what was said of it all the same.
    pub(super) fn note_unanswered(&self, client: Client, code: Option<ResponseCode>) {
        if self.query_log.is_on() {
            self.query_log.note_answered(&Event { code, ..event(client, Source::Refused) });
        }
    }
}

/// Says that a question was answered from the cache.
pub(super) fn say_cached(query: &Query, client: Client, code: ResponseCode) {
    let code = name(code);
    debug!(target: "pkdns::service", client = %client.address, question = question(query).as_str(), %code, "cached");
}

fn name(code: ResponseCode) -> &'static str {
    code_name(code).unwrap_or("other")
}

fn question(query: &Query) -> String {
    format!("{:?}", query.question)
}

fn event<'a>(client: Client, source: Source) -> Event<'a> {
    let protocol = match client.transport {
        Transport::Udp => Protocol::Udp,
        Transport::Tcp => Protocol::Tcp,
        Transport::Tls => Protocol::Tls,
        Transport::Http | Transport::PlainHttp => Protocol::Http,
    };
    let (now, took) = (SystemTime::now(), client.now.elapsed());
    Event {
        client: client.address,
        protocol,
        request: None,
        question: None,
        reply: &[],
        code: None,
        source,
        asked: now.checked_sub(took).unwrap_or(now),
        took,
    }
}
