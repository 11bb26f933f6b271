//! Packets that name servers for their zone.

use super::*;

/// A packet that names a server for its zone, which denies every name but `only`, whose address it tells.
async fn delegated(only: &'static str) -> (TestServer, String) {
    let servers = Upstream::start(move |query, response| {
        let question = &query.queries[0];
        let text = question.name().to_ascii().to_lowercase();
        let apex = text.trim_end_matches('.').rsplit('.').next().unwrap().to_string();
        if !text.starts_with(only) {
            response.metadata.response_code = ResponseCode::NXDomain;
            response.add_authority(soa(&apex, 60));
        } else if question.query_type() == RecordType::A {
            response.add_answer(Record::from_rdata(question.name().clone(), 3, address(2)));
        } else {
            response.add_authority(soa(&apex, 60));
        }
    });
    let port = servers.address.port();
    let server = TestServer::start_with(|config| {
        config.delegation.port = port;
        config.delegation.allow_private = true;
    });
    let alice = keypair(1);
    let key = alice.to_z32();
    let server_name = RData::NS(NS(name(&format!("ns.{key}"))));
    let glue = RData::A(A(Ipv4Addr::LOCALHOST));
    server.publish(
        &alice,
        1,
        &[
            record(&alice, "", 300, server_name),
            record(&alice, "ns", 300, glue),
            record(&alice, "www", 300, address(1)),
        ],
    );
    (server, key)
}

#[tokio::test]
async fn a_name_server_cannot_deny_a_name_that_the_packet_holds() {
    let (server, key) = delegated("only.").await;
    assert_eq!(server.ask(&format!("only.{key}"), RecordType::A).await.answers[0].data, address(2));
    assert_eq!(server.ask(&format!("www.{key}"), RecordType::A).await.answers[0].data, address(1));
    // A cache that takes NXDOMAIN for all types would lose the address.
    assert_eq!(code(&server.ask(&format!("www.{key}"), RecordType::AAAA).await), ResponseCode::NoError);
    assert_eq!(code(&server.ask(&format!("nope.{key}"), RecordType::A).await), ResponseCode::NXDomain);
}

#[tokio::test]
async fn a_name_on_a_name_server_is_not_denied_to_those_who_ask_for_ds() {
    // Validating resolvers ask for DS at every name on the way down.
    let (server, key) = delegated("only.").await;
    assert_eq!(code(&server.ask(&format!("only.{key}"), RecordType::DS).await), ResponseCode::NoError);
    assert_eq!(code(&server.ask(&key, RecordType::DS).await), ResponseCode::NoError);
}

#[tokio::test]
async fn the_age_of_the_packet_is_not_taken_from_records_of_a_name_server() {
    let (server, key) = delegated("only.").await;
    assert_eq!(server.ask(&key, RecordType::NS).await.answers.len(), 1);
    pass(Duration::from_millis(2100)).await;
    let reply = server.ask(&format!("only.{key}"), RecordType::A).await;
    assert_eq!(reply.answers[0].ttl, 3);
}

/// A packet of `alice` whose server, on loopback, says that `www` is an alias in the zone of `bob`, and what it holds.
async fn delegated_to_bob(allow_private: bool) -> (TestServer, Upstream, String) {
    let (alice, bob) = (keypair(1), keypair(2));
    let target = format!("www.{}", bob.to_z32());
    let servers = Upstream::start(move |query, response| {
        let name = query.queries[0].name().clone();
        response.add_answer(Record::from_rdata(name, 300, alias(&target)));
        response.add_answer(Record::from_rdata(self::name(&target), 300, address(66)));
    });
    let port = servers.address.port();
    let server = TestServer::start_with(|config| {
        config.delegation.port = port;
        config.delegation.allow_private = allow_private;
    });
    let server_name = RData::NS(NS(name(&format!("ns.{}", alice.to_z32()))));
    let glue = RData::A(A(Ipv4Addr::LOCALHOST));
    server.publish(&alice, 1, &[record(&alice, "", 300, server_name), record(&alice, "ns", 300, glue)]);
    server.publish(&bob, 1, &[record(&bob, "www", 300, address(1))]);
    (server, servers, format!("www.{}", alice.to_z32()))
}

#[tokio::test]
async fn a_name_server_has_no_say_over_another_key() {
    let (server, servers, name) = delegated_to_bob(true).await;
    let reply = server.ask(&name, RecordType::A).await;
    assert_eq!(reply.answers.last().unwrap().data, address(1));
    assert_eq!(servers.asked().len(), 1);
}

#[tokio::test]
async fn a_packet_cannot_send_questions_into_the_own_network() {
    let (server, servers, name) = delegated_to_bob(false).await;
    assert_eq!(code(&server.ask(&name, RecordType::A).await), ResponseCode::ServFail);
    assert_eq!(servers.asked(), Vec::<String>::new());
}
