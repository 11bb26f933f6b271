//! What is asked: of a seed and a number, so that every question can be asked again.

use std::str::FromStr;

use domain::base::{Name, Rtype};
use pkdns_testing::support::client::Transport;

use crate::world::ODD;

/// The kinds of questions: each number has the next.
const KINDS: &str = include_str!("questions.txt");

/// Whose owners are asked for.
const ZONE: &str = include_str!("zone.txt");

/// All questions. Of fewer, every hundredth or so is asked, and the number of kinds is a prime, so that all kinds are among
/// them as long as there are more questions than kinds.
pub(crate) const ALL: u64 = 10_000;

/// A question that was asked before is so many times this back. Where one in a hundred is asked, that one is, too.
const BACK: u64 = 100;

const IN: u16 = 1;
const OTHER_CLASSES: [u16; 4] = [3, 4, 254, 255];

/// A question, and how it is asked.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) kind: &'static str,
    pub(crate) name: Name<Vec<u8>>,
    pub(crate) record_type: Rtype,
    pub(crate) class: u16,
    pub(crate) recursion_desired: bool,
    pub(crate) authentic_data: bool,
    pub(crate) checking_disabled: bool,
    /// The size that is offered over UDP, and DO; no OPT record without.
    pub(crate) edns: Option<(u16, bool)>,
    pub(crate) transport: Transport,
}

struct Kind {
    what: &'static str,
    names: Vec<&'static str>,
    types: Vec<&'static str>,
}

/// The kinds, in their order.
pub(crate) fn kinds() -> Vec<&'static str> {
    read_kinds().into_iter().map(|kind| kind.what).collect()
}

/// Questions number 0 to [`ALL`], or `count` of them at equal distances.
pub(crate) fn numbers(count: u64) -> impl Iterator<Item = u64> {
    (0..ALL).step_by((ALL / count.clamp(1, ALL)) as usize)
}

/// Makes questions.
pub(crate) struct Questions {
    seed: u64,
    kinds: Vec<Kind>,
    owners: Vec<&'static str>,
}

impl Questions {
    pub(crate) fn new(seed: u64) -> Self {
        let is_owner = |line: &&str| line.starts_with(|first: char| !" ;$".contains(first));
        let mut owners: Vec<_> =
            ZONE.lines().filter(is_owner).map(|line| line.split(' ').next().unwrap()).collect();
        owners.dedup();
        Self { seed, kinds: read_kinds(), owners }
    }

