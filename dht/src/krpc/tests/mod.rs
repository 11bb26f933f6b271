mod examples;
mod hostile;

use proptest::{
    prelude::*,
    sample::{Index, select},
};

use super::*;

const ID: &[u8; 20] = b"abcdefghij0123456789";

fn encoded(message: &Message<'_>) -> Vec<u8> {
    let mut buffer = Vec::new();
    message.encode(&mut buffer);
    buffer
}

/// Everything that a message can hold, owned, since messages borrow.
#[derive(Debug, Clone)]
struct Parts {
    transaction: Vec<u8>,
    read_only: bool,
    observed: Option<SocketAddr>,
    id: Id,
    want: Want,
    target: Id,
    numbers: (Option<i64>, Option<i64>, i64),
    key: [u8; 32],
    signature: [u8; 64],
    value: Vec<u8>,
    token: Option<Vec<u8>>,
    nodes: Vec<(Id, SocketAddr)>,
    text: Vec<u8>,
}

impl Parts {
    fn item(&self) -> Item<'_> {
        Item { key: &self.key, signature: &self.signature, seq: self.numbers.2, value: &self.value }
    }

    fn compact(&self) -> (Vec<u8>, Vec<u8>) {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (id, address) in &self.nodes {
            Nodes::push(if address.is_ipv4() { &mut v4 } else { &mut v6 }, *id, *address);
        }
        (v4, v6)
    }

    /// One message of every kind.
    fn with_messages(&self, mut check: impl FnMut(&Message<'_>)) {
        let (v4, v6) = self.compact();
        let nodes = Nodes::new(&v4, &v6);
        let token = self.token.as_deref();
        let (newer_than, cas, seq) = self.numbers;
        let item = self.item();
        let response = Response { id: self.id, nodes, token, item: None, seq: None };
        let target = cas.map(|_| self.target);
        let put = Put { target, token: token.unwrap_or_default(), item, cas };
        let methods = [
            Method::Ping,
            Method::FindNode(self.target),
            Method::GetPeers(self.target),
            Method::Get { target: self.target, newer_than },
            Method::Put(put),
            Method::Unknown(b"announce_peer"),
        ];
        let bodies = methods
            .map(|method| Body::Query(Query { id: self.id, want: self.want, method }))
            .into_iter()
            .chain([
                Body::Response(response),
                Body::Response(Response { seq: Some(seq), ..response }),
                Body::Response(Response { item: Some(item), seq: Some(seq), ..response }),
                Body::Error(Refusal { code: seq, text: &self.text }),
            ]);
        for body in bodies {
            let (read_only, observed) = (self.read_only, self.observed);
            check(&Message { transaction: &self.transaction, read_only, observed, body });
        }
    }
}

fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..=most)
}

fn number() -> impl Strategy<Value = i64> {
    prop_oneof![any::<i64>(), select(vec![i64::MIN, -1, 0, 1, i64::MAX])]
}

fn address() -> impl Strategy<Value = SocketAddr> {
    prop_oneof![
        (any::<[u8; 4]>(), 1u16..).prop_map(SocketAddr::from),
        (any::<[u8; 16]>(), 1u16..).prop_map(SocketAddr::from),
    ]
}

fn id() -> impl Strategy<Value = Id> {
    any::<[u8; 20]>().prop_map(Id::from)
}

fn parts() -> impl Strategy<Value = Parts> {
    let outside = (bytes(20), any::<bool>(), prop::option::of(address()), bytes(40));
    let want = (any::<bool>(), any::<bool>()).prop_map(|(v4, v6)| Want { v4, v6 });
    let numbers = (prop::option::of(number()), prop::option::of(number()), number());
    let item = (any::<[u8; 32]>(), any::<[u8; 32]>(), bytes(1000));
    let found = (prop::option::of(bytes(40)), prop::collection::vec((id(), address()), 0..20));
    (outside, (id(), want, id()), numbers, item, found).prop_map(
        |(
            (transaction, read_only, observed, text),
            (id, want, target),
            numbers,
            (key, half, value),
            (token, nodes),
        )| {
            let mut signature = [0; 64];
            signature[..32].copy_from_slice(&half);
            Parts {
                transaction,
                read_only,
                observed,
                id,
                want,
                target,
                numbers,
                key,
                signature,
                value,
                token,
                nodes,
                text,
            }
        },
    )
}

proptest! {
    // Ten messages a case.
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn what_is_written_reads_the_same(parts in parts()) {
        parts.with_messages(|message| {
            let datagram = encoded(message);
            assert_eq!(Message::decode(&datagram), Some(*message));
        });
    }

    #[test]
    fn nodes_are_read_as_they_were_written(nodes in prop::collection::vec((id(), address()), 0..30)) {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (id, address) in &nodes {
            Nodes::push(if address.is_ipv4() { &mut v4 } else { &mut v6 }, *id, *address);
        }
        let (mut expected, others): (Vec<_>, Vec<_>) =
            nodes.iter().copied().partition(|(_, address)| address.is_ipv4());
        expected.extend(others);
        prop_assert_eq!(Nodes::new(&v4, &v6).iter().collect::<Vec<_>>(), expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_datagram_that_was_cut_off_is_no_message(parts in parts()) {
        parts.with_messages(|message| {
            let datagram = encoded(message);
            for length in 0..datagram.len() {
                assert_eq!(Message::decode(&datagram[..length]), None, "cut at {length}");
            }
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100_000))]

    #[test]
    fn no_bytes_make_the_reader_panic(datagram in bytes(200)) {
        hostile::check(&datagram);
    }

    #[test]
    fn nothing_that_looks_like_bencode_makes_the_reader_panic(
        pieces in prop::collection::vec(select(hostile::PIECES), 0..40),
    ) {
        hostile::check(&pieces.concat());
    }

    #[test]
    fn no_change_to_a_message_makes_the_reader_panic(
        kind in any::<Index>(),
        changes in prop::collection::vec((any::<Index>(), any::<u8>()), 1..4),
    ) {
        let mut datagram = kind.get(examples::ALL).to_vec();
        for (index, byte) in changes {
            let index = index.index(datagram.len());
            datagram[index] = byte;
        }
        hostile::check(&datagram);
    }
}
