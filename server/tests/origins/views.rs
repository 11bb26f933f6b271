//! Who is answered what.

use std::net::{IpAddr, Ipv4Addr};

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{Name, RData, RecordType, rdata::CNAME},
};
use pkdns::metrics::Reason;
use pkdns_testing::{
    server::{address, keypair, parse, query, record, with_edns},
    support::client::{ask_on, connect_from},
};

use super::{ORIGIN, OWN, STRANGER, Served, extended_error, iterative, name_in_origin, octets, origin};

fn alias(target: &str) -> RData {
    RData::CNAME(CNAME(Name::from_ascii(target).unwrap()))
}

/// AA and RA.
fn flags(message: &Message) -> (bool, bool) {
    (message.metadata.authoritative, message.metadata.recursion_available)
}

fn served() -> Served {
    let served = Served::start();
    publish(&served);
    served
}

/// The key of seed 1: an address, another one at `www`, an alias to that, and one out of the zone.
fn publish(served: &Served) {
    let key = keypair(1);
    let records = [
        record(&key, "", 300, address(1)),
        record(&key, "www", 300, address(2)),
        record(&key, "in", 300, alias(&format!("www.{}.", key.to_z32()))),
        record(&key, "out", 300, alias("www.example.com.")),
    ];
    served.publish(&key, 1, &records);
}

#[tokio::test]
async fn a_stranger_gets_names_in_an_origin_with_authority_over_udp_and_tcp() {
    let served = served();
    for (labels, octet) in [("", 1), ("www.", 2), ("WwW.", 2)] {
        let request = iterative(&name_in_origin(labels, &keypair(1)), RecordType::A);
        let over_udp = served.ask(STRANGER, &request).await;
        let over_tcp = served.ask_tcp(STRANGER, &request).await;
        for reply in [over_udp, over_tcp] {
            assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
            assert_eq!((octets(&reply), flags(&reply)), (vec![octet], (true, false)), "{labels}");
            assert_eq!((reply.authorities.len(), reply.additionals.len()), (0, 0));
        }
    }
    for name in [name_in_origin("nothing.", &keypair(1)), name_in_origin("", &keypair(2))] {
        let reply = served.ask(STRANGER, &iterative(&name, RecordType::A)).await;
        assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain, "{name}");
        assert_eq!(flags(&reply), (true, false));
        assert_eq!(reply.authorities[0].name.to_ascii(), format!("{ORIGIN}."));
    }
    let reply = served.ask(STRANGER, &iterative(ORIGIN, RecordType::SOA)).await;
    assert_eq!((reply.answers.len(), flags(&reply)), (1, (true, false)));
}

#[tokio::test]
async fn several_questions_of_a_stranger_fit_one_connection() {
    let served = served();
    let mut stream = connect_from(STRANGER.into(), served.address).await.unwrap();
    let mut ask =
        async |name: &str| parse(&ask_on(&mut stream, &iterative(name, RecordType::A)).await.unwrap());
    for (labels, octet) in [("", 1), ("www.", 2), ("in.", 2)] {
        let name = name_in_origin(labels, &keypair(1));
        assert_eq!(octets(&ask(&name).await), [octet]);
    }
    let reply = ask("www.example.com").await;
    assert_eq!(reply.metadata.response_code, ResponseCode::Refused);
}

#[tokio::test]
async fn a_stranger_is_refused_all_other_names_in_no_more_bytes_than_without_an_origin() {
    let served = served();
    let without = Served::start_with(|config| config.origin.clear());
    let key = keypair(1).to_z32();
    for name in [key.clone(), format!("{key}.key"), "example.com".into(), "version.bind".into()] {
        for request in [query(&name, RecordType::A), with_edns(query(&name, RecordType::A), true)] {
            let (reply, before) =
                (served.send_from(STRANGER, &request).await, without.send_from(STRANGER, &request).await);
            let message = Message::from_vec(&reply).unwrap();
            assert_eq!(message.metadata.response_code, ResponseCode::Refused, "{name}");
            assert_eq!(flags(&message), (false, false), "{name}");
            assert_eq!(extended_error(&message), message.edns.as_ref().map(|_| 18), "{name}");
            assert_eq!(reply.len(), before.len(), "{name}");
        }
    }
    assert_eq!(served.upstream.asked(), [""; 0]);
    assert_eq!(served.network.lookups(), 0);
    assert_eq!(served.metrics.refusals.count(Reason::Access), 8);
    let in_origin = iterative(&name_in_origin("", &keypair(1)), RecordType::A);
    let reply = without.ask(STRANGER, &in_origin).await;
    assert_eq!(reply.metadata.response_code, ResponseCode::Refused);
}

#[tokio::test]
async fn who_is_denied_by_name_is_refused_origins_too() {
    let served = Served::start_with(|config| {
        config.access.deny = vec![IpAddr::from([127, 0, 0, 13]).into()];
    });
    publish(&served);
    let request = iterative(&name_in_origin("", &keypair(1)), RecordType::A);
    for (from, code) in
        [(Ipv4Addr::new(127, 0, 0, 13), ResponseCode::Refused), (STRANGER, ResponseCode::NoError)]
    {
        assert_eq!(served.ask(from, &request).await.metadata.response_code, code, "{from}");
        assert_eq!(served.ask_tcp(from, &request).await.metadata.response_code, code, "{from}");
    }
}

