//! A DHT of nodes of npm's bittorrent-dht.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{network_process::NetworkProcess, programs};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/interop/bittorrent_dht_network.js");

/// Where CONTRIBUTING.md installs it.
const MODULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/interop/node_modules");

/// Starts `nodes` nodes on 127.0.0.1. `None`: Node.js or the package is missing, and that is to be accepted.
pub fn start(nodes: usize) -> Option<NetworkProcess> {
    let modules = modules();
    let package = "Debian's nodejs, and npm's bittorrent-dht as CONTRIBUTING.md says";
    let node = programs::find("node", |_| modules.is_some(), package)?;
    let mut command = Command::new(node);
    command.arg(SCRIPT).arg(modules?).arg(nodes.to_string());
    Some(NetworkProcess::start(command))
}

/// The folder that the package is in. `import` itself does not look at NODE_PATH.
fn modules() -> Option<PathBuf> {
    let path = env::var_os("NODE_PATH").unwrap_or_default();
    let mut folders = env::split_paths(&path).chain([MODULES.into()]);
    folders.find(|folder: &PathBuf| folder.join(Path::new("bittorrent-dht/package.json")).is_file())
}
