//! What origins answer: the scenarios in the text files of this directory, and what holds for all packets and names.
//!
//!     origin pk.example.net   options of the section follow, in TOML
//!     file                    its zone file follows
//!     key alice               the zone file of a key follows; {alice} is its name, {ALICE} in upper case, {alice'} spelled
//!                             otherwise. A key without records is one without a packet
//!     ask {alice}.pk.example.net A
//!     NOERROR                 the code; `referral` behind it where the answer is not authoritative. Then all records:
//!     {alice}.pk.example.net. 300 A 192.0.2.1
//!     authority …, additional …
//!     follow NAME             where the last alias leads

use std::{collections::BTreeMap, fs, path::Path};

use domain::base::{MessageBuilder, message_builder::TreeCompressor};
use hickory_proto::rr::{RData, RecordType};
use pkarr::Keypair;
use pkdns_dht::signed_packet::SignedPacket;

use super::*;
use crate::{
    base::{
        config::Config,
        zone_file::{ExternalAddresses, Limits, ZoneFile, ZoneRecord},
    },
    resolver::zone::{Zone, dname_target},
};

mod opening;
mod properties;

const NEGATIVE_TTL: u32 = 60;

/// The directory that a zone file is in lives as long as this.
struct Stage {
    origins: Origins,
    zones: BTreeMap<[u8; 32], Zone>,
}

fn name(text: &str) -> Name {
    Name::from_ascii(format!("{}.", text.trim_end_matches('.'))).unwrap()
}

fn keypair(name: &str) -> Keypair {
    let mut seed = [7; 32];
    seed.iter_mut().zip(name.bytes()).for_each(|(place, byte)| *place = byte);
    Keypair::from_secret_key(&seed)
}

/// The packet of a key, as a resolver reads it.
fn zone(keypair: &Keypair, records: &[ZoneRecord]) -> Zone {
    let mut builder = MessageBuilder::from_target(TreeCompressor::new(Vec::new())).unwrap();
    builder.header_mut().set_qr(true);
    let mut answers = builder.answer();
    records.iter().for_each(|record| answers.push(record).unwrap());
    let dns = answers.finish().into_target();
    Zone::parse(&SignedPacket::sign(keypair, 1_700_000_000_000_000, &dns).unwrap())
}

/// Origins of this configuration, whose zone file has this text.
fn origins(config: &str, file: &str) -> Result<Origins, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zone");
    fs::write(&path, file).unwrap();
    let config = config.replace("{zone}", path.to_str().unwrap());
    let config: Config = toml::from_str(&config).unwrap_or_else(|error| panic!("{error}: {config}"));
    let own = ["127.0.0.1".parse().unwrap(), "192.0.2.53".parse().unwrap(), "fd00::1".parse().unwrap()];
    Origins::open_at(&config, &config.listen, &own)
}

impl Stage {
    /// As the resolver asks.
    fn ask(&self, name: &Name, record_type: RecordType) -> OriginAnswer {
        let origin = self.origins.of(name).expect("a name in an origin");
        match origin.place(name) {
            Place::Static => origin.from_file(name, record_type),
            Place::Key(asked) => match self.zones.get(asked.key.as_bytes()) {
                Some(zone) => origin.from_packet(zone, &asked, name, record_type, NEGATIVE_TTL),
                None => origin.absent(NEGATIVE_TTL),
            },
            Place::NotACurvePoint { .. } => origin.absent(NEGATIVE_TTL),
        }
    }
}

/// An answer as a scenario has it.
fn lines(answer: &OriginAnswer) -> Vec<String> {
    let code = format!("{:?}", answer.code).to_uppercase();
    let mut lines = vec![if answer.is_authoritative { code } else { format!("{code} referral") }];
    let sections =
        [("", &answer.answers), ("authority ", &answer.authorities), ("additional ", &answer.additionals)];
    for (section, records) in sections {
        let line = |record: &Record| {
            let data = dname_target(&record.data).map(|target| target.to_string());
            let data = data.unwrap_or_else(|| record.data.to_string());
            format!("{section}{} {} {} {data}", record.name, record.ttl, record.record_type())
        };
        lines.extend(records.iter().map(line));
    }
    lines.extend(answer.follow.iter().map(|target| format!("follow {target}")));
    lines
}