#[tokio::test]
async fn an_alias_out_of_the_origin_is_followed_for_those_who_are_served_and_each_view_keeps_its_answer() {
    // Whoever comes first.
    for first in [STRANGER, OWN] {
        let served = served();
        let name = name_in_origin("out.", &keypair(1));
        let mut order = [STRANGER, OWN];
        order.sort_by_key(|client| *client != first);
        for client in [order, order].concat() {
            let reply = served.ask(client, &query(&name, RecordType::A)).await;
            assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
            let expected = if client == OWN { (2, (true, true)) } else { (1, (true, false)) };
            assert_eq!((reply.answers.len(), flags(&reply)), expected, "{client}, {first} first");
        }
        assert_eq!(served.upstream.asked(), ["www.example.com. A"]);
    }
}

#[tokio::test]
async fn who_is_served_and_does_not_ask_for_recursion_leaves_nothing_half_answered_to_others() {
    let served = served();
    let name = name_in_origin("out.", &keypair(1));
    let reply = served.ask(OWN, &iterative(&name, RecordType::A)).await;
    assert_eq!((reply.answers.len(), flags(&reply)), (1, (true, true)));
    assert_eq!(served.ask(OWN, &query(&name, RecordType::A)).await.answers.len(), 2);
}

#[tokio::test]
async fn an_alias_within_the_origin_is_followed_for_everybody() {
    let served = served();
    let name = name_in_origin("in.", &keypair(1));
    for client in [STRANGER, OWN] {
        let reply = served.ask(client, &query(&name, RecordType::A)).await;
        assert_eq!((reply.answers.len(), octets(&reply)), (2, vec![2]), "{client}");
        let target = format!("www.{}.{ORIGIN}.", keypair(1).to_z32());
        assert_eq!(reply.answers[1].name.to_ascii(), target);
    }
}

#[tokio::test]
async fn what_fails_behind_an_alias_leaves_it_as_the_answer() {
    let served = Served::start();
    let key = keypair(1);
    let to = |label: &str| alias(&format!("{label}.{}.", key.to_z32()));
    served.publish(&key, 1, &[record(&key, "a", 300, to("b")), record(&key, "b", 300, to("a"))]);
    let reply = served.ask(STRANGER, &iterative(&name_in_origin("a.", &key), RecordType::A)).await;
    assert_eq!((reply.metadata.response_code, reply.answers.len()), (ResponseCode::NoError, 2));
}

#[tokio::test]
async fn neither_transfers_nor_other_operations_are_for_anybody_and_any_is_small() {
    let served = served();
    for (number, code) in [(251, ResponseCode::Refused), (252, ResponseCode::Refused)] {
        let request = iterative(ORIGIN, RecordType::from(number));
        assert_eq!(served.ask(STRANGER, &request).await.metadata.response_code, code);
        assert_eq!(served.ask_tcp(STRANGER, &request).await.metadata.response_code, code);
    }
    // STATUS, NOTIFY, UPDATE and what is to come.
    for opcode in [2, 4, 5, 15] {
        let mut request = iterative(ORIGIN, RecordType::SOA);
        request[2] = opcode << 3;
        let reply = served.ask(STRANGER, &request).await;
        assert_eq!((reply.metadata.response_code, flags(&reply)), (ResponseCode::NotImp, (false, false)));
    }
    for (name, code, data) in [
        (name_in_origin("", &keypair(1)), ResponseCode::NoError, Some(RecordType::HINFO)),
        (name_in_origin("out.", &keypair(1)), ResponseCode::NoError, Some(RecordType::CNAME)),
        (name_in_origin("nothing.", &keypair(1)), ResponseCode::NXDomain, None),
        (ORIGIN.into(), ResponseCode::NoError, Some(RecordType::HINFO)),
    ] {
        let reply = served.ask(STRANGER, &iterative(&name, RecordType::ANY)).await;
        assert_eq!((reply.metadata.response_code, flags(&reply)), (code, (true, false)), "{name}");
        let types: Vec<_> = reply.answers.iter().map(|record| record.record_type()).collect();
        assert_eq!(types, Vec::from_iter(data), "{name}");
    }
}

#[tokio::test]
async fn an_origin_that_comes_changes_or_goes_with_a_reload_does_so_at_once() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let zone = |address: &str| {
        std::fs::write(file.path(), format!("$ORIGIN {ORIGIN}.\nwww 300 IN A {address}\n")).unwrap();
    };
    zone("192.0.2.7");
    let with_file = |config: &mut pkdns::config::Config| {
        config.origin = vec![origin(ORIGIN)];
        config.origin[0].zone_file = Some(file.path().into());
    };
    let served = Served::start_with(|config| config.origin.clear());
    publish(&served);
    let key = query(&name_in_origin("", &keypair(1)), RecordType::A);
    let www = query(&format!("www.{ORIGIN}"), RecordType::A);
    assert_eq!(served.ask(STRANGER, &key).await.metadata.response_code, ResponseCode::Refused);
    assert_eq!(octets(&served.ask(OWN, &www).await), [53], "of the upstream");
    served.reload(with_file).await;
    for client in [STRANGER, OWN] {
        assert_eq!(octets(&served.ask(client, &key).await), [1]);
        assert_eq!(octets(&served.ask(client, &www).await), [7]);
    }
    zone("192.0.2.8");
    served.reload(with_file).await;
    for client in [STRANGER, OWN] {
        assert_eq!(octets(&served.ask(client, &www).await), [8]);
    }
    served.reload(|config| config.origin = vec![origin("other.example.net")]).await;
    assert_eq!(served.ask(STRANGER, &www).await.metadata.response_code, ResponseCode::Refused);
    served.reload(|config| config.origin.clear()).await;
    assert_eq!(served.ask(STRANGER, &key).await.metadata.response_code, ResponseCode::Refused);
    assert_eq!(octets(&served.ask(OWN, &www).await), [53]);
}
