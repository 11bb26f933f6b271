//! Rows about how much there may be, and for how long.

use std::time::Duration;

use hickory_proto::rr::RecordType;
use pkdns_dht::NetworkError;
use pkdns_testing::server::{keypair, query};
use tokio::time::sleep;

use super::{
    options::{BRIDGE, Row, row},
    probes::{
        Probe, answered_of_five, is_asked_for_again, lookups_of_three, metric, open_of_four, over_udp, probe,
        without_proxy_header,
    },
};

const TLS: &str = "doh.cert_path = '{dir}/a.pem'\ndoh.key_path = '{dir}/a.key'\ndot.enabled = true\ndot.listen = '127.0.0.1:0'\n";
const TRUSTED: &str = "doh.trusted_proxies = ['127.0.0.0/8']\n";

pub(crate) fn rows() -> Vec<Row> {
    let few = "rate_limit.requests_per_minute = 1\nrate_limit.burst_size = 2";
    let few_lookups = "rate_limit.dht_requests_per_minute = 1\nrate_limit.dht_burst_size = 1";
    vec![
        row(
            &["rate_limit.requests_per_minute"],
            few,
            "rate_limit.requests_per_minute = 0",
            answered_of_five,
            ["2", "5"],
        ),
        row(&["rate_limit.burst_size"], few, "rate_limit.burst_size = 4", answered_of_five, ["2", "4"]),
        row(
            &["rate_limit.forwarders"],
            few,
            "rate_limit.forwarders = ['127.0.0.0/8']",
            answered_of_five,
            ["2", "5"],
        ),
        row(
            &["rate_limit.dht_requests_per_minute"],
            few_lookups,
            "rate_limit.dht_requests_per_minute = 0",
            || lookups_of_three(100),
            ["1", "3"],
        ),
        row(
            &["rate_limit.dht_burst_size"],
            few_lookups,
            "rate_limit.dht_burst_size = 2",
            || lookups_of_three(100),
            ["1", "2"],
        ),
        row(
            &["connections_per_client"],
            "connections_per_client = 1",
            "connections_per_client = 3",
            || open_of_four("tcp"),
            ["1", "3"],
        ),
        row(
            &["dot.connections_per_client"],
            format!("{TLS}dot.connections_per_client = 1"),
            "dot.connections_per_client = 3",
            || open_of_four("tls"),
            ["1", "3"],
        ),
        row(
            &["doh.connections_per_client"],
            "doh.plain_listen = ['127.0.0.1:0']\ndoh.connections_per_client = 1",
            "doh.connections_per_client = 3",
            || open_of_four("http"),
            ["1", "3"],
        ),
        row(
            &["doh.max_connections"],
            "doh.plain_listen = ['127.0.0.1:0']\ndoh.max_connections = 4\ndoh.connections_per_client = 2",
            "doh.max_connections = 1",
            || open_of_four("http"),
            ["2", "1"],
        ),
        row(
            &["bridge.max_connections"],
            format!(
                "{BRIDGE}bridge.plain_listen = ['127.0.0.1:0']\nconnections_per_client = 2\nbridge.max_connections = 4"
            ),
            "bridge.max_connections = 1",
            || open_of_four("bridge-http"),
            ["2", "1"],
        ),
        row(
            &["proxy_protocol"],
            format!("{TRUSTED}proxy_protocol = false"),
            "proxy_protocol = true",
            || without_proxy_header("tcp"),
            ["NoError 192.0.2.53", "closed"],
        ),
        row(
            &["dot.proxy_protocol"],
            format!("{TRUSTED}{TLS}dot.proxy_protocol = false"),
            "dot.proxy_protocol = true",
            || without_proxy_header("tls"),
            ["NoError 192.0.2.53", "refused"],
        ),
        row(
            &["doh.proxy_protocol"],
            format!("{TRUSTED}doh.plain_listen = ['127.0.0.1:0']\ndoh.proxy_protocol = false"),
            "doh.proxy_protocol = true",
            || without_proxy_header("http"),
            ["200", "closed"],
        ),
        row(
            &["cache.max_entries"],
            "",
            "cache.max_entries = 1",
            || metric("pkdns_packets_in_memory "),
            ["3", "1"],
        ),
        again(&["cache.ttl_seconds"], "", "cache.ttl_seconds = 1", 3),
        again(&["cache.max_ttl_seconds"], "cache.ttl_seconds = 1", "cache.max_ttl_seconds = 1", 2),
        again(&["cache.negative_ttl_seconds"], "", "cache.negative_ttl_seconds = 1", 50),
        Row {
            options: &["cache.max_stale_seconds"],
            before: "cache.ttl_seconds = 1\ncache.max_ttl_seconds = 1".into(),
            after: "cache.max_stale_seconds = 0".into(),
            look: [past_its_time(), past_its_time()],
            seen: ["NoError 192.0.2.2", "ServFail"],
        },
    ]
}

/// A packet, or the absence of one, that is held for minutes before, and for a second after. What is held keeps its time, so
/// that the second look is at another key.
fn again(options: &'static [&'static str], before: &str, after: &str, seed: u8) -> Row {
    Row {
        options,
        before: before.into(),
        after: after.into(),
        look: [is_asked_for_again(seed, false), is_asked_for_again(seed + 100, true)],
        seen: ["held", "again"],
    }
}

/// What is said of a key when its time is over and the network fails.
fn past_its_time() -> Probe {
    probe(|stage| {
        Box::pin(async move {
            let request = query(&keypair(2).to_z32(), RecordType::A);
            over_udp(stage.address("udp"), &request).await;
            stage.network.fail(NetworkError::Disabled);
            // A second at most.
            while stage.lookups() < 2 {
                sleep(Duration::from_millis(100)).await;
                over_udp(stage.address("udp"), &request).await;
            }
            over_udp(stage.address("udp"), &request).await
        })
    })
}
