//! The input is what stands under a key in a store that others write to: read as it is, and with the signature of the
//! key.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pkdns::sources::packets::{MAX_STORED_SIZE, Stored};
use pkdns_dht::signed_packet::{Keypair, MAX_DNS_SIZE, PublicKey, SignedPacket};

/// Where the parts of a record begin, in bytes.
const TIMESTAMP: usize = 17;
const SIGNATURE: usize = 25;
const DNS: usize = 89;

/// Panics where the module does, or where it breaks a promise.
pub fn check(input: &[u8]) {
    let keypair = Keypair::from_secret_key(&[0; 32]);
    let key = keypair.public_key();
    let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    check_record(&key, input, now);
    let Some((head, dns)) = input.split_at_checked(DNS) else {
        assert_eq!(Stored::from_bytes(&key, input), None, "a packet without its signature");
        return;
    };
    let timestamp = u64::from_be_bytes(head[TIMESTAMP..SIGNATURE].try_into().unwrap_or_default());
    let signed = SignedPacket::sign(&keypair, timestamp, dns);
    // Other implementations read the timestamp as a signed number.
    let is_fit = dns.len() <= MAX_DNS_SIZE && i64::try_from(timestamp).is_ok();
    assert_eq!(signed.is_ok(), is_fit);
    let Ok(signed) = signed else { return };
    let mut record = input.to_vec();
    record[SIGNATURE..DNS].copy_from_slice(signed.signature());
    let stored = check_record(&key, &record, now);
    assert_eq!(stored.is_some(), record[0] == 1, "what the key has signed, in a version that is known");
    // Nobody else can have written it, and nothing in it can be changed.
    let other = Keypair::from_secret_key(&[1; 32]).public_key();
    assert_eq!(Stored::from_bytes(&other, &record), None, "a packet of another key");
    let last = record.len() - 1;
    record[last] ^= 1;
    assert_eq!(Stored::from_bytes(&key, &record), None, "a packet that was changed");
}

fn check_record(key: &PublicKey, bytes: &[u8], now: SystemTime) -> Option<Stored> {
    let fresh_until = Stored::fresh_until_in(bytes, now);
    let timestamp = Stored::timestamp_in(bytes);
    let stored = Stored::from_bytes(key, bytes)?;
    assert!(bytes.len() <= MAX_STORED_SIZE);
    assert_eq!(stored.to_bytes(), bytes, "what was read is written differently");
    assert_eq!(timestamp, Some(stored.packet.timestamp()));
    let since = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let is_from_the_future = stored.received > now;
    assert_eq!(u128::from(fresh_until), if is_from_the_future { 0 } else { since(stored.fresh_until) });
    assert!(!stored.replaces(&stored, now), "it would be replaced by itself");
    let _ = stored.is_from_before_it_was_signed();
    if let Some(mended) = stored.mended(now) {
        assert_eq!(mended.packet, stored.packet);
        assert!(mended.received <= now);
    }
    Some(stored)
}
