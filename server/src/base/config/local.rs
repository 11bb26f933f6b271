//! `[local]`: names of the own network that this server itself knows.

use std::{collections::HashSet, path::PathBuf};

use domain::{
    base::{Name as DomainName, Ttl, iana::Class, name::ToLabelIter},
    zonefile::inplace::{Entry, Zonefile},
};
use hickory_proto::{
    rr::{DNSClass, Name, Record, RecordType},
    serialize::binary::{BinDecodable, BinDecoder},
};
use serde::{Deserialize, Serialize};

use super::{
    Config, address,
    check::{Faults, is_key_label, suffix_fault},
};

/// TTL in seconds of local records that name none, and of those from hosts files. Short, so that a change shows soon.
pub const LOCAL_TTL: u32 = 60;

/// Each may have names for 130 MB of memory.
const MAX_FILES: usize = 4;

/// Each question that nothing else answers is compared with all of them.
const MAX_ZONES: usize = 64;

/// Names that this server knows without asking anybody.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Local {
    /// Records, each as a line of a zone file has it ([`read_local_record`]).
    #[serde(deserialize_with = "address::texts")]
    pub records: Vec<String>,
    /// Files in the form of `/etc/hosts`, read again when they change.
    #[serde(deserialize_with = "address::paths")]
    pub hosts_file: Vec<PathBuf>,
    /// Names below which nothing exists but what is local. Lower case, without dots at the ends.
    #[serde(deserialize_with = "address::suffixes")]
    pub zone: Vec<String>,
}

impl Local {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.hosts_file.is_empty() && self.zone.is_empty()
    }
}

/// Reads `OWNER [TTL] [CLASS] TYPE DATA`, in which all names are complete, with or without a final dot.
///
/// # Errors
///
/// What is wrong with it.
pub fn read_local_record(text: &str) -> Result<Record, String> {
    check_line(text)?;
    let mut reader = Zonefile::from(format!("$TTL {LOCAL_TTL}\n{}\n", text.trim()).as_str());
    reader.set_origin(DomainName::root_bytes());
    reader.set_default_class(Class::IN);
    let entry = reader.next_entry().map_err(|error| reason(&error.to_string()))?;
    let Some(Entry::Record(record)) = entry else {
        return Err("there is no record in it".into());
    };
    if record.ttl() > Ttl::from_secs(i32::MAX as u32) {
        return Err(format!("the longest TTL is {} seconds", i32::MAX));
    }
    let mut bytes = Vec::new();
    // Writing to memory does not fail.
    let _ = record.compose(&mut bytes);
    let mut decoder = BinDecoder::new(&bytes);
    let read = Record::read(&mut decoder).ok().filter(|_| decoder.index() == bytes.len());
    // An empty label in a name ends it too early for the rest to be what was written.
    let is_same = |read: &Record| {
        u16::from(read.record_type()) == record.rtype().to_int()
            && read.ttl == record.ttl().as_secs()
            && u16::from(read.dns_class) == record.class().to_int()
            && read.name.iter().len() + 1 == record.owner().iter_labels().count()
    };
    let mut read =
        read.filter(is_same).ok_or("one of its names has two dots in a row, or its data is malformed")?;
    if read.dns_class != DNSClass::IN {
        return Err("its class has to be IN, which need not be written".into());
    }
    refuse_type(read.record_type())?;
    read.name = read.name.to_lowercase();
    Ok(read)
}

/// The reader of the `domain` crate panics where a bracket is not closed before the end, and takes what is between two
/// lines for a second record.
fn check_line(text: &str) -> Result<(), String> {
    if text.contains(char::is_control) && !text.chars().all(|it| it == '\t' || !it.is_control()) {
        return Err("it has more than one line: write each record as a text of its own".into());
    }
    let (mut is_quoted, mut is_escaped) = (false, false);
    for character in text.chars() {
        match character {
            '"' if !is_escaped => is_quoted = !is_quoted,
            '(' | ')' if !is_escaped && !is_quoted => {
                return Err("brackets are for several lines: leave them out, or write \\( and \\)".into());
            }
            ';' if !is_escaped && !is_quoted => {
                return Err("a ; begins a comment: put it in quotes, or write \\;".into());
            }
            _ => {}
        }
        is_escaped = character == '\\' && !is_escaped;
    }
    if is_quoted {
        return Err("a quotation mark is not closed".into());
    }
    match text.trim().chars().next() {
        None => Err("it is empty".into()),
        Some('$') => Err("directives such as $ORIGIN are not read here: write complete names".into()),
        Some(_) => Ok(()),
    }
}

