//! Caddy on the site gets a certificate by itself, and Chromium opens the page in a secure context.

use std::{net::SocketAddr, process::Command};

use pkdns_testing::{chromium, process::Killed, programs, wait};

use super::*;

/// What the page of the site does: it says what the browser thinks of it.
const PAGE: &str = "<!DOCTYPE html><title>site</title><p id=seen></p>\
                    <script>seen.textContent = 'secure context: ' + window.isSecureContext</script>";

/// Caddy with this site.
struct Caddy {
    _child: Killed,
}

impl Caddy {
    fn start(program: &Path, scene: &Scene) -> Self {
        let (name, [http, https]) = (scene.name(), [scene.pebble.http, scene.pebble.https]);
        let (url, ca) = (scene.pebble.url(), scene.pebble.ca_path());
        fs::create_dir_all(scene.path("www")).unwrap();
        fs::write(scene.path("www/index.html"), PAGE).unwrap();
        scene.world.file(
            "Caddyfile",
            &format!(
                "{{\n admin off\n http_port {http}\n https_port {https}\n acme_ca {url}\n acme_ca_root {}\n}}\n\
                 {name} {{\n root * {}\n file_server\n}}\n",
                ca.display(),
                scene.path("www").display()
            ),
        );
        let log = fs::File::create(scene.path("caddy.log")).unwrap();
        let child = Command::new(program)
            .args(["run", "--adapter", "caddyfile", "--config", "Caddyfile"])
            .current_dir(scene.world.path())
            .env("HOME", scene.world.path())
            .env("XDG_DATA_HOME", scene.path("caddy-data"))
            .env("XDG_CONFIG_HOME", scene.path("caddy-config"))
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { _child: Killed(child) }
    }
}

/// What Chromium makes of `url`, as text, where `root` certifies and the name leads to this machine.
fn chromium(program: &Path, scene: &Scene, root: &str, url: &str) -> String {
    scene.world.file("root.pem", root);
    chromium::believe(&scene.path("home/.pki/nssdb"), &scene.path("root.pem")).expect("certutil");
    let mut command = Command::new("timeout");
    command.arg("60").arg(program).env("HOME", scene.path("home")).args(chromium::FLAGS);
    command.arg(format!("--host-resolver-rules=MAP {} 127.0.0.1", scene.name()));
    command.arg(format!("--user-data-dir={}", scene.path("profile").display())).arg(url);
    let output = command.output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[tokio::test(flavor = "multi_thread")]
async fn caddy_gets_its_own_chromium_calls_the_page_a_secure_context_and_doctor_finds_nothing_wrong() {
    let Some(caddy) = programs::find("caddy", |_| true, "caddy") else { return };
    let Some(browser) = programs::find("chromium", |_| true, "chromium") else { return };
    let Some(scene) = Scene::start(LONG).await else { return };
    let Some(root) = scene.pebble.root() else { return };
    scene.world.file("root.pem", &root);
    let _caddy = Caddy::start(&caddy, &scene);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, scene.pebble.https));
    let root_file = scene.path("root.pem");
    wait::eventually("caddy shows what it should", async || {
        let look = pkdns::edge::certificates::look(address, &scene.name(), Some(&root_file)).await;
        look.is_ok_and(|look| look.doubt.is_none())
    })
    .await;
    let url = format!("https://{}:{}/", scene.name(), scene.pebble.https);
    let page = chromium(&browser, &scene, &root, &url);
    assert!(page.contains("secure context: true"), "{page}");

    let [origin, http, https] =
        [scene.origin.address.to_string(), scene.pebble.http.to_string(), scene.pebble.https.to_string()];
    let doctor = |key: &str, ca: &[&str]| {
        let arguments = ["doctor", "--json", "--origin", ORIGIN, key, "--name-server", &origin];
        let ports = ["--http-port", &http, "--https-port", &https, "--resolver", "127.0.0.1:9"];
        let finished = scene.world.run(&[&arguments[..], &ports, ca].concat());
        let report: Value = serde_json::from_str(&finished.out).unwrap();
        let verdict = |check: &str| {
            let mut checks = report["checks"].as_array().unwrap().iter();
            let found = checks.find(|finding| finding["check"] == check);
            found.map_or("none".to_string(), |finding| finding["verdict"].as_str().unwrap().to_string())
        };
        let checks = ["name server", "key", "caa", "port 80", "port 443", "certificate"];
        (finished.code, checks.map(verdict), report.clone())
    };
    let (code, verdicts, report) = doctor(KEY, &["--authority-ca", "root.pem"]);
    assert_eq!((code, verdicts), (0, ["ok"; 6].map(String::from)), "{report:#}");
    // Those who do not believe this authority see what browsers see.
    let (code, verdicts, report) = doctor(KEY, &[]);
    assert_eq!((code, verdicts[5].as_str()), (1, "failed"), "{report:#}");
    let (code, verdicts, report) = doctor("8pinxxgqs41n4aididenw5apqp1urfmzdztr8jt4abrkdn435ewo", &[]);
    assert_eq!((code, verdicts[1].as_str()), (1, "failed"), "{report:#}");
}
