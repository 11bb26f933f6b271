//! Keys that are not answered for: where a question about one ends.

use std::sync::Arc;

use super::{Resolver, chain::Chain, name::KeyName, negative};
use crate::{
    config::Config, denied::DeniedKeys, forward::Forwarder, metrics::DeniedLookups, packets::Packets,
};

impl Resolver {
    /// A resolver as configured, with lists of keys of its own.
    pub fn new(config: &Config, packets: Packets, forwarder: Arc<Forwarder>) -> Self {
        let denied = DeniedKeys::open(config, packets.revisions(), &DeniedLookups::default());
        Self::with_denied_keys(config, packets, forwarder, denied)
    }

    /// Ends the chain if the key is denied. To be asked for each key that a question leads to, before it is looked up.
    pub(super) fn denies(&self, asked: &KeyName, chain: &mut Chain) -> bool {
        let verdict = self.0.denied.judge_question(&asked.key);
        chain.revisions.extend(verdict.revision);
        if let Some(denial) = verdict.denial {
            chain.deny(denial, negative::soa(&asked.apex, 1, self.0.negative_ttl));
        }
        verdict.denial.is_some()
    }
}