/// What the `domain` crate says, without the place, which is in the middle of one short text.
fn reason(error: &str) -> String {
    let words = error.splitn(3, ':').last().unwrap_or(error).trim();
    match words {
        "expected rtype" => "after the name, a TTL in seconds or a type such as A has to follow".into(),
        "unexpected end of entry" => "its data is missing or not complete".into(),
        "trailing tokens" => "there is more behind its data".into(),
        "bad name" => "one of its names is too long, or has an empty label".into(),
        _ if words.starts_with("bad symbol") => {
            "it has a character that does not belong there: write other alphabets in names as xn--…".into()
        }
        other => other.into(),
    }
}

fn refuse_type(record_type: RecordType) -> Result<(), String> {
    match record_type {
        RecordType::DNAME => Err("DNAME is not followed here: write a CNAME of *.NAME".into()),
        RecordType::NS => Err("NS leads nowhere here: name the zone's resolvers in [[forward]]".into()),
        RecordType::RRSIG | RecordType::NSEC | RecordType::NSEC3 | RecordType::OPT | RecordType::ZERO => {
            Err(format!("{record_type} is not for a local record"))
        }
        // RFC 6895 section 3.1: types of questions and of messages.
        other if (128..=255).contains(&u16::from(other)) => {
            Err(format!("{record_type} is not for a local record"))
        }
        _ => Ok(()),
    }
}

impl Config {
    pub(super) fn check_local(&self, faults: &mut Faults) {
        let local = &self.local;
        if local.hosts_file.len() > MAX_FILES {
            faults.add("local.hosts_file", format!("names more than {MAX_FILES} files"));
        }
        let mut names = HashSet::new();
        let mut aliases = HashSet::new();
        for text in &local.records {
            match read_local_record(text) {
                Ok(record) if self.names_key(&record.name) => faults.add_with(
                    "local.records",
                    &["names.suffixes"],
                    format!("\"{text}\": the name is a key's, whose zone only its packet can change"),
                ),
                Ok(record) => {
                    let is_alias = record.record_type() == RecordType::CNAME;
                    let is_first = names.insert(record.name.clone());
                    if is_alias && !is_first || aliases.contains(&record.name) {
                        faults.add(
                            "local.records",
                            format!("\"{text}\": beside a CNAME a name can have no other record"),
                        );
                    }
                    if is_alias {
                        aliases.insert(record.name);
                    }
                }
                Err(fault) => faults.add(
                    "local.records",
                    format!("\"{text}\": {fault}; a record reads like \"nas.lan A 192.168.1.9\""),
                ),
            }
        }
        if local.zone.len() > MAX_ZONES {
            faults.add("local.zone", format!("names more than {MAX_ZONES} zones"));
        }
        for zone in &local.zone {
            if let Some(advice) = suffix_fault(zone) {
                faults.add("local.zone", advice);
            }
        }
    }

