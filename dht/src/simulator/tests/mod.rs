//! What nodes answer, without any socket.

mod attack;
mod hostile;
mod ipv6;
mod millions;
mod nodes;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4},
    time::Duration,
};

use mainline::Id;

use super::{
    World,
    item::StoredItem,
    node::{Held, Role},
    random::Random,
    responder::{Responder, target_of},
};
use crate::{
    krpc::{Body, Message, Method, Put, Query, Refusal, Response, Want},
    signed_packet::{Keypair, SignedPacket},
};

pub(super) const PORT: u16 = 6881;
pub(super) const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
pub(super) const CLIENT: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 4000));

pub(super) fn network(world: World) -> Responder {
    Responder::new(world, PORT)
}

pub(super) fn keypair(number: u8) -> Keypair {
    Keypair::from_secret_key(&[number; 32])
}

pub(super) fn packet(keypair: &Keypair, timestamp: u64) -> SignedPacket {
    SignedPacket::sign(keypair, timestamp, b"records").unwrap()
}

/// A query of a node of no importance.
pub(super) fn query(method: Method<'_>) -> Vec<u8> {
    let query = Query { id: Id::from([7; 20]), want: Want::default(), method };
    let mut bytes = Vec::new();
    Message { transaction: b"tt", read_only: true, observed: None, body: Body::Query(query) }
        .encode(&mut bytes);
    bytes
}

/// What the node at `asked` sends back; nothing counts as no bytes.
pub(super) fn ask(network: &mut Responder, asked: IpAddr, method: Method<'_>) -> Vec<u8> {
    let from =
        if asked.is_ipv4() { CLIENT } else { SocketAddr::new([0x2a10, 1, 0, 0, 0, 0, 0, 1].into(), 4000) };
    ask_from(network, from, asked, method)
}

pub(super) fn ask_from(
    network: &mut Responder,
    from: SocketAddr,
    asked: IpAddr,
    method: Method<'_>,
) -> Vec<u8> {
    let mut reply = Vec::new();
    match network.answer(&query(method), from, asked, &mut reply) {
        Some(_) => reply,
        None => Vec::new(),
    }
}

pub(super) fn response(reply: &[u8]) -> Response<'_> {
    match Message::decode(reply).map(|message| message.body) {
        Some(Body::Response(response)) => response,
        other => panic!("{other:?}"),
    }
}

/// The code of a refusal; 0: it was none.
pub(super) fn code(reply: &[u8]) -> i64 {
    match Message::decode(reply).map(|message| message.body) {
        Some(Body::Error(Refusal { code, .. })) => code,
        Some(Body::Response(_)) => 0,
        other => panic!("{other:?}"),
    }
}

pub(super) fn get(target: Id) -> Method<'static> {
    Method::Get { target, newer_than: None }
}

/// Gets a token and puts the value.
pub(super) fn put(network: &mut Responder, asked: IpAddr, item: &StoredItem, cas: Option<i64>) -> i64 {
    let target = mainline::MutableItem::target_from_key(&item.key, None);
    let reply = ask(network, asked, get(target));
    let token = response(&reply).token.unwrap().to_vec();
    put_with(network, asked, &token, item, cas)
}

pub(super) fn put_with(
    network: &mut Responder,
    asked: IpAddr,
    token: &[u8],
    item: &StoredItem,
    cas: Option<i64>,
) -> i64 {
    code(&ask(network, asked, Method::Put(Put { target: None, token, item: item.as_item(), cas })))
}

/// What is likely to be in one hand: a /24, a /48.
pub(super) fn subnet(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits() >> 8),
        IpAddr::V6(address) => address.to_bits() >> 80,
    }
}

/// The addresses of all nodes of a role.
pub(super) fn addresses(network: &Responder, role: Role) -> Vec<IpAddr> {
    network.population.nodes().filter(|node| node.role == role).map(|node| node.address).collect()
}

