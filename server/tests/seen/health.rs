//! `/healthz` and `/readyz` as a load balancer meets them.

use pkdns::config::Config;
use pkdns_testing::server::Upstream;

use crate::server::Seen;

/// An upstream that says nothing yet.
pub(crate) fn silent() -> Upstream {
    let upstream = Upstream::denying();
    upstream.silence(true);
    upstream
}

#[tokio::test]
async fn a_server_is_ready_once_an_upstream_has_answered_and_says_what_is_missing_to_those_who_see_metrics() {
    let upstream = silent();
    let server = Seen::start(&[&upstream], |_| ());
    for address in [server.http(), server.pages()] {
        assert_eq!(server.get(address, "/healthz").await, (200, "ok\n".into()));
    }
    assert_eq!(server.get(server.http(), "/readyz").await, (503, "not ready\n".into()));
    let reason = format!("the upstream {} has not answered in the last minute", upstream.address);
    assert_eq!(server.get(server.pages(), "/readyz").await, (503, format!("not ready\n- {reason}\n")));
    let json = server.get_as(server.pages(), "/readyz", "pkdns", "application/json").await;
    let expected = serde_json::json!({ "ready": false, "stopping": false, "missing": [reason] });
    assert_eq!((json.0, serde_json::from_str(&json.1).ok()), (503, Some(expected)));
    upstream.silence(false);
    // Nobody asks anything but the server itself.
    server.wait_until_ready(server.pages(), "/readyz").await;
    server.wait_until_ready(server.http(), "/readyz").await;
}

#[tokio::test]
async fn one_of_two_upstreams_is_enough_unless_all_are_wanted() {
    let (one, other) = (Upstream::denying(), silent());
    let server = Seen::start(&[&one, &other], |_| ());
    let missing = format!("the upstream {} has not answered", other.address);
    server.wait_for(server.pages(), "/readyz?all", &missing).await;
    server.wait_until_ready(server.http(), "/readyz").await;
    assert_eq!(server.get(server.http(), "/readyz?all=1").await, (503, "not ready\n".into()));
    other.silence(false);
    server.wait_until_ready(server.http(), "/readyz?all").await;
}

#[tokio::test]
async fn who_is_served_nothing_else_learns_whether_the_server_is_ready_and_no_more() {
    let upstream = silent();
    let only_others = |config: &mut Config| config.access.allow = vec!["192.0.2.0/24".parse().unwrap()];
    let server = Seen::start(&[&upstream], only_others);
    for (address, path, expected) in [
        (server.http(), "/healthz", (200, "ok\n")),
        (server.http(), "/readyz", (503, "not ready\n")),
        (server.pages(), "/readyz?all", (503, "not ready\n")),
    ] {
        assert_eq!(server.get(address, path).await, (expected.0, expected.1.into()), "{path}");
    }
    assert_eq!(server.get(server.pages(), "/metrics").await.0, 403);
}

#[tokio::test]
async fn a_health_check_may_name_any_host_and_no_quota_of_queries_is_spent_on_it() {
    let upstream = Upstream::denying();
    let server = Seen::start(&[&upstream], |config| {
        (config.rate_limit.requests_per_minute, config.rate_limit.burst_size) = (1, 1);
    });
    for _ in 0..10 {
        let answer = server.get_as(server.http(), "/healthz", "balancer.example.com", "*/*").await;
        assert_eq!(answer, (200, "ok\n".into()));
    }
    assert_eq!(server.get_as(server.http(), "/", "balancer.example.com", "*/*").await.0, 421);
}

#[tokio::test]
async fn a_certificate_that_has_ended_makes_a_server_unready() {
    let (directory, upstream) = (tempfile::tempdir().unwrap(), Upstream::denying());
    let paths = ["cert.pem", "key.pem"].map(|name| directory.path().join(name));
    let key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(vec!["dns.example".to_owned()]).unwrap();
    parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(2020, 6, 1);
    std::fs::write(&paths[0], parameters.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(&paths[1], key.serialize_pem()).unwrap();
    let server = Seen::start(&[&upstream], |config| {
        config.dot.enabled = true;
        config.dot.listen = vec![(std::net::Ipv4Addr::LOCALHOST, 0).into()];
        let [certificate, key] = paths;
        (config.dot.cert_path, config.dot.key_path) = (Some(certificate), Some(key));
    });
    server.wait_for(server.pages(), "/readyz", "- the certificate for dns.example has ended\n").await;
    server.code("example.com").await;
    assert_eq!(server.get(server.http(), "/readyz").await.0, 503);
}
