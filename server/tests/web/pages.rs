//! The pages as people see them: pictures of each for people to look at, and what a program can find wrong with them.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use hickory_proto::rr::{
    RData,
    rdata::{A, AAAA, MX, TXT},
};
use pkdns_testing::{programs, server::keypair};
use serde_json::json;

use super::{Site, run};

/// Where pictures are left: named by the environment, or with those of browsers.
fn pictures() -> PathBuf {
    let directory = env::var_os("PKDNS_PICTURES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/screenshots"), PathBuf::from);
    fs::create_dir_all(&directory).unwrap();
    directory.canonicalize().unwrap()
}

/// The npm packages, or nothing where they are not installed.
fn npm_packages() -> Option<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/interop");
    let is_there = ["playwright-core", "axe-core"]
        .iter()
        .all(|package| directory.join("node_modules").join(package).is_dir());
    if !is_there {
        let missing = "no playwright-core and axe-core: CONTRIBUTING.md says how to install npm packages";
        assert!(env::var("CI").as_deref() != Ok("true"), "{missing}");
        programs::skip(missing);
        return None;
    }
    directory.canonicalize().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_is_sound_on_a_phone_and_a_computer_in_light_and_dark() {
    let Some(chromium) = programs::find("chromium", |_| true, "chromium") else { return };
    let Some(node) = programs::find("node", |_| true, "nodejs") else { return };
    let Some(packages) = npm_packages() else { return };
    let site = Site::start_with(|config| {
        config.operator.name = "Example Networks".into();
        config.operator.contact = vec!["mailto:abuse@example.net".into()];
        config.certificate.names.push("192.0.2.53".into());
    })
    .await;
    let owner = keypair(1);
    let text = |text: &str| RData::TXT(TXT::new(vec![text.to_owned()]));
    let mail = hickory_proto::rr::Name::from_ascii("mail.example.net.").unwrap();
    site.publish_zone(&[
        ("", 300, RData::A(A::new(203, 0, 113, 7))),
        ("", 300, RData::AAAA(AAAA::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7))),
        ("", 3600, RData::MX(MX::new(10, mail))),
        ("", 3600, text("v=spf1 mx -all")),
        ("_pubky", 3600, text("a text that is long enough to need several lines on a phone, as those of keys and policies are")),
        ("blog", 300, RData::A(A::new(203, 0, 113, 8))),
    ]);
    let (host, key) = (format!("https://localhost:{}", site.https().port()), owner.to_z32());
    let page = |name: &str, path: &str| json!({ "name": name, "url": format!("{host}{path}") });
    let asked = |name: &str, asked: bool| json!({ "name": name, "url": format!("{host}/"), "asked": asked });
    let plain = json!({ "name": "landing-plain-http", "url": format!("http://localhost:{}/", site.http().port()), "asked": false });
    let pages = [
        asked("landing", false),
        asked("landing-green", true),
        plain,
        page("zone", &format!("/zone/{key}")),
        page("zone-absent", &format!("/zone/{}", keypair(9).to_z32())),
        page("zone-find", "/zone?name=example.com"),
        page("status", "/status"),
        page("nothing", "/nothing"),
        page("abuse", "/abuse"),
    ];
    let argument = json!({ "chromium": chromium, "pictures": pictures(), "pages": pages });
    // Packages are looked for from where the script is.
    let script = packages.join("pages.js");
    fs::write(&script, include_str!("../../../testing/interop/pages.js")).unwrap();
    let mut command = Command::new("timeout");
    command.arg("180").arg(node).arg(&script).arg(argument.to_string());
    let said = run(command).await;
    assert_eq!(said.trim(), "[]", "{said}");
}
