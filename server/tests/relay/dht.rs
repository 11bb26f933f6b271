//! What nodes of the DHT hold decides, also where this server knows nothing of the key yet.

use super::{world::World, *};

async fn send(
    world: &World,
    method: Method,
    packet: &SignedPacket,
    suffix: &str,
    if_match: Option<u64>,
) -> Reply {
    let path = format!("/{}{suffix}", packet.key().to_z32());
    let header = if_match.map(|timestamp| ("if-match", timestamp.to_string()));
    let headers: Vec<_> = header.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let body = if method == Method::PUT { packet.to_payload() } else { Vec::new() };
    world.server.request(Version::HTTP_11, method, &path, &headers, &body).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_server_has_published_is_found_and_not_undone() {
    let first = World::start().await;
    for (seed, other, if_match, status) in [
        (1, (SIGNED, 5), None, 204),
        (2, (SIGNED - 1, 5), None, 409),
        (3, (SIGNED, 4), None, 409),
        (4, (SIGNED, 6), None, 409),
        (5, (SIGNED + 1, 6), Some(SIGNED - 1), 412),
        (6, (SIGNED + 1, 6), Some(SIGNED), 204),
        (7, (SIGNED + 1, 6), None, 204),
    ] {
        let published = packet(seed, SIGNED, 5);
        let reply = send(&first, Method::PUT, &published, "", None).await;
        assert_eq!(reply.status, 204, "{}", reply.text());
        let nodes: u32 = reply.header("pkarr-dht-stored-nodes").parse().unwrap();
        assert!(nodes >= 10, "{nodes} nodes");
        let second = first.beside();
        let other = packet(seed, other.0, other.1);
        let reply = send(&second, Method::PUT, &other, "", if_match).await;
        assert_eq!(reply.status, status, "{seed}: {}", reply.text());
        let newest = if status == 204 { other } else { published };
        for (world, policy) in [(&second, "CacheFirst"), (&first, "NetworkOnly")] {
            let reply = send(world, Method::GET, &newest, &format!("?policy={policy}"), None).await;
            assert_eq!(reply.body, newest.to_payload(), "{seed}, {policy}: {}", reply.text());
        }
    }
}
