//! The resolver that servers forward to, which answers immediately, with an address for every name.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
};

use super::{
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
pub fn start() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let socket = UdpSocket::bind(address).expect("the same port is free for UDP");
    thread::spawn(move || batches::serve(&socket, |query, length| answer(query, length).unwrap_or(0)));
    // Some forward over TCP what came over TCP.
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || answer_over_tcp(stream));
        }
    });
    address
}

/// Until the other end has had enough.
fn answer_over_tcp(mut stream: TcpStream) -> io::Result<()> {
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let length = usize::from(u16::from_be_bytes(length));
        let mut query = [0; batches::SIZE];
        stream.read_exact(query.get_mut(..length).ok_or(io::ErrorKind::InvalidData)?)?;
        let size = answer(&mut query, length).ok_or(io::ErrorKind::InvalidData)?;
        stream.write_all(&[&(size as u16).to_be_bytes(), &query[..size]].concat())?;
    }
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
