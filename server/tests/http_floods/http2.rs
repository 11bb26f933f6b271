//! HTTP/2 frame by frame, for clients that keep to no rule.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::PATIENCE;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const ACK: u8 = 1;

pub(crate) const CANCEL: [u8; 4] = [0, 0, 0, 8];
pub(crate) const ENHANCE_YOUR_CALM: u8 = 11;

/// A client that says what it likes.
pub(crate) struct Http2 {
    pub(crate) stream: TcpStream,
}

pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

impl Http2 {
    pub(crate) async fn connect(server: SocketAddr) -> Self {
        // So small that what is sent and not read is soon known.
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_send_buffer_size(64 << 10).unwrap();
        socket.set_recv_buffer_size(64 << 10).unwrap();
        let mut stream = socket.connect(server).await.unwrap();
        stream.write_all(&[&PREFACE[..], &frame(SETTINGS, 0, 0, &[])].concat()).await.unwrap();
        stream.write_all(&frame(SETTINGS, ACK, 0, &[])).await.unwrap();
        Self { stream }
    }

    /// Sends as much as is taken.
    pub(crate) async fn flood(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(1 << 16) {
            match timeout(Duration::from_secs(2), self.stream.write_all(part)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return,
            }
        }
    }

    /// Type, flags, stream and payload; `None` at the end.
    pub(crate) async fn read_frame(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        timeout(PATIENCE, self.stream.read_exact(&mut head)).await.expect("a frame or the end").ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.stream.read_exact(&mut payload).await.ok()?;
        Some((head[3], head[4], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload))
    }

    /// Waits until this stream is reset.
    pub(crate) async fn read_reset(&mut self, reset: u32) {
        while let Some((kind, _, stream, _)) = self.read_frame().await {
            if (kind, stream) == (RST_STREAM, reset) {
                return;
            }
        }
        panic!("the connection ended");
    }

    /// How many responses began, and the code of the GOAWAY, until the connection is closed.
    pub(crate) async fn read_to_end(&mut self) -> (usize, Option<u8>) {
        let (mut responses, mut end) = (0, None);
        while let Some((kind, _, _, payload)) = self.read_frame().await {
            match kind {
                HEADERS => responses += 1,
                GOAWAY => end = Some(payload[7]),
                _ => {}
            }
        }
        (responses, end)
    }
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header of HPACK without Huffman's code and without a place in the table (RFC 7541 section 6.2.2).
pub(crate) fn field(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        bytes.extend(integer(text.len()));
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes
}

/// With a prefix of seven bits (RFC 7541 section 5.1).
pub(crate) fn integer(mut number: usize) -> Vec<u8> {
    if number < 127 {
        return vec![number as u8];
    }
    let mut bytes = vec![127];
    number -= 127;
    while number >= 128 {
        bytes.push((number % 128) as u8 | 128);
        number /= 128;
    }
    bytes.push(number as u8);
    bytes
}

pub(crate) fn get(path: &str) -> Vec<u8> {
    [field(":method", "GET"), field(":scheme", "http"), field(":path", path), field(":authority", "x")]
        .concat()
}

pub(crate) fn post(length: usize) -> Vec<u8> {
    [
        field(":method", "POST"),
        field(":scheme", "http"),
        field(":path", "/dns-query"),
        field(":authority", "x"),
        field("content-type", "application/dns-message"),
        field("content-length", &length.to_string()),
    ]
    .concat()
}
