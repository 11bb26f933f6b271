//! `/zone/<key>` and `/status` of a whole server.

use hickory_proto::rr::rdata::AAAA;
use pkdns_dht::signed_packet::SignedPacket;
use serde_json::Value;

use super::*;

const AS_JSON: [(&str, &str); 1] = [("accept", "application/json")];

fn path(seed: u8) -> String {
    format!("/zone/{}", keypair(seed).to_z32())
}

async fn json(server: &TestServer, path: &str) -> (u16, Value) {
    let reply = get(server, Version::HTTP_11, path, &AS_JSON).await;
    assert_eq!(reply.header("content-type"), "application/json", "{}", reply.text());
    (reply.status, serde_json::from_slice(&reply.body).unwrap())
}

#[tokio::test]
async fn a_zone_is_shown_with_what_is_answered_from_it() {
    let server = start();
    for version in VERSIONS {
        let reply = get(&server, version, &path(1), &[]).await;
        assert_eq!((reply.status, reply.header("content-type")), (200, "text/html; charset=utf-8"));
        let page = reply.text();
        for part in [
            "192.0.2.7",
            ">www<",
            "&quot;say \\&quot;hello\\&quot;&quot; &quot;world&quot;",
            "Verified",
            "of 1000 bytes",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
    }
    let (status, zone) = json(&server, &path(1)).await;
    assert_eq!((status, &zone["state"], &zone["key"]), (200, &"found".into(), &keypair(1).to_z32().into()));
    let packet = &zone["packet"];
    assert_eq!(
        (&packet["timestamp"], &packet["max_bytes"], &packet["stale"]),
        (&1.into(), &1000.into(), &false.into())
    );
    assert_eq!((&packet["source"], packet["signature"].as_str().unwrap().len()), (&"memory".into(), 128));
    let records = zone["records"].as_array().unwrap();
    assert_eq!(records.len(), 3);
    let apex = records.iter().find(|record| record["type"] == "A").unwrap();
    assert_eq!(
        (&apex["data"], &apex["signed_ttl"], &apex["answered"]),
        (&"192.0.2.7".into(), &120.into(), &true.into())
    );
    assert!(apex["ttl"].as_u64().unwrap() <= 120);
    assert_eq!(zone["history"][0]["timestamp"], 1);
    assert_eq!(server.network.lookups(), 1, "it was looked up once");
}

#[tokio::test]
async fn whatever_holds_a_key_leads_to_its_page() {
    let server = start();
    let key = keypair(1).to_z32();
    for typed in [
        key.clone(),
        key.to_uppercase(),
        format!("pk%3A{key}"),
        format!("+https%3A%2F%2Fwww.{key}.key%2Fa%3Fb+"),
        format!("pubky{key}"),
    ] {
        let reply = get(&server, Version::HTTP_11, &format!("/zone?name={typed}"), &[]).await;
        assert_eq!((reply.status, reply.header("location")), (303, &path(1)[..]), "{typed}");
    }
    let reply = get(&server, Version::HTTP_11, &format!("/zone/www.{key}.key"), &[]).await;
    assert_eq!((reply.status, reply.header("location")), (303, &path(1)[..]));
    for (typed, part) in [
        ("/zone?name=example.com", "no key in it"),
        ("/zone?name=", "Write or paste"),
        ("/zone/abc", "no key in it"),
    ] {
        let reply = get(&server, Version::HTTP_11, typed, &[]).await;
        assert_eq!(reply.status, 400, "{typed}");
        assert!(reply.text().contains(part), "{typed}: {}", reply.text());
    }
    assert_eq!(get(&server, Version::HTTP_11, "/zone", &[]).await.status, 200);
}

#[tokio::test]
async fn what_cannot_be_shown_has_a_status_and_a_word_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let list = directory.path().join("denied");
    std::fs::write(&list, keypair(4).to_z32()).unwrap();
    let server = start_with(|config| {
        config.denied_keys.blocked = vec![list.to_str().unwrap().parse().unwrap()];
    });
    let unreadable = SignedPacket::sign(&keypair(3), 17, b"not a DNS message").unwrap();
    server.network.publish(unreadable);
    for (seed, status, state) in [(2, 404, "absent"), (3, 200, "unreadable"), (4, 451, "denied")] {
        let (seen, zone) = json(&server, &path(seed)).await;
        assert_eq!((seen, &zone["state"]), (status, &state.into()), "{zone}");
        assert!(zone["error"].is_string(), "{zone}");
        let page = get(&server, Version::HTTP_11, &path(seed), &[]).await;
        assert_eq!((page.status, page.header("referrer-policy")), (status, "same-origin"));
    }
    server.network.fail(NetworkError::NotReady);
    let (status, zone) = json(&server, &path(5)).await;
    assert_eq!((status, &zone["state"]), (503, &"unreachable".into()));
    let reply = get(&server, Version::HTTP_11, &path(5), &[]).await;
    assert!(reply.text().contains("has not been joined yet") && !reply.header("retry-after").is_empty());
}

