//! The messages that the specifications give as examples, byte for byte.

use super::*;

const PING: &[u8] = b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe";
const PONG: &[u8] = b"d1:rd2:id20:mnopqrstuvwxyz123456e1:t2:aa1:y1:re";
const FIND_NODE: &[u8] =
    b"d1:ad2:id20:abcdefghij01234567896:target20:mnopqrstuvwxyz123456e1:q9:find_node1:t2:aa1:y1:qe";
const FOUND_NODE: &[u8] = b"d1:rd2:id20:0123456789abcdefghij5:nodes9:def456...e1:t2:aa1:y1:re";
const GET_PEERS: &[u8] =
    b"d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz123456e1:q9:get_peers1:t2:aa1:y1:qe";
const PEERS: &[u8] =
    b"d1:rd2:id20:abcdefghij01234567895:token8:aoeusnth6:valuesl6:axje.u6:idhtnmee1:t2:aa1:y1:re";
const NO_PEERS: &[u8] = b"d1:rd2:id20:abcdefghij01234567895:nodes9:def456...5:token8:aoeusnthe1:t2:aa1:y1:re";
const ANNOUNCE_PEER: &[u8] = b"d1:ad2:id20:abcdefghij012345678912:implied_porti1e9:info_hash20:mnopqrstuvwxyz1234564:porti6881e5:token8:aoeusnthe1:q13:announce_peer1:t2:aa1:y1:qe";
const GENERIC_ERROR: &[u8] = b"d1:eli201e23:A Generic Error Ocurrede1:t2:aa1:y1:ee";

/// BEP 44 describes its messages and gives this value as its first test vector.
const KEY: &[u8; 32] =
    b"\x77\xff\x84\x90\x5a\x91\x93\x63\x67\xc0\x13\x60\x80\x31\x04\xf9\x24\x32\xfc\xd9\x04\xa4\x35\x11\x87\x6d\xf5\xcd\xf3\xe7\xe5\x48";
const SIGNATURE: &[u8; 64] = b"\x30\x5a\xc8\xae\xb6\xc9\xc1\x51\xfa\x12\x0f\x12\x0e\xa2\xcf\xb9\x23\x56\x4e\x11\x55\x2d\x06\xa5\xd8\x56\x09\x1e\x5e\x85\x3c\xff\x12\x60\xd3\xf3\x9e\x49\x99\x68\x4a\xa9\x2e\xb7\x3f\xfd\x13\x6e\x6f\x4f\x3e\xcb\xfd\xa0\xce\x53\xa1\x60\x8e\xcd\x7a\xe2\x1f\x01";
const GET: &[u8] =
    b"d1:ad2:id20:abcdefghij01234567893:seqi1e6:target20:mnopqrstuvwxyz123456e1:q3:get1:t2:aa1:y1:qe";

/// Messages to change and to cut off.
pub(super) const ALL: &[&[u8]] =
    &[PING, PONG, FIND_NODE, FOUND_NODE, GET_PEERS, PEERS, NO_PEERS, ANNOUNCE_PEER, GENERIC_ERROR, GET];

fn response(id: &[u8; 20]) -> Response<'static> {
    Response::of(id.into())
}

fn item() -> Item<'static> {
    Item { key: KEY, signature: SIGNATURE, seq: 1, value: b"Hello World!" }
}

/// The message says `body`, and is written as it was read.
fn assert_says(datagram: &[u8], body: Body<'_>) {
    let message = Message { transaction: b"aa", read_only: false, observed: None, body };
    assert_eq!(Message::decode(datagram), Some(message));
    assert_eq!(encoded(&message).escape_ascii().to_string(), datagram.escape_ascii().to_string());
}

