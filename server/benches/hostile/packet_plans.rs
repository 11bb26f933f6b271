//! Plans for packets that are designed to be costly to answer from; a search can change a plan a little at a time.

use pkdns_dht::signed_packet::{Keypair, SignedPacket};
use pkdns_testing::benchmark::random::Random;

use crate::packet_writer::Writer;

const TYPE_A: u16 = 1;
const TYPE_NS: u16 = 2;
const TYPE_CNAME: u16 = 5;
const TYPE_SOA: u16 = 6;
const TYPE_MX: u16 = 15;
const TYPE_TXT: u16 = 16;
const TYPE_HTTPS: u16 = 65;
const TYPE_NULL: u16 = 99;

/// Types asked for; there is always an alias as well.
const TYPES: [u16; 6] = [TYPE_A, TYPE_NS, TYPE_MX, TYPE_TXT, TYPE_HTTPS, TYPE_SOA];

/// What the rest of each packet is filled with.
const FILLERS: [Filler; 9] = [
    Filler::Nothing,
    Filler::Foreign,
    Filler::OtherSpelling,
    Filler::Empty,
    Filler::Deep,
    Filler::AtTheEnd,
    Filler::MalformedAliases,
    Filler::Malformed,
    Filler::Servers,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Filler {
    Nothing,
    /// Owned by another key.
    Foreign,
    /// Owned by the key in another of its spellings.
    OtherSpelling,
    /// Twelve bytes each, without data.
    Empty,
    /// At names of thirty labels.
    Deep,
    /// Of the type that is asked for, where the chain ends.
    AtTheEnd,
    /// Aliases that cannot be read, before each link and behind the last.
    MalformedAliases,
    /// At deep names, and not to be read.
    Malformed,
    /// NS records at the apex.
    Servers,
}

/// How the packets of a chain are made.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Keys that the chain goes through.
    keys: u8,
    /// Aliases within each.
    links: u8,
    /// Labels that all owners have in common.
    depth: u8,
    /// Labels before the owner where a chain enters a key, for a wildcard to cover.
    before: u8,
    /// Whether the alias to the next key is at the wildcard.
    by_wildcard: bool,
    filler: Filler,
    /// Labels of the name that the data of the fillers points to.
    target_depth: u8,
    asked: u16,
    ttl: u32,
    suffix: bool,
    /// Whether aliases spell the next key in another way.
    spelled: bool,
}

impl Plan {
    /// A chain within one key, and nothing else.
    pub(crate) fn plain() -> Self {
        Self {
            keys: 1,
            links: 11,
            depth: 0,
            before: 0,
            by_wildcard: false,
            filler: Filler::Nothing,
            target_depth: 1,
            asked: TYPE_A,
            ttl: 0,
            suffix: false,
            spelled: false,
        }
    }

    /// Those that cost most by what the code does.
    pub(crate) fn by_hand() -> Vec<(&'static str, Self)> {
        let plain = Self::plain;
        vec![
            ("a chain of 11 links within the key", plain()),
            ("the same, filled up with records of another key", Self { filler: Filler::Foreign, ..plain() }),
            (
                "the same, filled up with records in another spelling of the key",
                Self { filler: Filler::OtherSpelling, ..plain() },
            ),
            (
                "the same at names of 30 labels, filled up with more of them",
                Self { depth: 28, filler: Filler::Deep, ..plain() },
            ),
            (
                "names of 70 labels, by a wildcard",
                Self {
                    keys: 10,
                    links: 0,
                    before: 68,
                    by_wildcard: true,
                    filler: Filler::Foreign,
                    ..plain()
                },
            ),
            (
                "ten keys, each filled up with records of another",
                Self { keys: 10, links: 0, filler: Filler::Foreign, ..plain() },
            ),
            (
                "ten keys, names of 120 labels",
                Self {
                    keys: 10,
                    links: 0,
                    before: 90,
                    depth: 28,
                    by_wildcard: true,
                    filler: Filler::Deep,
                    ..plain()
                },
            ),
            (
                "ten keys in another spelling, names of 120 labels, three broken aliases each",
                Self {
                    keys: 10,
                    links: 0,
                    before: 90,
                    depth: 28,
                    by_wildcard: true,
                    filler: Filler::MalformedAliases,
                    target_depth: 113,
                    spelled: true,
                    suffix: true,
                    ..plain()
                },
            ),
            (
                "aliases to names of 110 labels, which are too long, before each of 7 links",
                Self { links: 7, depth: 28, filler: Filler::MalformedAliases, target_depth: 110, ..plain() },
            ),
            (
                "the same in ten keys",
                Self { keys: 10, links: 0, filler: Filler::MalformedAliases, target_depth: 110, ..plain() },
            ),
            (
                "NS records to names of 110 labels",
                Self {
                    links: 0,
                    before: 1,
                    by_wildcard: true,
                    filler: Filler::AtTheEnd,
                    asked: TYPE_NS,
                    target_depth: 110,
                    ..plain()
                },
            ),
        ]
    }

