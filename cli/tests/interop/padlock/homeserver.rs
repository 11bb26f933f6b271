//! A Pubky homeserver with its database, as their packages have them: it shows its key and no certificate.

use std::{fs, path::Path, process::Command};

use pkdns_testing::programs;

use super::scene::Scene;

/// Where the program is, as `.ci/nightly` has installed it.
const VARIABLE: &str = "PUBKY_HOMESERVER";

/// What its first page says.
pub(crate) const PAGE: &str = "Pubky Homeserver";

/// Asks nothing of the internet. The list of relays may not be empty, so it names a port on which nothing listens.
const CONFIGURATION: &str = r#"
[general]
database_url = "postgres://postgres@127.0.0.1:5432/postgres"
signup_mode = "open"

[drive]
pubky_listen_socket = "203.0.113.10:6287"
icann_listen_socket = "127.0.0.1:6286"

[storage]
type = "file_system"

[admin]
enabled = false

[metrics]
enabled = false

[pkdns]
public_ip = "203.0.113.10"
user_keys_republisher_interval = 0
dht_bootstrap_nodes = ["BOOTSTRAP"]
dht_relay_nodes = ["http://127.0.0.1:1"]

[logging]
level = "info"
module_levels = []
"#;

/// Starts both, and returns the key. `None`: they are not installed, and that is to be accepted.
pub(crate) fn start(scene: &mut Scene) -> Option<String> {
    let Some(program) = std::env::var_os(VARIABLE) else {
        programs::skip(
            "no homeserver: .ci/nightly homeserver installs one and says in PUBKY_HOMESERVER where it is",
        );
        return None;
    };
    let database = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().next();
    let database = database.expect("install postgresql").path().join("bin");
    // The database refuses to run as root.
    let place = scene.path().join("database");
    fs::create_dir(&place).unwrap();
    for owned in [scene.path(), &place] {
        succeed(Command::new("chmod").arg("711").arg(owned));
    }
    succeed(Command::new("chown").arg("postgres").arg(&place));
    let [initdb, postgres] = ["initdb", "postgres"].map(|program| database.join(program));
    let (initdb, postgres, place) = (initdb.display(), postgres.display(), place.display());
    scene.shells.run(&format!("runuser -u postgres -- {initdb} -A trust -D {place}/data >initdb.log"));
    scene
        .shells
        .begin(&format!("exec runuser -u postgres -- {postgres} -D {place}/data -k {place} -h 127.0.0.1"));
    scene
        .shells
        .wait_until("the database listens", |shells| shells.succeeds("echo >/dev/tcp/127.0.0.1/5432"));

    let home = scene.path().join("homeserver");
    fs::create_dir(&home).unwrap();
    // Its configuration takes names of hosts only.
    let bootstrap = scene.bootstrap().replace("127.0.0.1", "localhost");
    fs::write(home.join("config.toml"), CONFIGURATION.replace("BOOTSTRAP", &bootstrap)).unwrap();
    scene.shells.begin(&format!("exec {} --data-dir homeserver", Path::new(&program).display()));
    scene
        .shells
        .wait_until("the homeserver has a key", |shells| shells.succeeds("test -s homeserver/secret"));
    let key = scene.shells.run("pkdns-cli publickey homeserver/secret").trim().to_owned();
    scene.shells.wait_until("the homeserver is published", |shells| {
        shells.succeeds(&format!("pkdns-cli resolve {key}"))
    });
    Some(key)
}

fn succeed(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}
