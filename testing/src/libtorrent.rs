//! A DHT of libtorrent nodes.

use std::{
    env,
    net::IpAddr,
    path::Path,
    process::{Command, Stdio},
};

use crate::{network_process::NetworkProcess, programs};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/interop/libtorrent_network.py");

/// Starts `nodes` nodes on `address` that know `others` too, `HOST:PORT`. `None`: there is no libtorrent, and that is
/// to be accepted.
pub fn start(address: IpAddr, nodes: usize, others: &[String]) -> Option<NetworkProcess> {
    command(&address.to_string(), nodes, others).map(NetworkProcess::start)
}

/// The command that does so, on one address or on several with commas between them.
pub fn command(addresses: &str, nodes: usize, others: &[String]) -> Option<Command> {
    let has_libtorrent = |python: &Path| {
        let mut import = Command::new(python);
        import.args(["-c", "import libtorrent"]).stdout(Stdio::null()).stderr(Stdio::null());
        import.status().is_ok_and(|status| status.success())
    };
    let package = "the libtorrent module, Debian's python3-libtorrent or PyPI's libtorrent";
    let python = env::var("PYTHON").unwrap_or("python3".into());
    let mut command = Command::new(programs::find(&python, has_libtorrent, package)?);
    command.args([SCRIPT, addresses, &nodes.to_string()]).args(others);
    Some(command)
}
