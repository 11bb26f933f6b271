//! Zones that name servers of their own: NS records in a packet, and servers on loopback behind them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod servers;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use futures_util::future::join_all;
use hickory_proto::{
    op::ResponseCode,
    rr::{Name, Record, RecordType},
};
use pkdns::config::Config;
use pkdns_dht::signed_packet::SignedPacket;
use pkdns_testing::support::{
    Published, Running,
    client::{Question, Reply, Transport},
    keypair,
    name_server::{NameServer, Said, resolve},
    records::{self, packet, record},
};
use tokio::net::{TcpListener, UdpSocket};

/// Most questions to others for one question of a client, packets included.
const WORK_BUDGET: usize = 16;

/// What the upstream knows.
const ICANN: &str = "
    example.com.       300 SOA ns.example.com. admin.example.com. 1 2 3 4 60
    host.example.com.  300 A   192.0.2.80
    ns.example.com.    300 A   127.0.0.1
";

/// The packet of a key with one name server, which is on 127.0.0.1.
const ONE_SERVER: &str = "
    @   300 NS  ns.{alice}.
    ns  300 A   127.0.0.1
";

/// A server that asks name servers on loopback, and its upstream.
struct Stage {
    server: Running,
    upstream: NameServer,
}

impl Stage {
    /// `packets` are names of keys with their records. Name servers are asked on `port`.
    async fn set(packets: &[(&str, &str)], port: u16) -> Self {
        Self::set_with(packets, port, |_| ()).await
    }

    async fn set_with(packets: &[(&str, &str)], port: u16, change: impl FnOnce(&mut Config)) -> Self {
        let mut network = Published::default();
        packets.iter().for_each(|(key, records)| network.publish(packet_of(key, records)));
        Self::set_in(network, port, change).await
    }

    async fn set_in(network: Published, port: u16, change: impl FnOnce(&mut Config)) -> Self {
        let upstream = NameServer::with((Ipv4Addr::LOCALHOST, 0), zone(ICANN, "")).await;
        let mut config = Config { fallback_dns: vec![upstream.address.into()], ..Config::default() };
        config.delegation.port = port;
        config.delegation.allow_private = true;
        change(&mut config);
        Self { server: Running::start(config, network), upstream }
    }

    async fn ask(&self, name: &str, record_type: RecordType) -> Reply {
        self.ask_over(Transport::Udp, name, record_type).await
    }

    async fn ask_over(&self, transport: Transport, name: &str, record_type: RecordType) -> Reply {
        Question::new(self::name(name), record_type).ask(self.server.address, transport).await.unwrap()
    }

    /// Asks for addresses; returns the code and the answers in short.
    async fn addresses(&self, name: &str) -> (ResponseCode, Vec<String>) {
        let reply = self.ask(name, RecordType::A).await;
        (reply.code, short(&reply.answers))
    }
}

#[tokio::test]
async fn names_that_a_packet_lacks_are_answered_by_its_name_server() {
    let records = "
        @        300 SOA   ns.{alice}. admin.{alice}. 1 2 3 4 77
        www      300 A     192.0.2.1
        alias    300 CNAME www.{alice}.
        mail     300 MX    10 mx.{alice}.
    ";
    let authority = NameServer::with((Ipv4Addr::LOCALHOST, 0), zone(records, "alice")).await;
    let stage = Stage::set(&[("alice", ONE_SERVER)], authority.address.port()).await;
    for apex in ["{alice}", "{alice}.key", "{ALICE}.KEY"] {
        let answers = stage.addresses(&format!("www.{apex}")).await;
        assert_eq!(answers, (ResponseCode::NoError, lines(&[&format!("www.{apex}. A 192.0.2.1")])));
        let answers = stage.addresses(&format!("alias.{apex}")).await;
        let chain = [format!("alias.{apex}. CNAME www.{apex}."), format!("www.{apex}. A 192.0.2.1")];
        assert_eq!(answers, (ResponseCode::NoError, lines(&[&chain[0], &chain[1]])));
        let mail = stage.ask(&format!("mail.{apex}"), RecordType::MX).await;
        assert_eq!(short(&mail.answers), lines(&[&format!("mail.{apex}. MX 10 mx.{apex}.")]));
        for (label, code) in [("www", ResponseCode::NoError), ("nothing", ResponseCode::NXDomain)] {
            let reply = stage.ask(&format!("{label}.{apex}"), RecordType::TXT).await;
            assert_eq!((reply.code, reply.answers.len()), (code, 0), "{label}");
            let soa = format!("{apex}. SOA ns.{apex}. admin.{apex}. 1 2 3 4 77");
            assert_eq!(short(&reply.authorities), lines(&[&soa]), "{label}");
            assert_eq!(reply.authorities[0].ttl, 77, "as the SOA says");
        }
    }
    // The server knows its zone by its one true name, and learns nothing of suffixes.
    assert!(authority.asked().iter().all(|(asked, _)| name("{alice}").zone_of(asked)));
    assert_eq!(stage.upstream.asked(), []);
}

