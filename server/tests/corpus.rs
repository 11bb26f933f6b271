//! The inputs that fuzzing found worth keeping, through the functions that the fuzz targets call. A crash that was
//! found once is kept there, so that it cannot come back.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::{fs, path::Path};

#[path = "../../fuzz/src/classify.rs"]
pub mod classify;
#[path = "../../fuzz/src/client_hello.rs"]
pub mod client_hello;
#[path = "../../fuzz/src/decode.rs"]
pub mod decode;
#[path = "../../fuzz/src/doh.rs"]
pub mod doh;
#[path = "../../fuzz/src/krpc.rs"]
pub mod krpc;
#[path = "../../fuzz/src/zone.rs"]
pub mod zone;

/// Each target began with more seeds than this.
const FEWEST_INPUTS: usize = 16;

#[test]
fn messages_that_fuzzing_kept_are_read_and_written() {
    replay("decode", decode::check);
}

#[test]
fn packets_that_fuzzing_kept_become_zones_that_answer() {
    replay("zone", zone::check);
}

#[test]
fn names_that_fuzzing_kept_are_classified() {
    replay("classify", classify::check);
}

#[test]
fn hellos_that_fuzzing_kept_are_read_or_refused() {
    replay("client_hello", client_hello::check);
}

#[test]
fn datagrams_that_fuzzing_kept_are_read_and_written() {
    replay("krpc", krpc::check);
}

#[test]
fn requests_that_fuzzing_kept_are_answered() {
    replay("doh", doh::check);
}

fn replay(target: &str, check: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let mut inputs: Vec<_> = fs::read_dir(&corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
    inputs.sort();
    assert!(inputs.len() >= FEWEST_INPUTS, "only {} inputs in {}", inputs.len(), corpus.display());
    for input in inputs {
        // The last one in the output of a failed test is the one to look at.
        println!("{}", input.display());
        check(&fs::read(&input).unwrap());
    }
}
