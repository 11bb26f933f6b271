//! Stores the zone of a key: what there is is read first, and never replaced by something older.

use pkdns::sources::relay_client::RelayError;
use pkdns_dht::{Dht, Evidence, PutError, REPLICAS, signed_packet::SignedPacket};
use serde::Serialize;
use tokio::sync::watch;

use crate::{
    failure::Failure,
    network,
    records::{self, TextRecord},
    secret_key::SecretKey,
    sources::{Holdings, RelayReport, Sources},
    terminal::printable,
    time::{age, now},
};

/// What is to take the place of which packet.
#[derive(Debug)]
pub(crate) struct Publication {
    packet: SignedPacket,
    existing: Option<SignedPacket>,
    /// What the DHT held, or why it could not be asked.
    held: Result<(Option<SignedPacket>, Evidence), Failure>,
    /// All records, where there was no packet.
    pub(crate) added: Vec<TextRecord>,
    pub(crate) removed: Vec<TextRecord>,
}

/// Who may be replaced.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Terms {
    /// Timestamp of the last packet that was signed here. What is newer than that comes from another machine.
    pub(crate) last: Option<u64>,
    /// Whether the packet of another machine is replaced.
    pub(crate) force: bool,
}

/// What was stored.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Published {
    pub(crate) key: String,
    /// DHT nodes that confirmed to us that they stored the packet.
    pub(crate) nodes: u32,
    /// DHT nodes that answered the search before it.
    #[serde(skip)]
    pub(crate) found: u32,
    /// What the relays did, if any were named.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) relays: Vec<RelayReport>,
    /// Bytes of the 1000 that a packet may hold.
    pub(crate) size: usize,
    /// Microseconds since 1970.
    pub(crate) timestamp: u64,
    /// That of the packet that was replaced.
    pub(crate) previous_timestamp: Option<u64>,
    pub(crate) added: Vec<TextRecord>,
    pub(crate) removed: Vec<TextRecord>,
}

/// What would be stored. Fields as in [`Published`].
#[derive(Debug, Serialize)]
pub(crate) struct Plan<'a> {
    key: String,
    size: usize,
    previous_timestamp: Option<u64>,
    added: &'a [TextRecord],
    removed: &'a [TextRecord],
}

impl Publication {
    /// Reads what there is and signs what is to replace it.
    ///
    /// # Errors
    ///
    /// When neither the DHT nor a relay could be asked, or `terms` forbid it.
    pub(crate) async fn prepare(
        sources: &Sources,
        secret_key: &SecretKey,
        dns: &[u8],
        terms: Terms,
    ) -> Result<Self, Failure> {
        let Holdings { dht: held, newest: existing, .. } = sources.read(&secret_key.public_key()).await?;
        let timestamp = timestamp(existing.as_ref(), dns, now(), terms)?;
        let packet = SignedPacket::sign(secret_key, timestamp, dns)
            .map_err(|error| Failure::Failed(format!("cannot sign the zone: {error}")))?;
        let (added, removed) = match &existing {
            Some(old) => changes(old, &packet),
            None => (records::read(packet.dns(), packet.key()), Vec::new()),
        };
        Ok(Self { packet, existing, held, added, removed })
    }

    /// When the packet is signed, in microseconds since 1970.
    pub(crate) fn timestamp(&self) -> u64 {
        self.packet.timestamp()
    }

    /// Whether there is a packet whose records differ.
    pub(crate) fn is_change(&self) -> bool {
        !self.is_first() && (!self.added.is_empty() || !self.removed.is_empty())
    }

    /// Whether nobody holds a packet of this key.
    pub(crate) fn is_first(&self) -> bool {
        self.existing.is_none()
    }

    /// What would be stored, for a program.
    pub(crate) fn plan(&self) -> Plan<'_> {
        Plan {
            key: self.packet.key().to_z32(),
            size: self.packet.dns().len(),
            previous_timestamp: self.existing.as_ref().map(SignedPacket::timestamp),
            added: &self.added,
            removed: &self.removed,
        }
    }

    /// Stores the packet on the DHT in place of what it held, if it could be asked, then at the relays. One of them
    /// all is enough. `progress` shows how many nodes have it so far.
    pub(crate) async fn store(
        self,
        sources: &Sources,
        progress: &watch::Sender<u32>,
    ) -> Result<Published, Failure> {
        let Self { packet, existing, held, added, removed } = self;
        let found = held.as_ref().map_or(0, |(_, evidence)| evidence.responded);
        let (nodes, relays) = store_everywhere(sources, &packet, held, progress).await?;
        Ok(Published {
            key: packet.key().to_z32(),
            nodes,
            found,
            relays,
            size: packet.dns().len(),
            timestamp: packet.timestamp(),
            previous_timestamp: existing.map(|packet| packet.timestamp()),
            added,
            removed,
        })
    }
}

