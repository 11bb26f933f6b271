//! Origins through the whole server: who is answered what, what floods of strangers cost, and how new it is.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail where it stands")]

mod budget;
mod clients;
mod compliance;
mod fresh;
mod messages;
mod reflection;
mod views;
mod world;

use std::{
    net::{IpAddr, Ipv4Addr},
    ops::Deref,
    sync::Arc,
};

use hickory_proto::{
    op::Message,
    rr::{RData, RecordType},
};
use pkdns::{
    config::{Config, Origin},
    message::Reply,
    service::{Service, Transport},
};
use pkdns_dht::{signed_packet::Keypair, testing::FakeNetwork};
use pkdns_testing::{
    server::{self, TestServer, parse, query},
    support::{self, client::exchange_from},
};

/// The origin of these tests.
pub(crate) const ORIGIN: &str = "pk.example.net";

/// Whom `[access]` serves here, and somebody else.
pub(crate) const OWN: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
pub(crate) const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

/// A server with an origin.
pub(crate) struct Served(TestServer);

impl Deref for Served {
    type Target = TestServer;

    fn deref(&self) -> &TestServer {
        &self.0
    }
}

impl Served {
    pub(crate) fn start() -> Self {
        Self::start_with(|_| ())
    }

    pub(crate) fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self(TestServer::builder().change(serve_origin).change(change).start())
    }

    /// Asks over UDP from an address of this machine.
    pub(crate) async fn ask(&self, from: Ipv4Addr, request: &[u8]) -> Message {
        parse(&self.send_from(from, request).await)
    }

    pub(crate) async fn ask_tcp(&self, from: Ipv4Addr, request: &[u8]) -> Message {
        let reply = exchange_from(from.into(), self.address, request, support::client::Transport::Tcp).await;
        parse(&reply.unwrap())
    }
}

/// With [`ORIGIN`], for [`OWN`] and everybody.
fn serve_origin(config: &mut Config) {
    config.origin = vec![origin(ORIGIN)];
    config.access.allow = vec![IpAddr::from(OWN).into()];
}

pub(crate) fn origin(name: &str) -> Origin {
    Origin {
        name: name.into(),
        name_servers: vec!["ns1.example.org".into()],
        allow_private: true,
        ..Origin::default()
    }
}

/// The name of a key in [`ORIGIN`], with labels before it.
pub(crate) fn name_in_origin(labels: &str, keypair: &Keypair) -> String {
    format!("{labels}{}.{ORIGIN}", keypair.to_z32())
}

/// As name servers are asked: without RD.
pub(crate) fn iterative(name: &str, record_type: RecordType) -> Vec<u8> {
    let mut request = query(name, record_type);
    request[2] = 0;
    request
}

/// The service of a server whose time may be paused, so that it takes no time but that of the network.
pub(crate) fn service(network: &Arc<FakeNetwork>) -> Service {
    let nobody = |config: &mut Config| config.fallback_dns = vec!["127.0.0.1:9".parse().unwrap()];
    TestServer::builder().network(network.clone()).change(serve_origin).change(nobody).service()
}

/// Asks a service without sockets.
pub(crate) async fn ask_service(service: &Service, from: Ipv4Addr, request: &[u8]) -> Message {
    parse(&server::ask_service(service, from.into(), Transport::Udp, Reply::Datagram, request).await)
}

/// The last octets of the addresses in an answer.
pub(crate) fn octets(message: &Message) -> Vec<u8> {
    let octet = |data: &RData| match data {
        RData::A(address) => Some(address.octets()[3]),
        _ => None,
    };
    message.answers.iter().filter_map(|record| octet(&record.data)).collect()
}

/// INFO-CODE of the extended error in a reply.
pub(crate) fn extended_error(message: &Message) -> Option<u16> {
    server::extended_error(&message.to_vec().unwrap())
}
