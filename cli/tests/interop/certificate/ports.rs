//! By http-01 and tls-alpn-01.

use std::{
    fs,
    process::{Command, Stdio},
};

use pkdns_testing::{programs, wait};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_obtained_by_http_01_and_a_second_run_leaves_it_alone() {
    let Some(scene) = Scene::start(LONG).await else { return };
    let [http, _] = scene.ports();
    let more = [KEY, "--listen", &http, "--email", "admin@example.net", "--reload-command"];
    let more = [&more, &["echo \"$PKDNS_NAMES\" >> told"][..], &["--json"]].concat();
    let obtained = scene.certificate(&more).json();
    assert_eq!(obtained["names"][0], scene.name());
    assert_eq!((&obtained["is_new"], &obtained["reloaded"]), (&true.into(), &true.into()));
    let first = kept(&scene.path("site"));
    assert_eq!(first.names, [scene.name()]);
    let [from, until, renewed] =
        ["valid_from", "valid_until", "renewed_from"].map(|at| obtained[at].as_u64().unwrap());
    assert!(
        until - from > u64::from(LONG) - 3600 && until - renewed < u64::from(LONG) / 3 + 3600,
        "{obtained}"
    );

    let again = scene.certificate(&more).json();
    assert_eq!((&again["is_new"], &again["reloaded"]), (&false.into(), &false.into()));
    assert_eq!(again["valid_until"], obtained["valid_until"]);
    assert_eq!(fs::read_to_string(scene.path("told")).unwrap(), format!("{}\n", scene.name()));
    // The port is free in between, and another name is a reason to ask again.
    let more = [KEY, "--listen", &http, "--name", "www"];
    let finished = scene.certificate(&more);
    assert_eq!(finished.code, 0, "{}", finished.err);
    assert!(finished.out.contains("is obtained, valid until"), "{}", finished.out);
    assert_eq!(kept(&scene.path("site")).names, [scene.name(), format!("www.{}", scene.name())]);
    // The account was made once, and is kept.
    let accounts = scene.pebble.log().matches("accounts in memory").count();
    assert_eq!(accounts, 1, "{}", scene.pebble.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_watches_renews_by_tls_alpn_01_before_the_end_and_tells_the_server_each_time() {
    let Some(scene) = Scene::start(20).await else { return };
    let [_, tls] = scene.ports();
    let more = [KEY, "--challenge", "tls-alpn-01", "--listen", &tls, "--name", "www", "--reload-command"];
    let mut watching = scene.watch(&[&more, &["echo told >> told"][..]].concat());
    let line = |watching: &mut Process| -> Value {
        serde_json::from_str(&watching.wait_for("\"is_new\":true")).unwrap()
    };
    let first = line(&mut watching);
    assert_eq!(kept(&scene.path("site")).names, [scene.name(), format!("www.{}", scene.name())]);
    let second = line(&mut watching);
    assert!(second["valid_until"].as_u64() > first["valid_until"].as_u64());
    assert!(second["valid_from"].as_u64() < first["valid_until"].as_u64(), "it is renewed before its end");
    assert_eq!(second["reloaded"], true);
    assert!(fs::read_to_string(scene.path("told")).unwrap().lines().count() >= 2);
    assert_eq!(watching.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_server_that_is_there_already_answers_http_01_out_of_its_directory() {
    let Some(caddy) = programs::find("caddy", |_| true, "caddy") else { return };
    let Some(scene) = Scene::start(LONG).await else { return };
    let root = scene.path("www");
    fs::create_dir(&root).unwrap();
    let mut server = Command::new(caddy)
        .args(["file-server", "--listen", &scene.ports()[0], "--root"])
        .arg(&root)
        .env("HOME", scene.world.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait::until("caddy listens", || std::net::TcpStream::connect(&scene.ports()[0]).is_ok());
    let finished = scene.certificate(&[KEY, "--webroot", "www"]);
    let _ = (server.kill(), server.wait());
    assert_eq!(finished.code, 0, "{}", finished.err);
    assert_eq!(kept(&scene.path("site")).names, [scene.name()]);
    let left = fs::read_dir(root.join(".well-known/acme-challenge")).unwrap().count();
    assert_eq!(left, 0, "what was shown is taken away");
}
