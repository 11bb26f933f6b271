//! The process itself, under the names that all programs have for Prometheus.

use std::{
    fmt, fs,
    time::{SystemTime, UNIX_EPOCH},
};

use nix::sys::{
    resource::{Resource, UsageWho, getrlimit, getrusage},
    time::{TimeVal, TimeValLike},
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

/// What the system says about this process. What it does not say is absent: memory and open descriptors come from /proc,
/// which Linux has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Process {
    /// Memory that is in RAM, in bytes.
    pub resident_bytes: Option<u64>,
    /// Files and sockets that are open.
    pub open_descriptors: Option<u64>,
    /// As many may be.
    pub max_descriptors: Option<u64>,
    /// Time of processors, in seconds.
    pub cpu_seconds: Option<f64>,
}

impl Process {
    /// Reads it. Takes some microseconds for each thousand descriptors that are open.
    pub fn read() -> Self {
        let status = fs::read_to_string("/proc/self/status").ok();
        let seconds = |time: TimeVal| time.num_microseconds() as f64 / 1e6;
        Self {
            resident_bytes: status.and_then(|status| resident_bytes(&status)),
            // One of them is the directory that is read here.
            open_descriptors: fs::read_dir("/proc/self/fd")
                .ok()
                .map(|open| (open.count() as u64).saturating_sub(1)),
            max_descriptors: getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(soft, _)| soft),
            cpu_seconds: getrusage(UsageWho::RUSAGE_SELF)
                .ok()
                .map(|usage| seconds(usage.user_time()) + seconds(usage.system_time())),
        }
    }
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Reads the process whenever somebody looks.
#[derive(Debug)]
pub(super) struct ProcessCollector {
    pub(super) started: SystemTime,
}

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let process = Process::read();
        let started = self.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let in_full = |number: u64| number as f64;
        for (name, help, value) in [
            (
                "process_resident_memory_bytes",
                "Resident memory size in bytes.",
                process.resident_bytes.map(in_full),
            ),
            ("process_open_fds", "Number of open file descriptors.", process.open_descriptors.map(in_full)),
            (
                "process_max_fds",
                "Maximum number of open file descriptors.",
                process.max_descriptors.map(in_full),
            ),
            (
                "process_start_time_seconds",
                "Start time of the process since unix epoch in seconds.",
                Some(started),
            ),
        ] {
            if let Some(value) = value {
                ConstGauge::new(value).encode(encoder.encode_descriptor(
                    name,
                    help,
                    None,
                    MetricType::Gauge,
                )?)?;
            }
        }
        if let Some(seconds) = process.cpu_seconds {
            let (name, help) = ("process_cpu_seconds", "Total user and system CPU time spent in seconds.");
            let family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(seconds).encode(family)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_as_linux_writes_it() {
        assert_eq!(resident_bytes("Name:\tpkdns\nVmRSS:\t   12345 kB\nThreads:\t9\n"), Some(12_345 * 1024));
        assert_eq!(resident_bytes("Name:\tpkdns\n"), None);
        assert_eq!(resident_bytes("VmRSS:\t many kB\n"), None);
    }

    #[test]
    fn what_the_process_takes_is_seen() {
        let before = Process::read();
        assert!(before.resident_bytes.is_some_and(|bytes| bytes > 1 << 20), "{before:?}");
        let files: Vec<_> = (0..100).map(|_| fs::File::open("/proc/self/status").unwrap()).collect();
        let after = Process::read();
        // Other tests open and close some meanwhile.
        assert!(
            after.open_descriptors > before.open_descriptors.map(|open| open + 50),
            "{before:?} {after:?}"
        );
        assert!(after.max_descriptors >= after.open_descriptors && after.cpu_seconds >= before.cpu_seconds);
        drop(files);
    }
}
