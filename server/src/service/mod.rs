//! The one door: every transport hands the bytes of a request to this.

pub mod answer_cache;
mod at_hand;
pub mod cookies;
mod datagrams;
mod event;
mod led;
#[cfg(not(feature = "query-log"))]
mod no_query_log;
mod note;
#[cfg(feature = "query-log")]
pub mod query_log;
mod reload;
mod respond;
pub mod source;

use std::{
    net::IpAddr,
    sync::{Arc, atomic::AtomicU32},
    time::Duration,
};

use arc_swap::ArcSwap;
use hickory_proto::op::ResponseCode;
use led::Led;
#[cfg(not(feature = "query-log"))]
use no_query_log as query_log;
use tokio::time::{Instant, timeout};

pub use query_log::QueryLog;
pub use respond::{AtOnce, Client, Refused, Respond, Transport};
pub use source::Source;

use crate::{
    base::{
        access::{AccessList, Forwarders},
        config::Config,
        fair_share::{FairShare, Limits},
        message::{Age, EncodedAnswer, Query, Reply},
        metrics::{Farthest, Metrics, Queries, Reason, Refusals, ServiceMetrics},
        rate_limit::SplitLimiter,
    },
    resolver::{
        PATIENCE_WITH_STALE, Resolved, Resolver,
        error::{Failure, ResolveError},
    },
    service::{
        answer_cache::{AnswerCache, Authority, NewAnswer},
        cookies::Cookies,
    },
    sources::forward::{ForwardError, Forwarder},
};

/// Lookups that no client waits for, in all and per client: they hold no place of any transport. Of a thousand popular
/// names with a TTL of a minute some twenty a second are refreshed, in 50 ms each.
const UNATTENDED: Limits =
    Limits { in_all: 512, reserved: 0, per_client: 64, per_network: 128, per_lan: 256, least: 4 };

/// How long an answer is left alone after a refresh that could not begin, and after one that failed.
const REFRESH_PAUSE: Duration = Duration::from_millis(100);
const REFRESH_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Everything between the bytes of a request and the bytes of its reply. Cheap to clone; clones are reloaded together.
#[derive(Clone)]
pub struct Service(Arc<ArcSwap<Inner>>);

/// The service under one configuration.
struct Inner {
    access: AccessList,
    quota: Arc<SplitLimiter>,
    forwarders: Forwarders,
    /// None of them on a system without randomness.
    cookies: Option<Arc<Cookies>>,
    /// Datagrams over quota, for one in [`datagrams::SLIP`].
    slips: AtomicU32,
    /// Who is led to the bridge.
    led: Led,
    answers: AnswerCache,
    resolver: Resolver,
    forwarder: Arc<Forwarder>,
    /// Lookups that no client waits for: refreshes, and those whose client has taken an old answer.
    unattended: Arc<FairShare>,
    metrics: ServiceMetrics,
    refusals: Refusals,
    query_log: QueryLog,
}

/// An answer for everyone who asks the same, and how it was found.
struct Answered {
    encoded: EncodedAnswer,
    failure: Option<Failure>,
    source: Source,
    farthest: Farthest,
    /// Its origin may not look up as many keys.
    is_over_budget: bool,
}

impl Service {
    /// The service as configured.
    pub fn new(config: &Config, resolver: Resolver, forwarder: Arc<Forwarder>, metrics: &Metrics) -> Self {
        let forwarders = Forwarders::new(config.rate_limit.forwarders.clone());
        Self(Arc::new(ArcSwap::from_pointee(Inner {
            access: config.access.list(),
            quota: quota(config, &forwarders),
            cookies: Cookies::new(Instant::now()).map(Arc::new),
            slips: AtomicU32::new(0),
            led: Led::new(&config.bridge),
            answers: answers(config, &resolver),
            resolver,
            forwarder,
            unattended: FairShare::with_forwarders(UNATTENDED, forwarders.clone()),
            forwarders,
            metrics: metrics.service.clone(),
            refusals: metrics.refusals.clone(),
            query_log: QueryLog::start(&config.query_log, &config.dnstap, &metrics.logs),
        })))
    }

    /// What the questions of now are answered by.
    pub fn resolver(&self) -> Resolver {
        self.0.load().resolver.clone()
    }

