//! How far one client query may go, and the zones that it has read on its way.

use std::{sync::Arc, time::Duration};

use super::{error::ResolveError, zone::Zone};
use crate::{packets::Found, signed_packet::PublicKey};

/// Questions to others for one client query: packets, upstream questions and questions to name servers alike.
const WORK_BUDGET: u32 = 16;

/// Keys that one client query may lead through. Each costs arithmetic on the curve, and a search in the DHT where its
/// packet is not here; chains that people write lead through two.
const MAX_ZONES: usize = 10;

/// How far one client query may go, whatever it leads to. Shared by everything that is done for it and never reset:
/// chains, delegations and address look-ups would multiply otherwise.
#[derive(Debug)]
pub(super) struct WorkBudget {
    left: u32,
    /// What was paid for, so that a chain within a zone reads its packet once. No more than the budget allows.
    zones: Vec<Arc<KnownZone>>,
}

/// A packet and the zone in it, for as long as one query takes.
#[derive(Debug)]
pub(super) struct KnownZone {
    pub(super) zone: Zone,
    pub(super) found: Found,
}

/// What there is of a key.
pub(super) enum KeyZone {
    /// A packet.
    Known(Arc<KnownZone>),
    /// Nothing, which is believed for so long.
    Absent(Duration),
}

impl WorkBudget {
    pub(super) fn new() -> Self {
        Self { left: WORK_BUDGET, zones: Vec::new() }
    }

    pub(super) fn spend(&mut self) -> Result<(), ResolveError> {
        self.left = self.left.checked_sub(1).ok_or(ResolveError::WorkBudget)?;
        Ok(())
    }

    /// Whether there is room for the zone of one more key.
    pub(super) fn enter_zone(&self) -> Result<(), ResolveError> {
        if self.zones.len() < MAX_ZONES { Ok(()) } else { Err(ResolveError::WorkBudget) }
    }

    /// The zone of a key, if this query has been there.
    pub(super) fn zone(&self, key: &[u8; 32]) -> Option<Arc<KnownZone>> {
        self.zones.iter().find(|known| known.key().as_bytes() == key).cloned()
    }

    /// Reads a packet, once.
    pub(super) fn read(&mut self, found: Found) -> Arc<KnownZone> {
        let known = Arc::new(KnownZone { zone: Zone::parse(&found.packet), found });
        self.zones.push(known.clone());
        known
    }
}

impl KnownZone {
    pub(super) fn key(&self) -> &PublicKey {
        self.found.packet.key()
    }
}