/// Plays a scenario. What differs, by the number of its line.
fn play(text: &str) -> Vec<String> {
    let mut names = BTreeMap::new();
    for key in text.lines().filter_map(|line| line.strip_prefix("key ")) {
        let z32 = keypair(key).public_key().to_z32();
        let other = z32[..51].to_string() + if z32.ends_with('y') { "b" } else { "t" };
        names.insert(format!("{{{}}}", key.to_uppercase()), z32.to_uppercase());
        names.insert(format!("{{{key}'}}"), other);
        names.insert(format!("{{{key}}}"), z32);
    }
    let numbered: Vec<(usize, String)> = (1..)
        .zip(text.lines())
        .filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|(number, line)| {
            (number, names.iter().fold(line.to_owned(), |line, (from, to)| line.replace(from, to)))
        })
        .collect();
    let (mut config, mut file) = (String::new(), String::new());
    let mut keys: Vec<(String, String)> = Vec::new();
    let mut asks: Vec<(usize, String, Vec<String>)> = Vec::new();
    let mut section = "";
    for (number, line) in &numbered {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "origin" => config += &format!("[[origin]]\nname = '{rest}'\n"),
            "key" => keys.push((rest.to_owned(), String::new())),
            "ask" => asks.push((*number, rest.to_owned(), Vec::new())),
            "file" if rest.is_empty() => {}
            _ => match section {
                "origin" => config += &format!("{line}\n"),
                "file" => file += &format!("{line}\n"),
                "key" => keys.last_mut().unwrap().1 += &format!("{line}\n"),
                "ask" => {
                    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
                    asks.last_mut().unwrap().2.push(line);
                }
                other => panic!("line {number} is in no section: {other}"),
            },
        }
        if let "origin" | "file" | "key" | "ask" = word {
            section = word;
        }
    }
    assert!(!asks.is_empty(), "nothing is asked");
    let origins = origins(&config, &file).unwrap_or_else(|error| panic!("{error}"));
    let zones = keys.iter().filter(|(_, text)| !text.is_empty()).map(|(name, text)| {
        let keypair = keypair(name);
        let limits = Limits { size: 1 << 16, advice: "", name_of: |_| String::new() };
        let file = ZoneFile::from_bytes(text.as_bytes(), None, limits).unwrap();
        let records = file.records(&keypair.public_key(), &ExternalAddresses::default());
        let records = records.unwrap_or_else(|error| panic!("{name}: {error}"));
        (*keypair.public_key().as_bytes(), zone(&keypair, &records))
    });
    let stage = Stage { zones: zones.collect(), origins };
    let mut failures = Vec::new();
    for (number, question, expected) in asks {
        let (asked, record_type) = question.trim().split_once(' ').expect("a name and a type");
        let answer = lines(&stage.ask(&name(asked), record_type.trim().parse().unwrap()));
        if answer != expected {
            failures.push(format!(
                "{number}: {question}\n  {}\nis not\n  {}",
                answer.join("\n  "),
                expected.join("\n  ")
            ));
        }
    }
    failures
}

#[test]
fn every_scenario_is_answered_as_it_says() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/resolver/origin/scenarios");
    let mut count = 0;
    let mut failures = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        failures.extend(play(&text).into_iter().map(|failure| format!("{file}:{failure}")));
        count += 1;
    }
    assert!(count >= 5, "the files are not where they were");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn a_scenario_that_does_not_hold_is_told() {
    let text = "origin pk.example.net\nname_servers = 'ns.example.org'\nkey alice\n@ 60 A 192.0.2.1\n\
                ask {alice}.pk.example.net A\nNOERROR\n{alice}.pk.example.net. 60 A 192.0.2.1\n";
    assert_eq!(play(text), [""; 0]);
    for wrong in [
        text.replace("60 A 192.0.2.1\nask", "60 A 192.0.2.2\nask"),
        text.replace("NOERROR", "NOERROR referral"),
        text.replace("net A", "net AAAA"),
        format!("{text}follow x."),
    ] {
        assert_eq!(play(&wrong).len(), 1, "{wrong}");
    }
}
