//! Browsers with profiles of their own, which ask this server over HTTPS and take its certificate. The browser that the user
//! has set up stays as it is.

use std::{
    ffi::OsStr,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::programs::{first, quoted};

/// Those that take the settings of Chromium, the likeliest first.
const CHROMIUM: &[&str] =
    &["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "brave-browser"];

const FIREFOX: &[&str] = &["firefox", "firefox-esr"];

/// The site that is to be opened.
pub(super) struct Site {
    /// Where it is served over HTTPS, and DNS as well.
    pub(super) address: SocketAddr,
    /// The names that lead to it, the one to open first.
    pub(super) hosts: Vec<String>,
    /// What is shown there, DER.
    pub(super) certificate: Vec<u8>,
}

/// A browser that is installed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Browser {
    Chromium(PathBuf),
    Firefox(PathBuf),
}

/// One of each kind, as far as they are there.
pub(super) fn find(path: &OsStr, exists: impl Fn(&Path) -> bool) -> Vec<Browser> {
    let chromium = first(CHROMIUM, path, &exists).map(Browser::Chromium);
    chromium.into_iter().chain(first(FIREFOX, path, &exists).map(Browser::Firefox)).collect()
}

impl Browser {
    pub(super) fn program(&self) -> &Path {
        let (Self::Chromium(program) | Self::Firefox(program)) = self;
        program
    }

    /// Writes a profile into an empty directory, and returns the command line that opens the site with it.
    pub(super) fn prepare(&self, site: &Site, profile: &Path) -> io::Result<String> {
        match self {
            Self::Chromium(_) => {
                fs::write(profile.join("Local State"), site.chromium_state())?;
            }
            Self::Firefox(_) => {
                fs::write(profile.join("user.js"), site.firefox_settings())?;
                fs::write(profile.join("cert_override.txt"), site.firefox_exceptions())?;
            }
        }
        let program = match self.program() {
            program if program.is_absolute() && program.starts_with("/Applications") => quoted(program),
            // On the PATH, where it was found.
            program => program.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        };
        let (profile, url) = (quoted(profile), site.url());
        match self {
            Self::Chromium(_) => {
                let key_hash = site.key_hash()?;
                Ok(format!(
                    "{program} --user-data-dir={profile} --no-first-run --no-default-browser-check \
                     --ignore-certificate-errors-spki-list={key_hash} {url}"
                ))
            }
            Self::Firefox(_) => Ok(format!("{program} --new-instance --profile {profile} {url}")),
        }
    }
}

impl Site {
    /// What is to be opened.
    fn url(&self) -> String {
        let host = self.hosts.first().map_or("", String::as_str);
        format!("https://{host}:{}/", self.address.port())
    }

    fn resolver(&self) -> String {
        format!("https://{}/dns-query", self.address)
    }

    /// By which Chromium takes the certificate for whatever name: the SHA-256 of its key.
    fn key_hash(&self) -> io::Result<String> {
        let (_, certificate) = X509Certificate::from_der(&self.certificate).map_err(io::Error::other)?;
        Ok(BASE64_STANDARD.encode(Sha256::digest(certificate.public_key().raw)))
    }

    fn chromium_state(&self) -> String {
        format!("{{\"dns_over_https\":{{\"mode\":\"secure\",\"templates\":\"{}\"}}}}\n", self.resolver())
    }

    /// Asks this resolver and no other, and believes it about this machine. What would ask for names of Firefox's own is off.
    fn firefox_settings(&self) -> String {
        let resolver = format!("\"{}\"", self.resolver());
        [
            ("network.trr.mode", "3"),
            ("network.trr.uri", &resolver),
            ("network.trr.custom_uri", &resolver),
            ("network.trr.allow-rfc1918", "true"),
            ("network.trr.wait-for-portal", "false"),
            ("network.captive-portal-service.enabled", "false"),
            ("network.connectivity-service.enabled", "false"),
            ("browser.aboutwelcome.enabled", "false"),
            ("browser.shell.checkDefaultBrowser", "false"),
            ("datareporting.policy.dataSubmissionEnabled", "false"),
            ("toolkit.telemetry.enabled", "false"),
        ]
        .map(|(name, value)| format!("user_pref(\"{name}\", {value});\n"))
        .concat()
    }

    /// As Firefox writes them when its user says to go on in spite of a certificate that it cannot check.
    fn firefox_exceptions(&self) -> String {
        let hash = Sha256::digest(&self.certificate);
        let hash: Vec<_> = hash.iter().map(|byte| format!("{byte:02X}")).collect();
        let resolver = self.address.ip().to_string();
        let lines = [&resolver].into_iter().chain(&self.hosts).map(|host| {
            // The OID is that of SHA-256.
            let port = self.address.port();
            format!("{host}:{port}:\tOID.2.16.840.1.101.3.4.2.1\t{}\t\n", hash.join(":"))
        });
        lines.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site() -> Site {
        let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert;
        Site {
            address: "127.0.0.1:8443".parse().unwrap(),
            hosts: vec!["key.key".into(), "key".into()],
            certificate: certificate.der().to_vec(),
        }
    }

    #[test]
    fn one_browser_of_each_kind_is_found_where_the_shell_finds_it() {
        let find_among =
            |there: &[&str]| find("/a:/b".as_ref(), |path| there.iter().any(|it| Path::new(it) == path));
        assert!(find_among(&[]).is_empty());
        assert_eq!(
            find_among(&["/b/firefox", "/b/google-chrome", "/a/chromium"]),
            [Browser::Chromium("/a/chromium".into()), Browser::Firefox("/b/firefox".into())]
        );
    }

    #[test]
    fn a_profile_asks_this_server_alone_and_its_command_is_one_line() {
        let directory = tempfile::tempdir().unwrap();
        let read = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap();
        let line = Browser::Chromium("/usr/bin/chromium".into()).prepare(&site(), directory.path()).unwrap();
        assert!(line.starts_with("chromium --user-data-dir=/"), "{line}");
        assert!(line.ends_with(" https://key.key:8443/") && !line.contains('\n'), "{line}");
        let state: serde_json::Value = serde_json::from_str(&read("Local State")).unwrap();
        assert_eq!(state["dns_over_https"]["templates"], "https://127.0.0.1:8443/dns-query");
        let line =
            Browser::Firefox("/usr/bin/firefox-esr".into()).prepare(&site(), directory.path()).unwrap();
        assert!(line.starts_with("firefox-esr --new-instance --profile /"), "{line}");
        assert!(read("user.js").contains("\"network.trr.uri\", \"https://127.0.0.1:8443/dns-query\""));
        assert_eq!(read("cert_override.txt").lines().count(), 3);
    }

    #[test]
    fn a_certificate_that_is_none_is_an_error() {
        let site = Site { certificate: vec![1, 2, 3], ..site() };
        assert!(site.key_hash().is_err());
    }
}
