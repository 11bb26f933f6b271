//! Another configuration for a service that answers.

use std::sync::{Arc, atomic::AtomicU32};

use super::{Inner, Service, answers, led::Led, quota};
use crate::{base::config::Config, resolver::Resolver, service::QueryLog};

impl Service {
    /// Goes by `config` in place of `old` from now on, and asks `resolver`. Questions that are under way end as they began;
    /// where the rules for answers are others, nothing of what they bring is kept, nor of what is held. Quotas whose numbers
    /// are the same go on. Queries are recorded in `query_log` from now on.
    pub fn reload(&self, old: &Config, config: &Config, resolver: Resolver, query_log: QueryLog) {
        let before = self.0.load_full();
        let (numbers, others) = (&old.rate_limit, &config.rate_limit);
        let is_same_quota = numbers.requests_per_minute == others.requests_per_minute
            && numbers.burst_size == others.burst_size;
        before.forwarders.replace(others.forwarders.clone());
        self.0.store(Arc::new(Inner {
            access: config.access.list(),
            quota: if is_same_quota { before.quota.clone() } else { quota(config, &before.forwarders) },
            forwarders: before.forwarders.clone(),
            cookies: before.cookies.clone(),
            slips: AtomicU32::new(0),
            led: Led::new(&config.bridge),
            answers: if keeps_answers(old, config) {
                before.answers.clone()
            } else {
                answers(config, &resolver)
            },
            resolver: resolver.clone(),
            forwarder: before.forwarder.clone(),
            unattended: before.unattended.clone(),
            metrics: before.metrics.clone(),
            refusals: before.refusals.clone(),
            query_log,
        }));
        resolver.has_replaced(&before.resolver, others.forwarders.clone());
    }
}

/// Whether answers that were kept under `old` may be given under `config`, and there is room for as many.
fn keeps_answers(old: &Config, config: &Config) -> bool {
    config.answers_as(old)
        && config.cache.max_entries == old.cache.max_entries
        && config.cache.max_stale_seconds == old.cache.max_stale_seconds
}
