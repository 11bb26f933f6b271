//! What Chromium makes of `http://` at names of keys. Under a suffix that no registry has, such as `.key`, it opens the page. At the
//! name of an origin, which is below a public suffix, it tries HTTPS first, and where it is set to warn it shows no page without.
//! docs/origins.md says so; a Chromium that does otherwise fails this.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
};

use pkdns::config::Origin;
use pkdns_testing::{chromium, namespace, programs};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::{PAGE, Site, run};

const ORIGIN: &str = "pk.example.net";

/// The settings of a profile: as it comes, with "warn before sites that people use in public" and with "warn before all".
const AS_IT_COMES: &str = "{}";
const WARNS_IN_PUBLIC: &str = r#"{"https_first_balanced_mode_enabled": true}"#;
const WARNS_ALWAYS: &str = r#"{"https_only_mode_enabled": true}"#;

/// What becomes of `http://`: whether HTTPS is tried, and whether the page is shown, which nobody serves over HTTPS.
const ROWS: [(&str, &str, bool, bool); 6] = [
    (AS_IT_COMES, "key", false, true),
    (AS_IT_COMES, ORIGIN, true, true),
    (WARNS_IN_PUBLIC, "key", false, true),
    (WARNS_IN_PUBLIC, ORIGIN, true, false),
    (WARNS_ALWAYS, "key", true, false),
    (WARNS_ALWAYS, ORIGIN, true, false),
];

#[test]
fn chromium_opens_http_of_a_key_under_its_suffix_and_tries_https_at_an_origin() {
    let name = "upgrades::chromium_opens_http_of_a_key_under_its_suffix_and_tries_https_at_an_origin";
    namespace::on_a_machine_of_its_own(name, async {
        let Some(chromium) = programs::find("chromium", |_| true, "chromium") else { return };
        let site = Site::start_with(|config| {
            config.listen = vec!["127.0.0.1:53".parse().unwrap()];
            config.origin = vec![Origin {
                name: ORIGIN.into(),
                name_servers: vec!["ns.example.net".into()],
                allow_private: true,
                ..Origin::default()
            }];
        })
        .await;
        let resolvers = site.path("resolv.conf");
        fs::write(&resolvers, "nameserver 127.0.0.1\n").unwrap();
        namespace::run("mount", ["--bind".as_ref(), resolvers.as_os_str(), "/etc/resolv.conf".as_ref()]);
        let visits = Visits::default();
        for port in [80, 443] {
            let listener = TcpListener::bind(("0.0.0.0", port)).await.unwrap();
            tokio::spawn(visits.clone().serve(listener, port));
        }
        for (settings, zone, is_upgraded, is_shown) in ROWS {
            let host = format!("{}.{zone}", site.key());
            // As if typed, and as a link that somebody follows.
            for url in [format!("http://{host}/"), format!("http://127.0.0.1/to/{host}")] {
                let page = open(&chromium, settings, &url).await;
                let [http, https] = visits.take(&host);
                assert_eq!((https, http), (is_upgraded, is_shown), "{settings} {url}: {page}");
                assert_eq!(page.contains(PAGE), is_shown, "{settings} {url}: {page}");
            }
        }
    });
}

/// Opens `url` in a new profile with these settings; returns the page as it is then.
async fn open(program: &Path, settings: &str, url: &str) -> String {
    let profile = tempfile::tempdir().unwrap();
    fs::create_dir(profile.path().join("Default")).unwrap();
    fs::write(profile.path().join("Default/Preferences"), settings).unwrap();
    let mut command = Command::new("timeout");
    command.arg("60").arg(program).env("HOME", profile.path()).args(chromium::FLAGS);
    command.arg(format!("--user-data-dir={}", profile.path().display())).arg(url);
    run(command).await
}

/// How requests and TLS connections began, by ports.
#[derive(Clone, Default)]
struct Visits(Arc<Mutex<Vec<(u16, String)>>>);

impl Visits {
    /// Whether `host` was asked over HTTP, and over TLS, where its name stands in the clear, since this was asked before.
    fn take(&self, host: &str) -> [bool; 2] {
        let begun = std::mem::take(&mut *self.0.lock().unwrap());
        let header = format!("\r\nhost: {host}\r\n");
        [(80, header.as_str()), (443, host)].map(|(wanted, text)| {
            begun.iter().any(|(port, start)| *port == wanted && start.to_lowercase().contains(text))
        })
    }

    /// Over HTTP there is the page, and at `/to/HOST` one that goes on to that host as if somebody had followed a link. Over TLS
    /// there is nothing.
    async fn serve(self, listener: TcpListener, port: u16) {
        while let Ok((mut stream, _)) = listener.accept().await {
            let visits = self.clone();
            tokio::spawn(async move {
                let mut start = vec![0; 16 << 10];
                let size = stream.read(&mut start).await.unwrap_or(0);
                let start = String::from_utf8_lossy(&start[..size]).into_owned();
                visits.0.lock().unwrap().push((port, start.clone()));
                if port == 443 {
                    return;
                }
                let path = start.split(' ').nth(1).unwrap_or_default();
                let page = match path.strip_prefix("/to/") {
                    None => format!("<!DOCTYPE html><title>key</title><h1>{PAGE}</h1>"),
                    Some(host) => format!(
                        "<!DOCTYPE html><title>to</title><a href='http://{host}/'>to</a>\
                         <script>document.querySelector('a').click()</script>"
                    ),
                };
                let response = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}",
                    page.len()
                );
                let _ = stream.write_all(response.as_bytes()).await;
                let _ = stream.shutdown().await;
            });
        }
    }
}
