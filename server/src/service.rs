//! The one door: every transport hands the bytes of a request to this.

use std::{net::IpAddr, sync::Arc, time::Duration};

use hickory_proto::op::ResponseCode;
use tokio::time::{Instant, timeout};
use tracing::debug;

use crate::{
    access::AccessList,
    answer_cache::{AnswerCache, Authority, NewAnswer},
    config::Config,
    forward::{ForwardError, Forwarder},
    message::{Age, EncodedAnswer, Query, Rejection, Reply},
    metrics::{Metrics, Queries, Reason, Refusals, ServiceMetrics},
    rate_limit::RateLimiter,
    resolver::{PATIENCE_WITH_STALE, Resolved, Resolver, error::ResolveError},
};

/// What a request came over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// TCP in the clear.
    Tcp,
    /// DNS over TLS.
    Tls,
    /// DNS over HTTPS, or over HTTP behind a proxy.
    Http,
}

/// Who asks, and how the reply travels.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    /// The client's address, as the limits count it.
    pub address: IpAddr,
    /// What the request came over.
    pub transport: Transport,
    /// How the reply travels.
    pub reply: Reply,
    /// When the request came: the clock is read once for requests that come together.
    pub now: Instant,
}

/// What became of a request without waiting for anything.
#[derive(Debug)]
pub enum AtOnce {
    /// The reply was appended to the buffer.
    Replied,
    /// The client's quota is spent. Where it cannot be somebody else who is flooded with it, a refusal was appended.
    OverQuota,
    /// There is no reply to this.
    Silence,
    /// The answer is not at hand: pass this to [`Respond::later`].
    Later(Box<Query>),
}

/// Why a client may not ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It is not served.
    Access,
    /// Its quota is spent.
    Quota,
}

/// Answers requests. Transports are written against this, so that they can be tested with answers of any speed.
pub trait Respond: Send + Sync + 'static {
    /// Replies from what is at hand, where the bytes arrived: refusals and cached answers. Never blocks.
    fn at_once(&self, request: &[u8], client: Client, out: &mut Vec<u8>) -> AtOnce;

    /// Whether a client may ask, before its request is read, and charges it for the one that comes.
    ///
    /// # Errors
    ///
    /// Why it may not.
    fn admit(&self, _client: Client) -> Result<(), Refused> {
        Ok(())
    }

    /// As [`Respond::at_once`], for the request of a client that [`Respond::admit`] has let pass: nothing is charged
    /// twice.
    fn at_once_admitted(&self, request: &[u8], client: Client, out: &mut Vec<u8>) -> AtOnce {
        self.at_once(request, client, out)
    }

    /// Finds the answer and appends the reply. Ends within [`crate::resolver::DEADLINE`].
    fn later(&self, query: &Query, client: Client, out: &mut Vec<u8>) -> impl Future<Output = ()> + Send;

    /// Takes note of a query that gets no reply because too many wait for theirs.
    fn turned_away(&self, _client: Client) {}
}

/// Everything between the bytes of a request and the bytes of its reply. Cheap to clone.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

struct Inner {
    access: AccessList,
    quota: RateLimiter,
    answers: AnswerCache,
    resolver: Resolver,
    forwarder: Arc<Forwarder>,
    metrics: ServiceMetrics,
    refusals: Refusals,
}

impl Service {
    /// The service as configured.
    pub fn new(config: &Config, resolver: Resolver, forwarder: Arc<Forwarder>, metrics: &Metrics) -> Self {
        let limit = &config.rate_limit;
        Self(Arc::new(Inner {
            access: AccessList::new(config.access.allow.clone(), config.access.deny.clone()),
            quota: RateLimiter::new(limit.requests_per_minute, limit.burst_size),
            answers: AnswerCache::new(
                config.cache.max_entries,
                Duration::from_secs(config.cache.max_stale_seconds),
                resolver.revisions().clone(),
            ),
            resolver,
            forwarder,
            metrics: metrics.service.clone(),
            refusals: metrics.refusals.clone(),
        }))
    }

    fn queries(&self, client: Client) -> &Queries {
        match client.transport {
            Transport::Udp => &self.0.metrics.udp,
            Transport::Tcp => &self.0.metrics.tcp,
            Transport::Tls => &self.0.metrics.tls,
            Transport::Http => &self.0.metrics.http,
        }
    }

    /// Finds the answer, keeps it for others, and returns it in wire form. An answer past its time, where there is one,
    /// is not given up for a failure.
    async fn answer(&self, query: &Query, client: IpAddr) -> (EncodedAnswer, bool) {
        let inner = &*self.0;
        // Our own probe came back: an upstream forwards to us. Asking it again would close the circle.
        if inner.forwarder.is_loop_probe(&query.question) {
            let refusal = ResolveError::Forward(ForwardError::Loop).answer();
            return (refusal.encode(&query.question), false);
        }
        let Resolved { answer, revisions, refresh_in, by_name_server, unreachable } =
            inner.resolver.resolve(query, client).await;
        let encoded = answer.encode(&query.question);
        let authority = match inner.resolver.is_key_name(&query.question.name()) {
            true if by_name_server => Authority::NameServer,
            true => Authority::Key,
            false => Authority::Upstream,
        };
        let now = Instant::now();
        if !(unreachable && inner.answers.has_last_resort(query, now)) {
            let (encoded, lifetime, revisions) = (&encoded, answer.lifetime, &revisions[..]);
            let new = NewAnswer { encoded, authority, lifetime, refresh_in, revisions };
            inner.answers.insert(query, &new, now);
        }
        (encoded, unreachable)
    }

