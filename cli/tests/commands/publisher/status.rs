//! What a publisher tells of itself: its status, and its log for programs.

use std::{fs, os::unix::fs::PermissionsExt};

use pkdns_testing::{
    program::{Finished, HEX, KEY, World},
    wait,
};
use serde_json::Value;

use super::world;

const SECOND_SEED: &str = "f28a894f69039e6f6b48714ca931baa7c09bd1db9105291620b4e1e7a9acf682";
const SECOND_KEY: &str = "cb7xxx6wtqr5d6yqudkt47drqswxk57dzy3h7qj3udym5puy9cso";

const CONFIG: &str = "state = 'state'\n[[identity]]\nseed = 'seed'\nrecords = '@ 300 A 192.0.2.1'\n\
                      [[identity]]\nseed = 'second'\nzone_file = 'zone'\n";

/// The status, once it fulfils the condition.
#[track_caller]
fn status_when(world: &World, condition: impl Fn(&Finished) -> bool) -> Finished {
    wait::found(|| {
        let shown = world.run(&["serve", "--status", "--json"]);
        if condition(&shown) { Ok(shown) } else { Err(shown.out + &shown.err) }
    })
}

fn identity(shown: &Finished, key: &str) -> Value {
    let status: Value = serde_json::from_str(&shown.out).unwrap();
    status["identities"].as_array().unwrap().iter().find(|it| it["key"] == key).unwrap().clone()
}

async fn two_identities() -> World {
    let world = world().await;
    world.file("second", SECOND_SEED);
    fs::set_permissions(world.path().join("second"), PermissionsExt::from_mode(0o600)).unwrap();
    world.file("zone", "@ 300 A 192.0.2.2\n");
    world.file("publisher.toml", CONFIG);
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn another_program_reads_what_became_of_each_identity() {
    let world = two_identities().await;
    world.run(&["serve", "--status"]).assert_failed(1, "no pkdns-cli serve has written a status yet");
    let mut publisher = world.start(&["serve"]);
    let both = status_when(&world, |shown| shown.out.matches("\"state\":\"stored\"").count() == 2);
    assert_eq!((both.code, both.err.as_str()), (0, ""));
    let status = both.json();
    assert_eq!((&status["running"], &status["process_id"]), (&true.into(), &publisher.id().into()));
    for (key, name) in [(KEY, "seed "), (SECOND_KEY, "second ")] {
        let identity = identity(&both, key);
        assert_eq!(identity["identity"], format!("{name}{}", &key[..8]));
        let [stored, next] = ["stored_at", "next_at"].map(|field| identity[field].as_u64().unwrap());
        assert!(
            identity["nodes"].as_u64() > Some(0) && next > stored + 3000 && next <= stored + 3600,
            "{identity}"
        );
        assert_eq!((&identity["last_error"], &identity["waiting_for"]), (&Value::Null, &Value::Null));
    }
    let mode = fs::metadata(world.path().join("state/status.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
    let text = fs::read_to_string(world.path().join("state/status.json")).unwrap();
    assert!(!text.contains(&HEX[..10]) && !text.contains(&SECOND_SEED[..10]), "{text}");

    world.file("zone", "@ 300 A 192.0.2\n");
    publisher.wait_for("error: ");
    let broken = status_when(&world, |shown| shown.code == 1);
    assert_eq!(identity(&broken, SECOND_KEY)["state"], "unreadable");
    assert_eq!(identity(&broken, KEY)["state"], "stored");
    assert!(
        broken.messages()[0].starts_with("1 of 2 identities is not published as the configuration says"),
        "{}",
        broken.err
    );
    let table = world.run(&["serve", "--status"]).out;
    assert!(table.contains("2 identities: 1 stored, 1 unreadable\n"), "{table}");
    assert!(table.contains("ago: \"zone\": line 1, column 9: "), "{table}");

    world.file("zone", "@ 300 A 192.0.2.3\n");
    status_when(&world, |shown| shown.code == 0);
    assert_eq!(publisher.stop(), Some(0));
    let ended = world.run(&["serve", "--status", "--json"]);
    assert_eq!(
        (ended.code, &serde_json::from_str::<Value>(&ended.out).unwrap()["running"]),
        (1, &false.into())
    );
    assert_eq!(identity(&ended, KEY)["stored_at"], identity(&both, KEY)["stored_at"]);
    assert!(ended.messages()[0].contains("start it again"), "{}", ended.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_read_by_programs_as_that_of_the_server_is() {
    let world = two_identities().await;
    let mut publisher = world.start(&["serve", "--json"]);
    let stored: Value = serde_json::from_str(&publisher.wait_for("stored on ")).unwrap();
    assert_eq!(stored["level"], "INFO");
    assert!(stored["timestamp"].as_str().unwrap().ends_with('Z'), "{stored}");
    let identity = stored["identity"].as_str().unwrap();
    assert!(["seed ", "second "].iter().any(|name| identity.starts_with(name)), "{stored}");
    assert!(stored["message"].as_str().unwrap().starts_with("stored on "), "{stored}");
    world.file("zone", "@ 300 A 192.0.2\n");
    let error: Value = serde_json::from_str(&publisher.wait_for("kept alive")).unwrap();
    assert_eq!(
        (&error["level"], &error["identity"]),
        (&"ERROR".into(), &format!("second {}", &SECOND_KEY[..8]).into())
    );
    assert!(error["message"].as_str().unwrap().starts_with("\"zone\": line 1, column 9: "), "{error}");
    assert_eq!(publisher.stop(), Some(0));
    let checked = world.run(&["serve", "--check", "--json"]);
    assert!(checked.code == 1 && checked.messages()[0].contains("line 1"), "{}", checked.err);
    world.file("zone", "@ 300 A 192.0.2.2\n");
    assert_eq!(world.run(&["serve", "--check", "--json"]).json()["identities"], 2);
}
