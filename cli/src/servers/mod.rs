//! `servers check`: whether the public servers of a list answer as they should.

mod line;
mod probe;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use futures_util::{StreamExt, stream};
use pkdns::sources::forward::TlsClient;
use pkdns_dht::signed_packet::PublicKey;
use serde::Serialize;

use crate::{failure::Failure, input, network, records::columns, terminal};
use line::Line;
use probe::Probed;

/// The list that this program came with.
const OWN_LIST: &str = include_str!("../../../servers.txt");

/// Longest list that is read.
const MOST: usize = 1024 * 1024;

/// Servers that are asked at once.
const AT_ONCE: usize = 16;

/// A key that its owner keeps published.
const DEMO_KEY: &str = "7fmjpcuuzf54hw18bsgi3zihzyh4awseeuq5tmojefaezjbd64cy";

/// Look at a list of public servers
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Check(CheckArguments),
}

/// Ask each server of a list whether it answers as it should
///
/// Each is asked for a key, for an ordinary name, and for a key that has published nothing. Servers for plain DNS are asked over
/// UDP and over TCP. The certificates of the others have to be for their names. The exit code is 0 only if every answer of every
/// server is right.
#[derive(Args)]
struct CheckArguments {
    /// List in the form of servers.txt [default: the one that this program came with]
    ///
    /// "-" reads standard input.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Published key to ask for
    #[arg(long, value_name = "KEY", default_value = DEMO_KEY)]
    key: PublicKey,
    /// Certificates of authorities to believe besides the public ones, in PEM
    #[arg(long, value_name = "FILE")]
    authority_ca: Option<PathBuf>,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    servers: Vec<Checked<'a>>,
}

/// What became of one line of the list.
#[derive(Serialize)]
struct Checked<'a> {
    line: usize,
    protocol: &'static str,
    address: &'a str,
    operator: &'a str,
    ok: bool,
    /// Why it could not be asked at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// One for each transport.
    probes: Vec<Probed>,
}

pub(crate) fn run(Arguments { command: Command::Check(arguments) }: &Arguments) -> Result<(), Failure> {
    let (name, text) = read(arguments)?;
    let lines =
        line::read(&text).map_err(|(number, why)| Failure::Failed(format!("{name}:{number}: {why}")))?;
    let tls = TlsClient::new(arguments.authority_ca.as_deref())
        .map_err(|error| Failure::Failed(error.to_string()))?;
    if lines.is_empty() && !arguments.json {
        return terminal::print(&format!("{name} names no server"));
    }
    let mut servers = Vec::new();
    network::block_on(async {
        let checks = lines.iter().map(|line| check(line, arguments, &tls));
        servers = stream::iter(checks).buffered(AT_ONCE).collect().await;
        Ok(())
    })?;
    let wrong = servers.iter().filter(|checked| !checked.ok).count();
    let total = servers.len();
    if arguments.json {
        terminal::print_json(&Report { ok: wrong == 0, servers })?;
    } else {
        terminal::print(&table(&servers))?;
    }
    match wrong {
        0 => Ok(()),
        _ => Err(Failure::Failed(format!(
            "{wrong} of {total} servers do not answer as they should: write to their operators, or take them out of {name}"
        ))),
    }
}

fn read(arguments: &CheckArguments) -> Result<(String, String), Failure> {
    let Some(path) = &arguments.file else { return Ok(("servers.txt".to_owned(), OWN_LIST.to_owned())) };
    let name = path.display().to_string();
    match input::read_text(path, MOST) {
        Ok(Some(text)) => Ok((name, text)),
        Ok(None) => {
            Err(Failure::Failed(format!("{name} has more than {MOST} bytes: name a list of servers")))
        }
        Err(error) => Err(Failure::Failed(format!(
            "cannot read {name}: {error}; name a list in the form of servers.txt"
        ))),
    }
}

async fn check<'a>(line: &'a Line, arguments: &CheckArguments, tls: &TlsClient) -> Checked<'a> {
    terminal::progress(&format!("asking {}", terminal::printable(&line.address)));
    let (error, probes) = match line.place.probe(&arguments.key, tls).await {
        Ok(probes) => (None, probes),
        Err(why) => (Some(why), Vec::new()),
    };
    let ok = error.is_none() && probes.iter().all(Probed::is_well);
    let (protocol, address, operator) =
        (line.place.protocol(), line.address.as_str(), line.operator.as_str());
    Checked { line: line.number, protocol, address, operator, ok, error, probes }
}

/// A row for each transport, and below it what is wrong.
fn table(servers: &[Checked<'_>]) -> String {
    let mut rows = Vec::new();
    for checked in servers {
        let address = terminal::printable(checked.address);
        if checked.error.is_some() {
            rows.push([checked.protocol.to_owned(), address, "failed".into(), String::new(), String::new()]);
            continue;
        }
        for probed in &checked.probes {
            let [key, other, absent] = probed.answers().map(|answer| answer.cell());
            rows.push([probed.over.to_owned(), address.clone(), key, other, absent]);
        }
    }
    let mut text = columns(["OVER", "ADDRESS", "KEY", "EXAMPLE.COM", "ABSENT KEY"], rows);
    for checked in servers.iter().filter(|checked| !checked.ok) {
        let mut reasons: Vec<String> = checked.error.iter().cloned().collect();
        for probed in &checked.probes {
            reasons.extend(probed.reasons().into_iter().map(|why| format!("over {}, {why}", probed.over)));
        }
        let (address, operator) =
            (terminal::printable(checked.address), terminal::printable(checked.operator));
        text.push_str(&format!("\nline {}, {address} ({operator}):\n", checked.line));
        for reason in reasons {
            text.push_str(&format!("  {}\n", terminal::printable(&reason)));
        }
    }
    text
}
