//! What one server stores, others find.

use std::time::{Duration, SystemTime};

use pkdns_testing::wait::eventually;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::time::sleep;

use crate::{
    Store, fresh, keypair, name_of, packet,
    redis_server::{RedisServer, free_port},
};

#[tokio::test]
async fn a_packet_that_one_server_stores_is_found_by_another() {
    let Some(redis) = RedisServer::start(&[]) else { return };
    let (one, other) = (Store::new(&redis.url()), Store::new(&redis.url()));
    let key = keypair(1).public_key();
    assert_eq!(other.get(&key).await, None);
    for (timestamp, dns) in (1_700_000_000_000_000..).zip([&b""[..], &[0; 1000], b"\r\n$-1\r\n"]) {
        let stored = fresh(packet(&keypair(1), timestamp, dns));
        one.put(&stored).await;
        assert_eq!(other.get(&key).await, Some(stored));
    }
    assert_eq!(other.get(&keypair(2).public_key()).await, None);
    let lookups = &other.metrics.lookups;
    assert_eq!((lookups.found.get(), lookups.absent.get(), lookups.rejected.get()), (3, 2, 0));
}

#[tokio::test]
async fn databases_are_apart() {
    let Some(redis) = RedisServer::start(&[]) else { return };
    let (one, other) = (Store::new(&redis.url()), Store::new(&format!("{}/1", redis.url())));
    one.put(&fresh(packet(&keypair(1), 7, b"dns"))).await;
    assert_eq!(other.get(&keypair(1).public_key()).await, None);
}

#[tokio::test]
async fn a_packet_leaves_redis_when_its_time_is_over() {
    let Some(redis) = RedisServer::start(&[]) else { return };
    let store = Store::new(&redis.url());
    let key = keypair(1).public_key();
    let name = name_of(&key);
    let mut stored = fresh(packet(&keypair(1), 7, b"dns"));
    store.put(&stored).await;
    let left: i64 = redis.say(&[b"PTTL", name.as_bytes()]);
    assert!((1..=3_600_000).contains(&left), "{left}");
    stored.fresh_until = SystemTime::now() + Duration::from_secs(2);
    store.put(&stored).await;
    let left: i64 = redis.say(&[b"PTTL", name.as_bytes()]);
    assert!(left <= 2000, "{left}");
    eventually("it comes to that", async || !redis.say::<bool>(&[b"EXISTS", name.as_bytes()])).await;
    assert_eq!(store.get(&key).await, None);
    // What is over already is not even sent.
    store.put(&stored).await;
    assert!(!redis.say::<bool>(&[b"EXISTS", name.as_bytes()]));
}

#[tokio::test]
async fn an_older_packet_never_replaces_a_newer_one() {
    let Some(redis) = RedisServer::start(&[]) else { return };
    let (one, other) = (Store::new(&redis.url()), Store::new(&redis.url()));
    // Beyond what a double holds exactly, and bytes that a locale or a signed comparison would put in another order.
    for (number, older, newer) in [
        (1, 1, 2),
        (2, (1 << 53) + 1, (1 << 53) + 2),
        (3, i64::MAX as u64 - 1, i64::MAX as u64),
        (4, 0x7f, 0x80),
        (5, 0x00ff, 0x0100),
        (6, 0x41ff, 0x6100),
        (7, 0x5a00, 0x6100),
        (8, 0x7fff_ffff, 0x8000_0000),
        (9, 0, 1),
    ] {
        let keypair = keypair(number);
        let [older, newer] = [older, newer].map(|timestamp| fresh(packet(&keypair, timestamp, b"dns")));
        one.put(&older).await;
        other.put(&newer).await;
        one.put(&older).await;
        assert_eq!(one.get(&keypair.public_key()).await, Some(newer), "{number}");
    }
    assert_eq!(one.metrics.puts.outdated.get(), 9);
}

#[tokio::test]
async fn of_two_packets_of_one_time_all_servers_keep_the_same() {
    let Some(redis) = RedisServer::start(&[]) else { return };
    let store = Store::new(&redis.url());
    for (number, lesser, greater) in
        [(1, &b"a"[..], &b"b"[..]), (2, b"a", b"a\0"), (3, b"", b"\0"), (4, b"\x7f", b"\x80")]
    {
        let keypair = keypair(number);
        let [lesser, greater] = [lesser, greater].map(|dns| fresh(packet(&keypair, 7, dns)));
        assert!(greater.packet.is_newer_than(&lesser.packet));
        for next in [&lesser, &greater, &lesser] {
            store.put(next).await;
        }
        assert_eq!(store.get(&keypair.public_key()).await, Some(greater), "{number}");
    }
}

