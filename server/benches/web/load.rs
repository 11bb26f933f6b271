//! Programs that send queries as fast as they can.

use std::{fmt::Write, fs, process::Command};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use pkdns_testing::benchmark::names::query;
use tempfile::TempDir;

use crate::servers::{Server, find};

/// Names that are asked for with GET, each as often as the others. POST and TLS ask for the first.
const NAMES: usize = 1000;

/// Connections, and requests that wait on each.
const CONNECTIONS: u32 = 8;
const WAITING: u32 = 32;

#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Http2TlsGet,
    Http2TlsPost,
    Http2Get,
    Http2Post,
    Http1TlsGet,
    Tls,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http2TlsGet => "HTTP/2 over TLS, GET",
            Self::Http2TlsPost => "HTTP/2 over TLS, POST",
            Self::Http2Get => "HTTP/2 in the clear, GET",
            Self::Http2Post => "HTTP/2 in the clear, POST",
            Self::Http1TlsGet => "HTTP/1.1 over TLS, GET, one at a time",
            Self::Tls => "DNS over TLS",
        }
    }
}

/// What the clients need on disk.
pub(crate) struct Load(TempDir);

impl Load {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("question"), query(0, 0)).unwrap();
        Self(directory)
    }

    /// µs of CPU for a query and queries per second. `None`: the program is not installed, or cannot ask this server in
    /// this way.
    pub(crate) fn run(&self, kind: Kind, server: &Server, requests: u32) -> Option<(f64, f64)> {
        // What is measured are cached answers.
        self.ask(kind, server, NAMES as u32)?;
        let before = server.process.cpu_time();
        let (answered, rate) = self.ask(kind, server, requests)?;
        let cpu = (server.process.cpu_time() - before).total();
        Some((cpu * 1e6 / f64::from(answered), rate))
    }

    fn ask(&self, kind: Kind, server: &Server, requests: u32) -> Option<(u32, f64)> {
        match kind {
            Kind::Tls => self.dnsperf(server, requests),
            _ => self.h2load(kind, server, requests),
        }
    }

    fn h2load(&self, kind: Kind, server: &Server, requests: u32) -> Option<(u32, f64)> {
        let mut command = Command::new(find("h2load")?);
        let origin = match kind {
            Kind::Http2Get | Kind::Http2Post => format!("http://127.0.0.1:{}", server.http),
            _ => format!("https://127.0.0.1:{}", server.https),
        };
        let waiting = if matches!(kind, Kind::Http1TlsGet) { 1 } else { WAITING };
        command.args([
            "-n",
            &requests.to_string(),
            "-c",
            &CONNECTIONS.to_string(),
            "-m",
            &waiting.to_string(),
        ]);
        command.args(["-H", "accept: application/dns-message"]);
        match kind {
            Kind::Http2TlsPost | Kind::Http2Post => {
                command.args(["-H", "content-type: application/dns-message", "-d"]);
                command.arg(self.0.path().join("question")).arg(format!("{origin}/dns-query"));
            }
            _ => {
                let mut addresses = String::new();
                for number in 0..NAMES {
                    let question = URL_SAFE_NO_PAD.encode(query(0, number as u32));
                    writeln!(addresses, "{origin}/dns-query?dns={question}").unwrap();
                }
                let path = self.0.path().join("addresses");
                fs::write(&path, addresses).unwrap();
                command.arg("-i").arg(path);
            }
        }
        if matches!(kind, Kind::Http1TlsGet) {
            command.arg("--h1");
        }
        let output = command.output().expect("h2load runs");
        let output = String::from_utf8_lossy(&output.stdout).into_owned();
        // dnsdist 1.7 has no HTTP/1.1 to speak of: then nothing succeeds.
        let succeeded = number_before(&output, " 2xx")?;
        if succeeded == 0.0 {
            return None;
        }
        assert!(succeeded as u32 == requests, "{output}");
        Some((succeeded as u32, number_before(&output, " req/s")?))
    }

    fn dnsperf(&self, server: &Server, requests: u32) -> Option<(u32, f64)> {
        let names = self.0.path().join("names");
        let name = "n00000000.bench.example";
        fs::write(&names, format!("{name} A\n")).unwrap();
        let mut command = Command::new(find("dnsperf")?);
        command.args(["-m", "dot", "-s", "127.0.0.1", "-p", &server.tls.to_string()]);
        command.args(["-c", &CONNECTIONS.to_string(), "-q", &(CONNECTIONS * WAITING).to_string()]);
        command.args(["-n", &requests.to_string(), "-d"]).arg(names);
        let output = command.output().expect("dnsperf runs");
        let output = String::from_utf8_lossy(&output.stdout).into_owned();
        let figure = |label: &str| -> Option<f64> {
            let line = output.lines().find_map(|line| line.trim().strip_prefix(label))?;
            line.split_whitespace().next()?.parse().ok()
        };
        let answered = figure("Queries completed:")?;
        // A client that starts anew when a connection has carried its ten thousand loses a few.
        assert!(answered > f64::from(requests) * 0.99, "{output}");
        Some((answered as u32, figure("Queries per second:")?))
    }
}

/// The number that stands before this text.
fn number_before(output: &str, text: &str) -> Option<f64> {
    let before = &output[..output.find(text)?];
    before.rsplit(|character: char| !character.is_ascii_digit() && character != '.').next()?.parse().ok()
}
