use std::net::Ipv4Addr;

use super::*;

#[test]
fn an_owner_that_thousands_of_records_point_to_is_read_once() {
    let labels = [1, b'X'].repeat(100);
    let mut bytes = vec![0, 1, 0x80, 0, 0, 1, 15, 160, 0, 0, 0, 0];
    bytes.extend_from_slice(&labels);
    bytes.extend_from_slice(&[0, 0, 1, 0, 1]);
    for number in 0..4000_u16 {
        // The last two point elsewhere.
        let pointer = if number < 3998 { 12 } else { 14 };
        bytes.extend_from_slice(&[0xc0, pointer, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0]);
        bytes.extend_from_slice(&number.to_be_bytes());
    }
    let before = NAMES.with(std::cell::Cell::get);
    let message = read_message(&bytes).unwrap();
    assert_eq!(NAMES.with(std::cell::Cell::get) - before, 2);
    let whole = Name::from_labels(vec![&b"x"[..]; 100]).unwrap();
    for (number, record) in (0..4000_u16).zip(&message.answers) {
        let owner = if number < 3998 { &whole } else { &whole.base_name() };
        assert_eq!(record.name, *owner);
        let [high, low] = number.to_be_bytes();
        assert_eq!(address(&record.data), Some(Ipv4Addr::new(192, 0, high, low).into()));
    }
}

#[test]
fn an_alias_that_leads_to_no_name_is_not_read_to_find_out() {
    let header = [0, 1, 0x80, 0, 0, 0, 0, 2, 0, 0, 0, 0];
    let longest = [1, b'x'].repeat(127);
    for (name, end, data, is_good) in [
        (&longest[..], &[0][..], &[0xc0, 23][..], true),
        (&longest, &[0], &[0xc0, 25, 0], false),
        (&longest, &[0], &[0xc0], false),
        (&longest, &[0], &[1, b'y', 0xc0, 25], true),
        (&longest, &[0], &[1, b'y', 0xc0, 23], false),
        (&longest, &[0], &[2, b'y', b'z', 0xc0, 25], false),
        (&longest, &[1, b'x', 0], &[0xc0, 23], false),
        (&longest, &[0xc0, 23], &[0xc0, 23], false),
        (&longest, &[0x40], &[0xc0, 23], false),
    ] {
        let mut bytes = header.to_vec();
        let size = (name.len() + end.len()) as u16;
        bytes.extend_from_slice(&[0, 0, 99, 0, 1, 0, 0, 0, 0]);
        bytes.extend_from_slice(&size.to_be_bytes());
        bytes.extend_from_slice(name);
        bytes.extend_from_slice(end);
        bytes.extend_from_slice(&[0, 0, 5, 0, 1, 0, 0, 0, 0, 0, data.len() as u8]);
        bytes.extend_from_slice(data);
        let alias = find_records(&bytes).last().unwrap();
        assert_eq!(alias.record_type, RecordType::CNAME);
        let read = || DATA.with(std::cell::Cell::get);
        let before = read();
        assert_eq!(alias.data(&bytes).is_some(), is_good, "{end:?} {data:?}");
        assert_eq!(read() - before, usize::from(is_good), "{end:?} {data:?}");
    }
}