#[tokio::test]
async fn a_look_takes_from_both_quotas_of_its_visitor() {
    let server = start_with(|config| {
        (config.rate_limit.dht_requests_per_minute, config.rate_limit.dht_burst_size) = (1, 2);
    });
    assert_eq!(json(&server, &path(1)).await.0, 200);
    assert_eq!(json(&server, &path(2)).await.0, 404);
    let (status, zone) = json(&server, &path(3)).await;
    assert_eq!((status, &zone["state"]), (429, &"over_quota".into()));
    assert_eq!(json(&server, &path(1)).await.0, 200, "what is at hand takes no lookup");
    let counted = server.request(Version::HTTP_11, Method::POST, &path(1), &[], &[]).await;
    assert_eq!(counted.status, 429, "to count takes one");
    let server = start_with(|config| {
        (config.rate_limit.requests_per_minute, config.rate_limit.burst_size) = (1, 2);
    });
    assert_eq!([json(&server, &path(1)).await.0, json(&server, &path(1)).await.0], [200, 200]);
    assert_eq!(json(&server, &path(1)).await.0, 429);
}

#[tokio::test]
async fn nodes_are_counted_anew_for_the_page_itself_and_for_no_other_site() {
    let server = start();
    assert_eq!(json(&server, &path(1)).await.0, 200);
    let foreign = [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")];
    let post = async |headers: &[(&str, &str)]| {
        server.request(Version::HTTP_11, Method::POST, &path(1), headers, &[]).await
    };
    let before = server.network.lookups();
    assert_eq!(post(&foreign).await.status, 403);
    assert_eq!(server.network.lookups(), before);
    let owner = keypair(1);
    server.publish(
        &owner,
        2,
        &[record(&owner, "", 60, RData::AAAA(AAAA::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)))],
    );
    let reply = post(&[("sec-fetch-site", "same-origin")]).await;
    assert_eq!((reply.status, reply.header("location")), (303, &path(1)[..]));
    let (_, zone) = json(&server, &path(1)).await;
    assert_eq!(
        (&zone["packet"]["timestamp"], &zone["records"][0]["data"]),
        (&2.into(), &"2001:db8::1".into())
    );
    assert_eq!(
        (&zone["nodes"]["held"], &zone["nodes"]["responded"]),
        (&20.into(), &20.into()),
        "as the test network says"
    );
    let seen: Vec<_> =
        zone["history"].as_array().unwrap().iter().map(|version| &version["timestamp"]).collect();
    assert_eq!(seen, [&Value::from(2), &Value::from(1)]);
}

#[tokio::test]
async fn the_packet_is_to_be_had_as_relays_give_it() {
    let server = start();
    let reply = get(&server, Version::HTTP_11, &(path(1) + "/packet"), &[]).await;
    assert_eq!((reply.status, reply.header("content-type")), (200, "application/pkarr.org/relays#payload"));
    assert!(reply.header("content-disposition").contains(&format!("{}.pkarr", keypair(1).to_z32())));
    let packet = SignedPacket::from_payload(keypair(1).public_key(), &reply.body).unwrap();
    assert_eq!(packet.timestamp(), 1);
    assert_eq!(get(&server, Version::HTTP_11, &(path(2) + "/packet"), &[]).await.status, 404);
}