impl Published {
    /// Where it was stored, for people.
    pub(crate) fn places(&self) -> String {
        let on_nodes = match self.nodes {
            0 => None,
            1 => Some("on 1 DHT node".to_string()),
            nodes => Some(format!("on {nodes} DHT nodes")),
        };
        let by_relays = self.relays.iter().filter(|report| report.error.is_none());
        let by_relays = by_relays.map(|report| format!("by {}", report.relay));
        on_nodes.into_iter().chain(by_relays).collect::<Vec<_>>().join(" and ")
    }

    /// Whether it is on fewer nodes than usual because the search has found no more.
    pub(crate) fn is_everywhere(&self) -> bool {
        let usual = u32::try_from(REPLICAS).unwrap_or(u32::MAX);
        self.nodes > 0 && self.nodes < usual && self.nodes >= self.found
    }
}

/// When the new packet is signed: now, unless that would not replace what is there.
fn timestamp(existing: Option<&SignedPacket>, dns: &[u8], now: u64, terms: Terms) -> Result<u64, Failure> {
    let now = now.max(terms.last.map_or(0, |last| last.saturating_add(1)));
    let Some(existing) = existing else { return Ok(now) };
    let there = existing.timestamp();
    let is_foreign = terms.last.is_some_and(|last| there > last) && existing.dns() != dns;
    if is_foreign && !terms.force {
        return Err(Failure::NewerPacket(format!(
            "another machine has published this key since, {}. Let only one of them do so; to replace that packet, \
             add --force",
            age(there, now)
        )));
    }
    if there > now && !terms.force {
        return Err(Failure::NewerPacket(format!(
            "there is a newer packet of this key, signed {}. If another machine publishes this key, let only \
             one of them do so; if this machine's clock is slow, set it. To replace the packet nevertheless, add \
             --force",
            age(there, now)
        )));
    }
    if there < now {
        return Ok(now);
    }
    match there.checked_add(1) {
        Some(above) if i64::try_from(above).is_ok() => Ok(above),
        _ => Err(Failure::NewerPacket(
            "there is a packet of this key with the latest possible date. Nothing can replace it until the DHT has \
             forgotten it: try again in a few hours"
                .to_string(),
        )),
    }
}

async fn store_everywhere(
    sources: &Sources,
    packet: &SignedPacket,
    held: Result<(Option<SignedPacket>, Evidence), Failure>,
    progress: &watch::Sender<u32>,
) -> Result<(u32, Vec<RelayReport>), Failure> {
    let is_told = held.is_err();
    let on_dht = match held {
        Ok((existing, _)) => store(sources.dht(), packet, existing.as_ref(), progress).await,
        Err(failure) => Err(failure),
    };
    // What somebody else published meanwhile is not replaced at the relays either.
    if let Err(failure @ Failure::NewerPacket(_)) = on_dht {
        return Err(failure);
    }
    let at_relays = sources.store_at_relays(packet).await;
    let is_stored = on_dht.is_ok() || at_relays.iter().any(|(_, stored)| stored.is_ok());
    let is_refused = at_relays.iter().any(|(_, stored)| *stored == Err(RelayError::NotMostRecent));
    let nodes = match on_dht {
        Ok(nodes) => nodes,
        Err(failure) if is_stored => {
            if !is_told {
                crate::terminal::note(&format!("warning: {failure}"));
            }
            0
        }
        Err(_) if is_refused => return Err(overtaken()),
        Err(failure) => return Err(failure),
    };
    Ok((nodes, at_relays.into_iter().map(|(report, _)| report).collect()))
}

/// Stores the packet on the DHT in place of the one that was read, if that is still the newest.
async fn store(
    dht: &Dht,
    packet: &SignedPacket,
    existing: Option<&SignedPacket>,
    progress: &watch::Sender<u32>,
) -> Result<u32, Failure> {
    let put = async |cas| dht.put_with_progress(packet, cas, progress.clone()).await;
    let mut stored = put(existing.map(SignedPacket::timestamp)).await;
    if stored == Err(PutError::CasFailed) {
        // Either somebody was quicker, or nodes that missed the last update hold an older packet than we read.
        let (newest, _) = dht.most_recent(packet.key()).await.map_err(network::unreachable)?;
        if newest.as_ref() == existing {
            stored = put(None).await;
        }
    }
    on_nodes(stored).unwrap_or_else(|| Err(overtaken()))
}

/// On how many nodes a packet was stored, or why on none. `None`: there is a newer one.
pub(crate) fn on_nodes(stored: Result<u32, PutError>) -> Option<Result<u32, Failure>> {
    Some(match stored {
        Ok(0) => Err(Failure::Failed("no DHT node stored the packet: try again".to_string())),
        Ok(nodes) => Ok(nodes),
        Err(PutError::CasFailed | PutError::NotMostRecent) => return None,
        Err(PutError::Network(error)) => Err(network::unreachable(error)),
        Err(error @ PutError::Refused(..)) => {
            Err(Failure::Failed(format!("the packet was not stored: {}", printable(&error.to_string()))))
        }
    })
}

fn overtaken() -> Failure {
    Failure::NewerPacket(
        "somebody else has just published a newer packet of this key: look at it with pkdns-cli resolve, then try again"
            .to_string(),
    )
}

