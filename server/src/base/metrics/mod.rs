//! What is counted, for Prometheus. Imports nothing of ours, so that everything can count.
//!
//! Every series exists from the start, at zero: a rate over a series that appears with its first event would miss that
//! event. Counters are reached as fields, so that counting is one atomic addition, without a lock.

mod answers;
mod bridge;
mod certificates;
mod connections;
mod denied;
mod dht;
mod durations;
mod logs;
mod process;
mod refusals;
mod relay;
mod reload;
mod service;
mod shared;
mod source;
mod striped;
mod upstreams;

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::SystemTime,
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text},
    metrics::{gauge::ConstGauge, info::Info},
    registry::Registry,
};

pub use answers::{AnswerTimes, Farthest};
pub use bridge::{BridgeBytes, BridgeConnections, BridgeHandshakes, BridgeMetrics, BridgePlain};
pub use certificates::CertificateReading;
pub use connections::{ConnectionMetrics, HandshakeFailures, OpenConnection, OpenConnections};
pub use denied::DeniedLookups;
pub use dht::{
    DatagramsIgnored, DhtMetrics, KeepAliveOutcomes, LookupOutcomes, NodesByFamily, PutOutcomes,
    RelayOutcomes, RequestOutcomes, Requests, SignatureChecks,
};
pub use durations::{Durations, Observed};
pub use logs::{LogMetrics, RecordsDropped};
pub use process::Process;
pub use refusals::{Reason, Refusals};
pub use relay::{RelayMetrics, RelayReads, RelayWrites};
pub use reload::{ReloadMetrics, Reloads};
pub use service::{AnswerCacheLookups, Answered, Cookies, Queries, ServiceMetrics, Unanswered};
pub use shared::{SharedLookups, SharedMetrics, SharedPuts};
pub use source::Source;
pub use striped::{Striped, StripedCounter};
pub use upstreams::{UpstreamMetrics, UpstreamReading, UpstreamState};

use certificates::CertificateCollector;
use process::ProcessCollector;
use upstreams::UpstreamCollector;

/// Media type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything that is counted. Cheap to clone; clones count together.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<RwLock<Registry>>,
    /// What has names that do not begin with `pkdns`.
    process: Arc<Registry>,
    started: SystemTime,
    /// The client of the DHT.
    pub dht: DhtMetrics,
    /// Queries and answers.
    pub service: ServiceMetrics,
    /// Packets that several servers share.
    pub shared: SharedMetrics,
    /// Requests of relay clients.
    pub relay: RelayMetrics,
    /// Who was refused or cut off, and why.
    pub refusals: Refusals,
    /// Lookups of keys that are not answered for.
    pub denied: DeniedLookups,
    /// Reloads of the configuration.
    pub reload: ReloadMetrics,
    /// What logs of queries left out.
    pub logs: LogMetrics,
    /// Connections of clients.
    pub connections: ConnectionMetrics,
    /// Connections to sites under keys.
    pub bridge: BridgeMetrics,
}

impl Default for Metrics {
    fn default() -> Self {
        let (dht, service) = (DhtMetrics::default(), ServiceMetrics::default());
        let (shared, relay) = (SharedMetrics::default(), RelayMetrics::default());
        let (refusals, reload, logs) = (Refusals::default(), ReloadMetrics::default(), LogMetrics::default());
        let (connections, denied) = (ConnectionMetrics::default(), DeniedLookups::default());
        let bridge = BridgeMetrics::default();
        let started = SystemTime::now();
        let mut process = Registry::default();
        process.register_collector(Box::new(ProcessCollector { started }));
        let mut registry = Registry::with_prefix("pkdns");
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        registry.register("build", "The program that runs", Info::new(version));
        service.register(&mut registry);
        refusals.register(&mut registry);
        connections.register(&mut registry);
        denied.register(&mut registry);
        reload.register(&mut registry);
        logs.register(&mut registry);
        shared.register(registry.sub_registry_with_prefix("shared"));
        relay.register(registry.sub_registry_with_prefix("relay"));
        bridge.register(registry.sub_registry_with_prefix("bridge"));
        dht.register(registry.sub_registry_with_prefix("dht"));
        let (registry, process) = (Arc::new(RwLock::new(registry)), Arc::new(process));
        Self {
            registry,
            process,
            started,
            dht,
            service,
            shared,
            relay,
            refusals,
            denied,
            connections,
            bridge,
            reload,
            logs,
        }
    }
}

impl Metrics {
    /// Adds a gauge, `pkdns_<name>`, that `read` tells the value of whenever somebody looks.
    pub fn add_gauge(
        &self,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> usize + Send + Sync + 'static,
    ) {
        self.add(GaugeReadLate { name, help, read: Box::new(read) });
    }

    /// Adds the upstreams, which `read` reads whenever somebody looks.
    pub fn add_upstreams(&self, read: impl Fn() -> Vec<UpstreamReading> + Send + Sync + 'static) {
        self.add(UpstreamCollector(Box::new(read)));
    }

    /// Adds the certificates that clients are shown, which `read` reads whenever somebody looks.
    pub fn add_certificates(&self, read: impl Fn() -> Vec<CertificateReading> + Send + Sync + 'static) {
        self.add(CertificateCollector(Box::new(read)));
    }

    fn add(&self, collector: impl Collector) {
        let mut registry = self.registry.write().unwrap_or_else(PoisonError::into_inner);
        registry.register_collector(Box::new(collector));
    }

