//! Which servers and addresses are tried, and what it means that none of them helps.

use super::*;

/// A packet with two name servers, the first on 127.0.0.2.
const TWO_SERVERS: &str = "
    @    300 NS  ns1.{alice}.
    @    300 NS  ns2.{alice}.
    ns1  300 A   127.0.0.2
    ns2  300 A   127.0.0.1
";

#[tokio::test]
async fn the_next_name_server_is_asked_when_one_does_not_help() {
    let nothing: fn(&Name, RecordType) -> Option<Said> = |_, _| None;
    let failure: fn(&Name, RecordType) -> Option<Said> =
        |_, _| Some(Said { code: ResponseCode::ServFail, answers: vec![], authorities: vec![] });
    let refusal: fn(&Name, RecordType) -> Option<Said> =
        |_, _| Some(Said { code: ResponseCode::Refused, answers: vec![], authorities: vec![] });
    let referral: fn(&Name, RecordType) -> Option<Said> = |_, _| {
        let authorities = zone("@ 300 NS elsewhere.{alice}.", "alice");
        Some(Said { code: ResponseCode::NoError, answers: vec![], authorities })
    };
    for (what, script) in
        [("silent", nothing), ("failing", failure), ("lame", refusal), ("referring", referral)]
    {
        let (authority, useless) = pair(zone("www 300 A 192.0.2.1", "alice"), script).await;
        let stage = Stage::set(&[("alice", TWO_SERVERS)], authority.address.port()).await;
        let answers = stage.addresses("www.{alice}").await;
        assert_eq!(answers, (ResponseCode::NoError, lines(&["www.{alice}. A 192.0.2.1"])), "{what}");
        assert!(!useless.asked().is_empty(), "{what} server was asked first");
    }
}

#[tokio::test]
async fn the_other_family_of_a_name_server_is_asked_before_its_second_address() {
    if let Err(error) = std::net::UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)) {
        eprintln!("without IPv6: {error}");
        return;
    }
    let authority = NameServer::with((Ipv6Addr::LOCALHOST, 0), zone("www 300 A 192.0.2.1", "alice")).await;
    // Nobody is there at three of four addresses.
    let packet = "
        @   300 NS    ns.{alice}.
        ns  300 A     127.0.0.11
        ns  300 A     127.0.0.12
        ns  300 AAAA  ::1
    ";
    let dead = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, 11), authority.address.port())).await;
    let stage = Stage::set(&[("alice", packet)], authority.address.port()).await;
    let answers = stage.addresses("www.{alice}").await;
    assert_eq!(answers, (ResponseCode::NoError, lines(&["www.{alice}. A 192.0.2.1"])));
    drop(dead);
}

/// A zone pasted from a registrar names its servers, which know nothing of the key.
#[tokio::test]
async fn what_a_packet_lacks_at_a_name_that_it_has_is_nodata_where_its_servers_are_lame() {
    let refusal: fn(&Name, RecordType) -> Option<Said> =
        |_, _| Some(Said { code: ResponseCode::Refused, answers: vec![], authorities: vec![] });
    let silence: fn(&Name, RecordType) -> Option<Said> = |_, _| None;
    let packet = "
        @    300 NS  ns.{alice}.
        ns   300 A   127.0.0.2
        www  300 A   192.0.2.1
    ";
    for (script, code) in [(refusal, ResponseCode::NoError), (silence, ResponseCode::ServFail)] {
        let (_, server) = pair(Vec::new(), script).await;
        let stage = Stage::set(&[("alice", packet)], server.address.port()).await;
        let reply = stage.ask("www.{alice}", RecordType::AAAA).await;
        assert_eq!((reply.code, reply.answers.len()), (code, 0));
        let reply = stage.ask("other.{alice}", RecordType::AAAA).await;
        assert_eq!(reply.code, ResponseCode::ServFail, "the packet does not have it");
        assert!(!server.asked().is_empty());
    }
}

#[tokio::test]
async fn a_name_server_whose_address_nobody_knows_does_not_stop_the_next() {
    let authority = NameServer::with((Ipv4Addr::LOCALHOST, 0), zone("www 300 A 192.0.2.1", "alice")).await;
    for unknown in ["ns.{bob}.", "nothing.example.com.", "ns.invalid.", "missing.{alice}."] {
        let packet = format!("@ 300 NS {unknown}\n{ONE_SERVER}");
        let network = FakeNetwork::default();
        network.publish(packet_of("alice", &packet));
        network.cut_off(&keypair("bob").public_key());
        let stage = Stage::set_in(network, authority.address.port(), |_| ()).await;
        let answers = stage.addresses("www.{alice}").await;
        assert_eq!(answers, (ResponseCode::NoError, lines(&["www.{alice}. A 192.0.2.1"])), "{unknown}");
    }
}

#[tokio::test]
async fn a_silent_name_server_is_left_alone_while_another_answers() {
    let (authority, silent) = pair(zone("* 300 A 192.0.2.1", "alice"), |_, _| None).await;
    let stage = Stage::set(&[("alice", TWO_SERVERS)], authority.address.port()).await;
    for label in ["one", "two", "three"] {
        stage.ask(&format!("{label}.{{alice}}"), RecordType::A).await;
    }
    assert_eq!(authority.asked().len(), 3);
    // The first question also finds out whether it minds EDNS or UDP.
    assert!(silent.asked().iter().all(|(asked, _)| *asked == name("one.{alice}")), "{:?}", silent.asked());
}
