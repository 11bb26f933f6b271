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

/// RFC 3597 section 4: a pointer in the data means another name in any message but its own.
#[test]
fn names_in_old_types_are_written_out() {
    let (long, short) = (b"\x04Mail\x07example\0", [0xc0, 12]);
    let question = [&long[..], &[0, 1, 0, 1]].concat();
    for (record_type, before, count, after) in [
        (3, 0, 1, 0),
        (4, 0, 1, 0),
        (7, 0, 1, 0),
        (8, 0, 1, 0),
        (9, 0, 1, 0),
        (14, 0, 2, 0),
        (17, 0, 2, 0),
        (18, 2, 1, 0),
        (21, 2, 1, 0),
        (24, 18, 1, 64),
        (26, 2, 2, 0),
        (30, 0, 1, 16),
    ] {
        let data = |name: &[u8]| [vec![7; before], name.repeat(count), vec![0xc0; after]].concat();
        let message = |data: &[u8]| {
            let mut bytes = vec![0, 1, 0x80, 0, 0, 1, 0, 1, 0, 0, 0, 0];
            bytes.extend_from_slice(&question);
            bytes.extend_from_slice(&[0xc0, 12, 0, record_type, 0, 1, 0, 0, 0, 60]);
            bytes.extend_from_slice(&(data.len() as u16).to_be_bytes());
            bytes.extend_from_slice(data);
            bytes
        };
        let bytes = message(&data(&short));
        let whole = raw(RecordType::from(u16::from(record_type)), &data(long));
        assert_eq!(read_message(&bytes).unwrap().answers[0].data, whole, "type {record_type}");
        assert_eq!(read_records(&bytes)[0].data, whole, "type {record_type}");
        assert_eq!(find_records(&bytes).next().unwrap().data(&bytes), Some(whole));

        let is_last = after == 0;
        for odd in [&data(&short)[..before + 1], &[&data(&short)[..], &[0]].concat()[..], &[]] {
            let is_good = !is_last && odd.len() > before + 2 * count;
            assert_eq!(read_message(&message(odd)).is_ok(), is_good, "type {record_type}: {odd:?}");
            assert_eq!(read_records(&message(odd)).len(), usize::from(is_good), "type {record_type}");
        }
    }
}
