//! What a configuration that is read again changes. Pure.

use super::config::{Config, Dyndns};

impl Config {
    /// What is in effect when `new` follows this one without a restart, and which options of it are not, by their names in
    /// the file.
    ///
    /// A restart takes what is bound, joined or opened at the start. Identities, their relays and how addresses are found
    /// need none.
    pub(super) fn followed_by(&self, new: Self) -> (Self, Vec<&'static str>) {
        let mut after_restart = Vec::new();
        let mut note = |is_same: bool, name| after_restart.extend((!is_same).then_some(name));
        note(self.state == new.state, "state");
        note(self.bootstrap == new.bootstrap, "bootstrap");
        match (&self.dyndns, &new.dyndns) {
            (Some(ours), Some(theirs)) => {
                let Dyndns { listen, cert_path, key_path, trusted_proxies, allow_private } = theirs;
                note(ours.listen == *listen, "dyndns.listen");
                note(ours.cert_path == *cert_path, "dyndns.cert_path");
                note(ours.key_path == *key_path, "dyndns.key_path");
                note(ours.trusted_proxies == *trusted_proxies, "dyndns.trusted_proxies");
                note(ours.allow_private == *allow_private, "dyndns.allow_private");
            }
            (ours, theirs) => note(ours.is_some() == theirs.is_some(), "dyndns"),
        }
        let (state, bootstrap, dyndns) = (self.state.clone(), self.bootstrap.clone(), self.dyndns.clone());
        (Self { state, bootstrap, dyndns, ..new }, after_restart)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &str = "state = 'one'\nbootstrap = ['127.0.0.1:1']\n\
                         [dyndns]\nlisten = ['127.0.0.1:8245']\ncert_path = 'c'\nkey_path = 'k'\n\
                         [[identity]]\nseed = 's'\nrecords = '@ A 192.0.2.1'\n";

    fn config(text: &str) -> Config {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn what_needs_a_restart_is_named_and_stays_as_it_was() {
        let start = config(START);
        for (from, to, expected) in [
            ("state = 'one'", "state = 'two'", &["state"][..]),
            ("bootstrap = ['127.0.0.1:1']", "", &["bootstrap"]),
            ("8245", "8246", &["dyndns.listen"]),
            ("cert_path = 'c'", "cert_path = 'd'", &["dyndns.cert_path"]),
            ("key_path = 'k'", "key_path = 'l'", &["dyndns.key_path"]),
            ("key_path", "trusted_proxies = ['10.0.0.1']\nkey_path", &["dyndns.trusted_proxies"]),
            ("key_path", "allow_private = true\nkey_path", &["dyndns.allow_private"]),
        ] {
            let (effective, after_restart) = start.followed_by(config(&START.replacen(from, to, 1)));
            assert_eq!(after_restart, expected, "{to}");
            assert_eq!(effective, start, "{to}");
        }
        let without = "state = 'one'\nbootstrap = ['127.0.0.1:1']\n[[identity]]\nseed = 's'\nrecords = '@ A 192.0.2.1'\n";
        assert_eq!(start.followed_by(config(without)).1, ["dyndns"]);
    }

    #[test]
    fn everything_else_acts_at_once() {
        let changed = format!(
            "relays = ['https://relay.example']\n{}",
            START
                .replace("192.0.2.1", "192.0.2.2")
                .replace("[[identity]]", "[detection]\nallow_private = true\n[[identity]]\ninterval = '2h'")
        );
        let new = config(&changed);
        assert_eq!(config(START).followed_by(config(&changed)), (new, vec![]));
    }
}
