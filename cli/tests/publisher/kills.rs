//! Ends without a warning.

use std::{fs, thread, time::Duration};

use serde_json::Value;

use super::{KEY, Publisher, records_when, timestamp, world};

/// How often it is killed, each time a little later.
const KILLS: u64 = 12;

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_moment_leaves_nothing_half_written_and_time_never_goes_back() {
    let world = world().await;
    world.file("publisher.toml", "state = 'state'\n[[identity]]\nseed = 'seed'\nzone_file = 'zone'\n");
    let (mut newest, mut signed) = (0, 0);
    for number in 0..KILLS {
        world.file("zone", &format!("@ 300 A 192.0.2.{number}\n"));
        let publisher = Publisher::start(&world, &["serve"]);
        // From before the first question until after the last confirmation.
        thread::sleep(Duration::from_millis(40 + 60 * number));
        drop(publisher);
        if let Ok(state) = fs::read(world.path().join(format!("state/{KEY}.published.json"))) {
            let state: Value = serde_json::from_slice(&state).expect("whole");
            let timestamp = state["timestamp"].as_u64().unwrap();
            assert!(timestamp >= signed, "{timestamp} after {signed}");
            signed = timestamp;
        }
        let found = world.run(&["resolve", KEY, "--json"]);
        if found.code == 0 {
            let timestamp = found.json()["timestamp"].as_u64().unwrap();
            assert!(timestamp >= newest && timestamp <= signed, "{newest} {timestamp} {signed}");
            newest = timestamp;
        }
    }
    world.file("zone", "@ 300 A 192.0.2.200\n");
    let mut publisher = Publisher::start(&world, &["serve"]);
    publisher.wait_for("stored on");
    records_when(&world, KEY, |records| records == ["A 192.0.2.200"]);
    assert!(timestamp(&world) > signed);
}
