//! A thousand keys.

use std::{fmt::Write, fs};

use super::{Publisher, world};

const COUNT: usize = 1000;

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_identities_are_published_by_one_small_process() {
    let world = world().await;
    let mut config = "state = 'state'\n".to_string();
    for number in 0..COUNT {
        world.file(&format!("seed-{number}"), &format!("{:064x}", number + 1));
        let record = format!("@ 300 A 192.0.2.{}", number % 256);
        write!(config, "[[identity]]\nseed = 'seed-{number}'\nrecords = '{record}'\n").unwrap();
    }
    world.file("publisher.toml", &config);
    let mut publisher = Publisher::start(&world, &["serve"]);
    for _ in 0..COUNT {
        publisher.wait_for(": stored on");
    }
    let status = fs::read_to_string(format!("/proc/{}/status", publisher.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kilobytes: usize = peak.trim().trim_end_matches(" kB").trim().parse().unwrap();
    assert!(kilobytes < 60_000, "{kilobytes} kB");
    assert_eq!(publisher.stop(), Some(0));
}
