//! DNS cookies as RFC 7873 section 5.2 has them answered, and the quotas that they open.

use hickory_proto::rr::RecordType;
use pkdns::{metrics::Reason, service::Transport};
use pkdns_testing::server::{keypair, query};

use super::{
    CLIENT, Door,
    messages::{
        BADCOOKIE, BADVERS, CLIENT_COOKIE, FORMERR, NOERROR, NOTIMP, REFUSED, code, cookie, has_edns,
        is_truncated, plain, with_cookie, with_options, without_question,
    },
};

/// The cookie of [`CLIENT`], both parts.
async fn learn(door: &Door) -> Vec<u8> {
    let reply = door.ask(&with_cookie(plain(), &CLIENT_COOKIE), Transport::Udp).await.unwrap();
    cookie(&reply).unwrap()
}

#[tokio::test]
async fn each_case_of_rfc_7873_section_5_2_is_answered_as_it_says() {
    let door = Door::new(|_| ());
    let valid = learn(&door).await;
    assert_eq!((valid.len(), &valid[..8]), (24, &CLIENT_COOKIE[..]));
    let mut invalid = valid.clone();
    invalid[23] ^= 1;
    let shortest = [&CLIENT_COOKIE[..], &[9; 8]].concat();
    let longest = [&CLIENT_COOKIE[..], &[9; 32]].concat();
    let malformed = |length| with_cookie(plain(), &vec![9; length]);
    for (what, request, expected, is_given) in [
        ("5.2.1: no OPT record", plain(), NOERROR, false),
        ("5.2.1: no cookie", with_options(plain(), &[]), NOERROR, false),
        ("5.2.2: no bytes", malformed(0), FORMERR, false),
        ("5.2.2: 7 bytes", malformed(7), FORMERR, false),
        ("5.2.2: 9 bytes", malformed(9), FORMERR, false),
        ("5.2.2: 15 bytes", malformed(15), FORMERR, false),
        ("5.2.2: 41 bytes", malformed(41), FORMERR, false),
        ("5.2.3: the client's part only", with_cookie(plain(), &CLIENT_COOKIE), NOERROR, true),
        ("5.2.4: not ours", with_cookie(plain(), &invalid), NOERROR, true),
        ("5.2.4: the shortest", with_cookie(plain(), &shortest), NOERROR, true),
        ("5.2.4: the longest", with_cookie(plain(), &longest), NOERROR, true),
        ("5.2.5: ours", with_cookie(plain(), &valid), NOERROR, true),
        (
            "5.4: no question, the client's part",
            with_cookie(without_question(), &CLIENT_COOKIE),
            NOERROR,
            true,
        ),
        ("5.4: no question, not ours", with_cookie(without_question(), &invalid), BADCOOKIE, true),
        ("5.4: no question, ours", with_cookie(without_question(), &valid), NOERROR, true),
        ("no question and no cookie", with_options(without_question(), &[]), FORMERR, false),
    ] {
        for transport in [Transport::Udp, Transport::Tcp, Transport::Tls] {
            // The second time the answer comes from the cache.
            for _ in 0..2 {
                let reply = door.ask(&request, transport).await.expect(what);
                assert_eq!(code(&reply), expected, "{what}");
                assert_eq!(cookie(&reply), is_given.then(|| valid.clone()), "{what}");
                assert_eq!(has_edns(&reply), request[11] == 1, "{what}");
                assert_eq!(reply[..2], request[..2], "{what}");
            }
        }
        // Over HTTP the address needs no proof.
        let reply = door.ask(&request, Transport::Http).await.expect(what);
        let expected = if request[5] == 0 { FORMERR } else { expected };
        assert_eq!((code(&reply), cookie(&reply)), (expected, None), "{what}");
    }
    let counted = &door.metrics.service.cookies;
    let counts = [&counted.none, &counted.new, &counted.invalid, &counted.valid].map(|counter| counter.get());
    // One more for what learned the cookie. What is malformed is none.
    assert_eq!(counts, [2 * 8, 2 * 2 + 1, 2 * 4, 2 * 2]);
}

#[tokio::test]
async fn whoever_is_served_gets_its_cookie_with_every_kind_of_reply() {
    let door = Door::new(|config| config.dht.enabled = false);
    let valid = learn(&door).await;
    let notify = |mut request: Vec<u8>| {
        request[2] = 4 << 3;
        request
    };
    let newer = |mut request: Vec<u8>| {
        let version = request.len() - 12 - 6;
        request[version + 1] = 1;
        request
    };
    let cookie_of = |request: Vec<u8>| with_cookie(request, &CLIENT_COOKIE);
    for (what, request, expected) in [
        ("absent key", cookie_of(query(&keypair(1).to_z32(), RecordType::A)), 3),
        ("nobody to ask", cookie_of(query("www.example.com", RecordType::A)), 2),
        ("a transfer", cookie_of(query("localhost", RecordType::AXFR)), REFUSED),
        ("another opcode", notify(cookie_of(plain())), NOTIMP),
        ("a version from the future", newer(cookie_of(plain())), BADVERS),
    ] {
        let reply = door.ask(&request, Transport::Udp).await.expect(what);
        assert_eq!((code(&reply), cookie(&reply)), (expected, Some(valid.clone())), "{what}");
    }
}

