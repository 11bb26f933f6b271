//! A file under redb that gives back what was written to it, or an error.
//!
//! redb trusts what it reads: other bytes make it panic, sometimes while it cleans up after a panic, and that ends the
//! process. So each block has a checksum, and a damaged one is an error of the disk to redb, which it handles. Damage
//! comes from broken disks here: who can forge files can do worse.
//!
//! The header of redb comes first, with the number of the format and a checksum in the same sector, since it is the one
//! thing that is written in place. Then groups of a block of checksums and the blocks that they are of. A crash may leave a block and its
//! checksum apart only if the transaction was not over, and then nothing refers to that block.

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use redb::StorageBackend;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The page of redb, in bytes. All that it writes are whole pages, but for its header.
const BLOCK_SIZE: u64 = 4096;

/// The form of the file and of the tables in it: a number that goes up when an older program would take them for damaged
/// or misread them.
pub(super) const FORMAT: u8 = 2;

/// What a file of redb begins with.
const MAGIC: &[u8] = b"redb";

/// In bytes, the format included. The header is shorter and filled up with zeros, so that files of the first format have
/// a zero in the place of the number.
const HEADER_SIZE: usize = 504;
const FORMAT_AT: usize = HEADER_SIZE - 1;

const SUM_SIZE: u64 = size_of::<u64>() as u64;

/// Blocks whose checksums fill a block.
const GROUP: u64 = BLOCK_SIZE / SUM_SIZE;

/// With their checksums, in bytes.
const GROUP_SIZE: u64 = (1 + GROUP) * BLOCK_SIZE;

/// To be used by one process: it is not locked.
#[derive(Debug)]
pub(super) struct CheckedFile(File);

impl CheckedFile {
    /// Opens or makes the file at `path`, for this user only.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        Ok(Self(options.open(path)?))
    }

    /// [`FORMAT`], unless another program has written the file.
    pub(super) fn format(&self) -> io::Result<u8> {
        let mut header = [0; HEADER_SIZE];
        match self.0.read_exact_at(&mut header, 0) {
            // Zero was not written in those of the first format.
            Ok(()) if header.starts_with(MAGIC) => Ok(header[FORMAT_AT].max(1)),
            // Empty, or no file of ours: redb will say.
            Ok(()) => Ok(FORMAT),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(FORMAT),
            Err(error) => Err(error),
        }
    }

    fn read_header(&self, start: usize, out: &mut [u8]) -> io::Result<()> {
        let (mut header, mut sum) = ([0; HEADER_SIZE], [0; size_of::<u64>()]);
        self.0.read_exact_at(&mut header, 0)?;
        self.0.read_exact_at(&mut sum, HEADER_SIZE as u64)?;
        check(0, &header, sum)?;
        let part = header.get(start..).and_then(|rest| rest.get(..out.len()));
        out.copy_from_slice(part.ok_or(ErrorKind::InvalidInput)?);
        Ok(())
    }

    fn write_header(&self, data: &[u8]) -> io::Result<()> {
        let mut sector = [0; HEADER_SIZE + size_of::<u64>()];
        sector[..FORMAT_AT].get_mut(..data.len()).ok_or(ErrorKind::InvalidInput)?.copy_from_slice(data);
        sector[FORMAT_AT] = FORMAT;
        let (header, sum) = sector.split_at_mut(HEADER_SIZE);
        sum.copy_from_slice(&checksum(0, header).to_be_bytes());
        // At once, so that a crash leaves the old header or the new one.
        self.0.write_all_at(&sector, 0)
    }
}

