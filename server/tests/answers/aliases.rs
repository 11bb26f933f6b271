//! Chains of aliases, from packets and from upstreams.

use super::*;

#[tokio::test]
async fn an_alias_to_the_root_does_not_stop_the_server() {
    // From a packet and from an upstream.
    let upstream = Upstream::start(|query, response| {
        let name = query.queries[0].name().clone();
        if !name.is_root() {
            response.add_answer(Record::from_rdata(name, 300, alias(".")));
        }
    });
    let server = TestServer::start_behind(upstream);
    let alice = keypair(1);
    server.publish(&alice, 1, &[record(&alice, "", 300, alias("."))]);
    for name in [alice.to_z32(), "example.com".into()] {
        let reply = server.ask(&name, RecordType::A).await;
        assert_eq!(code(&reply), ResponseCode::NoError, "{name}");
        assert_eq!(reply.answers.len(), 1, "{name}");
    }
}

#[tokio::test]
async fn a_chain_from_an_upstream_is_passed_on_whole() {
    let upstream = Upstream::start(|query, response| {
        let name = query.queries[0].name().clone();
        let [middle, end] = ["middle.example.com.", "end.example.com."];
        response.add_answer(Record::from_rdata(name, 300, alias(middle)));
        response.add_answer(Record::from_rdata(Name::from_ascii(middle).unwrap(), 300, alias(end)));
        response.add_answer(Record::from_rdata(Name::from_ascii(end).unwrap(), 300, address(9)));
    });
    let server = TestServer::start_behind(upstream);
    let reply = server.ask("www.example.com", RecordType::A).await;
    assert_eq!(reply.answers.len(), 3);
    assert_eq!(server.upstream.asked().len(), 1);
}

#[tokio::test]
async fn a_question_for_an_alias_itself_does_not_follow_it_to_a_key() {
    let alice = keypair(1).to_z32();
    let target = alice.clone();
    let upstream = Upstream::start(move |query, response| {
        let name = query.queries[0].name().clone();
        response.add_answer(Record::from_rdata(name, 300, alias(&target)));
    });
    let server = TestServer::start_behind(upstream);
    // With the network away, whoever followed the alias would say SERVFAIL.
    server.network.fail(NetworkError::Unreachable);
    let reply = server.ask("www.example.com", RecordType::CNAME).await;
    assert_eq!(code(&reply), ResponseCode::NoError);
    assert_eq!(reply.answers[0].data, alias(&alice));
    assert!(reply.authorities.is_empty());
    assert_eq!(server.network.lookups(), 0);
}

#[tokio::test]
async fn a_chain_has_at_most_eleven_links_and_no_loop() {
    let server = TestServer::start();
    let alice = keypair(1);
    let key = alice.to_z32();
    let mut records: Vec<Record> = (0..12)
        .map(|index| record(&alice, &index.to_string(), 300, alias(&format!("{}.{key}", index + 1))))
        .collect();
    records.push(record(&alice, "12", 300, address(1)));
    records.push(record(&alice, "loop", 300, alias(&format!("back.{key}"))));
    records.push(record(&alice, "back", 300, alias(&format!("loop.{key}"))));
    server.publish(&alice, 1, &records);
    assert_eq!(server.ask(&format!("1.{key}"), RecordType::A).await.answers.len(), 12);
    for name in ["0", "loop"] {
        let reply = server.ask(&format!("{name}.{key}"), RecordType::A).await;
        assert_eq!(code(&reply), ResponseCode::ServFail, "{name}");
    }
}

#[tokio::test]
async fn an_upstream_has_no_say_over_the_key_that_its_alias_leads_to() {
    let alice = keypair(1);
    let target = alice.to_z32();
    let upstream = Upstream::start(move |query, response| {
        response.metadata.authentic_data = true;
        let name = query.queries[0].name().clone();
        if name.to_ascii().to_lowercase().starts_with("www.") {
            response.add_answer(Record::from_rdata(name, 300, alias(&target)));
            response.add_answer(Record::from_rdata(self::name(&target), 300, address(66)));
        } else {
            response.add_answer(Record::from_rdata(name, 300, address(2)));
        }
    });
    let server = TestServer::start_behind(upstream);
    server.publish(&alice, 1, &[record(&alice, "", 300, address(1))]);
    let authentic = async |name: &str| {
        let reply = parse(&server.send(&with_edns(query(name, RecordType::A), true)).await);
        (reply.metadata.authentic_data, reply.answers.last().unwrap().data.clone())
    };
    // Loopback is a way that nobody can tamper with, so that the upstream's word counts for its own names.
    assert_eq!(authentic("plain.example.com").await, (true, address(2)));
    assert_eq!(authentic("www.example.com").await, (false, address(1)));
}
