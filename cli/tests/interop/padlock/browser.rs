//! Debian's browsers with a fresh profile, in which nothing is set but what a person sets: the DNS over HTTPS server.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use pkdns_testing::{namespace::run, process::Killed, programs};

use super::scene::{DOH, Scene};

/// How a browser asks for names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// The machine's resolver.
    PlainDns,
    /// The server of its own settings, and no other.
    DnsOverHttps,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Chromium,
    Firefox,
}

/// How long a browser may look at a page.
const LIMIT: Duration = Duration::from_secs(60);

/// Without a window, and without what needs a desktop or another network.
const CHROMIUM: [&str; 8] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
];

pub(crate) struct Browser {
    kind: Kind,
    program: PathBuf,
}

impl Browser {
    /// `None`: it is not installed, and that is to be accepted.
    pub(crate) fn find(kind: Kind) -> Option<Self> {
        let name = match kind {
            Kind::Chromium => "chromium",
            Kind::Firefox => "firefox-esr",
        };
        programs::find("certutil", |_| true, "libnss3-tools")?;
        Some(Self { kind, program: programs::find(name, |_| true, name)? })
    }

    /// A new one, with the server for DNS over HTTPS that a person would enter.
    pub(crate) fn profile(&self, scene: &Scene, way: Way) -> PathBuf {
        let profile = scene.path().join("profile");
        match self.kind {
            Kind::Chromium => {
                fs::create_dir(&profile).unwrap();
                let mode = if way == Way::DnsOverHttps { "secure" } else { "off" };
                let state =
                    format!("{{\"dns_over_https\":{{\"mode\":\"{mode}\",\"templates\":\"{DOH}{{?dns}}\"}}}}");
                fs::write(profile.join("Local State"), state).unwrap();
            }
            Kind::Firefox => {
                let mut create = self.command(scene);
                create.arg("--headless").arg("-CreateProfile");
                create.arg(format!("test {}", profile.display())).stderr(Stdio::null());
                assert!(create.status().unwrap().success());
                let settings = match way {
                    Way::PlainDns => String::new(),
                    // "Max Protection", with a server of one's own.
                    Way::DnsOverHttps => format!(
                        "user_pref(\"network.trr.mode\", 3);\nuser_pref(\"network.trr.uri\", \"{DOH}\");\n\
                         user_pref(\"network.trr.custom_uri\", \"{DOH}\");\n"
                    ),
                };
                fs::write(profile.join("user.js"), settings).unwrap();
            }
        }
        profile
    }

    /// Opens `url`; the browser ends with what is returned.
    pub(crate) fn open(&self, scene: &Scene, profile: &Path, url: &str) -> Killed {
        let mut command = self.command(scene);
        match self.kind {
            Kind::Chromium => {
                command.args(CHROMIUM).arg(format!("--user-data-dir={}", profile.display()));
                command.arg("--remote-debugging-port=0");
            }
            Kind::Firefox => {
                command.args(["--headless", "--no-remote", "--profile"]).arg(profile);
            }
        }
        let log = File::create(scene.path().join("browser.log")).unwrap();
        Killed(command.arg(url).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap())
    }

    /// Opens `url`, and returns what is shown then, as far as the browser tells.
    pub(crate) fn look(&self, scene: &Scene, profile: &Path, url: &str) -> String {
        let mut command = Command::new("timeout");
        command.arg(LIMIT.as_secs().to_string()).arg(&self.program).env("HOME", scene.path());
        match self.kind {
            Kind::Chromium => {
                command.args(CHROMIUM).args(["--virtual-time-budget=10000", "--dump-dom"]);
                command.arg(format!("--user-data-dir={}", profile.display()));
            }
            Kind::Firefox => {
                command.args(["--headless", "--no-remote", "--profile"]).arg(profile);
                command.arg("--screenshot").arg(scene.path().join("picture.png"));
            }
        }
        let output = command.arg(url).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn command(&self, scene: &Scene) -> Command {
        let mut command = Command::new(&self.program);
        command.env("HOME", scene.path());
        command
    }
}

/// Gives the directory `place` the contents that it has, for this machine alone: what is changed there is gone with it.
pub(crate) fn make_private(place: &str, scratch: &Path) {
    let copy = scratch.join(place.replace('/', "_"));
    fs::create_dir_all(&copy).unwrap();
    run("cp", ["-a".as_ref(), format!("{place}/.").as_ref(), copy.as_os_str()]);
    run("mount", ["--bind".as_ref(), copy.as_os_str(), place.as_ref()]);
}
