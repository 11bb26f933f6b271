//! Nodes that are kept on disk, so that a restart needs no bootstrap node. Blocks on the disk.
//!
//! A text file: a line with the version, when it was written, the bootstrap nodes of its network, and a line for each
//! node.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{self, Read},
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use thiserror::Error;

use super::krpc::Id;
use crate::private_file::replace;

/// The first line. Another format gets another number.
const HEADER: &str = "pkdns DHT nodes, version 1";

/// Most nodes that are saved. A few that answer are enough to start from; the rest spare the lookups that follow the
/// way from far away.
const MAX_NODES: usize = 2000;

/// Most bytes that are read: 2000 nodes of at most 100 bytes, and room for bootstrap nodes.
const MAX_BYTES: u64 = 512 * 1024;

/// Older files are not used. Most nodes run on home connections and stay at an address for days. When few are left,
/// joining through a bootstrap node is faster than asking them all, and disturbs nobody who has their addresses now.
const MAX_AGE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Why nodes could not be saved.
#[derive(Debug, Error)]
#[error("cannot save the DHT nodes in {}: {source}; check that the directory can be written to", .path.display())]
pub struct SaveError {
    path: PathBuf,
    source: io::Error,
}

/// Why saved nodes cannot be used. None of them is needed: the nodes are found again.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The file is there and cannot be read.
    #[error("cannot read the saved DHT nodes {}: {source}; make it readable or delete it", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not one that [`save`] wrote.
    #[error("the saved DHT nodes {} are damaged at line {line}; delete the file", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// The file is larger than [`save`] would write it.
    #[error("the saved DHT nodes {} are over {MAX_BYTES} bytes; delete the file", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
}

/// Writes up to 2000 of `nodes`, spread over the key space, to the file at `path`, which is replaced at once or not at
/// all. Its directory is created. Only the user may read it: it says with whom we talk.
pub fn save(
    path: &Path,
    bootstrap: &[String],
    nodes: impl Iterator<Item = (Id, SocketAddr)>,
    now: SystemTime,
) -> Result<(), SaveError> {
    let text = format(bootstrap, &spread(nodes.collect()), now);
    replace(path, text.as_bytes()).map_err(|source| SaveError { path: path.to_owned(), source })
}

/// The nodes in the file at `path`. None if there is no file, if it is over 7 days old, or if it belongs to a network
/// with other bootstrap nodes.
pub fn load(path: &Path, bootstrap: &[String], now: SystemTime) -> Result<Vec<(Id, SocketAddr)>, LoadError> {
    let bytes = match read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(LoadError::Unreadable { path: path.to_owned(), source }),
    };
    if bytes.len() as u64 > MAX_BYTES {
        return Err(LoadError::TooLarge { path: path.to_owned() });
    }
    parse(&String::from_utf8_lossy(&bytes), bootstrap, now)
        .map_err(|line| LoadError::Damaged { path: path.to_owned(), line })
}

/// Evenly many from every part of the key space in which there are nodes.
fn spread(mut nodes: Vec<(Id, SocketAddr)>) -> Vec<(Id, SocketAddr)> {
    nodes.sort_unstable_by_key(|(id, _)| *id);
    let kept = nodes.len().min(MAX_NODES);
    (0..kept).filter_map(|index| nodes.get(index * nodes.len() / kept).copied()).collect()
}

fn format(bootstrap: &[String], nodes: &[(Id, SocketAddr)], now: SystemTime) -> String {
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut text = format!("{HEADER}\nsaved {seconds}\n");
    for host in network(bootstrap) {
        text.extend(["bootstrap ", &host, "\n"]);
    }
    for (id, address) in nodes {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{id} {address}");
    }
    text
}

/// The error is the number of the line that is wrong.
fn parse(text: &str, bootstrap: &[String], now: SystemTime) -> Result<Vec<(Id, SocketAddr)>, usize> {
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
    // A time in the future is no reason against the nodes: small computers start with their clock at zero.
    let age = Duration::from_secs(
        now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().saturating_sub(saved),
    );
    let usable = age <= MAX_AGE && hosts == network(bootstrap);
    Ok(if usable { nodes } else { Vec::new() })
}

fn parse_node(line: &str) -> Option<(Id, SocketAddr)> {
    let (id, address) = line.split_once(' ')?;
    // The parser of mainline takes signs for digits, and panics between the bytes of a character.
    if !id.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    Some((id.parse().ok()?, address.parse().ok()?))
}

/// What tells one network from another.
fn network(bootstrap: &[String]) -> Vec<String> {
    let mut hosts: Vec<_> = bootstrap.iter().map(|host| host.to_ascii_lowercase()).collect();
    hosts.sort_unstable();
    hosts.dedup();
    hosts
}

/// At most a byte more than is allowed.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Opening a named pipe would wait for somebody to write to it.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
