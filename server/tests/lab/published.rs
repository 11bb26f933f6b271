//! What two keys publish and what the operator of the origin adds; and the same as one ordinary zone.

use hickory_proto::rr::{Name, Record};
use pkdns_dht::signed_packet::Keypair;
use pkdns_testing::{
    lab::internet::{LIKE, ORIGIN},
    server::keypair,
    support::records::record,
};

/// What the operator adds: owner and data.
const STATIC: &str = "\
@ TXT \"an origin of keys\"
www A 203.0.113.81
";

/// What KEY publishes. Names in the data are complete, and HERE is the zone with all keys.
const KEY: &str = "\
@ A 203.0.113.77
@ AAAA 2a01:4f8::77
@ TXT \"of a key\"
@ CAA 0 issue \"letsencrypt.org\"
@ HTTPS 1 . alpn=h2
@ MX 10 mail.KEY.
mail A 203.0.113.75
www A 203.0.113.78
www HTTPS 0 KEY.
a.ent A 203.0.113.79
*.w TXT \"any name\"
alias CNAME www.KEY.
other CNAME www.OTHER.
here CNAME www.OTHER.HERE.
out CNAME www.example.net.
_acme-challenge TXT \"gfj9Xq...Rg85nM\"
";

/// What OTHER published years ago.
const OTHER: &str = "\
www A 203.0.113.90
";

/// More than 512 bytes and less than 1232.
const LARGE: usize = 3;

/// What is asked, below the zone with all keys. ABSENT publishes nothing, IMPOSSIBLE reads as a key and cannot be one.
pub(crate) const QUESTIONS: &[(&str, &str, Outcome)] = &[
    ("KEY", "A", Outcome::Data),
    ("KEY", "AAAA", Outcome::Data),
    ("KEY", "TXT", Outcome::Data),
    ("KEY", "CAA", Outcome::Data),
    ("KEY", "HTTPS", Outcome::Data),
    ("KEY", "MX", Outcome::Data),
    ("KEY", "SRV", Outcome::NoData),
    // A key's name is no zone of its own to the world.
    ("KEY", "NS", Outcome::NoData),
    ("KEY", "SOA", Outcome::NoData),
    ("KEY", "DS", Outcome::NoData),
    ("KEY", "DNSKEY", Outcome::NoData),
    ("www.KEY", "A", Outcome::Data),
    ("www.KEY", "HTTPS", Outcome::Data),
    ("www.KEY", "CAA", Outcome::NoData),
    ("a.ent.KEY", "A", Outcome::Data),
    ("ent.KEY", "A", Outcome::NoData),
    ("nope.KEY", "A", Outcome::NoName),
    ("deep.below.nope.KEY", "AAAA", Outcome::NoName),
    ("below.www.KEY", "A", Outcome::NoName),
    ("x.w.KEY", "TXT", Outcome::Data),
    ("y.x.w.KEY", "TXT", Outcome::Data),
    ("z.w.KEY", "A", Outcome::NoData),
    ("alias.KEY", "A", Outcome::Data),
    ("alias.KEY", "AAAA", Outcome::Alias),
    ("alias.KEY", "CNAME", Outcome::Data),
    ("other.KEY", "A", Outcome::Data),
    ("here.KEY", "A", Outcome::Data),
    ("out.KEY", "A", Outcome::Data),
    ("out.KEY", "AAAA", Outcome::Alias),
    ("_acme-challenge.KEY", "TXT", Outcome::Data),
    ("WwW.KeY", "a", Outcome::Data),
    ("www.OTHER", "A", Outcome::Data),
    ("large.OTHER", "TXT", Outcome::Data),
    ("OTHER", "A", Outcome::NoData),
    ("ABSENT", "A", Outcome::NoName),
    ("www.ABSENT", "TXT", Outcome::NoName),
    ("IMPOSSIBLE", "A", Outcome::NoName),
    ("nobody", "A", Outcome::NoName),
    ("", "TXT", Outcome::Data),
    ("", "A", Outcome::NoData),
    ("", "DNSKEY", Outcome::NoData),
    ("www", "A", Outcome::Data),
    ("www", "TXT", Outcome::NoData),
];

/// What there is to be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Data,
    /// An alias that leads to a name without such a record.
    Alias,
    NoData,
    NoName,
}

/// Whoever has KEY.
pub(crate) fn key() -> Keypair {
    keypair(1)
}

/// Whoever has OTHER.
pub(crate) fn other() -> Keypair {
    keypair(2)
}

/// The name of a question below `zone`.
pub(crate) fn name(question: &str, zone: &str) -> String {
    // `b` and nothing but `y` after it are no point of the curve.
    let impossible = format!("b{}", "y".repeat(51));
    let mixed: String = key().to_z32().chars().enumerate().map(mix).collect();
    let labels = question
        .replace("KEY", &key().to_z32())
        .replace("KeY", &mixed)
        .replace("OTHER", &other().to_z32())
        .replace("ABSENT", &keypair(9).to_z32())
        .replace("IMPOSSIBLE", &impossible);
    if labels.is_empty() { zone.to_owned() } else { format!("{labels}.{zone}") }
}

fn mix((at, character): (usize, char)) -> char {
    if at % 2 == 0 { character.to_ascii_uppercase() } else { character }
}

/// Owners and data of everything that OTHER publishes.
fn of_other() -> String {
    let strings: Vec<_> = (0..LARGE).map(|number| format!("\"{number}{}\"", "x".repeat(230))).collect();
    format!("{OTHER}large TXT {}\n", strings.join(" "))
}

/// The records for the packet of KEY.
pub(crate) fn records_of_key(ttl: u32) -> Vec<Record> {
    records(KEY, &key(), ttl)
}

/// The records for the packet of OTHER.
pub(crate) fn records_of_other(ttl: u32) -> Vec<Record> {
    records(&of_other(), &other(), ttl)
}

/// Records of a packet: their names are those of the key itself.
pub(crate) fn records(lines: &str, owner: &Keypair, ttl: u32) -> Vec<Record> {
    let lines =
        lines.replace("HERE", ORIGIN).replace("KEY", &key().to_z32()).replace("OTHER", &other().to_z32());
    let origin = Name::from_ascii(format!("{}.", owner.to_z32())).unwrap();
    let records = lines.lines().map(|line| line.split_once(' ').unwrap());
    records.map(|(owner, data)| record(&format!("{owner} {ttl} {data}"), &origin).expect(data)).collect()
}

/// The zone file of the origin, which has its servers besides.
pub(crate) fn origin_zone(servers: &str) -> String {
    format!(
        "$TTL 300\n@ IN SOA ns1.example.net. hostmaster.example.net. 1 3600 600 604800 60\n{servers}{STATIC}"
    )
}

/// All of it, for a zone file of [`LIKE`].
pub(crate) fn like_zone() -> String {
    let of_keys = [(KEY.to_owned(), key()), (of_other(), other())].map(|(lines, owner)| {
        let owner = owner.to_z32();
        let lines = lines.lines().map(|line| {
            let (name, data) = line.split_once(' ').unwrap();
            let name = if name == "@" { owner.clone() } else { format!("{name}.{owner}") };
            let data = data.replace("KEY.", &format!("{}.{LIKE}.", key().to_z32()));
            let data = data.replace("HERE.", "").replace("OTHER.", &format!("{}.{LIKE}.", other().to_z32()));
            format!("{name} {data}\n")
        });
        lines.collect::<String>()
    });
    format!("{STATIC}{}", of_keys.concat())
}
