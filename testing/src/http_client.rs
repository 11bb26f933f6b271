//! One request over HTTP/1.1 or HTTP/2, and what came back.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, time::timeout};

/// Longest wait for a response.
const PATIENCE: Duration = Duration::from_secs(10);

pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    /// The value of a header, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

pub async fn ask(server: SocketAddr, version: Version, request: Request<Bytes>) -> Reply {
    timeout(PATIENCE, exchange(server, version, request)).await.expect("a response")
}

async fn exchange(server: SocketAddr, version: Version, request: Request<Bytes>) -> Reply {
    let stream = TokioIo::new(TcpStream::connect(server).await.unwrap());
    let (mut head, body) = request.into_parts();
    head.version = version;
    let body = Full::new(body);
    // Another name than the server's own is what a test asks for.
    let host = head.headers.remove("host").unwrap_or_else(|| server.to_string().parse().unwrap());
    let response: Response<_> = if version == Version::HTTP_2 {
        head.uri = format!("http://{}{}", host.to_str().unwrap(), head.uri).parse().unwrap();
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(Request::from_parts(head, body)).await.unwrap()
    } else {
        head.headers.insert("host", host);
        let (mut sender, connection) = http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(Request::from_parts(head, body)).await.unwrap()
    };
    let (head, body) = response.into_parts();
    Reply {
        status: head.status.as_u16(),
        headers: head.headers,
        body: body.collect().await.unwrap().to_bytes(),
    }
}
