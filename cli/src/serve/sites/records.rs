//! What the packet says about a site, so that it is found and verified.

use pkdns_dht::signed_packet::PublicKey;
use sha2::{Digest, Sha256};

use super::Published;
use crate::{
    failure::Failure,
    serve::config::HTTPS_PORT,
    zone_file::{self, ExternalAddresses, ZoneRecord},
};

/// Seconds for which others may keep them. A key that is replaced is believed for as long.
const TTL: u32 = 300;

/// The records of a site of `key`.
///
/// TLSA 3 1 1 names the key that ends TLS, whichever it is, by its hash. The record of HTTPS is for those who look for the port;
/// browsers that know nothing of keys go to `https` where there is one.
pub(super) fn of(key: &PublicKey, published: &Published) -> Result<Vec<ZoneRecord>, Failure> {
    let Published { public_key_info, port, https_record } = published;
    let hash: String = Sha256::digest(public_key_info).iter().map(|byte| format!("{byte:02x}")).collect();
    let mut zone = format!("_{port}._tcp {TTL} TLSA 3 1 1 {hash}\n");
    if *https_record {
        let port = if *port == HTTPS_PORT { String::new() } else { format!(" port={port}") };
        zone.push_str(&format!("@ {TTL} HTTPS 1 . alpn=h2,http/1.1{port}\n"));
    }
    Ok(zone_file::from_bytes(zone.as_bytes())?.records(key, &ExternalAddresses::default())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{packet, records, secret_key::SecretKey};

    #[test]
    fn a_site_is_named_by_the_hash_of_its_key_and_by_a_port_that_is_not_the_usual_one() {
        let key = SecretKey::from_seed(&[0; 32]).public_key();
        // printf info | sha256sum
        let hash = "06271baf49532c879aa3c58b48671884bcc858f09197412d682750496c33e1e1";
        for (port, https_record, expected) in [
            (443, false, &["_443._tcp 300 TLSA 3 1 1 "][..]),
            (443, true, &["_443._tcp 300 TLSA 3 1 1 ", "@ 300 HTTPS 1 . alpn=h2,http/1.1"]),
            (8443, true, &["_8443._tcp 300 TLSA 3 1 1 ", "@ 300 HTTPS 1 . alpn=h2,http/1.1 port=8443"]),
        ] {
            let published = Published { public_key_info: b"info".to_vec(), port, https_record };
            let dns = packet::compose(&of(&key, &published).unwrap(), &key).unwrap();
            let lines: Vec<String> = records::read(&dns, &key).iter().map(ToString::to_string).collect();
            assert_eq!(lines.len(), expected.len(), "{lines:?}");
            assert!(lines[0].to_lowercase().ends_with(hash), "{lines:?}");
            for (line, expected) in lines.iter().zip(expected) {
                assert!(line.starts_with(expected), "{line}");
            }
        }
    }
}
