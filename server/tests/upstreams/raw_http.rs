//! HTTP in bytes, for what no library of servers does.

use std::{io, sync::Arc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

use super::{Counts, plain::Asked};

/// What is odd about it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Way {
    /// The body comes in chunks, of which none is the last.
    NeverEnds,
    /// Each response comes after `100 Continue` and `103 Early Hints`.
    HintsFirst,
}

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/dns-message\r\n";
const HINTS: &str =
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n";

/// Answers requests of HTTP/2 or HTTP/1.1 until the client leaves.
pub(crate) async fn serve(
    mut stream: TlsStream<TcpStream>,
    is_http2: bool,
    way: Way,
    counts: Arc<Counts>,
) -> io::Result<()> {
    if is_http2 {
        return serve_http2(stream, counts).await;
    }
    loop {
        let reply = answer(request(&mut stream).await?, &counts);
        let length = reply.len();
        let head = match way {
            Way::NeverEnds => format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n"),
            Way::HintsFirst => format!("{HINTS}{HEAD}Content-Length: {length}\r\n\r\n"),
        };
        let end: &[u8] = if let Way::NeverEnds = way { b"\r\n" } else { b"" };
        stream.write_all(&[head.as_bytes(), &reply, end].concat()).await?;
        stream.flush().await?;
    }
}

fn answer(bytes: Vec<u8>, counts: &Counts) -> Vec<u8> {
    counts.question(bytes.get(12));
    Asked { bytes, is_tcp: true }.answer(1)
}

/// The body of a request of HTTP/1.1.
async fn request(stream: &mut TlsStream<TcpStream>) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let (_, rest) = head.split_once("content-length: ").expect("a length");
    let mut body = vec![0; rest.split("\r\n").next().unwrap().parse().unwrap()];
    stream.read_exact(&mut body).await?;
    Ok(body)
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// RFC 9113, as far as a question and an answer need it. Each answer comes after 103.
async fn serve_http2(mut stream: TlsStream<TcpStream>, counts: Arc<Counts>) -> io::Result<()> {
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await?;
    write(&mut stream, SETTINGS, 0, 0, &[]).await?;
    let mut body = Vec::new();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let [high, middle, low, kind, flags, id @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, high, middle, low]) as usize];
        stream.read_exact(&mut payload).await?;
        match kind {
            SETTINGS if flags & ACK == 0 => write(&mut stream, SETTINGS, ACK, 0, &[]).await?,
            DATA => {
                body.extend_from_slice(&payload);
                if flags & END_STREAM != 0 {
                    let reply = answer(std::mem::take(&mut body), &counts);
                    let media_type = b"application/dns-message";
                    // RFC 7541: the names `:status` and `content-type` by their numbers, and `:status: 200` as a whole.
                    let hints = b"\x08\x03103";
                    let well = [b"\x88\x0f\x10", &[media_type.len() as u8][..], media_type].concat();
                    let id = u32::from_be_bytes(id);
                    write(&mut stream, HEADERS, END_HEADERS, id, hints).await?;
                    write(&mut stream, HEADERS, END_HEADERS, id, &well).await?;
                    write(&mut stream, DATA, END_STREAM, id, &reply).await?;
                }
            }
            _ => {}
        }
    }
}

async fn write(
    stream: &mut TlsStream<TcpStream>,
    kind: u8,
    flags: u8,
    id: u32,
    payload: &[u8],
) -> io::Result<()> {
    let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
    stream.write_all(&[&length[..], &[kind, flags], &id.to_be_bytes(), payload].concat()).await?;
    stream.flush().await
}
