//! Those who wait on a connection, and those who do not.

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::net::Ipv4Addr;
use tokio::net::{TcpStream, UdpSocket};

use super::*;

const COLD: usize = 50;

#[tokio::test]
async fn cached_answers_do_not_wait_behind_lookups_on_their_connection() {
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let upstream = silent.local_addr().unwrap();
    let server = start_with(|config| config.fallback_dns = vec![upstream.into()]);
    let cached = query(&key_name(""), RecordType::A);
    assert_eq!(post(&server, Version::HTTP_2, &cached).await.status, 200);

    let stream = TcpStream::connect(server.http()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let stream = TokioIo::new(stream);
    let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    let ask = |question: Vec<u8>| {
        let request =
            Request::post(format!("http://{}/dns-query", server.http())).header("content-type", MESSAGE);
        let request = request.body(Full::new(Bytes::from(question))).unwrap();
        let mut sender = sender.clone();
        async move {
            let body = sender.send_request(request).await.unwrap().into_body();
            Message::from_vec(&body.collect().await.unwrap().to_bytes()).unwrap().metadata.response_code
        }
    };
    let lookups: Vec<_> = (0..COLD)
        .map(|number| tokio::spawn(ask(query(&format!("cold-{number}.example"), RecordType::A))))
        .collect();
    for _ in 0..100 {
        assert_eq!(ask(cached.clone()).await, ResponseCode::NoError);
    }
    assert!(
        lookups.iter().all(|lookup| !lookup.is_finished()),
        "an upstream that is silent was not waited for"
    );
    for lookup in lookups {
        assert_eq!(lookup.await.unwrap(), ResponseCode::ServFail);
    }
}