impl StorageBackend for CheckedFile {
    fn len(&self) -> io::Result<u64> {
        let size = self.0.metadata()?.len();
        let Some(groups) = size.checked_sub(BLOCK_SIZE) else { return Ok(size) };
        let blocks = (groups % GROUP_SIZE / BLOCK_SIZE).saturating_sub(1);
        Ok((1 + groups / GROUP_SIZE * GROUP + blocks) * BLOCK_SIZE)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let size = match len.div_ceil(BLOCK_SIZE).checked_sub(1) {
            None => 0,
            Some(blocks) => {
                let rest = blocks % GROUP;
                BLOCK_SIZE * (1 + rest + u64::from(rest > 0)) + blocks / GROUP * GROUP_SIZE
            }
        };
        self.0.set_len(size)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if offset < BLOCK_SIZE {
            return self.read_header(offset as usize, out);
        }
        for (number, block) in (offset / BLOCK_SIZE..).zip(out.chunks_mut(BLOCK_SIZE as usize)) {
            let (place, sum_place) = places(number);
            let mut sum = [0; size_of::<u64>()];
            self.0.read_exact_at(block, place)?;
            self.0.read_exact_at(&mut sum, sum_place)?;
            check(number, block, sum)?;
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if offset == 0 {
            return self.write_header(data);
        }
        let is_whole = |bytes: u64| bytes.is_multiple_of(BLOCK_SIZE);
        if !is_whole(offset) || !is_whole(data.len() as u64) {
            return Err(ErrorKind::InvalidInput.into());
        }
        for (number, block) in (offset / BLOCK_SIZE..).zip(data.chunks(BLOCK_SIZE as usize)) {
            let (place, sum_place) = places(number);
            self.0.write_all_at(block, place)?;
            self.0.write_all_at(&checksum(number, block).to_be_bytes(), sum_place)?;
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// Where a block and its checksum are. Block 0 is the header.
fn places(number: u64) -> (u64, u64) {
    let (group, index) = ((number - 1) / GROUP, (number - 1) % GROUP);
    let start = BLOCK_SIZE + group * GROUP_SIZE;
    (start + (1 + index) * BLOCK_SIZE, start + index * SUM_SIZE)
}

fn check(number: u64, block: &[u8], sum: [u8; size_of::<u64>()]) -> io::Result<()> {
    match checksum(number, block) == u64::from_be_bytes(sum) {
        true => Ok(()),
        false => {
            Err(io::Error::new(ErrorKind::InvalidData, format!("the checksum of block {number} is wrong")))
        }
    }
}

/// Another one for the same block in another place.
fn checksum(number: u64, block: &[u8]) -> u64 {
    xxh3_64_with_seed(block, number)
}

/// Makes the file at `path` one of another format.
#[cfg(test)]
pub(super) fn pretend_format(path: &Path, format: u8) {
    let file = CheckedFile::open(path).unwrap();
    file.0.write_all_at(&[format], FORMAT_AT as u64).unwrap();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(directory: &Path) -> CheckedFile {
        CheckedFile::open(&directory.join("file")).unwrap()
    }

    #[test]
    fn what_is_written_is_read_wherever_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let file = open(directory.path());
        for blocks in [0, 1, 2, 3, GROUP, GROUP + 1, GROUP + 2, 3 * GROUP, 3 * GROUP + 1, 3 * GROUP + 2] {
            file.set_len(blocks * BLOCK_SIZE).unwrap();
            assert_eq!(file.len().unwrap(), blocks * BLOCK_SIZE);
        }
        file.write(0, &[1; 320]).unwrap();
        let data: Vec<u8> = (0..4 * BLOCK_SIZE).map(|at| (at / 1000) as u8).collect();
        let offset = (GROUP - 1) * BLOCK_SIZE;
        file.write(offset, &data).unwrap();
        let (mut header, mut found) = ([0; 9], vec![0; data.len()]);
        drop(file);
        let file = open(directory.path());
        file.read(0, &mut header).unwrap();
        file.read(offset, &mut found).unwrap();
        assert!(header == [1; 9] && found == data);
        assert_eq!(file.len().unwrap(), (3 * GROUP + 2) * BLOCK_SIZE);
    }

    #[test]
    fn any_other_bit_and_any_other_place_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let file = open(directory.path());
        file.set_len(4 * BLOCK_SIZE).unwrap();
        let is_readable = |number: u64| {
            let mut block = [0; BLOCK_SIZE as usize];
            let length = if number == 0 { 320 } else { block.len() };
            match file.read(number * BLOCK_SIZE, &mut block[..length]) {
                Ok(()) => true,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::InvalidData);
                    false
                }
            }
        };
        // Never written.
        assert!(!is_readable(0) && !is_readable(1));
        file.write(0, &[7; 320]).unwrap();
        file.write(BLOCK_SIZE, &[7; 2 * BLOCK_SIZE as usize]).unwrap();
        let (place, sum_place) = places(1);
        for (number, at) in (0..512)
            .map(|at| (0, at))
            .chain((0..8).map(|at| (1, sum_place + at)))
            .chain((0..BLOCK_SIZE).step_by(97).map(|at| (1, place + at)))
        {
            assert!(is_readable(number));
            let mut byte = [0];
            file.0.read_exact_at(&mut byte, at).unwrap();
            file.0.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
            assert!(!is_readable(number), "{at}");
            file.0.write_all_at(&byte, at).unwrap();
        }
        // Equal blocks, but of another number.
        let mut sum = [0; 8];
        file.0.read_exact_at(&mut sum, places(2).1).unwrap();
        file.0.write_all_at(&sum, sum_place).unwrap();
        assert!(!is_readable(1) && is_readable(2));
    }
}
