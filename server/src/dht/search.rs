//! One search for a key, and what may be concluded from it.

use std::{sync::Arc, time::Duration};

use mainline::MutableItem;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};
use tracing::debug;

use super::{
    Evidence, NetworkError,
    node::{Node, Turn},
};
use crate::signed_packet::{PublicKey, SignedPacket};

/// Most signatures checked in one lookup. Honest nodes hold one or two different packets.
const MAX_CHECKS: u32 = 64;

/// So many nodes that answered without the key make it absent, however many are known.
const ENOUGH_NODES: usize = 8;

/// Searches, and once more when too few nodes answered.
pub(super) async fn search(
    node: Arc<Node>,
    mut newest: Newest,
    deadline: Instant,
    request_timeout: Duration,
    _turn: Turn,
) -> Result<Evidence, NetworkError> {
    let key = newest.key.to_bytes();
    let mut evidence = Evidence { queried: 0, responded: 0 };
    // The second attempt begins with the nodes that answered the first.
    for attempt in 0..2 {
        if attempt > 0 && deadline.duration_since(Instant::now()) < request_timeout {
            break;
        }
        let Ok(outcome) = timeout_at(deadline, node.search(&key, |item| newest.offer(item))).await else {
            break;
        };
        evidence = Evidence { queried: outcome.queried, responded: outcome.responded() };
        if newest.packet.is_some() {
            return Ok(evidence);
        }
        let known = node.table_size().await.unwrap_or(usize::MAX);
        if is_absent(outcome.valid_responses(), known) {
            return Ok(evidence);
        }
        debug!(?evidence, known, "too few DHT nodes answered to call a key absent");
    }
    if newest.packet.is_some() { Ok(evidence) } else { Err(NetworkError::Unreachable) }
}

/// Whether `answers` without the key, from a node that knows `known` others, make it absent. Loss must not: each node
/// near the key would have held it, so that a few answers are enough, but a search that lost most of its answers has
/// not come near. The nodes that were asked are no measure, for many of those that others name are long gone.
fn is_absent(answers: u32, known: usize) -> bool {
    let needed = (known / 2).clamp(1, ENOUGH_NODES);
    usize::try_from(answers).is_ok_and(|answers| answers >= needed)
}

/// The newest packet of a search so far.
pub(super) struct Newest {
    key: PublicKey,
    found: mpsc::UnboundedSender<SignedPacket>,
    packet: Option<SignedPacket>,
    checks: u32,
}

impl Newest {
    pub(super) fn new(key: PublicKey, found: mpsc::UnboundedSender<SignedPacket>) -> Self {
        Self { key, found, packet: None, checks: 0 }
    }

    /// Sends `item` on if it is newer than what was sent, and sound: mainline lets through values over 1000 bytes,
    /// negative sequence numbers and weak keys.
    fn offer(&mut self, item: &MutableItem) {
        if !self.may_be_newer(item) || self.checks >= MAX_CHECKS {
            return;
        }
        self.checks += 1;
        match SignedPacket::from_item(item) {
            Ok(packet) if *packet.key() == self.key => {
                // The caller may have gone; what was found is remembered until the search ends.
                let _ = self.found.send(packet.clone());
                self.packet = Some(packet);
            }
            Ok(_) => (),
            Err(error) => debug!(key = %self.key, %error, "a DHT node holds an unsound packet"),
        }
    }

    /// Whether it is worth the price of a signature check.
    fn may_be_newer(&self, item: &MutableItem) -> bool {
        let Ok(timestamp) = u64::try_from(item.seq()) else { return false };
        let newest = self.packet.as_ref();
        newest.is_none_or(|newest| (timestamp, item.value()) > (newest.timestamp(), newest.dns()))
    }
}

#[cfg(test)]
mod tests {
    use mainline::SigningKey;

    use super::*;
    use crate::signed_packet::Keypair;

    const SEED: [u8; 32] = [3; 32];

    fn item(seq: i64, value: &[u8]) -> MutableItem {
        MutableItem::new(SigningKey::from_bytes(&SEED), value, seq, None)
    }

    fn newest() -> (Newest, mpsc::UnboundedReceiver<SignedPacket>) {
        let (sender, found) = mpsc::unbounded_channel();
        (Newest::new(Keypair::from_secret_key(&SEED).public_key(), sender), found)
    }

    fn sent(found: &mut mpsc::UnboundedReceiver<SignedPacket>) -> Vec<(u64, Vec<u8>)> {
        std::iter::from_fn(|| found.try_recv().ok())
            .map(|packet| (packet.timestamp(), packet.dns().to_vec()))
            .collect()
    }

    #[test]
    fn only_newer_packets_are_sent_on_and_checked() {
        let (mut newest, mut found) = newest();
        for (seq, value) in [(2, b"b"), (2, b"b"), (1, b"z"), (2, b"a"), (2, b"c"), (3, b"a"), (2, b"d")] {
            newest.offer(&item(seq, value));
        }
        assert_eq!(sent(&mut found), [(2, b"b".to_vec()), (2, b"c".to_vec()), (3, b"a".to_vec())]);
        assert_eq!(newest.checks, 3);
    }

    #[test]
    fn unsound_items_and_those_of_other_keys_are_not_sent_on() {
        let (mut newest, mut found) = newest();
        newest.offer(&item(-1, b"from before 1970"));
        newest.offer(&item(9, &[0; 1001]));
        newest.offer(&MutableItem::new(SigningKey::from_bytes(&[4; 32]), b"another key", 9, None));
        let sound = item(9, b"sound");
        let key = *sound.key();
        newest.offer(&MutableItem::new_signed_unchecked(key, [1; 64], b"not signed", 10, None));
        newest.offer(&sound);
        assert_eq!(sent(&mut found), [(9, b"sound".to_vec())]);
    }

    #[test]
    fn the_signatures_checked_in_one_search_are_bounded() {
        let (mut newest, mut found) = newest();
        for seq in 0..1000 {
            newest.offer(&item(seq, b""));
        }
        assert_eq!(sent(&mut found).len(), 64);
    }

    #[test]
    fn loss_is_not_absence() {
        for (answers, known, absent) in [
            (0, 0, false),
            (1, 0, true),
            (0, 20, false),
            (3, 10, false),
            (5, 10, true),
            (7, 1000, false),
            (8, 1000, true),
            (7, usize::MAX, false),
        ] {
            assert_eq!(is_absent(answers, known), absent, "{answers} of {known}");
        }
    }
}