fn asks(method: Method<'_>) -> Body<'_> {
    Body::Query(Query { id: ID.into(), want: Want::default(), method })
}

#[test]
fn queries_of_bep_5() {
    let target = Id::from(b"mnopqrstuvwxyz123456");
    assert_says(PING, asks(Method::Ping));
    assert_says(FIND_NODE, asks(Method::FindNode(target)));
    assert_says(GET_PEERS, asks(Method::GetPeers(target)));
}

#[test]
fn responses_of_bep_5() {
    let nodes = Nodes::new(b"def456...", b"");
    assert_says(PONG, Body::Response(response(b"mnopqrstuvwxyz123456")));
    assert_says(FOUND_NODE, Body::Response(Response { nodes, ..response(b"0123456789abcdefghij") }));
    let token: Option<&[u8]> = Some(b"aoeusnth");
    assert_says(NO_PEERS, Body::Response(Response { nodes, token, ..response(ID) }));
    assert_says(GENERIC_ERROR, Body::Error(Refusal { code: 201, text: b"A Generic Error Ocurred" }));
}

#[test]
fn what_other_programs_ask_and_answer_is_left_out() {
    let peers = Message::decode(PEERS).unwrap();
    assert_eq!(peers.body, Body::Response(Response { token: Some(b"aoeusnth"), ..response(ID) }));
    let announce = Message::decode(ANNOUNCE_PEER).unwrap();
    assert_eq!(announce.body, asks(Method::Unknown(b"announce_peer")));
}

#[test]
fn queries_of_bep_44() {
    let target = Id::from(b"mnopqrstuvwxyz123456");
    assert_says(GET, asks(Method::Get { target, newer_than: Some(1) }));
    let put = Put { target: None, token: b"aoeusnth", item: item(), cas: Some(0) };
    let datagram = [
        b"d1:ad3:casi0e2:id20:abcdefghij01234567891:k32:",
        &KEY[..],
        b"3:seqi1e3:sig64:",
        SIGNATURE,
        b"5:token8:aoeusnth1:v12:Hello World!e1:q3:put1:t2:aa1:y1:qe",
    ];
    assert_says(&datagram.concat(), asks(Method::Put(put)));
}

#[test]
fn a_response_with_a_value_of_bep_44() {
    let nodes = Nodes::new(&[b'x'; 26], &[b'y'; 38]);
    let token: Option<&[u8]> = Some(b"aoeusnth");
    let datagram = [
        b"d1:rd2:id20:abcdefghij01234567891:k32:",
        &KEY[..],
        b"5:nodes26:xxxxxxxxxxxxxxxxxxxxxxxxxx6:nodes638:yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy",
        b"3:seqi1e3:sig64:",
        SIGNATURE,
        b"5:token8:aoeusnth1:v12:Hello World!e1:t2:aa1:y1:re",
    ];
    assert_says(
        &datagram.concat(),
        Body::Response(Response { nodes, token, item: Some(item()), seq: Some(1), ..response(ID) }),
    );
}

/// BEP 44: a node whose value is not newer than asked for answers with its number alone.
#[test]
fn a_response_that_keeps_the_value_back() {
    let datagram = b"d1:rd2:id20:abcdefghij01234567893:seqi7ee1:t2:aa1:y1:re";
    assert_says(datagram, Body::Response(Response { seq: Some(7), ..response(ID) }));
}

#[test]
fn marks_of_bep_32_42_and_43() {
    let datagram = b"d1:ad2:id20:abcdefghij01234567894:wantl2:n42:n6ee1:q4:ping2:roi1e1:t2:aa1:y1:qe";
    let want = Want { v4: true, v6: true };
    let body = Body::Query(Query { id: ID.into(), want, method: Method::Ping });
    let message = Message { transaction: b"aa", read_only: true, observed: None, body };
    assert_eq!(Message::decode(datagram), Some(message));
    assert_eq!(encoded(&message), datagram);

    let datagram = b"d2:ip6:\x01\x02\x03\x04\x1a\xe11:rd2:id20:abcdefghij0123456789e1:t2:aa1:y1:re";
    let message = Message::decode(datagram).unwrap();
    assert_eq!(message.observed, Some(SocketAddr::from(([1, 2, 3, 4], 6881))));
    assert_eq!(encoded(&message), datagram);
}

#[test]
fn transaction_ids_of_any_length_are_repeated() {
    for length in [0, 1, 2, 4, 8, 20, 300] {
        let transaction = vec![0xff; length];
        let body = Body::Response(response(ID));
        let datagram =
            encoded(&Message { transaction: &transaction, read_only: false, observed: None, body });
        assert_eq!(Message::decode(&datagram).unwrap().transaction, transaction);
    }
}
