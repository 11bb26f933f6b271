//! The pieces of work: each is prepared, and then done as often as it is called.

use std::{
    hint::black_box,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use hickory_proto::{
    op::ResponseCode,
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, TXT},
    },
};
use pkdns::{
    config::Config,
    message::{Age, Answer, Query, Reply},
    metrics::Metrics,
    resolver::{
        Resolver,
        name::Suffixes,
        zone::{Zone, ZoneAnswer},
    },
    service::{AtOnce, Client, Respond, Service, Transport},
    sources::{
        forward::{Forwarder, TlsClient},
        packets::Packets,
    },
};
use pkdns_dht::signed_packet::SignedPacket;
use pkdns_testing::common::{HeldNetwork, keypair, packet_message, query, record, with_edns};
use tokio::{runtime::Builder, time::Instant};

type Work = Box<dyn FnMut()>;

/// A piece of work with its name in the baseline, which is prepared before it is counted.
type Named = (&'static str, fn() -> Work);

pub(crate) const ALL: [Named; 5] = [
    ("decode", decode),
    ("hit", hit),
    ("zone", zone),
    ("classify-key", || classify(&format!("www.{}.key.", keypair(1).to_z32()))),
    ("classify-other", || classify("www.example.com.")),
];

/// The zone of the key: an address at `www`, among others.
fn records() -> Vec<Record> {
    let key = keypair(1);
    let address = |number| RData::A(A(Ipv4Addr::new(192, 0, 2, number)));
    let others = (1..10).map(|number| record(&key, &format!("n{number}"), 3600, address(number)));
    let text = RData::TXT(TXT::new(vec!["a text".into()]));
    let named = [("www", address(1)), ("www", address(2)), ("www", text)];
    let named = named.map(|(name, data)| record(&key, name, 3600, data));
    others.chain(named).collect()
}

/// The question for the address.
fn request() -> Vec<u8> {
    with_edns(query(&format!("www.{}", keypair(1).to_z32()), RecordType::A), false)
}

fn decode() -> Work {
    let request = request();
    Box::new(move || assert!(black_box(Query::decode(black_box(&request))).is_ok()))
}

/// Over UDP, from the bytes of the query to those of the answer, which is in the answer cache.
fn hit() -> Work {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let in_runtime = runtime.enter();
    let network = Arc::new(HeldNetwork::default());
    network.publish(&keypair(1), 1, &records());
    let mut config = Config::default();
    // A quota that counts this client but never refuses it.
    config.rate_limit.requests_per_minute = 1_000_000_000;
    config.rate_limit.burst_size = 1_000_000_000;
    let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let forwarder = Arc::new(Forwarder::new(vec![nobody.into()], &TlsClient::new(None).unwrap()));
    let packets = Packets::new(&config.cache, network);
    let resolver = Resolver::new(&config, packets, forwarder.clone());
    let service = Service::new(&config, resolver, forwarder, &Metrics::default());
    drop(in_runtime);
    let (address, now) = (Ipv4Addr::LOCALHOST.into(), Instant::now());
    let client = Client { address, transport: Transport::Udp, reply: Reply::Datagram, now };
    let (request, mut out) = (request(), Vec::with_capacity(1232));
    match service.at_once(&request, client, &mut out) {
        AtOnce::Later(query) => runtime.block_on(service.later(&query, client, &mut out)),
        other => panic!("an answer to a question that nobody has asked: {other:?}"),
    }
    Box::new(move || {
        // Tasks of the service end with it.
        let _ = &runtime;
        out.clear();
        let outcome = service.at_once(black_box(&request), client, &mut out);
        assert!(matches!(outcome, AtOnce::Replied));
        black_box(&out);
    })
}

/// From the packet of a key to the bytes of an answer.
fn zone() -> Work {
    let packet = SignedPacket::sign(&keypair(1), 1, &packet_message(&records())).unwrap();
    let query = Query::decode(&request()).unwrap();
    let name = query.question.name().to_lowercase();
    let mut out = Vec::with_capacity(1232);
    Box::new(move || {
        let zone = Zone::parse(black_box(&packet));
        let ZoneAnswer::Records(answers) = zone.lookup(&name, RecordType::A) else { panic!("no address") };
        let answer = Answer { answers, ..Answer::empty(ResponseCode::NoError) };
        out.clear();
        answer.encode(&query.question).write(&query, Reply::Datagram, Age::Seconds(0), &mut out);
        black_box(&out);
    })
}

fn classify(name: &str) -> Work {
    let suffixes = Suffixes::new(["key", "pk.example.net"]);
    let name = Name::from_ascii(name).unwrap();
    Box::new(move || drop(black_box(suffixes.classify(black_box(&name)))))
}
