//! Name servers that do not keep to the rules. One that does is in `cli/tests/zone.rs`.

use tokio::{net::TcpListener, task::JoinHandle};

use super::*;

/// A record with an owner in wire format.
fn record(owner: &[u8], record_type: u8, data: &[u8]) -> Vec<u8> {
    [owner, &[0, record_type, 0, 1, 0, 0, 0, 60, 0, data.len() as u8], data].concat()
}

const EXAMPLE: &[u8] = b"\x07example\0";

fn soa() -> Vec<u8> {
    record(EXAMPLE, 6, &[&[0, 0], [0; 20].as_slice()].concat())
}

fn address() -> Vec<u8> {
    record(EXAMPLE, 1, &[192, 0, 2, 1])
}

/// A message to the question of `id`, with its length.
fn reply(id: [u8; 2], flags: [u8; 2], answers: &[Vec<u8>]) -> Vec<u8> {
    let count = answers.len() as u8;
    let message = [&id, &flags, [0, 0, 0, count, 0, 0, 0, 0].as_slice(), &answers.concat()].concat();
    [&(message.len() as u16).to_be_bytes(), message.as_slice()].concat()
}

/// Asks a server that answers with `replies`, made for the id of the question.
async fn copied(replies: impl Fn([u8; 2]) -> Vec<Vec<u8>> + Send + 'static) -> Result<Copy, String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap();
    let task: JoinHandle<()> = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut question = [0; 27];
        stream.read_exact(&mut question).await.unwrap();
        assert_eq!(question[4..], *b"\0\0\0\x01\0\0\0\0\0\0\x07example\0\0\xfc\0\x01");
        for reply in replies([question[2], question[3]]) {
            // Whoever has seen enough hangs up.
            if stream.write_all(&reply).await.is_err() {
                break;
            }
        }
    });
    let result = copy(server, &origin("example").unwrap()).await.map_err(|failure| failure.to_string());
    task.await.unwrap();
    result
}

const ANSWER: [u8; 2] = [0x84, 0];

#[tokio::test]
async fn a_zone_comes_in_one_message_or_in_many() {
    let one = copied(|id| vec![reply(id, ANSWER, &[soa(), address(), soa()])]).await.unwrap();
    let many = copied(|id| [soa(), address(), soa()].map(|record| reply(id, ANSWER, &[record])).to_vec())
        .await
        .unwrap();
    for copy in [one, many] {
        assert_eq!((copy.records.len(), copy.authorities), (1, 1));
        assert_eq!(copy.records[0].to_string(), "example. 60 A 192.0.2.1");
    }
}

#[tokio::test]
async fn what_is_no_zone_is_refused_with_a_reason() {
    let cut = |bytes: Vec<u8>| bytes[..bytes.len() - 3].to_vec();
    type Replies = Box<dyn Fn([u8; 2]) -> Vec<Vec<u8>> + Send>;
    let cases: Vec<(Replies, &str)> = vec![
        (Box::new(|_| vec![]), "closed the connection before the end"),
        (Box::new(|id| vec![reply(id, ANSWER, &[soa(), address()])]), "closed the connection before the end"),
        (Box::new(move |id| vec![cut(reply(id, ANSWER, &[soa()]))]), "closed the connection before the end"),
        (Box::new(|id| vec![reply([!id[0], id[1]], ANSWER, &[soa(), soa()])]), "no answer to the question"),
        (Box::new(|id| vec![reply(id, [4, 0], &[soa(), soa()])]), "no answer to the question"),
        (Box::new(|id| vec![reply(id, ANSWER, &[])]), "no answer to the question"),
        (
            Box::new(|id| vec![reply(id, [0x84, 5], &[])]),
            "the server answers REFUSED: it must have the zone, and allow",
        ),
        (Box::new(|id| vec![reply(id, [0x84, 9], &[])]), "the server answers NOTAUTH"),
        (Box::new(|id| vec![reply(id, ANSWER, &[address(), soa()])]), "does not begin and end with the SOA"),
        (
            Box::new(|id| vec![reply(id, ANSWER, &[soa(), soa(), address()])]),
            "does not begin and end with the SOA",
        ),
        (
            Box::new(|id| vec![reply(id, ANSWER, &[record(b"\0", 6, &[0; 22]), soa()])]),
            "does not begin and end",
        ),
        (Box::new(|_| vec![b"\0\x04abcd".to_vec()]), "no answer to the question"),
        // A record whose data end after the message.
        (
            Box::new(|id| {
                let mut record = address();
                record.truncate(record.len() - 4);
                vec![reply(id, ANSWER, &[soa(), record])]
            }),
            "no answer to the question",
        ),
        (
            Box::new(|id| {
                let big = reply(id, ANSWER, &vec![address(); 200]);
                std::iter::once(reply(id, ANSWER, &[soa()])).chain(std::iter::repeat_n(big, 200)).collect()
            }),
            "the zone has more than 524288 bytes",
        ),
    ];
    for (replies, expected) in cases {
        let error = copied(replies).await.unwrap_err();
        assert!(
            error.starts_with("cannot copy example from 127.0.0.1:") && error.contains(expected),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_a_failure() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = copy(free, &origin("example").unwrap()).await.unwrap_err().to_string();
    assert!(error.contains("is this the address of the name server"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_is_not_waited_for_longer_than_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let error = copy(listener.local_addr().unwrap(), &origin("example").unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("took longer than 30 seconds"), "{error}");
}