    /// Whether a client may see a page that takes a lookup, which costs it as much as a query.
    pub fn admit_page(&self, address: IpAddr) -> bool {
        let inner = self.0.load();
        let is_admitted = inner.quota.admit(address, true);
        if !is_admitted {
            inner.refusals.note(Reason::QueryQuota, address);
        }
        is_admitted
    }

    /// The record of its queries, to be closed when no more are recorded there.
    pub fn query_log(&self) -> QueryLog {
        self.0.load().query_log.clone()
    }
}

fn quota(config: &Config, forwarders: &Forwarders) -> Arc<SplitLimiter> {
    let quota = &config.rate_limit;
    Arc::new(SplitLimiter::new(quota.requests_per_minute, quota.burst_size, forwarders))
}

fn answers(config: &Config, resolver: &Resolver) -> AnswerCache {
    let max_stale = Duration::from_secs(config.cache.max_stale_seconds);
    let entries = config.cache.max_entries;
    let answers = AnswerCache::new(entries, max_stale, resolver.revisions().clone(), Instant::now());
    if resolver.has_origins() { answers.with_strangers(entries) } else { answers }
}

impl Inner {
    fn queries(&self, client: Client) -> &Queries {
        match client.transport {
            Transport::Udp => &self.metrics.udp,
            Transport::Tcp => &self.metrics.tcp,
            Transport::Tls => &self.metrics.tls,
            Transport::Http | Transport::PlainHttp => &self.metrics.http,
        }
    }

    /// Finds the answer, keeps it for others, and returns it in wire form.
    async fn answer(&self, query: &Query, client: IpAddr) -> Answered {
        // Our own probe came back: an upstream forwards to us. Asking it again would close the circle.
        if self.forwarder.is_loop_probe(&query.question) {
            let refusal = ResolveError::Forward(ForwardError::Loop).answer();
            let encoded = refusal.encode(&query.question);
            let (source, farthest) = (Source::Failed, Farthest::Local);
            return Answered { encoded, failure: None, source, farthest, is_over_budget: false };
        }
        let Resolved {
            answer,
            source,
            farthest,
            revisions,
            refresh_in,
            by_others,
            failure,
            is_busy,
            is_over_quota,
            is_over_budget,
        } = self.resolver.resolve(query, client).await;
        if is_busy {
            self.refusals.note(Reason::Turn, client);
        }
        if is_over_quota {
            self.refusals.note(Reason::LookupQuota, client);
        }
        if is_over_budget {
            self.refusals.note(Reason::OriginBudget, client);
        }
        let encoded = answer.encode(&query.question);
        let authority = match self.resolver.is_key_name(&query.question.name()) {
            true if by_others => Authority::NameServer,
            true => Authority::Key,
            false => Authority::Upstream,
        };
        let (lifetime, revisions) = (answer.lifetime, &revisions[..]);
        let new = NewAnswer { encoded: &encoded, authority, lifetime, refresh_in, revisions };
        self.answers.insert(query, &new, Instant::now());
        Answered { encoded, failure, source, farthest, is_over_budget }
    }

    /// As [`Service::answer`], with an answer past its time at hand: `None` when there is no news soon. The search for news
    /// goes on, if the client has few that do.
    async fn news(self: &Arc<Self>, query: &Query, client: Client) -> Option<Answered> {
        match self.unattended.take(client.address, query.is_proven) {
            Some(share) => {
                let (inner, asked) = (self.clone(), query.clone());
                let news = tokio::spawn(async move {
                    let _share = share;
                    inner.answer(&asked, client.address).await
                });
                timeout(PATIENCE_WITH_STALE, news).await.ok().and_then(Result::ok)
            }
            // The search ends with its client's patience.
            None => timeout(PATIENCE_WITH_STALE, self.answer(query, client.address)).await.ok(),
        }
    }