#[tokio::test]
async fn what_the_packet_holds_comes_before_its_name_servers() {
    let records = "
        www    300 A     203.0.113.66
        alias  300 CNAME www.{alice}.
    ";
    let authority = NameServer::with((Ipv4Addr::LOCALHOST, 0), zone(records, "alice")).await;
    let packet = format!("{ONE_SERVER}\n www 300 A 192.0.2.1\n only 300 TXT \"here\"");
    let stage = Stage::set(&[("alice", &packet)], authority.address.port()).await;
    let (code, answers) = stage.addresses("www.{alice}").await;
    assert_eq!((code, answers), (ResponseCode::NoError, lines(&["www.{alice}. A 192.0.2.1"])));
    let reply = stage.ask("{alice}", RecordType::NS).await;
    assert_eq!(short(&reply.answers), lines(&["{alice}. NS ns.{alice}."]));
    let reply = stage.ask("{alice}", RecordType::DS).await;
    assert_eq!((reply.code, reply.answers.len()), (ResponseCode::NoError, 0), "the parent has no DS");
    assert_eq!(authority.asked(), []);

    // Nor do they come first by the way of a CNAME.
    let (code, answers) = stage.addresses("alias.{alice}").await;
    let chain = ["alias.{alice}. CNAME www.{alice}.", "www.{alice}. A 192.0.2.1"];
    assert_eq!((code, answers), (ResponseCode::NoError, lines(&chain)));

    // The server denies a name that the packet has.
    let reply = stage.ask("only.{alice}", RecordType::A).await;
    assert_eq!((reply.code, reply.answers.len()), (ResponseCode::NoError, 0));
    assert_eq!(authority.asked().last().unwrap().0, name("only.{alice}"), "it was asked");
}

#[tokio::test]
async fn the_name_server_may_have_a_name_of_icann_or_of_another_key() {
    let authority = NameServer::with((Ipv4Addr::LOCALHOST, 0), zone("www 300 A 192.0.2.1", "alice")).await;
    for server in ["ns.example.com.", "ns.{bob}.", "NS.{BOB}.key.", "ns.{alice}.key."] {
        let alice = format!("@ 300 NS {server}\n ns 300 A 127.0.0.1");
        let packets = [("alice", alice.as_str()), ("bob", "ns 300 A 127.0.0.1")];
        let stage = Stage::set(&packets, authority.address.port()).await;
        let answers = stage.addresses("www.{alice}").await;
        assert_eq!(answers, (ResponseCode::NoError, lines(&["www.{alice}. A 192.0.2.1"])), "{server}");
        let is_icann = server == "ns.example.com.";
        assert_eq!(stage.upstream.asked().len(), usize::from(is_icann), "{server}");
    }
}

#[tokio::test]
async fn a_part_of_a_zone_may_be_delegated() {
    let records = "
        www.sub  300 A     192.0.2.1
        sub      300 MX    10 mx.example.com.
        out.sub  300 CNAME www.{alice}.
        www      300 A     203.0.113.66
    ";
    let authority = NameServer::with((Ipv4Addr::LOCALHOST, 0), zone(records, "alice")).await;
    let packet = "sub 300 NS ns.{alice}.\n ns 300 A 127.0.0.1\n other.sub 300 A 192.0.2.2";
    let stage = Stage::set(&[("alice", packet)], authority.address.port()).await;
    let answers = stage.addresses("www.sub.{alice}").await;
    assert_eq!(answers, (ResponseCode::NoError, lines(&["www.sub.{alice}. A 192.0.2.1"])));
    let reply = stage.ask("sub.{alice}", RecordType::MX).await;
    assert_eq!(short(&reply.answers), lines(&["sub.{alice}. MX 10 mx.example.com."]));
    let answers = stage.addresses("other.sub.{alice}").await;
    assert_eq!(answers, (ResponseCode::NoError, lines(&["other.sub.{alice}. A 192.0.2.2"])));
    // Its server has no say over the rest of the zone, and is not asked about it.
    let answers = stage.addresses("out.sub.{alice}").await;
    assert_eq!(answers, (ResponseCode::NXDomain, lines(&["out.sub.{alice}. CNAME www.{alice}."])));
    let answers = stage.addresses("www.{alice}").await;
    assert_eq!(answers, (ResponseCode::NXDomain, vec![]));
    assert!(authority.asked().iter().all(|(asked, _)| name("sub.{alice}").zone_of(asked)));
}

