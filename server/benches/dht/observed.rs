//! Reads the metrics of a server.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

/// A port that nobody listens on at the moment.
pub(crate) fn free_port() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

/// The page of metrics at this address.
pub(crate) fn scrape(address: SocketAddr) -> String {
    request(address, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
}

/// What is sent back to a request over HTTP that closes its connection.
pub(crate) fn request(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
    stream.write_all(request).unwrap();
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).unwrap();
    String::from_utf8_lossy(&reply).into_owned()
}

/// A series, or `-` where it is not there.
pub(crate) fn value<'p>(page: &'p str, name: &str) -> &'p str {
    let mut values = page.lines().filter_map(|line| line.strip_prefix(name));
    values.next().map_or("-", str::trim)
}

pub(crate) fn number(page: &str, name: &str) -> f64 {
    value(page, name).parse().unwrap_or(0.0)
}
