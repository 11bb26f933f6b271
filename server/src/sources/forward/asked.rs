//! Who is asked about which names. A reload puts another one in its place, in which those that stay keep what is known of
//! them: connections, failures, what they can do.

use std::{cmp::Reverse, sync::Arc};

use hickory_proto::rr::Name;

use super::{
    ForwardError, Key, MAX_ZONE_SOCKETS, TlsClient,
    upstreams::{MAX_SOCKETS, Upstreams},
};
use crate::base::{
    config::{ForwardZone, UpstreamAddress},
    message::{Message, absolute_name},
    single_flight::SingleFlight,
};

#[derive(Debug)]
pub(super) struct Asked {
    pub(super) upstreams: Arc<Upstreams>,
    /// The zones that have resolvers of their own, in lower case, longest first.
    pub(super) zones: Vec<(Name, Arc<Upstreams>)>,
    /// Not shared with an older one: whoever asks now must not get what somebody else was asked.
    pub(super) flights: SingleFlight<Key, Result<Arc<Message>, ForwardError>>,
}

impl Asked {
    /// `zones` have to be sound ([`crate::base::config::Config::faults`]). What `old` knows of whom is asked again is taken over.
    pub(super) fn new(
        upstreams: &[UpstreamAddress],
        zones: &[ForwardZone],
        tls: &TlsClient,
        old: Option<&Self>,
    ) -> Self {
        let general = Upstreams::renew(upstreams, tls, MAX_SOCKETS, old.map(|old| &old.upstreams));
        let mut all = Vec::new();
        for ForwardZone { zone, to } in zones {
            // The configuration has refused what is no name.
            let names: Vec<_> = zone.iter().filter_map(|name| absolute_name(name)).collect();
            let known = old.and_then(|old| {
                let mut zones = old.zones.iter();
                zones.find(|(name, _)| names.contains(name)).map(|(_, upstreams)| upstreams)
            });
            let upstreams = Upstreams::renew(to, tls, MAX_ZONE_SOCKETS, known);
            all.extend(names.into_iter().map(|name| (name, upstreams.clone())));
        }
        all.sort_by_key(|(name, _)| Reverse(name.num_labels()));
        // The places bound it, before.
        Self { upstreams: general, zones: all, flights: SingleFlight::new(MAX_SOCKETS) }
    }

    pub(super) fn zone_of(&self, name: &Name) -> Option<&Arc<Upstreams>> {
        self.zones.iter().find(|(zone, _)| zone.zone_of(name)).map(|(_, upstreams)| upstreams)
    }
}
