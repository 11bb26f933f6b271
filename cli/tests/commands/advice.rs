//! Advice for somebody who puts a site at home online, with a router that tells its address: what goes wrong, and what is said
//! then. What goes right is in `interop/publish.rs`, which types the blocks of docs/publish.md and docs/dyn-dns.md.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use pkdns_testing::program::{HEX, World, command, directory, run};

/// Nobody answers on this port.
const NOBODY: &str = "127.0.0.1:9";

/// A seed as `generate` writes it, and a zone.
fn files(directory: &Path) {
    fs::write(directory.join("my.seed"), HEX).unwrap();
    fs::set_permissions(directory.join("my.seed"), PermissionsExt::from_mode(0o600)).unwrap();
    let large: String =
        ["a", "b", "c", "d", "e"].map(|name| format!("{name} TXT \"{}\"\n", name.repeat(250))).concat();
    for (name, text) in [
        ("my.zone", "@ 300 A 192.0.2.1\n"),
        ("hash.zone", "# my zone\n@ 300 A 192.0.2.1\n"),
        ("umlaut.zone", "b\u{fc}cher 300 A 192.0.2.1\n"),
        ("detected.zone", "@ 300 A {external_ipv4}\n"),
        ("large.zone", &large),
        ("table.toml", "[identity]\nseed = \"my.seed\"\n"),
        ("swapped.toml", "state = \"state\"\n[[identity]]\nseed = \"my.zone\"\nzone_file = \"my.seed\"\n"),
        ("misspelt.toml", "[[identity]]\nsed = \"my.seed\"\nzone_file = \"my.zone\"\n"),
        (
            "elsewhere.toml",
            "state = \"state\"\n[dyndns]\nlisten = [\"192.0.2.77:8245\"]\n[[identity]]\nseed = \"my.seed\"\nzone_file = \"my.zone\"\n",
        ),
    ] {
        fs::write(directory.join(name), text).unwrap();
    }
}

/// Each is a mistake of a beginner, with what is typed, the exit code and what to do.
#[test]
fn whoever_errs_is_told_what_to_do() {
    let directory = directory();
    files(directory.path());
    let key = &pkdns_dht::signed_packet::Keypair::from_secret_key(&[3; 32]).to_z32();
    for (mistake, arguments, code, advice) in [
        (
            "the testnet does not run",
            &["--testnet", "publish", "my.seed", "my.zone"][..],
            4,
            "start `pkdns --testnet` in another terminal",
        ),
        (
            "there is no network",
            &["--bootstrap", NOBODY, "publish", "my.seed", "my.zone"],
            4,
            "check the network connection (UDP)",
        ),
        ("the seed is there already", &["generate", "--out", "my.seed"], 1, "choose another name"),
        ("seed and zone are swapped", &["publish", "my.zone", "my.seed"], 1, "swap the two files"),
        (
            "only the zone is there",
            &["publickey", "my.zone"],
            1,
            "holds a zone, and stands where the seed file",
        ),
        (
            "the configuration swaps them",
            &["serve", "--check", "--config", "swapped.toml"],
            1,
            "or swap the two",
        ),
        ("a comment begins with #", &["zone", "hash.zone"], 1, "comments begin with ; and not with #"),
        ("the zone is too large", &["zone", "large.zone"], 1, "more than the 1000 of a packet"),
        ("nobody finds the address", &["publish", "my.seed", "detected.zone"], 1, "--detect-ip"),
        ("a table in place of a list", &["serve", "--check", "--config", "table.toml"], 1, "[[identity]]"),
        (
            "an option is misspelt",
            &["serve", "--check", "--config", "misspelt.toml"],
            1,
            "did you mean `seed`?",
        ),
        (
            "the router is to tell another machine",
            &["serve", "--check", "--config", "elsewhere.toml"],
            1,
            "write one that it has, or 0.0.0.0",
        ),
        ("the last character of the key is lost", &["resolve", &key[..51]], 2, "51 characters"),
    ] {
        let said = run(directory.path(), arguments);
        assert_eq!(said.code, code, "{mistake}: {}{}", said.out, said.err);
        assert!(said.err.contains(advice), "{mistake}: {}", said.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_says_once_which_dht_all_commands_use() {
    let world = World::new().await;
    files(world.path());
    let in_environment = |nodes: &str, arguments: &[&str]| {
        command(world.path(), arguments).env("PKDNS_BOOTSTRAP", nodes).output().unwrap()
    };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let nodes = world.bootstrap();
    let published = in_environment(&format!("{NOBODY}, {}", nodes[0]), &["publish", "my.seed", "my.zone"]);
    assert!(published.status.success(), "{published:?}");
    // It need not be typed again.
    assert!(text(&published.stdout).contains("\n  pkdns-cli resolve "), "{published:?}");
    // What is typed counts more.
    let elsewhere = in_environment(NOBODY, &["--bootstrap", &nodes[0], "resolve", "--seed", "my.seed"]);
    assert!(elsewhere.status.success(), "{elsewhere:?}");
    let wrong = in_environment("nonsense", &["publish", "my.seed", "my.zone"]);
    let said = text(&wrong.stderr);
    assert_eq!(wrong.status.code(), Some(1), "{said}");
    assert!(
        said.contains("PKDNS_BOOTSTRAP=nonsense: expected HOST:PORT") && said.contains("unset"),
        "{said}"
    );
}

#[test]
fn a_name_that_no_browser_asks_for_is_warned_of() {
    let directory = directory();
    files(directory.path());
    let shown = run(directory.path(), &["zone", "umlaut.zone"]);
    assert!(format!("{}{}", shown.out, shown.err).contains("xn--"), "{}{}", shown.out, shown.err);
}

#[test]
fn a_new_key_comes_with_what_to_do_next() {
    let directory = directory();
    let made = run(directory.path(), &["generate", "--out", "home.seed"]);
    for part in
        ["> home.zone\n", "pkdns-cli publish home.seed home.zone --watch", "forgets it after some two hours"]
    {
        assert!(made.out.contains(part), "{}", made.out);
    }
}