#[tokio::test]
async fn the_same_packet_seen_again_is_fresh_for_longer() {
    let Some(redis) = RedisServer::start(&[]) else { return };
    let store = Store::new(&redis.url());
    let first = fresh(packet(&keypair(1), 7, b"dns"));
    let mut again = first.clone();
    again.fresh_until += Duration::from_secs(60);
    store.put(&first).await;
    store.put(&again).await;
    assert_eq!(store.get(&keypair(1).public_key()).await, Some(again));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_packet_remains_when_servers_race() {
    let Some(redis) = RedisServer::start(&[]) else { return };
    let stores = [Store::new(&redis.url()), Store::new(&redis.url())];
    let newest = fresh(packet(&keypair(1), 1000, b"dns"));
    for store in &stores {
        store.put(&fresh(packet(&keypair(1), 1, b"dns"))).await;
    }
    let before: Vec<_> = stores.iter().map(|store| store.taken() + store.lost()).collect();
    for at in 0..400u64 {
        // Every timestamp up to 1000 at most, in no order; the newest in the midst of them.
        let timestamp = at * 617 % 997;
        let next = if at == 200 { newest.clone() } else { fresh(packet(&keypair(1), timestamp, b"dns")) };
        stores[usize::from(at % 2 == 1)].store.put(next);
    }
    eventually("it comes to that", async || {
        !stores.iter().zip(&before).any(|(store, before)| store.taken() + store.lost() < before + 200)
    })
    .await;
    // It may have been among those that a machine under load has lost.
    stores[0].put(&newest).await;
    stores[1].put(&fresh(packet(&keypair(1), 999, b"dns"))).await;
    assert_eq!(stores[1].get(&keypair(1).public_key()).await, Some(newest));
}

#[tokio::test]
async fn a_password_is_needed_where_there_is_one() {
    let Some(redis) = RedisServer::start(&["--requirepass", "pass:w@rd/"]) else { return };
    let stored = fresh(packet(&keypair(1), 7, b"dns"));
    let store = Store::new(&format!("redis://:pass%3Aw%40rd%2F@127.0.0.1:{}", redis.port));
    store.put(&stored).await;
    assert_eq!(store.get(&keypair(1).public_key()).await, Some(stored.clone()));
    for login in ["", ":wrong@", "someone:pass%3Aw%40rd%2F@"] {
        let store = Store::new(&format!("redis://{login}127.0.0.1:{}", redis.port));
        for _ in 0..20 {
            assert_eq!(store.store.get(&keypair(1).public_key()).await, None);
            sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(store.metrics.lookups.absent.get(), 0);
    }
}

/// The rights that the operator's manual names.
#[tokio::test]
async fn a_user_with_the_least_rights_is_enough() {
    let rights = ["~pkdns:packet:*", "+getrange", "+set", "+eval", "+ping"];
    let manual = include_str!("../../../docs/operating.md");
    assert!(manual.replace('\'', "").contains(&format!("resetkeys {}\n", rights.join(" "))));
    let Some(redis) = RedisServer::start(&[]) else { return };
    let words = ["ACL", "SETUSER", "pkdns", "on", ">secret"].into_iter().chain(rights);
    redis.say::<()>(&words.map(str::as_bytes).collect::<Vec<_>>());
    redis.say::<()>(&[b"ACL", b"SETUSER", b"default", b"off"]);
    let store = Store::new(&format!("redis://pkdns:secret@127.0.0.1:{}", redis.port));
    let stored = fresh(packet(&keypair(1), 7, b"dns"));
    store.put(&stored).await;
    assert_eq!(store.get(&keypair(1).public_key()).await, Some(stored));
}

#[tokio::test]
async fn a_socket_in_the_file_system_will_do() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("redis.sock");
    let Some(_redis) = RedisServer::start(&["--unixsocket", path.to_str().unwrap()]) else { return };
    let store = Store::new(&format!("unix://{}", path.display()));
    let stored = fresh(packet(&keypair(1), 7, b"dns"));
    store.put(&stored).await;
    assert_eq!(store.get(&keypair(1).public_key()).await, Some(stored));
}

#[tokio::test]
async fn the_certificate_of_a_redis_is_checked() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name| directory.path().join(name);
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let certificate = server.signed_by(&key, &authority).unwrap();
    std::fs::write(path("ca.pem"), authority.pem()).unwrap();
    std::fs::write(path("cert.pem"), certificate.pem()).unwrap();
    std::fs::write(path("key.pem"), key.serialize_pem()).unwrap();
    let port = free_port();
    let tls_port = port.to_string();
    let [ca, certificate, key] =
        ["ca.pem", "cert.pem", "key.pem"].map(|name| path(name).display().to_string());
    let arguments = [
        ["--tls-port", &tls_port],
        ["--tls-ca-cert-file", &ca],
        ["--tls-cert-file", &certificate],
        ["--tls-key-file", &key],
        ["--tls-auth-clients", "no"],
    ];
    let Some(_redis) = RedisServer::start(arguments.as_flattened()) else { return };
    let url = format!("rediss://127.0.0.1:{port}");
    let trusting = Store::trusting(&url, Some(&path("ca.pem")));
    let stored = fresh(packet(&keypair(1), 7, b"dns"));
    trusting.put(&stored).await;
    assert_eq!(trusting.get(&keypair(1).public_key()).await, Some(stored));
    let doubtful = Store::new(&url);
    for _ in 0..20 {
        assert_eq!(doubtful.store.get(&keypair(1).public_key()).await, None);
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(doubtful.metrics.lookups.absent.get(), 0);
}
