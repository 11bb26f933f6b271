//! `servers check`, of servers in this process: those that are well, and those that are not.

use std::net::{Ipv4Addr, SocketAddr};

use pkdns::{
    config::{Cache, Config, Dht},
    program::testnet::SampleUpstream,
    server::Server,
};
use pkdns_testing::program::{self, HEX, KEY, World};
use tokio_util::sync::{CancellationToken, DropGuard};

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A DHT with a key, and a public server.
struct Scene {
    world: World,
    dns: SocketAddr,
    tls: SocketAddr,
    https: SocketAddr,
    upstream: SampleUpstream,
    _stop: DropGuard,
}

impl Scene {
    async fn start() -> Self {
        let (world, upstream) = (World::new().await, SampleUpstream::start().await.unwrap());
        world.file("seed", HEX);
        std::fs::set_permissions(
            world.path().join("seed"),
            std::os::unix::fs::PermissionsExt::from_mode(0o600),
        )
        .unwrap();
        world.file("zone", "@ 300 A 192.0.2.7\n");
        let published = world.run(&["publish", "seed", "zone", "--yes"]);
        assert_eq!(published.code, 0, "{}", published.err);
        let mut config = Config {
            listen: vec![ANY],
            fallback_dns: vec![upstream.address().into()],
            dht: Dht { bootstrap: world.bootstrap(), ..Dht::default() },
            cache: Cache { path: None, ..Cache::default() },
            ..Config::default()
        };
        (config.doh.enabled, config.doh.listen) = (true, vec![ANY]);
        (config.dot.enabled, config.dot.listen) = (true, vec![ANY]);
        config.certificate.self_signed = true;
        config.certificate.names = vec!["localhost".into(), "127.0.0.1".into()];
        config.certificate.path = Some(world.path().join("certificates"));
        let server = Server::bind(config).unwrap();
        let (dns, tls, https) =
            (server.addresses()[0], server.tls_addresses()[0], server.https_addresses()[0]);
        let stop = CancellationToken::new();
        tokio::spawn(server.run(stop.clone()));
        Self { world, dns, tls, https, upstream, _stop: stop.drop_guard() }
    }

    /// With the authority of the server.
    fn check(&self, list: &str, more: &[&str]) -> program::Finished {
        self.world.file("list", list);
        let arguments = ["servers", "check", "list", "--key", KEY, "--authority-ca", "certificates/ca.pem"];
        program::run(self.world.path(), &[&arguments, more].concat())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_answer_over_each_protocol_are_well() {
    let scene = Scene::start().await;
    let (dns, tls, https) = (scene.dns, scene.tls.port(), scene.https.port());
    let list = format!(
        "# servers\ndns {dns} Example, mailto:dns@example.net\ndot localhost:{tls} Example\n\
         doh https://127.0.0.1:{https}/dns-query Example\n"
    );
    let checked = scene.check(&list, &[]);
    assert_eq!(checked.code, 0, "{}{}", checked.out, checked.err);
    for over in ["udp", "tcp", "tls", "https"] {
        let row = checked.out.lines().find(|line| line.split_whitespace().next() == Some(over)).expect(over);
        assert_eq!(row.matches("ok ").count(), 3, "{}", checked.out);
    }
    let report = scene.check(&list, &["--json"]).json();
    assert_eq!((&report["ok"], report["servers"].as_array().unwrap().len()), (&true.into(), 3), "{report}");
    let first = &report["servers"][0];
    assert_eq!((&first["line"], &first["operator"]), (&2.into(), &"Example, mailto:dns@example.net".into()));
    assert!(first["probes"][1]["absent"]["milliseconds"].is_u64(), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_a_server_is_named_with_its_line() {
    let scene = Scene::start().await;
    let (dns, https, other) = (scene.dns, scene.https.port(), scene.upstream.address());
    let list = format!(
        "dns {dns} Good\ndns 127.0.0.1:9 Gone\ndns {other} Other\ndoh https://nowhere.invalid/dns-query Nobody\n\
         doh https://127.0.0.1:{https}/other Path\n"
    );
    let checked = scene.check(&list, &[]);
    assert_eq!(checked.code, 1, "{}", checked.out);
    assert!(checked.err.contains("4 of 5 servers do not answer as they should"), "{}", checked.err);
    for part in [
        "line 2, 127.0.0.1:9 (Gone):\n  over udp, ",
        "nothing listens",
        "it is no pkdns",
        "nowhere.invalid has no address",
        "line 5, ",
    ] {
        assert!(checked.out.contains(part), "{part}: {}", checked.out);
    }
    // Without the authority that signed it, a certificate is not believed.
    scene.world.file("list", &format!("doh https://127.0.0.1:{https}/dns-query Own\n"));
    let strict = program::run(scene.world.path(), &["servers", "check", "list", "--key", KEY, "--json"]);
    assert_eq!(strict.code, 1);
    assert!(strict.out.contains("certificate"), "{}", strict.out);
    // A key that nobody has published is told from a server that knows no keys.
    scene.world.file("list", &format!("dns {dns} Good\n"));
    let absent = "8pinxxgqs41n4aididenw5apqp1urfmzdztr8jt4abrkdn435ewo";
    let checked = program::run(scene.world.path(), &["servers", "check", "list", "--key", absent]);
    assert!(checked.code == 1 && checked.out.contains("has published no address"), "{}", checked.out);
}

#[test]
fn a_list_without_servers_is_no_failure_and_one_that_cannot_be_read_is() {
    let directory = program::directory();
    let run = |arguments: &[&str]| program::run(directory.path(), arguments);
    assert!(run(&["servers", "check"]).code == 0);
    run(&["servers", "check", "nothing"]).assert_failed(1, "cannot read nothing");
    program::file(&directory, "list", "# a list\ndoq dns.example.net Example\n");
    run(&["servers", "check", "list"]).assert_failed(1, "list:2: doq: the protocol is dns, dot or doh");
}
