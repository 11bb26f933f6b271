//! Certificates of the identities that `serve` keeps.

use std::sync::atomic::Ordering;

use pkdns_testing::wait;

use super::{origin::Secondary, *};

/// A configuration whose identity has a certificate by the packet.
fn configure(scene: &Scene, zone: &str, more: &str) {
    let (url, ca) = (scene.pebble.url(), scene.pebble.ca_path());
    scene.world.file(
        "publisher.toml",
        &format!(
            "state = 'state'\n[[identity]]\nseed = 'seed'\nrecords = '''{zone}'''\n\
             [identity.certificate]\norigin = '{ORIGIN}'\nnames = ['www']\ndirectory = 'site'\n\
             authority = '{url}'\nauthority_ca = '{}'\n{more}",
            ca.display()
        ),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_gets_and_renews_its_certificate_by_the_packet_that_is_signed_anyway() {
    let Some(scene) = Scene::start(30).await else { return };
    let name_servers = format!("name_servers = ['{}']\n", scene.origin.address);
    configure(&scene, ZONE, &format!("wildcard = true\nreload = 'echo told >> told'\n{name_servers}"));
    let check = scene.world.run(&["serve", "-c", "publisher.toml", "--check"]);
    assert_eq!(check.code, 0, "{}", check.err);
    let mut serving = Process::start_and_read_all(scene.world.command(&["serve", "-c", "publisher.toml"]));
    serving.wait_for("new certificate for ");
    let first = kept(&scene.path("site"));
    assert!(first.names.contains(&format!("*.{}", scene.name())), "{first:?}");
    serving.wait_for("new certificate for ");
    assert!(kept(&scene.path("site")).to > first.to);
    serving.wait_for("the reload command has been run");
    assert!(scene.path("state/certificates").read_dir().unwrap().count() == 1, "the account");
    assert_eq!(serving.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_goes_on_while_the_configuration_is_read_again_and_its_records_go_afterwards() {
    let Some(scene) = Scene::start(LONG).await else { return };
    let secondary = Secondary::start(scene.origin.address).await;
    let name_servers = format!("name_servers = ['{}', '{}']\n", scene.origin.address, secondary.address);
    configure(&scene, ZONE, &name_servers);
    let mut serving = Process::start_and_read_all(scene.world.command(&["serve", "-c", "publisher.toml"]));
    let has_challenge = || scene.published().iter().any(|record| record.starts_with("_acme-challenge"));
    let wait_until = |condition: &dyn Fn() -> bool| {
        wait::until_or_show(condition, || scene.published());
    };
    wait_until(&has_challenge);
    configure(&scene, &format!("{ZONE}new A 127.0.0.2\n"), &name_servers);
    serving.signal("HUP");
    serving.wait_for("read again");
    let has_new = || scene.published().iter().any(|record| record.starts_with("new."));
    wait_until(&has_new);
    assert!(has_challenge(), "the packet of the new zone holds the challenge as well");
    secondary.is_behind.store(false, Ordering::SeqCst);
    serving.wait_for("new certificate for ");
    assert_eq!(scene.pebble.log().matches("orders in the db").count(), 1, "{}", scene.pebble.log());
    wait_until(&|| !has_challenge());
    assert!(has_new());
    // Taken out of the configuration, the certificate is kept no longer, and nothing is asked for.
    scene
        .world
        .file("publisher.toml", "state = 'state'\n[[identity]]\nseed = 'seed'\nrecords = '@ A 127.0.0.1'\n");
    serving.signal("HUP");
    serving.wait_for("read again");
    assert_eq!(serving.stop(), Some(0));
}
