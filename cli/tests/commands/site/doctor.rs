//! Whether a site opens in the browsers of a machine, as `doctor` sees it.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::{Command, Stdio},
};

use pkdns::{
    config::{Cache, Config, Dht},
    server::Server,
};
use pkdns_testing::{
    program::{self, KEY},
    programs,
};
use serde_json::Value;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Scene, backend};

/// A pkdns in this process, as long as this is held.
struct Pkdns {
    address: SocketAddr,
    bridge: Option<SocketAddr>,
    _stop: DropGuard,
}

impl Pkdns {
    fn start(scene: &Scene, has_bridge: bool) -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut config = Config {
            listen: vec![any],
            fallback_dns: vec!["127.0.0.1:9".parse::<SocketAddr>().unwrap().into()],
            dht: Dht { bootstrap: scene.world.bootstrap(), ..Dht::default() },
            cache: Cache { path: None, ..Cache::default() },
            ..Config::default()
        };
        config.delegation.allow_private = true;
        config.certificate.path = Some(scene.world.path().join("certificates"));
        if has_bridge {
            config.bridge.listen = vec![any];
            config.bridge.plain_listen = Some(Vec::new());
        }
        let server = Server::bind(config).unwrap();
        let (address, bridge) = (server.addresses()[0], server.bridge_addresses().first().copied());
        let stop = CancellationToken::new();
        tokio::spawn(server.run(stop.clone()));
        Self { address, bridge, _stop: stop.drop_guard() }
    }
}

/// One program of a user whose home is the directory of the scene.
fn at_home(scene: &Scene, command: &mut Command) -> String {
    let output = command.env("HOME", scene.world.path()).stdin(Stdio::null()).output().unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

/// What is found about a bridge, as `CHECK VERDICT: SEEN -> ADVICE`. Browsers come to `port`.
fn doctor(scene: &Scene, server: SocketAddr, port: u16, key: &[&str]) -> Vec<String> {
    let (server, port) = (server.to_string(), port.to_string());
    let nobody = "127.0.0.1:9";
    let options = ["--forward", nobody, "--clock", "http://127.0.0.1:9", "--https-port", &port];
    let arguments = [&["doctor", "--json", "--server", &server], &options[..], key].concat();
    let said = at_home(scene, &mut scene.world.command(&arguments));
    let report: Value =
        serde_json::from_str(said.lines().next().unwrap()).unwrap_or_else(|_| panic!("{said}"));
    let about_bridge = report["checks"].as_array().unwrap().iter().filter_map(|finding| {
        let text = |field: &str| finding[field].as_str().unwrap_or_default();
        let line = format!("{} {}: {} -> {}", text("check"), text("verdict"), text("seen"), text("advice"));
        line.starts_with("bridge").then_some(line)
    });
    about_bridge.collect()
}

#[track_caller]
fn assert_found(found: &[String], expected: &[(&str, &str)]) {
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, (start, part)) in found.iter().zip(expected) {
        assert!(found.starts_with(start) && found.contains(part), "{start} {part}\n{found}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_says_where_the_way_to_a_site_ends() {
    if programs::find("certutil", |_| true, "libnss3-tools").is_none() {
        return;
    }
    let scene = Scene::new().await;
    scene.configure(&backend::start("first").await.to_string(), "");
    let mut publisher = scene.start();
    publisher.wait_for("stored");
    let bridged = Pkdns::start(&scene, true);
    let port = bridged.bridge.unwrap().port();
    let led =
        format!("is led to a bridge: the bridge answers at 127.0.0.1:{port} under pkdns bridge authority");
    let (opens, shown) = (("bridge ok: ", led.as_str()), ("bridge site ok: ", "and answers with status 200"));
    let found = doctor(&scene, bridged.address, port, &[KEY]);
    assert_found(&found, &[opens, ("bridge trust failed: ", "run pkdns-cli trust install"), shown]);
    let found = doctor(&scene, bridged.address, port, &[]);
    assert_found(&found, &[opens, ("bridge trust warning: ", "is not believed by")]);

    let server = scene.world.path().join("certificates");
    let install = ["trust", "install", "--only", "browsers", "--server", server.to_str().unwrap()];
    let installed = at_home(&scene, &mut program::command(scene.world.path(), &install));
    let found = doctor(&scene, bridged.address, port, &[KEY]);
    // The store of the system has not changed, where there is one.
    assert_found(&found, &[opens, ("bridge trust ", "is believed by "), shown]);
    assert!(found[1].contains("/.pki/nssdb") && !found[1].contains(" failed: "), "{found:#?}{installed}");

    let unknown = "8pinxxgqs41n4aididenw5apqp1urfmzdztr8jt4abrkdn435ewo";
    let found = doctor(&scene, bridged.address, port, &[unknown]);
    assert_found(&found, &[("bridge failed: ", "does not exist")]);
    let found = doctor(&scene, "127.0.0.1:9".parse().unwrap(), port, &[KEY]);
    assert_found(&found, &[("bridge skipped: ", "pkdns does not answer on 127.0.0.1:9")]);

    let ordinary = Pkdns::start(&scene, false);
    let found = doctor(&scene, ordinary.address, scene.address.port(), &[KEY]);
    assert_found(&found, &[("bridge failed: ", "is not led to a bridge: 127.0.0.1:")]);
    assert_found(&doctor(&scene, ordinary.address, port, &[]), &[]);

    drop(publisher);
    let found = doctor(&scene, bridged.address, port, &[KEY]);
    assert_found(&found[2..], &[("bridge site failed: ", "the log of this server")]);
}
