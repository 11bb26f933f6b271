//! The publisher as a service: `publish --watch` and `serve`, on a real DHT, told of addresses by real programs.

mod detection;
mod dyndns;
mod kills;
mod notices;
mod republish;
mod speed;
mod status;
mod terminal;
mod unit;
mod zones;

use std::time::Duration;

use pkdns_testing::{
    program::{HEX, KEY, World},
    wait,
};
use serde_json::Value;

/// How long a test waits for what must come.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// The records of the key on the DHT as `name type data`, once they fulfil the condition.
#[track_caller]
pub(crate) fn records_when(world: &World, key: &str, condition: impl Fn(&[String]) -> bool) -> Vec<String> {
    wait::found(|| {
        let found = world.run(&["resolve", key, "--json"]);
        let records = if found.code == 0 { records(&found.json()) } else { Vec::new() };
        if condition(&records) { Ok(records) } else { Err(records) }
    })
}

fn records(resolved: &Value) -> Vec<String> {
    let records = resolved["records"].as_array().unwrap().iter();
    let text = |record: &Value, field: &str| record[field].as_str().unwrap().to_string();
    records.map(|record| format!("{} {}", text(record, "type"), text(record, "data"))).collect()
}

pub(crate) async fn world() -> World {
    let world = World::new().await;
    world.file("seed", HEX);
    std::fs::set_permissions(world.path().join("seed"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .unwrap();
    world
}

/// When the packet of the key was signed.
pub(crate) fn timestamp(world: &World) -> u64 {
    world.run(&["resolve", KEY, "--json"]).json()["timestamp"].as_u64().unwrap()
}
