//! Addresses that routers tell.

use std::{
    net::{SocketAddr, TcpStream},
    process::Command,
    thread,
    time::Duration,
};

use pkdns_testing::{dyndns::from_document, process::Process, program, programs, wait};
use tokio::net::TcpSocket;

use super::{HEX, KEY, World, records_when, world};

const PASSWORD: &str = "correct horse";

/// A key that nobody here has.
const OTHER_KEY: &str = "8pinxxgqs41n4aididenw5apqp1urfmzdztr8jt4abrkdn435ewo";

/// A publisher of one key whose address a router tells.
fn serve(world: &World) -> (Process, String) {
    serve_zone(world, "@ 300 A {external_ipv4}\nwww 300 A {external_ipv4} ; not {external_ipv6}\n")
}

pub(crate) fn serve_zone(world: &World, zone: &str) -> (Process, String) {
    serve_with(world, zone, "")
}

/// With more lines in `[dyndns]`.
fn serve_with(world: &World, zone: &str, more: &str) -> (Process, String) {
    let hash = program::run_with_input(world.path(), &["password"], PASSWORD);
    assert_eq!(hash.code, 0, "{}", hash.err);
    world.file("zone", zone);
    world.file(
        "publisher.toml",
        &format!(
            "state = 'state'\n[dyndns]\nlisten = ['127.0.0.1:0']\n{more}[[identity]]\nseed = 'seed'\nzone_file = 'zone'\n\
             address = 'dyndns'\nuser = 'router'\npassword = '{}'\n",
            hash.out.trim()
        ),
    );
    let mut publisher = world.start(&["serve"]);
    let line = publisher.wait_for("routers may update at ");
    let url = line.rsplit(' ').next().unwrap().to_string();
    (publisher, url)
}

/// Status and first line of the answer.
fn curl(url: &str, query: &str, credentials: &str) -> (String, String) {
    curl_with(url, query, credentials, &[])
}

fn curl_with(url: &str, query: &str, credentials: &str, options: &[&str]) -> (String, String) {
    let mut command = Command::new("curl");
    command.args(["-sS", "-m", "20", "-w", "\n%{http_code}", "-u", credentials]).args(options);
    let output = command.arg(format!("{url}?{query}")).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.to_string(), body.trim().to_string())
}

