//! What is kept, for how long, and for whom.

use super::*;

fn first_ttl(message: &Message) -> u32 {
    message.answers.first().expect("no answer").ttl
}

#[tokio::test]
async fn cached_answers_age_and_keep_their_kind_apart() {
    let upstream = Upstream::start(|query, response| {
        let question = &query.queries[0];
        let dnssec_ok = query.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok);
        let name = question.name().clone();
        match name.to_ascii().to_lowercase().as_str() {
            "short.com." => {
                response.add_answer(Record::from_rdata(name, 1, address(1)));
            }
            "broken.com." => response.metadata.response_code = ResponseCode::ServFail,
            _ => {
                response.add_answer(Record::from_rdata(name, 300, address(if dnssec_ok { 2 } else { 3 })));
            }
        }
    });
    let server = TestServer::start_behind(upstream);
    assert_eq!(first_ttl(&server.ask("long.com", RecordType::A).await), 300);
    server.ask("short.com", RecordType::A).await;
    let asked = server.upstream.asked().len();
    pass(Duration::from_millis(1300)).await;
    assert!(first_ttl(&server.ask("long.com", RecordType::A).await) < 300);
    assert_eq!(server.upstream.asked().len(), asked, "the long one is still cached");
    assert_eq!(first_ttl(&server.ask("short.com", RecordType::A).await), 1);
    assert_eq!(server.upstream.asked().len(), asked + 1, "the short one is asked for again");

    let signed = server.send(&with_edns(query("long.com", RecordType::A), true)).await;
    assert_eq!(parse(&signed).answers[0].data, address(2));
    assert_eq!(server.ask("long.com", RecordType::A).await.answers[0].data, address(3));

    let asked = server.upstream.asked().len();
    for _ in 0..3 {
        let reply = server.ask("broken.com", RecordType::A).await;
        assert_eq!(code(&reply), ResponseCode::ServFail);
    }
    let tries = server.upstream.asked().len() - asked;
    assert!((1..=3).contains(&tries), "a failure is remembered for a moment: {tries} tries");
}

#[tokio::test]
async fn stale_is_better_than_nothing_and_says_so() {
    let server = TestServer::start_with(|config| config.cache.ttl_seconds = 1);
    let alice = keypair(1);
    server.publish(&alice, 1, &[record(&alice, "", 1, address(1))]);
    let request = with_edns(query(&alice.to_z32(), RecordType::A), false);
    assert_eq!(extended_error(&server.send(&request).await), None);
    server.network.fail(NetworkError::Unreachable);
    // Longer than the packet's second; the first answer was given before the search ended.
    pass(Duration::from_millis(2500)).await;
    let reply = server.send(&request).await;
    assert_eq!(parse(&reply).answers[0].data, address(1));
    assert_eq!(extended_error(&reply), Some(3));
}

#[tokio::test]
async fn without_recursion_only_what_is_held_is_told() {
    let server = TestServer::start();
    let alice = keypair(1);
    server.publish(&alice, 1, &[record(&alice, "", 300, address(1))]);
    let ask = async |name: &str, recursion: u8| {
        let mut request = query(name, RecordType::A);
        request[2] = recursion;
        code(&parse(&server.send(&request).await))
    };
    for name in [alice.to_z32(), "example.com".into()] {
        assert_eq!(ask(&name, 0).await, ResponseCode::Refused, "{name}");
        assert_eq!(ask(&name, 1).await, ResponseCode::NoError, "{name}");
        assert_eq!(ask(&name, 0).await, ResponseCode::NoError, "{name}");
    }
    assert_eq!(server.upstream.asked(), ["example.com. A"]);
}

#[tokio::test]
async fn an_alias_from_a_stale_packet_is_stale_wherever_it_leads() {
    let server = TestServer::start_with(|config| config.cache.ttl_seconds = 1);
    let alice = keypair(1);
    server.publish(&alice, 1, &[record(&alice, "", 1, alias("www.example.com"))]);
    let request = with_edns(query(&alice.to_z32(), RecordType::A), false);
    server.send(&request).await;
    server.network.fail(NetworkError::Unreachable);
    pass(Duration::from_millis(2500)).await;
    let reply = server.send(&request).await;
    assert_eq!(parse(&reply).answers.len(), 2);
    assert_eq!(extended_error(&reply), Some(3));
}

#[tokio::test]
async fn that_too_many_lookups_are_under_way_is_true_for_a_moment_only() {
    let server = TestServer::start();
    let alice = keypair(1);
    server.network.fail(NetworkError::Busy);
    let question = with_edns(query(&alice.to_z32(), RecordType::A), false);
    let reply = server.send(&question).await;
    assert_eq!(code(&parse(&reply)), ResponseCode::ServFail);
    assert_eq!(extended_error(&reply), Some(22));
    server.network.recover();
    server.publish(&alice, 1, &[record(&alice, "", 300, address(1))]);
    let reply = server.send(&question).await;
    assert_eq!(parse(&reply).answers.len(), 1, "neither the key nor the question is remembered");
}

#[tokio::test]
async fn no_answer_outlives_the_packet_or_the_absence_that_it_came_from() {
    let server = TestServer::start_with(|config| {
        config.cache.ttl_seconds = 100;
        config.cache.negative_ttl_seconds = 200;
    });
    let (alice, bob) = (keypair(1), keypair(2));
    let short = || record(&alice, "short", 1, address(9));
    server.publish(&alice, 1, &[record(&alice, "", 3600, address(1)), short()]);
    let (alice_name, bob_name) = (alice.to_z32(), bob.to_z32());
    server.ask(&alice_name, RecordType::TXT).await;
    // The search ends after the first answer to a key, and the packet's time begins: some time in these 100 seconds.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(server.ask(&alice_name, RecordType::A).await.answers[0].data, address(1));
    server.publish(&alice, 2, &[record(&alice, "", 3600, address(2)), short()]);
    assert_eq!(code(&server.ask(&bob_name, RecordType::A).await), ResponseCode::NXDomain);
    pass(Duration::from_secs(150)).await;
    assert_eq!(code(&server.ask(&bob_name, RecordType::TXT).await), ResponseCode::NXDomain);
    server.publish(&bob, 1, &[record(&bob, "", 300, text(1))]);
    assert_eq!(server.ask(&alice_name, RecordType::A).await.answers[0].data, address(2));
    pass(Duration::from_secs(90)).await;
    assert_eq!(server.ask(&bob_name, RecordType::TXT).await.answers.len(), 1);
}
