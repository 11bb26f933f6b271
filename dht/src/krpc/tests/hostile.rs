//! What no honest node sends, and what sloppy ones do.

use super::*;
use crate::krpc::nodes::{COMPACT_V4, COMPACT_V6};

/// What messages are made of, and what breaks readers.
pub(super) const PIECES: &[&[u8]] = &[
    b"d",
    b"l",
    b"e",
    b"e",
    b"i",
    b"i0e",
    b"i-1e",
    b"ie",
    b"i-e",
    b"i9223372036854775808e",
    b"0:",
    b"1:",
    b"5:",
    b"99999:",
    b"65536:",
    b"18446744073709551616:",
    b"-1:",
    b":",
    b"1:a",
    b"1:r",
    b"1:e",
    b"1:q",
    b"1:t",
    b"1:t2:aa",
    b"1:y",
    b"1:y1:r",
    b"1:y1:q",
    b"1:y1:e",
    b"1:v",
    b"1:k",
    b"2:id",
    b"2:ip",
    b"2:id20:abcdefghij0123456789",
    b"6:target20:abcdefghij0123456789",
    b"1:rd",
    b"1:ad",
    b"1:el",
    b"1:q3:get",
    b"1:q3:put",
    b"3:seq",
    b"3:cas",
    b"4:salt",
    b"4:want",
    b"5:nodes",
    b"6:nodes6",
    b"5:token",
    b"3:sig",
    b"2:ro",
    b"\xff",
];

/// Whatever is read is within the datagram, and reads the same when it is written.
pub(super) fn check(datagram: &[u8]) {
    let Some(message) = Message::decode(datagram) else { return };
    let written = encoded(&message);
    assert_eq!(Message::decode(&written), Some(message), "{}", datagram.escape_ascii());
    if let Body::Response(response) = message.body {
        assert!(response.nodes.iter().count() * COMPACT_V4 <= datagram.len());
    }
}

/// A response with more in its dictionary.
fn with(more: &[u8]) -> Vec<u8> {
    [b"d1:rd2:id20:abcdefghij0123456789", more, b"e1:t2:aa1:y1:re"].concat()
}

/// A response with more beside its dictionary.
fn beside(more: &[u8]) -> Vec<u8> {
    [b"d1:rd2:id20:abcdefghij0123456789e1:t2:aa1:y1:r", more, b"e"].concat()
}

/// An item, but for what `change` does to its fields.
fn item_with(change: impl FnOnce(&mut Vec<Vec<u8>>)) -> Vec<u8> {
    let key = [b"1:k32:", &[b'k'; 32][..]].concat();
    let signature = [b"3:sig64:", &[b's'; 64][..]].concat();
    let mut fields = vec![key, b"3:seqi7e".to_vec(), signature, b"1:v3:abc".to_vec()];
    change(&mut fields);
    with(&fields.concat())
}

fn response(datagram: &[u8]) -> Response<'_> {
    match Message::decode(datagram) {
        Some(Message { body: Body::Response(response), .. }) => response,
        other => panic!("{other:?} from {}", datagram.escape_ascii()),
    }
}

#[test]
fn keys_that_nobody_knows_are_skipped_with_all_that_is_in_them() {
    for unknown in [
        &b"1:zi1e"[..],
        b"1:z3:abc",
        b"1:zle",
        b"1:zde",
        b"1:zli1el1:aed1:b2:ccee",
        b"1:zd1:ad1:bd1:clleeeee",
        b"0:0:",
    ] {
        assert_eq!(response(&with(unknown)), Response::of(ID.into()));
        assert_eq!(response(&beside(unknown)), Response::of(ID.into()));
    }
}

#[test]
fn keys_out_of_order_are_read() {
    let datagram = b"d1:y1:r1:t8:abcdefgh2:roi1e1:rd5:token1:x2:id20:abcdefghij0123456789ee";
    let message = Message::decode(datagram).unwrap();
    assert_eq!((message.transaction, message.read_only), (&b"abcdefgh"[..], true));
    assert_eq!(message.body, Body::Response(Response { token: Some(b"x"), ..Response::of(ID.into()) }));
}

