//! The file of earlier releases: a line with the version, when it was written, the bootstrap nodes of its network, and
//! a line for each node.

use std::net::SocketAddr;

use crate::table::Contact;

/// The first line.
const HEADER: &str = "pkdns DHT nodes, version 1";

/// Most nodes of such a file.
pub(super) const MAX_NODES: usize = 2000;

pub(super) fn is_text(bytes: &[u8]) -> bool {
    bytes
        .strip_prefix(HEADER.as_bytes())
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'\n' | b'\r')))
}

/// When it was written, its bootstrap nodes, and the nodes. The error is the number of the line that is wrong.
pub(super) fn parse(text: &str) -> Result<(u64, Vec<String>, Vec<Contact>), usize> {
    let mut lines = (1_usize..).zip(text.lines()).peekable();
    lines.next().filter(|(_, line)| *line == HEADER).ok_or(1_usize)?;
    let saved =
        lines.next().and_then(|(_, line)| line.strip_prefix("saved ")?.parse().ok()).ok_or(2_usize)?;
    let mut hosts = Vec::new();
    while let Some((_, host)) = lines.next_if(|(_, line)| line.starts_with("bootstrap ")) {
        hosts.extend(host.strip_prefix("bootstrap ").map(str::to_owned));
    }
    let mut nodes = Vec::new();
    for (number, line) in lines {
        let node = parse_node(line).filter(|_| nodes.len() < MAX_NODES).ok_or(number)?;
        nodes.push(node);
    }
    Ok((saved, hosts, nodes))
}

fn parse_node(line: &str) -> Option<Contact> {
    let (id, address) = line.split_once(' ')?;
    // The parser of mainline takes signs for digits, and panics between the bytes of a character.
    if !id.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let address = address.parse().ok().filter(|address: &SocketAddr| address.port() != 0)?;
    Some(Contact { id: id.parse().ok()?, address, rtt: None, stores: true })
}
