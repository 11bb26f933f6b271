//! Addresses that services on the network tell.

use std::sync::{Arc, Mutex};

use pkdns_testing::relay::{Reply, ScriptedRelay};

use super::{KEY, records_when, world};

/// A web page that says what it is told to say.
async fn page(said: Arc<Mutex<String>>) -> ScriptedRelay {
    ScriptedRelay::start(move |_| Reply::answer(200, &[], said.lock().unwrap().as_bytes())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_two_services_agree_on_is_published() {
    let world = world().await;
    world.file("zone", "@ 300 A {external_ipv4}\n");
    let said = Arc::new(Mutex::new("203.0.113.5\n".to_string()));
    let other = page(Arc::new(Mutex::new("203.0.113.5".to_string()))).await;
    let (wrong, right) = (page(said.clone()).await, page(said.clone()).await);
    let services = [&wrong, &right, &other].map(|service| format!("--ip-service={}", service.url()));
    let [first, second, third] = services.each_ref().map(String::as_str);
    let publish = |services: &[&str]| world.run(&[&["publish", "seed", "zone"], services].concat());
    let published = publish(&[first, second]);
    assert_eq!(published.code, 0, "{}", published.err);
    records_when(&world, KEY, |records| records == ["A 203.0.113.5"]);

    *said.lock().unwrap() = "203.0.113.6".to_string();
    publish(&[first, third]).assert_failed(1, "2 services have to agree");
    let published = publish(&[first, third, second]);
    assert_eq!(published.code, 0, "the third decides: {}", published.err);
    records_when(&world, KEY, |records| records == ["A 203.0.113.6"]);

    *said.lock().unwrap() = "192.168.1.1".to_string();
    publish(&[first, second]).assert_failed(1, "--allow-private");
    let published = publish(&[first, second, "--allow-private"]);
    assert_eq!(published.code, 0, "{}", published.err);
    *said.lock().unwrap() = "<html>no</html>".to_string();
    publish(&[first, second]).assert_failed(1, "is not an address");
    publish(&["--ip-service=http://127.0.0.1:9/"]).assert_failed(1, "cannot be asked");
    publish(&[]).assert_failed(1, "--detect-ip");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_waits_for_the_address_that_it_needs() {
    let world = world().await;
    world.file("zone", "@ 300 TXT text\n");
    let said = Arc::new(Mutex::new("203.0.113.5".to_string()));
    let service = page(said).await;
    let mut publisher =
        world.start(&["publish", "seed", "zone", "--watch", &format!("--ip-service={}", service.url())]);
    records_when(&world, KEY, |records| records == ["TXT \"text\""]);
    // Only now is an address needed.
    world.file("zone", "@ 300 A {external_ipv4}\n");
    publisher.wait_for("");
    records_when(&world, KEY, |records| records == ["A 203.0.113.5"]);
}