/// MaginotDNS: a server that may speak for one zone must not be believed about others.
#[tokio::test]
async fn a_name_server_is_not_believed_about_other_zones() {
    let lies = zone(
        "host.example.com. 300 A 203.0.113.66\n www.{bob}. 300 A 203.0.113.66\n com. 300 NS ns.{alice}.",
        "alice",
    );
    let records =
        zone("out 300 CNAME host.example.com.\n bob 300 CNAME www.{bob}.\n www 300 A 192.0.2.1", "alice");
    let authority = NameServer::start((Ipv4Addr::LOCALHOST, 0), move |name, record_type| {
        let mut said = resolve(&records, name, record_type);
        said.code = ResponseCode::NoError;
        said.answers.extend(lies.iter().cloned());
        said.authorities.extend(zone("example.com. 300 SOA ns.{alice}. admin.{alice}. 1 2 3 4 60", "alice"));
        Some(said)
    });
    let authority = authority.await;
    let packets = [("alice", ONE_SERVER), ("bob", "www 300 A 192.0.2.2")];
    let stage = Stage::set(&packets, authority.address.port()).await;

    // Where its own CNAME leads is found out by us.
    let answers = stage.addresses("out.{alice}").await;
    let chain = ["out.{alice}. CNAME host.example.com.", "host.example.com. A 192.0.2.80"];
    assert_eq!(answers, (ResponseCode::NoError, lines(&chain)));
    let answers = stage.addresses("bob.{alice}.key").await;
    let chain = ["bob.{alice}.key. CNAME www.{bob}.key.", "www.{bob}.key. A 192.0.2.2"];
    assert_eq!(answers, (ResponseCode::NoError, lines(&chain)));

    // What it adds unasked is neither passed on nor kept.
    let reply = stage.ask("www.{alice}", RecordType::A).await;
    assert_eq!(short(&reply.answers), lines(&["www.{alice}. A 192.0.2.1"]));
    assert_eq!((reply.authorities, reply.additionals), (vec![], vec![]));
    let reply = stage.ask("nothing.{alice}", RecordType::A).await;
    assert_eq!(reply.answers, []);
    assert_eq!(reply.authorities[0].name, name("{alice}"), "the SOA is the zone's");
    for (asked, address) in [("host.example.com", "192.0.2.80"), ("www.{bob}", "192.0.2.2")] {
        let answers = stage.addresses(asked).await;
        assert_eq!(answers, (ResponseCode::NoError, lines(&[&format!("{asked}. A {address}")])));
    }
}

/// Whoever holds a key could send its packets to any address.
#[tokio::test]
async fn name_servers_on_private_addresses_are_not_asked() {
    let authority = NameServer::with((Ipv4Addr::LOCALHOST, 0), zone("www 300 A 192.0.2.1", "alice")).await;
    let six = match beside(&authority, Ipv6Addr::LOCALHOST.into(), |_, _| None).await {
        Ok(server) => Some(server),
        Err(error) => {
            eprintln!("without IPv6: {error}");
            None
        }
    };
    for packet in [
        ONE_SERVER,
        "@ 300 NS ns.{alice}.\n ns 300 AAAA ::1",
        "@ 300 NS ns.{alice}.\n ns 300 AAAA ::ffff:127.0.0.1",
        "@ 300 NS ns.{alice}.\n ns 300 A 0.0.0.0",
        "@ 300 NS ns.example.com.",
        "@ 300 NS ns.{bob}.",
        "@ 300 NS localhost.",
    ] {
        let packets = [("alice", packet), ("bob", "ns 300 A 127.0.0.1")];
        let port = authority.address.port();
        let stage = Stage::set_with(&packets, port, |config| config.delegation.allow_private = false).await;
        let reply = stage.ask("www.{alice}", RecordType::A).await;
        assert_eq!((reply.code, reply.extended_error), (ResponseCode::ServFail, Some(22)), "{packet}");
        assert_eq!(authority.asked(), [], "{packet}");
        assert_eq!(six.as_ref().map_or(vec![], NameServer::asked), [], "{packet}");
    }
}

