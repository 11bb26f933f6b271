//! `[memory]`: what is held for clients.

use serde::{Deserialize, Serialize};

use super::Fault;

/// The largest answer takes up to half a megabyte as JSON, and one client a quarter of the budget at most.
const LEAST: u64 = 4;

/// More would not fit any machine.
const MOST: u64 = 1 << 20;

/// Memory for clients that are slow.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Memory {
    /// Most that replies take which wait to be read, and bodies of requests, in megabytes. As much as suits the machine
    /// when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unread_megabytes: Option<u64>,
}

impl Memory {
    pub(super) fn fault(&self) -> Option<Fault> {
        let megabytes = self.unread_megabytes.filter(|megabytes| !(LEAST..=MOST).contains(megabytes))?;
        let advice = format!(
            "{megabytes} is not between {LEAST} and {MOST}; remove it, and pkdns chooses a size that suits the machine"
        );
        Some(Fault { key: "memory.unread_megabytes", others: &[], advice })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::base::config::{Config, ConfigError, ConfigFile};

    fn parse(text: &str) -> Result<Config, ConfigError> {
        ConfigFile::parse(Path::new("pkdns.toml"), text)?.check()
    }

    #[test]
    fn memory_that_holds_no_answer_is_an_error_with_its_line() {
        for megabytes in ["0", "3", "1048577"] {
            let message =
                parse(&format!("[memory]\nunread_megabytes = {megabytes}")).expect_err("").to_string();
            assert!(message.starts_with("pkdns.toml:2: memory.unread_megabytes: "), "{message}");
        }
        let config = parse("[memory]\nunread_megabytes = 16").unwrap();
        assert_eq!(config.memory.unread_megabytes, Some(16));
        assert_eq!(parse("").unwrap().memory.unread_megabytes, None);
    }
}
