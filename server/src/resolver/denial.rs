//! Keys that are not answered for: where a question about one ends.

use std::sync::Arc;

use super::{Resolver, chain::Chain, error::Caveat, name::KeyName, origin::Origins};
use crate::{
    base::{config::Config, metrics::DeniedLookups},
    resolver::denied::DeniedKeys,
    sources::{forward::Forwarder, packets::Packets},
};

impl Resolver {
    /// A resolver as configured, with lists of keys of its own.
    pub fn new(config: &Config, packets: Packets, forwarder: Arc<Forwarder>) -> Self {
        let denied = DeniedKeys::open(config, packets.revisions(), &DeniedLookups::default());
        Self::with_origins(config, packets, forwarder, Origins::default(), denied)
    }

    /// Whether a key is denied, and notes in the chain why. To be asked for each key that a question leads to, before it is
    /// looked up; the code is NXDOMAIN, with the SOA of whoever answers, as for blocked names elsewhere: REFUSED and SERVFAIL
    /// would have a client ask again, here and elsewhere.
    pub(super) fn denies(&self, asked: &KeyName, chain: &mut Chain) -> bool {
        let verdict = self.0.denied.judge_question(&asked.key);
        chain.revisions.extend(verdict.revision);
        chain.caveat = verdict.denial.map(Caveat::Denied).or(chain.caveat.take());
        verdict.denial.is_some()
    }
}
