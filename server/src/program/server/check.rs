//! What a start would find wrong with the files and directories of a configuration. Nothing is bound, asked, made or written.

use std::{fs, path::Path};

#[cfg(feature = "http")]
use super::bridging::bridge_directory;
use super::features;
#[cfg(feature = "tls")]
use crate::edge::certificates::{self, BridgeAuthority, CertificateError, Certificates};
use crate::{
    base::{
        config::{CREDENTIALS, Config, QueryLogLevel},
        private_file,
    },
    resolver::{check_hosts_files, denied::check_lists, origin::Origins},
    sources::forward::TlsClient,
};

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct FileFaults {
    /// What keeps the server from starting.
    pub mistakes: Vec<String>,
    /// What the server starts with, and does not work.
    pub warnings: Vec<String>,
}

/// Opens the certificates, keys, directories and authorities that `config` names.
pub fn check_files(config: &Config) -> FileFaults {
    let mut faults = FileFaults::default();
    faults.mistakes.extend(features::check(config).err().map(|error| error.to_string()));
    #[cfg(feature = "tls")]
    faults.certificates(config);
    faults.authority("fallback_ca_path", config.fallback_ca_path.as_deref());
    if config.acme.enabled {
        faults.authority("acme.ca_path", config.acme.ca_path.as_deref());
    }
    if let Some(path) = config.cache.directory() {
        faults.directory("cache.path", path, "packets are forgotten at a restart");
    }
    let nodes = config.dht.nodes_path.as_deref().filter(|_| config.dht.enabled);
    if let Some(directory) = nodes.and_then(Path::parent).filter(|path| !path.as_os_str().is_empty()) {
        faults.directory("dht.nodes_path", directory, "DHT nodes are forgotten at a restart");
    }
    if let Some(path) = config.query_log.file().filter(|_| config.query_log.level != QueryLogLevel::Off) {
        let directory = path.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
        faults.directory("query_log.path", directory, "queries are not logged");
    }
    faults.warnings.extend(check_hosts_files(config));
    faults.warnings.extend(check_lists(config));
    match Origins::open(config, &config.listen) {
        Ok(origins) => faults.warnings.extend(origins.warnings().map(str::to_owned)),
        Err(mistake) => faults.mistakes.push(mistake),
    }
    faults
}

impl FileFaults {
    /// Who has to have certified the servers that are asked.
    fn authority(&mut self, option: &str, path: Option<&Path>) {
        if path.is_some_and(is_given) {
            self.given(option);
            return;
        }
        let error = TlsClient::new(path).err().map(|error| error.to_string());
        self.mistakes.extend(error.map(|error| error.replacen("fallback_ca_path", option, 1)));
    }

    fn given(&mut self, options: &str) {
        self.warnings.push(format!(
            "{options}: systemd gives the service what begins with {CREDENTIALS} (LoadCredential=), so that it cannot be looked at \
             from here"
        ));
    }

    fn directory(&mut self, option: &str, path: &Path, consequence: &str) {
        if let Err(error) = private_file::check_directory(path) {
            let path = path.display();
            self.warnings
                .push(format!("{option}: {path}: {error}; {consequence} unless this user may write there"));
        }
    }
}

#[cfg(feature = "tls")]
impl FileFaults {
    fn certificates(&mut self, config: &Config) {
        let (doh, dot) = (&config.doh, &config.dot);
        let is_encrypted = doh.enabled || dot.enabled;
        let common = doh.cert_path.as_deref().zip(doh.key_path.as_deref());
        if let Some((certificate, key)) = common.filter(|_| is_encrypted) {
            self.pair(("doh.cert_path", certificate), ("doh.key_path", key));
        }
        if dot.enabled && (dot.cert_path.is_some() || dot.key_path.is_some()) {
            let certificate = dot.cert_path.as_deref().or(doh.cert_path.as_deref());
            let key = dot.key_path.as_deref().or(doh.key_path.as_deref());
            if let Some((certificate, key)) = certificate.zip(key) {
                self.pair(("dot.cert_path", certificate), ("dot.key_path", key));
            }
        }
        let is_made = config.acme.enabled || config.certificate.self_signed;
        if is_encrypted && common.is_none() && is_made {
            let directory = certificates::check_directory(&config.certificate, config.acme.enabled);
            self.mistakes.extend(directory.err().map(|error| format!("certificate.path: {error}")));
        }
        #[cfg(feature = "http")]
        if config.bridge.is_enabled() {
            let mistake = BridgeAuthority::check(&bridge_directory(config)).err();
            self.mistakes.extend(mistake.map(|error| format!("certificate.path: {error}")));
        }
    }

