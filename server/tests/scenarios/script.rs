//! Reads a scenario.

use std::{collections::BTreeMap, ops::RangeInclusive};

use hickory_proto::{
    rr::{DNSClass, Name, RData, Record, RecordType},
    serialize::binary::{BinEncodable, BinEncoder},
};
use pkdns::config::Config;
use pkdns_dht::signed_packet::Keypair;
use pkdns_testing::support::{
    client::{Question, Transport},
    keypair,
    records::{self, word},
};

/// A scenario, read.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) keys: Vec<Key>,
    pub(crate) icann: Vec<Record>,
    pub(crate) config: Config,
    pub(crate) asks: Vec<Ask>,
    /// What stands for each name in braces.
    pub(crate) names: BTreeMap<String, String>,
}

/// A key and what the network knows about it.
pub(crate) struct Key {
    pub(crate) keypair: Keypair,
    pub(crate) held: Held,
}

pub(crate) enum Held {
    Records(Vec<Record>),
    Wire(Vec<u8>),
    Absent,
    Unreachable,
}

/// A question and the reply that it has to get.
pub(crate) struct Ask {
    pub(crate) line: usize,
    pub(crate) text: String,
    pub(crate) question: Question,
    pub(crate) transports: Vec<Transport>,
    pub(crate) reply: Vec<Expected>,
}

/// One line of the reply.
pub(crate) struct Expected {
    pub(crate) text: String,
    pub(crate) what: What,
}

/// What a line says.
pub(crate) enum What {
    Status { code: String, truncated: bool, extended_error: Option<u16> },
    Record { section: Section, record: ExpectedRecord },
    Upstream(Name, RecordType),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    Answer,
    Authority,
    Additional,
}

pub(crate) struct ExpectedRecord {
    pub(crate) owner: Name,
    pub(crate) ttl: RangeInclusive<u32>,
    pub(crate) class: DNSClass,
    pub(crate) record_type: RecordType,
    /// In wire form; any will do where that is `None`.
    pub(crate) data: Option<Vec<u8>>,
}

/// Where the lines belong that are read.
enum At {
    Nowhere,
    Key,
    Icann,
    Config,
    Reply,
}

impl Script {
    /// An error starts with the number of its line.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let numbered = || (1..).zip(text.lines().map(str::trim));
        let lines = || numbered().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let mut script = Self::default();
        for (_, line) in lines() {
            if let ("key", rest) = word(line) {
                script.name_key(word(rest).0);
            }
        }
        let (mut at, mut config, mut config_line) = (At::Nowhere, String::new(), 1);
        for (number, line) in lines() {
            let mut read = || -> Result<(), String> {
                let full = script.substitute(line)?;
                match word(&full) {
                    ("key", rest) => {
                        script.start_key(rest)?;
                        at = At::Key;
                    }
                    ("icann", "") => at = At::Icann,
                    ("config", "") => (at, config_line) = (At::Config, number),
                    ("ask", rest) => {
                        let ask = Ask::parse(number, line, rest)?;
                        script.asks.push(ask);
                        at = At::Reply;
                    }
                    _ => match at {
                        At::Nowhere => return Err("there is no section yet".into()),
                        At::Key => script.add_to_key(&full)?,
                        At::Icann => script.icann.push(records::record(&full, &Name::root())?),
                        At::Config => config += &format!("{full}\n"),
                        At::Reply => script.expect(&full)?,
                    },
                }
                Ok(())
            };
            read().map_err(|error| format!("{number}: {error}"))?;
        }
        script.config = toml::from_str(&config).map_err(|error| format!("{config_line}: {error}"))?;
        if let Some(ask) = script.asks.iter().find(|ask| ask.reply.is_empty()) {
            return Err(format!("{}: a code such as NOERROR is missing", ask.line));
        }
        if script.asks.is_empty() {
            return Err("1: nothing is asked".into());
        }
        Ok(script)
    }

    fn name_key(&mut self, name: &str) {
        let key = keypair(name).public_key().to_z32();
        let mixed = (0..).zip(key.chars()).map(|(at, character)| match at % 2 {
            0 => character.to_ascii_uppercase(),
            _ => character,
        });
        // The last character holds one bit of the key, so that sixteen of them mean the same.
        let other = key[..51].to_string() + if key.ends_with('y') { "b" } else { "t" };
        let mut capital = name.to_string();
        capital[..1].make_ascii_uppercase();
        self.names.insert(capital, mixed.collect());
        self.names.insert(name.to_uppercase(), key.to_uppercase());
        self.names.insert(format!("{name}'"), other);
        self.names.insert(name.into(), key);
    }

    fn substitute(&self, line: &str) -> Result<String, String> {
        let mut parts = line.split('{');
        let mut full = parts.next().unwrap_or_default().to_string();
        for part in parts {
            let (name, rest) = part.split_once('}').ok_or("a brace is not closed")?;
            full += self.names.get(name).ok_or_else(|| format!("no key is called `{name}`"))?;
            full += rest;
        }
        Ok(full)
    }

    fn start_key(&mut self, line: &str) -> Result<(), String> {
        let (name, kind) = word(line);
        let held = match kind {
            "" => Held::Records(Vec::new()),
            "wire" => Held::Wire(Vec::new()),
            "absent" => Held::Absent,
            "unreachable" => Held::Unreachable,
            other => return Err(format!("`{other}` says nothing about a key")),
        };
        self.keys.push(Key { keypair: keypair(name), held });
        Ok(())
    }

    fn add_to_key(&mut self, line: &str) -> Result<(), String> {
        let key = self.keys.last_mut().ok_or("there is no key yet")?;
        match &mut key.held {
            Held::Records(held) => {
                let origin =
                    records::name(&format!("{}.", key.keypair.public_key().to_z32()), &Name::root())?;
                held.push(records::record(line, &origin)?);
            }
            Held::Wire(bytes) => {
                for word in line.split_whitespace() {
                    match word.strip_prefix('\'').and_then(|word| word.strip_suffix('\'')) {
                        Some(label) => {
                            bytes.push(u8::try_from(label.len()).map_err(|_| "this label is too long")?);
                            bytes.extend_from_slice(label.as_bytes());
                        }
                        None => bytes.extend(records::hex(word)?),
                    }
                }
            }
            Held::Absent | Held::Unreachable => return Err("this key has no packet".into()),
        }
        Ok(())
    }

    fn expect(&mut self, line: &str) -> Result<(), String> {
        let ask = self.asks.last_mut().ok_or("nothing is asked yet")?;
        let what = if ask.reply.is_empty() { status(line)? } else { What::parse(line)? };
        ask.reply.push(Expected { text: line.into(), what });
        Ok(())
    }
}

