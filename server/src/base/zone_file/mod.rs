//! Zone files (RFC 1035 section 5, RFC 2308 section 4, RFC 3597 section 5): the text that a key's owner writes, as
//! records. A message about an error repeats no text that could be part of a secret: the file may be a seed file that
//! was passed by mistake.

mod apex;
mod include;
mod lexer;
mod names;
mod other_types;
mod reader;
mod remarks;
mod scanner;
mod service_parameters;
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
use thiserror::Error;

use apex::Apex;
use include::Item;
pub use include::read_at_most;
pub use names::{escaped_labels, escaped_name};
pub use other_types::Text;
use pkdns_dht::signed_packet::PublicKey;
pub use reader::data;
pub use remarks::Remark;
pub use service_parameters::text as service_parameters_text;
use substitution::Family;
pub use substitution::{ExternalAddresses, Macros};
pub use times::MAX_TTL;
use times::seconds;

/// TTL in seconds of records for which the file gives none.
pub const DEFAULT_TTL: u32 = 3600;

/// A record inside its zone: the owner is in lower case, and one in the zone of a key ends in the key as it is usually spelled.
pub type ZoneRecord = Record<Name<Bytes>, ZoneRecordData<Bytes, Name<Bytes>>>;

/// What is read as a zone file.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most bytes of it, with the files that it includes.
    pub size: usize,
    /// What to say of more.
    pub advice: &'static str,
    /// What messages call a file.
    pub name_of: fn(&Path) -> String,
}

/// What is wrong with a zone file.
#[derive(Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ZoneFileError {
    /// In one place of a file, or of a text that came from none.
    #[error("{}line {}, column {}: {reason}", prefix(.file), .position.line, .position.column)]
    At {
        /// What it is called.
        file: Option<String>,
        /// Where in it.
        position: Position,
        /// What is wrong, and what to write.
        reason: String,
    },
    /// It cannot be read.
    #[error("cannot read the zone file {file}: {error}; check its name and who may read it")]
    Unreadable {
        /// What it is called.
        file: String,
        /// Why.
        error: String,
    },
    /// It is larger than the limit.
    #[error("{}the zone file is larger than {size} bytes{advice}", prefix(.file))]
    TooLarge {
        /// What it is called.
        file: Option<String>,
        /// The limit in bytes.
        size: usize,
        /// What to do.
        advice: &'static str,
    },
    /// No record is in it.
    #[error("{}the zone file holds no records: write one, for example @ A 192.0.2.1", prefix(.file))]
    Empty {
        /// What it is called.
        file: Option<String>,
    },
}

/// Where something begins. Lines and columns count from one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
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
pub struct ZoneFile {
    items: Vec<Item>,
    /// What was read, the zone file itself first.
    paths: Vec<PathBuf>,
    name_of: fn(&Path) -> String,
}

impl ZoneFile {
    /// Reads the file at `path` and what it includes.
    ///
    /// # Errors
    ///
    /// Where one of them cannot be read, and what in them is no line of a zone file.
    pub fn open(path: &Path, limits: Limits) -> Result<Self, ZoneFileError> {
        include::open(path, limits)
    }

    /// Takes a text that is in no file; it cannot include any. `path` stands for where it came from.
    ///
    /// # Errors
    ///
    /// What in it is no line of a zone file.
    pub fn from_bytes(text: &[u8], path: Option<&Path>, limits: Limits) -> Result<Self, ZoneFileError> {
        include::from_bytes(text, path, limits)
    }

