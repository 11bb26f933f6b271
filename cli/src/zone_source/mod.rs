//! Where the records of an identity come from: a zone file with what it includes, or a text.

mod site_records;

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use pkdns_dht::signed_packet::PublicKey;

use crate::{
    failure::Failure,
    input::STANDARD_INPUT,
    keeper::Besides,
    packet,
    seed::{self, FileName},
    zone,
    zone_file::{self, ExternalAddresses, Lacking, Macros, ZoneFile, ZoneFileError, ZoneRecord},
};

/// A zone file or a text, and what it is to be called in messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ZoneSource {
    /// Read anew each time.
    File(PathBuf),
    /// What standard input held.
    StandardInput(Vec<u8>),
    /// Part of a configuration.
    Text(Vec<u8>),
}

/// Records that wait for the addresses of this machine.
#[derive(Debug)]
pub(crate) struct Zone {
    file: ZoneFile,
    name: Option<FileName>,
    key: PublicKey,
}

impl ZoneSource {
    /// The file at `path`, or what standard input holds now where that is `-`.
    pub(crate) fn of(path: PathBuf) -> Result<Self, Failure> {
        if path.as_os_str() != STANDARD_INPUT {
            return Ok(Self::File(path));
        }
        Ok(Self::StandardInput(zone_file::read_standard_input()?))
    }

    pub(crate) fn read(&self, key: &PublicKey) -> Result<Zone, Failure> {
        let (file, name) = match self {
            Self::File(path) => {
                let file = zone_file::open(path);
                if file.is_err() && seed::is_in(path) {
                    return Err(swapped(path));
                }
                (file, Some(FileName::of(path)))
            }
            Self::StandardInput(text) => {
                (zone_file::from_standard_input(text), Some(FileName::of(Path::new(STANDARD_INPUT))))
            }
            Self::Text(text) => (zone_file::from_bytes(text), None),
        };
        let file = file.map_err(|error| failed(&error))?;
        Ok(Zone { file, name, key: key.clone() })
    }
}

impl Zone {
    /// Which addresses [`Self::compose`] needs.
    pub(crate) fn macros(&self) -> Macros {
        self.file.macros()
    }

    /// What is allowed in it and hardly ever meant.
    pub(crate) fn mistakes(&self) -> Vec<String> {
        // Whatever cannot be looked at is an error of the zone, which composing it reports.
        zone::mistakes(&self.file, &self.key).unwrap_or_default()
    }

    /// Records of it by which nobody comes to the site that is served here, or by which bridges refuse that.
    pub(crate) fn contradictions(&self, addresses: &ExternalAddresses, site: &[ZoneRecord]) -> Vec<String> {
        let known = self.file.known_records(&self.key, addresses);
        known.map(|(records, _)| site_records::contradictions(&records, &self.key, site)).unwrap_or_default()
    }

    /// The message for the packet.
    pub(crate) fn compose(&self, addresses: &ExternalAddresses) -> Result<Vec<u8>, Failure> {
        let records = self.file.records(&self.key, addresses).map_err(|error| failed(&error))?;
        self.packed(&records)
    }

    /// As [`Self::compose`], of the records that need no address that is not known and of those `besides` them, and what the
    /// others wait for. There is no message where no record is left, or none of the addresses that the zone needs is known.
    pub(crate) fn compose_known(
        &self,
        addresses: &ExternalAddresses,
        besides: Besides<'_>,
    ) -> Result<(Option<Vec<u8>>, Vec<Lacking>), Failure> {
        let (mut records, lacking) =
            self.file.known_records(&self.key, addresses).map_err(|error| failed(&error))?;
        let Macros { ipv4, ipv6 } = self.macros();
        let has_one = (ipv4 && addresses.ipv4.is_some()) || (ipv6 && addresses.ipv6.is_some());
        if records.is_empty() || (!lacking.is_empty() && !has_one) {
            return Ok((None, lacking));
        }
        records.extend(site_records::of(&records, &self.key, besides));
        records.extend_from_slice(besides.extras);
        Ok((Some(self.packed(&records)?), lacking))
    }

    fn packed(&self, records: &[ZoneRecord]) -> Result<Vec<u8>, Failure> {
        packet::compose(records, &self.key).map_err(|error| match &self.name {
            Some(name) => Failure::Failed(format!("{name}: {error}")),
            None => Failure::Failed(error.to_string()),
        })
    }

    /// What the files look like from outside, so that a change of any can be told.
    pub(crate) fn stamps(&self) -> Vec<FileStamp> {
        zone_file::files(&self.file).map(FileStamp::at).collect()
    }
}

/// A file that was written this lately may be written to once more in the same instant, which nobody could tell from
/// outside.
pub(crate) const RECENT: Duration = Duration::from_secs(2);

/// A file as it looks from outside: when any of this differs, it has another content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileStamp {
    path: PathBuf,
    /// Number, length, and the time of the last change in seconds and nanoseconds.
    state: Option<(u64, u64, i64, i64)>,
}

impl FileStamp {
    pub(crate) fn at(path: &Path) -> Self {
        let state = fs::metadata(path).ok();
        let state = state.map(|state| (state.ino(), state.len(), state.mtime(), state.mtime_nsec()));
        Self { path: path.to_path_buf(), state }
    }

    /// Whether it was written a moment ago.
    pub(crate) fn is_recent(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let near =
            |written: i64| i64::try_from(now).is_ok_and(|now| now.abs_diff(written) <= RECENT.as_secs());
        self.state.is_some_and(|(.., seconds, _)| near(seconds))
    }

    /// Whether the file looks otherwise by now.
    pub(crate) fn has_changed(&self) -> bool {
        *self != Self::at(&self.path)
    }
}

/// What to say of a seed file that is to be a zone.
pub(crate) fn swapped(path: &Path) -> Failure {
    let file = FileName::of(path);
    Failure::Failed(format!(
        "{file} holds a seed, and stands where the zone file belongs: swap the two files"
    ))
}

fn failed(error: &ZoneFileError) -> Failure {
    Failure::Failed(error.to_string())
}