#[test]
fn a_field_of_another_type_counts_as_missing() {
    for field in ["k", "nodes", "nodes6", "seq", "sig", "token", "v", "cas", "salt", "want", "target"] {
        for value in ["le", "de", "li1e1:ae", "d1:ai1ee"] {
            let more = format!("{}:{field}{value}", field.len());
            assert_eq!(response(&with(more.as_bytes())), Response::of(ID.into()), "{more}");
        }
    }
    assert_eq!(response(&with(b"3:seq1:7")), Response::of(ID.into()));
    assert_eq!(response(&with(b"5:tokeni7e")), Response::of(ID.into()));
    assert_eq!(Message::decode(&beside(b"2:ipli1ee")).unwrap().observed, None);
    assert_eq!(Message::decode(&beside(b"2:ip5:abcde")).unwrap().observed, None);
    assert!(!Message::decode(&beside(b"2:rode")).unwrap().read_only);
}

/// The version of the sender's program, which is a string in all that are known.
#[test]
fn a_version_that_is_a_list_or_a_dictionary_harms_nothing() {
    for version in [&b"1:vli1e2:LTe"[..], b"1:vd1:a2:LTe", b"1:vi1e", b"1:v4:LT\x00\x01"] {
        assert_eq!(response(&beside(version)), Response::of(ID.into()));
    }
}

#[test]
fn an_item_is_read_only_if_it_is_whole() {
    let whole = item_with(|_| ());
    let item = response(&whole).item.unwrap();
    assert_eq!((item.seq, item.value), (7, &b"abc"[..]));
    for field in 0..4 {
        assert_eq!(response(&item_with(|fields| _ = fields.remove(field))).item, None);
    }
    for (field, other) in [
        (0, [b"1:k31:", &[b'k'; 31][..]].concat()),
        (0, [b"1:k33:", &[b'k'; 33][..]].concat()),
        (1, b"3:seq1:7".to_vec()),
        (1, b"3:seqi9223372036854775808e".to_vec()),
        (2, [b"3:sig63:", &[b's'; 63][..]].concat()),
        (3, b"1:vd1:a1:be".to_vec()),
        (3, b"1:vl1:ae".to_vec()),
        (3, b"1:vi1e".to_vec()),
    ] {
        assert_eq!(response(&item_with(|fields| fields[field] = other)).item, None);
    }
}

#[test]
fn a_number_out_of_range_is_no_number() {
    for (number, read) in [
        ("i9223372036854775807e", Some(i64::MAX)),
        ("i-9223372036854775808e", Some(i64::MIN)),
        ("i9223372036854775808e", None),
        ("i-9223372036854775809e", None),
        ("i99999999999999999999999999999999999999e", None),
        ("i1.5e", None),
        ("i+1e", None),
        ("i e", None),
        ("ie", None),
    ] {
        assert_eq!(response(&with(format!("3:seq{number}").as_bytes())).seq, read, "{number}");
    }
}

/// BEP 44 puts salt into the target and the signature; a zone has none.
#[test]
fn a_salted_value_is_not_taken_for_a_zone() {
    let salt = |salt: &[u8]| [b"4:salt", salt].concat();
    assert_eq!(response(&item_with(|fields| fields.insert(1, salt(b"6:foobar")))).item, None);
    assert!(response(&item_with(|fields| fields.insert(1, salt(b"0:")))).item.is_some());
}

#[test]
fn lengths_beyond_the_datagram_are_refused() {
    for length in ["4", "300", "65536", "99999", "100000", "4294967297", "18446744073709551619"] {
        assert_eq!(Message::decode(format!("d1:y1:r1:t{length}:aae").as_bytes()), None);
        assert_eq!(Message::decode(&with(format!("5:token{length}:a").as_bytes())), None);
    }
    assert_eq!(Message::decode(&with(b"1:ze")), None, "a key without a value");
    for malformed in ["-1:", "+1:", " 1:", ":", "1", "1x:", "0x1:"] {
        assert_eq!(Message::decode(&with(format!("5:token{malformed}a").as_bytes())), None, "{malformed}");
    }
}

