//! Answers that are large, and bodies that do not say how large they are.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::*;

/// Records of a large answer, and the bytes of text in each.
const RECORDS: usize = 250;
const TEXT: usize = 240;

#[tokio::test]
async fn what_does_not_fit_a_datagram_is_fetched_and_given_whole() {
    let upstream = Upstream::start_over_tcp(|query, response| {
        for number in 0..RECORDS {
            let text = RData::TXT(TXT::new(vec![format!("{number:0>TEXT$}")]));
            response.add_answer(Record::from_rdata(query.queries[0].name().clone(), 300, text));
        }
    })
    .await;
    let server = start_with(|config| config.fallback_dns = vec![upstream.address.into()]);
    let path = path_of(&query("big.example", RecordType::TXT));
    for version in VERSIONS {
        let reply = get(&server, version, &path, &[]).await;
        let message = Message::from_vec(&reply.body).unwrap();
        assert!(!message.metadata.truncation);
        // A second may pass from the one that is kept to the next.
        assert!(["max-age=300", "max-age=299"].contains(&reply.header("cache-control")));
        assert_eq!(message.answers.len(), RECORDS);
        let reply = get(&server, version, &path, &[("accept", JSON)]).await;
        let json: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(json["Answer"].as_array().unwrap().len(), RECORDS);
    }
    // It was fetched once, and again because it was wanted again; then it was kept.
    assert_eq!(upstream.asked().len(), 2);
}

/// The status line of the response to a chunked body, of which the end is sent or not.
async fn send_in_chunks(server: &TestServer, body: &[u8], chunk: usize, is_whole: bool) -> String {
    let mut stream = TcpStream::connect(server.http()).await.unwrap();
    let head = format!(
        "POST /dns-query HTTP/1.1\r\nHost: pkdns\r\nConnection: close\r\nContent-Type: {MESSAGE}\r\n\
         Transfer-Encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    for chunk in body.chunks(chunk) {
        let chunk = [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat();
        stream.write_all(&chunk).await.unwrap();
    }
    if is_whole {
        stream.write_all(b"0\r\n\r\n").await.unwrap();
    }
    let mut line = vec![0; "HTTP/1.1 200".len()];
    timeout(Duration::from_secs(10), stream.read_exact(&mut line)).await.expect("a response").unwrap();
    String::from_utf8(line).unwrap()
}

#[tokio::test]
async fn a_body_without_a_length_is_put_together_and_counted() {
    let server = start();
    let message = query("www.example.com", RecordType::A);
    for chunk in [1, 7, 1000] {
        assert_eq!(send_in_chunks(&server, &message, chunk, true).await, "HTTP/1.1 200");
    }
    // Bytes behind a question change nothing, up to the longest question that is taken.
    let mut longest = message.clone();
    longest.resize(4096, 0);
    assert_eq!(send_in_chunks(&server, &longest, 1000, true).await, "HTTP/1.1 200");
    longest.push(0);
    assert_eq!(send_in_chunks(&server, &longest, 1000, false).await, "HTTP/1.1 413");
}