#[test]
fn a_reply_repeats_a_transaction_id_of_any_length_and_says_who_asked() {
    let mut network = network(World::default());
    for length in [0, 1, 2, 4, 20, 300] {
        let transaction = vec![b'x'; length];
        let query = Query { id: Id::from([7; 20]), want: Want::default(), method: Method::Ping };
        let mut bytes = Vec::new();
        let message =
            Message { transaction: &transaction, read_only: true, observed: None, body: Body::Query(query) };
        message.encode(&mut bytes);
        let mut reply = Vec::new();
        network.answer(&bytes, CLIENT, LOCALHOST, &mut reply).unwrap();
        let reply = Message::decode(&reply).unwrap();
        assert_eq!((reply.transaction, reply.observed), (&transaction[..], Some(CLIENT)));
    }
}

#[test]
fn datagrams_that_are_no_query_get_no_reply() {
    let mut network = network(World::default());
    let response = ask(&mut network, LOCALHOST, Method::Ping);
    let mut reply = Vec::new();
    for datagram in [b"".as_slice(), b"d", b"\xff\xff", b"de", b"d1:t2:tt1:y1:qe", &response] {
        assert_eq!(network.answer(datagram, CLIENT, LOCALHOST, &mut reply), None);
    }
    assert!(reply.is_empty());
    assert_eq!((network.statistics.ignored, network.statistics.sent.total()), (6, 1));
}

#[test]
fn nodes_near_the_target_come_with_a_token_where_something_could_be_stored() {
    let mut network = network(World { nodes: 9, ..World::default() });
    let target = Id::from([0x5a; 20]);
    let own = network.population.at(LOCALHOST).unwrap();
    let mut expected: Vec<_> = network.population.nodes().map(|node| node.id).collect();
    expected.retain(|id| *id != network.population.node(own).unwrap().id);
    expected.sort_by_key(|id| *id.xor(&target).as_bytes());

    for (method, has_token) in
        [(Method::FindNode(target), false), (Method::GetPeers(target), true), (get(target), true)]
    {
        let reply = ask(&mut network, LOCALHOST, method);
        let reply = response(&reply);
        let named: Vec<_> = reply.nodes.iter().map(|(id, _)| id).collect();
        assert_eq!(named, expected, "{method:?}");
        assert_eq!(reply.token.is_some(), has_token, "{method:?}");
        assert!(reply.item.is_none());
        assert!(reply.nodes.iter().all(|(_, address)| address.port() == PORT && address.ip().is_loopback()));
    }
}

#[test]
fn a_value_comes_with_nodes_and_only_where_it_is_newer_than_what_is_known() {
    let mut network = network(World::default());
    let packet = packet(&keypair(1), 5);
    network.store(&packet);
    let target = target_of(packet.key());
    for (newer_than, comes) in [(None, true), (Some(4), true), (Some(5), false), (Some(6), false)] {
        let reply = ask(&mut network, LOCALHOST, Method::Get { target, newer_than });
        let reply = response(&reply);
        assert_eq!(reply.item.map(|item| item.value), comes.then_some(packet.dns()), "{newer_than:?}");
        assert_eq!((reply.seq, reply.nodes.iter().count()), (Some(5), 8));
        assert!(reply.token.is_some());
    }
}

#[test]
fn the_newest_value_is_kept() {
    let mut network = network(World::default());
    let holder = LOCALHOST;
    let item = |seq, value: &[u8]| StoredItem::signed(&keypair(1), seq, value.to_vec());
    assert_eq!(put(&mut network, holder, &item(5, b"a"), None), 0);
    assert_eq!(put(&mut network, holder, &item(5, b"b"), None), 0);
    assert_eq!(put(&mut network, holder, &item(4, b"c"), None), 302);
    assert_eq!(put(&mut network, holder, &item(6, b"d"), Some(4)), 301);
    let reply = ask(&mut network, holder, get(target_of(&keypair(1).public_key())));
    assert_eq!(response(&reply).item.unwrap().value, b"a");
    assert_eq!(put(&mut network, holder, &item(6, b"d"), Some(5)), 0);
    assert_eq!(network.holders(&keypair(1).public_key()), [6]);
}

