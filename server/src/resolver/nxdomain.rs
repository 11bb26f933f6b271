//! Names that an upstream has denied with proof: nothing exists below them either (RFC 8020).

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ahash::RandomState;
use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RData, Record},
    serialize::binary::{BinDecodable, BinEncodable},
};
use lru::LruCache;
use tokio::time::Instant;

use super::LONGEST_NEGATIVE_LIFETIME;
use crate::base::message::{MAX_NAME_SIZE, Message};

/// Bytes of names and SOA records for each entry that the cache may have, as the configuration counts. A flood of
/// made-up names takes no more.
const BYTES_PER_ENTRY: usize = 128;

/// Bytes that a name takes beside its own and those of its SOA: node, table, allocations.
const OVERHEAD: usize = 192;

/// Names of more labels are neither remembered nor looked for: a query must not cost a hundred looks under the lock.
/// Names of IPv6 addresses have 34.
const MAX_LABELS: usize = 40;

/// ICANN names that do not exist, with the SOA that says so.
#[derive(Debug)]
pub(super) struct NxDomains(Mutex<Denials>);

#[derive(Debug)]
struct Denials {
    by_name: LruCache<Box<[u8]>, Denial, RandomState>,
    size: usize,
    capacity: usize,
}

#[derive(Debug)]
struct Denial {
    /// In wire form, which is a fifth of what a record takes.
    soa: Box<[u8]>,
    until: Instant,
}

impl NxDomains {
    /// Remembers names of at most `entries` times [`BYTES_PER_ENTRY`] bytes, but always one.
    pub(super) fn new(entries: usize) -> Self {
        Self(Mutex::new(Denials {
            by_name: LruCache::unbounded_with_hasher(RandomState::new()),
            size: 0,
            capacity: entries.saturating_mul(BYTES_PER_ENTRY),
        }))
    }

    /// Remembers `name` if `message` denies it, has a SOA to say for how long, and was validated by an upstream that nobody
    /// can speak for: AD is cleared on any other way. Servers that say NXDOMAIN of a name with names below it are many, and
    /// DNSSEC is what proves that there are none (RFC 8020 section 2, as Unbound's `harden-below-nxdomain` has it). All
    /// other denials answer their own question only.
    pub(super) fn learn(&self, name: &Name, message: &Message) {
        let is_proven = message.code == ResponseCode::NXDomain && message.authentic_data;
        if !is_proven || name.is_root() || name.iter().count() > MAX_LABELS {
            return;
        }
        let soa = message.authorities.iter().find_map(|record| match &record.data {
            RData::SOA(soa) if record.name.zone_of(name) => Some((record, record.ttl.min(soa.minimum))),
            _ => None,
        });
        let Some((Ok(soa), ttl)) = soa.map(|(soa, ttl)| (soa.to_bytes(), ttl)) else {
            return;
        };
        let until = Instant::now() + Duration::from_secs(ttl.into()).min(LONGEST_NEGATIVE_LIFETIME);
        self.denials().insert(labels(name).into(), Denial { soa: soa.into(), until });
    }

    /// The SOA of the denial that covers `name`, its TTL counted down, and how long it holds.
    pub(super) fn covers(&self, name: &Name) -> Option<(Record, Duration)> {
        let (soa, left) = self.find(&labels(name), Instant::now())?;
        let mut soa = Record::from_bytes(&soa).ok()?;
        soa.ttl = soa.ttl.min(u32::try_from(left.as_secs()).unwrap_or(u32::MAX));
        Some((soa, left))
    }

    fn find(&self, name: &[u8], now: Instant) -> Option<(Box<[u8]>, Duration)> {
        let mut denials = self.denials();
        let mut at = name;
        while let Some((length, after)) = at.split_first() {
            if let Some(denial) = denials.by_name.get(at) {
                let left = denial.until.saturating_duration_since(now);
                if !left.is_zero() {
                    return Some((denial.soa.clone(), left));
                }
                denials.remove(at);
            }
            at = after.get(usize::from(*length)..).unwrap_or_default();
        }
        None
    }

    fn denials(&self) -> MutexGuard<'_, Denials> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Denials {
    fn insert(&mut self, name: Box<[u8]>, denial: Denial) {
        self.remove(&name);
        self.size += size(&name, &denial);
        self.by_name.put(name, denial);
        while self.size > self.capacity && self.by_name.len() > 1 {
            let Some((name, denial)) = self.by_name.pop_lru() else { break };
            self.size = self.size.saturating_sub(size(&name, &denial));
        }
    }

    fn remove(&mut self, name: &[u8]) {
        if let Some((name, denial)) = self.by_name.pop_entry(name) {
            self.size = self.size.saturating_sub(size(&name, &denial));
        }
    }
}

fn size(name: &[u8], denial: &Denial) -> usize {
    name.len() + denial.soa.len() + OVERHEAD
}

/// The last [`MAX_LABELS`] labels in wire form and lower case, without the root's, so that the end of it is the name above.
/// All clients share the lock: looking for each must not make a new name.
fn labels(name: &Name) -> Vec<u8> {
    let mut labels = Vec::with_capacity(MAX_NAME_SIZE);
    for label in name.iter().skip(name.iter().count().saturating_sub(MAX_LABELS)) {
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
            authentic_data: true,
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
    async fn a_flood_of_names_takes_so_many_bytes_and_the_newest_stay() {
        let denied = NxDomains::new(100);
        for number in 0..1000 {
            denied.learn(&name(&format!("n{number}.example.com.")), &denial("example.com.", 60));
            let denials = denied.denials();
            let held: usize = denials.by_name.iter().map(|(name, denial)| size(name, denial)).sum();
            assert_eq!(denials.size, held);
            assert!(denials.size <= 100 * BYTES_PER_ENTRY);
        }
        assert!(denied.covers(&name("n999.example.com.")).is_some());
        assert!(denied.covers(&name("n0.example.com.")).is_none());
        // Again and again the same.
        (0..100).for_each(|_| denied.learn(&name("n999.example.com."), &denial("example.com.", 60)));
        assert!(denied.covers(&name("n990.example.com.")).is_some());
    }

    #[tokio::test]
    async fn of_a_name_of_a_hundred_labels_only_the_last_ones_are_looked_for() {
        let denied = NxDomains::new(10_000);
        let below = |name: Name, count: usize| {
            std::iter::successors(Some(name), |name| name.prepend_label("x").ok()).nth(count).unwrap()
        };
        assert_eq!(labels(&below(Name::root(), 120)).len(), 2 * MAX_LABELS);
        denied.learn(&name("no.example.com."), &denial("example.com.", 60));
        assert!(denied.covers(&below(name("no.example.com."), 110)).is_some());
        let deep = below(name("example.com."), MAX_LABELS);
        denied.learn(&deep, &denial("example.com.", 60));
        assert!(denied.covers(&deep).is_none());
    }

    #[tokio::test]
    async fn a_denial_that_nobody_has_validated_says_nothing_of_other_names() {
        let denied = NxDomains::new(10);
        let message = Message { authentic_data: false, ..denial("example.com.", 60) };
        denied.learn(&name("_tcp.example.com."), &message);
        assert!(denied.covers(&name("_sip._tcp.example.com.")).is_none());
        // Nor of the same name in another type.
        assert!(denied.covers(&name("_tcp.example.com.")).is_none());
    }

    #[tokio::test]
    async fn a_denial_by_someone_else_is_not_believed() {
        let denied = NxDomains::new(10);
        denied.learn(&name("no.example.com."), &denial("example.org.", 60));
        assert!(denied.covers(&name("no.example.com.")).is_none());
    }
}