    /// Asks. Where that fails, the client gets the best answer that is held, and the failure only if there is none
    /// (RFC 8767 section 4).
    async fn ask(
        self: &Arc<Self>,
        query: &Query,
        client: Client,
        out: &mut Vec<u8>,
    ) -> (ResponseCode, Source, Farthest) {
        let answers = &self.answers;
        let asked = match answers.has_last_resort(query, Instant::now()) {
            true => self.news(query, client).await,
            false => Some(self.answer(query, client.address).await),
        };
        let failure = asked.as_ref().map_or(Some(Failure::Shared), |asked| asked.failure);
        if let Some(failure) = failure {
            let is_shared = failure == Failure::Shared;
            let held = answers.last_resort(query, client.reply, Instant::now(), is_shared, out);
            if let Some(hit) = held {
                return (hit.code, Source::of(hit), Farthest::Stale);
            }
        }
        let (answer, source, farthest) = match asked {
            // Anybody can make up keys in the name of others: who shows where it is has lookups apart from those.
            Some(asked) if asked.is_over_budget && !query.is_proven && client.reply == Reply::Datagram => {
                query.write_truncated(out);
                return (ResponseCode::NoError, asked.source, asked.farthest);
            }
            Some(asked) => (asked.encoded, asked.source, asked.farthest),
            // What was at hand may have left the cache meanwhile.
            None => {
                let answer = ResolveError::Deadline.answer().encode(&query.question);
                (answer, Source::Failed, Farthest::Stale)
            }
        };
        answer.write(query, client.reply, Age::Seconds(0), out);
        (answer.code(), source, farthest)
    }

    /// Asks again for an answer that is about to end, while it is still served. Where the client may not have it asked,
    /// or there is no answer, that is left to whoever asks next.
    fn refresh(self: &Arc<Self>, query: &Query, client: Client) {
        let Some(share) = self.unattended.take(client.address, query.is_proven) else {
            self.refusals.note(Reason::Refresh, client.address);
            self.answers.refresh_later(query, client.now, REFRESH_PAUSE);
            return;
        };
        let (inner, mut query) = (self.clone(), query.clone());
        query.recursion_desired = true;
        tokio::spawn(async move {
            let _share = share;
            let answer = inner.answer(&query, client.address).await.encoded;
            if !matches!(answer.code(), ResponseCode::NoError | ResponseCode::NXDomain) {
                inner.answers.refresh_later(&query, Instant::now(), REFRESH_AFTER_FAILURE);
            }
        });
    }
}

impl Respond for Service {
    fn at_once(&self, request: &[u8], client: Client, out: &mut Vec<u8>) -> AtOnce {
        self.0.load().respond_and_note(request, client, false, out)
    }

    fn admit(&self, client: Client) -> Result<(), Refused> {
        let inner = self.0.load();
        let Inner { quota, access, refusals, .. } = &**inner;
        let (refused, reason) = if !quota.admit(client.address, client.has_shaken_hands()) {
            (Refused::Quota, Reason::QueryQuota)
        } else if !access.allows(client.address) {
            (Refused::Access, Reason::Access)
        } else {
            return Ok(());
        };
        refusals.note(reason, client.address);
        inner.queries(client).answered.refused.inc();
        inner.note_unanswered(client, Some(ResponseCode::Refused));
        Err(refused)
    }

    fn at_once_admitted(&self, request: &[u8], client: Client, out: &mut Vec<u8>) -> AtOnce {
        self.0.load().respond_and_note(request, client, true, out)
    }

    async fn later(&self, query: &Query, client: Client, out: &mut Vec<u8>) {
        let (inner, started, start) = (self.0.load_full(), Instant::now(), out.len());
        let (code, source, farthest) = if let Some(hit) = inner.answers.get(query, client.reply, started, out)
        {
            // It has come since this one was left for later: of many that ask at once, some are slow to begin.
            if hit.refresh {
                inner.refresh(query, client);
            }
            (hit.code, Source::of(hit), Farthest::AnswerCache)
        } else {
            inner.ask(query, client, out).await
        };
        inner.queries(client).answered.with(code).inc();
        let took = started.elapsed();
        let since_it_came = started.saturating_duration_since(client.now) + took;
        inner.metrics.times.observe(farthest, since_it_came);
        inner.note_later(query, client, code, source, took, out.get(start..).unwrap_or_default());
    }

    fn admit_handshake(&self, address: IpAddr) -> bool {
        // Who begins one has answered by TCP.
        let inner = self.0.load();
        let is_admitted = inner.quota.admit(address, true);
        if !is_admitted {
            inner.refusals.note(Reason::HandshakeQuota, address);
        }
        is_admitted
    }

    fn has_names_for_everybody(&self) -> bool {
        self.0.load().resolver.has_origins()
    }

    fn turned_away(&self, client: Client) {
        let inner = self.0.load();
        inner.queries(client).unanswered.busy.inc();
        inner.note_unanswered(client, None);
        inner.refusals.note(Reason::Waiting, client.address);
    }

    fn too_late(&self, client: Client) {
        self.0.load().refusals.note(Reason::LateReply, client.address);
    }
}

#[cfg(test)]
mod tests;
