//! Quotas, access, and the budget of one question.

use super::*;

#[tokio::test]
async fn the_quota_for_lookups_counts_new_keys_and_its_burst_is_honoured() {
    let server = TestServer::start_with(|config| {
        config.rate_limit.dht_requests_per_minute = 1;
        config.rate_limit.dht_burst_size = 3;
    });
    let codes = async |server: &TestServer, seeds: std::ops::Range<u8>| {
        let mut codes = Vec::new();
        for seed in seeds {
            codes.push(code(&server.ask(&keypair(seed).to_z32(), RecordType::A).await));
        }
        codes
    };
    assert_eq!(codes(&server, 1..4).await, [ResponseCode::NXDomain; 3]);
    assert_eq!(codes(&server, 4..6).await, [ResponseCode::Refused; 2]);
    // What is known already costs nothing, nor do names that are no keys.
    assert_eq!(codes(&server, 1..4).await, [ResponseCode::NXDomain; 3]);
    assert_eq!(code(&server.ask("example.com", RecordType::A).await), ResponseCode::NoError);
    assert_eq!(server.network.lookups(), 3);
    let reply = server.send(&with_edns(query(&keypair(9).to_z32(), RecordType::A), false)).await;
    assert_eq!(extended_error(&reply), Some(18));
}

#[tokio::test]
async fn strangers_are_refused_and_floods_are_dropped() {
    let server = TestServer::start_with(|config| {
        config.access.deny = vec!["127.0.0.0/8".parse().unwrap()];
    });
    let reply = server.ask("localhost", RecordType::A).await;
    assert_eq!(code(&reply), ResponseCode::Refused);
    assert_eq!(reply.queries.len(), 1);
    let mut malformed = query("localhost", RecordType::A);
    malformed[5] = 9;
    assert!(!server.replies_to(&malformed).await);

    let server = TestServer::start_with(|config| {
        config.rate_limit.requests_per_minute = 1;
        config.rate_limit.burst_size = 2;
    });
    let request = with_edns(query("localhost", RecordType::A), false);
    for _ in 0..2 {
        server.send(&request).await;
    }
    assert!(!server.replies_to(&request).await, "a forged address would get this reply");
    // What anybody can send spends nothing of what has shaken hands.
    for _ in 0..2 {
        assert_eq!(code(&parse(&server.send_tcp(&request).await)), ResponseCode::NoError);
    }
    let reply = server.send_tcp(&request).await;
    assert_eq!(code(&parse(&reply)), ResponseCode::Refused);
    assert_eq!(extended_error(&reply), Some(18));
}

#[tokio::test]
async fn what_one_client_is_refused_another_is_answered() {
    let server = TestServer::start_with(|config| {
        config.rate_limit.dht_requests_per_minute = 1;
        config.rate_limit.dht_burst_size = 1;
    });
    server.ask(&keypair(1).to_z32(), RecordType::A).await;
    let name = keypair(2).to_z32();
    assert_eq!(code(&server.ask(&name, RecordType::A).await), ResponseCode::Refused);
    let reply = server.send_from(Ipv4Addr::new(127, 0, 0, 2), &query(&name, RecordType::A)).await;
    assert_eq!(code(&parse(&reply)), ResponseCode::NXDomain);
}

#[tokio::test]
async fn chains_and_name_servers_share_one_budget() {
    // CAMP and NXNSAttack: ten packets, and then eight questions for the addresses of four servers.
    let server = TestServer::start_behind(Upstream::start(|_, _| ()));
    let keys: Vec<_> = (1..=10).map(keypair).collect();
    for pair in keys.windows(2) {
        server.publish(&pair[0], 1, &[record(&pair[0], "", 300, alias(&pair[1].to_z32()))]);
    }
    let last = &keys[9];
    let servers: Vec<Record> = (0..4)
        .map(|index| record(last, "", 300, RData::NS(NS(name(&format!("ns{index}.example.com"))))))
        .collect();
    server.publish(last, 1, &servers);
    assert_eq!(code(&server.ask(&keys[0].to_z32(), RecordType::A).await), ResponseCode::ServFail);
    assert_eq!(server.upstream.asked().len(), 6);
}
