//! The DHT and services that do not do what they are asked to.

use std::{
    io::{Read, Write},
    net::{TcpListener, UdpSocket},
    thread,
};

use pkdns_dht::signed_packet::Keypair;
use pkdns_testing::program::{HEX, KEY, World, secret};

use super::{assert_each, assert_failure, place};

/// What a DHT node does with a request that stores something.
#[derive(Clone, Copy)]
enum Node {
    /// Nothing is heard of it once it has been joined through.
    Vanishes,
    /// It refuses with this error.
    Refuses(i64),
}

/// A DHT of one node on this machine. Returns where it is.
fn node(node: Node) -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let mut request = [0; 2048];
        while let Ok((size, peer)) = socket.recv_from(&mut request) {
            let request = &request[..size];
            let holds = |part: &[u8]| request.windows(part.len()).any(|window| window == part);
            let at = request.windows(5).position(|window| window == b"1:t4:").unwrap();
            let transaction = &request[at..at + 9];
            let reply = match node {
                Node::Vanishes if holds(b"3:get") => continue,
                Node::Refuses(code) if holds(b"3:put") => format!("d1:eli{code}e11:{HOSTILE}e").into_bytes(),
                Node::Vanishes | Node::Refuses(_) => b"d1:rd2:id20:abcdefghij01234567895:token1:xe".to_vec(),
            };
            let kind: &[u8] = if reply.starts_with(b"d1:e") { b"1:y1:ee" } else { b"1:y1:re" };
            let _ = socket.send_to(&[&reply, transaction, kind].concat(), peer);
        }
    });
    address
}

/// Text that would turn a terminal's title, from a node.
const HOSTILE: &str = "\u{1b}]0;title\u{7}x";

/// A web server that answers every request with this.
fn web_server(body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (mut stream, mut request) = (stream, [0; 2048]);
            let _ = stream.read(&mut request);
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(&[head.as_bytes(), body.as_bytes()].concat());
        }
    });
    format!("http://{address}/")
}

#[test]
fn nodes_that_vanish_or_refuse_are_told() {
    let directory = place(&[]);
    for (kind, code, parts) in [
        (Node::Vanishes, 4, ["the DHT could not be asked (no DHT node answered)", "try again"]),
        (Node::Refuses(203), 1, ["the packet was not stored: the DHT nodes refused it", "(error 203)"]),
        (
            Node::Refuses(302),
            3,
            ["somebody else has just published a newer packet", "look at it with pkdns-cli resolve"],
        ),
    ] {
        let bootstrap = node(kind);
        let arguments = ["--bootstrap", &bootstrap, "publish", "seed", "zone"];
        assert_failure(directory.path(), &arguments, "", code, &parts);
    }
    let bootstrap = node(Node::Vanishes);
    let parts = ["the DHT could not be asked", "try again"];
    assert_failure(directory.path(), &["--bootstrap", &bootstrap, "resolve", KEY], "", 4, &parts);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_packet_of_the_last_date_is_told_to_be_waited_for() {
    let world = World::new().await;
    world.file("seed", HEX);
    world.file("zone", "@ A 192.0.2.1\n");
    world.publish_elsewhere(&Keypair::from_secret_key(&secret()), i64::MAX.unsigned_abs()).await;
    let bootstrap = world.bootstrap();
    let arguments = ["--bootstrap", &bootstrap[0], "publish", "seed", "zone", "--force"];
    let parts = ["the latest possible date", "try again in a few hours"];
    assert_failure(world.path(), &arguments, "", 3, &parts);
}

#[test]
fn an_address_that_nobody_tells_is_told_with_what_to_do() {
    let directory = place(&[("dynamic", "@ A {external_ipv4}\n"), ("v6", "@ AAAA {external_ipv6}\n")]);
    let (private, nonsense) = (web_server("192.168.1.2\n"), web_server("\u{1b}[2J\n"));
    let closed = "http://127.0.0.1:9/";
    let publish = ["publish", "seed", "dynamic", "--ip-service"];
    let with = |service| [publish.as_slice(), &[service]].concat();
    let many = ["publish", "seed", "dynamic"].into_iter().chain(["--ip-service", closed].repeat(17));
    let many: Vec<&str> = many.collect();
    const ADVICE: &str = "or write the address into the zone file";
    assert_each(
        &directory,
        &[
            (&with(closed), 1, ["http://127.0.0.1:9/: it cannot be asked", ADVICE]),
            (&with("stun:127.0.0.1:9"), 2, ["--ip-service", "such as https://icanhazip.com"]),
            (&with(&private), 1, ["192.168.1.2, which is of a private network", "--allow-private"]),
            (&with(&nonsense), 1, ["\"\\027[2J\", which is not an address", ADVICE]),
            (&many, 1, ["at most 16 services", "name fewer"]),
            (
                &["publish", "seed", "dynamic", "--ipv6-from-interface"],
                1,
                ["nobody was asked; add --detect-ip", ADVICE],
            ),
        ],
    );
}

#[test]
fn keys_that_cannot_be_republished_are_told_with_what_to_write() {
    let below = format!("www.{KEY}");
    let directory = place(&[("nothing", "# no key\n"), ("large", &"#".repeat((16 << 20) + 1))]);
    assert_each(
        &directory,
        &[
            (&["republish"], 1, ["there is no key to republish", "name one, or a file with --list"]),
            (&["republish", "--list", "nothing"], 1, ["there is no key", "with --list"]),
            (&["republish", "nonsense"], 1, ["nonsense", "must end in a public key"]),
            (&["republish", &below], 1, [&below, "expected a key without a name before it"]),
            (&["republish", "--list", "large"], 1, ["\"large\": it is larger than", "divide it"]),
            (
                &["republish", "--list", "missing"],
                1,
                ["\"missing\": the list cannot be read: No such file", "check its name"],
            ),
        ],
    );
}
