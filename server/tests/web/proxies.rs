//! The proxies of docs/dns-over-https.md, configured as it says: each client has its own quota, and nobody can pretend
//! to be another.

use std::{
    fs,
    net::Ipv4Addr,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use hickory_proto::rr::RecordType;
use pkdns_testing::{process::Killed, programs, server::query, wait::eventually};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{Site, places::connect, run};

const DOCUMENT: &str = include_str!("../../../docs/dns-over-https.md");

/// Longest wait for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// Queries that a client may ask before it is refused.
const BURST: u32 = 4;

/// The fenced block of this language whose first line is a comment with this title.
fn block(language: &str, title: &str) -> String {
    let fence = format!("```{language}\n");
    let mut blocks = DOCUMENT.split(&fence).skip(1).map(|rest| rest.split_once("```").unwrap().0);
    let is_wanted = |block: &&str| block.starts_with(&format!("# {title}\n"));
    blocks.find(is_wanted).unwrap_or_else(|| panic!("no {title}")).to_owned()
}

/// The addresses at which the servers of a test and their proxies listen, `127.0.0.1` trusted or not.
async fn site(trusted: bool) -> Site {
    Site::start_with(|config| {
        config.rate_limit.requests_per_minute = 1;
        config.rate_limit.burst_size = BURST;
        // As in the block of the document, whose address is the one that tests come from as well.
        config.doh.trusted_proxies = if trusted { vec!["127.0.0.1/32".parse().unwrap()] } else { Vec::new() };
    })
    .await
}

struct Proxy {
    _child: Killed,
}

impl Proxy {
    /// Runs a proxy until this is dropped; waits until it takes connections at `port`.
    async fn start(mut command: Command, log: &Path, port: u16) -> Self {
        let log_file = fs::File::create(log).unwrap();
        command.stdout(Stdio::from(log_file.try_clone().unwrap())).stderr(Stdio::from(log_file));
        let shown = format!("{command:?}");
        let proxy =
            Self { _child: Killed(command.spawn().unwrap_or_else(|error| panic!("{shown}: {error}"))) };
        let up = async {
            while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let in_time = timeout(PATIENCE, up).await;
        assert!(in_time.is_ok(), "{shown}: {}", fs::read_to_string(log).unwrap());
        proxy
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// Asks with curl from `client`, and returns the status.
async fn https(site: &Site, proxy: u16, client: &str, headers: &[&str]) -> String {
    let curl = programs::find("curl", |_| true, "curl").expect("curl");
    fs::write(site.path("question"), query("www.example.com", RecordType::A)).unwrap();
    let mut command = Command::new(curl);
    command.args(["--silent", "--show-error", "--noproxy", "*", "--insecure", "--interface", client]);
    command.args(["--output", "/dev/null", "--write-out", "%{http_code}", "--data-binary"]);
    command.arg(format!("@{}", site.path("question").display()));
    command.args(["--header", "content-type: application/dns-message"]);
    for header in headers {
        command.args(["--header", header]);
    }
    command.args(["--resolve", &format!("dns.example.net:{proxy}:127.0.0.1")]);
    command.arg(format!("https://dns.example.net:{proxy}/dns-query"));
    run(command).await
}

/// Two clients, of which one spends its quota, and then tries to be somebody else. Handshakes cost as much as queries,
/// where it is not the proxy that has them.
async fn two_clients_have_two_quotas(site: &Site, proxy: u16, what: &str) {
    let has_own_handshakes = what == "PROXY before TLS";
    let (queries, end) = if has_own_handshakes { (BURST / 2, "000") } else { (BURST, "429") };
    for _ in 0..queries {
        assert_eq!(https(site, proxy, "127.0.0.2", &[]).await, "200", "{what}");
    }
    let is_refused = async |headers: &[&str]| {
        let status = https(site, proxy, "127.0.0.2", headers).await;
        assert!(status.starts_with(end), "{what}: {headers:?}: {status}");
    };
    is_refused(&[]).await;
    let forged = ["x-forwarded-for: 198.51.100.7", "forwarded: for=198.51.100.7", "x-real-ip: 198.51.100.7"];
    for headers in [&forged[..1], &forged[1..2], &forged[..]] {
        is_refused(headers).await;
    }
    assert_eq!(https(site, proxy, "127.0.0.3", &[]).await, "200", "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_tells_who_asks() {
    let Some(program) = programs::find("nginx", |_| true, "nginx-light") else { return };
    let (site, port) = (site(true).await, free_port());
    let server = block("nginx", "nginx")
        .replace("127.0.0.1:8053", &site.http().to_string())
        .replace("listen 443", &format!("listen 127.0.0.1:{port}"))
        .replace("/etc/ssl/cert.pem", &site.path("cert.pem").display().to_string())
        .replace("/etc/ssl/key.pem", &site.path("key.pem").display().to_string());
    let directory = site.directory.path().display().to_string();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {directory}/{kind};\n"))
        .concat();
    let configuration = format!(
        "daemon off;\nuser root;\npid {directory}/nginx.pid;\nerror_log stderr;\nevents {{}}\n\
         http {{\naccess_log off;\n{temporary}{server}}}\n"
    );
    fs::write(site.path("nginx.conf"), configuration).unwrap();
    let mut command = Command::new(program);
    command.arg("-c").arg(site.path("nginx.conf")).args(["-p", &directory, "-g", "master_process off;"]);
    let _proxy = Proxy::start(command, &site.path("nginx.log"), port).await;
    two_clients_have_two_quotas(&site, port, "nginx").await;
}

fn haproxy(program: &Path, site: &Site, blocks: &str) -> Command {
    let frame = "global\n    maxconn 100\ndefaults\n    timeout connect 5s\n    timeout client 30s\n    timeout server 30s\n";
    fs::write(site.path("haproxy.cfg"), frame.to_owned() + blocks).unwrap();
    let mut command = Command::new(program);
    command.arg("-db").arg("-f").arg(site.path("haproxy.cfg"));
    command
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn haproxy_tells_who_asks_over_http() {
    let Some(program) = programs::find("haproxy", |_| true, "haproxy") else { return };
    let (site, port) = (site(true).await, free_port());
    let blocks = block("haproxy", "haproxy: http")
        .replace("127.0.0.1:8053", &site.http().to_string())
        .replace("bind :443", &format!("bind 127.0.0.1:{port}"))
        .replace("/etc/ssl/cert-and-key.pem", &site.path("both.pem").display().to_string());
    let _proxy = Proxy::start(haproxy(&program, &site, &blocks), &site.path("haproxy.log"), port).await;
    two_clients_have_two_quotas(&site, port, "haproxy").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn haproxy_tells_who_connects() {
    let Some(program) = programs::find("haproxy", |_| true, "haproxy") else { return };
    let (https_port, tls_port, http_port, tcp_port) = (free_port(), free_port(), free_port(), free_port());
    let site = site(true).await;
    let mut blocks = block("haproxy", "haproxy: tcp")
        .replace("127.0.0.1:8443", &site.https().to_string())
        .replace("127.0.0.1:8853", &site.tls().to_string())
        .replace("bind :443", &format!("bind 127.0.0.1:{https_port}"))
        .replace("bind :853", &format!("bind 127.0.0.1:{tls_port}"));
    for (name, port, server) in [("http", http_port, site.http()), ("tcp", tcp_port, site.address)] {
        blocks += &format!(
            "listen {name}\n    mode tcp\n    bind 127.0.0.1:{port}\n    server pkdns {server} send-proxy-v2\n"
        );
    }
    let _proxy = Proxy::start(haproxy(&program, &site, &blocks), &site.path("haproxy.log"), https_port).await;
    two_clients_have_two_quotas(&site, https_port, "PROXY before TLS").await;
    // 127.0.0.2 has nothing left, whatever it comes over.
    assert_eq!(over_tcp(tcp_port, [127, 0, 0, 2], &[]).await, Some(5), "REFUSED");
    assert_eq!(over_tcp(tcp_port, [127, 0, 0, 4], &[]).await, Some(0));
    assert_eq!(over_http(http_port, [127, 0, 0, 2], &[]).await, Some(429));
    assert_eq!(over_http(http_port, [127, 0, 0, 5], &[]).await, Some(200));
    let kdig = programs::find("kdig", |_| true, "knot-dnsutils");
    if let Some(kdig) = kdig {
        for (client, code) in [("127.0.0.2", "connection"), ("127.0.0.6", "NOERROR")] {
            let mut command = Command::new(&kdig);
            command.args([
                "@127.0.0.1",
                "-p",
                &tls_port.to_string(),
                "-b",
                client,
                "+tls",
                "www.example.com",
            ]);
            let reply = run(command).await;
            assert!(reply.contains(code), "{client}: {reply}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caddy_tells_who_asks() {
    let Some(program) = programs::find("caddy", |_| true, "caddy") else { return };
    let (site, port) = (site(true).await, free_port());
    let block = block("caddy", "caddy").replace("127.0.0.1:8053", &site.http().to_string()).replace(
        "dns.example.net {",
        &format!("https://dns.example.net:{port} {{\n    tls internal\n    bind 127.0.0.1"),
    );
    let options = "{\n    admin off\n    auto_https disable_redirects\n    skip_install_trust\n}\n";
    fs::write(site.path("Caddyfile"), options.to_owned() + &block).unwrap();
    let mut command = Command::new(program);
    command.args(["run", "--adapter", "caddyfile", "--config"]).arg(site.path("Caddyfile"));
    command.env("XDG_DATA_HOME", site.path("data")).env("XDG_CONFIG_HOME", site.path("config"));
    let _proxy = Proxy::start(command, &site.path("caddy.log"), port).await;
    // It takes connections before it has made its certificate.
    eventually("caddy has no certificate", async || {
        !https(&site, port, "127.0.0.9", &[]).await.starts_with("000")
    })
    .await;
    two_clients_have_two_quotas(&site, port, "caddy").await;
}

/// `source 127.0.0.9:1`, as HAProxy would say it.
fn proxy_header() -> Vec<u8> {
    let start = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c";
    [&start[..], &[127, 0, 0, 9, 127, 0, 0, 1, 0, 1, 0, 1]].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_trusted_changes_nothing_by_what_it_says() {
    let site = site(false).await;
    let forged = ["X-Forwarded-For: 198.51.100.7", "Forwarded: for=198.51.100.7"];
    for _ in 0..BURST {
        assert_eq!(over_http(site.http().port(), [127, 0, 0, 2], &forged).await, Some(200));
    }
    for headers in [&forged[..], &["X-Forwarded-For: 198.51.100.8"], &["Forwarded: for=198.51.100.9"], &[]] {
        assert_eq!(over_http(site.http().port(), [127, 0, 0, 2], headers).await, Some(429), "{headers:?}");
    }
    assert_eq!(over_tcp(site.address.port(), [127, 0, 0, 2], &[]).await, Some(5), "REFUSED");
    // A PROXY header is no DNS message, no request and no handshake.
    assert_eq!(over_tcp(site.address.port(), [127, 0, 0, 3], &proxy_header()).await, None);
    let mut stream = connect(site.http().port(), [127, 0, 0, 3]).await;
    stream
        .write_all(&[&proxy_header()[..], b"GET /resolve?name=a HTTP/1.1\r\nHost: x\r\n\r\n"].concat())
        .await
        .unwrap();
    let mut reply = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut reply)).await.expect("the connection ends");
    assert!(!reply.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&reply));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_access_list_holds_for_the_client_that_a_proxy_names() {
    let site = Site::start_with(|config| {
        config.doh.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
        config.access.deny = vec!["198.51.100.0/24".parse().unwrap()];
        config.access.allow = vec!["0.0.0.0/0".parse().unwrap()];
    })
    .await;
    let page = async |headers: &str| {
        let mut stream = connect(site.http().port(), [127, 0, 0, 1]).await;
        let request = format!("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        reply
    };
    assert!(page("").await.starts_with("HTTP/1.1 200 "));
    assert!(page("X-Forwarded-For: 198.51.100.7\r\n").await.starts_with("HTTP/1.1 403 "));
    assert!(page("Forwarded: for=198.51.100.7\r\n").await.starts_with("HTTP/1.1 403 "));
    assert!(page("X-Forwarded-For: 198.51.100.7, 192.0.2.1\r\n").await.starts_with("HTTP/1.1 200 "));
    assert!(
        page("X-Forwarded-For: 192.0.2.1\r\nForwarded: for=192.0.2.2\r\n").await.starts_with("HTTP/1.1 400 ")
    );
}

/// The code of the reply over TCP to a query behind `start`, or `None` if the connection is closed instead.
async fn over_tcp(port: u16, client: [u8; 4], start: &[u8]) -> Option<u8> {
    let mut stream = connect(port, client).await;
    let question = query("www.example.com", RecordType::A);
    let message = [start, &(question.len() as u16).to_be_bytes(), &question].concat();
    stream.write_all(&message).await.unwrap();
    let mut head = [0; 6];
    timeout(PATIENCE, stream.read_exact(&mut head)).await.expect("a reply or the end").ok()?;
    Some(head[5] & 0x0f)
}

/// The status of the response.
async fn over_http(port: u16, client: [u8; 4], headers: &[&str]) -> Option<u16> {
    let mut stream = connect(port, client).await;
    let question = query("www.example.com", RecordType::A);
    let head = format!(
        "POST /dns-query HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/dns-message\r\n\
         Content-Length: {}\r\n{}\r\n",
        question.len(),
        headers.iter().map(|header| format!("{header}\r\n")).collect::<String>()
    );
    stream.write_all(&[head.as_bytes(), &question].concat()).await.unwrap();
    let mut reply = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut reply)).await.expect("a response").ok()?;
    String::from_utf8_lossy(&reply).split(' ').nth(1)?.parse().ok()
}
