//! Upstreams and listeners at addresses that belong to one link (RFC 4007 section 11).

use std::{fs, net::Ipv6Addr};

use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RecordType},
};
use pkdns::config::{Config, parse_address};
use pkdns_testing::{
    server::TestServer,
    support::{
        client::{Question, Transport},
        name_server::NameServer,
    },
};

/// An address of this machine with its interface, as people write it. `None` where there is no link.
fn link_local() -> Option<String> {
    let table = fs::read_to_string("/proc/net/if_inet6").ok()?;
    table.lines().find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let &[address, _, _, _, flags, name] = &fields[..] else { return None };
        let address = Ipv6Addr::from(u128::from_str_radix(address, 16).ok()?);
        // Neither tentative nor found to be another's.
        let is_usable = u8::from_str_radix(flags, 16).ok()? & 0x48 == 0;
        (address.is_unicast_link_local() && is_usable).then(|| format!("{address}%{name}"))
    })
}

#[tokio::test]
async fn an_upstream_and_a_listener_can_be_on_a_link() {
    let Some(address) = link_local() else {
        // A machine without IPv6.
        return;
    };
    let any_port = parse_address(&format!("[{address}]:0"), 53).unwrap();
    let upstream = NameServer::with(any_port, Vec::new()).await;
    let upstream_text = format!("[{address}]:{}", upstream.address.port());
    let config = Config {
        listen: vec![any_port],
        fallback_dns: vec![upstream_text.parse().unwrap()],
        ..Config::default()
    };
    assert_eq!(config.faults(), []);
    let server = TestServer::builder().config(config).start();
    let question = Question::new(Name::from_ascii("absent.example.").unwrap(), RecordType::A);
    for transport in [Transport::Udp, Transport::Tcp] {
        let reply = question.ask(server.address, transport).await.unwrap();
        assert_eq!(reply.code, ResponseCode::NXDomain, "{transport}");
    }
    assert!(!upstream.asked().is_empty());
}
