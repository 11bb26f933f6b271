//! Names that an upstream has denied: nothing exists below them either (RFC 8020).

use std::{
    num::NonZeroUsize,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RData, Record},
};
use lru::LruCache;
use tokio::time::Instant;

use super::LONGEST_NEGATIVE_LIFETIME;
use crate::message::{MAX_NAME_SIZE, Message};

/// ICANN names that do not exist, with the SOA that says so.
#[derive(Debug)]
pub(super) struct NxDomains(Mutex<LruCache<Box<[u8]>, Denial>>);

#[derive(Debug)]
struct Denial {
    soa: Record,
    until: Instant,
}

impl NxDomains {
    /// Remembers at most `capacity` names.
    pub(super) fn new(capacity: usize) -> Self {
        Self(Mutex::new(LruCache::new(NonZeroUsize::new(capacity).unwrap_or(NonZeroUsize::MIN))))
    }

    /// Remembers `name` if `message` denies it and has a SOA to say for how long.
    pub(super) fn learn(&self, name: &Name, message: &Message) {
        if message.code != ResponseCode::NXDomain || name.is_root() {
            return;
        }
        let soa = message.authorities.iter().find_map(|record| match &record.data {
            RData::SOA(soa) if record.name.zone_of(name) => Some((record, record.ttl.min(soa.minimum))),
            _ => None,
        });
        let Some((soa, ttl)) = soa else {
            return;
        };
        let until = Instant::now() + Duration::from_secs(ttl.into()).min(LONGEST_NEGATIVE_LIFETIME);
        let denial = Denial { soa: soa.clone(), until };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).put(labels(name).into(), denial);
    }

    /// The SOA of the denial that covers `name`, its TTL counted down, and how long it holds.
    pub(super) fn covers(&self, name: &Name) -> Option<(Record, Duration)> {
        let now = Instant::now();
        let name = labels(name);
        let mut denials = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut at = &name[..];
        while let Some((length, after)) = at.split_first() {
            if let Some(denial) = denials.get(at) {
                let left = denial.until.saturating_duration_since(now);
                if !left.is_zero() {
                    let mut soa = denial.soa.clone();
                    soa.ttl = soa.ttl.min(u32::try_from(left.as_secs()).unwrap_or(u32::MAX));
                    return Some((soa, left));
                }
                denials.pop(at);
            }
            at = after.get(usize::from(*length)..).unwrap_or_default();
        }
        None
    }
}

/// The labels in wire form and lower case, without the root's, so that the end of it is the name above. All clients
/// share the lock, and a name may have 127 labels: looking for each must not make a new name.
fn labels(name: &Name) -> Vec<u8> {
    let mut labels = Vec::with_capacity(MAX_NAME_SIZE);
    for label in name.iter() {
        // At most 63 bytes, as in every name.
        labels.push(label.len() as u8);
        labels.extend(label.iter().map(u8::to_ascii_lowercase));
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolver::negative::soa;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn denial(apex: &str, ttl: u32) -> Message {
        Message {
            id: 0,
            truncated: false,
            authentic_data: false,
            code: ResponseCode::NXDomain,
            answers: Vec::new(),
            authorities: vec![soa(&name(apex), 1, ttl)],
            additionals: Vec::new(),
            extended_error: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_exists_below_a_denied_name_until_the_denial_ends() {
        let denied = NxDomains::new(10);
        denied.learn(&name("no.example.com."), &denial("example.com.", 60));
        assert!(denied.covers(&name("no.example.com.")).is_some());
        assert!(denied.covers(&name("a.b.no.example.com.")).is_some());
        assert!(denied.covers(&name("example.com.")).is_none());
        assert!(denied.covers(&name("yes.example.com.")).is_none());
        assert!(denied.covers(&name("xno.example.com.")).is_none());
        assert!(denied.covers(&name("A.No.Example.COM.")).is_some());
        assert!(denied.covers(&Name::root()).is_none());
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!(denied.covers(&name("no.example.com.")).unwrap().0.ttl, 40);
        tokio::time::advance(Duration::from_secs(41)).await;
        assert!(denied.covers(&name("no.example.com.")).is_none());
    }

    #[tokio::test]
    async fn a_denial_by_someone_else_is_not_believed() {
        let denied = NxDomains::new(10);
        denied.learn(&name("no.example.com."), &denial("example.org.", 60));
        assert!(denied.covers(&name("no.example.com.")).is_none());
    }
}
