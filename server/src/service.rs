//! The one door: every transport hands the bytes of a request to this.

use std::{net::IpAddr, sync::Arc};

use tokio::time::Instant;
use tracing::debug;

use crate::{
    access::AccessList,
    answer_cache::{AnswerCache, Authority},
    config::Config,
    forward::{ForwardError, Forwarder},
    message::{EncodedAnswer, Query, Rejection, Reply},
    metrics::{Queries, ServiceMetrics},
    rate_limit::RateLimiter,
    resolver::{Resolver, error::ResolveError},
};

/// Who asks, and how the reply travels.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    /// The client's address, as the limits count it.
    pub address: IpAddr,
    /// Datagram or stream.
    pub reply: Reply,
}

/// What became of a request without waiting for anything.
#[derive(Debug)]
pub enum AtOnce {
    /// The reply was appended to the buffer.
    Replied,
    /// There is no reply to this.
    Silence,
    /// The answer is not at hand: pass this to [`Respond::later`].
    Later(Box<Query>),
}

/// Answers requests. Transports are written against this, so that they can be tested with answers of any speed.
pub trait Respond: Send + Sync + 'static {
    /// Replies from what is at hand, where the bytes arrived: refusals and cached answers. Never blocks.
    fn at_once(&self, request: &[u8], client: Client, out: &mut Vec<u8>) -> AtOnce;

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
}

impl Service {
    /// The service as configured.
    pub fn new(
        config: &Config,
        resolver: Resolver,
        forwarder: Arc<Forwarder>,
        metrics: ServiceMetrics,
    ) -> Self {
        let limit = &config.rate_limit;
        Self(Arc::new(Inner {
            access: AccessList::new(config.access.allow.clone(), config.access.deny.clone()),
            quota: RateLimiter::new(limit.requests_per_minute, limit.burst_size),
            answers: AnswerCache::new(config.cache.max_entries),
            resolver,
            forwarder,
            metrics,
        }))
    }

    fn queries(&self, client: Client) -> &Queries {
        match client.reply {
            Reply::Datagram => &self.0.metrics.udp,
            Reply::Stream { .. } => &self.0.metrics.tcp,
        }
    }

    /// Finds the answer, keeps it for others, and returns it in wire form.
    async fn answer(&self, query: &Query, client: IpAddr) -> Arc<EncodedAnswer> {
        let inner = &*self.0;
        // Our own probe came back: an upstream forwards to us. Asking it again would close the circle.
        if inner.forwarder.is_loop_probe(&query.question) {
            let refusal = ResolveError::Forward(ForwardError::Loop).answer();
            return Arc::new(refusal.encode(&query.question));
        }
        let answer = inner.resolver.resolve(query, client).await;
        let encoded = Arc::new(answer.encode(&query.question));
        let authority = match inner.resolver.is_key_name(&query.question.name()) {
            true => Authority::Key,
            false => Authority::Upstream,
        };
        let now = Instant::now();
        inner.answers.insert(query, authority, encoded.clone(), answer.lifetime, now);
        encoded
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
        let inner = &*self.0;
        let Queries { answered, unanswered } = self.queries(client);
        let decoded = Query::decode(request);
        if decoded.as_ref().is_err_and(|rejection| *rejection == Rejection::Silence) {
            unanswered.malformed.inc();
            return AtOnce::Silence;
        }
        let refusal = if !inner.quota.admit(client.address) {
            // Whoever forges this address wants it flooded with replies.
            if client.reply == Reply::Datagram {
                unanswered.quota.inc();
                return AtOnce::Silence;
            }
            Some(ResolveError::QueryQuota)
        } else if !inner.access.allows(client.address) {
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
                return AtOnce::Silence;
            }
        };
        let is_newer_edns = query.edns.is_some_and(|edns| edns.version > 0);
        if let Some(error) = refusal.or(is_newer_edns.then_some(ResolveError::EdnsVersion)) {
            let answer = error.answer();
            answered.with(answer.code).inc();
            answer.encode(&query.question).write(&query, client.reply, 0, out);
            return AtOnce::Replied;
        }
        let Some(hit) = inner.answers.get(&query, Instant::now()) else {
            inner.metrics.answer_cache.miss.inc();
            return AtOnce::Later(Box::new(query));
        };
        inner.metrics.answer_cache.hit.inc();
        answered.with(hit.answer.code()).inc();
        hit.answer.write(&query, client.reply, hit.age, out);
        debug!(client = %client.address, question = ?query.question, code = %hit.answer.code(), "cached");
        if hit.refresh {
            self.refresh(&query, client.address);
        }
        AtOnce::Replied
    }

    async fn later(&self, query: &Query, client: Client, out: &mut Vec<u8>) {
        let started = Instant::now();
        let answer = self.answer(query, client.address).await;
        self.queries(client).answered.with(answer.code()).inc();
        answer.write(query, client.reply, 0, out);
        let took = started.elapsed();
        debug!(client = %client.address, question = ?query.question, code = %answer.code(), ?took);
    }

    fn turned_away(&self, client: Client) {
        self.queries(client).unanswered.busy.inc();
    }
}
