//! Another configuration, while questions are answered: what was learnt stays as far as it holds.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ipnet::IpNet;

use super::{
    Inner, Resolver,
    bridged::BridgeRules,
    chain::Chain,
    chaos::Identity,
    discovery::{self, Discovery},
    local::LocalNames,
    name::Suffixes,
    nxdomain::NxDomains,
    origin::Origins,
    origins::{self, ServedOrigins},
    proofs::Proofs,
    rebinding::RebindProtection,
};
use crate::base::{access::Forwarders, config::Config, rate_limit::SplitLimiter};

impl Resolver {
    /// A resolver as `config` says, after one as `old` said. What was learnt stays as far as it holds under other rules, and
    /// so do quotas whose numbers are the same, and budgets of origins that stay. Reads the hosts files if
    /// [`Resolver::reads_hosts_files_anew`] says so.
    pub fn renewed(&self, old: &Config, config: &Config, origins: Origins) -> Self {
        let inner = &*self.0;
        let (before, after) = (&old.rate_limit, &config.rate_limit);
        let is_same_quota = before.dht_requests_per_minute == after.dht_requests_per_minute
            && before.dht_burst_size == after.dht_burst_size;
        let holds = config.answers_as(old) && config.cache.max_entries == old.cache.max_entries;
        let suffixes = suffixes(config);
        Self(Arc::new(Inner {
            bridge: BridgeRules::new(config, &suffixes),
            local: match Self::reads_hosts_files_anew(old, config) {
                true => LocalNames::open(&config.local, &suffixes, inner.packets.revisions()),
                false => inner.local.clone(),
            },
            suffixes,
            packets: inner.packets.clone(),
            delegations: inner.delegations.with(&config.delegation),
            forwarder: inner.forwarder.clone(),
            lookup_quota: match is_same_quota {
                true => inner.lookup_quota.clone(),
                false => lookup_quota(config, &inner.forwarders),
            },
            forwarders: inner.forwarders.clone(),
            nxdomains: match holds {
                true => inner.nxdomains.clone(),
                false => Arc::new(NxDomains::new(config.cache.max_entries)),
            },
            proofs: if holds { inner.proofs.clone() } else { Arc::new(Proofs::new()) },
            rebind_protection: RebindProtection::new(&config.rebind_protection),
            identity: Identity::new(&config.identity),
            discovery: Discovery::new(config),
            own_zone: inner.own_zone.clone(),
            origins: Arc::new(ServedOrigins::new(origins, &config.origin, Some(&inner.origins))),
            negative_ttl: negative_ttl(config),
            denied: inner.denied.clone(),
            is_replaced: AtomicBool::new(false),
        }))
    }

    /// Notes in an answer the revision of what the configuration says. An answer of a resolver that has been replaced is
    /// good for who asked, and not to be kept: its revision may be that of the new one.
    pub(super) fn note_own(&self, of: &[u8; 32], chain: &mut Chain) {
        // In this order, which is the reverse of that of `has_replaced`.
        chain.revisions.push(self.revisions().current(of));
        if self.0.is_replaced.load(Ordering::Acquire) {
            chain.fresh_for = Duration::ZERO;
        }
    }

    /// Whether [`Resolver::watch_hosts_files`] has to be called anew for a renewed resolver.
    pub fn reads_hosts_files_anew(old: &Config, config: &Config) -> bool {
        old.local != config.local || old.names.suffixes != config.names.suffixes
    }

    /// This resolver has taken the place of `old`: what that said of this server itself is out of date.
    pub fn has_replaced(&self, old: &Self, forwarders: Vec<IpNet>) {
        self.0.forwarders.replace(forwarders);
        old.0.is_replaced.store(true, Ordering::Release);
        if self.0.discovery != old.0.discovery {
            self.revisions().advance(&discovery::OWN_NAMES);
        }
        if !self.0.origins.is_as(&old.0.origins) {
            self.revisions().advance(&origins::ZONE_FILES);
        }
    }
}

pub(super) fn suffixes(config: &Config) -> Suffixes {
    let origins = config.origin.iter().map(|origin| origin.name.as_str());
    Suffixes::new(config.names.suffixes.iter().map(String::as_str).chain(origins))
}

pub(super) fn lookup_quota(config: &Config, forwarders: &Forwarders) -> Arc<SplitLimiter> {
    let quota = &config.rate_limit;
    Arc::new(SplitLimiter::new(quota.dht_requests_per_minute, quota.dht_burst_size, forwarders))
}

pub(super) fn negative_ttl(config: &Config) -> u32 {
    u32::try_from(config.cache.negative_ttl_seconds).unwrap_or(u32::MAX)
}
