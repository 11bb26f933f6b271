//! One file of packets: a redb database, on blocks that are checked. A panic of redb is an error.

use std::{
    io::{self, ErrorKind},
    ops::Bound,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use pkdns_dht::signed_packet::PublicKey;
use redb::{
    Database, Error, ReadableDatabase, ReadableTable, ReadableTableMetadata, Table, TableDefinition,
    TableError,
};

use super::{
    Stored,
    checked_file::{CheckedFile, FORMAT},
    queue::Key,
};

/// By public key, the bytes of [`Stored`].
const PACKETS: TableDefinition<&Key, &[u8]> = TableDefinition::new("packets");

/// [`SIZE`].
const TOTALS: TableDefinition<&str, u64> = TableDefinition::new("totals");

/// Bytes in [`PACKETS`], keys included.
const SIZE: &str = "size";

/// Memory for pages of the file, in bytes. The packets that are asked for are in our own memory.
const CACHE_SIZE: usize = 16 * 1024 * 1024;

/// A file takes up to three times its packets: its pages are 60 to 70 % full, and it grows by doubling.
const FILE_SIZE_PER_BYTE: u64 = 3;

/// Of this many neighbours, the oldest go when there are too many packets.
const SAMPLE: usize = 64;
const OLDEST: usize = 16;

/// Samples in one transaction, so that it ends soon also when `max_bytes` has become much less.
const MAX_SAMPLES: usize = 1024;

type Packets<'a> = Table<'a, &'static Key, &'static [u8]>;

/// Why a file is of no use any more.
#[derive(Debug)]
pub(super) enum Failure {
    /// What is in it is not what was written.
    Damaged(String),
    /// Another program has written it, in a form of this number: an older or a newer one.
    OtherFormat(u8),
    /// The disk did not do what it was told. The file has to be opened again.
    Io(io::Error),
}

/// A file that is open.
pub(super) struct PacketFile {
    /// `None` only while it is dropped.
    database: Option<Database>,
    /// For keys and records together.
    max_size: u64,
    /// From here on the next sample is taken, so that all records have their turn: keys need not be spread evenly.
    cursor: Mutex<Key>,
    count: usize,
}

impl PacketFile {
    /// Opens or makes the file at `path`. It needs no repair after a crash: each transaction leaves it in order.
    pub(super) fn open(path: &Path, max_bytes: u64) -> Result<Self, Failure> {
        let backend = CheckedFile::open(path).map_err(Error::Io)?;
        match backend.format().map_err(Error::Io)? {
            FORMAT => {}
            other => return Err(Failure::OtherFormat(other)),
        }
        caught(|| {
            let database = Database::builder().set_cache_size(CACHE_SIZE).create_with_backend(backend)?;
            let count = match database.begin_read()?.open_table(PACKETS) {
                Ok(packets) => packets.len()?,
                Err(TableError::TableDoesNotExist(_)) => {
                    create_tables(&database)?;
                    0
                }
                Err(error) => return Err(error.into()),
            };
            let mut cursor = Key::default();
            // Without chance the same records would be the first to go after each start.
            let _ = getrandom::fill(&mut cursor);
            Ok(Self {
                database: Some(database),
                max_size: max_bytes / FILE_SIZE_PER_BYTE,
                cursor: Mutex::new(cursor),
                count: to_usize(count),
            })
        })
    }

    /// Packets in the file when it was opened.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The record of `key`, whatever it is.
    pub(super) fn get(&self, key: &Key) -> Result<Option<Vec<u8>>, Failure> {
        caught(|| {
            let packets = self.database()?.begin_read()?.open_table(PACKETS)?;
            Ok(packets.get(key)?.map(|record| record.value().to_vec()))
        })
    }

    /// Writes packets that are newer than what is there; then the oldest go if there is too much. All of it is on disk
    /// then, or nothing. Says how many packets are in the file.
    pub(super) fn write(&self, packets: &[(&Key, &Stored)]) -> Result<usize, Failure> {
        caught(|| {
            let mut transaction = self.database()?.begin_write()?;
            // Otherwise opening the file after a crash takes four seconds for each million packets.
            transaction.set_quick_repair(true);
            let count = {
                let (mut table, mut totals) =
                    (transaction.open_table(PACKETS)?, transaction.open_table(TOTALS)?);
                let mut size = totals.get(SIZE)?.map_or(0, |size| size.value());
                for &(key, stored) in packets {
                    if !is_news(&table, key, stored)? {
                        continue;
                    }
                    let record = stored.to_bytes();
                    let replaced =
                        table.insert(key, record.as_slice())?.map_or(0, |old| record_size(old.value()));
                    size = size.saturating_add(record_size(&record)).saturating_sub(replaced);
                }
                self.evict(&mut table, &mut size)?;
                totals.insert(SIZE, size)?;
                table.len()?
            };
            transaction.commit()?;
            Ok(to_usize(count))
        })
    }

    /// Removes about the oldest until the bound is kept, or until that has taken long.
    fn evict(&self, packets: &mut Packets<'_>, size: &mut u64) -> Result<(), Error> {
        let mut cursor = self.cursor.lock().unwrap_or_else(PoisonError::into_inner);
        let now = SystemTime::now();
        for _ in 0..MAX_SAMPLES {
            if *size <= self.max_size {
                break;
            }
            let mut sample = Vec::with_capacity(SAMPLE);
            for record in packets.range::<&Key>((Bound::Excluded(&*cursor), Bound::Unbounded))?.take(SAMPLE) {
                let (key, record) = record?;
                sample.push((Stored::fresh_until_in(record.value(), now), *key.value()));
            }
            // From the start again after the last.
            *cursor = sample.get(SAMPLE - 1).map_or(Key::default(), |(_, key)| *key);
            sample.sort_unstable();
            for (_, key) in sample.iter().take(OLDEST) {
                *size = size.saturating_sub(remove(packets, key)?);
            }
        }
        Ok(())
    }

    fn database(&self) -> Result<&Database, Error> {
        self.database.as_ref().ok_or(Error::DatabaseClosed)
    }
}

impl Drop for PacketFile {
    fn drop(&mut self) {
        let database = self.database.take();
        // Closing writes, and may fail like anything else. Whoever opens the file next will see.
        let _ = caught(|| {
            drop(database);
            Ok(())
        });
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            // The file is shorter than it says, or says nonsense; or it is a directory.
            Error::Io(error)
                if matches!(
                    error.kind(),
                    ErrorKind::UnexpectedEof
                        | ErrorKind::InvalidData
                        | ErrorKind::InvalidInput
                        | ErrorKind::IsADirectory
                ) =>
            {
                Self::Damaged(error.to_string())
            }
            Error::Io(error) => Self::Io(error),
            error @ (Error::PreviousIo | Error::DatabaseClosed | Error::DatabaseAlreadyOpen) => {
                Self::Io(io::Error::other(error))
            }
            error => Self::Damaged(error.to_string()),
        }
    }
}

