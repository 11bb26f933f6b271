use super::*;
use crate::testing::{from_hex, key, records, signed};

/// A packet made with pkarr: its DNS message.
const PACKET_B: &str = "\
    0000800000000004000000003438\
    70696e787867717334316e346169646964656e773561707170317572666d7a647a7472386a74346162726b646e34333565776f\
    00000100010000012c00047f000001\
    03777777c00c000500010000012c0002c00c\
    065f7075626b79c00c001000010000003c000403763d31\
    c00c0041000100000e1000090001000003000220fb";

fn composed(zone: &str) -> Result<Vec<u8>, PacketError> {
    compose(&records(zone), &key())
}

#[test]
fn a_zone_comes_to_the_bytes_that_pkarr_writes() {
    let text = "@ 300 A 127.0.0.1\nwww 300 CNAME @\n_pubky 60 TXT v=1\n@ 3600 HTTPS 1 . port=8443\n";
    assert_eq!(composed(text).unwrap(), from_hex(PACKET_B));
}

#[test]
fn pkarr_reads_what_is_signed() {
    let text = "@ A 127.0.0.1\nwww CNAME @\n@ MX 10 mail\n_sip._udp SRV 1 2 3 www\n@ HTTPS 1 www port=1\n\
        @ CAA 0 issue \"ca.example\"\n_443._tcp TLSA 3 1 1 00\n@ NAPTR 1 2 a b c www\n@ SSHFP 4 2 00\n@ NS www\n\
        x DNAME www\n@ SOA www www 1 2 3 4 5\n4 PTR www\nx TYPE65280 \\# 4 0A000001\n* TXT \"a b\" c\n";
    let packet = signed(1, text);
    let dns = packet.dns();
    let payload = [packet.to_item().signature().as_slice(), &1_u64.to_be_bytes(), dns].concat();
    let read = pkarr::SignedPacket::from_relay_payload(packet.key(), &payload.into()).unwrap();
    assert_eq!(read.all_resource_records().count(), 15);
    assert_eq!(read.resource_records("www").count(), 1);
    assert_eq!(pkdns::message::read_records(dns).len(), 15);
}

#[test]
fn a_zone_of_a_thousand_bytes_fits_and_one_more_does_not() {
    // Header 12, owner 54, fixed fields 10, three lengths.
    let text = |last: usize| {
        format!("@ TXT {} {} {} {}", "a".repeat(255), "b".repeat(255), "c".repeat(255), "d".repeat(last))
    };
    let room = MAX_DNS_SIZE - 12 - 54 - 10 - 3 * 256 - 1;
    assert_eq!(composed(&text(room)).unwrap().len(), MAX_DNS_SIZE);
    let message = composed(&text(room + 1)).unwrap_err().to_string();
    assert!(message.starts_with("the zone takes 1001 bytes, 1 more than the 1000 of a packet."), "{message}");
}

#[test]
fn a_zone_that_does_not_fit_lists_its_heaviest_records_first() {
    let mut text = format!("small A 192.0.2.1\nlarge TXT {0} {0} {0}\nmedium TXT {0}\n", "x".repeat(250));
    for number in 0..12 {
        text.push_str(&format!("n{number} A 192.0.2.{number}\n"));
    }
    let message = composed(&text).unwrap_err().to_string();
    let lines: Vec<&str> = message.lines().collect();
    assert_eq!(lines[1], "The heaviest 10 of 15 records:");
    assert_eq!(lines.len(), 3 + 10);
    assert!(lines[3].contains("large 3600 TXT"), "{message}");
    assert!(lines[4].contains("medium 3600 TXT"), "{message}");
    assert!(lines.iter().all(|line| line.chars().count() <= 80), "{message}");
    let sizes: Vec<usize> =
        lines[3..].iter().map(|line| line.split_whitespace().next().unwrap().parse().unwrap()).collect();
    assert!(sizes.is_sorted_by(|a, b| a >= b), "{message}");
}
