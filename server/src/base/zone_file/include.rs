//! Reads a zone file and the files that it includes, which must lie in its folder.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::fd::AsRawFd,
    path::{Component, Path, PathBuf},
};

use domain::base::scan::Symbol;

use super::{
    Limits, Position, ZoneFile, ZoneFileError,
    lexer::{self, Entry, Token},
};
/// How deep files may include each other.
const MAX_DEPTH: usize = 8;

/// A line of a zone file, or where an included one begins and ends.
#[derive(Debug)]
pub(super) enum Item {
    /// In the file of this number, if it is in any.
    Entry(Option<usize>, Entry),
    /// The origin of the included file, if it has one of its own, and where that is written.
    Begin(Option<usize>, Option<Token>),
    End,
}

struct Loader {
    limits: Limits,
    /// Where included files may be; `None` where the text is in no folder.
    folder: Option<PathBuf>,
    /// Bytes that may still be read.
    room: usize,
    /// The files that are being read, each included by the one before.
    open: Vec<PathBuf>,
    items: Vec<Item>,
    paths: Vec<PathBuf>,
}

/// All of what is read from `source`, of at most `most` bytes; `None` of more.
///
/// # Errors
///
/// Those of reading.
pub fn read_at_most(source: impl Read, most: usize) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    // One byte more than may be there tells a file that is too large. A pipe or a device does not say its size.
    source.take(most as u64 + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= most).then_some(bytes))
}

pub(super) fn open(path: &Path, limits: Limits) -> Result<ZoneFile, ZoneFileError> {
    let text = File::open(path).and_then(|file| read_at_most(file, limits.size));
    let text = text.map_err(|error| ZoneFileError::unreadable(path, limits, &error))?;
    let text = text.ok_or_else(|| ZoneFileError::too_large(Some(path), limits))?;
    // A pipe has no folder that would mean anything.
    let real = fs::canonicalize(path).ok().filter(|path| path.is_file());
    let mut loader = Loader::new(real.as_deref().and_then(Path::parent).map(Path::to_path_buf), limits);
    loader.open.extend(real);
    loader.paths.push(path.to_path_buf());
    loader.take(&text, Some(0))?;
    Ok(loader.finish())
}

pub(super) fn from_bytes(
    text: &[u8],
    path: Option<&Path>,
    limits: Limits,
) -> Result<ZoneFile, ZoneFileError> {
    let mut loader = Loader::new(None, limits);
    loader.paths.extend(path.map(Path::to_path_buf));
    loader.take(text, path.map(|_| 0))?;
    Ok(loader.finish())
}

impl Loader {
    fn new(folder: Option<PathBuf>, limits: Limits) -> Self {
        Self { limits, folder, room: limits.size, open: Vec::new(), items: Vec::new(), paths: Vec::new() }
    }

    fn finish(self) -> ZoneFile {
        ZoneFile { items: self.items, paths: self.paths, name_of: self.limits.name_of }
    }

    /// Takes the text of one file, the one of number `file`.
    fn take(&mut self, text: &[u8], file: Option<usize>) -> Result<(), ZoneFileError> {
        let path = file.and_then(|file| self.paths.get(file)).cloned();
        let limits = self.limits;
        let within = |error: ZoneFileError| error.within(path.as_deref().map(limits.name_of));
        self.room = self
            .room
            .checked_sub(text.len())
            .ok_or_else(|| ZoneFileError::too_large(path.as_deref(), limits))?;
        // Some editors begin UTF-8 with a mark.
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        for mut entry in lexer::entries(text).map_err(within)? {
            match entry.directive() {
                Some(word) if word.eq_ignore_ascii_case("$INCLUDE") => {
                    let (position, path, text) = self.included(&entry).map_err(within)?;
                    if self.open.contains(&path) {
                        return Err(within(position.error("this file includes itself, through this line")));
                    }
                    let origin = (entry.tokens.len() > 2).then(|| entry.tokens.swap_remove(2));
                    self.items.push(Item::Begin(file, origin));
                    let number = self.number(&path);
                    self.open.push(path);
                    self.take(&text, Some(number))?;
                    self.open.pop();
                    self.items.push(Item::End);
                }
                _ => self.items.push(Item::Entry(file, entry)),
            }
        }
        Ok(())
    }

    fn number(&mut self, path: &Path) -> usize {
        // The zone file itself is listed as it was given, and cannot be included.
        self.paths.iter().position(|known| known == path).unwrap_or_else(|| {
            self.paths.push(path.to_path_buf());
            self.paths.len() - 1
        })
    }

    /// The file that a directive names, and its text.
    fn included(&self, directive: &Entry) -> Result<(Position, PathBuf, Vec<u8>), ZoneFileError> {
        let start = directive.tokens.first().map_or(Position::START, |token| token.position);
        let (name, position) = match directive.tokens.as_slice() {
            [_, name] | [_, name, _] => (name, name.position),
            [_, _, _, excess, ..] => return Err(excess.position.error("expected the end of the line")),
            _ => return Err(start.error("expected the name of a file behind $INCLUDE")),
        };
        let Some(folder) = &self.folder else {
            return Err(start
                .error("$INCLUDE works in files only: this text has no folder in which the file could be"));
        };
        if self.open.len() > MAX_DEPTH {
            return Err(start.error(format!("files include each other more than {MAX_DEPTH} deep")));
        }
        let name = file_name(name).ok_or_else(|| {
            position.error("expected a file in the folder of the zone file: no \"..\", no absolute path")
        })?;
        let fail = |error: &dyn std::fmt::Display| {
            position.error(format!("cannot read {}: {error}", (self.limits.name_of)(&name)))
        };
        let path = folder.join(&name);
        // Opening a pipe would wait for whoever writes to it.
        if fs::metadata(&path).is_ok_and(|found| !found.is_file()) {
            return Err(fail(&"it is not a file"));
        }
        let file = File::open(&path).map_err(|error| fail(&error))?;
        let path = place(&file, &path).map_err(|error| fail(&error))?;
        if !path.starts_with(folder) {
            return Err(fail(&"a symbolic link leads out of the folder of the zone file"));
        }
        let text = read_at_most(file, self.room).map_err(|error| fail(&error))?;
        let text = text.ok_or_else(|| {
            let most = self.limits.size;
            fail(&format_args!("the zone file and what it includes are larger than {most} bytes"))
        })?;
        Ok((position, path, text))
    }
}

/// Where the file lies that was opened at `path`: what a symbolic link leads to counts, not where the link is. Asked of the
/// system about the open file, because by now the path may lead elsewhere.
fn place(file: &File, path: &Path) -> io::Result<PathBuf> {
    let opened = format!("/proc/self/fd/{}", file.as_raw_fd());
    fs::read_link(opened).or_else(|_| fs::canonicalize(path))
}

/// A path that leads nowhere but down.
fn file_name(token: &Token) -> Option<PathBuf> {
    let bytes: Option<Vec<u8>> =
        token.symbols.iter().map(|symbol: &Symbol| symbol.into_octet().ok()).collect();
    let path = PathBuf::from(String::from_utf8(bytes?).ok()?);
    let is_below = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    (is_below && path.file_name().is_some()).then_some(path)
}
