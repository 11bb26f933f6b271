//! Addresses that routers tell.

use std::process::Command;

use super::{KEY, Publisher, World, program, programs::available, records_when, world};

const PASSWORD: &str = "correct horse";

/// A publisher of one key whose address a router tells.
fn serve(world: &World) -> (Publisher, String) {
    let hash = program::run_with_input(world.path(), &["password"], PASSWORD);
    assert_eq!(hash.code, 0, "{}", hash.err);
    world.file("zone", "@ 300 A {external_ipv4}\nwww 300 A {external_ipv4} ; not {external_ipv6}\n");
    world.file(
        "publisher.toml",
        &format!(
            "state = 'state'\n[dyndns]\nlisten = ['127.0.0.1:0']\n[[identity]]\nseed = 'seed'\nzone_file = 'zone'\n\
             address = 'dyndns'\nuser = 'router'\npassword = '{}'\n",
            hash.out.trim()
        ),
    );
    let mut publisher = Publisher::start(world, &["serve"]);
    let line = publisher.wait_for("routers may update at ");
    let url = line.rsplit(' ').next().unwrap().to_string();
    (publisher, url)
}

/// Status and first line of the answer.
fn curl(url: &str, query: &str, credentials: &str) -> (String, String) {
    let mut command = Command::new("curl");
    command.args(["-sS", "-m", "20", "-w", "\n%{http_code}", "-u", credentials]);
    let output = command.arg(format!("{url}?{query}")).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.to_string(), body.trim().to_string())
}

fn answer(url: &str, query: &str) -> String {
    curl(url, query, &format!("router:{PASSWORD}")).1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_tells_its_address_and_it_is_published_and_kept_over_a_kill() {
    if !available("curl") {
        return;
    }
    let world = world().await;
    let (mut publisher, url) = serve(&world);
    publisher.wait_for("waiting for an address");
    let host = format!("hostname={KEY}.key");
    for (query, expected) in [
        (format!("{host}&myip=198.51.100.7"), "good 198.51.100.7"),
        (format!("{host}&myip=198.51.100.7"), "nochg 198.51.100.7"),
        (format!("hostname=www.{KEY}&myip=198.51.100.7"), "nochg 198.51.100.7"),
        (host.clone(), "dnserr 127.0.0.1 is of a private network"),
        (format!("{host}&myip=home"), "dnserr myip is not an address"),
        ("hostname=home.example&myip=198.51.100.7".to_string(), "notfqdn"),
        ("hostname=8pinxxgqs41n4aididenw5apqp1urfmzdztr8jt4abrkdn435ewo".to_string(), "nohost"),
    ] {
        let told = answer(&url, &query);
        assert!(told.starts_with(expected), "{query}: {told}");
    }
    for credentials in ["router:wrong", "somebody:correct horse", ":"] {
        let told = curl(&url, &format!("{host}&myip=198.51.100.9"), credentials);
        assert!(
            told == ("401".to_string(), "badauth".to_string()) || told.0 == "429",
            "{credentials}: {told:?}"
        );
    }
    publisher.wait_for("stored on");
    let expected = ["A 198.51.100.7", "A 198.51.100.7"];
    assert_eq!(records_when(&world, KEY, |records| !records.is_empty()), expected);

    // The router will not come again before tomorrow.
    let before = super::timestamp(&world);
    drop(publisher);
    let mut publisher = Publisher::start(&world, &["serve"]);
    publisher.wait_for("stored on");
    assert_eq!(records_when(&world, KEY, |_| true), expected);
    assert!(super::timestamp(&world) > before);
    assert_eq!(publisher.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_guesses_passwords_is_held_up() {
    if !available("curl") {
        return;
    }
    let world = world().await;
    let (_publisher, url) = serve(&world);
    let guesses: Vec<_> =
        (0..15).map(|guess| curl(&url, &format!("hostname={KEY}"), &format!("router:{guess}"))).collect();
    assert!(guesses.contains(&("429".to_string(), "abuse".to_string())), "{guesses:?}");
    assert_eq!(guesses[0], ("401".to_string(), "badauth".to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn ddclient_tells_an_address() {
    if !available("ddclient") {
        return;
    }
    let world = world().await;
    let (_publisher, url) = serve(&world);
    let server = url.trim_start_matches("http://").trim_end_matches("/nic/update").to_string();
    world.file(
        "ddclient.conf",
        &format!(
            "daemon=0\nssl=no\nuse=cmd, cmd='echo 198.51.100.8'\nprotocol=dyndns2\nserver={server}\n\
             login=router\npassword='{PASSWORD}'\n{KEY}.key\n"
        ),
    );
    let path = |name: &str| world.path().join(name);
    std::fs::set_permissions(path("ddclient.conf"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .unwrap();
    let mut command = Command::new("ddclient");
    command.arg("-file").arg(path("ddclient.conf")).arg("-cache").arg(path("ddclient.cache"));
    let output = command.args(["-verbose", "-foreground", "-noquiet"]).output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(said.contains("SUCCESS") && said.contains("good 198.51.100.8"), "{said}");
    records_when(&world, KEY, |records| records.contains(&"A 198.51.100.8".to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn inadyn_tells_an_address() {
    // It is in /usr/sbin, where not every user looks.
    let program = "/usr/sbin/inadyn";
    if !available(program) {
        return;
    }
    let world = world().await;
    let (_publisher, url) = serve(&world);
    let server = url.trim_start_matches("http://").trim_end_matches("/nic/update").to_string();
    world.file(
        "inadyn.conf",
        &format!(
            "period = 300\nallow-ipv6 = false\ncustom pkdns {{\n ssl = false\n username = router\n \
             password = \"{PASSWORD}\"\n ddns-server = {server}\n \
             ddns-path = \"/nic/update?hostname=%h&myip=%i\"\n hostname = {KEY}.key\n \
             checkip-command = \"echo 198.51.100.9\"\n}}\n"
        ),
    );
    let mut command = Command::new(program);
    command.args(["-n", "-1", "--force", "-l", "debug", "-f"]).arg(world.path().join("inadyn.conf"));
    let output = command.arg("--cache-dir").arg(world.path()).output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(said.contains("good 198.51.100.9"), "{said}");
    records_when(&world, KEY, |records| records.contains(&"A 198.51.100.9".to_string()));
}