impl Ask {
    fn parse(number: usize, text: &str, line: &str) -> Result<Self, String> {
        let (name, rest) = word(line);
        let (class, rest) = records::class(rest);
        let (record_type, rest) = word(rest);
        let mut question =
            Question::new(records::name(name, &Name::root())?, records::record_type(record_type)?);
        question.class = class;
        let mut transports = vec![Transport::Udp, Transport::Tcp];
        for option in rest.split_whitespace() {
            match option {
                "udp" => transports = vec![Transport::Udp],
                "tcp" => transports = vec![Transport::Tcp],
                "rd=0" => question.recursion_desired = false,
                "do" => question.dnssec_ok = true,
                "edns=no" => question.edns = None,
                other => {
                    let size = other.strip_prefix("edns=").and_then(|size| size.parse().ok());
                    let unknown = || format!("`{other}` says nothing about a question");
                    question.edns = Some(size.ok_or_else(unknown)?);
                }
            }
        }
        Ok(Self { line: number, text: text.into(), question, transports, reply: Vec::new() })
    }
}

impl What {
    fn parse(line: &str) -> Result<Self, String> {
        let (first, rest) = word(line);
        let (section, line) = match first {
            "upstream" => {
                let (name, record_type) = word(rest);
                let name = records::name(name, &Name::root())?;
                return Ok(Self::Upstream(name, records::record_type(record_type)?));
            }
            "authority" => (Section::Authority, rest),
            "additional" => (Section::Additional, rest),
            _ => (Section::Answer, line),
        };
        Ok(Self::Record { section, record: ExpectedRecord::parse(line)? })
    }
}

impl ExpectedRecord {
    fn parse(line: &str) -> Result<Self, String> {
        let (owner, rest) = word(line);
        let (ttl, rest) = word(rest);
        let (class, rest) = records::class(rest);
        let (record_type, data) = word(rest);
        let record_type = records::record_type(record_type)?;
        let (least, most) = ttl.split_once("..").unwrap_or((ttl, ttl));
        let number = |text: &str| text.parse().map_err(|_| format!("`{text}` is no TTL"));
        let data = match data {
            "*" => None,
            data => Some(wire(&records::data(record_type, data)?)),
        };
        let owner = records::name(owner, &Name::root())?;
        Ok(Self { owner, ttl: number(least)?..=number(most)?, class, record_type, data })
    }
}

/// The data of a record in wire form.
pub(crate) fn wire(data: &RData) -> Vec<u8> {
    let mut bytes = Vec::new();
    data.emit(&mut BinEncoder::new(&mut bytes)).expect("it fits a message");
    bytes
}

fn status(line: &str) -> Result<What, String> {
    let (code, rest) = word(line);
    if code.is_empty() || !code.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Err("a code such as NOERROR is missing".into());
    }
    let (mut truncated, mut extended_error) = (false, None);
    let mut words = rest.split_whitespace();
    while let Some(word) = words.next() {
        match word {
            "tc" => truncated = true,
            "ede" => {
                let number = words.next().and_then(|number| number.parse().ok());
                extended_error = Some(number.ok_or("a number is to follow `ede`")?);
            }
            other => return Err(format!("`{other}` says nothing about a reply")),
        }
    }
    Ok(What::Status { code: code.into(), truncated, extended_error })
}
