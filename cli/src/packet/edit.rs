//! A packet that somebody has published, with a few records more or less.

use domain::{
    base::{Message, ParsedName, UnknownRecordData},
    rdata::ZoneRecordData,
};
use pkdns_dht::signed_packet::PublicKey;

use super::{PacketError, Writing, fitting};
use crate::zone_file::ZoneRecord;

/// The message of a packet of `key`, or of none, without the records that are equal to one of `without` but for their TTL, and
/// with those of `with`.
pub(crate) fn edited(
    dns: Option<&[u8]>,
    key: &PublicKey,
    without: &[ZoneRecord],
    with: &[ZoneRecord],
) -> Result<Vec<u8>, PacketError> {
    let mut writing = Writing::begin()?;
    if let Some(dns) = dns {
        let message = Message::from_slice(dns).map_err(|_| PacketError::Broken)?;
        for record in message.answer().map_err(|_| PacketError::Broken)? {
            let record = record.map_err(|_| PacketError::Broken)?;
            let is_left_out = |other: &ZoneRecord| {
                other.rtype() == record.rtype()
                    && record.owner().eq(other.owner())
                    && record
                        .to_record::<ZoneRecordData<&[u8], ParsedName<&[u8]>>>()
                        .is_ok_and(|record| record.is_some_and(|record| *record.data() == *other.data()))
            };
            if without.iter().any(is_left_out) {
                continue;
            }
            match record.to_record::<ZoneRecordData<&[u8], ParsedName<&[u8]>>>() {
                Ok(Some(record)) => writing.add(record)?,
                // What does not follow the format of its type is passed on as it is.
                Ok(None) | Err(_) => match record.to_record::<UnknownRecordData<&[u8]>>() {
                    Ok(Some(record)) => writing.add(record)?,
                    Ok(None) | Err(_) => return Err(PacketError::Broken),
                },
            }
        }
    }
    for record in with {
        writing.add(record)?;
    }
    fitting(writing.finish(), key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        records,
        testing::{dns, key, records as zone},
    };

    const ZONE: &str = "@ 300 A 192.0.2.1\nwww CNAME @\n_x HTTPS 1 . alpn=h2 port=8443\n@ CAA 0 issue \"a.example\"\n\
                        @ TYPE65280 \\# 3 010203\n@ MX 10 mail.example.com.\n";

    #[test]
    fn what_was_added_can_be_taken_out_again_and_nothing_else_changes() {
        let (key, before) = (key(), dns(ZONE));
        let more = zone("_acme-challenge 60 TXT one\n_acme-challenge 60 TXT two\n");
        let with = edited(Some(&before), &key, &[], &more).unwrap();
        let text = |dns: &[u8]| records::read(dns, &key);
        assert_eq!(text(&with).len(), text(&before).len() + 2);
        assert!(text(&with).iter().any(|record| record.to_string() == "_acme-challenge 60 TXT \"two\""));
        assert_eq!(edited(Some(&with), &key, &more, &[]).unwrap(), before);
        let one = edited(Some(&with), &key, &more[..1], &[]).unwrap();
        assert_eq!(text(&one).len(), text(&before).len() + 1);
        assert_eq!(edited(None, &key, &[], &zone(ZONE)).unwrap(), before);
    }

    #[test]
    fn what_does_not_fit_is_refused_with_what_weighs_most() {
        let before = dns(&format!("@ TXT {}\n", "\"abcdefghijklmnopqrstuvwxyz\" ".repeat(34)));
        let more = zone(&format!("_acme-challenge TXT {}\n", "x".repeat(43)));
        let error = edited(Some(&before), &key(), &[], &more).unwrap_err().to_string();
        assert!(error.contains("of a packet") && error.contains("_acme-challenge"), "{error}");
        assert!(edited(Some(&[1, 2]), &key(), &[], &more).is_err());
    }
}
