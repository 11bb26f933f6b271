//! What was left out when this was built.

use thiserror::Error;

use crate::base::config::{Config, DenyList, QueryLogLevel, UpstreamAddress};

/// An option asks for what was left out when this was built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "{option} needs the feature `{feature}`, without which this pkdns was built: build it with that, or leave the option \
     out"
)]
pub struct MissingFeature {
    /// As in the configuration.
    pub option: &'static str,
    /// As in the manifest of the crate.
    pub feature: &'static str,
}

/// Whether everything that is configured is there.
pub(super) fn check(config: &Config) -> Result<(), MissingFeature> {
    let mut zones = config.forward.iter().flat_map(|zone| &zone.to);
    let is_encrypted = |upstream: &UpstreamAddress| upstream.plain().is_none();
    let mut lists = config.denied_keys.all();
    let acme = ("acme", cfg!(feature = "acme"));
    let disk = ("disk", cfg!(feature = "disk"));
    let http = ("http", cfg!(feature = "http"));
    let query_log = ("query-log", cfg!(feature = "query-log"));
    let redis = ("redis", cfg!(feature = "redis"));
    let tls = ("tls", cfg!(feature = "tls"));
    let wanted = [
        ("fallback_dns", tls, config.fallback_dns.iter().any(is_encrypted)),
        ("forward.to", tls, zones.any(is_encrypted)),
        ("fallback_ca_path", tls, config.fallback_ca_path.is_some()),
        ("dht.relays", tls, !config.dht.relays.is_empty()),
        ("denied_keys", tls, lists.any(|(_, list)| matches!(list, DenyList::Url(_)))),
        ("dot.enabled", tls, config.dot.enabled),
        ("acme.enabled", acme, config.acme.enabled),
        ("cache.path", disk, config.cache.directory().is_some()),
        ("cache.redis", redis, config.cache.redis.is_some()),
        ("doh.enabled", http, config.doh.enabled),
        ("doh.plain_listen", http, !config.doh.plain_listen.is_empty()),
        ("metrics.listen", http, !config.metrics.listen.is_empty()),
        ("bridge.listen", http, config.bridge.is_enabled()),
        ("relay.enabled", http, config.relay.enabled),
        ("query_log.level", query_log, config.query_log.level != QueryLogLevel::Off),
        ("dnstap.to", query_log, config.dnstap.to.is_some()),
    ];
    let missing = wanted.into_iter().find(|(_, (_, is_there), is_wanted)| *is_wanted && !is_there);
    missing.map_or(Ok(()), |(option, (feature, _), _)| Err(MissingFeature { option, feature }))
}
