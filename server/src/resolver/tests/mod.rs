//! What one query costs, in packets that are read and keys that are checked.

use std::{cell::Cell, collections::HashMap, iter, mem, net::Ipv4Addr, sync::Mutex};

use async_trait::async_trait;
use hickory_proto::{
    rr::{
        RData, Record,
        rdata::{A, CNAME, NS, NULL},
    },
    serialize::binary::{BinEncodable, BinEncoder},
};
use pkdns_dht::{
    Evidence, Network, NetworkError,
    signed_packet::{Keypair, PublicKey, SignedPacket},
};
use tokio::sync::mpsc;

use super::{
    chain::follow_aliases,
    name::{CURVE_CHECKS, zone_name},
    zone::PARSED,
    *,
};
use crate::{
    base::{
        config::UpstreamAddress,
        message::{Edns, MAX_CHAIN, Message, Question},
    },
    sources::forward::{TlsClient, testing::Script},
};

mod stale;

/// A DHT that holds these packets.
struct Holds(HashMap<[u8; 32], SignedPacket>);

#[async_trait]
impl Network for Holds {
    async fn lookup(
        &self,
        key: &PublicKey,
        found: mpsc::UnboundedSender<SignedPacket>,
    ) -> Result<Evidence, NetworkError> {
        if let Some(packet) = self.0.get(key.as_bytes()) {
            let _ = found.send(packet.clone());
        }
        Ok(Evidence { queried: 20, responded: 20, held: 20 })
    }
}

fn keypair(number: u8) -> Keypair {
    Keypair::from_secret_key(&[number; 32])
}

fn name(label: &str, number: u8) -> Name {
    let zone = zone_name(&keypair(number).public_key());
    zone.prepend_label(label).unwrap()
}

fn packet(number: u8, records: &[(&str, RData)]) -> SignedPacket {
    let mut dns = Vec::new();
    let mut encoder = BinEncoder::new(&mut dns);
    encoder.emit_vec(&[0, 0, 0x80, 0, 0, 0, 0, records.len() as u8, 0, 0, 0, 0]).unwrap();
    for (label, data) in records {
        Record::from_rdata(name(label, number), 300, data.clone()).emit(&mut encoder).unwrap();
    }
    SignedPacket::sign(&keypair(number), 1_700_000_000_000_000, &dns).unwrap()
}

fn alias(label: &str, number: u8) -> RData {
    RData::CNAME(CNAME(name(label, number)))
}

fn query(asked: &Name, record_type: RecordType) -> Query {
    Query {
        id: 1,
        recursion_desired: true,
        authentic_data: false,
        checking_disabled: false,
        question: Question::new(asked, record_type, DNSClass::IN).unwrap(),
        edns: None,
        is_proven: false,
        reply_cookie: None,
        view: View::Resolver,
    }
}

/// Asks for the A records of `asked`; returns the answer, how many packets were read and how many keys were checked.
async fn ask(packets: Vec<SignedPacket>, asked: &Name) -> (Resolved, usize, usize) {
    let config = Config::default();
    let forwarder = Arc::new(Forwarder::new(Vec::new(), &TlsClient::new(None).unwrap()));
    let held = packets.into_iter().map(|packet| (*packet.key().as_bytes(), packet)).collect();
    let packets = Packets::new(&config.cache, Arc::new(Holds(held)));
    let resolver = Resolver::new(&config, packets, forwarder);
    let counts = || (PARSED.with(Cell::get), CURVE_CHECKS.with(Cell::get));
    let before = counts();
    let resolved = resolver.resolve(&query(asked, RecordType::A), Ipv4Addr::LOCALHOST.into()).await;
    let after = counts();
    (resolved, after.0 - before.0, after.1 - before.1)
}

#[tokio::test]
async fn a_chain_within_a_key_reads_its_packet_and_checks_the_key_once() {
    let labels = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"];
    let last = [("k", RData::A(A::new(192, 0, 2, 1)))];
    let records: Vec<_> = labels.windows(2).map(|pair| (pair[0], alias(pair[1], 1))).chain(last).collect();
    let (resolved, read, checked) = ask(vec![packet(1, &records)], &name("a", 1)).await;
    assert_eq!((resolved.answer.answers.len(), resolved.revisions.len()), (11, 1));
    assert_eq!((read, checked), (1, 1));
}

