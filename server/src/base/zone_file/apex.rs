//! Where a zone begins, and which owners are in it.

use bytes::Bytes;
use domain::base::{
    Name,
    name::{Label, NameBuilder},
};
use pkdns_dht::signed_packet::PublicKey;

use super::apex;

/// Where a zone begins.
#[derive(Debug)]
pub(super) enum Apex {
    /// The zone of a key, whose name has several spellings.
    Key(PublicKey),
    /// Any other.
    Name(Name<Bytes>),
}

impl Apex {
    pub(super) fn of(key: &PublicKey) -> Self {
        Self::Key(key.clone())
    }

    /// Where other records may stand beside a CNAME.
    pub(super) fn beside_alias(&self) -> Option<Name<Bytes>> {
        match self {
            Self::Key(key) => Some(apex(key)),
            Self::Name(_) => None,
        }
    }

    pub(super) fn name(&self) -> Name<Bytes> {
        match self {
            Self::Key(key) => apex(key),
            Self::Name(name) => name.clone(),
        }
    }

    /// Holds an owner to the zone, and gives it its usual spelling.
    pub(super) fn owner(&self, owner: &Name<Bytes>) -> Result<Name<Bytes>, String> {
        match self {
            Self::Key(key) => owner_in_zone(owner, key),
            Self::Name(name) => owner_below(owner, name),
        }
    }
}

fn owner_below(owner: &Name<Bytes>, zone: &Name<Bytes>) -> Result<Name<Bytes>, String> {
    if !owner.ends_with(zone) {
        return Err(format!(
            "the name is outside of the zone: it must end in \"{zone}.\", or be relative (no dot at the end)"
        ));
    }
    let count = zone.iter().count().saturating_sub(1);
    let labels: Vec<&Label> = owner.iter().collect();
    let before = labels.len().saturating_sub(1 + count);
    let repeated = before.checked_sub(count).and_then(|start| labels.get(start..before));
    if count > 0 && repeated.is_some_and(|labels| labels.iter().copied().eq(zone.iter().take(count))) {
        return Err(format!(
            "the name ends in \"{zone}\" twice: written with the name of the zone, it needs a dot at the end"
        ));
    }
    let mut name = NameBuilder::new_bytes();
    owner
        .iter()
        .filter(|label| !label.is_root())
        .try_for_each(|label| name.append_label(label.to_canonical().as_slice()))
        .and_then(|()| name.into_name())
        .map_err(|_| "the name is longer than 255 bytes".to_string())
}

/// Holds an owner to the zone of `key`, and gives it its usual spelling.
fn owner_in_zone(owner: &Name<Bytes>, key: &PublicKey) -> Result<Name<Bytes>, String> {
    let mut labels: Vec<&Label> = owner.iter().filter(|label| !label.is_root()).collect();
    if !labels.pop().is_some_and(|label| is_key(label, key)) {
        return Err(format!(
            "the name is outside of the zone: it must end in \"{key}.\", or be relative (no dot at the end)"
        ));
    }
    if labels.last().is_some_and(|label| is_key(label, key)) {
        return Err(
            "the name ends in the key twice: written with its key, it needs a dot at the end".to_string()
        );
    }
    let mut name = NameBuilder::new_bytes();
    labels
        .iter()
        .try_for_each(|label| name.append_label(label.to_canonical().as_slice()))
        .and_then(|()| name.append_label(key.to_z32().as_bytes()))
        .and_then(|()| name.into_name())
        .map_err(|_| "the name is longer than 255 bytes".to_string())
}

/// Whether a label is one of the spellings of `key`: any case, and any value of the last character's unused bits.
fn is_key(label: &Label, key: &PublicKey) -> bool {
    let Ok(text) = std::str::from_utf8(label.as_slice()) else {
        return false;
    };
    text.len() == 52 && PublicKey::try_from(text.to_ascii_lowercase()).is_ok_and(|found| found == *key)
}
