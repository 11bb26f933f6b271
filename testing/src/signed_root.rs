//! An upstream with a signed root, as the public one is: it proves which top-level names do not exist.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hickory_proto::rr::RecordType;
use pkdns_dht::signed_packet::Keypair;
use tokio::net::UdpSocket;

/// The root's key, as validators take it: a DS record in the notation of Unbound and in that of dnsmasq.
pub const UNBOUND_ANCHOR: &str =
    ". DS 53568 15 2 00167D3225005ABB137957EB2680BC49517EEC29892B52754DAEA38B6A420F72";
pub const DNSMASQ_ANCHOR: &str =
    "trust-anchor=.,53568,15,2,00167D3225005ABB137957EB2680BC49517EEC29892B52754DAEA38B6A420F72";
const SECRET: [u8; 32] = [7; 32];
const KEY_TAG: u16 = 53568;

const A: u16 = 1;
const NS: u16 = 2;
const SOA: u16 = 6;
const DS: u16 = 43;
const RRSIG: u16 = 46;
const NSEC: u16 = 47;
const DNSKEY: u16 = 48;

const NXDOMAIN: u8 = 3;
const ED25519: u8 = 15;
const TTL: u32 = 60;
const DAY: Duration = Duration::from_secs(86_400);

const ROOT: &[u8] = b"\0";

/// What the root delegates, none of it signed: in the order of RFC 4034 section 6.1, and in one zone what the public has in
/// a chain of signed zones. Of the reverse zones of RFC 6303 the public delegates some and denies the others.
const DELEGATIONS: [&str; 6] =
    ["home.arpa", "10.in-addr.arpa", "20.172.in-addr.arpa", "168.192.in-addr.arpa", "resolver.arpa", "com"];

/// Types of the record by which a name is proven to be, or not to be: as bits of RFC 4034 section 4.1.2.
const OF_ROOT: &[u8] = &[0, 7, 0x22, 0, 0, 0, 0, 0x03, 0x80];
const OF_DELEGATION: &[u8] = &[0, 6, 0x20, 0, 0, 0, 0, 0x03];

/// An upstream that runs until the runtime of the test ends.
pub struct SignedRoot {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl SignedRoot {
    /// What it was asked, as `name type`, each question once, except about the root itself.
    pub fn asked(&self) -> Vec<String> {
        let mut asked = self.asked.lock().unwrap().clone();
        asked.sort();
        asked.dedup();
        asked
    }
}

/// Its root has the names above, and `example.com` has the address 192.0.2.1.
pub async fn start() -> SignedRoot {
    start_at(Ipv4Addr::LOCALHOST).await
}

/// The same on an address of this machine.
pub async fn start_at(address: Ipv4Addr) -> SignedRoot {
    let socket = UdpSocket::bind((address, 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let said = asked.clone();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok((size, peer)) = socket.recv_from(&mut buffer).await {
            let (question, response) = respond(&buffer[..size]);
            said.lock().unwrap().extend(question);
            let _ = socket.send_to(&response, peer).await;
        }
    });
    SignedRoot { address, asked }
}

fn respond(query: &[u8]) -> (Option<String>, Vec<u8>) {
    let mut labels = Vec::new();
    let mut at = 12;
    while query[at] > 0 {
        let end = at + 1 + usize::from(query[at]);
        labels.push(String::from_utf8_lossy(&query[at + 1..end]).to_ascii_lowercase());
        at = end;
    }
    let question = &query[12..at + 5];
    let record_type = u16::from_be_bytes([query[at + 1], query[at + 2]]);
    let name = labels.join(".");

    let (mut code, mut answers, mut authority) = (0, Vec::new(), Vec::new());
    let delegation = DELEGATIONS.iter().find(|zone| is_in(&name, zone));
    match (name.as_str(), record_type, delegation) {
        ("", DNSKEY, _) => answers = signed("", DNSKEY, &root_key()),
        ("", NS, _) => answers = signed("", NS, b"\x01a\0"),
        ("", SOA, _) => answers = soa(),
        ("example.com", A, _) => answers = vec![record(b"\xc0\x0c", A, &[192, 0, 2, 1])],
        // What is in a zone that is not signed itself.
        (name, record_type, Some(zone)) if name != *zone || record_type != DS => {}
        _ => {
            let exists = name.is_empty() || DELEGATIONS.iter().any(|zone| is_in(zone, &name));
            let encloser = (1..=labels.len()).map(|at| labels[at..].join("."));
            let mut encloser = encloser.filter(|above| DELEGATIONS.iter().any(|zone| is_in(zone, above)));
            let wildcard = format!("*.{}", encloser.next().unwrap_or_default());
            let mut proofs = vec![proof(&name)];
            if !exists {
                code = NXDOMAIN;
                proofs.push(proof(wildcard.trim_end_matches('.')));
                proofs.dedup();
            }
            authority = [soa(), proofs.concat()].concat();
        }
    }
    let counts = [1, answers.len(), authority.len(), 1].map(|count| u8::try_from(count).unwrap());
    let mut response = query[..2].to_vec();
    response.extend_from_slice(&[0x81, 0x80 | code]);
    counts.iter().for_each(|&count| response.extend_from_slice(&[0, count]));
    response.extend_from_slice(question);
    response.extend(answers.concat());
    response.extend(authority.concat());
    // An OPT record with DO.
    response.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0x80, 0, 0, 0]);
    let asked = (!name.is_empty()).then(|| format!("{name} {}", RecordType::from(record_type)));
    (asked, response)
}

