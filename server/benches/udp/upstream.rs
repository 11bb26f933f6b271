//! The resolver that pkdns forwards to: an address for every name.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    thread,
};

/// Answers last longer than the benchmark.
const TTL: u32 = 86_400;

/// Serves until the process ends.
pub(crate) fn start() -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 1500];
        while let Ok((length, client)) = socket.recv_from(&mut buffer) {
            if let Some(reply) = answer(&buffer[..length]) {
                let _ = socket.send_to(&reply, client);
            }
        }
    });
    address
}

/// The address of `n<number>`, from the range that RFC 2544 sets aside for benchmarks.
pub(crate) fn address_of(number: u16) -> Ipv4Addr {
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(198, 18, high, low)
}

/// Whatever the type, the answer is an address: only A is asked for.
fn answer(query: &[u8]) -> Option<Vec<u8>> {
    let first_label = query.get(13..13 + usize::from(*query.get(12)?))?;
    let number = std::str::from_utf8(first_label.get(1..)?).ok()?.parse().ok()?;
    let question_end = 12 + query.get(12..)?.iter().position(|byte| *byte == 0)? + 5;
    let mut reply = query.get(..question_end)?.to_vec();
    // A response with RD and RA: one question, one answer, nothing else.
    reply.splice(2..12, [0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    reply.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1]);
    reply.extend_from_slice(&TTL.to_be_bytes());
    reply.extend_from_slice(&[0, 4]);
    reply.extend_from_slice(&address_of(number).octets());
    Some(reply)
}