    /// When counting began, which is when the server started.
    pub fn started(&self) -> SystemTime {
        self.started
    }

    /// All of it, as [`CONTENT_TYPE`] says.
    ///
    /// # Errors
    ///
    /// When a metric cannot be written, which none of ours gives reason to.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut page = String::new();
        text::encode_registry(&mut page, &self.registry.read().unwrap_or_else(PoisonError::into_inner))?;
        text::encode_registry(&mut page, &self.process)?;
        text::encode_eof(&mut page)?;
        Ok(page)
    }
}

/// A value that is kept elsewhere.
struct GaugeReadLate {
    name: &'static str,
    help: &'static str,
    read: Box<dyn Fn() -> usize + Send + Sync>,
}

impl fmt::Debug for GaugeReadLate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GaugeReadLate").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Collector for GaugeReadLate {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let gauge = ConstGauge::new(i64::try_from((self.read)()).unwrap_or(i64::MAX));
        // The library writes the full stop after the help of other metrics.
        let help = format!("{}.", self.help);
        gauge.encode(encoder.encode_descriptor(self.name, &help, None, gauge.metric_type())?)
    }
}

/// The name and the value of a label.
type Label = (&'static str, &'static str);

/// Metrics of one name, as a field for each value of a label.
macro_rules! by_label {
    (
        $(#[$about:meta])*
        pub struct $name:ident($metric:ty) by $label:literal {
            $($(#[$meaning:meta])* $field:ident = $value:literal,)+
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone)]
        pub struct $name {
            $($(#[$meaning])* pub $field: $metric,)+
            family: prometheus_client::metrics::family::Family<Vec<$crate::base::metrics::Label>, $metric>,
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new(prometheus_client::metrics::family::Family::default(), &[])
            }
        }

        impl $name {
            /// `others` are the labels that this shares `family` with others by.
            fn new(
                family: prometheus_client::metrics::family::Family<Vec<$crate::base::metrics::Label>, $metric>,
                others: &[$crate::base::metrics::Label],
            ) -> Self {
                let labels = |value| others.iter().copied().chain([($label, value)]).collect();
                Self { $($field: family.get_or_create_owned(&labels($value)),)+ family }
            }

            /// Each value of the label with what is counted under it.
            pub fn readings(&self) -> Vec<(&'static str, u64)> {
                vec![$(($value, self.$field.get().try_into().unwrap_or(0)),)+]
            }
        }
    };
}
use by_label;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_exists_from_the_start() {
        let page = Metrics::default().encode().unwrap();
        for series in [
            "pkdns_queries_total{protocol=\"tcp\",rcode=\"REFUSED\"} 0\n",
            "pkdns_queries_unanswered_total{protocol=\"udp\",reason=\"quota\"} 0\n",
            "pkdns_answer_cache_lookups_total{result=\"hit\"} 0\n",
            "pkdns_refusals_total{reason=\"access\"} 0\n",
            "pkdns_dht_lookups_total{outcome=\"not_ready\"} 0\n",
            "pkdns_dht_nodes{family=\"ipv6\"} 0\n",
            "pkdns_dht_requests_total{method=\"put\",outcome=\"unanswered\"} 0\n",
            "pkdns_dht_round_trip_seconds_bucket{le=\"0.005\"} 0\n",
            "pkdns_dht_first_answer_seconds_bucket{le=\"0.005\"} 0\n",
            "pkdns_dht_datagrams_dropped_by_kernel_total 0\n",
            "pkdns_connections{kind=\"https\"} 0\n",
            "pkdns_bridge_connections_total{outcome=\"bridged\"} 0\n",
            "pkdns_tls_handshake_failures_total{reason=\"not_tls\"} 0\n",
            "\nprocess_start_time_seconds ",
        ] {
            assert!(page.contains(series), "{series} is not in\n{page}");
        }
        assert!(page.ends_with("# EOF\n"));
    }

    #[test]
    fn clones_count_together_and_each_label_for_itself() {
        let metrics = Metrics::default();
        let (engine, service) = (metrics.dht.clone(), metrics.service.clone());
        engine.lookups.found.inc();
        engine.lookup_duration.observe(0.3);
        service.udp.answered.no_error.inc_by(2);
        let page = metrics.encode().unwrap();
        for series in [
            "pkdns_dht_lookups_total{outcome=\"found\"} 1\n",
            "pkdns_dht_lookups_total{outcome=\"absent\"} 0\n",
            "pkdns_dht_lookup_duration_seconds_sum 0.3\n",
            "pkdns_queries_total{protocol=\"udp\",rcode=\"NOERROR\"} 2\n",
            "pkdns_queries_total{protocol=\"tcp\",rcode=\"NOERROR\"} 0\n",
        ] {
            assert!(page.contains(series), "{series} is not in\n{page}");
        }
    }

    #[test]
    fn a_gauge_is_read_when_somebody_looks() {
        let metrics = Metrics::default();
        let value = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let read = value.clone();
        metrics.add_gauge("things", "Things", move || read.load(std::sync::atomic::Ordering::Relaxed));
        for expected in [0, 7] {
            value.store(expected, std::sync::atomic::Ordering::Relaxed);
            let page = metrics.encode().unwrap();
            assert!(page.contains(&format!("\npkdns_things {expected}\n")), "{page}");
            assert!(page.contains("# HELP pkdns_things Things.\n"), "{page}");
        }
    }
}
