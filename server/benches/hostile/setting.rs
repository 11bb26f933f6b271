//! The server under attack, and the outcomes for its other clients.

use std::{
    fmt::Write,
    fs,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use pkdns_testing::benchmark::{Process, cores, on_core};
use rcgen::generate_simple_self_signed;

use crate::{
    questions::{Asker, Outcome},
    upstream::Upstream,
};

/// The address of a client that means no harm.
pub(crate) const OTHER_CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 200);

/// A server with every transport, on the first core, and its upstream.
pub(crate) struct Setting {
    pub(crate) server: Process,
    pub(crate) upstream: Upstream,
}

impl Setting {
    /// `more` is appended to a configuration without DHT, which ends with the section `[dot]`. The calling thread, and
    /// what it starts from now on, stays on the second core.
    pub(crate) fn start(upstream_delay: Duration, more: &str) -> Self {
        let (server_core, client_core) = cores();
        let upstream = Upstream::start(upstream_delay);
        let directory = tempfile::tempdir().unwrap();
        let made = generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let [certificate, key] = ["cert.pem", "key.pem"].map(|name| directory.path().join(name));
        fs::write(&certificate, made.cert.pem()).unwrap();
        fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let configuration = format!(
            "listen = ['127.0.0.1:0', '[::1]:0']\nfallback_dns = '{}'\n[doh]\nenabled = true\nlisten = '127.0.0.1:0'\n\
             plain_listen = '127.0.0.1:0'\ncert_path = '{}'\nkey_path = '{}'\n[metrics]\nlisten = '127.0.0.1:0'\n\
             [dht]\nenabled = false\n[dot]\nenabled = true\nlisten = '127.0.0.1:0'\n{more}\n",
            upstream.address(),
            certificate.display(),
            key.display()
        );
        let server = on_core(server_core, client_core, || Process::pkdns(&configuration));
        // Its files are read at the start.
        for protocol in ["tls", "https", "http", "metrics"] {
            server.port(protocol);
        }
        Self { server, upstream }
    }
}

/// Latencies, and what came instead of an answer.
#[derive(Debug, Default)]
pub(crate) struct Fate {
    milliseconds: Vec<f64>,
    failures: Vec<String>,
}

impl Fate {
    pub(crate) fn add(&mut self, outcome: Outcome, took: Duration) {
        match outcome {
            Outcome::Answer => self.milliseconds.push(took.as_secs_f64() * 1000.0),
            Outcome::Failure(code) => self.failures.push(code.to_string()),
            Outcome::Truncated => self.failures.push("TC".to_owned()),
            Outcome::Silence => self.failures.push("silence".to_owned()),
        }
    }

    /// Of those that were answered, in milliseconds; `None` when there were none.
    pub(crate) fn percentile(&self, percent: usize) -> Option<f64> {
        let mut sorted = self.milliseconds.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(((sorted.len() * percent) / 100).min(sorted.len().saturating_sub(1))).copied()
    }

    /// Cells of a table: answered of asked, median, 99th percentile, what came instead.
    pub(crate) fn cells(&self) -> String {
        let show =
            |figure: Option<f64>| figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.2}"));
        let mut kinds: Vec<&String> = self.failures.iter().collect();
        kinds.sort();
        kinds.dedup();
        let mut failures = String::new();
        for kind in kinds {
            let count = self.failures.iter().filter(|failure| *failure == kind).count();
            let _ = write!(failures, "{count} x {kind} ");
        }
        format!(
            "{} of {} | {} | {} | {}",
            self.milliseconds.len(),
            self.milliseconds.len() + self.failures.len(),
            show(self.percentile(50)),
            show(self.percentile(99)),
            failures.trim_end()
        )
    }
}

/// How a client fares that asks for `name(number)`, `count` times, one each `pause`, over UDP and without trying again.
pub(crate) fn ask_in_turn(asker: &Asker, count: u32, pause: Duration, name: impl Fn(u32) -> String) -> Fate {
    let mut fate = Fate::default();
    let start = Instant::now();
    for number in 0..count {
        std::thread::sleep((start + pause * number).saturating_duration_since(Instant::now()));
        let asked = Instant::now();
        let outcome = asker.ask(&name(number));
        fate.add(outcome, asked.elapsed());
    }
    fate
}

/// How other clients fare where nobody means harm.
pub(crate) fn alone(in_full: bool) {
    let setting = Setting::start(Duration::from_millis(30), "");
    let asker = Asker::new(OTHER_CLIENT, setting.server.address());
    let count = if in_full { 300 } else { 10 };
    let pause = Duration::from_millis(if in_full { 20 } else { 1 });
    println!("\nAlone: ms\n\n| | answered | p50 | p99 | failed |\n|---|---|---|---|---|");
    let fate = ask_in_turn(&asker, count, pause, |number| format!("a{number}.ok.example"));
    println!("| uncached names, 30 ms away | {} |", fate.cells());
    let fate = ask_in_turn(&asker, count, pause, |_| "a0.ok.example".to_owned());
    println!("| hits | {} |", fate.cells());
    let asked = setting.upstream.questions();
    println!("\n{asked} questions to the upstream, {:.1} MB of memory", setting.server.memory() as f64 / 1e6);
}
