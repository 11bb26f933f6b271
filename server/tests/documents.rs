//! The documents say what is so: commands, links, and the list of banned dependencies.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail where it stands")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use pkdns::config::{ConfigFile, PRESETS, Preset, TEMPLATE};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The text of `document` under a heading, up to the next one.
fn section<'a>(document: &'a str, heading: &str) -> &'a str {
    let (_, rest) = document.split_once(&format!("\n## {heading}\n")).unwrap();
    rest.split_once("\n## ").map_or(rest, |(section, _)| section)
}

/// The contents of fenced shell commands.
fn commands(text: &str) -> Vec<&str> {
    let blocks = text.split("```sh\n").skip(1);
    blocks.filter_map(|block| block.split_once("\n```")).map(|(inside, _)| inside).collect()
}

#[test]
fn the_readme_begins_with_one_command_and_ci_runs_its_last() {
    let readme = read("README.md");
    let first = commands(section(&readme, "Try it"));
    assert_eq!(first[0], "cargo run --release -p pkdns -- --testnet");
    let last = commands(section(&readme, "Contributing"));
    assert_eq!(last, ["cargo test --workspace"]);
    let ci = read(".ci/run");
    assert!(ci.lines().any(|line| line == format!("step {}", last[0])), "{ci}");
}

#[test]
fn the_manual_of_the_crate_names_every_feature() {
    let manifest: toml::Table = read("server/Cargo.toml").parse().unwrap();
    let manual = read("server/src/lib.rs");
    for feature in manifest["features"].as_table().unwrap().keys().filter(|name| *name != "default") {
        assert!(manual.contains(&format!("\n//! | `{feature}` | ")), "{feature}");
    }
}

#[test]
fn each_preset_is_documented() {
    let manual = read("docs/operating.md");
    for Preset { name, .. } in &PRESETS {
        assert!(manual.contains(&format!("\n| `{name}` | ")), "{name}");
        assert!(TEMPLATE.contains(&format!("\"{name}\"")), "{name}");
    }
}

/// Options that every program has.
const EVERYWHERE: [&str; 2] = ["--help", "--version"];

#[test]
fn the_manual_names_every_flag() {
    let manual = read("docs/operating.md");
    let help = |arguments: &[&str]| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_pkdns")).args(arguments).arg("--help").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let all = help(&[]);
    let (_, commands) = all.split_once("\nCommands:\n").unwrap();
    let commands = commands.lines().take_while(|line| !line.is_empty());
    let commands = commands.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help");
    let pages: Vec<_> = commands.map(|name| help(&[name])).chain([all.clone()]).collect();
    assert!(pages.len() > 3, "{all}");
    // An option stands at the beginning of its line, behind its short form if it has one.
    let flags = pages.iter().flat_map(|page| page.lines()).filter_map(|line| {
        let line = line.trim_start();
        let line = if line.starts_with("--") { line } else { line.split_once(", ")?.1 };
        line.split([' ', '=', '[']).next().filter(|flag| flag.starts_with("--") && !EVERYWHERE.contains(flag))
    });
    let flags: Vec<_> = flags.collect();
    assert!(flags.len() > 10, "{flags:?}");
    flags.iter().for_each(|flag| assert!(manual.contains(flag), "docs/operating.md does not name {flag}"));
}

#[test]
fn ci_is_executable() {
    use std::os::unix::fs::PermissionsExt;
    for script in [
        ".ci/run",
        ".ci/nightly",
        ".ci/systemd/boot",
        ".ci/systemd/trial",
        ".ci/release/programs",
        ".ci/release/build",
        ".ci/release/image",
        ".ci/packages/try",
        ".ci/packages/trial",
        ".ci/packages/image",
    ] {
        let mode = fs::metadata(root().join(script)).unwrap().permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "{script}");
    }
}

#[test]
fn ci_makes_the_benchmarks_that_there_are() {
    let nightly = read(".ci/nightly");
    let manifest: toml::Table = read("server/Cargo.toml").parse().unwrap();
    let there: Vec<_> =
        manifest["bench"].as_array().unwrap().iter().map(|bench| bench["name"].as_str().unwrap()).collect();
    let made: Vec<_> = nightly
        .lines()
        .filter_map(|line| line.trim().strip_prefix("bench "))
        .map(|rest| rest.split(' ').next().unwrap())
        .collect();
    assert!(there.iter().all(|bench| made.contains(bench)), "{there:?} {made:?}");
    assert!(made.iter().all(|bench| there.contains(bench)), "{there:?} {made:?}");
}

