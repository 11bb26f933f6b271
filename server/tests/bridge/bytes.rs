//! What is said at one end is heard at the other.

use std::sync::atomic::Ordering;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    site::{Manner, TlsSite},
    stage::{PATIENCE, Stage, host, rest},
};

async fn with_site(manner: Manner, protocols: &[&str]) -> (Stage, TlsSite) {
    let stage = Stage::start().await;
    let site = TlsSite::start(manner, protocols).await;
    stage.script.lead(&host(), site.address, &site.certificate);
    (stage, site)
}

#[tokio::test]
async fn the_client_speaks_what_the_site_has_chosen_of_what_it_offers() {
    for (of_site, of_client, expected) in [
        (&["h2", "http/1.1"][..], &["h2", "http/1.1"][..], Some("h2")),
        (&["http/1.1"], &["h2", "http/1.1"], Some("http/1.1")),
        (&["h2", "http/1.1"], &["http/1.1"], Some("http/1.1")),
        (&[], &["h2", "http/1.1"], None),
        (&["h2"], &[], None),
    ] {
        let (stage, _site) = with_site(Manner::Echo, of_site).await;
        let stream = stage.connect(&host(), of_client).await.unwrap();
        let agreed = stream.get_ref().1.alpn_protocol().map(|protocol| str::from_utf8(protocol).unwrap());
        assert_eq!(agreed, expected, "{of_site:?} {of_client:?}");
    }
}

#[tokio::test]
async fn bytes_go_both_ways_at_once_and_none_is_lost() {
    let (stage, site) = with_site(Manner::Echo, &[]).await;
    let stream = stage.connect(&host(), &[]).await.unwrap();
    let (mut reading, mut writing) = tokio::io::split(stream);
    let sent: Vec<u8> = (0..3_000_000_u32).map(|number| (number / 7) as u8).collect();
    let sending = async {
        writing.write_all(&sent).await.unwrap();
        writing.shutdown().await.unwrap();
    };
    let mut received = Vec::new();
    let receiving = async { tokio::time::timeout(PATIENCE, reading.read_to_end(&mut received)).await };
    let ((), outcome) = tokio::join!(sending, receiving);
    outcome.unwrap().unwrap();
    assert!(received == sent, "{} of {} bytes, or others", received.len(), sent.len());
    assert_eq!(site.received(), sent.len());
    stage.until(|stage| stage.metrics.connections.open.bridge.get() == 0).await;
    let bytes = stage.metrics.bridge.bytes.readings();
    assert_eq!(bytes, [("to_site", 3_000_000), ("to_client", 3_000_000)]);
}

#[tokio::test]
async fn small_messages_go_to_and_fro_as_over_a_websocket() {
    let (stage, _site) = with_site(Manner::Echo, &["http/1.1"]).await;
    let mut stream = stage.connect(&host(), &["http/1.1"]).await.unwrap();
    for number in 0..200_u32 {
        let message = number.to_be_bytes();
        stream.write_all(&message).await.unwrap();
        stream.flush().await.unwrap();
        let mut echo = [0; 4];
        tokio::time::timeout(PATIENCE, stream.read_exact(&mut echo)).await.unwrap().unwrap();
        assert_eq!(echo, message);
    }
}

#[tokio::test]
async fn a_site_that_has_said_all_still_hears_the_client() {
    let (stage, site) = with_site(Manner::SayThenCount(100_000), &[]).await;
    let mut stream = stage.connect(&host(), &[]).await.unwrap();
    let (said, outcome) = rest(&mut stream).await;
    outcome.unwrap();
    assert_eq!(said.len(), 100_000);
    stream.write_all(&[7; 50_000]).await.unwrap();
    stream.shutdown().await.unwrap();
    stage.until(|_| site.received() == 50_000).await;
}

#[tokio::test]
async fn an_end_without_a_word_stays_one() {
    let (stage, _site) = with_site(Manner::Cut("half of it"), &[]).await;
    let mut stream = stage.connect(&host(), &[]).await.unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    let (said, outcome) = rest(&mut stream).await;
    assert!(said.ends_with(b"half of it"));
    assert_eq!(
        outcome.unwrap_err().kind(),
        std::io::ErrorKind::UnexpectedEof,
        "the client sees that it may not be whole"
    );
}

#[tokio::test]
async fn at_a_stop_silent_connections_end_with_a_word_and_all_end() {
    let (stage, site) = with_site(Manner::Echo, &[]).await;
    let mut stream = stage.connect(&host(), &[]).await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    stage.until(|_| site.received() == 5).await;
    stage.ending.end();
    let (said, outcome) = rest(&mut stream).await;
    assert_eq!(said, b"hello");
    outcome.unwrap();
    stage.tasks.close();
    tokio::time::timeout(PATIENCE, stage.tasks.wait()).await.unwrap();
    assert_eq!(site.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn where_another_process_goes_on_silent_connections_end_and_busy_ones_go_on() {
    let (stage, _site) = with_site(Manner::Echo, &[]).await;
    let mut silent = stage.connect(&host(), &[]).await.unwrap();
    let mut busy = stage.connect(&host(), &[]).await.unwrap();
    stage.ending.leave();
    let silence = tokio::spawn(async move { rest(&mut silent).await.1 });
    while !silence.is_finished() {
        busy.write_all(b"x").await.unwrap();
        busy.flush().await.unwrap();
        tokio::time::timeout(PATIENCE, busy.read_exact(&mut [0])).await.unwrap().unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    silence.await.unwrap().unwrap();
    busy.write_all(b"y").await.unwrap();
    tokio::time::timeout(PATIENCE, busy.read_exact(&mut [0])).await.unwrap().unwrap();
}
