//! The certificates that clients are shown.

use std::{
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
};

/// A certificate that clients are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateReading {
    /// The names and addresses that it is for.
    pub names: Vec<String>,
    /// From when on it is valid.
    pub from: SystemTime,
    /// Until when it is.
    pub to: SystemTime,
}

impl CertificateReading {
    /// Its names, or that it has none.
    pub fn title(&self) -> String {
        if self.names.is_empty() { "no name".to_owned() } else { self.names.join(", ") }
    }

    /// Whether clients accept it, as far as the time goes.
    pub fn is_valid(&self, now: SystemTime) -> bool {
        (self.from..self.to).contains(&now)
    }
}

/// Reads the certificates whenever somebody looks.
pub(super) struct CertificateCollector(pub(super) Box<dyn Fn() -> Vec<CertificateReading> + Send + Sync>);

impl fmt::Debug for CertificateCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateCollector").finish_non_exhaustive()
    }
}

impl Collector for CertificateCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let readings = (self.0)();
        if readings.is_empty() {
            return Ok(());
        }
        let help = "When a certificate ends, since unix epoch in seconds.";
        let name = "certificate_expires_timestamp_seconds";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for CertificateReading { names, to, .. } in readings {
            let seconds = to.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
            let labels = [("names", names.join(","))];
            ConstGauge::new(seconds).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