/// Records of the new packet that the old one lacks, and the other way round.
fn changes(old: &SignedPacket, new: &SignedPacket) -> (Vec<TextRecord>, Vec<TextRecord>) {
    let [old, new] = [old, new].map(|packet| records::read(packet.dns(), packet.key()));
    let without = |records: &[TextRecord], others: &[TextRecord]| {
        records.iter().filter(|record| !others.contains(record)).cloned().collect()
    };
    (without(&new, &old), without(&old, &new))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, dns, published, signed};

    const ZONE: &str = "@ A 192.0.2.1";
    /// The time of a new packet at `now`, where there is one of `there` that holds `text`.
    fn signed_at(
        there: Option<(u64, &str)>,
        now: u64,
        last: Option<u64>,
        force: bool,
    ) -> Result<u64, Failure> {
        let existing = there.map(|(timestamp, text)| signed(timestamp, text));
        timestamp(existing.as_ref(), &dns(ZONE), now, Terms { last, force })
    }

    #[test]
    fn a_packet_is_signed_now_unless_that_would_not_replace_what_is_there() {
        assert_eq!(signed_at(None, 100, None, false), Ok(100));
        assert_eq!(signed_at(Some((99, ZONE)), 100, None, false), Ok(100));
        assert_eq!(signed_at(Some((100, ZONE)), 100, None, false), Ok(101));
        assert_eq!(signed_at(Some((200, ZONE)), 100, None, true), Ok(201));
    }

    #[test]
    fn a_newer_packet_is_not_replaced_silently() {
        // A second machine used to overwrite what the first had published.
        let Err(Failure::NewerPacket(message)) = signed_at(Some((1_000_000 * 3600, ZONE)), 1, None, false)
        else {
            panic!("replaced");
        };
        assert!(message.contains("59 minutes in the future") && message.contains("--force"), "{message}");
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_make_our_own_packet_another_machines() {
        assert_eq!(signed_at(Some((200, ZONE)), 100, Some(200), false), Ok(201));
        // It was stored, and the network has forgotten it: what has it in a cache must not be left behind.
        assert_eq!(signed_at(None, 100, Some(200), false), Ok(201));
    }

    #[test]
    fn what_another_machine_has_published_since_is_not_replaced_unless_it_says_the_same() {
        let other = "@ A 192.0.2.2";
        let Err(Failure::NewerPacket(message)) = signed_at(Some((150, other)), 200, Some(100), false) else {
            panic!("replaced");
        };
        assert!(message.contains("another machine") && message.contains("--force"), "{message}");
        assert_eq!(signed_at(Some((150, other)), 200, Some(100), true), Ok(200));
        assert_eq!(signed_at(Some((150, ZONE)), 200, Some(100), false), Ok(200));
        assert_eq!(signed_at(Some((100, other)), 200, Some(100), false), Ok(200), "it is our own");
    }

    #[test]
    fn a_packet_of_the_last_possible_date_cannot_be_replaced_by_force_either() {
        let last = i64::MAX.unsigned_abs();
        assert!(matches!(signed_at(Some((last, ZONE)), 1, None, true), Err(Failure::NewerPacket(_))));
    }

    #[test]
    fn a_packet_on_few_nodes_is_everywhere_where_no_more_were_found() {
        for (nodes, found, expected) in
            [(9, 9, true), (10, 9, true), (9, 14, false), (20, 20, false), (0, 0, false)]
        {
            assert_eq!(published(nodes, found).is_everywhere(), expected, "{nodes} of {found}");
        }
    }

    #[test]
    fn changes_are_the_records_that_differ_in_anything() {
        let old = signed(1, "@ A 192.0.2.1\nold TXT x\nwww 60 A 192.0.2.2\n");
        let new = signed(2, "new TXT x\n@ A 192.0.2.1\nwww 61 A 192.0.2.2\n");
        let (added, removed) = changes(&old, &new);
        let text = |records: &[TextRecord]| records.iter().map(TextRecord::to_string).collect::<Vec<_>>();
        assert_eq!(text(&added), ["new 3600 TXT \"x\"", "www 61 A 192.0.2.2"]);
        assert_eq!(text(&removed), ["old 3600 TXT \"x\"", "www 60 A 192.0.2.2"]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_published_after_the_reading_is_not_replaced() {
        let (_network, dht) = testing::dht().await;
        let [read, meanwhile, ours, late] = [(1, "a"), (2, "b"), (3, "c"), (2, "a")]
            .map(|(time, text)| signed(time, &format!("@ TXT {text}")));

        let quiet = watch::Sender::new(0);
        let store = async |packet, existing| store(&dht, packet, existing, &quiet).await;
        assert!(store(&read, None).await.is_ok());
        assert!(store(&meanwhile, Some(&read)).await.is_ok());
        assert!(matches!(store(&ours, Some(&read)).await, Err(Failure::NewerPacket(_))));
        assert!(matches!(store(&late, Some(&read)).await, Err(Failure::NewerPacket(_))));
        assert_eq!(dht.most_recent(ours.key()).await.unwrap().0, Some(meanwhile.clone()));
        assert!(store(&ours, Some(&meanwhile)).await.is_ok());
    }
}