/// A port without an address is open to all the world, and pkdns sees Docker's proxy in place of it.
#[test]
fn containers_publish_ports_on_loopback_alone_until_somebody_names_another_address() {
    let compose = read("docker-compose.yml");
    // Those that are to be had by taking the mark of a comment away as well.
    let lines = compose.lines().map(|line| line.trim().trim_start_matches("# "));
    let published: Vec<_> = lines.filter_map(|line| line.strip_prefix("- \"")).collect();
    // Of pkdns, Pi-hole and Caddy.
    assert_eq!(published.len(), 4 + 3 + 2);
    for port in published {
        let (variable, rest) = port.strip_prefix("${").and_then(|port| port.split_once(":-")).expect(port);
        assert!(variable.ends_with("_ADDRESS") && rest.starts_with("127.0.0."), "{port}");
    }
}

/// Whoever Docker's proxy speaks for has the gateway's address, wherever he comes from.
#[test]
fn the_configurations_for_containers_load_and_the_one_for_a_network_refuses_the_gateway() {
    let compose = read("docker-compose.yml");
    let gateway = compose.lines().find_map(|line| line.trim().strip_prefix("gateway: ")).unwrap();
    let mut together = String::new();
    for name in ["lan", "pihole", "caddy", "redis"] {
        let path = format!("contrib/compose/{name}.toml");
        let text = read(&path);
        ConfigFile::parse(Path::new(&path), &text).unwrap().check().unwrap();
        together.push_str(&text);
    }
    // Somebody may want all of it, and puts one behind the other.
    let config = ConfigFile::parse(Path::new("pkdns.toml"), &together).unwrap().check().unwrap();
    let access = config.access.list();
    assert!(!access.allows(gateway.parse().unwrap()), "{gateway}");
    assert!(access.allows("192.168.1.5".parse().unwrap()) && access.allows("127.0.0.1".parse().unwrap()));
    assert!(!access.allows("198.51.100.9".parse().unwrap()));
}

#[test]
fn the_configuration_of_the_debian_package_changes_no_default() {
    let text = read("contrib/debian/pkdns.toml");
    assert!(text.parse::<toml::Table>().unwrap().is_empty(), "{text}");
    // What it suggests is taken as it stands, once the comment signs are gone.
    let suggested: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .filter(|line| !line.starts_with(' '))
        .collect();
    assert!(suggested.len() > 3, "{suggested:?}");
    ConfigFile::parse(Path::new("pkdns.toml"), &suggested.join("\n")).unwrap().check().unwrap();
}

/// The package has the units of `contrib`, with its own path.
#[test]
fn units_name_their_programs_by_the_path_that_packages_replace() {
    for unit in ["pkdns.service", "pkdns-publisher.service"] {
        let text = read(format!("contrib/{unit}"));
        let started: Vec<_> = text.lines().filter(|line| line.starts_with("Exec")).collect();
        assert!(!started.is_empty(), "{unit}");
        for line in started {
            assert!(line.contains("=/usr/local/bin/pkdns") || line.contains("=/bin/sh "), "{unit}: {line}");
        }
    }
}

#[test]
fn the_service_of_nixos_is_as_restricted_as_the_unit() {
    let (unit, module) = (read("contrib/pkdns.service"), read("contrib/nix/module.nix"));
    let (_, service) = unit.split_once("[Service]\n").unwrap();
    let (service, _) = service.split_once("[Install]").unwrap();
    let mut compared = 0;
    for line in service.lines().filter(|line| !line.starts_with('#') && !line.starts_with("Exec")) {
        let Some((name, value)) = line.split_once('=') else { continue };
        let is_there = match name {
            "SystemCallFilter" => module.contains(&format!("\"{value}\"\n")),
            _ => module.contains(&format!("        {name} = \"{value}\";\n")),
        };
        assert!(is_there, "{line}");
        compared += 1;
    }
    assert!(compared > 30, "{compared}");
}

/// The manifests give the server its configuration, which nobody looks at before it is applied.
#[test]
fn the_configuration_for_kubernetes_loads_and_serves_no_strangers() {
    let manifests = read("contrib/kubernetes/pkdns.yaml");
    let (_, rest) = manifests.split_once("  pkdns.toml: |\n").unwrap();
    let (text, _) = rest.split_once("\n---\n").unwrap();
    let text: String =
        text.lines().map(|line| format!("{}\n", line.strip_prefix("    ").unwrap_or(line))).collect();
    let config = ConfigFile::parse(Path::new("pkdns.toml"), &text).unwrap().check().unwrap();
    assert_eq!(config.open_resolver(), None);
    // A node that passes questions on has an address of this range in most clusters.
    assert!(!config.access.list().allows("10.244.0.1".parse().unwrap()));
    for port in config.listen.iter().chain(&config.doh.plain_listen) {
        assert!(manifests.contains(&format!("containerPort: {}", port.port())), "{port}");
    }
}

