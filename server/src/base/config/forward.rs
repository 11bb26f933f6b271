//! `[[forward]]`: zones of the own network, and who resolves them.

use serde::{Deserialize, Serialize};

use super::{
    Config, UpstreamAddress, address,
    check::{Faults, suffix_fault},
    presets,
};

/// Each has sockets of its own.
const MAX_ZONES: usize = 16;

/// Zones that other resolvers are asked about, such as that of a LAN.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ForwardZone {
    /// Their names, with all below. Lower case, without dots at the ends.
    #[serde(deserialize_with = "address::suffixes")]
    pub zone: Vec<String>,
    /// Resolvers for them, tried in order.
    #[serde(deserialize_with = "presets::list")]
    pub to: Vec<UpstreamAddress>,
}

impl Config {
    pub(super) fn check_forward(&self, faults: &mut Faults) {
        if self.forward.len() > MAX_ZONES {
            faults.add("forward", format!("names more than {MAX_ZONES} times resolvers of their own"));
        }
        for forward in &self.forward {
            faults.add_if(forward.zone.is_empty(), "forward.zone", "is empty; write \"lan\"");
            faults.add_if(forward.to.is_empty(), "forward.to", "is empty; write \"192.168.1.1\"");
            self.check_upstreams("forward.to", &forward.to, faults);
            for zone in &forward.zone {
                if let Some(advice) = suffix_fault(zone) {
                    faults.add("forward.zone", advice);
                }
                let count =
                    self.forward.iter().flat_map(|other| &other.zone).filter(|other| *other == zone).count();
                faults.add_if(
                    count > 1,
                    "forward.zone",
                    "names a zone twice; list all of its resolvers in one `to`",
                );
            }
        }
    }
}
