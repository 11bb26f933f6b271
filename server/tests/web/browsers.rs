//! Chromium and Firefox, as Debian has them. They open the page of a key by each of its names.
//!
//! Chromium takes its resolver from a policy that is the machine's: root alone may write it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use pkdns_testing::{chromium, programs};
use tokio::sync::Mutex;

use super::{Site, run};

const POLICY: &str = "/etc/chromium/policies/managed/pkdns-test.json";

/// The policy is that of every Chromium on the machine.
static ONE_POLICY: Mutex<()> = Mutex::const_new(());

/// Where pictures of the pages are left for people.
fn screenshots() -> PathBuf {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/screenshots");
    fs::create_dir_all(&directory).unwrap();
    directory.canonicalize().unwrap()
}

fn hosts(site: &Site) -> [(&'static str, String); 3] {
    let key = site.key();
    [("dot", format!("{key}.")), ("suffix", format!("{key}.key")), ("www", format!("www.{key}"))]
}

/// A policy of the machine, until this is dropped.
struct Policy;

impl Policy {
    /// `None` if this may not be done here.
    fn write(mode: &str, template: &str) -> Option<Self> {
        let text = format!("{{\"DnsOverHttpsMode\": \"{mode}\", \"DnsOverHttpsTemplates\": \"{template}\"}}");
        let written =
            fs::create_dir_all(Path::new(POLICY).parent().unwrap()).and_then(|()| fs::write(POLICY, text));
        match written {
            Ok(()) => Some(Self),
            Err(error) => {
                let reason = format!("cannot write {POLICY}: {error}");
                assert!(std::env::var("CI").as_deref() != Ok("true"), "{reason}");
                programs::skip(&reason);
                None
            }
        }
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        let _ = fs::remove_file(POLICY);
    }
}

/// A store of certificates that trusts the authority of the site.
fn trust(site: &Site, store: &Path) {
    let _ = chromium::believe(store, &site.path("ca.pem"));
}

/// Opens `url` in a new profile; returns the page as it is then.
async fn chromium(program: &Path, site: &Site, picture: &str, url: &str) -> String {
    let profile = tempfile::tempdir().unwrap();
    let mut command = Command::new("timeout");
    command.arg("60").arg(program).env("HOME", site.path("home")).args(chromium::FLAGS);
    command.arg("--window-size=800,1100");
    command.arg(format!("--user-data-dir={}", profile.path().display()));
    command.arg(format!("--screenshot={}", screenshots().join(format!("chromium-{picture}.png")).display()));
    command.arg(url);
    run(command).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chromium_opens_the_page_of_a_key_by_each_of_its_names() {
    let Some(program) = programs::find("chromium", |_| true, "chromium") else { return };
    let _one = ONE_POLICY.lock().await;
    for (method, parameters) in [("get", "{?dns}"), ("post", "")] {
        let site = Site::start().await;
        trust(&site, &site.path("home/.pki/nssdb"));
        let template = format!("https://127.0.0.1:{}/dns-query{parameters}", site.https().port());
        let Some(_policy) = Policy::write("secure", &template) else { return };
        for (kind, host) in hosts(&site) {
            let before = site.queries_over_http();
            let url = format!("http://{host}:{}/", site.web.port);
            let page = chromium(&program, &site, &format!("{method}-{kind}"), &url).await;
            assert!(site.web.was_visited(&host, "chrome"), "{url} with {method}: {page}");
            assert!(site.queries_over_http() > before, "{url} with {method} did not ask over HTTPS");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_landing_page_tells_chromium_whether_it_asks_here() {
    let Some(program) = programs::find("chromium", |_| true, "chromium") else { return };
    let _one = ONE_POLICY.lock().await;
    for (mode, verdict) in [("off", "does not resolve"), ("secure", "browser resolves")] {
        let site = Site::start().await;
        trust(&site, &site.path("home/.pki/nssdb"));
        let template = format!("https://127.0.0.1:{}/dns-query{{?dns}}", site.https().port());
        let Some(_policy) = Policy::write(mode, if mode == "off" { "" } else { &template }) else { return };
        let url = format!("https://localhost:{}/", site.https().port());
        let page = chromium(&program, &site, &format!("landing-{mode}"), &url).await;
        assert!(page.contains(verdict), "{mode}: {page}");
    }
}

/// Opens `url` in a profile that asks the site in this mode.
async fn firefox(program: &Path, site: &Site, picture: &str, mode: u8, use_get: bool, url: &str) -> String {
    let profile = site.path(&format!("firefox-{picture}"));
    trust(site, &profile);
    let doh = format!("https://127.0.0.1:{}/dns-query", site.https().port());
    let mut settings = format!(
        "user_pref(\"network.trr.mode\", {mode});\nuser_pref(\"network.trr.uri\", \"{doh}\");\n\
         user_pref(\"network.trr.custom_uri\", \"{doh}\");\nuser_pref(\"network.trr.useGET\", {use_get});\n"
    );
    for (name, value) in [
        ("network.trr.allow-rfc1918", true),
        ("network.trr.wait-for-portal", false),
        ("network.captive-portal-service.enabled", false),
        ("network.connectivity-service.enabled", false),
        ("dom.security.https_first", false),
        ("browser.shell.checkDefaultBrowser", false),
        ("datareporting.policy.dataSubmissionEnabled", false),
        ("toolkit.telemetry.enabled", false),
    ] {
        settings += &format!("user_pref(\"{name}\", {value});\n");
    }
    fs::write(profile.join("user.js"), settings).unwrap();
    let mut command = Command::new("timeout");
    command.arg("60").arg(program).env("HOME", site.path("home")).args([
        "--headless",
        "--no-remote",
        "--profile",
    ]);
    command.arg(&profile).args(["--window-size=800,400", "--screenshot"]);
    command.arg(screenshots().join(format!("firefox-{picture}.png"))).arg(url);
    run(command).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn firefox_opens_the_page_of_a_key_by_each_of_its_names() {
    let Some(program) = programs::find("firefox-esr", |_| true, "firefox-esr") else { return };
    for (method, use_get) in [("get", true), ("post", false)] {
        let site = Site::start().await;
        for (kind, host) in hosts(&site) {
            let before = site.queries_over_http();
            let url = format!("http://{host}:{}/", site.web.port);
            let said = firefox(&program, &site, &format!("{method}-{kind}"), 3, use_get, &url).await;
            assert!(site.web.was_visited(&host, "firefox"), "{url} with {method}: {said}");
            assert!(site.queries_over_http() > before, "{url} with {method} did not ask over HTTPS");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn firefox_with_increased_protection_is_content_with_its_canary() {
    let Some(program) = programs::find("firefox-esr", |_| true, "firefox-esr") else { return };
    let site = Site::start().await;
    let host = format!("www.{}", site.key());
    let said =
        firefox(&program, &site, "increased", 2, true, &format!("http://{host}:{}/", site.web.port)).await;
    assert!(site.web.was_visited(&host, "firefox"), "{said}");
    assert!(site.upstream.asked().contains(&"example.com. NS".to_owned()), "{:?}", site.upstream.asked());
}
