//! The input is a file of DHT nodes: read as it is, and with the checksum that belongs to it.

use std::{
    fs,
    hash::Hasher,
    time::{Duration, UNIX_EPOCH},
};

use pkdns_dht::internal::{
    saved_nodes::{LoadError, load, save},
    table::Contact,
};
use siphasher::sip::SipHasher13;
use tempfile::TempDir;

/// The network of the files in the seeds.
const BOOTSTRAP: &str = "dht.example:6881";

/// Bytes of a node in its shortest form, and of one in a line of text.
const COMPACT_SIZE: usize = 27;

thread_local! {
    static DIRECTORY: TempDir = tempfile::tempdir().expect("a directory");
}

/// Panics where the module does, or where it breaks a promise.
pub fn check(input: &[u8]) {
    check_file(input);
    let body = &input[..input.len().saturating_sub(8)];
    let mut sum = SipHasher13::new();
    sum.write(body);
    check_file(&[body, &sum.finish().to_le_bytes()].concat());
}

fn check_file(bytes: &[u8]) {
    let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let bootstrap = [BOOTSTRAP.to_owned()];
    let path = DIRECTORY.with(|directory| directory.path().join("nodes"));
    fs::write(&path, bytes).expect("a file");
    let nodes = match load(&path, &bootstrap, now) {
        Ok(nodes) => nodes,
        Err(error) => {
            assert!(matches!(error, LoadError::Damaged { .. }), "{error}");
            return;
        }
    };
    let count = nodes.len();
    let nodes: Vec<_> = nodes.collect();
    assert_eq!(nodes.len(), count, "not as many nodes as were promised");
    assert!(count <= bytes.len() / COMPACT_SIZE, "{count} nodes in {} bytes", bytes.len());
    // The text of earlier releases says more about an address than is kept.
    if count > 0 && !bytes.starts_with(b"pkdns DHT nodes, version 1") {
        assert!(nodes.iter().all(|node| node.address.port() != 0), "nobody can be asked at port 0");
        let saved = save(&path, &bootstrap, nodes.iter().copied(), now);
        assert!(saved.is_ok(), "{saved:?}");
        let again = load(&path, &bootstrap, now);
        // The largest round trips are cut.
        let known = |node: &Contact| (node.id, node.address, node.stores, node.rtt.is_some());
        let again: Vec<_> = again.unwrap_or_default().map(|node| known(&node)).collect();
        assert_eq!(again, nodes.iter().map(known).collect::<Vec<_>>(), "what was read is saved differently");
    }
}
