//! Answers from packets that have had their time.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use super::*;

/// A DHT that holds a packet for as long as it can be asked.
struct Holder {
    packet: SignedPacket,
    is_down: AtomicBool,
}

#[async_trait]
impl Network for Holder {
    async fn lookup(
        &self,
        _: &PublicKey,
        found: mpsc::UnboundedSender<SignedPacket>,
    ) -> Result<Evidence, NetworkError> {
        if self.is_down.load(Ordering::Relaxed) {
            return Err(NetworkError::Unreachable);
        }
        let _ = found.send(self.packet.clone());
        Ok(Evidence { queried: 20, responded: 20, held: 20 })
    }
}

#[tokio::test(start_paused = true)]
async fn a_stale_nxdomain_from_a_packet_is_extended_error_19_as_rfc_8914_section_4_20_says() {
    let packet = packet(1, &[("www", RData::A(A::new(192, 0, 2, 1))), ("alias", alias("missing", 1))]);
    let network = Arc::new(Holder { packet, is_down: AtomicBool::new(false) });
    let config = Config::default();
    let forwarder = Arc::new(Forwarder::new(Vec::new(), &TlsClient::new(None).unwrap()));
    let resolver = Resolver::new(&config, Packets::new(&config.cache, network.clone()), forwarder);
    let ask = async |label: &str, record_type| {
        let query = query(&name(label, 1), record_type);
        let resolved = resolver.resolve(&query, Ipv4Addr::LOCALHOST.into()).await;
        let error = resolved.answer.extended_error.map(|error| error.code);
        (resolved.answer.code, error, resolved.source)
    };
    let (found, missing) = (ResponseCode::NoError, ResponseCode::NXDomain);
    assert_eq!(ask("missing", RecordType::A).await, (missing, None, Source::Key));
    network.is_down.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(config.cache.ttl_seconds + 1)).await;
    for (label, record_type, expected) in [
        ("missing", RecordType::A, (missing, Some(19), Source::Stale)),
        ("alias", RecordType::A, (missing, Some(19), Source::Stale)),
        ("www", RecordType::A, (found, Some(3), Source::Stale)),
        ("www", RecordType::AAAA, (found, Some(3), Source::Stale)),
    ] {
        assert_eq!(ask(label, record_type).await, expected, "{label} {record_type}");
    }
}