#[tokio::test]
async fn a_chain_to_and_fro_between_two_keys_reads_each_of_them_once() {
    let one = packet(1, &[("a", alias("a", 2)), ("b", alias("b", 2)), ("c", alias("c", 2))]);
    let other =
        packet(2, &[("a", alias("b", 1)), ("b", alias("c", 1)), ("c", RData::A(A::new(192, 0, 2, 1)))]);
    let (resolved, read, checked) = ask(vec![one, other], &name("a", 1)).await;
    assert_eq!(resolved.answer.answers.len(), 6);
    assert_eq!((read, checked), (2, 2));
}

#[tokio::test]
async fn name_servers_in_one_other_zone_read_it_once() {
    let servers = ["a", "b", "c", "d"];
    let records: Vec<_> = servers.map(|server| ("sub", RData::NS(NS(name(server, 2))))).into();
    // Nobody is asked at these addresses.
    let addresses: Vec<_> = servers.map(|server| (server, RData::A(A::new(10, 0, 0, 1)))).into();
    let asked = name("sub", 1).prepend_label("www").unwrap();
    let (resolved, read, checked) = ask(vec![packet(1, &records), packet(2, &addresses)], &asked).await;
    assert_eq!(resolved.answer.code, ResponseCode::ServFail);
    assert_eq!((read, checked), (2, 2));
}

#[tokio::test]
async fn a_loop_within_a_key_ends_where_it_began() {
    let (resolved, ..) =
        ask(vec![packet(1, &[("a", alias("b", 1)), ("b", alias("a", 1))])], &name("a", 1)).await;
    assert_eq!(resolved.answer.code, ResponseCode::ServFail);
    assert!(resolved.answer.answers.is_empty());
}

#[test]
fn aliases_are_followed_in_whatever_order_they_come() {
    let at = |number: usize| Name::from_ascii(format!("n{number}.example.")).unwrap();
    let link = |number: usize| Record::from_rdata(at(number), 60, RData::CNAME(CNAME(at(number + 1))));
    let answers: Vec<Record> = (0..8).rev().map(link).collect();
    let (links, target) = follow_aliases(&answers, &at(0), |target| *target == at(5));
    assert_eq!((links, target), ((0..5).map(link).collect(), Some(at(5))));
    let (links, target) = follow_aliases(&answers, &at(0), |_| false);
    assert_eq!((links.len(), target), (8, None));
    // The first of two at one name, and no more of a loop than of a chain.
    let answers = [link(0), Record::from_rdata(at(0), 60, RData::CNAME(CNAME(at(9)))), link(9)];
    assert_eq!(follow_aliases(&answers, &at(0), |target| *target == at(9)), (vec![link(0)], None));
    let looped = [link(0), Record::from_rdata(at(1), 60, RData::CNAME(CNAME(at(0))))];
    assert_eq!(follow_aliases(&looped, &at(0), |_| false).0.len(), MAX_CHAIN + 1);
}

#[tokio::test]
async fn a_chain_leads_through_ten_keys_and_no_further() {
    for (keys, is_answered) in [(10, true), (11, false)] {
        let alias = |number| packet(number, &[("a", alias("a", number + 1))]);
        let mut packets: Vec<SignedPacket> = (1..keys).map(alias).collect();
        packets.push(packet(keys, &[("a", RData::A(A::new(192, 0, 2, 1)))]));
        let (resolved, read, checked) = ask(packets, &name("a", 1)).await;
        assert_eq!(resolved.answer.code == ResponseCode::NoError, is_answered);
        assert_eq!((read, checked), (10, usize::from(keys)));
    }
}

