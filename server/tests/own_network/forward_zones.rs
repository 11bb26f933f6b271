//! Zones of the own network, with resolvers of their own: `[[forward]]`.

use std::net::Ipv4Addr;

use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RecordType},
};
use pkdns::config::{Config, ForwardZone};
use pkdns_testing::{
    server::TestServer,
    support::{client::Reply, name_server::NameServer},
};

use super::zone;

/// What the router knows.
const LAN: &str = "
    lan.                           300 SOA ns.lan. admin.lan. 1 2 3 4 60
    nas.lan.                       300 A   192.168.1.9
    www.nas.lan.                   300 A   192.168.1.9
    printer.local.                 300 A   192.168.1.10
    9.1.168.192.in-addr.arpa.      300 PTR nas.lan.
    metadata.google.internal.      300 A   169.254.169.254
";

/// What the whole world knows.
const ICANN: &str = "
    example.com.          300 SOA ns.example.com. admin.example.com. 1 2 3 4 60
    www.example.com.      300 A   192.168.1.66
    home.arpa.            300 SOA ns.example.com. admin.example.com. 1 2 3 4 60
";

struct Stage {
    server: TestServer,
    router: NameServer,
    upstream: NameServer,
}

impl Stage {
    async fn set() -> Self {
        let loopback = (Ipv4Addr::LOCALHOST, 0);
        let router = NameServer::with(loopback, zone(LAN)).await;
        let upstream = NameServer::with(loopback, zone(ICANN)).await;
        let names = ["lan", "local", "internal", "168.192.in-addr.arpa"];
        let lan = ForwardZone { zone: names.map(str::to_owned).into(), to: vec![router.address.into()] };
        let mut config =
            Config { fallback_dns: vec![upstream.address.into()], forward: vec![lan], ..Config::default() };
        config.rebind_protection.icann = true;
        Self { server: TestServer::builder().config(config).start(), router, upstream }
    }

    async fn ask(&self, name: &str, record_type: RecordType) -> Reply {
        self.server.resolve(name, record_type).await
    }
}

#[tokio::test]
async fn the_own_network_is_asked_about_its_names_and_nobody_else_is() {
    let stage = Stage::set().await;
    // Addresses of the own network are meant, and reserved names are the network's own to give.
    for (name, record_type) in [
        ("nas.lan.", RecordType::A),
        ("NAS.Lan.", RecordType::A),
        ("printer.local.", RecordType::A),
        ("9.1.168.192.in-addr.arpa.", RecordType::PTR),
        ("metadata.google.internal.", RecordType::A),
    ] {
        let reply = stage.ask(name, record_type).await;
        assert_eq!((reply.code, reply.answers.len()), (ResponseCode::NoError, 1), "{name}");
    }
    assert_eq!(stage.upstream.asked(), []);
    let reply = stage.ask("www.example.com.", RecordType::A).await;
    assert_eq!((reply.code, reply.answers.len()), (ResponseCode::NoError, 0), "rebinding from outside");
    let asked_of_router = stage.router.asked();
    assert!(asked_of_router.iter().all(|(name, _)| *name != Name::from_ascii("www.example.com.").unwrap()));
}

#[tokio::test]
async fn a_denial_of_the_own_network_denies_nothing_below() {
    let stage = Stage::set().await;
    assert_eq!(stage.ask("gone.lan.", RecordType::A).await.code, ResponseCode::NXDomain);
    let asked = stage.router.asked().len();
    assert_eq!(stage.ask("www.gone.lan.", RecordType::A).await.code, ResponseCode::NXDomain);
    assert_eq!(stage.router.asked().len(), asked + 1, "it was asked");
}

#[tokio::test]
async fn a_resolver_of_the_own_network_that_is_gone_costs_its_names_alone() {
    let stage = Stage::set().await;
    drop(stage.router);
    let ask = async |name: &str| stage.server.resolve(name, RecordType::AAAA).await;
    assert_eq!(ask("nas.lan.").await.code, ResponseCode::ServFail);
    assert_eq!(ask("other.example.com.").await.code, ResponseCode::NXDomain);
    let asked = stage.upstream.asked();
    assert!(asked.iter().all(|(name, _)| *name != Name::from_ascii("nas.lan.").unwrap()), "{asked:?}");
}

/// RFC 8375 section 4: validators ask whether the zone is signed, which its parent knows.
#[tokio::test]
async fn whether_an_empty_zone_is_signed_is_asked_of_its_parent() {
    let stage = Stage::set().await;
    assert_eq!(stage.ask("home.arpa.", RecordType::DS).await.code, ResponseCode::NoError);
    assert_eq!(stage.upstream.asked(), [(Name::from_ascii("home.arpa.").unwrap(), RecordType::DS)]);
    assert_eq!(stage.ask("nas.home.arpa.", RecordType::DS).await.code, ResponseCode::NXDomain);
    assert_eq!(stage.upstream.asked().len(), 1);
}