#[tokio::test]
async fn datagrams_over_quota_get_silence_and_now_and_then_the_way_back() {
    let door = Door::new(|config| {
        (config.rate_limit.requests_per_minute, config.rate_limit.burst_size) = (1, 50);
    });
    let valid = learn(&door).await;
    let mut invalid = valid.clone();
    invalid[23] ^= 1;
    door.forge(49, &plain()).await;
    // Of 300 each, a third.
    let edns = with_options(plain(), &[]);
    for request in [plain(), edns] {
        let replies = door.forge(300, &request).await;
        assert_eq!(replies.len(), 100);
        for reply in replies {
            assert!(is_truncated(&reply) && code(&reply) == NOERROR && reply.len() <= request.len());
        }
    }
    for cookies in [&CLIENT_COOKIE[..], &invalid] {
        let request = with_cookie(plain(), cookies);
        let replies = door.forge(300, &request).await;
        assert_eq!(replies.len(), 100);
        for reply in replies {
            assert_eq!((code(&reply), cookie(&reply)), (BADCOOKIE, Some(valid.clone())));
            assert!(reply.len() * 2 <= request.len() * 3);
        }
    }
    // Who asks for nothing but a cookie hears of it in the same way, and malformed requests are not answered.
    let replies = door.forge(300, &with_cookie(without_question(), &CLIENT_COOKIE)).await;
    assert_eq!(replies.len(), 100);
    assert!(replies.iter().all(|reply| code(reply) == NOERROR && cookie(reply).as_ref() == Some(&valid)));
    assert_eq!(door.forge(300, &with_cookie(plain(), &[1; 9])).await.len(), 0);
    assert_eq!(door.forge(300, &without_question()).await.len(), 0);

    let refused = |reason| door.metrics.refusals.count(reason);
    assert_eq!(refused(Reason::Truncated), 200);
    assert_eq!(refused(Reason::BadCookie), 200);
    assert_eq!(refused(Reason::QueryQuota), 5 * 200 + 600);
    // With the cookie the client has its own quota, which the flood has not touched.
    let mut answered = 0;
    while code(&door.ask(&with_cookie(plain(), &valid), Transport::Udp).await.unwrap()) == NOERROR {
        answered += 1;
    }
    assert_eq!(answered, 50);
    // Which it shares with its streams, and whose end is said and not kept silent: the address is no forged one.
    let reply = door.ask(&plain(), Transport::Tcp).await.unwrap();
    assert_eq!(code(&reply), REFUSED);
}

#[tokio::test]
async fn a_cookie_opens_nothing_for_another_address() {
    let door = Door::new(|config| {
        (config.rate_limit.requests_per_minute, config.rate_limit.burst_size) = (1, 2);
    });
    let request = with_cookie(plain(), &learn(&door).await);
    let other = "127.0.0.8".parse().unwrap();
    let mut answered = 0;
    for _ in 0..300 {
        let reply = door.ask_from(other, &request, Transport::Udp).await;
        answered += usize::from(reply.is_some_and(|reply| code(&reply) == NOERROR));
    }
    assert_eq!(answered, 2);
    assert_eq!(code(&door.ask_from(CLIENT, &request, Transport::Udp).await.unwrap()), NOERROR);
}

#[tokio::test]
async fn forged_datagrams_spend_no_lookup_of_the_client() {
    let door = Door::new(|config| {
        (config.rate_limit.dht_requests_per_minute, config.rate_limit.dht_burst_size) = (1, 5);
    });
    let valid = learn(&door).await;
    let key = |seed: u8| query(&keypair(seed).to_z32(), RecordType::A);
    let codes = async |seeds: std::ops::Range<u8>, cookie: Option<&[u8]>, transport| {
        let mut codes = Vec::new();
        for seed in seeds {
            let request = cookie.map_or_else(|| key(seed), |cookie| with_cookie(key(seed), cookie));
            codes.push(code(&door.ask(&request, transport).await.unwrap()));
        }
        codes
    };
    let forged = codes(1..21, None, Transport::Udp).await;
    assert_eq!(forged, [[3; 5].to_vec(), [REFUSED; 15].to_vec()].concat());
    assert_eq!(codes(21..23, None, Transport::Tcp).await, [3; 2]);
    assert_eq!(codes(23..24, None, Transport::Http).await, [3]);
    assert_eq!(codes(24..28, Some(&valid), Transport::Udp).await, [3, 3, REFUSED, REFUSED]);
    assert_eq!(door.metrics.refusals.count(Reason::LookupQuota), 17);
}

#[tokio::test]
async fn a_forwarder_asks_what_many_clients_may_ask() {
    let door = Door::new(|config| {
        (config.rate_limit.requests_per_minute, config.rate_limit.burst_size) = (1, 10);
        config.rate_limit.forwarders = vec!["127.0.0.7/32".parse().unwrap()];
    });
    let other = "127.0.0.8".parse().unwrap();
    for (address, expected) in [(CLIENT, 320), (other, 10)] {
        for transport in [Transport::Udp, Transport::Tcp] {
            let mut answered = 0;
            for _ in 0..1000 {
                let reply = door.ask_from(address, &plain(), transport).await;
                let is_answer = |reply: &Vec<u8>| code(reply) == NOERROR && !is_truncated(reply);
                answered += usize::from(reply.as_ref().is_some_and(is_answer));
            }
            assert_eq!(answered, expected, "{address} {transport:?}");
        }
    }
}