    /// A certificate and its key. Each is opened, so that what is wrong with both is told at once.
    fn pair(&mut self, certificate: (&str, &Path), key: (&str, &Path)) {
        let before = self.mistakes.len();
        if is_given(certificate.1) || is_given(key.1) {
            self.given(&format!("{} and {}", certificate.0, key.0));
            return;
        }
        for (option, path) in [certificate, key] {
            let error = fs::read(path).err();
            self.mistakes.extend(error.map(|error| format!("{option}: {}: {error}", path.display())));
        }
        if self.mistakes.len() > before {
            return;
        }
        if let Err(error) = Certificates::from_files(certificate.1, key.1) {
            let (option, _) = match error {
                CertificateError::NoCertificate(_) => certificate,
                _ => key,
            };
            self.mistakes.push(format!("{option}: {error}"));
        }
    }
}

/// Whether systemd gives it to the service, and nobody has said where that is.
fn is_given(path: &Path) -> bool {
    path.starts_with(CREDENTIALS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A certificate and its key in PEM.
    fn made() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["dns.example".to_string()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn files_that_would_keep_the_server_from_starting_are_told_all_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let ((certificate, key), (_, other)) = (made(), made());
        let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        for (name, text) in
            [("cert", certificate.as_str()), ("key", &key), ("other", &other), ("encrypted", encrypted)]
        {
            fs::write(path(name), text).unwrap();
        }
        let faults = |certificate: &str, key: &str| {
            let mut config = Config::default();
            config.dht.enabled = false;
            config.doh.enabled = true;
            config.doh.cert_path = Some(path(certificate));
            config.doh.key_path = Some(path(key));
            check_files(&config).mistakes
        };
        assert_eq!(faults("cert", "key"), [""; 0]);
        assert_eq!(faults("none", "nothing").len(), 2);
        let mut config = Config::default();
        config.dht.enabled = false;
        config.doh.enabled = true;
        config.doh.cert_path = Some("$CREDENTIALS_DIRECTORY/cert.pem".into());
        config.doh.key_path = Some("$CREDENTIALS_DIRECTORY/key.pem".into());
        let FileFaults { mistakes, warnings } = check_files(&config);
        assert!(mistakes.is_empty() && warnings[0].contains("LoadCredential="), "{mistakes:?} {warnings:?}");
        for (certificate, key, option, part) in [
            ("none", "key", "doh.cert_path: ", "none: No such file"),
            ("key", "key", "doh.cert_path: ", "holds no certificate in PEM"),
            ("cert", "cert", "doh.key_path: ", "holds no private key in PEM"),
            ("cert", "other", "doh.key_path: ", "is the key of another certificate"),
            ("cert", "encrypted", "doh.key_path: ", "is encrypted with a passphrase"),
        ] {
            let [fault] = &faults(certificate, key)[..] else { panic!("{certificate} {key}") };
            assert!(fault.starts_with(option) && fault.contains(part), "{fault}");
        }
    }

    #[test]
    fn directories_and_authorities_are_looked_at_and_nothing_is_made() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("file"), "").unwrap();
        let mut config = Config::default();
        config.doh.enabled = true;
        config.certificate.self_signed = true;
        config.certificate.path = Some(path("certificates"));
        config.cache.path = Some(path("packets"));
        assert_eq!(check_files(&config), FileFaults::default());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        config.certificate.path = Some(path("file/certificates"));
        config.cache.path = Some(path("file"));
        config.dht.nodes_path = Some(path("file/nodes"));
        config.fallback_ca_path = Some(path("file"));
        config.acme.enabled = true;
        config.acme.ca_path = Some(path("nothing"));
        config.query_log.level = QueryLogLevel::Counts;
        config.query_log.path = Some(path("file/queries.log"));
        let FileFaults { mistakes, warnings } = check_files(&config);
        let begins = |faults: &[String]| {
            faults.iter().map(|fault| fault.split(": ").next().unwrap().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(begins(&mistakes), ["certificate.path", "fallback_ca_path", "acme.ca_path"]);
        assert_eq!(begins(&warnings), ["cache.path", "dht.nodes_path", "query_log.path"]);
        // An authority of our own whose key is none, which is not written over.
        fs::create_dir(path("certificates")).unwrap();
        fs::write(path("certificates/ca.key"), "not a key").unwrap();
        config.certificate.path = Some(path("certificates"));
        assert!(check_files(&config).mistakes[0].contains("ca.key holds no private key"));
    }
}