/// Podman refuses to start with `uid=` among the options of a tmpfs.
#[test]
fn the_container_has_a_place_for_its_socket_that_podman_makes_too() {
    let compose = read("docker-compose.yml");
    let tmpfs = compose.lines().find_map(|line| line.trim().strip_prefix("tmpfs: ")).unwrap();
    assert_eq!(tmpfs, "[\"/run/pkdns:mode=1777\"]");
    assert!(read("Dockerfile").contains("ENV RUNTIME_DIRECTORY=/run/pkdns"));
}

/// What stands in ENTRYPOINT nobody's configuration can change.
#[test]
fn the_container_lets_a_configuration_say_where_it_listens() {
    let dockerfile = read("Dockerfile");
    let line = |start: &str| dockerfile.lines().find(|line| line.starts_with(start)).expect(start).to_owned();
    assert!(!line("ENTRYPOINT").contains("--listen"));
    assert!(line("CMD").contains("--listen"));
    // The check of its health asks wherever it listens.
    assert!(line("CMD").contains(":5300") && line("HEALTHCHECK").contains("\"status\""));
    let exposed = line("EXPOSE");
    let compose = read("docker-compose.yml");
    let published =
        compose.lines().filter_map(|line| Some(line.split_once("- \"${PKDNS_ADDRESS:-127.0.0.1}:")?.1));
    for port in published.map(|port| port.trim_end_matches('"').split(':').next_back().unwrap()) {
        assert!(exposed.contains(port), "{port}");
    }
}

/// It is pasted by people who then serve the Internet with it.
#[test]
fn the_configuration_of_a_public_server_is_taken_with_its_quotas_and_without_a_warning() {
    let operating = read("docs/operating.md");
    let (_, rest) = operating.split_once("pkdns.toml <<'TOML'\n").unwrap();
    let (text, _) = rest.split_once("\nTOML\n").unwrap();
    let config = ConfigFile::parse(Path::new("pkdns.toml"), text).unwrap().check().unwrap();
    assert_eq!(config.open_resolver(), None);
    assert!(config.listen.iter().all(|address| address.ip().is_loopback()), "no open port for plain DNS");
    // The table below says why the numbers are these.
    let (limits, relay) = (&config.rate_limit, &config.relay);
    for (option, number) in [
        ("rate_limit.requests_per_minute", limits.requests_per_minute),
        ("rate_limit.burst_size", limits.burst_size),
        ("rate_limit.dht_requests_per_minute", limits.dht_requests_per_minute),
        ("rate_limit.dht_burst_size", limits.dht_burst_size),
        ("relay.writes_per_minute", relay.writes_per_minute),
    ] {
        let row = |line: &&str| line.starts_with(&format!("| `{option}` |"));
        let rows: Vec<_> = section(&operating, "A public server").lines().filter(row).collect();
        let [row] = rows[..] else { panic!("{option}: {rows:?}") };
        let public = row.split('|').nth(3).unwrap().trim().replace(',', "");
        assert_eq!(public, number.to_string(), "{option}");
    }
}

#[test]
fn links_between_documents_lead_somewhere() {
    let in_docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let at_root = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(|name| root().join(name));
    let mut followed = 0;
    for document in
        in_docs.chain(at_root).filter(|path| path.extension().is_some_and(|ending| ending == "md"))
    {
        for link in read(&document).split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0)) {
            let path = link.split('#').next().unwrap();
            if path.is_empty() || path.contains("://") {
                continue;
            }
            let target = document.parent().unwrap().join(path);
            assert!(target.exists(), "{} links to {link}, which is not there", document.display());
            followed += 1;
        }
    }
    assert!(followed > 10);
}

#[test]
fn no_banned_dependency_is_in_the_lock_file() {
    let rules: toml::Table = read("deny.toml").parse().unwrap();
    let lock: toml::Table = read("Cargo.lock").parse().unwrap();
    let packages: Vec<_> =
        lock["package"].as_array().unwrap().iter().map(|package| package["name"].as_str().unwrap()).collect();
    assert!(packages.contains(&"ring"));
    for banned in rules["bans"]["deny"].as_array().unwrap() {
        let banned = banned["crate"].as_str().unwrap();
        assert!(!packages.contains(&banned), "{banned} is in Cargo.lock; deny.toml says why it must not be");
    }
}
