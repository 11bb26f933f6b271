//! How many instructions a piece of work takes, counted by callgrind and compared with `baseline.txt`. Unlike times,
//! they hardly depend on the machine and on what else it does. Run it with
//! `cargo bench --profile instructions -p pkdns --bench instructions`; it fails where something takes more than 3 %
//! more than in the baseline. With `-- --renew`, it writes the baseline anew: after a change that is worth its
//! instructions, after one that saves some, and for another compiler.
//!
//! From run to run, a figure varies by less than a thousandth: keys of hashes are random, and what lies where in memory
//! depends on the length of paths. Another compiler or C library, or a processor with other vector instructions, may
//! change it by some per cent. Without `--bench`, as under `cargo test --all-targets`, nothing is counted.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark may fail where it stands"
)]

mod work;

use std::{
    collections::BTreeMap,
    env, fs,
    path::Path,
    process::{Command, ExitCode},
};

/// Names this program's one function of which instructions are counted, with all that it calls.
const COUNTED: &str = "instructions::counted*";

/// How often the work is done in it.
const TIMES: u64 = 1000;

/// What a figure may be above that of the baseline, in per cent.
const TOLERANCE: f64 = 3.0;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let has = |wanted: &str| arguments.iter().any(|argument| argument == wanted);
    if let [first, name] = &arguments[..]
        && first == "--work"
    {
        let (_, prepare) =
            work::ALL.into_iter().find(|(known, _)| known == name).expect("a name of some work");
        let mut work = prepare();
        // What is made the first time only.
        work();
        counted(&mut work);
        return ExitCode::SUCCESS;
    }
    if !has("--bench") {
        work::ALL.into_iter().for_each(|(_, prepare)| prepare()());
        return ExitCode::SUCCESS;
    }
    if env::consts::ARCH != "x86_64" {
        println!("SKIPPED: the baseline is of x86-64");
        return ExitCode::SUCCESS;
    }
    let counts: Vec<_> = work::ALL.into_iter().map(|(name, _)| (name, count(name))).collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/instructions/baseline.txt");
    if has("--renew") {
        fs::write(path, written(&counts)).unwrap();
        return ExitCode::SUCCESS;
    }
    let text = fs::read_to_string(path).unwrap();
    if !compare(&counts, &read(&text)) {
        println!("The baseline was written with: {}", text.lines().last().unwrap_or_default());
        println!("This is:                       {}", compiler());
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

#[inline(never)]
fn counted(work: &mut dyn FnMut()) {
    (0..TIMES).for_each(|_| work());
}

/// Instructions that the work of this name takes.
fn count(name: &str) -> u64 {
    let valgrind = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(format!("--toggle-collect={COUNTED}"))
        .arg(env::current_exe().unwrap())
        .args(["--work", name])
        .output()
        .expect("valgrind is installed");
    let said = String::from_utf8_lossy(&valgrind.stderr);
    assert!(valgrind.status.success(), "{name}: {said}");
    let collected =
        said.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse::<u64>().ok());
    let collected = collected.filter(|collected| *collected > 0).unwrap_or_else(|| panic!("{name}: {said}"));
    collected / TIMES
}

/// Prints a table. Returns whether all is as in the baseline, or better.
fn compare(counts: &[(&str, u64)], baseline: &BTreeMap<&str, u64>) -> bool {
    println!("{:16}{:>14}{:>14}{:>10}", "instructions", "baseline", "now", "change");
    let mut is_good = true;
    for (name, count) in counts {
        let Some(before) = baseline.get(name) else {
            println!("{name:16}{:>14}{count:14}  is not in the baseline: write it with --renew", "none");
            is_good = false;
            continue;
        };
        let change = (*count as f64 / *before as f64 - 1.0) * 100.0;
        let verdict = match change {
            change if change > TOLERANCE => {
                "  FAILED: find the cause, or show that it is worth it and --renew"
            }
            change if change < -TOLERANCE => "  better: --renew, so that it stays so",
            _ => "",
        };
        is_good &= change <= TOLERANCE;
        println!("{name:16}{before:14}{count:14}{change:9.2} %{verdict}");
    }
    is_good
}

/// The figures of a baseline, by name.
fn read(text: &str) -> BTreeMap<&str, u64> {
    let figures = text.lines().filter_map(|line| line.split_once(' '));
    figures.filter_map(|(name, figure)| Some((name, figure.trim().parse().ok()?))).collect()
}

/// A line for each figure, and one for the compiler.
fn written(counts: &[(&str, u64)]) -> String {
    let lines = counts.iter().map(|(name, count)| format!("{name} {count}\n"));
    lines.chain([compiler()]).collect()
}

fn compiler() -> String {
    let rustc = Command::new(env::var("RUSTC").unwrap_or("rustc".into())).arg("--version").output().unwrap();
    String::from_utf8(rustc.stdout).unwrap()
}
