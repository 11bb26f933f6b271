//! A zone of this server's own, by which a browser finds out whether it asks here: who asks for a name in it that
//! nobody knew before was sent by the page that made the name up.

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
};

use ahash::RandomState;
use hickory_proto::{op::ResponseCode, rr::Name};
use lru::LruCache;
use pkdns_dht::signed_packet::{Keypair, PublicKey};

use super::{Resolver, negative::soa};
use crate::base::message::Answer;

/// Names that are remembered, the last ones asked for.
const MAX_NAMES: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

/// Length of the label that a page makes up: longer than what anybody asks for by chance.
const TOKEN_SIZE: std::ops::RangeInclusive<usize> = 16..=32;

/// A zone without records whose key nobody has.
#[derive(Debug)]
pub struct OwnZone {
    key: PublicKey,
    asked: Mutex<LruCache<Box<str>, (), RandomState>>,
}

impl OwnZone {
    /// With a key of its own, whose secret half is forgotten at once.
    pub(crate) fn new() -> Self {
        Self {
            key: Keypair::random().public_key(),
            asked: Mutex::new(LruCache::with_hasher(MAX_NAMES, RandomState::new())),
        }
    }

    /// The name of the zone, without dots.
    pub fn name(&self) -> String {
        self.key.to_z32()
    }

    /// Whether anybody has asked for `<token>.<name of the zone>`, behind whatever suffix. True but once, because it
    /// is forgotten then.
    pub fn was_asked(&self, token: &str) -> bool {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).pop(token).is_some()
    }

    pub(super) fn is(&self, key: &PublicKey) -> bool {
        self.key == *key
    }

    /// Takes note of the name, in lower case, and denies it.
    pub(crate) fn answer(&self, name: &Name, apex: &Name) -> Answer {
        let token = name.iter().next().and_then(|label| std::str::from_utf8(label).ok());
        let is_token = |token: &&str| {
            TOKEN_SIZE.contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_alphanumeric())
        };
        if let Some(token) = token.filter(is_token) {
            self.asked.lock().unwrap_or_else(PoisonError::into_inner).put(token.into(), ());
        }
        let exists = name == apex;
        let mut answer = Answer::empty(if exists { ResponseCode::NoError } else { ResponseCode::NXDomain });
        answer.authorities = vec![soa(apex, 1, 0)];
        answer
    }
}

impl Resolver {
    /// The zone by which a browser finds out whether it asks here.
    pub fn own_zone(&self) -> &Arc<OwnZone> {
        &self.0.own_zone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_remembered_until_they_are_asked_about_and_no_more_than_so_many() {
        let zone = OwnZone::new();
        let ask = |label: &str| {
            let apex = Name::from_ascii(format!("{}.key.", zone.name())).unwrap();
            let name = Name::from_ascii(format!("{label}{apex}")).unwrap();
            zone.answer(&name, &apex).code
        };
        assert_eq!(ask("0123456789abcdef."), ResponseCode::NXDomain);
        assert_eq!(ask(""), ResponseCode::NoError);
        assert!(zone.was_asked("0123456789abcdef"));
        assert!(!zone.was_asked("0123456789abcdef"));
        assert!(!zone.was_asked("fedcba9876543210"));
        for label in ["www.", "0123456789-bcdef.", &format!("{}.", "a".repeat(33))] {
            ask(label);
            assert!(!zone.was_asked(label.trim_end_matches('.')), "{label}");
        }
        for number in 0..2000 {
            ask(&format!("{number:016}."));
        }
        assert!(!zone.was_asked(&format!("{:016}", 2000 - 1025)));
        assert!(zone.was_asked(&format!("{:016}", 2000 - 1024)));
    }
}