    /// As [`Service::answer`], but with an answer past its time at hand: the client gets it when there is no news soon.
    /// The search for news goes on.
    async fn answer_or_last_resort(&self, query: &Query, client: Client, out: &mut Vec<u8>) -> ResponseCode {
        let (service, asked) = (self.clone(), query.clone());
        let news = tokio::spawn(async move { service.answer(&asked, client.address).await });
        let news = timeout(PATIENCE_WITH_STALE, news).await.ok().and_then(Result::ok);
        if let Some((answer, false)) = &news {
            answer.write(query, client.reply, Age::Seconds(0), out);
            return answer.code();
        }
        let answers = &self.0.answers;
        if let Some(code) = answers.last_resort(query, client.reply, Instant::now(), out) {
            return code;
        }
        // It has left the cache in the meantime.
        let answer =
            news.map_or_else(|| ResolveError::Deadline.answer().encode(&query.question), |news| news.0);
        answer.write(query, client.reply, Age::Seconds(0), out);
        answer.code()
    }

    /// Asks again for an answer that is about to end, while it is still served.
    fn refresh(&self, query: &Query, client: IpAddr) {
        let (service, mut query) = (self.clone(), query.clone());
        query.recursion_desired = true;
        tokio::spawn(async move { service.answer(&query, client).await });
    }
}

impl Respond for Service {
    fn at_once(&self, request: &[u8], client: Client, out: &mut Vec<u8>) -> AtOnce {
        self.respond(request, client, false, out)
    }

    fn admit(&self, client: Client) -> Result<(), Refused> {
        let Inner { quota, access, refusals, .. } = &*self.0;
        let (refused, reason) = if !quota.admit(client.address) {
            (Refused::Quota, Reason::QueryQuota)
        } else if !access.allows(client.address) {
            (Refused::Access, Reason::Access)
        } else {
            return Ok(());
        };
        refusals.note(reason, client.address);
        self.queries(client).answered.refused.inc();
        Err(refused)
    }

    fn at_once_admitted(&self, request: &[u8], client: Client, out: &mut Vec<u8>) -> AtOnce {
        self.respond(request, client, true, out)
    }

    async fn later(&self, query: &Query, client: Client, out: &mut Vec<u8>) {
        let started = Instant::now();
        let code = if self.0.answers.has_last_resort(query, started) {
            self.answer_or_last_resort(query, client, out).await
        } else {
            let (answer, _) = self.answer(query, client.address).await;
            answer.write(query, client.reply, Age::Seconds(0), out);
            answer.code()
        };
        self.queries(client).answered.with(code).inc();
        let took = started.elapsed();
        debug!(client = %client.address, question = ?query.question, %code, ?took);
    }

    fn turned_away(&self, client: Client) {
        self.queries(client).unanswered.busy.inc();
        self.0.refusals.note(Reason::Waiting, client.address);
    }
}

impl Service {
    fn respond(&self, request: &[u8], client: Client, is_admitted: bool, out: &mut Vec<u8>) -> AtOnce {
        let inner = &*self.0;
        let Queries { answered, unanswered } = self.queries(client);
        let decoded = Query::decode(request);
        if decoded.as_ref().is_err_and(|rejection| *rejection == Rejection::Silence) {
            unanswered.malformed.inc();
            return AtOnce::Silence;
        }
        let is_over_quota = !is_admitted && !inner.quota.admit(client.address);
        let refusal = if is_over_quota {
            inner.refusals.note(Reason::QueryQuota, client.address);
            // Whoever forges this address wants it flooded with replies.
            if client.reply == Reply::Datagram {
                unanswered.quota.inc();
                return AtOnce::OverQuota;
            }
            Some(ResolveError::QueryQuota)
        } else if !is_admitted && !inner.access.allows(client.address) {
            inner.refusals.note(Reason::Access, client.address);
            Some(ResolveError::Access)
        } else {
            None
        };
        let query = match (decoded, &refusal) {
            (Ok(query), _) => query,
            (Err(Rejection::Reply { code, header }), None) => {
                answered.with(code).inc();
                out.extend_from_slice(&header);
                return AtOnce::Replied;
            }
            (Err(_), _) => {
                unanswered.malformed.inc();
                return if is_over_quota { AtOnce::OverQuota } else { AtOnce::Silence };
            }
        };
        let is_newer_edns = query.edns.is_some_and(|edns| edns.version > 0);
        if let Some(error) = refusal.or(is_newer_edns.then_some(ResolveError::EdnsVersion)) {
            let answer = error.answer();
            answered.with(answer.code).inc();
            answer.encode(&query.question).write(&query, client.reply, Age::Seconds(0), out);
            return if is_over_quota { AtOnce::OverQuota } else { AtOnce::Replied };
        }
        let Some(hit) = inner.answers.get(&query, client.reply, client.now, out) else {
            inner.metrics.answer_cache.miss.inc();
            return AtOnce::Later(Box::new(query));
        };
        inner.metrics.answer_cache.hit.inc();
        answered.with(hit.code).inc();
        debug!(client = %client.address, question = ?query.question, code = %hit.code, "cached");
        if hit.refresh {
            self.refresh(&query, client.address);
        }
        AtOnce::Replied
    }
}
