use super::*;
use crate::edge::status::{DeniedStatus, ProcessStatus, ReloadStatus};

fn counted(counts: &[(&str, u64)]) -> Counts {
    counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

fn busy() -> Status {
    let upstream = |address: &str, state: &str| UpstreamStatus {
        address: address.into(),
        zone: ".".into(),
        state: state.into(),
        left_alone_seconds: (state == "left alone").then_some(31.7),
        latency_ms: Some(18.4),
        last_answer_seconds: Some(3),
        requests: counted(&[("answered", 12_345), ("unanswered", 17)]),
    };
    Status {
        version: "0.1.0".into(),
        process_id: 4242,
        uptime_seconds: 3 * 86_400 + 4 * 3600,
        ready: true,
        missing: Vec::new(),
        listening: vec!["udp 0.0.0.0:53".into(), "tcp 0.0.0.0:53".into(), "https 0.0.0.0:443".into()],
        queries: [
            ("udp".to_owned(), counted(&[("NOERROR", 1_234_567), ("NXDOMAIN", 4321)])),
            ("doh".to_owned(), counted(&[("NOERROR", 99), ("REFUSED", 0)])),
        ]
        .into(),
        unanswered: counted(&[("quota", 12)]),
        refusals: counted(&[("access", 3), ("query_quota", 12)]),
        caches: Caches {
            answer_hits: 900_000,
            answer_misses: 100_000,
            packets_in_memory: 5000,
            packets_on_disk: Some(80_000),
            disk_failed: false,
            shared_store_failed: Some(false),
        },
        dht: Some(DhtStatus {
            nodes: 65_536,
            requests: 5000,
            reply_share: Some(0.62),
            round_trip_ms: Some(121.4),
            lookups_in_flight: 2,
            lookups_queued: 0,
        }),
        upstreams: vec![upstream("tls://dns.quad9.net@9.9.9.9:853", "in use")],
        certificates: vec![CertificateStatus {
            names: vec!["dns.example.com".into()],
            expires_timestamp: 1_796_000_000,
            days_left: 60,
        }],
        connections: counted(&[("tcp", 2), ("https", 118)]),
        bridge: counted(&[("bridged", 7), ("absent", 0)]),
        tls_handshake_failures: counted(&[("closed", 4)]),
        denied: DeniedStatus {
            lists: vec![DenyListStatus {
                name: "/etc/pkdns/denied".into(),
                reason: "blocked".into(),
                keys: 1204,
                age_seconds: Some(61),
                fault: None,
            }],
            lookups: counted(&[("blocked", 17), ("filtered", 0)]),
        },
        last_reload: Some(ReloadStatus { seconds_ago: 61, succeeded: true }),
        process: ProcessStatus {
            resident_bytes: Some(83_000_000),
            open_descriptors: Some(190),
            max_descriptors: Some(65_536),
            cpu_seconds: Some(812.3),
        },
    }
}

#[test]
fn a_busy_server_fits_eighty_columns() {
    let expected = "\
pkdns         0.1.0, process 4242, ready
running for   3 d 4 h
listening     udp 0.0.0.0:53, tcp 0.0.0.0:53, https 0.0.0.0:443
answers       1,234,666 NOERROR, 4,321 NXDOMAIN
  over        1,238,888 udp, 99 doh
no answer     12 quota
refused       12 query_quota, 3 access
connections   118 https, 2 tcp
bridge        7 bridged
TLS failures  4 closed
caches        answers: 900,000 of 1,000,000 from the cache (90.0 %)
              packets: 5,000 in memory, 80,000 on disk
              Redis: in use
DHT           65,536 nodes; in the last minute 62 % of 5,000 requests answered,
              round trip 121 ms; 2 lookups under way, 0 waiting
upstream      tls://dns.quad9.net@9.9.9.9:853: in use, 18 ms, last answer 3 s
              ago; 12,345 answered, 17 unanswered
certificate   dns.example.com: until 30 Nov 2026, 60 days left
deny list     /etc/pkdns/denied: 1,204 keys blocked, as of 1 min 1 s ago
denied        17 blocked
last reload   1 min 1 s ago, in effect
process       83 MB of memory, 190 of 65,536 descriptors, 812.3 s of CPU
";
    assert_eq!(table(&busy()), expected);
    assert!(table(&busy()).lines().all(|line| line.chars().count() <= WIDTH));
}

#[test]
fn what_is_wrong_comes_with_what_to_do() {
    assert_eq!(hints(&busy()), [""; 0]);
    let mut broken = busy();
    broken.upstreams[0].state = "left alone".into();
    broken.certificates[0].days_left = -2;
    broken.certificates[0].names = vec!["\u{1b}[31mred.example".into()];
    broken.caches.disk_failed = true;
    broken.caches.shared_store_failed = Some(true);
    broken.process.open_descriptors = Some(60_000);
    broken.missing = vec!["the DHT has not answered in the last minute".into()];
    broken.ready = false;
    if let Some(dht) = &mut broken.dht {
        dht.reply_share = Some(0.1);
    }
    broken.denied.lists[0].fault = Some("its server says 404 Not Found".into());
    broken.last_reload = Some(ReloadStatus { succeeded: false, ..ReloadStatus::default() });
    let page = table(&broken);
    for words in [
        "not ready",
        "! the DHT has not answered",
        "! no upstream is in use: check the network",
        "! few DHT nodes answer",
        "ended 2 days ago",
        "?[31mred.example ends soon or has ended",
        "! packets are not kept on disk",
        "! the Redis that servers share",
        "! the deny list /etc/pkdns/denied is not up to date: its server says 404",
        "! the configuration was not read again",
        "! most descriptors are in use",
    ] {
        assert!(page.contains(words), "{words} is not in\n{page}");
    }
    assert!(page.lines().all(|line| line.chars().count() <= WIDTH), "{page}");
}

#[test]
fn a_server_that_has_just_started_is_shown() {
    let page = table(&Status::default());
    assert!(page.contains("answers       none\n") && page.contains("not asked yet"), "{page}");
    let odd = Status { listening: vec!["x".repeat(200)], ..Status::default() };
    assert!(table(&odd).contains(&"x".repeat(200)));
}

#[test]
fn numbers_and_times_are_written_for_people() {
    for (count, expected) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
        assert_eq!(number(count), expected);
    }
    for (seconds, expected) in [(59, "59 s"), (60, "1 min 0 s"), (3661, "1 h 1 min"), (90_000, "1 d 1 h")] {
        assert_eq!(time(seconds), expected);
    }
    assert_eq!(date(u64::MAX), "31 Dec 9999");
}
