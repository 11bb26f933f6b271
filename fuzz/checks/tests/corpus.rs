//! The inputs that were written by hand and those that fuzzing found worth keeping, through the functions that the fuzz
//! targets call. A crash that was found once is kept there, so that it cannot come back.

use std::{collections::BTreeSet, fs, path::Path};

use pkdns_fuzz_checks::{
    age, classify, client_hello, decode, doh, dyndns, krpc, proxy_header, redis_url, saved_nodes,
    stored_packet, zone, zone_file,
};

/// Each target began with more seeds than this.
const FEWEST_INPUTS: usize = 16;

/// Makes a test of each target, and `TARGETS` of their names.
macro_rules! replayed {
    ($($test:ident: $target:ident),* $(,)?) => {
        const TARGETS: &[&str] = &[$(stringify!($target)),*];
        $(#[test]
        fn $test() {
            replay(stringify!($target), $target::check);
        })*
    };
}

replayed! {
    messages_that_fuzzing_kept_are_read_and_written: decode,
    packets_that_fuzzing_kept_become_zones_that_answer: zone,
    names_that_fuzzing_kept_are_classified: classify,
    hellos_that_fuzzing_kept_are_read_or_refused: client_hello,
    datagrams_that_fuzzing_kept_are_read_and_written: krpc,
    requests_that_fuzzing_kept_are_answered: doh,
    zone_files_that_fuzzing_kept_are_read_and_written: zone_file,
    age_files_that_fuzzing_kept_are_read_or_refused: age,
    proxy_headers_that_fuzzing_kept_are_taken_off: proxy_header,
    updates_that_fuzzing_kept_are_understood_or_refused: dyndns,
    addresses_of_redis_that_fuzzing_kept_are_read_without_their_passwords: redis_url,
    stored_packets_that_fuzzing_kept_are_verified: stored_packet,
    files_of_nodes_that_fuzzing_kept_are_read_or_refused: saved_nodes,
}

#[test]
fn every_fuzz_target_is_replayed() {
    let files = fs::read_dir(fuzz().join("fuzz_targets")).unwrap();
    let present: BTreeSet<_> = files.map(|file| file.unwrap().path()).collect();
    let present: Vec<_> = present.iter().map(|path| path.file_stem().unwrap().to_str().unwrap()).collect();
    let mut replayed = TARGETS.to_vec();
    replayed.sort_unstable();
    assert_eq!(replayed, present);
}

fn replay(target: &str, check: fn(&[u8])) {
    let corpus = fuzz().join("corpus").join(target);
    let mut inputs: Vec<_> = fs::read_dir(&corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
    inputs.sort();
    assert!(inputs.len() >= FEWEST_INPUTS, "only {} inputs in {}", inputs.len(), corpus.display());
    for input in inputs {
        // The last one in the output of a failed test is the one to look at.
        println!("{}", input.display());
        check(&fs::read(&input).unwrap());
    }
}

fn fuzz() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}
