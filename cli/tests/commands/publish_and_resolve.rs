//! The program as its users run it, against a DHT on this machine.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    process::Stdio,
};

use pkdns_dht::signed_packet::Keypair;
use pkdns_testing::program::{
    HEX, KEY, World, Z32, command, directory, file, now, run, run_with_input, secret,
};
use serde_json::Value;

/// Nobody answers on this port.
const NOBODY: &str = "127.0.0.1:9";

fn data<'a>(resolved: &'a Value, name: &str) -> Vec<&'a str> {
    let records = resolved["records"].as_array().unwrap().iter();
    records.filter(|record| record["name"] == name).map(|record| record["data"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_made_published_resolved_and_updated() {
    let world = World::new().await;

    let generated = world.run(&["generate", "--out", "my.seed", "--json"]);
    assert_eq!(generated.code, 0, "{}", generated.err);
    let generated = generated.json();
    let key = generated["key"].as_str().unwrap();
    assert_eq!(generated["seed_file"], "my.seed");
    let shown = world.run(&["publickey", "my.seed"]);
    assert_eq!((shown.code, shown.out.trim(), shown.err.as_str()), (0, key, ""));

    world.file("zone", "@ 300 A 192.0.2.1\nwww 3600 CNAME @\n_pubky 60 HTTPS 0 example.com.\n");
    let published = world.run(&["publish", "my.seed", "zone"]);
    assert_eq!(published.code, 0, "{}", published.err);
    assert!(published.out.starts_with(&format!("{key}\npublished for the first time")), "{}", published.out);
    let next = |heading: &str| {
        let mut lines = published.out.lines().skip_while(|line| !line.contains(heading)).skip(1);
        lines.next().unwrap_or_else(|| panic!("{heading}: {}", published.out)).trim()
    };
    assert!(next("Look it up:").starts_with("pkdns-cli --bootstrap 127.0.0.1:"), "{}", published.out);
    assert_eq!(next("Open it in a browser"), format!("http://{key}.key/"));
    let watching = next("forget it after some two hours");
    assert!(watching.ends_with(" publish my.seed zone --watch"), "{watching}");

    let resolved = world.run(&["resolve", &format!("{}.KEY", key.to_uppercase()), "--json"]).json();
    assert_eq!(resolved["key"], key);
    assert_eq!(data(&resolved, &format!("{key}.")), ["192.0.2.1"]);
    assert_eq!(data(&resolved, &format!("www.{key}.")), [format!("{key}.")]);
    assert!(resolved["nodes_responded"].as_u64() > Some(0) && resolved["age"].as_i64() < Some(120));
    let table = world.run(&["resolve", &format!("pk:{key}")]);
    assert!(
        table.out.contains("\nNAME    TTL   TYPE   DATA\n@       300   A      192.0.2.1\n"),
        "{}",
        table.out
    );
    let sub = world.run(&["resolve", &format!("_pubky.{key}")]);
    assert!(sub.out.contains("HTTPS  0 example.com.") && !sub.out.contains("192.0.2.1"), "{}", sub.out);
    world
        .run(&["resolve", &format!("mail.{key}")])
        .assert_failed(1, &format!("there is no mail.{key} in the"));

    let again = world.run(&["publish", "my.seed", "zone"]);
    assert!(again.out.contains("published again, unchanged"), "{}{}", again.out, again.err);
    assert_eq!(again.err, "");

    world.file("zone", "@ 300 A 192.0.2.2\nwww 3600 CNAME @\n");
    let update = world.run(&["publish", "--json", "--seed", "my.seed", "--zone-file", "zone"]);
    assert_eq!(update.code, 0, "{}", update.err);
    let changes = ["- @ 300 A 192.0.2.1", "- _pubky 60 HTTPS 0 example.com.", "+ @ 300 A 192.0.2.2"];
    assert_eq!(update.messages(), changes);
    let update = update.json();
    assert!(
        update["nodes"].as_u64() > Some(0) && update["timestamp"].as_u64() > resolved["timestamp"].as_u64()
    );
    assert_eq!(update["added"][0]["data"], "192.0.2.2");
    assert_eq!(update["removed"].as_array().unwrap().len(), 2);
    let resolved = world.run(&["resolve", key, "--json"]).json();
    assert_eq!(data(&resolved, &format!("{key}.")), ["192.0.2.2"]);
    assert_eq!(resolved["timestamp"], update["timestamp"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_file_and_a_pasted_address_name_a_key() {
    let world = World::new().await;
    world.file("seed", HEX);
    world.file("passphrase", "long enough");
    world.file("zone", "www 3600 A 192.0.2.1\n");
    assert_eq!(world.run(&["publish", "seed", "zone"]).code, 0);
    for arguments in [
        &["resolve", "--seed", "seed", "--json"][..],
        &["resolve", KEY, "--json"],
        &["resolve", &format!("http://www.{KEY}.key/"), "--json"],
        &["publickey", "--seed", "seed", "--json"],
        &["publickey", "seed", "--json"],
    ] {
        assert_eq!(world.run(arguments).json()["key"], KEY, "{arguments:?}");
    }
    let export =
        ["export", "--recovery-file", "new", "--new-passphrase-file", "passphrase", "--seed", "seed"];
    assert_eq!(world.run(&export).code, 0);
    let cut = world.run(&["resolve", &KEY[..51]]);
    cut.assert_failed(2, "the last label has 51 characters, and a key has 52");
    assert!(!cut.err.contains("seed"), "{}", cut.err);
    for arguments in
        [&["resolve", KEY, "--seed", "seed"][..], &["publickey", "seed", "--seed", "seed"], &["export"]]
    {
        assert_eq!(world.run(arguments).code, 2, "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_packet_is_replaced_by_force_only() {
    let world = World::new().await;
    world.file("seed", Z32);
    world.file("zone", "@ A 192.0.2.1\n");
    let hour_ahead = now() + 3_600_000_000;
    world.publish_elsewhere(&Keypair::from_secret_key(&secret()), hour_ahead).await;

    let refused = world.run(&["publish", "seed", "zone"]);
    refused.assert_failed(3, "there is a newer packet of this key, signed 59 minutes in the future");
    assert!(refused.err.contains("--force"), "{}", refused.err);
    assert_eq!(world.run(&["resolve", KEY, "--json"]).json()["timestamp"], hour_ahead);

    let forced = world.run(&["publish", "--force", "--json", "--zone-file", "zone", "seed"]).json();
    assert_eq!(forced["timestamp"], hour_ahead + 1);
    assert_eq!(forced["previous_timestamp"], hour_ahead);
    assert_eq!(world.run(&["resolve", KEY, "--json"]).json()["timestamp"], hour_ahead + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_never_published_is_a_failure_and_not_an_outage() {
    let world = World::new().await;
    world.run(&["resolve", KEY]).assert_failed(1, &format!("there is no packet of {KEY}: "));
}

#[test]
fn a_publisher_without_a_dht_exits_with_a_code_of_its_own() {
    // A failed publish used to exit with 0, and no timer ever noticed.
    let directory = directory();
    file(&directory, "seed", HEX);
    file(&directory, "zone", "@ A 192.0.2.1\n");
    run(directory.path(), &["publish", "seed", "zone", "--bootstrap", NOBODY])
        .assert_failed(4, "the DHT could not be joined through 127.0.0.1:9: check the network connection");
}

#[test]
fn a_reader_without_a_dht_exits_with_a_code_of_its_own() {
    let directory = directory();
    run(directory.path(), &["resolve", KEY, "--bootstrap", NOBODY])
        .assert_failed(4, "the DHT could not be joined through 127.0.0.1:9: check the network connection");
}

#[test]
fn a_new_key_goes_into_a_file_of_its_own_and_nowhere_else() {
    let directory = directory();
    let made = run(directory.path(), &["generate"]);
    assert_eq!(made.code, 0, "{}", made.err);
    let files: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap()).collect();
    assert_eq!(files.len(), 1);
    let name = files[0].file_name().into_string().unwrap();
    let seed = fs::read_to_string(files[0].path()).unwrap();
    let key = run(directory.path(), &["publickey", &name]).out.trim().to_string();
    assert_eq!(name, format!("{}.seed", &key[..8]));
    assert!(made.out.contains(&key) && made.out.contains(&name), "{}", made.out);
    assert!(!made.out.contains(&seed[..8]) && !made.err.contains(&seed[..8]));
    assert_eq!(files[0].metadata().unwrap().permissions().mode() & 0o777, 0o600);

    run(directory.path(), &["generate", "--out", &name])
        .assert_failed(1, "exists already, and no file is ever overwritten");
    assert_eq!(fs::read_to_string(files[0].path()).unwrap(), seed);
    run(directory.path(), &["generate", "--out", "-"]).assert_failed(1, "only ever written to a file");
    run(directory.path(), &["generate", "--out", "no/such/place"])
        .assert_failed(1, "cannot write \"no/such/place\"");
}

#[test]
fn the_output_of_generate_is_no_seed() {
    // 52 characters of z-base-32 are a seed: whoever redirects the output must not get one that everyone knows.
    let directory = directory();
    let made = run(directory.path(), &["generate"]);
    file(&directory, "redirected", &made.out);
    run(directory.path(), &["publickey", "redirected"]).assert_failed(1, "does not hold a seed");
}

#[test]
fn the_key_of_either_form_of_a_seed_is_shown() {
    // `publickey` used to refuse the seeds that its own `generate` had made, and to print them.
    let directory = directory();
    for seed in [HEX, Z32] {
        for text in [seed.to_string(), format!("  {seed}\r\n")] {
            file(&directory, "seed", &text);
            assert_eq!(run(directory.path(), &["publickey", "seed"]).out, format!("{KEY}\n"));
            let input = run_with_input(directory.path(), &["publickey", "-", "--json"], &text);
            assert_eq!((input.json()["key"].as_str(), input.err.as_str()), (Some(KEY), ""));
        }
    }
}

#[test]
fn what_is_not_a_seed_is_refused_and_not_repeated() {
    let directory = directory();
    file(&directory, "zone", "@ A 192.0.2.1\n");
    let beside = [HEX[1..].to_string(), format!("{HEX}{Z32}"), Z32.replace('a', "l"), format!("seed={Z32}")];
    for text in beside {
        file(&directory, "seed", &text);
        for arguments in [["publickey", "seed"].as_slice(), &["publish", "seed", "zone"]] {
            run(directory.path(), arguments).assert_failed(1, "\"seed\" does not hold a seed: expected 64");
        }
        run_with_input(directory.path(), &["publickey", "-"], &text)
            .assert_failed(1, "standard input does not hold a seed");
    }
    run(directory.path(), &["publickey", "missing"])
        .assert_failed(1, "cannot read the seed file \"missing\": ");
    // The seed itself in place of a file, and the seed file in place of the zone file.
    run(directory.path(), &["publickey", HEX]).assert_failed(1, "looks like a seed");
    run(directory.path(), &["publish", Z32, "zone"]).assert_failed(1, "looks like a seed");
    run(directory.path(), &["republish", HEX]).assert_failed(1, "looks like a seed");
    for arguments in [
        &["resolve", HEX][..],
        &["zone", "zone", "--key", HEX],
        &["zone", "zone", &format!("--key={HEX}")],
        &["publickey", "seed", HEX],
        &["--relay", HEX, "resolve", KEY],
        &[HEX],
    ] {
        run(directory.path(), arguments).assert_failed(2, "looks like a seed");
    }
    // A configuration in another folder, which tells the seed in place of its file.
    fs::create_dir(directory.path().join("folder")).unwrap();
    let config = format!("[[identity]]\nseed = '{HEX}'\nrecords = '@ A 192.0.2.1'\n");
    file(&directory, "folder/publisher.toml", &config);
    run(directory.path(), &["serve", "--check", "--config", "folder/publisher.toml"])
        .assert_failed(1, "looks like a seed");
    for seed in [HEX, Z32] {
        file(&directory, "seed", seed);
        run(directory.path(), &["publish", "seed", "seed"])
            .assert_failed(1, "stands where the zone file belongs");
        run(directory.path(), &["publish", "seed", seed]).assert_failed(1, "cannot read the zone file");
    }
}

#[test]
fn the_owner_of_a_seed_file_that_others_can_read_is_warned() {
    let directory = directory();
    let path = file(&directory, "seed", HEX);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let shown = run(directory.path(), &["publickey", "seed"]);
    assert_eq!((shown.code, shown.out), (0, format!("{KEY}\n")));
    assert!(shown.err.starts_with("warning: \"seed\" is open to other users"), "{}", shown.err);
}

#[test]
fn a_zone_that_cannot_be_published_is_refused_before_the_network_is_asked() {
    let directory = directory();
    file(&directory, "seed", HEX);
    let publish = |zone: &str| {
        file(&directory, "zone", zone);
        run(directory.path(), &["--bootstrap", NOBODY, "publish", "seed", "zone"])
    };
    publish("@ A 192.0.2.1\nwww A nonsense\n")
        .assert_failed(1, "error: \"zone\": line 2, column 7: expected IPv4 address");
    publish("$INCLUDE other\n").assert_failed(1, "column 10: cannot read \"other\": No such file");
    publish("www.example.com. A 192.0.2.1\n")
        .assert_failed(1, "line 1, column 1: the name is outside of the");
    publish("").assert_failed(1, "the zone file holds no records");
    publish(&"; comment\n".repeat(2000)).assert_failed(1, "the zone file is larger than 16384 bytes");
    let text = "x".repeat(255);
    let heavy = publish(&format!("small A 192.0.2.1\nlarge TXT {text} {text} {text} {text}\n"));
    heavy.assert_failed(1, "more than the 1000 of a packet");
    assert!(heavy.err.find("large 3600").unwrap() < heavy.err.find("small 3600").unwrap(), "{}", heavy.err);
    run(directory.path(), &["publish", "seed", "missing"])
        .assert_failed(1, "cannot read the zone file \"missing\"");
    run_with_input(directory.path(), &["publish", "seed", "-"], "www A")
        .assert_failed(1, "standard input: line 1, column 5: expected the data");
}

#[test]
fn a_command_line_that_is_wrong_exits_with_2() {
    let directory = directory();
    for (arguments, message) in [
        (["publish"].as_slice(), "a seed file and a zone file are needed"),
        (&["publish", "seed"], "a seed file and a zone file are needed"),
        (&["publish", "--zone-file", "zone"], "a seed file and a zone file are needed"),
        (&["publish", "seed", "zone", "more"], "only a seed file and a zone file can be given"),
        (&["publish", "--seed", "seed", "zone", "more"], "only a seed file and a zone file can be given"),
        (&["publish", "-", "-"], "standard input cannot be both"),
        (&["resolve"], "required"),
        (&["resolve", "example.com"], "must end in a public key of 52 characters"),
        (&["resolve", "--bootstrap", "nowhere", KEY], "expected HOST:PORT"),
        (&["testnet", "--nodes", "2"], "3 to 16500000 are possible"),
        (&["testnet", "--nodes", "17M"], "3 to 16500000 are possible"),
        (&["testnet", "--nodes", "ten"], "expected a number such as 5000, 10k or 10M"),
        (&["testnet", "--nodes", "10M", "--dead", "60%", "--stale", "20%"], "more than 100% together"),
        (&["testnet", "--rtt", "80"], "expected a time such as 80ms or 1.5s"),
        (&["testnet", "--rtt", "2s-1s"], "the first time of a range is the shorter one"),
        (&["testnet", "--loss", "0.2"], "expected a number and a percent sign, such as 20%"),
        (&["testnet", "--dead", "50%", "--stale", "1%", "--hostile", "50%"], "more than 100% together"),
        (&["unknown"], "unrecognized subcommand"),
        (&[], "Usage"),
    ] {
        run(directory.path(), arguments).assert_failed(2, message);
    }
    assert!(run(directory.path(), &["publish"]).err.contains("publish [OPTIONS] SEEDFILE ZONEFILE"));
    for arguments in [["--help"].as_slice(), &["publish", "--help"], &["resolve", "--help"]] {
        let help = run(directory.path(), arguments);
        assert!(help.code == 0 && help.out.contains("4  the DHT could not be reached"), "{}", help.out);
    }
}

#[test]
fn a_local_network_serves_until_it_is_told_to_stop() {
    use std::{os::unix::process::ExitStatusExt, process::Command};
    let directory = directory();
    file(&directory, "seed", HEX);
    file(&directory, "zone", "@ A 192.0.2.1\n");
    let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    for (signal, arguments) in [("TERM", vec![]), ("INT", vec!["--port", free.as_str()])] {
        let arguments = [&["testnet", "--json", "--nodes", "5"], arguments.as_slice()].concat();
        let mut network = command(directory.path(), &arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(network.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let started: Value = serde_json::from_str(&line).unwrap();
        let bootstrap = started["bootstrap"][0].as_str().unwrap();
        assert!(arguments.len() == 4 || bootstrap == format!("127.0.0.1:{free}"), "{line}");
        let published = run(directory.path(), &["--bootstrap", bootstrap, "publish", "seed", "zone"]);
        assert_eq!(published.code, 0, "{}", published.err);
        assert_eq!(run(directory.path(), &["--bootstrap", bootstrap, "resolve", KEY]).code, 0);

        let kill = Command::new("kill").args([format!("-{signal}"), network.id().to_string()]).status();
        assert!(kill.unwrap().success());
        let output = network.wait_with_output().unwrap();
        assert_eq!((output.status.code(), output.status.signal()), (Some(0), None), "{signal}");
        let statistics = String::from_utf8(output.stderr).unwrap();
        assert!(statistics.contains(" queries (ping ") && !statistics.contains("put 0"), "{statistics}");
    }
}

#[test]
fn a_local_network_prints_what_to_paste() {
    let directory = directory();
    let world =
        ["--rtt", "1ms-2.5ms", "--jitter", "1ms", "--loss", "2%", "--dead", "20%", "--hostile", "10%"];
    let arguments = [&["testnet", "--nodes", "100"], world.as_slice()].concat();
    let mut network = command(directory.path(), &arguments).stdout(Stdio::piped()).spawn().unwrap();
    let lines: Vec<_> =
        BufReader::new(network.stdout.take().unwrap()).lines().take(10).map(Result::unwrap).collect();
    network.kill().unwrap();
    network.wait().unwrap();
    let text = lines.join("\n");
    assert!(
        text.contains("  pkdns-cli --bootstrap 127.0.0.1:") && text.contains(" publish SEEDFILE"),
        "{text}"
    );
    assert!(text.contains("  [dht]\n  bootstrap = [\"127.0.0.1:"), "{text}");
    let world = "rtt 1ms-2.5ms, jitter 1ms, loss 2%, dead 20%, without BEP 44 0%, stale 0%, hostile 10%; packets \
                 on the 20 nearest nodes dead or alive.";
    assert!(text.starts_with("A DHT of 100 nodes is running") && text.contains(world), "{text}");
}

#[test]
fn a_local_network_says_which_port_is_taken() {
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    run(directory().path(), &["testnet", "--port", &port])
        .assert_failed(1, &format!("cannot use UDP port {port}: "));
}
