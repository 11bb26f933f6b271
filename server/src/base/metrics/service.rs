//! Queries and answers.

use hickory_proto::op::ResponseCode;
use prometheus_client::{metrics::family::Family, registry::Registry};

use super::{AnswerTimes, StripedCounter, answers::AnswerTimesCollector, by_label};

/// What the service counts. Clones count together.
#[derive(Debug, Clone)]
pub struct ServiceMetrics {
    /// Queries over UDP.
    pub udp: Queries,
    /// Queries over TCP in the clear.
    pub tcp: Queries,
    /// Queries over TLS.
    pub tls: Queries,
    /// Queries over HTTPS, and over HTTP.
    pub http: Queries,
    /// Queries that could have been answered from the cache.
    pub answer_cache: AnswerCacheLookups,
    /// What queries over UDP show of where they come from.
    pub cookies: Cookies,
    /// How long answers took that were not at hand.
    pub times: AnswerTimes,
}

impl ServiceMetrics {
    /// Replies over all transports, whatever their code.
    pub fn replies(&self) -> u64 {
        [&self.udp, &self.tcp, &self.tls, &self.http]
            .into_iter()
            .map(|queries| queries.answered.total())
            .sum()
    }
}

impl Answered {
    fn total(&self) -> u64 {
        let codes = [
            &self.no_error,
            &self.format_error,
            &self.server_failure,
            &self.name_error,
            &self.not_implemented,
            &self.refused,
            &self.bad_version,
            &self.bad_cookie,
            &self.other,
        ];
        codes.into_iter().map(StripedCounter::get).sum()
    }
}

/// Queries over one transport.
#[derive(Debug, Clone)]
pub struct Queries {
    /// Those that got a reply.
    pub answered: Answered,
    /// Those that got none.
    pub unanswered: Unanswered,
}

by_label! {
    /// Replies by their code.
    pub struct Answered(StripedCounter) by "rcode" {
        /// Records, or none of this type.
        no_error = "NOERROR",
        /// Not a query that could be read.
        format_error = "FORMERR",
        /// Nobody who knows could be asked.
        server_failure = "SERVFAIL",
        /// No such name.
        name_error = "NXDOMAIN",
        /// Not a kind of query that is answered.
        not_implemented = "NOTIMP",
        /// Quota or access.
        refused = "REFUSED",
        /// A version of EDNS above 0.
        bad_version = "BADVERS",
        /// Over quota, and told the cookie to ask again with.
        bad_cookie = "BADCOOKIE",
        /// Any other, as upstreams say it.
        other = "other",
    }
}

by_label! {
    /// Why there was no reply.
    pub struct Unanswered(StripedCounter) by "reason" {
        /// Not a query.
        malformed = "malformed",
        /// The client's quota is spent. Over UDP only; over streams that is REFUSED.
        quota = "quota",
        /// Too many queries waited for an answer.
        busy = "busy",
    }
}

by_label! {
    /// DNS cookies.
    pub struct Cookies(StripedCounter) by "cookie" {
        /// The client sent none.
        none = "none",
        /// It has none of ours yet.
        new = "new",
        /// What it sent is not ours, not its own, or too old.
        invalid = "invalid",
        /// It is where it says.
        valid = "valid",
    }
}

by_label! {
    /// What the answer cache had.
    pub struct AnswerCacheLookups(StripedCounter) by "result" {
        /// The answer.
        hit = "hit",
        /// Nothing.
        miss = "miss",
    }
}

impl Default for ServiceMetrics {
    fn default() -> Self {
        let (answered, unanswered) = (Family::default(), Family::default());
        let over = |protocol| Queries {
            answered: Answered::new(answered.clone(), &[("protocol", protocol)]),
            unanswered: Unanswered::new(unanswered.clone(), &[("protocol", protocol)]),
        };
        let (answer_cache, cookies) = (AnswerCacheLookups::default(), Cookies::default());
        Self {
            udp: over("udp"),
            tcp: over("tcp"),
            tls: over("dot"),
            http: over("doh"),
            answer_cache,
            cookies,
            times: AnswerTimes::default(),
        }
    }
}

impl ServiceMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let metrics = self.clone();
        registry.register("queries", "Queries that were answered", metrics.udp.answered.family);
        registry.register("queries_unanswered", "Queries that got no reply", metrics.udp.unanswered.family);
        registry.register(
            "answer_cache_lookups",
            "Queries that the answer cache was asked for",
            metrics.answer_cache.family,
        );
        registry.register("udp_cookies", "Queries over UDP by their cookie", metrics.cookies.family);
        registry.register_collector(Box::new(AnswerTimesCollector {
            times: metrics.times,
            hits: metrics.answer_cache.hit,
        }));
    }
}

impl Answered {
    /// The counter of replies with this code.
    pub fn with(&self, code: ResponseCode) -> &StripedCounter {
        match code {
            ResponseCode::NoError => &self.no_error,
            ResponseCode::FormErr => &self.format_error,
            ResponseCode::ServFail => &self.server_failure,
            ResponseCode::NXDomain => &self.name_error,
            ResponseCode::NotImp => &self.not_implemented,
            ResponseCode::Refused => &self.refused,
            ResponseCode::BADCOOKIE => &self.bad_cookie,
            // One number, two names.
            ResponseCode::BADVERS | ResponseCode::BADSIG => &self.bad_version,
            _ => &self.other,
        }
    }
}
