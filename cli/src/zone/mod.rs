//! `zone`: what a zone file comes to, and zone files from elsewhere.

mod answers;
mod conversion;
mod transfer;
mod warnings;

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use clap::Args;
use pkdns::resolver::zone::Zone;
use pkdns_dht::signed_packet::{Keypair, MAX_DNS_SIZE, PublicKey, SignedPacket};
use serde::Serialize;

use crate::{
    dns::server_address,
    failure::Failure,
    name, network,
    packet::{self, Weighed},
    records::{self, TextRecord},
    seed::{self, PassphraseArguments},
    terminal,
    zone_file::{self, ExternalAddresses, ZoneFile, ZoneRecord},
};
use answers::Answer;
use warnings::Warning;

/// Bytes of a packet that are no records.
const HEADER_SIZE: usize = 12;

/// Stand in for addresses of this machine that nobody looked for (RFC 5737, RFC 3849).
const EXAMPLES: ExternalAddresses = ExternalAddresses {
    ipv4: Some(std::net::Ipv4Addr::new(192, 0, 2, 1)),
    ipv6: Some(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
};

/// Check a zone file before it is published
///
/// Shows what each record weighs, what a resolver will answer, and what looks wrong. Nothing is published. Zone files can also be
/// made from JSON and from a name server.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Zone file; "-" reads standard input
    #[arg(value_name = "ZONEFILE", required_unless_present_any = ["from_json", "from_server"])]
    file: Option<PathBuf>,
    /// Key of the zone; needed where the file names it, and for JSON
    #[arg(long, value_parser = name::parse, conflicts_with = "seed")]
    key: Option<name::PublicName>,
    /// Seed file of the key of the zone
    #[arg(long, value_name = "FILE")]
    seed: Option<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseArguments,
    /// Print one line of JSON
    #[arg(long, conflicts_with_all = ["from_json", "from_server"])]
    json: bool,
    /// Print a zone file with the records that are in JSON
    ///
    /// As `resolve --json` and `zone --json` write it. "-" reads standard input.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["file", "from_server"])]
    from_json: Option<PathBuf>,
    /// Print a zone file with the records of a zone of a name server (AXFR)
    ///
    /// The name server has to allow this machine to copy the zone.
    #[arg(long, value_name = "ADDRESS[:PORT]", value_parser = server_address, requires = "origin", conflicts_with = "file")]
    from_server: Option<SocketAddr>,
    /// The zone to copy, for example example.com
    #[arg(long, value_name = "NAME", requires = "from_server", value_parser = transfer::origin)]
    origin: Option<transfer::Origin>,
}

/// What is known about a zone file.
#[derive(Serialize)]
struct Report {
    key: Option<String>,
    /// Bytes of the 1000 that a packet may hold.
    size: usize,
    records: Vec<WeighedRecord>,
    answers: Vec<Answer>,
    warnings: Vec<String>,
    /// What was read.
    files: Vec<PathBuf>,
}

#[derive(Serialize)]
struct WeighedRecord {
    #[serde(flatten)]
    record: TextRecord,
    /// What it adds to the packet, after those before it.
    bytes: usize,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let key = match (&arguments.key, &arguments.seed) {
        (Some(name), _) if !name.is_apex => {
            return Err(Failure::Failed("--key needs the key alone, without a name below it".to_string()));
        }
        (Some(name), _) => Some(name.key.clone()),
        (None, Some(seed)) => Some(seed::secret_key(seed, arguments.passphrase.source())?.public_key()),
        (None, None) => None,
    };
    if let Some(file) = &arguments.from_json {
        return terminal::print(&conversion::from_json(file, key)?);
    }
    if let (Some(server), Some(origin)) = (arguments.from_server, &arguments.origin) {
        return network::block_on(async {
            terminal::print(&conversion::from_transfer(&transfer::copy(server, origin).await?, origin)?)
        });
    }
    let Some(path) = &arguments.file else {
        return Err(Failure::Failed("a zone file is needed".to_string()));
    };
    if arguments.json && key.is_none() {
        return Err(Failure::Failed("--json writes names in full: add --key or --seed".to_string()));
    }
    let file = zone_file::open(path)?;
    let report = report(&file, key)?;
    if arguments.json {
        return terminal::print_json(&report);
    }
    terminal::print(&text(&report))?;
    let path = terminal::quoted(&path.display().to_string());
    terminal::hint(&format!(
        "Publish it, and keep it published:\n  pkdns-cli publish SEEDFILE {path} --watch"
    ));
    Ok(())
}

/// What is allowed in a zone of `key` and hardly ever meant, for whoever is about to publish it. How long TTLs are is
/// left to [`run`]: short ones are meant while something is tried.
pub(crate) fn mistakes(file: &ZoneFile, key: &PublicKey) -> Result<Vec<String>, Failure> {
    let (zone, remarks) = file.records_and_remarks(key, &EXAMPLES)?;
    let records = records::read(&packet::weigh(&zone)?.dns, key);
    let name = file.name();
    let in_zone = zone_warnings(&records, &lookup_zone(&records, key)?);
    let in_zone = in_zone.into_iter().filter_map(|warning| match (warning, &name) {
        (Warning::Mistake(text), Some(name)) => Some(format!("{name}: {text}")),
        (Warning::Mistake(text), None) => Some(text),
        (Warning::Note(_), _) => None,
    });
    Ok(remarks.iter().map(ToString::to_string).chain(in_zone).collect())
}

