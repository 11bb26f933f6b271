//! Debian's Chromium, as tests run it, and whom it believes.

use std::{fs, path::Path, process::Command};

use crate::programs;

/// Headless, without any habit that needs a network or a desktop. It prints the page as it is after ten seconds of its own time.
pub const FLAGS: [&str; 11] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
    "--virtual-time-budget=10000",
    "--dump-dom",
];

/// Makes a database of certificates, also for Firefox, in which the authority in the file `certificate` is believed about web servers.
/// `None`: there is no certutil, and that is to be accepted.
pub fn believe(database: &Path, certificate: &Path) -> Option<()> {
    let certutil = programs::find("certutil", |_| true, "libnss3-tools")?;
    fs::create_dir_all(database).unwrap();
    let database = format!("sql:{}", database.display());
    for arguments in [&["-N", "--empty-password"][..], &["-A", "-t", "C,,", "-n", "test", "-i"]] {
        let mut command = Command::new(&certutil);
        command.args(["-d", &database]).args(arguments);
        if arguments.contains(&"-i") {
            command.arg(certificate);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    Some(())
}
