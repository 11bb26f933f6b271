use proptest::prelude::*;

use super::*;
use crate::testing::{key, message};

#[test]
fn owners_are_relative_to_the_key_and_those_outside_of_the_zone_are_in_full() {
    let z32 = key().to_z32();
    let key_label = z32.as_bytes();
    let glued = [b"x.".as_slice(), key_label].concat();
    for (owner, expected) in [
        (vec![key_label], "@".to_string()),
        (vec![b"www".as_slice(), key_label], "www".to_string()),
        (vec![b"*", b"WWW".as_slice(), key_label], "*.www".to_string()),
        (vec![b"www".as_slice(), b"example"], "www.example.".to_string()),
        (vec![b"x.".as_slice(), key_label], "x\\.".to_string()),
        (vec![glued.get(..54).unwrap()], format!("x\\.{z32}.")),
        (vec![], ".".to_string()),
    ] {
        let records = read(&message(&owner, 1, &[192, 0, 2, 1]), &key());
        assert_eq!(records.len(), 1, "{owner:?}");
        assert_eq!(records[0].owner, expected);
        assert_eq!(records[0].data, "192.0.2.1");
    }
}

#[test]
fn a_packet_cannot_send_commands_to_the_terminal() {
    let escape = b"\x1b[2J\x07\xc2\x9b\xe2\x80\xae";
    let text = [&[escape.len() as u8], escape.as_slice()].concat();
    let parameter = [b"\0\x01\0\xff\x00\0".as_slice(), &[escape.len() as u8], escape].concat();
    for (record_type, data) in
        [(16, text.as_slice()), (257, &[&[0, 5], b"issue".as_slice(), escape].concat()), (65, &parameter)]
    {
        let records = read(&message(&[escape], record_type, data), &key());
        assert_eq!(records.len(), 1);
        let shown = format!("{}{}", table(&records), serde_json::to_string(&records).unwrap());
        assert!(shown.bytes().all(|byte| byte == b'\n' || (0x20..0x7f).contains(&byte)), "{shown:?}");
    }
}

#[test]
fn data_that_do_not_follow_their_type_are_shown_as_bytes() {
    let records = read(&message(&[b"a"], 1, &[1, 2, 3]), &key());
    assert_eq!(records[0].to_string(), "a. 60 A \\# 3 01 02 03");
}

#[test]
fn json_names_what_a_record_consists_of() {
    let records = read(&message(&[b"www", key().to_z32().as_bytes()], 1, &[192, 0, 2, 1]), &key());
    let expected =
        format!("[{{\"name\":\"www.{}.\",\"ttl\":60,\"type\":\"A\",\"data\":\"192.0.2.1\"}}]", key());
    assert_eq!(serde_json::to_string(&records).unwrap(), expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn no_packet_brings_the_reader_down(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = table(&read(&bytes, &key()));
    }

    #[test]
    fn no_record_data_bring_the_reader_down(
        record_type in prop_oneof![0_u16..70, 250_u16..260, any::<u16>()],
        data in proptest::collection::vec(any::<u8>(), 0..80),
    ) {
        let records = read(&message(&[b"a"], record_type, &data), &key());
        prop_assert_eq!(records.len(), 1);
        prop_assert!(table(&records).bytes().all(|byte| byte == b'\n' || (0x20..0x7f).contains(&byte)));
    }
}
