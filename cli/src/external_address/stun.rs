//! STUN (RFC 8489): one request and one response over UDP, of which only the address is of interest.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use tokio::{net::UdpSocket, time::timeout};

use super::Family;
use crate::network;

/// Requests go out at these distances; a service has all of its time to answer the last.
const PAUSES: [Duration; 3] = [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(4)];

const REQUEST: u16 = 0x0001;
const SUCCESS: u16 = 0x0101;
const COOKIE: u32 = 0x2112_a442;
const HEADER_SIZE: usize = 20;
const MAPPED_ADDRESS: u16 = 0x0001;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;

type TransactionId = [u8; 12];

pub(super) async fn ask(host: &str, port: u16, family: Family) -> Result<IpAddr, String> {
    let fail = |error: std::io::Error| format!("it cannot be asked: {error}");
    let addresses = match host.parse::<IpAddr>() {
        Ok(address) => vec![address],
        Err(_) => network::system_resolver()(host.to_string()).await,
    };
    let server = addresses.into_iter().find(|address| family.holds(*address));
    let server = server.ok_or("its name has no address of that family")?;
    let any: IpAddr = match family {
        Family::Ipv4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::Ipv6 => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await.map_err(fail)?;
    socket.connect((server, port)).await.map_err(fail)?;
    let mut id = TransactionId::default();
    getrandom::fill(&mut id).map_err(|error| error.to_string())?;
    let mut response = [0; 1500];
    for pause in PAUSES {
        socket.send(&request(&id)).await.map_err(fail)?;
        let answer = timeout(pause, async {
            loop {
                let size = socket.recv(&mut response).await.map_err(fail)?;
                // Anything else may be late, or forged.
                if let Some(address) = response.get(..size).and_then(|message| read(message, &id)) {
                    return Ok(address);
                }
            }
        });
        if let Ok(address) = answer.await {
            return address;
        }
    }
    Err("it did not answer".to_string())
}

fn request(id: &TransactionId) -> Vec<u8> {
    [&REQUEST.to_be_bytes()[..], &0_u16.to_be_bytes(), &COOKIE.to_be_bytes(), id].concat()
}

/// The address in a response to the request of `id`.
fn read(message: &[u8], id: &TransactionId) -> Option<IpAddr> {
    let (head, mut attributes) = message.split_at_checked(HEADER_SIZE)?;
    let is_ours = head.get(..2)? == SUCCESS.to_be_bytes()
        && head.get(4..8)? == COOKIE.to_be_bytes()
        && head.get(8..)? == id
        && usize::from(u16_at(head, 2)?) == attributes.len();
    if !is_ours {
        return None;
    }
    let mut plain = None;
    while let (Some(kind), Some(size)) = (u16_at(attributes, 0), u16_at(attributes, 2)) {
        let value = attributes.get(4..)?.get(..size.into())?;
        match kind {
            XOR_MAPPED_ADDRESS => return address(value, id),
            MAPPED_ADDRESS => plain = plain.or_else(|| plain_address(value)),
            _ => {}
        }
        // Attributes are padded to four bytes.
        attributes = attributes.get(4 + usize::from(size).next_multiple_of(4)..)?;
    }
    plain
}

/// Some routers change every address that they see in a packet, so it is disguised (RFC 8489 section 14.2).
fn address(value: &[u8], id: &TransactionId) -> Option<IpAddr> {
    let key = [&COOKIE.to_be_bytes()[..], id].concat();
    let mut value = value.to_vec();
    value.get_mut(4..)?.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
    plain_address(&value)
}

fn plain_address(value: &[u8]) -> Option<IpAddr> {
    let (head, address) = value.split_at_checked(4)?;
    match head.get(1)? {
        1 => <[u8; 4]>::try_from(address).ok().map(IpAddr::from),
        2 => <[u8; 16]>::try_from(address).ok().map(IpAddr::from),
        _ => None,
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 5769 section 2.2 and 2.3: 192.0.2.1 and 2001:db8:1234:5678:11:2233:4455:6677, both at port 32853.
    const ID: TransactionId = [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];
    const IPV4: [u8; 8] = [0x00, 0x01, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43];
    const IPV6: [u8; 20] = [
        0x00, 0x02, 0xa1, 0x47, 0x01, 0x13, 0xa9, 0xfa, 0xa5, 0xd3, 0xf1, 0x79, 0xbc, 0x25, 0xf4, 0xb5, 0xbe,
        0xd2, 0xb9, 0xd9,
    ];

    fn response(attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = Vec::new();
        for (kind, value) in attributes {
            body.extend_from_slice(&kind.to_be_bytes());
            body.extend_from_slice(&(value.len() as u16).to_be_bytes());
            body.extend_from_slice(value);
            body.resize(body.len().next_multiple_of(4), 0x20);
        }
        let mut message = request(&ID);
        message[..2].copy_from_slice(&SUCCESS.to_be_bytes());
        message[2..4].copy_from_slice(&(body.len() as u16).to_be_bytes());
        message.extend(body);
        message
    }

    #[test]
    fn the_vectors_of_the_standard_are_read() {
        let software: (u16, &[u8]) = (0x8022, b"test vector");
        assert_eq!(
            read(&response(&[software, (XOR_MAPPED_ADDRESS, &IPV4)]), &ID),
            Some("192.0.2.1".parse().unwrap())
        );
        assert_eq!(
            read(&response(&[software, (XOR_MAPPED_ADDRESS, &IPV6)]), &ID),
            Some("2001:db8:1234:5678:11:2233:4455:6677".parse().unwrap())
        );
        let old = [0, 1, 0x80, 0x55, 192, 0, 2, 9];
        assert_eq!(read(&response(&[(MAPPED_ADDRESS, &old)]), &ID), Some("192.0.2.9".parse().unwrap()));
        assert_eq!(
            read(&response(&[(MAPPED_ADDRESS, &old), (XOR_MAPPED_ADDRESS, &IPV4)]), &ID),
            Some("192.0.2.1".parse().unwrap())
        );
    }

    #[test]
    fn what_answers_another_request_is_not_believed() {
        let message = response(&[(XOR_MAPPED_ADDRESS, &IPV4)]);
        assert_eq!(read(&message, &[0; 12]), None);
        for (at, _) in message.iter().enumerate().take(8) {
            let mut changed = message.clone();
            changed[at] ^= 1;
            assert_eq!(read(&changed, &ID), None, "byte {at}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(body in proptest::collection::vec(any::<u8>(), 0..100)) {
            let mut message = response(&[]);
            message[2..4].copy_from_slice(&(body.len() as u16).to_be_bytes());
            message.extend(body);
            read(&message, &ID);
        }
    }
}
