//! The names that are asked for, `n<number>.bench.example`: all of the same length, so that eight digits turn one
//! query into another.

use std::net::Ipv4Addr;

/// A query as stub resolvers send it: `A`, RD, EDNS with 1232 bytes and no options. Id and number are zeros.
pub const QUERY: [u8; 52] =
    *b"\0\0\x01\0\0\x01\0\0\0\0\0\x01\x09n00000000\x05bench\x07example\0\0\x01\0\x01\0\0\x29\x04\xd0\0\0\0\0\0\0";

/// Where the question stands in it.
pub const QUESTION: std::ops::Range<usize> = 12..QUERY.len() - OPT_SIZE;

const OPT_SIZE: usize = 11;

/// Where the number stands in the first label, in hexadecimal digits.
const DIGITS: std::ops::Range<usize> = 14..22;

/// The query for a name.
pub fn query(id: u16, number: u32) -> [u8; QUERY.len()] {
    let mut query = QUERY;
    query[..2].copy_from_slice(&id.to_be_bytes());
    for (place, digit) in (0..8).rev().zip(&mut query[DIGITS]) {
        *digit = b"0123456789abcdef"[(number >> (4 * place)) as usize & 0xf];
    }
    query
}

/// The number of the name in a question, whatever the spelling.
pub fn number_in(message: &[u8]) -> Option<u32> {
    u32::from_str_radix(std::str::from_utf8(message.get(DIGITS)?).ok()?, 16).ok()
}

/// The address of a name, from the range that RFC 2544 sets aside for benchmarks.
pub fn address_of(number: u32) -> Ipv4Addr {
    let [_, second, third, fourth] = number.to_be_bytes();
    Ipv4Addr::new(198, 18 | second & 1, third, fourth)
}

/// The names from `0` to `count`, in turn and for ever.
pub fn in_turn(count: u32) -> impl Iterator<Item = u32> {
    (0..count).cycle()
}

/// As [`in_turn`], but only `share` of ten are among them. The others are asked for once.
pub fn with_new_ones(count: u32, share: u32) -> impl Iterator<Item = u32> {
    let mut known = in_turn(count);
    let mut new = count..;
    (0..10).cycle().filter_map(move |turn| if turn < share { known.next() } else { new.next() })
}

/// The names from `0` to `count` without any order, for ever.
pub fn at_random(count: u32) -> impl Iterator<Item = u32> {
    // xorshift64, Marsaglia 2003: cheap, and the same in each run.
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // The upper half scaled to the range: below `count`.
        (((state >> 32) * u64::from(count)) >> 32) as u32
    })
}