/// Any AAAA record in the packet was taken for the name server's.
#[tokio::test]
async fn only_addresses_of_the_name_server_itself_are_its_glue() {
    let authority = NameServer::with((Ipv4Addr::LOCALHOST, 0), zone("www 300 A 192.0.2.1", "alice")).await;
    let packet = "
        @      300 NS    ns.{alice}.
        @      300 A     127.0.0.1
        other  300 A     127.0.0.1
        other  300 AAAA  ::1
        ns     300 TXT   \"no address\"
        *      300 A     127.0.0.1
    ";
    let stage = Stage::set(&[("alice", packet)], authority.address.port()).await;
    let reply = stage.ask("www.{alice}", RecordType::TXT).await;
    // The wildcard has a say over `www`, and none over `ns`.
    assert_eq!((reply.code, reply.extended_error), (ResponseCode::ServFail, Some(22)));
    assert_eq!(authority.asked(), []);
}

#[tokio::test]
async fn a_name_server_may_have_an_ipv6_address_alone() {
    if let Err(error) = std::net::UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)) {
        eprintln!("without IPv6: {error}");
        return;
    }
    let authority = NameServer::with((Ipv6Addr::LOCALHOST, 0), zone("www 300 A 192.0.2.1", "alice")).await;
    let packet = "@ 300 NS ns.{alice}.\n ns 300 AAAA ::1";
    let stage = Stage::set(&[("alice", packet)], authority.address.port()).await;
    let answers = stage.addresses("www.{alice}").await;
    assert_eq!(answers, (ResponseCode::NoError, lines(&["www.{alice}. A 192.0.2.1"])));
}

#[tokio::test]
async fn an_answer_too_large_for_udp_comes_whole_from_the_name_server_over_tcp() {
    let line = |number: u32| format!("@ 300 TXT \"{number} {}\"\n", "x".repeat(240));
    let records = zone(&(0..20).map(line).collect::<String>(), "alice");
    let authority = NameServer::with((Ipv4Addr::LOCALHOST, 0), records).await;
    let stage = Stage::set(&[("alice", ONE_SERVER)], authority.address.port()).await;
    let reply = stage.ask_over(Transport::Tcp, "{alice}", RecordType::TXT).await;
    assert_eq!((reply.answers.len(), reply.truncated), (20, false));
    let reply = stage.ask_over(Transport::Udp, "{alice}", RecordType::TXT).await;
    assert_eq!((reply.answers.len(), reply.truncated), (0, true));
}

#[tokio::test]
async fn two_hundred_equal_questions_at_once_are_one_question_at_the_name_server() {
    let records = zone("www 300 A 192.0.2.1", "alice");
    let authority = NameServer::start((Ipv4Addr::LOCALHOST, 0), move |name, record_type| {
        // Long enough for all of them to arrive: nothing else runs meanwhile, here and in the server.
        thread::sleep(Duration::from_millis(300));
        Some(resolve(&records, name, record_type))
    });
    let authority = authority.await;
    let stage = Stage::set(&[("alice", ONE_SERVER)], authority.address.port()).await;
    let replies = join_all((0..200).map(|_| stage.addresses("www.{alice}"))).await;
    let expected = (ResponseCode::NoError, lines(&["www.{alice}. A 192.0.2.1"]));
    assert!(replies.iter().all(|reply| *reply == expected));
    assert_eq!(authority.asked().len(), 1);
}

