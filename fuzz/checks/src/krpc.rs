//! The input is a datagram from the DHT: read, and what was read is written and reads the same again.

use pkdns_dht::internal::krpc::{Body, Message, Method, Nodes};

/// Bytes of a node in its shortest form.
const COMPACT_SIZE: usize = 26;

/// What a message can gain by being written as the specifications want it: a refusal gets a list, a code and a text.
const MOST_GROWTH: usize = 16;

/// Panics where the module does, or where it breaks a promise.
pub fn check(input: &[u8]) {
    let Some(message) = Message::decode(input) else { return };
    // Logs show messages.
    let _ = format!("{message:?}");
    let mut written = Vec::new();
    message.encode(&mut written);
    assert!(written.len() <= input.len() + MOST_GROWTH, "{} bytes of {}", written.len(), input.len());
    assert_eq!(Message::decode(&written), Some(message), "what was written reads differently");
    assert_eq!(Message::decode(&written[..written.len() - 1]), None, "a message without its end");
    check_borrowed(input, message.transaction);
    match message.body {
        Body::Query(query) => {
            if let Method::Put(put) = query.method {
                check_borrowed(input, put.token);
                check_borrowed(input, put.item.value);
            }
        }
        Body::Response(response) => {
            check_nodes(input, response.nodes);
            if let Some(item) = response.item {
                check_borrowed(input, item.value);
                assert_eq!(response.seq, Some(item.seq));
            }
        }
        Body::Error(refusal) => check_borrowed(input, refusal.text),
    }
}

/// Nodes are no more than fit into the datagram, can be sent to, and are the same when they are written again.
fn check_nodes(input: &[u8], nodes: Nodes<'_>) {
    assert!(nodes.iter().count() <= input.len() / COMPACT_SIZE);
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for (id, address) in nodes.iter() {
        assert_ne!(address.port(), 0);
        Nodes::push(if address.is_ipv4() { &mut v4 } else { &mut v6 }, id, address);
    }
    assert!(Nodes::new(&v4, &v6).iter().eq(nodes.iter()));
}

/// Nothing is copied by a length that the message claims.
fn check_borrowed(input: &[u8], string: &[u8]) {
    let (input, string) = (input.as_ptr_range(), string.as_ptr_range());
    let is_within = input.start <= string.start && string.end <= input.end;
    assert!(is_within || string.is_empty(), "not a part of the datagram");
}
