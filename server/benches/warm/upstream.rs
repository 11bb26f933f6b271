//! The resolver that servers forward to: an address for every name, at once.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    thread,
};

use crate::{
    batches,
    names::{address_of, number_in},
};

/// Answers last longer than the benchmark.
const TTL: u32 = 86_400;

/// A response with RD and RA: one question, one answer, nothing else.
const HEADER_AFTER_ID: [u8; 10] = [0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];

/// The owner, as a pointer to the question, type A and class IN.
const OWNER_AND_TYPE: [u8; 6] = [0xc0, 12, 0, 1, 0, 1];

/// Serves until the process ends.
pub(crate) fn start() -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || batches::serve(&socket, |query, length| answer(query, length).unwrap_or(0)));
    address
}

/// Writes the answer over the query and returns its length. Whatever the type, it is an address: only A is asked
/// for.
fn answer(query: &mut [u8; batches::SIZE], length: usize) -> Option<usize> {
    let number = number_in(&query[..length])?;
    let question_end = 12 + query[12..length].iter().position(|byte| *byte == 0)? + 5;
    query[2..12].copy_from_slice(&HEADER_AFTER_ID);
    let mut end = question_end;
    for part in [&OWNER_AND_TYPE[..], &TTL.to_be_bytes(), &[0, 4], &address_of(number).octets()] {
        query.get_mut(end..end + part.len())?.copy_from_slice(part);
        end += part.len();
    }
    Some(end)
}
