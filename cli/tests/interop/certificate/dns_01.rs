//! By dns-01, with the challenge in the packet of the key.

use pkdns_testing::wait;

use super::{origin::Secondary, *};

#[tokio::test(flavor = "multi_thread")]
async fn a_wildcard_is_obtained_and_renewed_by_the_packet_and_the_zone_is_as_it_was_afterwards() {
    let Some(scene) = Scene::start(LONG).await else { return };
    let before = scene.published();
    let more = ["--seed", "seed", "--wildcard", "--name", "www", "--name", "a.b"];
    let finished = scene.certificate(&more);
    assert_eq!((finished.code, finished.err.as_str()), (0, ""), "{}", finished.out);
    let apex = scene.name();
    let mut names = [apex.clone(), format!("*.{apex}"), format!("a.b.{apex}")];
    names.sort();
    let first = kept(&scene.path("site"));
    assert_eq!(first.names, names);
    assert_eq!(scene.published(), before, "the challenge is out of the packet again");

    let again = scene.certificate(&[&more[..], &["--renew", "--json"]].concat()).json();
    assert_eq!(again["is_new"], true);
    assert_eq!(scene.published(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_is_given_up_takes_its_challenge_out_of_the_packet() {
    let Some(scene) = Scene::start(LONG).await else { return };
    let before = scene.published();
    let secondary = Secondary::start(scene.origin.address).await;
    let second = secondary.address.to_string();
    let watching = scene.watch(&["--seed", "seed", "--challenge", "dns-01", "--name-server", &second]);
    wait::until_or_show(|| scene.published().len() != before.len(), || scene.published());
    assert_eq!(watching.stop(), Some(0));
    assert_eq!(scene.published(), before);
}