    /// Whether a name, in lower case, reads as one of a key: its last label, or the one before a suffix.
    fn names_key(&self, name: &Name) -> bool {
        let labels: Vec<_> = name.iter().map(String::from_utf8_lossy).collect();
        (0..labels.len()).any(|at| {
            let rest = labels[at + 1..].join(".");
            is_key_label(&labels[at]) && (rest.is_empty() || self.names.suffixes.contains(&rest))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_record_is_a_line_of_a_zone_file() {
        for (text, expected) in [
            ("nas.lan A 192.168.1.9", "nas.lan. 60 IN A 192.168.1.9"),
            ("NAS.Lan. 300 IN AAAA fd00::9", "nas.lan. 300 IN AAAA fd00::9"),
            ("  printer.lan\tIN 5 CNAME nas.lan ", "printer.lan. 5 IN CNAME nas.lan."),
            ("lan MX 10 mail.lan.", "lan. 60 IN MX 10 mail.lan."),
            ("_http._tcp.lan SRV 0 0 80 nas.lan", "_http._tcp.lan. 60 IN SRV 0 0 80 nas.lan."),
            ("*.dev.lan A 192.168.1.7", "*.dev.lan. 60 IN A 192.168.1.7"),
            ("9.1.168.192.in-addr.arpa PTR nas.lan", "9.1.168.192.in-addr.arpa. 60 IN PTR nas.lan."),
        ] {
            let record = read_local_record(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(record.to_string(), expected, "{text}");
        }
        let text = read_local_record("nas.lan TXT \"a;b (c)\" d").unwrap();
        assert!(text.to_string().contains("a;b (c)"), "{text}");
        let unknown = read_local_record("nas.lan TYPE65280 \\# 2 abcd").unwrap();
        assert_eq!(unknown.record_type(), RecordType::Unknown(65280));
        assert!(read_local_record("nas.lan HTTPS 1 . alpn=h2 ipv4hint=192.168.1.9").is_ok());
    }

    #[test]
    fn what_is_no_record_says_why() {
        for (text, part) in [
            ("", "it is empty"),
            ("nas.lan", "its data is missing"),
            ("nas.lan A", "its data is missing"),
            ("nas.lan 192.168.1.9", "a type such as A"),
            ("192.168.1.9 nas.lan", "a type such as A"),
            ("nas.lan A 192.168.1.999", "IPv4"),
            ("nas.lan A 192.168.1.9 192.168.1.10", "more behind"),
            ("nas..lan A 192.168.1.9", "two dots"),
            ("nas.lan CNAME printer..lan", "two dots"),
            ("nas.lan MX 10 mail..lan", "two dots"),
            ("nas.lan CH A 192.168.1.9", "class"),
            ("nas.lan 4294967295 A 192.168.1.9", "longest TTL"),
            ("nas.lan TXT (", "brackets"),
            ("nas.lan TXT v=DKIM1; p=x", "comment"),
            ("nas.lan TXT \"a", "not closed"),
            ("$ORIGIN lan", "directives"),
            ("a.lan A 192.168.1.9\nb.lan A 192.168.1.9", "more than one line"),
            ("büro.lan A 192.168.1.9", "xn--"),
            ("nas.lan DNAME lan", "DNAME"),
            ("lan NS ns.lan", "[[forward]]"),
            ("nas.lan ANY \\# 0", "not for a local record"),
        ] {
            let error = read_local_record(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn every_bad_record_is_a_mistake_with_the_line_of_its_option() {
        let text = "[names]\nsuffixes = 'key'\n[local]\nrecords = [\n  'nas.lan B 192.168.1.9',\n  \
            '8qhdp5s8jjmxmqam3bpg9kzeg7x8teztuwrfgxw5ikn9z5bt15uy A 192.168.1.9',\n  \
            'www.8QHDP5s8jjmxmqam3bpg9kzeg7x8teztuwrfgxw5ikn9z5bt15uy.key A 192.168.1.9',\n  \
            '8qhdp5s8jjmxmqam3bpg9kzeg7x8teztuwrfgxw5ikn9z5bt15uy.lan A 192.168.1.9',\n  \
            'a.lan CNAME nas.lan',\n  'a.lan TXT x',\n  'b.lan TXT x',\n  'B.lan CNAME nas.lan',\n]\nzone = '.lan'";
        let file = crate::base::config::ConfigFile::parse("pkdns.toml".as_ref(), text).unwrap();
        let said = file.check().unwrap_err().to_string();
        let begins = [
            "pkdns.toml:4: local.records: \"nas.lan B 192.168.1.9\": ",
            "pkdns.toml:4: local.records: \"8qhdp5",
            "pkdns.toml:4: local.records: \"www.8QHDP5",
            "pkdns.toml:4: local.records: \"a.lan TXT x\": beside a CNAME",
            "pkdns.toml:4: local.records: \"B.lan CNAME nas.lan\": beside a CNAME",
            "pkdns.toml:14: local.zone: write \"lan\"",
        ];
        assert_eq!(said.lines().count(), begins.len(), "{said}");
        for (line, begin) in said.lines().zip(begins) {
            assert!(line.starts_with(begin), "{line}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        /// The reader of the `domain` crate asserts what it expects of a file.
        #[test]
        fn no_text_ends_the_server(
            words in prop::collection::vec(
                prop_oneof![
                    "[ -~]{0,8}",
                    prop::sample::select(vec![
                        "nas.lan", "A", "AAAA", "TXT", "MX", "HTTPS", "SVCB", "CAA", "NAPTR", "SOA", "LOC", "TLSA",
                        "SSHFP", "DS", "NSEC3PARAM", "CDS", "URI", "TYPE9", "IN", "60", "\\#", "2", "abcd", "\"", "\"\"",
                        "\\", "\\0", "\\300", "\\065", "(", ")", ";", "@", ".", "..", "$TTL", "1", "192.168.1.9", "::1",
                        "alpn=h2", "alpn=\"", "key9=\"a b\"", "\u{e9}", "\t", "\n", "\r", "\0",
                    ]).prop_map(String::from),
                ],
                0..8,
            ),
            glue in prop::sample::select(vec![" ", "", "\t"]),
        ) {
            if let Ok(record) = read_local_record(&words.join(glue)) {
                prop_assert!(record.ttl <= i32::MAX as u32);
            }
        }
    }
}
