//! What is written about queries: rows, and switching it on and off.

use std::{
    fs,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use hickory_proto::rr::RecordType;
use pkdns_testing::server::query;
use tokio::time::sleep;

use super::{
    collector::contains,
    options::{Row, row},
    probes::{PATIENCE, Probe, over_udp, probe},
    stage::{Stage, World},
};

/// Fields of a payload, as far as their length: `identity`, and `query_address` of IPv4 (dnstap.proto).
const IDENTITY: u8 = 0x0a;
const CLIENT: [u8; 2] = [0x22, 4];

pub(crate) fn rows() -> Vec<Row> {
    let tap = "dnstap.to = '{dir}/one.sock'\n";
    vec![
        row(
            &["query_log.level"],
            "query_log.path = '{dir}/level'\nquery_log.level = 'truncated'",
            "query_log.level = 'full'",
            || line_in(&["level"], |_, line| field(line, "client=")),
            ["127.0.0.0/24", "127.0.0.1"],
        ),
        row(
            &["query_log.path"],
            "query_log.path = '{dir}/file-one'\nquery_log.level = 'full'",
            "query_log.path = '{dir}/file-two'",
            || line_in(&["file-one", "file-two"], |file, _| file.into()),
            ["file-one", "file-two"],
        ),
        row(
            &["query_log.format"],
            "query_log.path = '{dir}/format'\nquery_log.level = 'full'",
            "query_log.format = 'json'",
            || line_in(&["format"], |_, line| if line.starts_with('{') { "json" } else { "logfmt" }.into()),
            ["logfmt", "json"],
        ),
        row(
            &["dnstap.to"],
            tap,
            "dnstap.to = '{dir}/two.sock'",
            || frame(|collector, _| collector.into()),
            ["one", "two"],
        ),
        row(
            &["dnstap.clients"],
            tap,
            "dnstap.clients = 'full'",
            || {
                frame(|_, frame| {
                    let is = |last| contains(frame, &[&CLIENT[..], &[127, 0, 0, last]].concat());
                    format!("{} {}", is(0), is(1))
                })
            },
            ["true false", "false true"],
        ),
        row(
            &["dnstap.identity"],
            format!("{tap}dnstap.identity = 'one'"),
            "dnstap.identity = 'two'",
            || {
                frame(|_, frame| {
                    let is = |name: &&str| frame.starts_with(&[&[IDENTITY, 3], name.as_bytes()].concat());
                    ["one", "two"].into_iter().find(is).unwrap_or("another").into()
                })
            },
            ["one", "two"],
        ),
    ]
}

/// Asks for a name that nobody has asked for, and returns its first label.
async fn ask(stage: &Stage) -> String {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let label = format!("q{}", ASKED.fetch_add(1, Ordering::Relaxed));
    let reply = over_udp(stage.address("udp"), &query(&format!("{label}.example"), RecordType::A)).await;
    assert_eq!(reply, "NoError 192.0.2.53");
    label
}

/// The whole line about a question.
fn line(world: &World, file: &str, label: &str) -> Option<String> {
    let text = fs::read_to_string(world.path(file)).unwrap_or_default();
    let lines = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    lines.filter(|line| line.contains(&format!("{label}.example."))).map(str::to_owned).next()
}

fn in_wire_form(label: &str) -> Vec<u8> {
    [&[u8::try_from(label.len()).unwrap()], label.as_bytes(), b"\x07example\0"].concat()
}

/// The value of a field of logfmt.
fn field(line: &str, name: &str) -> String {
    line.split(' ').find_map(|field| field.strip_prefix(name)).unwrap_or_default().into()
}

/// Waits until there is something.
async fn once<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "no {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// Asks, and tells something of the line that one of these files gets.
fn line_in(files: &'static [&'static str], tell: fn(&str, &str) -> String) -> Probe {
    probe(move |stage| {
        Box::pin(async move {
            let label = ask(stage).await;
            let look = || {
                files.iter().find_map(|file| line(&stage.world, file, &label).map(|line| tell(file, &line)))
            };
            once("line", look).await
        })
    })
}

/// Asks, and tells something of the frame that one of the collectors gets.
fn frame(tell: fn(&str, &[u8]) -> String) -> Probe {
    probe(move |stage| {
        Box::pin(async move {
            let name = in_wire_form(&ask(stage).await);
            let collectors = &stage.world.collectors;
            let look = || {
                collectors.iter().find_map(|(of, frames)| frames.with(&name).map(|frame| tell(of, &frame)))
            };
            once("frame", look).await
        })
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_are_recorded_while_the_configuration_says_so() {
    let world = World::new().await;
    let stage = Stage::set(&world, "query_log.path = '{dir}/switched'").await;
    let mut asked = vec![ask(&stage).await];
    let on = "query_log.level = 'full'\ndnstap.to = '{dir}/one.sock'";
    for change in [on, "query_log.level = 'off'\ndnstap.to = '-'", on] {
        stage.reload(change).await.unwrap();
        asked.push(ask(&stage).await);
    }
    let line = |label: &str| line(&world, "switched", label);
    let frame = |label: &str| world.collectors[0].1.with(&in_wire_form(label));
    for label in [&asked[1], &asked[3]] {
        once("line", || line(label)).await;
        once("frame", || frame(label)).await;
    }
    for label in [&asked[0], &asked[2]] {
        assert_eq!((line(label), frame(label)), (None, None));
    }
}