/// Runs `work`, for whose panics only damage can be the reason.
fn caught<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Failure> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(Failure::from),
        Err(_) => Err(Failure::Damaged("reading it panicked".to_owned())),
    }
}

fn create_tables(database: &Database) -> Result<(), Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(true);
    transaction.open_table(PACKETS)?;
    transaction.open_table(TOTALS)?;
    Ok(transaction.commit()?)
}

/// Signatures are checked only where the timestamp does not decide. What is not a packet is older than any.
fn is_news(packets: &Packets<'_>, key: &Key, stored: &Stored) -> Result<bool, Error> {
    let Some(record) = packets.get(key)? else { return Ok(true) };
    let record = record.value();
    let read = || Stored::from_bytes(&PublicKey::try_from(key).ok()?, record);
    let is_older = Stored::timestamp_in(record) < Some(stored.packet.timestamp());
    Ok(is_older || read().is_none_or(|present| stored.replaces(&present, SystemTime::now())))
}

/// The size of what is removed.
fn remove(packets: &mut Packets<'_>, key: &Key) -> Result<u64, Error> {
    Ok(packets.remove(key)?.map_or(0, |record| record_size(record.value())))
}

fn record_size(record: &[u8]) -> u64 {
    (size_of::<Key>() + record.len()) as u64
}

