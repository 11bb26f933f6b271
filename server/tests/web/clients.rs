//! curl, dig, kdig and dnspython.

use std::process::Command;

use pkdns_testing::programs;

use super::{PAGE, Site, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_finds_the_page_of_a_key() {
    let Some(curl) = programs::find("curl", |_| true, "curl") else { return };
    let site = Site::start().await;
    let doh = format!("https://localhost:{}/dns-query", site.https().port());
    for host in [format!("{}.", site.key()), format!("{}.key", site.key()), format!("www.{}", site.key())] {
        let mut command = Command::new(&curl);
        command.args(["--silent", "--show-error", "--noproxy", "*", "--doh-url", &doh, "--cacert"]);
        command.arg(site.path("ca.pem")).arg(format!("http://{host}:{}/", site.web.port));
        let page = run(command).await;
        assert!(page.contains(PAGE), "{host}: {page}");
    }
    let before = site.queries_over_http();
    assert!(before >= 6, "A and AAAA for each: {before}");
    for version in ["--http1.1", "--http2"] {
        let mut command = Command::new(&curl);
        command
            .args(["--silent", "--show-error", "--noproxy", "*", version, "--cacert"])
            .arg(site.path("ca.pem"));
        command.arg(format!("https://localhost:{}/resolve?name={}.key", site.https().port(), site.key()));
        let json = run(command).await;
        assert!(json.contains("\"data\":\"127.0.0.1\""), "{version}: {json}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dig_and_kdig_ask_in_every_way_they_know() {
    let Some(dig) = programs::find("dig", |_| true, "bind9-dnsutils") else { return };
    let Some(kdig) = programs::find("kdig", |_| true, "knot-dnsutils") else { return };
    let site = Site::start().await;
    let authority = site.path("ca.pem").display().to_string();
    let ca = format!("+tls-ca={authority}");
    for (program, port, options) in [
        (&dig, site.https().port(), &["+https"][..]),
        (&dig, site.https().port(), &["+https-get"]),
        (&dig, site.https().port(), &["+https", &ca, "+tls-hostname=localhost"]),
        (&dig, site.http().port(), &["+http-plain"]),
        (&dig, site.http().port(), &["+http-plain-get"]),
        (&dig, site.tls().port(), &["+tls"]),
        (&dig, site.tls().port(), &["+tls", &ca, "+tls-hostname=localhost"]),
        (&kdig, site.https().port(), &["+https"]),
        (&kdig, site.https().port(), &["+https-get"]),
        (&kdig, site.https().port(), &["+https", &ca, "+tls-hostname=localhost"]),
        (&kdig, site.tls().port(), &["+tls"]),
        (&kdig, site.tls().port(), &[&ca, "+tls-hostname=localhost"]),
    ] {
        for name in [site.key(), format!("www.{}.key", site.key()), "www.gstatic.com".to_owned()] {
            let mut command = Command::new(program);
            command.args(["@127.0.0.1", "-p", &port.to_string()]).args(options).arg(&name);
            let what = format!("{command:?}");
            let reply = run(command).await;
            let address = if name == "www.gstatic.com" { "192.0.2.53" } else { "127.0.0.1" };
            assert!(reply.contains("NOERROR") && reply.contains(address), "{what}: {reply}");
            if *program == kdig {
                // kdig pads its questions over TLS and HTTPS.
                let received =
                    reply.lines().find_map(|line| line.strip_prefix(";; Received ")).expect("a size");
                let size: usize = received.split(' ').next().unwrap().parse().unwrap();
                assert_eq!(size % 468, 0, "{what}: {reply}");
            }
        }
    }
}

const PYTHON: &str = "
import sys, dns.message, dns.query
https, http, tls, name, ca = sys.argv[1:]
question = dns.message.make_query(name, 'A')
def show(what, reply):
    print(what, reply.answer[0][0])
for post in (False, True):
    import httpx
    for h1 in (False, True):
        with httpx.Client(http1=h1, http2=not h1, verify=ca, trust_env=False) as session:
            show(f'https post={post} h1={h1}', dns.query.https(question, f'https://localhost:{https}/dns-query', session=session, post=post))
    with httpx.Client(trust_env=False) as session:
        show(f'http post={post}', dns.query.https(question, f'http://localhost:{http}/dns-query', session=session, post=post))
import ssl
context = ssl.create_default_context(cafile=ca)
show('tls', dns.query.tls(question, '127.0.0.1', port=int(tls), ssl_context=context, server_hostname='localhost'))
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dnspython_asks_over_http_1_and_2_and_tls() {
    let has_modules = |python: &std::path::Path| {
        let imports = Command::new(python).args(["-c", "import dns.query, httpx, h2"]).output();
        imports.is_ok_and(|output| output.status.success())
    };
    let packages = "python3-dnspython python3-httpx python3-h2";
    let Some(python) = programs::find("python3", has_modules, packages) else { return };
    let site = Site::start().await;
    let mut command = Command::new(python);
    command.args(["-c", PYTHON]);
    command.args([site.https(), site.http(), site.tls()].map(|address| address.port().to_string()));
    command.arg(format!("www.{}", site.key())).arg(site.path("ca.pem"));
    let printed = run(command).await;
    // The first record is the alias.
    let answers = printed.lines().filter(|line| line.ends_with(&format!("{}.", site.key()))).count();
    assert_eq!(answers, 7, "{printed}");
}
