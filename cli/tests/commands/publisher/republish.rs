//! Keys of others.

use pkdns_dht::signed_packet::Keypair;
use pkdns_testing::program::now;
use serde_json::Value;

use super::{KEY, timestamp, world};

#[tokio::test(flavor = "multi_thread")]
async fn packets_of_others_are_stored_again_as_they_are() {
    let world = world().await;
    let (other, absent) = (Keypair::from_secret_key(&[1; 32]), Keypair::from_secret_key(&[2; 32]));
    world.file("zone", "@ 300 A 192.0.2.1\n");
    assert_eq!(world.run(&["publish", "seed", "zone"]).code, 0);
    let hour_ago = now() - 3_600_000_000;
    world.publish_elsewhere(&other, hour_ago).await;
    let signed = timestamp(&world);

    world.file("keys", &format!("# mine and another's\n{KEY}\npk:{}\n", other.to_z32()));
    let done = world.run(&["republish", "--list", "keys", "--json"]);
    assert_eq!(done.code, 0, "{}", done.err);
    let mut reports: Vec<Value> = done.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    reports.sort_by_key(|report| report["key"] == KEY);
    for (report, (key, timestamp)) in
        reports.iter().zip([(other.to_z32(), hour_ago), (KEY.to_string(), signed)])
    {
        assert_eq!((&report["key"], &report["timestamp"]), (&key.into(), &timestamp.into()));
        let at_least_one = |field: &str| report[field].as_u64().unwrap() > 0;
        assert!(at_least_one("held_by") && at_least_one("nodes"), "{report}");
    }
    assert_eq!(timestamp(&world), signed, "nothing is signed anew");

    let partly = world.run(&["republish", KEY, &absent.to_z32()]);
    assert_eq!(partly.code, 1);
    assert!(partly.out.contains("only its owner can publish it"), "{}", partly.out);
    assert!(
        partly.err.contains("stored 1 of 2 keys again") && partly.err.contains("try those again"),
        "{}",
        partly.err
    );

    // It goes on where one is missing, and ends without a complaint when it is told to.
    let arguments = ["republish", KEY, &absent.to_z32(), "--every", "1h"];
    let mut repeating = world.start(&arguments);
    repeating.wait_for("again in 5");
    assert_eq!(repeating.stop(), Some(0));
}
