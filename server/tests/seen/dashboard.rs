//! The dashboard and the alerts of contrib/: queries that Prometheus can read, about metrics that there are.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use pkdns_testing::programs;
use serde_json::Value;
use tempfile::TempDir;

use crate::{counts, server};

fn contrib(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../contrib").join(path)).unwrap()
}

/// Every `expr` of the dashboard, with an interval in the place of Grafana's variable.
fn queries() -> Vec<String> {
    fn collect(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    match value.as_str() {
                        Some(query) if name == "expr" => found.push(query.replace("$__rate_interval", "5m")),
                        _ => collect(value, found),
                    }
                }
            }
            Value::Array(values) => values.iter().for_each(|value| collect(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    collect(&serde_json::from_str(&contrib("grafana/pkdns.json")).unwrap(), &mut found);
    assert!(found.len() > 30, "{found:?}");
    found
}

fn promtool() -> Option<PathBuf> {
    programs::find("promtool", |_| true, "prometheus")
}

/// Runs it in a directory with these files, and expects that it finds nothing wrong.
fn check(promtool: &Path, arguments: &[&str], files: &[(&str, String)]) {
    let directory = TempDir::new().unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    let output = Command::new(promtool).args(arguments).current_dir(directory.path()).output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success(), "{}", said.concat());
}

#[test]
fn prometheus_reads_each_query_of_the_dashboard() {
    let Some(promtool) = promtool() else { return };
    // As rules, because this is how promtool reads queries without a server.
    let rules: String = queries()
        .iter()
        .enumerate()
        .map(|(number, query)| {
            format!("      - record: query{number}\n        expr: {}\n", Value::from(query.as_str()))
        })
        .collect();
    let text = format!("groups:\n  - name: dashboard\n    rules:\n{rules}");
    check(&promtool, &["check", "rules", "queries.yml"], &[("queries.yml", text)]);
}

#[test]
fn prometheus_takes_the_alerts_and_they_go_off_when_they_should() {
    let Some(promtool) = promtool() else { return };
    let files = [
        ("pkdns.rules.yml", contrib("prometheus/pkdns.rules.yml")),
        ("test.yml", include_str!("pkdns.rules.test.yml").to_owned()),
    ];
    check(&promtool, &["check", "rules", "pkdns.rules.yml"], &files);
    check(&promtool, &["test", "rules", "test.yml"], &files);
}

/// Words of a query that look like metrics of ours, with the part of a histogram left out.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let words = text.split(|letter| !is_part(letter));
    words
        .filter(|word| word.starts_with("pkdns_") || word.starts_with("process_"))
        .map(|word| word.strip_suffix("_bucket").or_else(|| word.strip_suffix("_count")).unwrap_or(word))
        .map(String::from)
        .collect()
}

#[tokio::test]
async fn what_is_shown_and_watched_is_what_a_server_tells() {
    let server = server::with_everything();
    let page = server.get(server.pages(), "/metrics").await.1;
    let served = BTreeSet::from_iter(counts::served(&page));
    // Of the rules, what they ask and not what they say.
    let rules: String = contrib("prometheus/pkdns.rules.yml")
        .lines()
        .filter(|line| !line.contains("description:") && !line.contains("summary:"))
        .map(|line| format!("{line}\n"))
        .collect();
    let mut named: BTreeSet<_> = queries().iter().flat_map(|query| metrics_in(query)).collect();
    named.extend(metrics_in(&rules));
    assert!(named.len() > 25, "{named:?}");
    let missing: Vec<_> = named.difference(&served).collect();
    assert!(missing.is_empty(), "{missing:?} are not in\n{page}");
}