/// What the records show, the file aside.
fn zone_warnings(records: &[TextRecord], lookup: &Zone) -> Vec<Warning> {
    let mut warnings = warnings::warnings(lookup, &stand_in().public_key());
    let unanswered = records.len().saturating_sub(lookup.records().count());
    if unanswered > 0 {
        warnings.push(Warning::Mistake(format!(
            "{unanswered} records are never answered: they differ from another one in their TTL alone, or their names \
             have more than 32 labels"
        )));
    }
    warnings
}

fn report(file: &ZoneFile, key: Option<PublicKey>) -> Result<Report, Failure> {
    let own_key = key.clone().unwrap_or_else(|| stand_in().public_key());
    let (zone, remarks) = file.records_and_remarks(&own_key, &EXAMPLES)?;
    packet::compose(&zone, &own_key).map_err(|error| match zone_file::files(file).next() {
        Some(path) => Failure::Failed(format!("{}: {error}", seed::FileName::of(path))),
        None => error.into(),
    })?;
    let Weighed { dns, weights } = packet::weigh(&zone)?;
    let mut warnings = Vec::new();
    let macros = file.macros();
    for (name, example) in [
        macros.ipv4.then_some(("{external_ipv4}", EXAMPLES.ipv4.map(IpAddr::from))),
        macros.ipv6.then_some(("{external_ipv6}", EXAMPLES.ipv6.map(IpAddr::from))),
    ]
    .into_iter()
    .flatten()
    {
        let example = example.map_or_else(String::new, |address| address.to_string());
        warnings.push(format!(
            "{name} is shown as {example}: the address is looked for when the zone is published"
        ));
    }
    let records = records::read(&dns, &own_key);
    let lookup = lookup_zone(&records, &own_key)?;
    warnings.extend(remarks.iter().map(ToString::to_string));
    warnings.extend(zone_warnings(&records, &lookup).into_iter().map(|warning| match warning {
        Warning::Mistake(text) | Warning::Note(text) => text,
    }));
    let answers = answers::answers(&lookup, &stand_in().public_key());
    let records = records.into_iter().zip(weights).map(|(record, bytes)| WeighedRecord { record, bytes });
    Ok(Report {
        key: key.map(|key| key.to_z32()),
        size: dns.len(),
        records: records.collect(),
        answers,
        warnings,
        files: zone_file::files(file).map(Path::to_path_buf).collect(),
    })
}

/// Signs what nobody gets to see: a resolver's view of a zone needs a packet, and the seed of its key may not be here.
fn stand_in() -> Keypair {
    Keypair::from_secret_key(&[0x7a; 32])
}

/// The zone as a resolver reads it, under the stand-in's key.
fn lookup_zone(records: &[TextRecord], key: &PublicKey) -> Result<Zone, Failure> {
    let text: String = records
        .iter()
        .map(|record| format!("{} {} {} {}\n", record.name, record.ttl, record.record_type, record.data))
        .collect();
    let moved = zone_file::from_bytes(text.as_bytes())?
        .moved_records(&zone_file::apex(key), &stand_in().public_key())?;
    let dns = packet::compose(&moved, &stand_in().public_key())?;
    let packet = SignedPacket::sign(&stand_in(), 0, &dns)
        .map_err(|error| Failure::Failed(format!("cannot read the zone as a resolver does: {error}")))?;
    Ok(Zone::parse(&packet))
}

fn text(report: &Report) -> String {
    let key = report.key.clone().unwrap_or_else(|| "KEY".to_string());
    let stand_in = stand_in().public_key();
    let data = |data: &str| match report.key {
        Some(_) => data.to_string(),
        None => records::relative_data(data, &stand_in),
    };
    let header =
        [HEADER_SIZE.to_string(), String::new(), String::new(), String::new(), "(header)".to_string()];
    let rows = report.records.iter().map(|WeighedRecord { record, bytes }| {
        let TextRecord { owner, ttl, record_type, data: text, .. } = record;
        [bytes.to_string(), owner.clone(), ttl.to_string(), record_type.clone(), data(text)]
    });
    let records = records::columns(
        ["BYTES", "NAME", "TTL", "TYPE", "DATA"],
        [header].into_iter().chain(rows).collect(),
    );
    let rows = report.answers.iter().map(|answer| {
        let ttl = answer.ttl.map_or_else(String::new, |ttl| ttl.to_string());
        [answer.name.clone(), answer.record_type.clone(), ttl, answer.answer.clone()]
    });
    let answers = records::columns(["NAME", "TYPE", "TTL", "ANSWER"], rows.collect());
    let warnings: String = report.warnings.iter().map(|warning| format!("\nwarning: {warning}")).collect();
    format!(
        "{key}\n{} of {MAX_DNS_SIZE} bytes, {} left\n\n{records}\nWhat a resolver answers:\n\n{answers}{warnings}",
        report.size,
        MAX_DNS_SIZE.saturating_sub(report.size)
    )
}

/// Records as text.
fn shown(zone: &[ZoneRecord], key: &PublicKey) -> Result<Vec<TextRecord>, Failure> {
    let mut shown = Vec::new();
    // One by one, as all of them may be more than a message can hold.
    for record in zone {
        shown.extend(records::read(&packet::weigh(std::slice::from_ref(record))?.dns, key));
    }
    Ok(shown)
}

#[cfg(test)]
mod tests;
