//! Mistakes, and what does not fit.

use super::Scene;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_names_what_is_wrong_and_warns_of_a_web_server_that_is_not_there() {
    let scene = Scene::new().await;
    let check = |text: &str| {
        scene.world.file("publisher.toml", &format!("state = 'state'\n[[identity]]\nseed = 'seed'\n{text}"));
        scene.world.run(&["serve", "--config", "publisher.toml", "--check"])
    };
    let closed = super::free_address();
    for (options, part) in [
        ("tls = '127.0.0.1:443'", "tls needs the web server that answers"),
        ("backend = '127.0.0.1:80'", "backend needs where visitors come to"),
        ("tls_key = 'hot'", "need tls and backend"),
        ("tls = '127.0.0.1:8443'\nbackend = '127.0.0.1:80'", "add tls_port = 443"),
        ("tls = '127.0.0.1'\nbackend = '127.0.0.1:80'", "expected addresses such as 0.0.0.0:443"),
        ("tls = ['127.0.0.1:443']\nbackend = 'nowhere'", "expected an address such as 127.0.0.1:8080"),
        ("tls = '127.0.0.1:443'\nbackend = '127.0.0.1:80'\ntls_key = 'gone'", "cannot read the seed file"),
        (
            "tls = '192.0.2.1:443'\nbackend = '127.0.0.1:80'",
            "tls: no interface of this machine has the address 192.0.2.1",
        ),
    ] {
        let found = check(&format!("records = '@ A 192.0.2.1'\n{options}\n"));
        assert_ne!(found.code, 0, "{options}");
        assert!(found.err.contains(part), "{options}\n{}", found.err);
    }
    let full = format!("records = '@ TXT {}'\n", "\"abcdefghijklmnopqrstuvwxyz\" ".repeat(34));
    let site = format!("tls = '127.0.0.1:443'\nbackend = '{closed}'\n");
    let found = check(&format!("{full}{site}"));
    assert_eq!(found.code, 0, "{}", found.err);
    assert!(
        found.err.contains("warning: identity") && found.err.contains("its records are left out"),
        "{}",
        found.err
    );
    let warning = format!("warning: backend: the web server at {closed} cannot be reached");
    assert!(found.err.contains(&warning), "{}", found.err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_somebody_else_has_is_told_and_a_reload_that_wants_it_changes_nothing() {
    let scene = Scene::new().await;
    let backend = super::backend::start("first").await;
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap();
    scene.configure(&backend.to_string(), "");
    let mut publisher = scene.start();
    let text = format!(
        "state = 'state'\n[[identity]]\nseed = 'seed'\nrecords = '@ 300 A 127.0.0.1'\ntls = '{taken}'\nbackend = '{backend}'\n\
         tls_port = 443\n"
    );
    scene.world.file("publisher.toml", &text);
    publisher.signal("HUP");
    let line = publisher.wait_for("cannot listen on");
    assert!(line.contains(&taken.to_string()) && line.contains("going on as before"), "{line}");
    scene.connect(super::client::of_key(pkdns_testing::program::KEY), "h2").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_that_names_a_certificate_itself_has_the_last_word() {
    let scene = Scene::new().await;
    let port = scene.address.port();
    let own = "00".repeat(32);
    let text = format!(
        "state = 'state'\n[[identity]]\nseed = 'seed'\nrecords = '''\n@ 300 A 127.0.0.1\n_{port}._tcp 60 TLSA 3 1 1 {own}\n'''\n\
         tls = '{}'\nbackend = '127.0.0.1:9'\nhttps_record = true\n",
        scene.address
    );
    scene.world.file("publisher.toml", &text);
    let mut publisher = scene.start();
    publisher.wait_for("stored");
    let records = scene.records();
    let of_type = |kind: &str| records.iter().filter(|record| record[1] == kind).count();
    assert_eq!((of_type("TLSA"), of_type("HTTPS")), (1, 1), "{records:?}");
    assert!(records.iter().any(|record| record[2].ends_with(&own)), "{records:?}");
}