    /// A plan that differs from this one in one to three things.
    pub(crate) fn changed(&self, random: &mut Random) -> Self {
        let mut plan = self.clone();
        for _ in 0..=random.below(3) {
            match random.below(11) {
                0 => plan.keys = 1 + random.below(11) as u8,
                1 => plan.links = random.below(12) as u8,
                2 => plan.depth = random.below(31) as u8,
                3 => plan.before = random.below(100) as u8,
                4 => plan.by_wildcard = !plan.by_wildcard,
                5 => plan.filler = FILLERS[random.below(FILLERS.len() as u32) as usize],
                6 => plan.target_depth = random.below(120) as u8,
                7 => plan.asked = TYPES[random.below(TYPES.len() as u32) as usize],
                8 => plan.ttl = [0, 1, 300][random.below(3) as usize],
                9 => plan.spelled = !plan.spelled,
                _ => plan.suffix = !plan.suffix,
            }
        }
        plan
    }

    /// The type that is asked for.
    pub(crate) fn asked(&self) -> u16 {
        self.asked
    }

    /// The name that is asked for, the `number`-th of those that differ only where a wildcard covers them.
    pub(crate) fn name(&self, number: u32, seed: u32) -> String {
        let suffix = if self.suffix { 4 } else { 0 };
        let room = (240 - suffix - 54 - 3 - 2 * usize::from(self.depth)) / 2;
        let mut labels = vec!["x".to_owned(); usize::from(self.before).min(room)];
        if let Some(first) = labels.first_mut().filter(|_| self.by_wildcard) {
            *first = format!("n{number}");
        }
        labels.push("a0".to_owned());
        labels.extend(vec!["d".to_owned(); usize::from(self.depth)]);
        labels.push(keypair(seed, 0).public_key().to_z32());
        if self.suffix {
            labels.push("key".to_owned());
        }
        labels.join(".")
    }

    /// The packets of the chain, signed.
    pub(crate) fn packets(&self, seed: u32) -> Vec<SignedPacket> {
        (0..self.keys).map(|number| self.packet(seed, number)).collect()
    }

    fn packet(&self, seed: u32, number: u8) -> SignedPacket {
        let keypair = keypair(seed, number);
        let mut writer = Writer::new(&keypair.public_key().to_z32(), self.depth, self.ttl);
        for link in 0..self.links {
            let (owner, target) = (writer.own(&format!("a{link}")), writer.own(&format!("a{}", link + 1)));
            self.spoil(&mut writer, &owner);
            writer.record(&owner, TYPE_CNAME, &target);
        }
        let mut last = writer.own(&format!("a{}", self.links));
        if self.by_wildcard && self.links == 0 && self.before > 0 {
            last = [&[1, b'*'], &last[..]].concat();
        }
        if number + 1 < self.keys {
            let next = self.entry(seed, number + 1);
            self.spoil(&mut writer, &last);
            writer.record(&last, TYPE_CNAME, &next);
        } else {
            let data = self.data(&mut writer, 0);
            writer.record(&last, self.asked, &data);
        }
        self.fill(&mut writer, seed, number, &last);
        SignedPacket::sign(&keypair, 1_700_000_000_000_000, &writer.finish()).unwrap()
    }

