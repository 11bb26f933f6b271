//! What goes wrong, and what is said of it.

use pkdns_testing::{pebble, program};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_work_is_said_before_the_authority_is_asked() {
    let Some(scene) = Scene::start(LONG).await else { return };
    let orders = || scene.pebble.log().matches("orders in the db").count();
    // A port that another program has.
    let (_listener, taken) = taken_port();
    let finished = scene.certificate(&[KEY, "--listen", &taken.to_string()]);
    finished.assert_failed(1, "is taken, by the program that `sudo ss");
    assert!(finished.err.contains("--webroot"), "{}", finished.err);
    // A key that nobody has published.
    let nobody = "8pinxxgqs41n4aididenw5apqp1urfmzdztr8jt4abrkdn435ewo";
    scene.certificate(&[nobody]).assert_failed(1, "publish the zone of the key");
    // Another zone.
    let elsewhere = ["certificate", KEY, "--origin", "elsewhere.example", "--name-server"];
    let name_server = scene.origin.address.to_string();
    scene.world.run(&[&elsewhere[..], &[&name_server]].concat()).assert_failed(1, "it has no such origin");
    assert_eq!(orders(), 0, "{}", scene.pebble.log());
    // What the command line alone tells.
    for (more, part) in [
        (&[KEY, "--wildcard", "--challenge", "http-01"][..], "needs the challenge dns-01"),
        (&[KEY, "--wildcard"], "give --seed FILE"),
        (
            &["--seed", "seed", "--challenge", "dns-01", "--listen", "127.0.0.1:80"],
            "listen has no meaning with dns-01",
        ),
        (&[KEY, "--name", "a b"], "such as www"),
        (&[], "--seed"),
    ] {
        scene.certificate(more).assert_failed(2, part);
    }
    scene.certificate(&[&format!("www.{KEY}")]).assert_failed(1, "with --name");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_authority_could_not_see_is_told_in_its_words_with_what_to_do() {
    let Some(scene) = Scene::start(LONG).await else { return };
    // Nothing is where it looks.
    let finished = scene.certificate(&[KEY, "--listen", "127.0.0.1:0"]);
    finished.assert_failed(1, &format!("no certificate for {} from https://", scene.name()));
    assert!(finished.err.contains("firewall") && finished.err.contains("refused"), "{}", finished.err);
    // An authority that is not there.
    let url = format!("https://127.0.0.1:{}/dir", pebble::free_port());
    let arguments = ["certificate", KEY, "--origin", ORIGIN, "--directory", "other", "--authority", &url];
    let name_server = scene.origin.address.to_string();
    let finished = scene.world.run(&[&arguments[..], &["--name-server", &name_server]].concat());
    finished.assert_failed(1, &url);
    assert!(!scene.path("other").exists(), "nothing is left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_command_that_fails_is_reported_and_run_again_the_next_time() {
    let Some(scene) = Scene::start(LONG).await else { return };
    let [http, _] = scene.ports();
    let more = [KEY, "--listen", &http, "--reload-command"];
    let finished = scene.certificate(&[&more[..], &["exit 3"]].concat());
    finished.assert_failed(1, "ended with exit status 3");
    let reading = kept(&scene.path("site"));
    let again = scene.certificate(&[&more[..], &["true", "--json"]].concat()).json();
    assert_eq!((&again["is_new"], &again["reloaded"]), (&false.into(), &true.into()));
    assert_eq!(kept(&scene.path("site")), reading);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_network_a_challenge_in_the_packet_ends_with_the_code_for_that() {
    let Some(scene) = Scene::start(LONG).await else { return };
    let arguments = scene.arguments(&["--seed", "seed", "--challenge", "dns-01"]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let finished =
        program::run(scene.world.path(), &[&["--bootstrap", "127.0.0.1:9"], &arguments[..]].concat());
    finished.assert_failed(4, "DHT could not be joined");
}
