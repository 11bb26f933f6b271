//! Records of queries: a line for each, counts of them, or dnstap. Written by threads of their own, so that no answer waits
//! for a disk or for a collector.

mod counts;
mod dnstap;
mod file;
mod frames;
mod line;
mod queue;
mod writer;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    thread,
    time::Duration,
};

use hickory_proto::op::ResponseCode;
use tracing::warn;

use super::event::{Event, Protocol};
use crate::base::{
    config::{self, DnstapClients, QueryLogLevel},
    message::{Outcome, read_outcome},
    metrics::LogMetrics,
};
use counts::Counts;
use dnstap::{Kind, Tapped};
use frames::Collector;
use line::{Client, Record};
use queue::{Losses, Queue, queue};
use writer::Sink;

/// Lines that may wait to be written: at 100,000 queries a second, some 80 ms.
const MAX_LINES: usize = 8192;

/// Messages that may wait for the collector, and their bytes.
const MAX_TAPPED: usize = 8192;
const MAX_TAPPED_BYTES: usize = 8 << 20;

/// How often counts are written.
const COUNTS_EVERY: Duration = Duration::from_secs(60);

/// At the end, what waits to be written has this long.
const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

/// What is left of a client's address where it is truncated, in bits.
const KEPT_BITS_V4: u8 = 24;
const KEPT_BITS_V6: u8 = 48;

/// The records of queries that are wanted. Cheap to clone.
#[derive(Clone, Default)]
pub struct QueryLog(Option<Arc<Inner>>);

struct Inner {
    lines: Option<Lines>,
    counts: Option<(Queue<()>, Arc<Counts>)>,
    tap: Option<Tap>,
}

struct Lines {
    queue: Queue<Record>,
    is_truncated: bool,
}

struct Tap {
    queue: Queue<Tapped>,
    is_truncated: bool,
}

impl QueryLog {
    /// Starts what is configured.
    pub fn start(lines: &config::QueryLog, tap: &config::Dnstap, metrics: &LogMetrics) -> Self {
        let started = Inner::start(lines, tap, metrics).unwrap_or_else(|error| {
            warn!("queries are not logged: no thread can be started: {error}");
            None
        });
        Self(started.map(Arc::new))
    }

    /// Whether anything is wanted. Where nothing is, this is all that a query costs.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Notes that a query has come. Never blocks.
    pub fn note_asked(&self, event: &Event<'_>) {
        if let Some(tap) = self.0.as_ref().and_then(|inner| inner.tap.as_ref())
            && let Some(request) = event.request
        {
            tap.push(Kind::ClientQuery, request, event);
        }
    }

    /// Notes what became of a query. Never blocks.
    pub fn note_answered(&self, event: &Event<'_>) {
        let Some(inner) = self.0.as_deref() else { return };
        if let Some(tap) = &inner.tap
            && !event.reply.is_empty()
        {
            tap.push(Kind::ClientResponse, event.reply, event);
        }
        if inner.lines.is_none() && inner.counts.is_none() {
            return;
        }
        let outcome = read_outcome(event.reply);
        let code = outcome.map(|outcome| outcome.code).or(event.code);
        if let Some((_, counts)) = &inner.counts {
            counts.add(code, event.source);
        }
        if let Some(lines) = &inner.lines {
            lines.push(code, outcome, event);
        }
    }

    /// Writes what waits, for as long as that may take, and ends.
    pub async fn close(&self) {
        let Some(inner) = self.0.as_deref() else { return };
        let lines = inner.lines.as_ref().map(|lines| lines.queue.close(CLOSE_DEADLINE));
        let counts = inner.counts.as_ref().map(|(queue, _)| queue.close(CLOSE_DEADLINE));
        let tap = inner.tap.as_ref().map(|tap| tap.queue.close(CLOSE_DEADLINE));
        let lines = async {
            if let Some(closing) = lines {
                closing.await
            }
        };
        let counts = async {
            if let Some(closing) = counts {
                closing.await
            }
        };
        let tap = async {
            if let Some(closing) = tap {
                closing.await
            }
        };
        tokio::join!(lines, counts, tap);
    }
}

impl Inner {
    fn start(
        settings: &config::QueryLog,
        tap: &config::Dnstap,
        metrics: &LogMetrics,
    ) -> io::Result<Option<Self>> {
        let losses = Losses::new("query_log", metrics.dropped.query_log.clone());
        let mut inner = Self { lines: None, counts: None, tap: None };
        let sink = || Sink::new(settings.file(), settings.format);
        match settings.level {
            QueryLogLevel::Off => {}
            QueryLogLevel::Counts => {
                let (queue, inbox) = queue(1, usize::MAX, losses);
                let counts = Arc::new(Counts::default());
                let (counted, sink) = (counts.clone(), sink());
                spawn("query-log", move || writer::write_counts(inbox, &counted, COUNTS_EVERY, sink))?;
                inner.counts = Some((queue, counts));
            }
            level @ (QueryLogLevel::Truncated | QueryLogLevel::Full) => {
                let (queue, inbox) = queue(MAX_LINES, usize::MAX, losses.clone());
                let sink = sink();
                spawn("query-log", move || writer::write_lines(inbox, sink, &losses))?;
                inner.lines = Some(Lines { queue, is_truncated: level == QueryLogLevel::Truncated });
            }
        }
        if let Some(to) = tap.to.clone() {
            let losses = Losses::new("dnstap", metrics.dropped.dnstap.clone());
            let (queue, inbox) = queue(MAX_TAPPED, MAX_TAPPED_BYTES, losses.clone());
            let collector = Collector::new(to, &tap.identity);
            spawn("dnstap", move || collector.feed(inbox))?;
            inner.tap = Some(Tap { queue, is_truncated: tap.clients == DnstapClients::Truncated });
        }
        let is_wanted = inner.lines.is_some() || inner.counts.is_some() || inner.tap.is_some();
        Ok(is_wanted.then_some(inner))
    }
}

impl Lines {
    fn push(&self, code: Option<ResponseCode>, outcome: Option<Outcome>, event: &Event<'_>) {
        let record = Record {
            time: event.asked,
            client: match self.is_truncated {
                true => Client::Network(truncated(event.client)),
                false => Client::Address(event.client.to_canonical()),
            },
            protocol: event.protocol,
            question: event.question.cloned(),
            code,
            extended_error: outcome.and_then(|outcome| outcome.extended_error),
            source: event.source,
            took: event.took,
            size: event.reply.len(),
        };
        self.queue.push(record, 0);
    }
}

impl Tap {
    fn push(&self, kind: Kind, message: &[u8], event: &Event<'_>) {
        let tapped = || Tapped {
            kind,
            client: match self.is_truncated {
                true => truncated(event.client),
                false => event.client.to_canonical(),
            },
            protocol: event.protocol,
            asked: event.asked,
            took: event.took,
            message: message.into(),
        };
        self.queue.push_with(tapped, message.len());
    }
}

/// The network that an address is in, as far as it is written down.
fn truncated(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            Ipv4Addr::from_bits(address.to_bits() & u32::MAX << (32 - KEPT_BITS_V4)).into()
        }
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & u128::MAX << (128 - KEPT_BITS_V6)).into()
        }
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.to_owned()).spawn(run).map(drop)
}