    /// Aliases before the good one that take long to find out.
    fn spoil(&self, writer: &mut Writer, owner: &[u8]) {
        if self.filler == Filler::MalformedAliases {
            let long = writer.long(self.target_depth);
            (0..3).for_each(|_| writer.record(owner, TYPE_CNAME, &[&long[..], &[0]].concat()));
        }
    }

    /// The name by which a chain enters the packet of a key, in wire form.
    fn entry(&self, seed: u32, number: u8) -> Vec<u8> {
        let key = keypair(seed, number).public_key().to_z32();
        let before = usize::from(self.before).min((250 - 54 - 3 - 2 * usize::from(self.depth)) / 2);
        let mut name = [1, b'x'].repeat(before);
        name.extend_from_slice(b"\x02a0");
        name.extend([1, b'd'].repeat(self.depth.into()));
        match self.spelled {
            true => name.extend(other_spelling(seed, number)),
            false => name.extend([&[key.len() as u8], key.as_bytes(), &[0]].concat()),
        }
        name
    }

    fn data(&self, writer: &mut Writer, number: u8) -> Vec<u8> {
        let long = writer.long(self.target_depth);
        match self.asked {
            TYPE_A => vec![192, 0, 2, number],
            TYPE_NS => [&[1, b'a' + number % 26], &long[..]].concat(),
            TYPE_MX => [&[0, number], &long[..]].concat(),
            TYPE_HTTPS => vec![0, number, 0],
            TYPE_SOA => [&long[..], &long, &[0; 19], &[number]].concat(),
            _ => vec![1, number],
        }
    }

    fn fill(&self, writer: &mut Writer, seed: u32, number: u8, last: &[u8]) {
        let foreign = foreign(seed, number);
        let long = writer.long(self.target_depth);
        let mut place = None;
        for count in 0..80_u8 {
            let fits = match self.filler {
                Filler::Nothing => false,
                Filler::Foreign => writer.fill_shared(&mut place, &foreign, TYPE_A, &[192, 0, 2, count]),
                Filler::OtherSpelling => {
                    let spelled = other_spelling(seed, number);
                    writer.fill_shared(&mut place, &spelled, TYPE_A, &[192, 0, 2, count])
                }
                Filler::Empty => {
                    let owner = writer.own("e");
                    writer.fill_shared(&mut place, &owner, TYPE_NULL, &[])
                }
                Filler::Deep => {
                    let label = [1, b'!' + count % 64];
                    writer.fill(&[&label, &writer.deep()[..]].concat(), TYPE_A, &[192, 0, 2, count])
                }
                Filler::AtTheEnd => {
                    let data = self.data(writer, count);
                    writer.fill_shared(&mut place, last, self.asked, &data)
                }
                Filler::MalformedAliases => {
                    writer.fill_shared(&mut place, last, TYPE_CNAME, &[&long[..], &[0]].concat())
                }
                Filler::Malformed => {
                    let label = [1, b'!' + count % 64];
                    let data = [&long[..], &[0]].concat();
                    writer.fill(&[&label, last].concat(), TYPE_CNAME, &data)
                }
                Filler::Servers => {
                    let apex = writer.apex();
                    writer.fill(&apex, TYPE_NS, &[&[1, b'!' + count % 64], &long[..]].concat())
                }
            };
            if !fits {
                break;
            }
        }
    }
}

fn keypair(seed: u32, number: u8) -> Keypair {
    let mut secret = [number; 32];
    secret[..4].copy_from_slice(&seed.to_be_bytes());
    Keypair::from_secret_key(&secret)
}

/// The name of a key that is not this one's.
fn foreign(seed: u32, number: u8) -> Vec<u8> {
    let key = keypair(seed, number + 100).public_key().to_z32();
    [&[key.len() as u8], key.as_bytes(), &[0]].concat()
}

/// The same key, its last character with one of the bits that say nothing.
fn other_spelling(seed: u32, number: u8) -> Vec<u8> {
    let key = keypair(seed, number).public_key().to_z32();
    let last = if key.ends_with('y') { 'b' } else { 't' };
    [&[key.len() as u8], &key.as_bytes()[..51], &[last as u8], &[0]].concat()
}
