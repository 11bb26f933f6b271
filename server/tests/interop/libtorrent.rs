//! A DHT of libtorrent nodes.

use std::{
    env,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    process::{Command, Stdio},
};

use crate::{network_process::NetworkProcess, programs};

const NODES: usize = 12;
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../server/tests/interop/libtorrent_network.py");

/// Starts a network of its own on 127.0.0.1. `None`: there is no libtorrent, and that is to be accepted.
pub(crate) fn start() -> Option<NetworkProcess> {
    start_on(Ipv4Addr::LOCALHOST.into(), NODES, &[])
}

/// Starts `nodes` nodes on `address` that know `others` too, `HOST:PORT`. `None` as above.
pub(crate) fn start_on(address: IpAddr, nodes: usize, others: &[String]) -> Option<NetworkProcess> {
    let has_libtorrent = |python: &Path| {
        let mut import = Command::new(python);
        import.args(["-c", "import libtorrent"]).stdout(Stdio::null()).stderr(Stdio::null());
        import.status().is_ok_and(|status| status.success())
    };
    let package = "the libtorrent module, Debian's python3-libtorrent or PyPI's libtorrent";
    let python = env::var("PYTHON").unwrap_or("python3".into());
    let mut command = Command::new(programs::find(&python, has_libtorrent, package)?);
    command.args([SCRIPT, &address.to_string(), &nodes.to_string()]).args(others);
    Some(NetworkProcess::start(command))
}