#[tokio::test]
async fn names_of_one_label_are_not_sent_to_public_resolvers_and_nothing_below_them_is_denied() {
    let config = Config::default();
    let public = "8.8.8.8".parse::<UpstreamAddress>().unwrap();
    let forwarder = Arc::new(Forwarder::new(vec![public], &TlsClient::new(None).unwrap()));
    let packets = Packets::new(&config.cache, Arc::new(Holds(HashMap::new())));
    let resolver = Resolver::new(&config, packets, forwarder);
    for record_type in [RecordType::A, RecordType::AAAA, RecordType::HTTPS, RecordType::SVCB] {
        let query = query(&Name::from_ascii("nas.").unwrap(), record_type);
        // Without a network: it would fail.
        let answer = resolver.resolve(&query, Ipv4Addr::LOCALHOST.into()).await.answer;
        assert_eq!((answer.code, answer.answers.len()), (ResponseCode::NoError, 0), "{record_type}");
        assert!(answer.extended_error.is_some_and(|error| error.text.contains("[[forward]]")));
    }
    let asks = |name: &str, record_type| resolver.keeps_back(&Name::from_ascii(name).unwrap(), record_type);
    assert!(!asks("com.", RecordType::DS) && !asks("com.", RecordType::NS) && !asks(".", RecordType::A));
    assert!(!asks("example.com.", RecordType::A));
}

/// An upstream as the public root is: it has `com` alone. What it was asked is counted.
fn root(asked: Arc<Mutex<Vec<String>>>, signs: bool) -> Script {
    Script::new(move |question| {
        asked.lock().unwrap().push(format!("{} {}", question.name(), question.record_type()));
        let exists = Name::from_ascii("com.").unwrap().zone_of(&question.name());
        let soa = negative::soa(&Name::root(), 1, 300);
        let signature = RData::Unknown { code: RecordType::RRSIG, rdata: NULL::with(vec![0; 20]) };
        let signature = signs.then(|| Record::from_rdata(Name::root(), 300, signature));
        let message = Message {
            id: 0,
            truncated: false,
            authentic_data: true,
            code: if exists { ResponseCode::NoError } else { ResponseCode::NXDomain },
            answers: Vec::new(),
            authorities: iter::once(soa).chain(signature).collect(),
            additionals: Vec::new(),
            extended_error: None,
        };
        Box::pin(async move { Ok(message) })
    })
}

/// A resolver in front of that, and what was asked.
fn behind_root(signs: bool) -> (Resolver, impl Fn() -> Vec<String>) {
    let asked = Arc::default();
    let public = "8.8.8.8".parse::<UpstreamAddress>().unwrap();
    let forwarder = Arc::new(Forwarder::scripted(vec![public], root(Arc::clone(&asked), signs)));
    let config = Config::default();
    let packets = Packets::new(&config.cache, Arc::new(Holds(HashMap::new())));
    let taken = move || mem::take(&mut *asked.lock().unwrap());
    (Resolver::new(&config, packets, forwarder), taken)
}

async fn answer(resolver: &Resolver, asked: &str, record_type: RecordType, dnssec_ok: bool) -> Resolved {
    let edns = Some(Edns {
        udp_size: 1232,
        version: 0,
        dnssec_ok,
        tcp_keepalive: false,
        padding: false,
        cookie: None,
    });
    let query = Query { edns, ..query(&Name::from_ascii(asked).unwrap(), record_type) };
    resolver.resolve(&query, Ipv4Addr::LOCALHOST.into()).await
}

/// What is denied, and whether by what the root has signed.
async fn denied(resolver: &Resolver, asked: &str, dnssec_ok: bool) -> (ResponseCode, bool) {
    let Resolved { answer, .. } = answer(resolver, asked, RecordType::A, dnssec_ok).await;
    assert!(answer.answers.is_empty(), "{asked}");
    let is_signed = answer.authorities.iter().any(|record| record.record_type() == RecordType::RRSIG);
    (answer.code, is_signed)
}

