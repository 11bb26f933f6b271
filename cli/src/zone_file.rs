//! Zone files (RFC 1035 section 5, RFC 2308 section 4, RFC 3597 section 5): the text that a key's owner writes, as
//! records. A message about an error repeats no text that could be part of a secret: the file may be a seed file that
//! was passed by mistake.

mod include;
mod lexer;
mod reader;
mod remarks;
mod scanner;
mod substitution;
mod times;

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use domain::{
    base::{Name, Record, name::NameBuilder},
    rdata::ZoneRecordData,
};
use pkdns::signed_packet::PublicKey;
use thiserror::Error;

use crate::{failure::Failure, input::STANDARD_INPUT, seed::FileName};
use include::Item;
pub(crate) use reader::data;
pub(crate) use remarks::Remark;
use substitution::Family;
pub(crate) use substitution::{ExternalAddresses, Macros};
pub(crate) use times::seconds;

/// Largest zone file in bytes, with the files that it includes. Sixteen times what a packet can hold leaves room for
/// comments, and bounds what one record can grow to.
pub(crate) const MAX_SIZE: usize = 16 * 1024;

/// TTL in seconds of records for which the file gives none.
pub(crate) const DEFAULT_TTL: u32 = 3600;

/// A record inside the zone of its key: the owner is in lower case and ends in the key as it is usually spelled.
pub(crate) type ZoneRecord = Record<Name<Bytes>, ZoneRecordData<Bytes, Name<Bytes>>>;

/// What is wrong with a zone file.
#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum ZoneFileError {
    /// In one place of a file, or of a text that came from none.
    #[error("{}line {}, column {}: {reason}", prefix(.file), .position.line, .position.column)]
    At { file: Option<FileName>, position: Position, reason: String },
    #[error("cannot read the zone file {file}: {error}; check its name and who may read it")]
    Unreadable { file: FileName, error: String },
    #[error(
        "{}the zone file is larger than {MAX_SIZE} bytes, and a packet holds no more than 1000 bytes of \
         records: take out what is not needed",
        prefix(.file)
    )]
    TooLarge { file: Option<FileName> },
    #[error("{}the zone file holds no records: write one, for example @ A 192.0.2.1", prefix(.file))]
    Empty { file: Option<FileName> },
}

/// Where something begins. Lines and columns count from one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    line: usize,
    column: usize,
}

impl Position {
    const START: Self = Self { line: 1, column: 1 };

    fn error(self, reason: impl Into<String>) -> ZoneFileError {
        ZoneFileError::At { file: None, position: self, reason: reason.into() }
    }
}

/// A zone file with what it includes, read and divided into its lines, for any key and any addresses.
#[derive(Debug)]
pub(crate) struct ZoneFile {
    items: Vec<Item>,
    /// What was read, the zone file itself first; standard input as "-".
    paths: Vec<PathBuf>,
}

impl ZoneFile {
    /// Reads the file at `path`, or standard input where that is `-`, and what it includes.
    pub(crate) fn open(path: &Path) -> Result<Self, ZoneFileError> {
        include::open(path)
    }

    /// Takes what has been read from standard input.
    pub(crate) fn from_standard_input(text: &[u8]) -> Result<Self, ZoneFileError> {
        include::from_standard_input(text)
    }

    /// Takes a text that is in no file; it cannot include any.
    pub(crate) fn from_bytes(text: &[u8]) -> Result<Self, ZoneFileError> {
        include::from_bytes(text)
    }

    /// The files that were read, the zone file itself first; none for standard input and for bytes. A change of any of
    /// them may change the records.
    pub(crate) fn files(&self) -> &[PathBuf] {
        match self.paths.as_slice() {
            [path] if path.as_os_str() == STANDARD_INPUT => &[],
            paths => paths,
        }
    }

    /// Which addresses [`Self::records`] needs.
    pub(crate) fn macros(&self) -> Macros {
        reader::macros(&self.items)
    }

    /// The records of the zone of `key`, in the order of the file, each once.
    pub(crate) fn records(
        &self,
        key: &PublicKey,
        addresses: &ExternalAddresses,
    ) -> Result<Vec<ZoneRecord>, ZoneFileError> {
        reader::read(self, key, addresses, None).map(|(records, _)| records)
    }

    /// As [`Self::records`], without those that need an address that is not known. These are named.
    pub(crate) fn known_records(
        &self,
        key: &PublicKey,
        addresses: &ExternalAddresses,
    ) -> Result<(Vec<ZoneRecord>, Vec<Lacking>), ZoneFileError> {
        reader::read_known(self, key, addresses)
    }

    /// As [`Self::records`], with what is allowed in the file and hardly ever meant.
    pub(crate) fn records_and_remarks(
        &self,
        key: &PublicKey,
        addresses: &ExternalAddresses,
    ) -> Result<(Vec<ZoneRecord>, Vec<Remark>), ZoneFileError> {
        reader::read(self, key, addresses, None)
    }

    /// The records of a zone of another name, `origin`, moved to `key`: all names below `origin` end in the key.
    pub(crate) fn moved_records(
        &self,
        origin: &Name<Bytes>,
        key: &PublicKey,
    ) -> Result<Vec<ZoneRecord>, ZoneFileError> {
        reader::read(self, key, &ExternalAddresses::default(), Some(origin)).map(|(records, _)| records)
    }

    /// What messages call it, if it is in any file.
    pub(crate) fn name(&self) -> Option<FileName> {
        self.paths.first().map(|path| FileName::of(path))
    }
}

/// A record that waits for an address.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Lacking {
    family: Family,
    file: Option<FileName>,
    position: Position,
}

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = match self.family {
            Family::Ipv4 => "IPv4",
            Family::Ipv6 => "IPv6",
        };
        write!(f, "{family} for {} in {}line {}", self.family.name(), prefix(&self.file), self.position.line)
    }
}

impl ZoneFileError {
    /// Says in which file it is.
    fn within(mut self, path: Option<&Path>) -> Self {
        match &mut self {
            Self::At { file, .. } | Self::TooLarge { file } | Self::Empty { file } => {
                *file = path.map(FileName::of);
            }
            Self::Unreadable { .. } => {}
        }
        self
    }

    fn unreadable(path: &Path, error: &io::Error) -> Self {
        Self::Unreadable { file: FileName::of(path), error: error.to_string() }
    }
}

impl From<ZoneFileError> for Failure {
    fn from(error: ZoneFileError) -> Self {
        Self::Failed(error.to_string())
    }
}

fn prefix(file: &Option<FileName>) -> String {
    file.as_ref().map_or_else(String::new, |file| format!("{file}: "))
}

/// The name that the zone of `key` starts at.
pub(crate) fn apex(key: &PublicKey) -> Name<Bytes> {
    let mut name = NameBuilder::new_bytes();
    // A key is one label of 52 characters, so neither of these can fail.
    let _ = name.append_label(key.to_z32().as_bytes());
    name.into_name().unwrap_or_else(|_| Name::root_bytes())
}

#[cfg(test)]
mod tests;