/// Whether a name is another one or below it.
fn is_in(name: &str, above: &str) -> bool {
    above.is_empty() || name.strip_suffix(above).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn soa() -> Vec<Vec<u8>> {
    signed("", SOA, &[ROOT, ROOT, [1, 1800, 900, 604_800, TTL].map(u32::to_be_bytes).as_flattened()].concat())
}

/// The record at a name, or before it, that says what comes next.
fn proof(name: &str) -> Vec<Vec<u8>> {
    let key = |name: &str| name.rsplit('.').map(str::to_owned).collect::<Vec<_>>();
    let before = DELEGATIONS.iter().rposition(|zone| key(zone) <= key(name));
    let (owner, next, types) = match before {
        None => ("", DELEGATIONS[0], OF_ROOT),
        Some(at) => (DELEGATIONS[at], DELEGATIONS.get(at + 1).copied().unwrap_or(""), OF_DELEGATION),
    };
    signed(owner, NSEC, &[&wire(next), types].concat())
}

fn wire(name: &str) -> Vec<u8> {
    let labels = name.split('.').filter(|label| !label.is_empty());
    let mut wire: Vec<u8> =
        labels.flat_map(|label| [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat()).collect();
    wire.push(0);
    wire
}

fn root_key() -> Vec<u8> {
    // A zone's key that is an entry point (RFC 4034 section 2.1).
    let mut data = vec![1, 1, 3, ED25519];
    data.extend_from_slice(Keypair::from_secret_key(&SECRET).public_key().as_bytes());
    data
}

/// A set of one record, and its signature (RFC 4034 section 3.1).
fn signed(owner: &str, record_type: u16, data: &[u8]) -> Vec<Vec<u8>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let times = [now + DAY, now - DAY].map(|time| u32::try_from(time.as_secs()).unwrap().to_be_bytes());
    let labels = u8::try_from(owner.split('.').filter(|label| !label.is_empty()).count()).unwrap();
    let owner = &wire(owner);
    let mut signature = record_type.to_be_bytes().to_vec();
    signature.extend_from_slice(&[ED25519, labels]);
    signature.extend_from_slice(&TTL.to_be_bytes());
    signature.extend_from_slice(times.as_flattened());
    signature.extend_from_slice(&KEY_TAG.to_be_bytes());
    signature.extend_from_slice(ROOT);
    let record = self::record(owner, record_type, data);
    let text = [signature.as_slice(), &record].concat();
    signature.extend_from_slice(&Keypair::from_secret_key(&SECRET).sign(&text).to_bytes());
    vec![record, self::record(owner, RRSIG, &signature)]
}

fn record(owner: &[u8], record_type: u16, data: &[u8]) -> Vec<u8> {
    let size = u16::try_from(data.len()).unwrap();
    let ttl = TTL.to_be_bytes();
    [owner, &record_type.to_be_bytes(), &[0, 1], &ttl, &size.to_be_bytes(), data].concat()
}