/// Such a zone sent one question round and round.
#[tokio::test]
async fn a_zone_that_names_this_server_as_its_own_fails_without_a_loop() {
    // What comes here goes to the server that asks, and is counted.
    let relay = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
    let stage = Stage::set(&[("alice", ONE_SERVER)], relay.local_addr().unwrap().port()).await;
    let relayed = Arc::new(AtomicUsize::new(0));
    let (server, count) = (stage.server.address, relayed.clone());
    tokio::spawn(async move {
        let mut request = [0; 4096];
        while let Ok((size, from)) = relay.recv_from(&mut request).await {
            count.fetch_add(1, Ordering::SeqCst);
            let (relay, request) = (relay.clone(), request[..size].to_vec());
            tokio::spawn(async move {
                let onward = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
                onward.send_to(&request, server).await.unwrap();
                let mut reply = [0; 4096];
                let size = onward.recv(&mut reply).await.unwrap();
                relay.send_to(&reply[..size], from).await.unwrap();
            });
        }
    });
    let reply = stage.ask("www.{alice}", RecordType::A).await;
    assert_eq!((reply.code, reply.extended_error), (ResponseCode::ServFail, Some(22)));
    assert_eq!(relayed.load(Ordering::SeqCst), 1);
}

/// NXNSAttack: one question became hundreds.
#[tokio::test]
async fn many_name_servers_cost_no_more_than_a_few_questions() {
    let failing = NameServer::start((Ipv4Addr::LOCALHOST, 0), |_, _| {
        Some(Said { code: ResponseCode::ServFail, answers: vec![], authorities: vec![] })
    })
    .await;
    let glueless: String = (0..25).map(|number| format!("@ 300 NS n{number}.example.com.\n")).collect();
    let with_glue: String = (0..12)
        .map(|number| format!("@ 300 NS n{number}.{{alice}}.\n n{number} 300 A 127.0.0.1\n"))
        .collect();
    for packet in [&glueless, &with_glue] {
        let stage = Stage::set(&[("alice", packet)], failing.address.port()).await;
        let before = failing.asked().len();
        let reply = stage.ask("www.{alice}", RecordType::A).await;
        assert_eq!(reply.code, ResponseCode::ServFail);
        let questions = stage.upstream.asked().len() + failing.asked().len() - before;
        // Four servers with an address each, or with two vain questions for it.
        assert!((4..=8).contains(&questions), "{questions} for {packet}");
    }
}

/// CAMP: chains times name servers times addresses.
#[tokio::test]
async fn chains_through_name_servers_share_one_budget() {
    // Every name is a CNAME for the next, in the zones of two keys by turns.
    let authority = NameServer::start((Ipv4Addr::LOCALHOST, 0), |asked, _| {
        let number: u32 = std::str::from_utf8(asked.iter().next()?).ok()?.parse().ok()?;
        let next = if number.is_multiple_of(2) { "bob" } else { "alice" };
        let line = format!("{number} 300 CNAME {}.{{{next}}}.", number + 1);
        let answers = zone(&line, if next == "bob" { "alice" } else { "bob" });
        Some(Said { code: ResponseCode::NoError, answers, authorities: vec![] })
    })
    .await;
    let servers = "@ 300 NS dead1.example.com.\n @ 300 NS dead2.example.com.\n @ 300 NS ns.example.com.";
    let stage = Stage::set(&[("alice", servers), ("bob", servers)], authority.address.port()).await;
    let reply = stage.ask("0.{alice}", RecordType::A).await;
    assert_eq!((reply.code, reply.extended_error), (ResponseCode::ServFail, Some(0)));
    let questions = stage.upstream.asked().len() + authority.asked().len();
    assert!((3..=WORK_BUDGET).contains(&questions), "{questions}");
}

/// Ghost domains: what a name server says must not outlive the packet that named it.
#[tokio::test]
async fn a_delegated_answer_lives_no_longer_than_the_packet() {
    let records = "
        @      86400 SOA   ns.{alice}. admin.{alice}. 1 2 3 4 86400
        www    86400 A     192.0.2.1
        alias  86400 CNAME host.example.com.
    ";
    let authority = NameServer::with((Ipv4Addr::LOCALHOST, 0), zone(records, "alice")).await;
    let stage = Stage::set(&[("alice", ONE_SERVER)], authority.address.port()).await;
    for (name, record_type) in [
        ("www.{alice}", RecordType::A),
        ("alias.{alice}", RecordType::A),
        ("www.{alice}", RecordType::TXT),
        ("nothing.{alice}", RecordType::A),
    ] {
        let reply = stage.ask(name, record_type).await;
        let records: Vec<_> = reply.answers.iter().chain(&reply.authorities).collect();
        assert!(!records.is_empty(), "{name}");
        for record in records {
            assert!(record.ttl <= 300, "{record}");
        }
    }
}