    /// What was read, the zone file itself first. A change of any of these files may change the records.
    pub fn files(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Which addresses [`Self::records`] needs.
    pub fn macros(&self) -> Macros {
        reader::macros(&self.items)
    }

    /// The records of the zone of `key`, in the order of the file, each once.
    ///
    /// # Errors
    ///
    /// What is wrong with a record, and a macro of which the address is not known.
    pub fn records(
        &self,
        key: &PublicKey,
        addresses: &ExternalAddresses,
    ) -> Result<Vec<ZoneRecord>, ZoneFileError> {
        reader::read(self, &Apex::of(key), addresses, None).map(|(records, _)| records)
    }

    /// As [`Self::records`], without those that need an address that is not known. These are named.
    ///
    /// # Errors
    ///
    /// What is wrong with a record.
    pub fn known_records(
        &self,
        key: &PublicKey,
        addresses: &ExternalAddresses,
    ) -> Result<(Vec<ZoneRecord>, Vec<Lacking>), ZoneFileError> {
        reader::read_known(self, &Apex::of(key), addresses)
    }

    /// As [`Self::records`], with what is allowed in the file and hardly ever meant.
    ///
    /// # Errors
    ///
    /// As [`Self::records`].
    pub fn records_and_remarks(
        &self,
        key: &PublicKey,
        addresses: &ExternalAddresses,
    ) -> Result<(Vec<ZoneRecord>, Vec<Remark>), ZoneFileError> {
        reader::read(self, &Apex::of(key), addresses, None)
    }

    /// The records of a zone of another name, `origin`, moved to `key`: all names below `origin` end in the key.
    ///
    /// # Errors
    ///
    /// What is wrong with a record, and a macro, as no address is known.
    pub fn moved_records(
        &self,
        origin: &Name<Bytes>,
        key: &PublicKey,
    ) -> Result<Vec<ZoneRecord>, ZoneFileError> {
        reader::read(self, &Apex::of(key), &ExternalAddresses::default(), Some(origin))
            .map(|(records, _)| records)
    }

    /// The records of the zone at `apex`, whatever its name, in the order of the file, each once.
    ///
    /// # Errors
    ///
    /// What is wrong with a record, and a macro, as no address is known.
    pub fn records_below(&self, apex: &Name<Bytes>) -> Result<Vec<ZoneRecord>, ZoneFileError> {
        let apex = Apex::Name(apex.clone());
        reader::read(self, &apex, &ExternalAddresses::default(), None).map(|(records, _)| records)
    }

    /// What messages call it, if it is in any file.
    pub fn name(&self) -> Option<String> {
        self.paths.first().map(|path| (self.name_of)(path))
    }
}

/// A record that waits for an address.
#[derive(Debug, PartialEq, Eq)]
pub struct Lacking {
    family: Family,
    file: Option<String>,
    position: Position,
}

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = match self.family {
            Family::Ipv4 => "IPv4",
            Family::Ipv6 => "IPv6",
        };
        write!(
            f,
            "an {family} address ({} in {}line {})",
            self.family.name(),
            prefix(&self.file),
            self.position.line
        )
    }
}

impl ZoneFileError {
    /// Says in which file it is.
    fn within(mut self, path: Option<String>) -> Self {
        match &mut self {
            Self::At { file, .. } | Self::TooLarge { file, .. } | Self::Empty { file } => *file = path,
            Self::Unreadable { .. } => {}
        }
        self
    }

    /// The file at `path` cannot be read.
    pub fn unreadable(path: &Path, limits: Limits, error: &io::Error) -> Self {
        Self::Unreadable { file: (limits.name_of)(path), error: error.to_string() }
    }

    /// The file at `path` is larger than it may be.
    pub fn too_large(path: Option<&Path>, limits: Limits) -> Self {
        Self::TooLarge { file: path.map(limits.name_of), size: limits.size, advice: limits.advice }
    }
}

fn prefix(file: &Option<String>) -> String {
    file.as_ref().map_or_else(String::new, |file| format!("{file}: "))
}

/// The name that the zone of `key` starts at.
pub fn apex(key: &PublicKey) -> Name<Bytes> {
    let mut name = NameBuilder::new_bytes();
    // A key is one label of 52 characters, so neither of these can fail.
    let _ = name.append_label(key.to_z32().as_bytes());
    name.into_name().unwrap_or_else(|_| Name::root_bytes())
}