#[tokio::test(start_paused = true)]
async fn who_wants_signatures_gets_the_denial_of_a_reserved_name_by_those_above() {
    let no_name = ResponseCode::NXDomain;
    let (resolver, asked) = behind_root(true);
    assert_eq!(denied(&resolver, "printer.local.", false).await, (no_name, false));
    assert_eq!(asked(), [""; 0]);
    for name in ["printer.local.", "other.local.", "local."] {
        assert_eq!(denied(&resolver, name, true).await, (no_name, true), "{name}");
    }
    assert_eq!(asked(), ["local. DS"], "once, and nothing of what is in it");
    // Its time has been counted down.
    tokio::time::advance(Duration::from_secs(100)).await;
    let again = answer(&resolver, "printer.local.", RecordType::A, true).await.answer;
    assert!(again.authorities.iter().all(|record| record.ttl == 200), "{again:?}");
    tokio::time::advance(Duration::from_secs(201)).await;
    denied(&resolver, "printer.local.", true).await;
    assert_eq!(asked(), ["local. DS"]);
    // What has records, or names of the loopback address below it, is answered as ever.
    let localhost = answer(&resolver, "localhost.", RecordType::A, true).await.answer;
    let name = answer(&resolver, "1.0.0.127.in-addr.arpa.", RecordType::PTR, true).await.answer;
    assert_eq!((localhost.answers.len(), name.answers.len()), (1, 1));
    let above = answer(&resolver, "0.127.in-addr.arpa.", RecordType::A, true).await.answer;
    assert_eq!(above.code, ResponseCode::NoError);
    assert_eq!(asked(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_denial_that_nobody_signed_or_nobody_gave_is_ours() {
    let (resolver, asked) = behind_root(false);
    for _ in 0..2 {
        assert_eq!(denied(&resolver, "printer.local.", true).await, (ResponseCode::NXDomain, false));
    }
    assert_eq!(asked().len(), 1, "that is remembered for a moment");
    tokio::time::advance(FAILURE_LIFETIME).await;
    denied(&resolver, "printer.local.", true).await;
    assert_eq!(asked().len(), 1);
    let public = "8.8.8.8".parse::<UpstreamAddress>().unwrap();
    let silent = Script::new(|_| Box::pin(std::future::pending()));
    let config = Config::default();
    let packets = Packets::new(&config.cache, Arc::new(Holds(HashMap::new())));
    let resolver = Resolver::new(&config, packets, Arc::new(Forwarder::scripted(vec![public], silent)));
    let start = tokio::time::Instant::now();
    assert_eq!(denied(&resolver, "printer.local.", true).await, (ResponseCode::NXDomain, false));
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_kept_back_is_denied_by_the_root_once_somebody_has_asked_whether_it_is_signed() {
    let (no_name, no_data) = (ResponseCode::NXDomain, ResponseCode::NoError);
    let (resolver, asked) = behind_root(true);
    for dnssec_ok in [false, true] {
        assert_eq!(denied(&resolver, "nas.", dnssec_ok).await, (no_data, false));
    }
    // Whoever validates comes back soon.
    let lifetime = answer(&resolver, "nas.", RecordType::A, true).await.answer.lifetime;
    assert_eq!((lifetime, asked()), (Duration::ZERO, Vec::new()));
    answer(&resolver, "nas.", RecordType::DS, true).await;
    answer(&resolver, "com.", RecordType::DS, true).await;
    assert_eq!(asked(), ["nas. DS", "com. DS"]);
    assert_eq!(denied(&resolver, "nas.", true).await, (no_name, true));
    assert_eq!(denied(&resolver, "nas.", false).await, (no_data, false));
    assert_eq!(asked(), [""; 0]);
    // It is known to validate now, and would ask for the same: its first question gets the denial.
    assert_eq!(denied(&resolver, "wpad.", true).await, (no_name, true));
    assert_eq!(denied(&resolver, "wpad.", false).await, (no_data, false));
    assert_eq!(asked(), ["wpad. DS"]);
    // A public name is no secret.
    denied(&resolver, "com.", false).await;
    assert_eq!(asked(), [""; 0]);
    denied(&resolver, "com.", true).await;
    assert_eq!(asked(), ["com. A"]);
}

#[tokio::test(start_paused = true)]
async fn for_who_does_not_validate_no_name_of_one_label_is_told_whatever_others_do() {
    let (resolver, asked) = behind_root(true);
    let no_data = (ResponseCode::NoError, false);
    // Without DO, and of another client.
    answer(&resolver, "com.", RecordType::DS, false).await;
    resolver.0.proofs.validates([192, 168, 1, 9].into());
    assert_eq!(asked(), ["com. DS"]);
    assert_eq!(denied(&resolver, "nas.", true).await, no_data);
    answer(&resolver, ".", RecordType::DNSKEY, true).await;
    assert_eq!(asked(), [". DNSKEY"]);
    assert_eq!(denied(&resolver, "nas.", false).await, no_data);
    assert_eq!(asked(), [""; 0]);
    // A day after it has asked last.
    tokio::time::advance(Duration::from_secs(86_400)).await;
    assert_eq!(denied(&resolver, "nas.", true).await, no_data);
    assert_eq!(asked(), [""; 0]);
}

#[tokio::test]
async fn names_of_the_own_network_are_not_denied_by_those_above() {
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let public = "8.8.8.8".parse::<UpstreamAddress>().unwrap();
    let forwarder = Arc::new(Forwarder::scripted(vec![public], root(asked.clone(), true)));
    let mut config = Config::default();
    config.local.records =
        ["printer.local A 192.168.1.3", "home.arpa A 192.168.1.4"].map(String::from).into();
    let packets = Packets::new(&config.cache, Arc::new(Holds(HashMap::new())));
    let resolver = Resolver::new(&config, packets, forwarder);
    let (no_name, no_data) = (ResponseCode::NXDomain, ResponseCode::NoError);
    assert_eq!(denied(&resolver, "other.local.", true).await, (no_name, false));
    assert_eq!(denied(&resolver, "local.", true).await, (no_data, false));
    assert_eq!(denied(&resolver, "other.internal.", true).await, (no_name, true));
    // Whether it is signed only its parent knows, also where it has a record here.
    answer(&resolver, "home.arpa.", RecordType::DS, true).await;
    assert_eq!(*asked.lock().unwrap(), ["internal. DS", "home.arpa. DS"]);
}

/// A resolver with an origin whose zone file says this, and the configuration that it was made of.
fn with_origin(directory: &std::path::Path, text: &str) -> (Config, Resolver) {
    let path = directory.join("zone");
    std::fs::write(&path, text).unwrap();
    let config = format!(
        "[[origin]]\nname = 'pk.example.net'\nname_servers = 'ns.example.org'\nzone_file = '{}'",
        path.display()
    );
    let config: Config = toml::from_str(&config).unwrap();
    let forwarder = Arc::new(Forwarder::new(Vec::new(), &TlsClient::new(None).unwrap()));
    let packets = Packets::new(&config.cache, Arc::new(Holds(HashMap::new())));
    let origins = Origins::open(&config, &[]).unwrap();
    let denied =
        DeniedKeys::open(&config, packets.revisions(), &crate::base::metrics::DeniedLookups::default());
    let resolver = Resolver::with_origins(&config, packets, forwarder, origins, denied);
    (config, resolver)
}

async fn ask_origin(resolver: &Resolver, asked: &str, record_type: RecordType) -> Resolved {
    let query = query(&Name::from_ascii(asked).unwrap(), record_type);
    resolver.resolve(&query, Ipv4Addr::new(192, 0, 2, 1).into()).await
}

#[tokio::test]
async fn what_the_old_zone_file_says_is_not_kept_once_the_new_one_is_served() {
    let directory = tempfile::tempdir().unwrap();
    let (config, old) = with_origin(directory.path(), "www 300 A 192.0.2.1\n");
    let before = ask_origin(&old, "www.pk.example.net.", RecordType::A).await;
    std::fs::write(directory.path().join("zone"), "www 300 A 192.0.2.2\n").unwrap();
    let new = old.renewed(&config, &config, Origins::open(&config, &[]).unwrap());
    new.has_replaced(&old, Vec::new());
    let is_kept = |resolved: &Resolved| {
        let is_current = resolved.revisions.iter().all(|it| old.revisions().is_current(*it));
        is_current && !resolved.answer.lifetime.is_zero()
    };
    assert!(!is_kept(&before), "it was made before");
    let late = ask_origin(&old, "www.pk.example.net.", RecordType::A).await;
    assert!(!is_kept(&late), "{late:?}");
    let now = ask_origin(&new, "www.pk.example.net.", RecordType::A).await;
    assert_eq!(now.answer.answers[0].data, RData::A(A::new(192, 0, 2, 2)));
    assert!(is_kept(&now), "{now:?}");
}

#[tokio::test]
async fn nobody_is_asked_for_everything_below_a_delegation_out_of_an_origin() {
    let directory = tempfile::tempdir().unwrap();
    let (_, resolver) = with_origin(directory.path(), "sub 300 NS ns.example.org.\n");
    let resolved = ask_origin(&resolver, "www.sub.pk.example.net.", RecordType::ANY).await;
    let types: Vec<_> = resolved.answer.answers.iter().map(Record::record_type).collect();
    assert_eq!((resolved.answer.code, &types[..]), (ResponseCode::NoError, &[RecordType::HINFO][..]));
}
