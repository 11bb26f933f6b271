//! Nodes that are kept on disk, so that a restart needs no bootstrap node. Blocks on the disk.
//!
//! A file begins with a line that names its version. The one that is written, `binary`, holds a million nodes in
//! 31 MB; `text` is that of earlier releases, which is read and then replaced.

mod binary;
mod text;

use std::{
    fmt,
    fs::{self, File},
    io::{self, BufWriter, Read},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use thiserror::Error;

use super::{
    replaced_file::replace_with,
    table::{Contact, MAX_NODES},
};

/// Most bytes that are read: as many nodes as a table can hold, all with their round trips and of IPv6, and room for
/// bootstrap nodes.
const MAX_BYTES: u64 = (MAX_NODES * binary::LONGEST_NODE + 512 * 1024) as u64;

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
    /// The file is not one that [`save`] wrote, or not all of it.
    #[error("the saved DHT nodes {} are damaged at {place}; delete the file", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        place: Place,
    },
    /// The file is larger than [`save`] would write it.
    #[error("the saved DHT nodes {} are over {MAX_BYTES} bytes; delete the file", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
}

/// A place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Counted from 1, in a file of text.
    Line(usize),
    /// Counted from 0.
    Byte(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}"),
            Self::Byte(byte) => write!(f, "byte {byte}"),
        }
    }
}

/// Nodes of a file, which are taken apart one after the other.
#[derive(Debug, Default)]
pub struct SavedNodes(Nodes);

#[derive(Debug)]
enum Nodes {
    Text(std::vec::IntoIter<Contact>),
    Binary(binary::Nodes),
}

/// Writes `nodes`, 1,048,576 at most, to the file at `path`, which is replaced at once or not at all. Its directory is
/// created. Only the user may read it: it says with whom we talk. Nodes that come early are of more use: a small table
/// takes no others.
///
/// # Errors
///
/// The directory or the file cannot be written.
pub fn save(
    path: &Path,
    bootstrap: &[String],
    nodes: impl IntoIterator<Item = Contact>,
    now: SystemTime,
) -> Result<(), SaveError> {
    save_while(path, bootstrap, nodes.into_iter().map(Ok), now)
}

/// As [`save`]. An error among the nodes leaves what was there before.
pub(super) fn save_while(
    path: &Path,
    bootstrap: &[String],
    nodes: impl Iterator<Item = io::Result<Contact>>,
    now: SystemTime,
) -> Result<(), SaveError> {
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    replace_with(path, |file| {
        binary::write(&mut BufWriter::with_capacity(1 << 16, file), seconds, &network(bootstrap), nodes)
    })
    .map_err(|source| SaveError { path: path.to_owned(), source })
}

/// The nodes in the file at `path`. None if there is no file, if it is over 7 days old, or if it belongs to a network
/// with other bootstrap nodes.
///
/// # Errors
///
/// The file cannot be read, is too large or is damaged.
pub fn load(path: &Path, bootstrap: &[String], now: SystemTime) -> Result<SavedNodes, LoadError> {
    let bytes = match read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(SavedNodes::default()),
        Err(source) => return Err(LoadError::Unreadable { path: path.to_owned(), source }),
    };
    if bytes.len() as u64 > MAX_BYTES {
        return Err(LoadError::TooLarge { path: path.to_owned() });
    }
    parse(bytes, bootstrap, now).map_err(|place| LoadError::Damaged { path: path.to_owned(), place })
}

fn parse(bytes: Vec<u8>, bootstrap: &[String], now: SystemTime) -> Result<SavedNodes, Place> {
    let (saved, hosts, nodes) = if text::is_text(&bytes) {
        let (saved, hosts, nodes) = text::parse(&String::from_utf8_lossy(&bytes)).map_err(Place::Line)?;
        (saved, hosts, Nodes::Text(nodes.into_iter()))
    } else {
        let (saved, hosts, nodes) = binary::parse(bytes).map_err(Place::Byte)?;
        (saved, hosts, Nodes::Binary(nodes))
    };
    // A time in the future is no reason against the nodes: small computers start with their clock at zero.
    let age = Duration::from_secs(
        now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().saturating_sub(saved),
    );
    let usable = age <= MAX_AGE && hosts == network(bootstrap);
    Ok(if usable { SavedNodes(nodes) } else { SavedNodes::default() })
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
    let metadata = fs::metadata(path)?;
    // Opening a named pipe would wait for somebody to write to it.
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let length = usize::try_from(metadata.len().min(MAX_BYTES)).unwrap_or(0);
    let mut bytes = Vec::with_capacity(length + 1);
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Iterator for SavedNodes {
    type Item = Contact;

    fn next(&mut self) -> Option<Contact> {
        match &mut self.0 {
            Nodes::Text(nodes) => nodes.next(),
            Nodes::Binary(nodes) => nodes.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = match &self.0 {
            Nodes::Text(nodes) => nodes.len(),
            Nodes::Binary(nodes) => nodes.len(),
        };
        (left, Some(left))
    }
}

impl ExactSizeIterator for SavedNodes {}

impl Default for Nodes {
    fn default() -> Self {
        Self::Text(Vec::new().into_iter())
    }
}

#[cfg(test)]
mod tests;