    pub(crate) fn number(&self, number: u64) -> Question {
        let mut random = Random(self.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let kind = &self.kinds[(number % self.kinds.len() as u64) as usize];
        let (name, record_type) = self.asked(number);
        let mut spelled = name.into_octets();
        if random.one_in(3) {
            // The length of a label is below 64, and no letter.
            for byte in spelled.iter_mut().filter(|byte| byte.is_ascii_alphabetic()) {
                *byte ^= if random.one_in(2) { 0x20 } else { 0 };
            }
        }
        let is = |what: &str| kind.what == what;
        Question {
            kind: kind.what,
            name: Name::from_octets(spelled).unwrap(),
            record_type,
            class: if is("other classes") { *random.any(&OTHER_CLASSES) } else { IN },
            recursion_desired: !is("nobody is to be asked"),
            authentic_data: random.one_in(4),
            checking_disabled: random.one_in(6),
            edns: random.any(&[None, Some(512), Some(1232), Some(4096)]).map(|size| (size, random.one_in(2))),
            transport: if random.one_in(3) { Transport::Tcp } else { Transport::Udp },
        }
    }

    /// Without spelling and flags, so that a question can be asked again with others.
    fn asked(&self, number: u64) -> (Name<Vec<u8>>, Rtype) {
        let mut random = Random(!self.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let kind = &self.kinds[(number % self.kinds.len() as u64) as usize];
        if kind.what == "a question that was asked before" {
            // Never such a one itself, since the number of kinds is a prime.
            return self.asked(number.saturating_sub(BACK * (1 + random.below(5))));
        }
        let mut owners: Vec<&str> = kind.names.iter().filter(|name| **name != "type-*").copied().collect();
        if owners.is_empty() {
            let start = if kind.names.is_empty() { "" } else { "type-" };
            owners.extend(self.owners.iter().filter(|owner| owner.starts_with(start)));
        }
        let owner = *random.any(&owners);
        let text = match owner {
            "@" => format!("{}.", random.any(&ODD)),
            name if name.ends_with('.') => name.to_owned(),
            name => format!("{name}.{}.", random.any(&ODD)),
        };
        let record_type = match *random.any(&kind.types) {
            // `type-731` has a type without a name.
            "own" => owner.trim_start_matches("type-").to_ascii_uppercase(),
            other => other.to_owned(),
        };
        let record_type = match record_type.parse::<u16>() {
            Ok(number) => Rtype::from_int(number),
            Err(_) => Rtype::from_str(&record_type).unwrap_or_else(|_| panic!("{record_type}")),
        };
        (Name::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}")), record_type)
    }
}

impl Question {
    /// The message to send.
    pub(crate) fn message(&self, id: u16) -> Vec<u8> {
        let mut bytes = id.to_be_bytes().to_vec();
        let flags = u8::from(self.authentic_data) << 5 | u8::from(self.checking_disabled) << 4;
        bytes.extend_from_slice(&[u8::from(self.recursion_desired), flags, 0, 1, 0, 0, 0, 0, 0]);
        bytes.push(u8::from(self.edns.is_some()));
        bytes.extend_from_slice(&self.section());
        if let Some((size, dnssec_ok)) = self.edns {
            bytes.extend_from_slice(&[0, 0, 41]);
            bytes.extend_from_slice(&size.to_be_bytes());
            bytes.extend_from_slice(&[0, 0, u8::from(dnssec_ok) << 7, 0, 0, 0]);
        }
        bytes
    }

    /// The question section.
    pub(crate) fn section(&self) -> Vec<u8> {
        let numbers = [self.record_type.to_int(), self.class].map(u16::to_be_bytes);
        [self.name.as_slice(), numbers.as_flattened()].concat()
    }

    pub(crate) fn dnssec_ok(&self) -> bool {
        self.edns.is_some_and(|(_, dnssec_ok)| dnssec_ok)
    }

    /// Bytes that an answer may have.
    pub(crate) fn room(&self) -> usize {
        match self.transport {
            Transport::Udp => usize::from(self.edns.map_or(512, |(size, _)| size.max(512))),
            Transport::Tcp => 65_535,
        }
    }

    /// The command that asks the same of a server on 127.0.0.1.
    pub(crate) fn dig(&self, port: u16) -> String {
        let mut options = String::new();
        let mut option = |is_set: bool, set: &str, clear: &str| {
            options = format!("{options} {}", if is_set { set } else { clear });
        };
        option(self.transport == Transport::Tcp, "+tcp", "+notcp +ignore");
        option(self.recursion_desired, "+rec", "+norec");
        option(self.authentic_data, "+ad", "+noad");
        option(self.checking_disabled, "+cd", "+nocd");
        option(self.dnssec_ok(), "+dnssec", "+nodnssec");
        match self.edns {
            Some((size, _)) => option(true, &format!("+bufsize={size} +nocookie"), ""),
            None => option(true, "+noedns", ""),
        }
        let (name, class, record_type) = (&self.name, self.class, self.record_type.to_int());
        format!("dig @127.0.0.1 -p {port} -q '{name}.' -c CLASS{class} -t TYPE{record_type}{options}")
    }
}

fn read_kinds() -> Vec<Kind> {
    let lines = KINDS.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let kinds = lines.map(|line| {
        let mut parts = line.split('|').map(str::trim);
        let mut next = || parts.next().unwrap_or_default();
        let (what, names, types) = (next(), next(), next());
        Kind {
            what,
            names: names.split(' ').filter(|name| !name.is_empty()).collect(),
            types: types.split(' ').collect(),
        }
    });
    kinds.collect()
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }

    fn any<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }
}
