//! Files that systemd gives to a service, which otherwise may not read them (`LoadCredential=`).

use std::path::{Path, PathBuf};

use super::Config;

/// What a path begins with that means such a file. systemd sets the variable of this name.
pub const CREDENTIALS: &str = "$CREDENTIALS_DIRECTORY";

impl Config {
    /// Puts `directory`, where systemd has put the credentials, in the place of [`CREDENTIALS`] at the start of paths. Without
    /// one they stay as they are.
    pub fn resolve_credentials(&mut self, directory: Option<&Path>) {
        let Some(directory) = directory else { return };
        let paths = [
            &mut self.doh.cert_path,
            &mut self.doh.key_path,
            &mut self.dot.cert_path,
            &mut self.dot.key_path,
            &mut self.fallback_ca_path,
            &mut self.acme.ca_path,
        ];
        for path in paths.into_iter().flatten() {
            let resolved: Option<PathBuf> =
                path.strip_prefix(CREDENTIALS).ok().map(|name| directory.join(name));
            if let Some(resolved) = resolved {
                *path = resolved;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_looked_for_where_systemd_has_put_it() {
        let mut config = Config::default();
        config.doh.cert_path = Some("$CREDENTIALS_DIRECTORY/cert.pem".into());
        config.doh.key_path = Some("/etc/$CREDENTIALS_DIRECTORY/key.pem".into());
        config.dot.key_path = Some("$CREDENTIALS_DIRECTORY/dot.pem".into());
        let unresolved = config.clone();
        config.resolve_credentials(None);
        assert_eq!(config, unresolved);
        config.resolve_credentials(Some(Path::new("/run/credentials/pkdns.service")));
        assert_eq!(
            config.doh.cert_path.as_deref(),
            Some(Path::new("/run/credentials/pkdns.service/cert.pem"))
        );
        assert_eq!(config.dot.key_path.as_deref(), Some(Path::new("/run/credentials/pkdns.service/dot.pem")));
        assert_eq!(config.doh.key_path, unresolved.doh.key_path);
    }
}
