//! An upstream with a signed root, as the public one is: it proves which top-level names do not exist.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use pkdns::signed_packet::Keypair;
use tokio::net::UdpSocket;

/// The root's key, as validators take it: a DS record in the notation of Unbound and in that of dnsmasq.
pub(crate) const UNBOUND_ANCHOR: &str =
    ". DS 53568 15 2 00167D3225005ABB137957EB2680BC49517EEC29892B52754DAEA38B6A420F72";
pub(crate) const DNSMASQ_ANCHOR: &str =
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
const COM: &[u8] = b"\x03com\0";

/// Answers until the runtime of the test ends. `com` is the only name in its root, and not signed itself;
/// `example.com` has the address 192.0.2.1.
pub(crate) async fn start() -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok((size, peer)) = socket.recv_from(&mut buffer).await {
            let _ = socket.send_to(&respond(&buffer[..size]), peer).await;
        }
    });
    address
}

fn respond(query: &[u8]) -> Vec<u8> {
    let mut labels = Vec::new();
    let mut at = 12;
    while query[at] > 0 {
        let end = at + 1 + usize::from(query[at]);
        labels.push(query[at + 1..end].to_ascii_lowercase());
        at = end;
    }
    let question = &query[12..at + 5];
    let record_type = u16::from_be_bytes([query[at + 1], query[at + 2]]);
    let labels: Vec<&[u8]> = labels.iter().map(Vec::as_slice).collect();

    let (mut code, mut answers, mut authority) = (0, Vec::new(), Vec::new());
    match (labels.as_slice(), record_type) {
        ([], DNSKEY) => answers = signed(ROOT, DNSKEY, &root_key()),
        ([], NS) => answers = signed(ROOT, NS, b"\x01a\0"),
        ([], SOA) => answers = soa(),
        ([b"example", b"com"], A) => answers = vec![record(b"\xc0\x0c", A, &[192, 0, 2, 1])],
        ([.., b"com"], record_type) if labels.len() > 1 || record_type != DS => {}
        ([], _) => authority = [soa(), nothing_between_the_root_and_com()].concat(),
        ([b"com"], _) => authority = [soa(), nothing_after_com()].concat(),
        _ => {
            code = NXDOMAIN;
            authority = [soa(), nothing_between_the_root_and_com(), nothing_after_com()].concat();
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
    response
}

fn soa() -> Vec<Vec<u8>> {
    signed(
        ROOT,
        SOA,
        &[ROOT, ROOT, [1, 1800, 900, 604_800, TTL].map(u32::to_be_bytes).as_flattened()].concat(),
    )
}

/// Also that there is no wildcard.
fn nothing_between_the_root_and_com() -> Vec<Vec<u8>> {
    // NS, SOA, RRSIG, NSEC and DNSKEY (RFC 4034 section 4.1.2).
    signed(ROOT, NSEC, &[COM, &[0, 7, 0x22, 0, 0, 0, 0, 0x03, 0x80]].concat())
}

/// Also that `com` has no DS record, so that what is below is not signed.
fn nothing_after_com() -> Vec<Vec<u8>> {
    // NS, RRSIG and NSEC.
    signed(COM, NSEC, &[ROOT, &[0, 6, 0x20, 0, 0, 0, 0, 0x03]].concat())
}

fn root_key() -> Vec<u8> {
    // A zone's key that is an entry point (RFC 4034 section 2.1).
    let mut data = vec![1, 1, 3, ED25519];
    data.extend_from_slice(Keypair::from_secret_key(&SECRET).public_key().as_bytes());
    data
}

/// A set of one record, and its signature (RFC 4034 section 3.1).
fn signed(owner: &[u8], record_type: u16, data: &[u8]) -> Vec<Vec<u8>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let times = [now + DAY, now - DAY].map(|time| u32::try_from(time.as_secs()).unwrap().to_be_bytes());
    let labels = u8::from(owner != ROOT);
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
