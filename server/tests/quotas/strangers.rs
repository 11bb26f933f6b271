//! Who is not served may be a forged address: it gets hardly more than was sent in its name.

use pkdns::service::Transport;
use proptest::{prelude::*, test_runner::TestRunner};

use super::{
    Door,
    messages::{CLIENT_COOKIE, REFUSED, code, cookie, plain, with_cookie, with_options},
};

fn door() -> Door {
    Door::new(|config| {
        config.access.deny = vec!["127.0.0.0/8".parse().unwrap()];
        (config.rate_limit.requests_per_minute, config.rate_limit.burst_size) =
            (1_000_000_000, 1_000_000_000);
    })
}

/// A query with some name, header, options and garbage, of which a byte may be another one.
fn any_query() -> impl Strategy<Value = Vec<u8>> {
    let label = prop::collection::vec(any::<u8>(), 1..64);
    let name = prop::collection::vec(label, 0..4);
    let option = (
        prop::sample::select(vec![3_u16, 8, 10, 11, 12, 15, 65_001]),
        prop::collection::vec(any::<u8>(), 0..41),
    );
    let options = prop::option::of(prop::collection::vec(option, 0..4));
    let change = prop::option::of((any::<prop::sample::Index>(), any::<u8>()));
    let garbage = prop::collection::vec(any::<u8>(), 0..20);
    (name, any::<[u8; 4]>(), options, change, garbage).prop_map(|(name, tail, options, change, garbage)| {
        let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in &name {
            bytes.push(label.len() as u8);
            bytes.extend_from_slice(label);
        }
        bytes.push(0);
        bytes.extend_from_slice(&tail);
        if let Some(options) = options {
            let data = options.iter().flat_map(|(code, data)| {
                [&code.to_be_bytes()[..], &(data.len() as u16).to_be_bytes(), data].concat()
            });
            let data: Vec<u8> = data.collect();
            bytes[11] = 1;
            bytes.extend_from_slice(&[0, 0, 41, 0x04, 0xd0, 0, 0, 0]);
            bytes.push(0);
            bytes.extend_from_slice(&(data.len() as u16).to_be_bytes());
            bytes.extend_from_slice(&data);
        }
        bytes.extend_from_slice(&garbage);
        if let Some((at, byte)) = change {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    })
}

#[tokio::test]
async fn a_denied_client_gets_at_most_one_and_a_half_times_what_it_sent() {
    let door = door();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let check = move || {
        TestRunner::new(ProptestConfig::with_cases(20_000))
            .run(&any_query(), |request| {
                if let Some(reply) = runtime.block_on(door.ask(&request, Transport::Udp)) {
                    let (sent, got) = (request.len(), reply.len());
                    prop_assert!(got * 2 <= sent * 3, "{sent} bytes out, {got} back");
                    prop_assert_eq!((code(&reply), cookie(&reply)), (REFUSED, None));
                }
                Ok(())
            })
            .unwrap();
    };
    std::thread::spawn(check).join().unwrap();
}

#[tokio::test]
async fn streams_and_those_who_are_served_are_told_why() {
    let denied = door();
    let request = with_cookie(plain(), &CLIENT_COOKIE);
    for (transport, has_text) in [(Transport::Udp, false), (Transport::Tcp, true), (Transport::Tls, true)] {
        let reply = denied.ask(&request, transport).await.unwrap();
        let error = pkdns::message::read_message(&reply).unwrap().extended_error.unwrap();
        assert_eq!((error.code, !error.text.is_empty(), cookie(&reply)), (18, has_text, None));
    }
    let served = Door::new(|_| ());
    let class = |mut request: Vec<u8>| {
        request[26] = 77;
        request
    };
    let reply = served.ask(&class(with_options(plain(), &[])), Transport::Udp).await.unwrap();
    let error = pkdns::message::read_message(&reply).unwrap().extended_error.unwrap();
    assert_eq!(code(&reply), REFUSED);
    assert!(!error.text.is_empty());
}

#[tokio::test]
async fn a_denied_client_over_quota_gets_nothing() {
    let door = Door::new(|config| {
        config.access.deny = vec!["127.0.0.0/8".parse().unwrap()];
        (config.rate_limit.requests_per_minute, config.rate_limit.burst_size) = (1, 5);
    });
    assert_eq!(door.forge(300, &plain()).await.len(), 5);
    assert_eq!(door.forge(300, &with_cookie(plain(), &CLIENT_COOKIE)).await.len(), 0);
}
