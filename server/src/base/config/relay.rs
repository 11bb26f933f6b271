//! `[relay]`: a PKARR relay on the HTTP listeners.

use serde::{Deserialize, Serialize};

use super::{
    Config,
    check::{BURST_OF_ZERO, Faults},
};

/// A PKARR relay. Zero switches a quota off.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Relay {
    /// Whether `GET` and `PUT` of `/<key>` and `/pkarr/<key>` are served.
    pub enabled: bool,
    /// `GET` requests a minute, per client.
    pub reads_per_minute: u32,
    /// `GET` requests at once.
    pub read_burst_size: u32,
    /// `PUT` requests a minute, per client.
    pub writes_per_minute: u32,
    /// `PUT` requests at once.
    pub write_burst_size: u32,
}

impl Default for Relay {
    fn default() -> Self {
        Self {
            enabled: false,
            reads_per_minute: 600,
            read_burst_size: 300,
            writes_per_minute: 60,
            write_burst_size: 30,
        }
    }
}

impl Config {
    pub(super) fn check_relay(&self, faults: &mut Faults) {
        let relay = &self.relay;
        faults.add_with_if(
            relay.enabled && !self.doh.enabled && self.doh.plain_listen.is_empty(),
            "relay.enabled",
            &["doh.enabled", "doh.plain_listen"],
            "is true, but nothing speaks HTTP; write [doh] enabled = true, or addresses in doh.plain_listen",
        );
        faults.add_with_if(
            relay.reads_per_minute > 0 && relay.read_burst_size == 0,
            "relay.read_burst_size",
            &["relay.reads_per_minute"],
            BURST_OF_ZERO,
        );
        faults.add_with_if(
            relay.writes_per_minute > 0 && relay.write_burst_size == 0,
            "relay.write_burst_size",
            &["relay.writes_per_minute"],
            BURST_OF_ZERO,
        );
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::base::config::{Config, ConfigError, ConfigFile};

    fn parse(text: &str) -> Result<Config, ConfigError> {
        ConfigFile::parse(Path::new("pkdns.toml"), text)?.check()
    }

    fn mistake(text: &str) -> String {
        parse(text).expect_err(text).to_string()
    }

    #[test]
    fn a_relay_that_nobody_reaches_or_that_takes_nothing_is_an_error_with_its_line() {
        let message = mistake("[relay]\nenabled = true");
        assert!(
            message.starts_with("pkdns.toml:2: relay.enabled: is true, but nothing speaks HTTP"),
            "{message}"
        );
        let message = mistake("[relay]\nread_burst_size = 0\nwrite_burst_size = 0");
        assert!(message.starts_with("pkdns.toml:2: relay.read_burst_size: is 0"), "{message}");
        assert!(message.contains("\npkdns.toml:3: relay.write_burst_size: is 0"), "{message}");
        assert!(parse("[doh]\nplain_listen = '127.0.0.1:80'\n[relay]\nenabled = true").is_ok());
    }
}
