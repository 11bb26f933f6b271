//! The start and the stop of a server.

use std::sync::{Mutex, mpsc::channel};

use pkdns::server::{Server, StartError};
use pkdns_testing::wait::eventually;

use super::*;

#[tokio::test]
async fn the_server_starts_and_serves_with_nobody_else_within_reach() {
    let server = TestServer::start_with(|config| {
        config.fallback_dns = vec!["127.0.0.1:9".parse().unwrap()];
    });
    server.network.fail(NetworkError::NotReady);
    assert_eq!(server.ask("localhost", RecordType::A).await.answers.len(), 1);
    let request = with_edns(query(&keypair(1).to_z32(), RecordType::A), false);
    let reply = server.send(&request).await;
    assert_eq!(code(&parse(&reply)), ResponseCode::ServFail);
    assert_eq!(extended_error(&reply), Some(22));
    let reply = server.send(&with_edns(query("example.com", RecordType::A), false)).await;
    assert_eq!(code(&parse(&reply)), ResponseCode::ServFail);
    assert_eq!(extended_error(&reply), Some(22));
}

#[tokio::test]
async fn a_server_that_would_forward_to_itself_does_not_start() {
    let probe = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = probe.local_addr().unwrap();
    drop(probe);
    let mut config = pkdns::config::Config { listen: vec![address], ..Default::default() };
    config.fallback_dns = vec![address.into()];
    config.dht.enabled = false;
    let refused = Server::bind(config).err().expect("it started");
    assert!(matches!(refused, StartError::ForwardsToItself(_)), "{refused}");
    assert!(refused.to_string().contains("fallback_dns"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_flight_at_the_stop_is_answered() {
    let (release, released) = channel::<()>();
    let released = Mutex::new(released);
    let upstream = Upstream::start(move |query, response| {
        let name = query.queries[0].name().clone();
        if name.to_ascii().starts_with("example") {
            // Until the other end is dropped.
            let _ = released.lock().unwrap().recv();
        }
        response.add_answer(Record::from_rdata(name, 300, address(1)));
    });
    let server = TestServer::start_behind(upstream);
    let stop_meanwhile = async {
        eventually("it is asked", async || !server.upstream.asked().is_empty()).await;
        server.begin_stop();
        drop(release);
    };
    let (reply, ()) = tokio::join!(server.ask("example.com", RecordType::A), stop_meanwhile);
    assert_eq!(reply.answers.len(), 1);
    server.stop().await;
}
