//! Zone files that become packets. A message about an error repeats no text that could be part of a secret: the file may be a
//! seed file that was passed by mistake.

use std::path::Path;

use pkdns::zone_file::Limits;
pub(crate) use pkdns::zone_file::{
    ExternalAddresses, Lacking, Macros, ZoneFile, ZoneFileError, ZoneRecord, apex,
};

use crate::{
    failure::Failure,
    input::{self, STANDARD_INPUT},
    seed::FileName,
};

/// Largest zone file in bytes, with the files that it includes. Sixteen times what a packet can hold leaves room for
/// comments, and bounds what one record can grow to.
pub(crate) const MAX_SIZE: usize = 16 * 1024;

const LIMITS: Limits = Limits {
    size: MAX_SIZE,
    advice: ", and a packet holds no more than 1000 bytes of records: take out what is not needed",
    name_of: |path| FileName::of(path).to_string(),
};

/// Reads the file at `path`, or standard input where that is `-`, and what it includes.
pub(crate) fn open(path: &Path) -> Result<ZoneFile, ZoneFileError> {
    match path.as_os_str() == STANDARD_INPUT {
        true => from_standard_input(&read_standard_input()?),
        false => ZoneFile::open(path, LIMITS),
    }
}

/// All of standard input.
pub(crate) fn read_standard_input() -> Result<Vec<u8>, ZoneFileError> {
    let path = Path::new(STANDARD_INPUT);
    let text =
        input::read(path, MAX_SIZE).map_err(|error| ZoneFileError::unreadable(path, LIMITS, &error))?;
    text.ok_or_else(|| ZoneFileError::too_large(Some(path), LIMITS))
}

/// Takes what has been read from standard input.
pub(crate) fn from_standard_input(text: &[u8]) -> Result<ZoneFile, ZoneFileError> {
    ZoneFile::from_bytes(text, Some(Path::new(STANDARD_INPUT)), LIMITS)
}

/// Takes a text that is in no file; it cannot include any.
pub(crate) fn from_bytes(text: &[u8]) -> Result<ZoneFile, ZoneFileError> {
    ZoneFile::from_bytes(text, None, LIMITS)
}

/// The files that were read, the zone file itself first; none for standard input and for bytes.
pub(crate) fn files(file: &ZoneFile) -> impl Iterator<Item = &Path> {
    file.files().iter().map(|path| path.as_path()).filter(|path| path.as_os_str() != STANDARD_INPUT)
}

impl From<ZoneFileError> for Failure {
    fn from(error: ZoneFileError) -> Self {
        Self::Failed(error.to_string())
    }
}

#[cfg(test)]
mod tests;