#[test]
fn a_token_is_good_for_one_node_one_target_and_one_address() {
    let mut network = network(World::default());
    let [first, second] = addresses(&network, Role::Honest)[..2] else { panic!() };
    let item = StoredItem::signed(&keypair(1), 5, b"a".to_vec());
    let target = target_of(&keypair(1).public_key());
    let mut token_of = |from, asked, target| {
        let reply = ask_from(&mut network, from, asked, get(target));
        response(&reply).token.unwrap().to_vec()
    };
    let right = token_of(CLIENT, first, target);
    let of_node = token_of(CLIENT, second, target);
    let of_target = token_of(CLIENT, first, Id::from([1; 20]));
    let of_address = token_of(SocketAddr::from(([127, 9, 9, 9], 4000)), first, target);
    let of_port = token_of(SocketAddr::new(CLIENT.ip(), 4001), first, target);
    for wrong in [of_node, of_target, of_address, vec![], vec![0; 8]] {
        assert_eq!(put_with(&mut network, first, &wrong, &item, None), 203, "{wrong:?}");
    }
    assert_eq!(right, of_port);
    assert_eq!(put_with(&mut network, first, &right, &item, None), 0);
}

#[test]
fn what_is_too_large_or_not_signed_is_refused() {
    let mut network = network(World::default());
    let mut put = |item: &StoredItem| put(&mut network, LOCALHOST, item, None);
    let signed = |size| StoredItem::signed(&keypair(1), 5, vec![b'x'; size]);
    assert_eq!(put(&signed(1001)), 205);
    assert_eq!(put(&StoredItem { seq: 6, ..signed(1000) }), 206);
    assert_eq!(put(&StoredItem { key: [0xff; 32], ..signed(1000) }), 206);
    assert_eq!(put(&signed(1000)), 0);
    // The signature of a value that is known is not checked again, but that of any other is.
    assert_eq!(put(&StoredItem { value: vec![b'y'; 1000], ..signed(1000) }), 206);
    assert_eq!(put(&StoredItem { signature: [0; 64], ..signed(1000) }), 206);
}

#[test]
fn other_methods_are_refused() {
    let mut network = network(World::default());
    let refused = ask(&mut network, LOCALHOST, Method::Unknown(b"vote"));
    assert_eq!(code(&refused), 204);
    // A value without a key, and one with a salt.
    for arguments in ["1:v1:x", "1:k32:kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk4:salt1:s3:seqi1e1:v1:x"] {
        let datagram =
            format!("d1:ad2:id20:iiiiiiiiiiiiiiiiiiii5:token8:tttttttt{arguments}e1:q3:put1:t2:tt1:y1:qe");
        let mut reply = Vec::new();
        network.answer(datagram.as_bytes(), CLIENT, LOCALHOST, &mut reply).unwrap();
        assert_eq!(code(&reply), 203);
    }
}

#[test]
fn messages_are_counted_by_method_and_target() {
    let mut network = network(World { count_targets: true, ..World::default() });
    let target = target_of(&keypair(1).public_key());
    let item = StoredItem::signed(&keypair(1), 5, b"a".to_vec());
    put(&mut network, LOCALHOST, &item, None);
    ask(&mut network, LOCALHOST, Method::Ping);
    ask(&mut network, LOCALHOST, Method::FindNode(target));
    ask(&mut network, LOCALHOST, Method::FindNode(Id::from([1; 20])));
    let received = network.statistics.received;
    assert_eq!((received.get, received.put, received.ping, received.find_node), (1, 1, 1, 2));
    assert_eq!((received.total(), network.statistics.sent), (5, received));
    assert_eq!(network.targets[&target], 3);
    assert_eq!(network.targets.len(), 2);
}

#[test]
fn a_node_forgets_what_was_not_asked_for_the_longest() {
    let mut node = Held::default();
    let start = Duration::ZERO;
    let targets: Vec<_> = (0..4).map(|number| Random::of(&[number]).id()).collect();
    let item = std::sync::Arc::new(StoredItem::signed(&keypair(1), 5, Vec::new()));
    for target in &targets[..3] {
        node.keep(Role::Honest, *target, item.clone(), 3, (start, start));
    }
    assert!(node.item(&targets[0], start).is_some());
    node.keep(Role::Honest, targets[3], item, 3, (start, start));
    let held: Vec<_> = targets.iter().map(|target| node.peek(target, start).is_some()).collect();
    assert_eq!(held, [true, false, true, true]);
}
