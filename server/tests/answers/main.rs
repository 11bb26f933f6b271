//! Answers that are easy to get wrong, each held here by a whole server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod aliases;
mod caches;
mod denials;
mod lifetime;
mod limits;
mod messages;
mod name_servers;
mod names;
mod private_addresses;
mod warm;

use std::{net::Ipv4Addr, time::Duration};

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, CNAME, NS, NULL, SOA, TXT},
    },
};
use pkdns_dht::NetworkError;
use pkdns_testing::server::{
    TestServer, Upstream, address, extended_error, keypair, parse, pass, query, question, record, with_edns,
};

fn name(text: &str) -> Name {
    let mut name = Name::from_ascii(text).unwrap();
    name.set_fqdn(true);
    name
}

fn alias(target: &str) -> RData {
    RData::CNAME(CNAME(name(target)))
}

fn soa(apex: &str, ttl: u32) -> Record {
    let data = SOA::new(name(apex), name(apex), 1, 1, 1, 1, ttl);
    Record::from_rdata(name(apex), ttl, RData::SOA(data))
}

/// Data of a type, byte for byte.
fn raw(code: RecordType, data: &[u8]) -> RData {
    RData::Unknown { code, rdata: NULL::with(data.to_vec()) }
}

fn text(index: usize) -> RData {
    RData::TXT(TXT::new(vec![format!("{index:0>200}")]))
}

fn code(message: &Message) -> ResponseCode {
    message.metadata.response_code
}

/// Publishes a packet of the key of seed 1, whose name it returns.
fn publish_alice(server: &TestServer, records: &[(&str, RData)]) -> String {
    let alice = keypair(1);
    let record = |(name, data): &(&str, RData)| record(&alice, name, 300, data.clone());
    server.publish(&alice, 1, &records.iter().map(record).collect::<Vec<_>>());
    alice.to_z32()
}