#[tokio::test]
async fn a_failure_of_the_name_servers_hides_no_answer_that_is_held() {
    let is_broken = Arc::new(AtomicBool::new(false));
    let script = {
        let (is_broken, answers) = (is_broken.clone(), zone("www 3 A 192.0.2.1", "alice"));
        move |_: &Name, _| {
            let (code, answers) = match is_broken.load(Ordering::Relaxed) {
                true => (ResponseCode::ServFail, Vec::new()),
                false => (ResponseCode::NoError, answers.clone()),
            };
            Some(Said { code, answers, authorities: Vec::new() })
        }
    };
    let authority = NameServer::start((Ipv4Addr::LOCALHOST, 0), script).await;
    let stage = Stage::set(&[("alice", ONE_SERVER)], authority.address.port()).await;
    let ask = async |at: &str| {
        let reply = stage.ask("www.{alice}", RecordType::A).await;
        assert_eq!((reply.code, reply.answers.len()), (ResponseCode::NoError, 1), "{at}");
        reply.extended_error
    };
    assert_eq!(ask("first").await, None);
    is_broken.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(2750)).await;
    // Begins to refresh it, which fails at once, and is remembered (RFC 9520).
    ask("in the last tenth").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    ask("while it is alive").await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(ask("past its time").await, Some(3));
}

#[tokio::test]
async fn private_addresses_from_a_name_server_are_removed_where_that_is_asked_for() {
    let records = zone("www 300 A 192.168.1.1\n www 300 A 192.0.2.1", "alice");
    let authority = NameServer::with((Ipv4Addr::LOCALHOST, 0), records).await;
    let port = authority.address.port();
    let stage =
        Stage::set_with(&[("alice", ONE_SERVER)], port, |config| config.rebind_protection.keys = true).await;
    let reply = stage.ask("www.{alice}", RecordType::A).await;
    assert_eq!(short(&reply.answers), lines(&["www.{alice}. A 192.0.2.1"]));
    assert_eq!(reply.extended_error, Some(15));
}

/// A server on 127.0.0.1 with `records`, and one on 127.0.0.2 with the same port that says what `script` returns.
async fn pair(
    records: Vec<Record>,
    script: impl Fn(&Name, RecordType) -> Option<Said> + Clone + Send + Sync + 'static,
) -> (NameServer, NameServer) {
    loop {
        let first = NameServer::with((Ipv4Addr::LOCALHOST, 0), records.clone()).await;
        // Somebody else may have the port there.
        if let Ok(second) = beside(&first, IpAddr::from([127, 0, 0, 2]), script.clone()).await {
            return (first, second);
        }
    }
}

/// A server with the same port as `other` at another address.
async fn beside(
    other: &NameServer,
    address: IpAddr,
    script: impl Fn(&Name, RecordType) -> Option<Said> + Send + Sync + 'static,
) -> io::Result<NameServer> {
    let address = SocketAddr::new(address, other.address.port());
    Ok(NameServer::serve(UdpSocket::bind(address).await?, TcpListener::bind(address).await?, script))
}

fn packet_of(key: &str, records: &str) -> SignedPacket {
    packet(&keypair(key), &zone(records, key))
}

/// Records below the name of `key`, where each line may name keys in braces.
fn zone(lines: &str, key: &str) -> Vec<Record> {
    let origin = if key.is_empty() { Name::root() } else { name(&format!("{{{key}}}")) };
    let text = substitute(lines);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(|line| record(line, &origin).unwrap()).collect()
}

fn name(text: &str) -> Name {
    records::name(&substitute(text), &Name::root()).unwrap()
}

fn substitute(text: &str) -> String {
    ["alice", "bob"].into_iter().fold(text.to_string(), |text, key| {
        let public = keypair(key).public_key().to_z32();
        let upper = format!("{{{}}}", key.to_uppercase());
        text.replace(&format!("{{{key}}}"), &public).replace(&upper, &public.to_uppercase())
    })
}

fn lines(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| substitute(line)).collect()
}

/// Records without their TTL.
fn short(records: &[Record]) -> Vec<String> {
    let line = |record: &Record| format!("{} {} {}", record.name, record.record_type(), record.data);
    records.iter().map(line).collect()
}
