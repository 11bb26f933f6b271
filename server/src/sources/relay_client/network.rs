//! The DHT and the relays as one network.

use std::{pin::pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::{StreamExt, stream::FuturesUnordered};
use pkdns_dht::{
    Evidence, Network, NetworkError, PutError,
    signed_packet::{PublicKey, SignedPacket},
};
use tokio::{select, sync::mpsc, time::sleep};

use super::Relays;

/// The DHT gives most packets within this time. What it gives, no relay has to learn about.
const HEAD_START: Duration = Duration::from_millis(400);

/// A little above the DHT's own, so that its word about absence is heard.
const DEADLINE: Duration = Duration::from_millis(4250);

/// Asks the DHT first, and the relays when it has no packet.
///
/// The relays are asked once, all at a time, when the DHT has given no packet for 400 ms or has ended without one. From
/// then on both are heard to their ends: the first packet goes to whoever waits, and after it only newer ones, wherever
/// they come from. So it does not matter who is quicker: the newest packet that anybody gave is the last that is sent.
/// Packets are verified as they arrive, so that a relay can withhold one, or give an old one, and nothing worse.
///
/// Whether the key is absent, the DHT alone decides. A relay's "not found" is the word of one, and what the DHT failed
/// to say it leaves unsaid. When a relay gave the packet, the DHT's failure no longer matters, and nobody bears witness to
/// an absence.
pub struct DhtAndRelays {
    dht: Arc<dyn Network>,
    relays: Relays,
}

impl DhtAndRelays {
    /// Does not touch the network.
    pub fn new(dht: Arc<dyn Network>, relays: Relays) -> Self {
        Self { dht, relays }
    }
}

#[async_trait]
impl Network for DhtAndRelays {
    async fn lookup(
        &self,
        key: &PublicKey,
        found: mpsc::UnboundedSender<SignedPacket>,
    ) -> Result<Evidence, NetworkError> {
        let (sender, mut from_dht) = mpsc::unbounded_channel();
        let mut dht = pin!(self.dht.lookup(key, sender));
        let mut verdict = None;
        let mut answers = FuturesUnordered::new();
        let mut has_answered = false;
        let mut newest = Newest { packet: None, found };
        let mut relays_to_ask = Some(&self.relays);
        let mut has_head_start = true;
        let (mut head_start, mut deadline) = (pin!(sleep(HEAD_START)), pin!(sleep(DEADLINE)));
        loop {
            select! {
                Some(packet) = from_dht.recv() => newest.offer(packet),
                end = &mut dht, if verdict.is_none() => {
                    verdict = Some(end);
                    // What it found before it ended.
                    while let Ok(packet) = from_dht.try_recv() {
                        newest.offer(packet);
                    }
                }
                () = &mut head_start, if has_head_start => has_head_start = false,
                Some(answer) = answers.next() => {
                    if let Ok(Some(packet)) = answer {
                        has_answered = true;
                        newest.offer(packet);
                    }
                }
                () = &mut deadline => break,
            }
            let is_their_turn = newest.packet.is_none() && (verdict.is_some() || !has_head_start);
            if is_their_turn && let Some(relays) = relays_to_ask.take() {
                answers.extend(relays.iter().map(|relay| relay.get(key)));
            }
            if verdict.is_some() && answers.is_empty() {
                break;
            }
        }
        match verdict {
            Some(Ok(evidence)) => Ok(evidence),
            // The packet may be one that is not believed, as it is older than one that was held. Then nobody has said that
            // the key is absent.
            Some(Err(_)) | None if has_answered => Ok(Evidence { queried: 0, responded: 0, held: 0 }),
            Some(Err(error)) => Err(error),
            None => Err(NetworkError::Unreachable),
        }
    }

    /// On the DHT alone: relays are for those who cannot reach it.
    async fn store(&self, packet: &SignedPacket, cas: Option<u64>) -> Result<u32, PutError> {
        self.dht.store(packet, cas).await
    }
}

/// Lets only those packets pass that are newer than all before.
struct Newest {
    packet: Option<SignedPacket>,
    found: mpsc::UnboundedSender<SignedPacket>,
}

impl Newest {
    fn offer(&mut self, packet: SignedPacket) {
        if self.packet.as_ref().is_none_or(|newest| packet.is_newer_than(newest)) {
            self.packet = Some(packet.clone());
            // Whoever asked may have left.
            let _ = self.found.send(packet);
        }
    }
}
