//! The listeners of the bridge go over as all others do.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use pkdns_testing::upgrade::server::{Place, Server, send};

use super::{PATIENCE, activation::ALONE};

/// What the bridge says in the clear of a name that is none of a key.
fn said(plain: SocketAddr) -> String {
    let mut stream = TcpStream::connect(plain).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: example.com\r\n\r\n").unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

#[test]
fn the_bridge_listens_where_it_did_when_another_process_takes_over() {
    let place = Place::with(&format!(
        "listen = '127.0.0.1:0'\n{ALONE}[bridge]\nlisten = '127.0.0.1:0'\nplain_listen = '127.0.0.1:0'\n"
    ));
    let mut server = Server::start(place.command());
    let (bridge, plain) = (server.log.address("bridge"), server.log.address("bridge-http"));
    assert!(said(plain).starts_with("HTTP/1.1 421 "));
    let successor = server.upgrade();
    assert!(server.wait().success());
    assert!(said(plain).starts_with("HTTP/1.1 421 "));
    let count = |line: &str| server.log.lines().iter().filter(|logged| logged.ends_with(line)).count();
    assert_eq!(count(&format!("listening bridge {bridge}")), 2, "{:#?}", server.log.lines());
    assert_eq!(count(&format!("listening bridge-http {plain}")), 2, "{:#?}", server.log.lines());
    send("TERM", successor);
    server.log.wait_for_end();
}
