//! The input is a zone file: read, made into a packet, and written as a zone file again.

use std::path::Path;

use pkdns::{
    message::read_records,
    zone_file::{ExternalAddresses, Limits, MAX_TTL, ZoneFile, ZoneFileError, ZoneRecord},
};
use pkdns_cli::{packet, records};
use pkdns_dht::signed_packet::{Keypair, MAX_DNS_SIZE, PublicKey};

/// As `publish` has them.
const LIMITS: Limits =
    Limits { size: 16 * 1024, advice: "", name_of: |path: &Path| path.display().to_string() };

/// Panics where the module does, or where it breaks a promise.
pub fn check(input: &[u8]) {
    let key = Keypair::from_secret_key(&[0; 32]).public_key();
    let zone = match read(input, &key) {
        Ok(zone) => zone,
        Err(error) => {
            check_message(&error.to_string());
            return;
        }
    };
    assert!(!zone.is_empty());
    let apex = pkdns::zone_file::apex(&key);
    for record in &zone {
        assert!(record.owner().ends_with(&apex), "{} is not this key's", record.owner());
        assert!(record.ttl().as_secs() <= MAX_TTL);
    }
    // What is too large, or cannot be read by others, is refused.
    let Ok(dns) = packet::compose(&zone, &key) else { return };
    assert!(dns.len() <= MAX_DNS_SIZE);
    assert!(read_records(&dns).len() <= zone.len());
    let shown = records::read(&dns, &key);
    assert_eq!(shown.len(), zone.len(), "a record is lost");
    let written = records::zone_file(&shown, &key);
    assert!(written.bytes().all(|byte| byte == b'\n' || byte == b' ' || byte.is_ascii_graphic()));
    let again = read(written.as_bytes(), &key).map(|zone| packet::compose(&zone, &key).ok());
    assert_eq!(again, Ok(Some(dns)), "{written}");
}

/// With addresses for the macros.
fn read(text: &[u8], key: &PublicKey) -> Result<Vec<ZoneRecord>, ZoneFileError> {
    let addresses = ExternalAddresses {
        ipv4: Some([192, 0, 2, 7].into()),
        ipv6: Some([0x2001, 0xdb8, 0, 0, 0, 0, 0, 7].into()),
    };
    let file = ZoneFile::from_bytes(text, None, LIMITS)?;
    let _ = file.macros();
    let (records, remarks) = file.records_and_remarks(key, &addresses)?;
    for remark in remarks {
        let _ = format!("{remark:?}");
    }
    Ok(records)
}

/// It goes to a terminal.
fn check_message(message: &str) {
    assert!(!message.chars().any(char::is_control), "{message:?}");
}
