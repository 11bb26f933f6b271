//! Plays a scenario, and compares.

use std::{net::Ipv4Addr, time::Instant};

use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RData, Record, RecordType},
};
use pkdns_dht::testing::FakeNetwork;
use pkdns_testing::{
    server::TestServer,
    support::{
        client::{Reply, Transport},
        name_server::NameServer,
        records::{packet, sign},
    },
};

use crate::script::{Ask, Expected, ExpectedRecord, Held, Script, Section, What, wire};

/// One line of what really came.
struct Line {
    text: String,
    got: Got,
}

enum Got {
    Status { code: &'static str, truncated: bool, extended_error: Option<u16> },
    Record(Section, Record),
    Upstream(Name, RecordType),
}

impl Script {
    /// Asks everything in order, and returns what differs, ready to be read. `file` is named in it.
    pub(crate) async fn run(self, file: &str) -> Vec<String> {
        let started = Instant::now();
        let network = FakeNetwork::default();
        for key in &self.keys {
            match &key.held {
                Held::Records(records) => network.publish(packet(&key.keypair, records)),
                Held::Wire(bytes) => network.publish(sign(&key.keypair, bytes)),
                Held::Unreachable => network.cut_off(&key.keypair.public_key()),
                Held::Absent => {}
            }
        }
        let upstream = NameServer::with((Ipv4Addr::LOCALHOST, 0), self.icann).await;
        let mut config = self.config;
        config.fallback_dns = vec![upstream.address.into()];
        let server = TestServer::builder().config(config).network(network).start();

        let mut failures = Vec::new();
        for ask in &self.asks {
            let asked_before = upstream.asked().len();
            for transport in &ask.transports {
                let reply = ask.question.ask(server.address, *transport).await;
                let asked = upstream.asked().split_off(asked_before);
                let age = u32::try_from(started.elapsed().as_secs()).unwrap_or(u32::MAX).saturating_add(1);
                let difference = match reply {
                    Ok(reply) => difference(ask, &lines(reply, asked), age),
                    Err(error) => Some(format!("  {error}\n")),
                };
                if let Some(difference) = difference {
                    failures.push(
                        self.names
                            .iter()
                            .fold(heading(file, ask, *transport) + &difference, |text, (name, key)| {
                                text.replace(key.as_str(), &format!("{{{name}}}"))
                            }),
                    );
                    // Over TCP it will not be better.
                    break;
                }
            }
        }
        failures
    }
}

fn heading(file: &str, ask: &Ask, transport: Transport) -> String {
    format!("{file}:{}: {}, over {transport}\n", ask.line, ask.text)
}

/// The reply as lines in the order in which a scenario has them.
fn lines(reply: Reply, asked: Vec<(Name, RecordType)>) -> Vec<Line> {
    let (code, truncated, extended_error) = (code(reply.code), reply.truncated, reply.extended_error);
    let mut text = code.to_string();
    if truncated {
        text += " tc";
    }
    if let Some(number) = extended_error {
        text += &format!(" ede {number}");
    }
    let mut lines = vec![Line { text, got: Got::Status { code, truncated, extended_error } }];
    for (section, word, records) in [
        (Section::Answer, "", reply.answers),
        (Section::Authority, "authority ", reply.authorities),
        (Section::Additional, "additional ", reply.additionals),
    ] {
        let line =
            |record| Line { text: format!("{word}{}", show(&record)), got: Got::Record(section, record) };
        lines.extend(records.into_iter().map(line));
    }
    // A question is sent again when an answer takes long.
    let mut once: Vec<(Name, RecordType)> = Vec::new();
    for question in asked {
        if !once.contains(&question) {
            once.push(question);
        }
    }
    lines.extend(once.into_iter().map(|(name, record_type)| Line {
        text: format!("upstream {} {record_type}", show_name(&name)),
        got: Got::Upstream(name, record_type),
    }));
    lines
}

/// Lines that were expected and did not come after `-`, those that came instead after `+`.
fn difference(ask: &Ask, got: &[Line], age: u32) -> Option<String> {
    let mut text = String::new();
    let mut differs = false;
    for at in 0..ask.reply.len().max(got.len()) {
        match (ask.reply.get(at), got.get(at)) {
            (Some(expected), Some(got)) if expected.holds(&got.got, age) => {
                text += &format!("    {}\n", got.text);
            }
            (expected, got) => {
                differs = true;
                text += &expected.map_or_else(String::new, |line| format!("  - {}\n", line.text));
                text += &got.map_or_else(String::new, |line| format!("  + {}\n", line.text));
            }
        }
    }
    differs.then_some(text)
}

impl Expected {
    fn holds(&self, got: &Got, age: u32) -> bool {
        match (&self.what, got) {
            (
                What::Status { code, truncated, extended_error },
                Got::Status { code: got_code, truncated: got_truncated, extended_error: got_error },
            ) => code == got_code && truncated == got_truncated && extended_error == got_error,
            (What::Record { section, record }, Got::Record(got_section, got)) => {
                section == got_section && record.holds(got, age)
            }
            (What::Upstream(name, record_type), Got::Upstream(got_name, got_type)) => {
                name == got_name && record_type == got_type
            }
            _ => false,
        }
    }
}

impl ExpectedRecord {
    /// Whether this is `record`, which may have counted down for `age` seconds.
    fn holds(&self, record: &Record, age: u32) -> bool {
        self.owner.eq_case(&record.name)
            && (self.ttl.start().saturating_sub(age)..=*self.ttl.end()).contains(&record.ttl)
            && self.class == record.dns_class
            && self.record_type == record.record_type()
            && self.data.as_ref().is_none_or(|data| *data == wire(&record.data))
    }
}

fn show(record: &Record) -> String {
    let class = match record.dns_class {
        hickory_proto::rr::DNSClass::IN => String::new(),
        other => format!("{other} "),
    };
    let data = match &record.data {
        RData::Unknown { rdata, .. } => {
            let hex: String = rdata.anything.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("\\# {} {hex}", rdata.anything.len())
        }
        known => known.to_string(),
    };
    let record_type = match record.record_type() {
        RecordType::Unknown(number) => format!("TYPE{number}"),
        known => known.to_string(),
    };
    format!("{} {} {class}{record_type} {data}", show_name(&record.name), record.ttl)
}

fn show_name(name: &Name) -> String {
    if name.is_root() {
        return ".".into();
    }
    let show = |byte: &u8| match byte {
        b'.' | b'\\' => format!("\\{}", char::from(*byte)),
        b'!'..=b'~' => char::from(*byte).to_string(),
        other => format!("\\{other:03}"),
    };
    name.iter().map(|label| label.iter().map(show).collect::<String>() + ".").collect()
}

fn code(code: ResponseCode) -> &'static str {
    match code {
        ResponseCode::NoError => "NOERROR",
        ResponseCode::NXDomain => "NXDOMAIN",
        ResponseCode::ServFail => "SERVFAIL",
        ResponseCode::Refused => "REFUSED",
        ResponseCode::FormErr => "FORMERR",
        ResponseCode::NotImp => "NOTIMP",
        _ => "another code",
    }
}