#[test]
fn nesting_costs_nothing() {
    for opening in [&b"l"[..], b"d1:a", b"d0:", b"ld1:x"] {
        assert!(Message::decode(&beside(&[b"1:z", &opening.repeat(7)[..], b"i1e"].concat())).is_none());
        assert_eq!(Message::decode(&opening.repeat(65_507 / opening.len())), None);
        assert_eq!(Message::decode(&beside(&[b"1:z", &opening.repeat(15_000)[..]].concat())), None);
    }
    let nested = |depth: usize| beside(&[b"1:z", &b"l".repeat(depth)[..], &b"e".repeat(depth)].concat());
    assert!(Message::decode(&nested(16)).is_some());
    assert_eq!(Message::decode(&nested(17)), None);
}

#[test]
fn what_lacks_its_transaction_its_kind_or_its_id_is_no_message() {
    for datagram in [
        &b""[..],
        b"e",
        b"de",
        b"le",
        b"i1e",
        b"2:aa",
        b"d1:t2:aae",
        b"d1:y1:re",
        b"d1:t2:aa1:y1:re",
        b"d1:t2:aa1:y1:ee",
        b"d1:t2:aa1:y1:qe",
        b"d1:rde1:t2:aa1:y1:re",
        b"d1:rle1:t2:aa1:y1:re",
        b"d1:rd2:id19:abcdefghij012345678e1:t2:aa1:y1:re",
        b"d1:rd2:id20:abcdefghij0123456789e1:ti1e1:y1:re",
        b"d1:rd2:id20:abcdefghij0123456789e1:t2:aa1:y1:xe",
        b"d1:ad2:id20:abcdefghij0123456789e1:t2:aa1:y1:qe",
        b"d1:ad2:id20:abcdefghij0123456789e1:q9:find_node1:t2:aa1:y1:qe",
        b"d1:ad2:id20:abcdefghij0123456789e1:q3:get1:t2:aa1:y1:qe",
    ] {
        assert_eq!(Message::decode(datagram), None, "{}", datagram.escape_ascii());
    }
}

#[test]
fn a_refusal_is_understood_however_it_is_written() {
    let refusal = |error: &str| {
        let datagram = format!("d1:e{error}1:t2:aa1:y1:ee");
        match Message::decode(datagram.as_bytes()).map(|message| message.body) {
            Some(Body::Error(Refusal { code, text })) => Some((code, text.to_vec())),
            _ => None,
        }
    };
    for (error, code, text) in [
        ("li203e9:Bad tokene", 203, "Bad token"),
        ("l9:Bad tokeni203ee", 203, "Bad token"),
        ("li203ee", 203, ""),
        ("le", 0, ""),
        ("9:Bad token", 0, ""),
        ("i203e", 0, ""),
        ("de", 0, ""),
        ("li203eld1:aleee9:Bad tokene", 203, "Bad token"),
    ] {
        assert_eq!(refusal(error), Some((code, text.into())), "{error}");
    }
    assert_eq!(refusal("li203e9:Bad token"), None);
    assert_eq!(refusal("li99999999999999999999ee"), Some((0, Vec::new())));
}

#[test]
fn nodes_that_cannot_be_sent_to_are_left_out() {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    let id = Id::from(ID);
    for port in [0, 1, 0, 2] {
        Nodes::push(&mut v4, id, SocketAddr::from(([1, 2, 3, 4], port)));
        Nodes::push(&mut v6, id, SocketAddr::from(([1; 16], port)));
    }
    v4.truncate(v4.len() + 1 - COMPACT_V4);
    v6.extend_from_slice(&[1; COMPACT_V6 - 1]);
    let ports: Vec<_> = Nodes::new(&v4, &v6).iter().map(|(_, address)| address.port()).collect();
    assert_eq!(ports, [1, 1, 2]);
}
