//! Zones that change while they are published.

use super::{KEY, records_when, timestamp, world};

const SECOND_SEED: &str = "f28a894f69039e6f6b48714ca931baa7c09bd1db9105291620b4e1e7a9acf682";
const SECOND_KEY: &str = "cb7xxx6wtqr5d6yqudkt47drqswxk57dzy3h7qj3udym5puy9cso";

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_file_is_published_when_it_changes_and_kept_alive_when_it_breaks() {
    let world = world().await;
    world.file("zone", "@ 300 A 192.0.2.1\n");
    let mut publisher = world.start(&["publish", "seed", "zone", "--watch"]);
    records_when(&world, KEY, |records| records == ["A 192.0.2.1"]);
    world.file("zone", "@ 300 A 192.0.2.2\n$INCLUDE more\n");
    publisher.wait_for("more");
    world.file("more", "www 300 A 192.0.2.3\n");
    records_when(&world, KEY, |records| records == ["A 192.0.2.2", "A 192.0.2.3"]);
    world.file("more", "www 300 A 192.0.2\n");
    let line = publisher.wait_for("error: ");
    assert!(line.contains("line 1") && line.contains("kept alive"), "{line}");
    world.file("more", "www 300 A 192.0.2.4\n");
    publisher.wait_for("the zone can be read again");
    records_when(&world, KEY, |records| records == ["A 192.0.2.2", "A 192.0.2.4"]);
    assert_eq!(publisher.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_that_another_machine_has_published_since_ends_the_watch() {
    let world = world().await;
    world.file("zone", "@ 300 A 192.0.2.1\n");
    let mut publisher = world.start(&["publish", "seed", "zone", "--watch"]);
    records_when(&world, KEY, |records| records == ["A 192.0.2.1"]);
    world.file("elsewhere", "@ 300 A 192.0.2.99\n");
    let published = world.run(&["publish", "seed", "elsewhere"]);
    assert_eq!(published.code, 0, "{}", published.err);
    world.file("zone", "@ 300 A 192.0.2.2\n");
    let line = publisher.wait_for("error: ");
    assert!(line.contains("another machine") && line.contains("--force"), "{line}");
    assert_eq!(publisher.wait(), Some(3));
    records_when(&world, KEY, |records| records == ["A 192.0.2.99"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_shows_what_would_change_and_stores_nothing() {
    let world = world().await;
    world.file("zone", "@ 300 A 192.0.2.1\n");
    let first = world.run(&["publish", "seed", "zone", "--dry-run"]);
    assert_eq!((first.code, first.err.as_str()), (0, "+ @ 300 A 192.0.2.1\n"));
    assert!(first.out.contains("would be published for the first time"), "{}", first.out);
    let plan = world.run(&["publish", "seed", "zone", "--dry-run", "--json"]).json();
    assert_eq!((plan["previous_timestamp"].as_u64(), &plan["added"][0]["data"]), (None, &"192.0.2.1".into()));
    assert_eq!(world.run(&["publish", "seed", "zone"]).code, 0);
    let before = timestamp(&world);
    world.file("zone", "@ 300 A 192.0.2.2\n");
    let dry = world.run(&["publish", "seed", "zone", "--dry-run"]);
    assert_eq!(dry.code, 0, "{}", dry.err);
    assert!(
        dry.err.contains("- @ 300 A 192.0.2.1") && dry.err.contains("+ @ 300 A 192.0.2.2"),
        "{}",
        dry.err
    );
    assert!(dry.out.contains("nothing was stored"), "{}", dry.out);
    assert_eq!(timestamp(&world), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_hardly_ever_meant_is_said_before_it_is_published() {
    let world = world().await;
    world.file("zone", "@ 300 A 192.0.2.1\n@ 300 MX 10 mial\n_dmarc 300 TXT v=DMARC1; p=none\n");
    let published = world.run(&["publish", "seed", "zone"]);
    let warnings = "warning: \"zone\": line 3, column 24: the text ends before this semicolon, which begins a comment: put the \
                    text in quotes\nwarning: \"zone\": @ MX: mial has no address\n";
    assert_eq!((published.code, published.err.as_str()), (0, warnings));
}

#[tokio::test(flavor = "multi_thread")]
async fn identities_come_and_go_with_the_configuration() {
    let world = world().await;
    world.file("second", SECOND_SEED);
    let first = "[[identity]]\nseed = 'seed'\nrecords = '@ 300 A 192.0.2.1'\n";
    let second = "[[identity]]\nseed = 'second'\nrecords = '@ 300 A 192.0.2.2'\n";
    let configure = |identities: &[&str]| {
        world.file("publisher.toml", &format!("state = 'state'\n{}", identities.concat()));
    };
    configure(&[first]);
    let mut publisher = world.start(&["serve"]);
    publisher.wait_for("stored on");
    let at_first = timestamp(&world);
    configure(&[first, second]);
    publisher.wait_for("read again");
    publisher.wait_for(&format!("{}: stored on", &SECOND_KEY[..8]));
    assert_eq!(timestamp(&world), at_first, "what has not changed goes on undisturbed");
    world.file("publisher.toml", "nonsense");
    let line = publisher.wait_for("error: ");
    assert!(line.contains("line 1") && line.contains("going on as before"), "{line}");
    configure(&[&first.replace("192.0.2.1", "192.0.2.7")]);
    publisher.wait_for("read again");
    records_when(&world, KEY, |records| records == ["A 192.0.2.7"]);
    let elsewhere = format!("state = 'elsewhere'\n{}", first.replace("192.0.2.1", "192.0.2.8"));
    world.file("publisher.toml", &elsewhere);
    publisher.wait_for("warning: state needs a restart");
    records_when(&world, KEY, |records| records == ["A 192.0.2.8"]);
    // As long as it has not come.
    publisher.signal("HUP");
    publisher.wait_for("warning: state needs a restart");
    publisher.wait_for("read again");
    assert!(!world.path().join("elsewhere").exists());
    assert_eq!(publisher.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_one_publisher_uses_a_state_directory_and_mistakes_are_found_before_it_starts() {
    let world = world().await;
    let config = "state = 'state'\n[[identity]]\nseed = 'seed'\nrecords = '@ 300 A 192.0.2.1'\n";
    world.file("publisher.toml", config);
    let mut publisher = world.start(&["serve"]);
    publisher.wait_for("stored on");
    world.run(&["serve"]).assert_failed(1, "another pkdns-cli serve is using it");
    let checked = world.run(&["serve", "--check"]);
    assert_eq!((checked.code, checked.out.as_str()), (0, "1 identity can be published\n"));
    for (config, message) in [
        (
            "state = 'other'\n[[identity]]\nseed = 'nothing'\nrecords = '@ A 192.0.2.1'\n",
            "cannot read the seed",
        ),
        ("state = 'other'\n[[identity]]\nseed = 'seed'\nzone_file = 'nothing'\n", "nothing"),
        ("state = 'other'\n[[identity]]\nseed = 'seed'\nrecords = 'nothing'\n", "line 1"),
    ] {
        world.file("bad.toml", config);
        world.run(&["serve", "--check", "--config", "bad.toml"]).assert_failed(1, message);
    }
    world.run(&["serve", "--config", "none.toml"]).assert_failed(1, "none.toml");
}
