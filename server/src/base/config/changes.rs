//! What a new configuration changes while the server runs. Pure.

use std::collections::BTreeSet;

use super::{Cache, Config, Dht, Status};

/// Options, by their names as in the file: `section.name`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Those that act at once.
    pub at_once: Vec<String>,
    /// Those that are as they were until the next start.
    pub after_restart: Vec<String>,
}

impl Config {
    /// What is in effect when `new` follows this configuration without a restart, and what that changes.
    ///
    /// What needs a restart is what the parts that live as long as the process are made of: the client of the DHT, the
    /// stores of packets, the account with an ACME authority, the budget of memory, the form of the
    /// log, the socket of the status.
    pub fn followed_by(&self, new: &Self) -> (Self, Changes) {
        let effective = Self {
            dht: Dht { keep_alive_per_hour: new.dht.keep_alive_per_hour, ..self.dht.clone() },
            cache: Cache {
                path: self.cache.path.clone(),
                disk_megabytes: self.cache.disk_megabytes,
                redis: self.cache.redis.clone(),
                ..new.cache.clone()
            },
            acme: self.acme.clone(),
            log: self.log.clone(),
            status: Status { path: self.status.path.clone(), ..new.status.clone() },
            memory: self.memory.clone(),
            ..new.clone()
        };
        let changes =
            Changes { at_once: self.differences(&effective), after_restart: effective.differences(new) };
        (effective, changes)
    }

    /// Whether answers that were made under `other` hold under this configuration: whoever is asked, and whatever is known
    /// and taken out of answers, is the same. What is said of this server itself is not among it.
    pub fn answers_as(&self, other: &Self) -> bool {
        self.fallback_dns == other.fallback_dns
            && self.fallback_ca_path == other.fallback_ca_path
            && self.forward == other.forward
            && self.origin == other.origin
            && self.names.suffixes == other.names.suffixes
            && self.local == other.local
            && self.delegation == other.delegation
            && self.rebind_protection == other.rebind_protection
            && self.denied_keys == other.denied_keys
            && self.bridge == other.bridge
    }

    /// Options that differ, by their names.
    fn differences(&self, other: &Self) -> Vec<String> {
        let [ours, theirs] = [self, other].map(options);
        let mut names: BTreeSet<&str> = BTreeSet::new();
        for (one, another) in [(&ours, &theirs), (&theirs, &ours)] {
            let differing = one.iter().filter(|(name, value)| value_of(another, name) != Some(value));
            names.extend(differing.map(|(name, _)| name.as_str()));
        }
        // As text it has no password.
        if self.cache.redis != other.cache.redis {
            names.insert("cache.redis");
        }
        names.into_iter().map(str::to_owned).collect()
    }
}

type Options = Vec<(String, toml::Value)>;

/// All options that have a value.
fn options(config: &Config) -> Options {
    let mut options = Options::new();
    // Whatever was read can be written.
    for (name, value) in toml::Table::try_from(config).unwrap_or_default() {
        match value {
            toml::Value::Table(section) => {
                options
                    .extend(section.into_iter().map(|(option, value)| (format!("{name}.{option}"), value)));
            }
            value => options.push((name, value)),
        }
    }
    options
}

fn value_of<'a>(options: &'a Options, name: &str) -> Option<&'a toml::Value> {
    options.iter().find(|(known, _)| known == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn what_differs_is_told_by_name_and_what_needs_a_restart_stays_as_it_was() {
        let old = config("verbose = true\n[cache]\nredis = 'redis://:one@127.0.0.1'");
        let new = config(
            "fallback_dns = '9.9.9.9'\n[cache]\nttl_seconds = 7\npath = '/new'\nredis = 'redis://:two@127.0.0.1'\n\
             [dht]\nmax_nodes = 512\nkeep_alive_per_hour = 3\n[acme]\ncontact = 'mailto:a@b.example'\n\
             [memory]\nunread_megabytes = 5\n[[forward]]\nzone = 'lan'\nto = '192.168.1.1'",
        );
        let (effective, changes) = old.followed_by(&new);
        assert_eq!(
            changes.at_once,
            ["cache.ttl_seconds", "dht.keep_alive_per_hour", "fallback_dns", "forward", "verbose"]
        );
        assert_eq!(
            changes.after_restart,
            ["acme.contact", "cache.path", "cache.redis", "dht.max_nodes", "memory.unread_megabytes"]
        );
        assert_eq!((effective.cache.ttl_seconds, effective.cache.path), (7, None));
        assert_eq!(old.followed_by(&old), (old.clone(), Changes::default()));
    }

    #[test]
    fn answers_hold_until_the_rules_change_that_they_were_made_under() {
        for (text, hold) in [
            ("fallback_dns = '9.9.9.9'", false),
            ("fallback_ca_path = '/authority'", false),
            ("[[forward]]\nzone = 'lan'\nto = '192.168.1.1'", false),
            ("[[origin]]\nname = 'pk.example.net'", false),
            ("local.records = 'nas.lan A 192.168.1.9'", false),
            ("names.suffixes = ['pk']", false),
            ("delegation.port = 5353", false),
            ("rebind_protection.icann = true", false),
            ("denied_keys.blocked = '/denied'", false),
            ("bridge.addresses = '192.0.2.1'", false),
            ("operator.contact = 'tel:+1'", true),
            ("names.keep_browsers = true", true),
            ("certificate.names = ['dns.example']", true),
            ("access.deny = '192.0.2.1'", true),
            ("rate_limit.burst_size = 7", true),
            ("cache.ttl_seconds = 7", true),
            ("verbose = true", true),
        ] {
            assert_eq!(config(text).answers_as(&Config::default()), hold, "{text}");
        }
    }
}
