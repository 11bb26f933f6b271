//! Rows about what is served over HTTP.

use std::fs;

use hickory_proto::rr::RecordType;
use pkdns_testing::server::query;

use super::{
    options::{Row, row},
    probes::{Probe, gets, over_udp, probe, response, two},
    stage::key,
};

const HTTP: &str = "doh.plain_listen = ['127.0.0.1:0']\n";

/// A client that is not served.
const FORWARDED: &str = "x-forwarded-for: 203.0.113.9\r\n";
const REAL_IP: &str = "x-real-ip: 203.0.113.9\r\n";

pub(crate) fn rows() -> Vec<Row> {
    let page = |headers: &'static str| move || gets("/", headers);
    let relay = "doh.plain_listen = ['127.0.0.1:0']\nrelay.enabled = true\n";
    let own = "doh.plain_listen = ['127.0.0.1:0']\ndoh.enabled = true\ndoh.listen = '127.0.0.1:0'\ncertificate.path = '{dir}/one'\n";
    let dot = "dot.enabled = true\ndot.listen = '127.0.0.1:0'\ndoh.cert_path = '{dir}/a.pem'\ndoh.key_path = '{dir}/a.key'\n";
    vec![
        row(
            &["doh.trusted_proxies"],
            HTTP,
            "doh.trusted_proxies = ['127.0.0.0/8']",
            page(FORWARDED),
            ["200", "403"],
        ),
        row(
            &["doh.client_address_header"],
            format!("{HTTP}doh.trusted_proxies = ['127.0.0.0/8']"),
            "doh.client_address_header = 'X-Real-IP'",
            page(REAL_IP),
            ["200", "403"],
        ),
        row(
            &["doh.hosts"],
            HTTP,
            "doh.hosts = ['dns.example']",
            page("host: dns.example\r\n"),
            ["421", "200"],
        ),
        row(
            &["operator.contact"],
            HTTP,
            "operator.contact = 'mailto:abuse@example.net'",
            || gets("/abuse", ""),
            ["404", "200"],
        ),
        row(&["status.allow"], HTTP, "status.allow = []", || gets("/status", ""), ["200", "403"]),
        notice(&["operator.name"], "name = 'Example'", "This is a DNS server of Example."),
        notice(&["operator.policy"], "policy = 'https://example.net/policy'", "https://example.net/policy"),
        row(
            &["relay.enabled"],
            HTTP,
            "relay.enabled = true",
            || gets(format!("/{}", key().to_z32()), ""),
            ["404", "200"],
        ),
        row(
            &["relay.reads_per_minute"],
            format!("{relay}relay.reads_per_minute = 1\nrelay.read_burst_size = 1"),
            "relay.reads_per_minute = 0",
            || two("GET"),
            ["200 429", "200 200"],
        ),
        row(
            &["relay.read_burst_size"],
            format!("{relay}relay.reads_per_minute = 1\nrelay.read_burst_size = 1"),
            "relay.read_burst_size = 2",
            || two("GET"),
            ["200 429", "200 200"],
        ),
        row(
            &["relay.writes_per_minute"],
            format!("{relay}relay.writes_per_minute = 1\nrelay.write_burst_size = 1"),
            "relay.writes_per_minute = 0",
            || two("PUT"),
            ["400 429", "400 400"],
        ),
        row(
            &["relay.write_burst_size"],
            format!("{relay}relay.writes_per_minute = 1\nrelay.write_burst_size = 1"),
            "relay.write_burst_size = 2",
            || two("PUT"),
            ["400 429", "400 400"],
        ),
        row(&["certificate.names"], dot, "certificate.names = ['dns.example']", designated, ["0", "1"]),
        // Files come first.
        row(
            &["certificate.self_signed"],
            format!("{own}doh.cert_path = '{{dir}}/a.pem'\ndoh.key_path = '{{dir}}/a.key'"),
            "certificate.self_signed = true\ndoh.cert_path = '-'\ndoh.key_path = '-'",
            || gets("/ca.pem", ""),
            ["404", "200"],
        ),
        row(
            &["certificate.path"],
            format!("{own}certificate.self_signed = true"),
            "certificate.path = '{dir}/two'",
            authority,
            ["one", "two"],
        ),
    ]
}

/// A part of the page that tells how to report a key.
fn notice(options: &'static [&'static str], setting: &str, part: &'static str) -> Row {
    let look = move || {
        probe(move |stage| {
            Box::pin(async move {
                let (_, page) = response(stage.address("http"), "GET", "/abuse", "").await;
                if page.contains(part) { "there".into() } else { "not there".into() }
            })
        })
    };
    let before = format!("{HTTP}operator.contact = 'mailto:abuse@example.net'");
    row(options, before, format!("operator.{setting}"), look, ["not there", "there"])
}

/// How many encrypted addresses clients are told of.
fn designated() -> Probe {
    probe(|stage| {
        Box::pin(async move {
            let question = query("_dns.resolver.arpa", RecordType::SVCB);
            let reply = over_udp(stage.address("udp"), &question).await;
            reply.matches("dns.example").count().to_string()
        })
    })
}

/// In which directory the authority is that clients are told to import.
fn authority() -> Probe {
    probe(|stage| {
        Box::pin(async move {
            let (_, body) = response(stage.address("http"), "GET", "/ca.pem", "").await;
            let is_in = |directory: &&str| {
                fs::read_to_string(stage.world.path(directory).join("ca.pem")).is_ok_and(|pem| pem == body)
            };
            ["one", "two"].into_iter().find(is_in).unwrap_or("none").into()
        })
    })
}