#[tokio::test]
async fn a_private_address_that_is_kept_back_is_shown_as_such() {
    let server = start_with(|config| config.rebind_protection.keys = true);
    let owner = keypair(6);
    let records = [record(&owner, "", 60, RData::A(A::new(192, 168, 1, 1)))];
    let packet = signed(&owner, 1, &records);
    server.network.publish(packet);
    assert_eq!(json(&server, &path(6)).await.1["records"][0]["answered"], false);
}

/// It is shown to whom the server answers, and to nobody else.
#[tokio::test]
async fn a_stranger_sees_no_zone() {
    let server = start_with(|config| config.access.allow = vec!["192.0.2.0/24".parse().unwrap()]);
    assert_eq!(get(&server, Version::HTTP_11, &path(1), &AS_JSON).await.status, 403);
    assert_eq!(server.network.lookups(), 0);
}

#[tokio::test]
async fn the_relay_leaves_the_pages_as_they_are() {
    let server = start_with(|config| config.relay.enabled = true);
    for (path, status) in
        [("/favicon.ico", 200), ("/robots.txt", 200), ("/nothing", 404), ("/metrics", 404), (&path(1), 200)]
    {
        let reply = get(&server, Version::HTTP_11, path, &[]).await;
        assert_eq!(reply.status, status, "{path}");
        assert!(!reply.text().contains("not a key"), "{path}: {}", reply.text());
        assert!(status != 404 || reply.text().contains("There is nothing here"), "{path}");
    }
}

#[tokio::test]
async fn the_status_is_for_this_machine_and_not_for_who_comes_through_it() {
    let server = start();
    let page = get(&server, Version::HTTP_11, "/status", &[]).await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    for part in ["How this server does", "Queries", "The Mainline DHT", "<svg class=\"plot\""] {
        assert!(page.text().contains(part), "{part}: {}", page.text());
    }
    let (status, all) = json(&server, "/status").await;
    assert_eq!((status, &all["last_hour"]["every_seconds"]), (200, &60.into()));
    assert_eq!(all["last_five_minutes"]["trends"][0]["name"], "queries");
    assert!(all["upstreams"].is_array() && all["version"].is_string(), "{all}");
    for headers in [
        // A proxy on this machine that is not trusted, and a page of elsewhere whose name leads here.
        [("x-forwarded-for", "198.51.100.1")],
        [("forwarded", "for=198.51.100.1")],
        [("x-real-ip", "198.51.100.1")],
        [("host", "evil.example")],
    ] {
        let reply = get(&server, Version::HTTP_11, "/status", &headers).await;
        assert!([403, 421].contains(&reply.status), "{headers:?}: {}", reply.status);
        assert!(!reply.text().contains("Mainline"), "{headers:?}");
    }
    // With everybody served, pages of elsewhere may read answers; this they may not.
    let public = start_with(|config| config.access.allow = vec!["0.0.0.0/0".parse().unwrap()]);
    let reply = get(&public, Version::HTTP_11, "/status", &[("host", "evil.example")]).await;
    assert_eq!(reply.status, 403);
    let nobody = start_with(|config| config.status.allow = Vec::new());
    assert_eq!(get(&nobody, Version::HTTP_11, "/status", &[]).await.status, 403);
}

/// A proxy that does not say for whom it asks has the address of this machine, and so would all of its clients.
#[tokio::test]
async fn a_trusted_proxy_that_names_nobody_does_not_open_the_status() {
    let server = start_with(|config| config.doh.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()]);
    assert_eq!(get(&server, Version::HTTP_11, "/status", &[]).await.status, 403);
    let named = [("x-forwarded-for", "198.51.100.1")];
    assert_eq!(get(&server, Version::HTTP_11, "/status", &named).await.status, 403);
    let own = [("x-forwarded-for", "127.0.0.2")];
    assert_eq!(get(&server, Version::HTTP_11, "/status", &own).await.status, 200);
}