fn to_usize(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::{
        slice,
        time::{Duration, UNIX_EPOCH},
    };

    use super::*;
    use pkdns_dht::signed_packet::{Keypair, SignedPacket};

    fn stored(number: u8, timestamp: u64) -> Stored {
        let packet = SignedPacket::sign(&Keypair::from_secret_key(&[number; 32]), timestamp, b"dns").unwrap();
        let fresh_until = UNIX_EPOCH + Duration::from_secs(u64::from(number));
        Stored { packet, received: UNIX_EPOCH, fresh_until }
    }

    fn open(directory: &Path) -> PacketFile {
        PacketFile::open(&directory.join("file"), 1_000_000).unwrap()
    }

    fn write(file: &PacketFile, stored: &[Stored]) -> usize {
        let packets: Vec<_> = stored.iter().map(|stored| (stored.packet.key().as_bytes(), stored)).collect();
        file.write(&packets).unwrap()
    }

    fn size(file: &PacketFile) -> u64 {
        let totals = file.database().unwrap().begin_read().unwrap().open_table(TOTALS).unwrap();
        totals.get(SIZE).unwrap().unwrap().value()
    }

    /// Writes what this version would not.
    fn forge(file: &PacketFile, key: &Key, record: &[u8]) {
        let transaction = file.database().unwrap().begin_write().unwrap();
        transaction.open_table(PACKETS).unwrap().insert(key, record).unwrap();
        transaction.commit().unwrap();
    }

    #[test]
    fn what_is_not_a_packet_or_of_another_version_is_replaced_by_any_packet() {
        let directory = tempfile::tempdir().unwrap();
        let file = open(directory.path());
        let old = stored(1, 1);
        let key = *old.packet.key().as_bytes();
        let mut of_another_version = stored(1, 2).to_bytes();
        of_another_version[0] = 99;
        // A timestamp that nothing true is newer than.
        let mut forged = stored(1, 2).to_bytes();
        forged[17] = 0x7f;
        for record in [&[][..], b"record", &of_another_version, &forged] {
            forge(&file, &key, record);
            assert_eq!(file.get(&key).unwrap().unwrap(), record);
            assert_eq!(write(&file, slice::from_ref(&old)), 1);
            assert_eq!(file.get(&key).unwrap().unwrap(), old.to_bytes());
        }
    }

    #[test]
    fn the_size_is_that_of_the_records_and_survives_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let file = open(directory.path());
        let each = 32 + stored(1, 1).to_bytes().len() as u64;
        assert_eq!(write(&file, &[stored(1, 1), stored(2, 1)]), 2);
        assert_eq!(size(&file), 2 * each);
        write(&file, &[stored(1, 2)]);
        assert_eq!(size(&file), 2 * each);
        drop(file);
        let file = open(directory.path());
        assert_eq!((file.count(), size(&file)), (2, 2 * each));
    }

    #[test]
    fn all_records_have_their_turn_to_go_the_oldest_of_their_neighbours_first() {
        let directory = tempfile::tempdir().unwrap();
        let all: Vec<_> = (1..=250).map(|number| stored(number, 1)).collect();
        write(&open(directory.path()), &all);
        let each = 32 + all[0].to_bytes().len() as u64;
        // Fewer and fewer may stay.
        for (most, expected) in [(250, 250..=250), (100, 80..=100), (10, 0..=10), (0, 0..=0)] {
            let path = directory.path().join("file");
            let file = PacketFile::open(&path, most * each * FILE_SIZE_PER_BYTE).unwrap();
            let count = write(&file, &[]);
            assert!(expected.contains(&count), "{most} {count}");
            assert_eq!(size(&file), count as u64 * each);
            if most == 100 {
                let is_kept = |stored: &&Stored| file.get(stored.packet.key().as_bytes()).unwrap().is_some();
                let kept = all.iter().filter(is_kept).map(|stored| stored.fresh_until);
                let seconds: u64 = kept.map(|time| time.duration_since(UNIX_EPOCH).unwrap().as_secs()).sum();
                // The average of all is 125, that of the newest hundred 200.
                assert!(seconds / count as u64 > 165, "{}", seconds / count as u64);
            }
        }
    }

    #[test]
    fn a_panic_is_damage() {
        let outcome: Result<(), _> = caught(|| panic!("as redb does on a damaged file"));
        assert!(matches!(outcome, Err(Failure::Damaged(_))));
    }

    #[test]
    fn a_table_of_another_kind_is_damage() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let database = Database::builder().create_with_backend(CheckedFile::open(&path).unwrap()).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction.open_table(TableDefinition::<u64, u64>::new("packets")).unwrap();
        transaction.commit().unwrap();
        drop(database);
        assert!(matches!(PacketFile::open(&path, 0), Err(Failure::Damaged(_))));
    }
}