pub(crate) fn answer(url: &str, query: &str) -> String {
    curl(url, query, &format!("router:{PASSWORD}")).1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_tells_its_address_and_it_is_published_and_kept_over_a_kill() {
    let Some(_) = programs::find("curl", |_| true, "curl") else { return };
    let world = world().await;
    let (mut publisher, url) = serve(&world);
    publisher.wait_for("waiting for an IPv4 address (");
    let host = format!("hostname={KEY}.key");
    for (query, expected) in [
        (format!("{host}&myip=198.51.100.7"), "good 198.51.100.7"),
        (format!("{host}&myip=198.51.100.7"), "nochg 198.51.100.7"),
        (format!("hostname=www.{KEY}&myip=198.51.100.7"), "nochg 198.51.100.7"),
        (host.clone(), "dnserr 127.0.0.1 is of a private network"),
        (format!("{host}&myip=home"), "dnserr myip is not an address"),
        ("hostname=home.example&myip=198.51.100.7".to_string(), "notfqdn"),
        (format!("hostname={OTHER_KEY}"), "nohost"),
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
    let mut publisher = world.start(&["serve"]);
    publisher.wait_for("stored on");
    assert_eq!(records_when(&world, KEY, |_| true), expected);
    assert!(super::timestamp(&world) > before);
    assert_eq!(publisher.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_old_http_and_programs_without_a_name_are_understood() {
    let Some(_) = programs::find("curl", |_| true, "curl") else { return };
    let world = world().await;
    let (publisher, url) = serve(&world);
    let host = format!("hostname={KEY}.key");
    assert_eq!(answer(&url, &format!("{host}&myip=198.51.100.7")), "good 198.51.100.7");
    let (right, form) = (format!("router:{PASSWORD}"), format!("{host}&myip=198.51.100.7"));
    for (query, options) in
        [("", ["-d", &form]), (&form, ["-X", "POST"]), (&form, ["-0", "-i"]), (&form, ["-A", ""])]
    {
        let (status, told) = curl_with(&url, query, &right, &options);
        assert!(status == "200" && told.ends_with("nochg 198.51.100.7"), "{options:?}: {status} {told}");
    }
    let long = format!("{form}&x={}", "x".repeat(5000));
    assert_eq!(curl_with(&url, "", &right, &["-d", &long]).0, "413");
    assert_eq!(publisher.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn several_names_and_both_families_are_told_at_once() {
    let Some(_) = programs::find("curl", |_| true, "curl") else { return };
    let world = world().await;
    let (mut publisher, url) = serve_zone(&world, "@ 300 A {external_ipv4}\n@ 300 AAAA {external_ipv6}\n");
    // As a FRITZ!Box sends it, which has one family only at first.
    let host = format!("hostname={KEY}.key");
    assert_eq!(answer(&url, &format!("{host}&myip=198.51.100.7&myipv6=")), "good 198.51.100.7");
    publisher.wait_for(
        "publishing all records but those that wait for an IPv6 address ({external_ipv6} in \"zone\": line 2)",
    );
    records_when(&world, KEY, |records| records == ["A 198.51.100.7"]);
    let both = "198.51.100.7,2001:db8::7";
    let names = format!("hostname={KEY}.key,home.example,{OTHER_KEY},www.{KEY}");
    let told = answer(&url, &format!("{names}&myip=198.51.100.7&myipv6=2001:db8::7"));
    assert_eq!(told, format!("good {both}\nnotfqdn\nnohost\nnochg {both}"));
    records_when(&world, KEY, |records| records == ["A 198.51.100.7", "AAAA 2001:db8::7"]);
    let many = vec![KEY; 21].join(",");
    assert_eq!(answer(&url, &format!("hostname={many}")), "numhost");
    publisher
        .wait_for("router at 127.0.0.1, user \"router\": numhost (more names than one request may have)");
    assert_eq!(answer(&url, "myip=198.51.100.7"), "notfqdn");
    assert_eq!(answer(&url, &format!("{host}&offline=YES")), "!donator");
    records_when(&world, KEY, |records| records == ["A 198.51.100.7", "AAAA 2001:db8::7"]);
}

/// Some guesses beyond the quota. One after the other they could take so long that the quota grows back as fast.
fn at_once<T: Send>(guess: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let guess = &guess;
    thread::scope(|scope| {
        let guesses: Vec<_> = (0..15).map(|number| scope.spawn(move || guess(number))).collect();
        guesses.into_iter().map(|guess| guess.join().unwrap()).collect()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_proxy_the_address_and_the_limit_are_those_of_the_client() {
    let Some(_) = programs::find("curl", |_| true, "curl") else { return };
    let world = world().await;
    let (_publisher, url) =
        serve_with(&world, "@ 300 A {external_ipv4}\n", "trusted_proxies = ['127.0.0.1']\n");
    let ask = |client: &str, credentials: &str| {
        let header = format!("X-Forwarded-For: {client}");
        curl_with(&url, &format!("hostname={KEY}"), credentials, &["-H", &header])
    };
    let right = format!("router:{PASSWORD}");
    assert_eq!(ask("198.51.100.20", &right), ("200".to_string(), "good 198.51.100.20".to_string()));
    let guesses = at_once(|_| ask("198.51.100.66", "router:guess").0);
    assert!(guesses.contains(&"429".to_string()), "{guesses:?}");
    assert_eq!(ask("198.51.100.21", &right), ("200".to_string(), "good 198.51.100.21".to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_tells_its_address_over_tls() {
    let Some(_) = programs::find("curl", |_| true, "curl") else { return };
    let world = world().await;
    let names = ["localhost".to_string(), "127.0.0.1".to_string()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    world.file("cert.pem", &made.cert.pem());
    world.file("key.pem", &made.signing_key.serialize_pem());
    let (_publisher, url) =
        serve_with(&world, "@ 300 A {external_ipv4}\n", "cert_path = 'cert.pem'\nkey_path = 'key.pem'\n");
    assert!(url.starts_with("https://"), "{url}");
    let authority = world.path().join("cert.pem");
    let trust = ["--cacert", authority.to_str().unwrap()];
    let told =
        curl_with(&url, &format!("hostname={KEY}&myip=198.51.100.7"), &format!("router:{PASSWORD}"), &trust);
    assert_eq!(told, ("200".to_string(), "good 198.51.100.7".to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_guesses_passwords_is_held_up() {
    let Some(_) = programs::find("curl", |_| true, "curl") else { return };
    let world = world().await;
    let (_publisher, url) = serve(&world);
    let first = curl(&url, &format!("hostname={KEY}"), "router:guess");
    assert_eq!(first, ("401".to_string(), "badauth".to_string()));
    let guesses = at_once(|guess| curl(&url, &format!("hostname={KEY}"), &format!("router:{guess}")));
    assert!(guesses.contains(&("429".to_string(), "abuse".to_string())), "{guesses:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn four_strangers_with_idle_connections_do_not_shut_routers_out() {
    let Some(_) = programs::find("curl", |_| true, "curl") else { return };
    let world = world().await;
    let (_publisher, url) = serve(&world);
    let server: SocketAddr =
        url.trim_start_matches("http://").trim_end_matches("/nic/update").parse().unwrap();
    let mut idle = Vec::new();
    for stranger in 2..6 {
        for _ in 0..16 {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(SocketAddr::from(([127, 0, 0, stranger], 0))).unwrap();
            idle.push(socket.connect(server).await.unwrap());
        }
    }
    assert_eq!(answer(&url, &format!("hostname={KEY}&myip=198.51.100.7")), "good 198.51.100.7");
    drop(idle);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_page_cannot_move_an_address() {
    let Some(_) = programs::find("curl", |_| true, "curl") else { return };
    let world = world().await;
    let (mut publisher, url) = serve(&world);
    let credentials = format!("router:{PASSWORD}");
    let query = format!("hostname={KEY}&myip=198.51.100.66");
    let refused = ("403".to_string(), "badagent".to_string());
    for header in
        ["Sec-Fetch-Site: cross-site", "Origin: http://evil.example", "Referer: http://evil.example/"]
    {
        assert_eq!(curl_with(&url, &query, &credentials, &["-H", header]), refused, "{header}");
    }
    publisher.wait_for("a web page or a link");
    let own = format!("Origin: {}", url.trim_end_matches("/nic/update"));
    for header in ["Sec-Fetch-Site: none", &own] {
        let told = curl_with(&url, &query.replace("66", "7"), &credentials, &["-H", header]);
        assert_eq!(told.0, "200", "{header}: {told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ddclient_tells_an_address() {
    let Some(ddclient) = programs::find("ddclient", |_| true, "ddclient") else { return };
    let world = world().await;
    let (_publisher, url) = serve(&world);
    let server = url.trim_start_matches("http://").trim_end_matches("/nic/update").to_string();
    let config = from_document("/etc/ddclient.conf", &server, PASSWORD, KEY, "198.51.100.8");
    world.file("ddclient.conf", &config);
    let path = |name: &str| world.path().join(name);
    std::fs::set_permissions(path("ddclient.conf"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .unwrap();
    let mut command = Command::new(ddclient);
    command.arg("-file").arg(path("ddclient.conf")).arg("-cache").arg(path("ddclient.cache"));
    let output = command.args(["-daemon=0", "-verbose", "-noquiet"]).output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(said.contains("SUCCESS") && said.contains("good 198.51.100.8"), "{said}");
    records_when(&world, KEY, |records| records.contains(&"A 198.51.100.8".to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn inadyn_tells_an_address() {
    let Some(inadyn) = programs::find("inadyn", |_| true, "inadyn") else { return };
    let world = world().await;
    let (_publisher, url) = serve(&world);
    let server = url.trim_start_matches("http://").trim_end_matches("/nic/update").to_string();
    world.file("inadyn.conf", &from_document("/etc/inadyn.conf", &server, PASSWORD, KEY, "198.51.100.9"));
    let mut command = Command::new(inadyn);
    command.args(["-n", "-1", "--force", "-l", "debug", "-f"]).arg(world.path().join("inadyn.conf"));
    let output = command.arg("--cache-dir").arg(world.path()).output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(said.contains("good 198.51.100.9"), "{said}");
    records_when(&world, KEY, |records| records.contains(&"A 198.51.100.9".to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_that_comes_while_seeds_are_read_is_not_told_that_there_is_no_such_user() {
    let Some(_) = programs::find("curl", |_| true, "curl") else { return };
    let world = world().await;
    let hash = program::run_with_input(world.path(), &["password"], PASSWORD);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let pipe = world.path().join("pipe");
    assert!(Command::new("mkfifo").args(["-m", "600"]).arg(&pipe).status().unwrap().success());
    world.file(
        "publisher.toml",
        &format!(
            "state = 'state'\n[dyndns]\nlisten = ['127.0.0.1:{port}']\n[[identity]]\nseed = 'pipe'\n\
             records = '@ A {{external_ipv4}}'\naddress = 'dyndns'\nuser = 'router'\npassword = '{}'\n",
            hash.out.trim()
        ),
    );
    let _publisher = world.start(&["serve"]);
    wait::until("nobody listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    let url = format!("http://127.0.0.1:{port}/nic/update");
    let router = thread::spawn(move || answer(&url, &format!("hostname={KEY}&myip=198.51.100.7")));
    // However long that takes, the answer is the same.
    thread::sleep(Duration::from_millis(300));
    std::fs::write(pipe, HEX).unwrap();
    assert_eq!(router.join().unwrap(), "good 198.51.100.7");
}
