//! A configuration that cannot be put in effect changes nothing, and says why.

use std::{fs, net::TcpListener};

use super::{
    probes::{over_udp, www},
    stage::{Stage, World},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_configuration_leaves_the_one_before_whole_and_says_why() {
    let world = World::new().await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken_address = taken.local_addr().unwrap();
    fs::write(world.path("nonsense.pem"), "nonsense").unwrap();
    let dot = "dot.enabled = true\ndot.listen = '127.0.0.1:0'\ndot.cert_path = '{dir}/a.pem'\ndot.key_path = '{dir}/a.key'";
    let stage = Stage::set(&world, &format!("{dot}\ndoh.plain_listen = ['127.0.0.1:0']")).await;
    let before = ["udp", "tls", "http"].map(|protocol| stage.all(protocol));
    // Each would change whom is asked as well, and who is served.
    let too = "fallback_dns = '{other}'\naccess.deny = ['127.0.0.0/8']";
    let own = stage.address("udp");
    for (change, why) in [
        (format!("rate_limit.burst_size = 0\n{too}"), "rate_limit.burst_size"),
        (format!("names.suffixes = ['a..b']\n{too}"), "names.suffixes"),
        (
            format!("doh.plain_listen = ['127.0.0.1:0', '{taken_address}']\n{too}"),
            "another socket holds this port",
        ),
        (
            format!("listen = ['127.0.0.1:0', '127.0.0.2:0']\nmetrics.listen = ['{taken_address}']\n{too}"),
            "another socket holds this port",
        ),
        // All addresses of the machine overlap with the one that is to be given up.
        (format!("listen = '0.0.0.0:{}'\n{too}", own.port()), "another socket holds this port"),
        (format!("dot.cert_path = '{{dir}}/nothing.pem'\n{too}"), "nothing.pem"),
        (format!("dot.cert_path = '{{dir}}/nonsense.pem'\n{too}"), "holds no certificate"),
        (format!("dot.key_path = '{{dir}}/b.key'\n{too}"), "is the key of another certificate"),
        (format!("fallback_ca_path = '{{dir}}/nonsense.pem'\n{too}"), "fallback_ca_path"),
        (
            "access.deny = ['127.0.0.0/8']\nfallback_dns = '{own}'".replace("{own}", &own.to_string()),
            "address of this server",
        ),
        (
            format!(
                "acme.enabled = true\ncertificate.names = ['dns.example']\ndot.cert_path = '-'\ndot.key_path = '-'\n{too}"
            ),
            "restart",
        ),
    ] {
        let error = stage.reload(&change).await.expect_err(&change).to_string();
        assert!(error.contains(why), "{change}: {error}");
        assert_eq!(over_udp(stage.address("udp"), &www()).await, "NoError 192.0.2.53", "{change}");
        assert_eq!(["udp", "tls", "http"].map(|protocol| stage.all(protocol)), before);
    }
    for (text, why) in [
        ("listen = [", "pkdns.toml:1"),
        ("nonsense = 1", "no option `nonsense`"),
        ("verbose = 'yes'", "true or false"),
    ] {
        let error = stage.reload_text(text).await.expect_err(text).to_string();
        assert!(error.contains(why), "{text}: {error}");
        assert_eq!(over_udp(stage.address("udp"), &www()).await, "NoError 192.0.2.53", "{text}");
    }
    assert_eq!((stage.metrics.reload.ended.failed.get(), stage.metrics.reload.ended.ok.get()), (14, 0));
    assert!(stage.metrics.reload.last().is_some_and(|(_, has_succeeded)| !has_succeeded));
    // What was bound for a reload that failed is free again.
    let reloaded = stage.reload("doh.plain_listen = ['127.0.0.1:0', '127.0.0.2:0']").await.unwrap();
    assert_eq!(reloaded.changes.at_once, ["doh.plain_listen"]);
    assert!(stage.metrics.reload.last().is_some_and(|(_, has_succeeded)| has_succeeded));
}
