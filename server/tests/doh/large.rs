//! Answers that are large, and bodies that do not say how large they are.

use std::sync::atomic::{AtomicUsize, Ordering};

use hickory_proto::op::{MessageType, OpCode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    time::timeout,
};

use super::*;

/// Records of a large answer, and the bytes of text in each.
const RECORDS: usize = 250;
const TEXT: usize = 240;

/// An upstream whose answers are cut over UDP, and how often it gave a whole one.
async fn start_upstream() -> (SocketAddr, Arc<AtomicUsize>) {
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let Ok(socket) = UdpSocket::bind(address).await else { continue };
        let given = Arc::new(AtomicUsize::new(0));
        tokio::spawn(answer_over_tcp(listener, given.clone()));
        tokio::spawn(async move {
            let mut message = [0; 4096];
            while let Ok((size, peer)) = socket.recv_from(&mut message).await {
                // QR and TC.
                message[2] |= 0x82;
                let _ = socket.send_to(&message[..size], peer).await;
            }
        });
        return (address, given);
    }
}

async fn answer_over_tcp(listener: TcpListener, given: Arc<AtomicUsize>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let given = given.clone();
        tokio::spawn(async move {
            while let Ok(size) = stream.read_u16().await {
                let mut query = vec![0; size.into()];
                stream.read_exact(&mut query).await.unwrap();
                let query = Message::from_vec(&query).unwrap();
                let mut response = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
                response.add_query(query.queries[0].clone());
                for number in 0..RECORDS {
                    let text = RData::TXT(TXT::new(vec![format!("{number:0>TEXT$}")]));
                    response.add_answer(Record::from_rdata(query.queries[0].name().clone(), 300, text));
                }
                let bytes = response.to_vec().unwrap();
                stream.write_u16(bytes.len() as u16).await.unwrap();
                stream.write_all(&bytes).await.unwrap();
                // The server's probe for loops is not what a test counts.
                if !query.queries[0].name().to_ascii().to_lowercase().ends_with("pkdns-loop.") {
                    given.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
    }
}

#[tokio::test]
async fn what_does_not_fit_a_datagram_is_fetched_and_given_whole() {
    let (upstream, given) = start_upstream().await;
    let server = Running::start_with(|config| config.fallback_dns = vec![upstream.into()]).await;
    let path = path_of(&query("big.example", RecordType::TXT));
    for version in VERSIONS {
        let reply = server.get(version, &path, &[]).await;
        let message = Message::from_vec(&reply.body).unwrap();
        assert!(!message.metadata.truncation);
        // A second may pass from the one that is kept to the next.
        assert!(["max-age=300", "max-age=299"].contains(&reply.header("cache-control")));
        assert_eq!(message.answers.len(), RECORDS);
        let reply = server.get(version, &path, &[("accept", JSON)]).await;
        let json: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(json["Answer"].as_array().unwrap().len(), RECORDS);
    }
    // It was fetched once, and again because it was wanted again; then it was kept.
    assert_eq!(given.load(Ordering::SeqCst), 2);
}

/// The status line of the response to a chunked body, of which the end is sent or not.
async fn send_in_chunks(server: &Running, body: &[u8], chunk: usize, is_whole: bool) -> String {
    let mut stream = TcpStream::connect(server.http).await.unwrap();
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
    let server = Running::start().await;
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
