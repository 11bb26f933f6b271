//! Passphrases: from a file or from whoever sits at the terminal, never from the command line or the environment, which
//! other programs can read.

use std::{
    io::{self, IsTerminal},
    path::{Path, PathBuf},
};

use clap::Args;
use zeroize::Zeroizing;

use super::{FileName, file};
use crate::{failure::Failure, terminal};

/// More than any passphrase, in bytes.
const MAX_SIZE: usize = 1024;

/// A passphrase of fewer bytes is warned of (NIST SP 800-63B asks for 15 where nothing else protects).
const SHORT: usize = 15;

/// Where the passphrase of a seed file is found.
#[derive(Debug, Args)]
pub(crate) struct PassphraseArguments {
    /// File whose first line is the passphrase of the seed file [default: ask]
    ///
    /// Only an encrypted seed file has one. "-" reads standard input.
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

impl PassphraseArguments {
    pub(crate) fn source(&self) -> Source<'_> {
        Source::of(self.passphrase_file.as_deref())
    }
}

/// Whether a new seed file is encrypted, and with what.
#[derive(Debug, Args)]
pub(crate) struct EncryptionArguments {
    /// Encrypt the seed file with a passphrase, as an age file
    #[arg(long)]
    encrypt: bool,
    /// With --encrypt: file whose first line is the passphrase [default: ask]
    ///
    /// "-" reads standard input.
    #[arg(long, value_name = "FILE", requires = "encrypt")]
    passphrase_file: Option<PathBuf>,
}

impl EncryptionArguments {
    /// The passphrase to encrypt with, if that is wanted.
    pub(crate) fn new_passphrase(&self) -> Result<Option<Zeroizing<Vec<u8>>>, Failure> {
        let source = Source::of(self.passphrase_file.as_deref());
        self.encrypt.then(|| source.new_passphrase()).transpose()
    }
}

/// Who knows a passphrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source<'a> {
    /// The first line of a file, or of standard input where it is `-`.
    File(&'a Path),
    /// Whoever sits there.
    Terminal,
    /// The program runs by itself, and no file was named.
    Nobody,
}

impl<'a> Source<'a> {
    pub(crate) fn of(file: Option<&'a Path>) -> Self {
        file.map_or(Self::Terminal, Self::File)
    }

    /// The passphrase of a file that is there.
    pub(crate) fn passphrase(self, of: &FileName) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let passphrase = match self {
            Self::File(path) => first_line(path)?,
            Self::Terminal => ask(&format!("Passphrase of {of}: "))?,
            Self::Nobody => {
                return Err(Failure::Failed(format!(
                    "{of} is encrypted: name a file with its passphrase as passphrase_file"
                )));
            }
        };
        refuse_empty(passphrase)
    }

    /// A passphrase for a file that is to be written. At the terminal it is asked for twice, as it is not seen there.
    pub(crate) fn new_passphrase(self) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let passphrase = match self {
            Self::File(path) => refuse_empty(first_line(path)?)?,
            Self::Terminal | Self::Nobody => ask_twice("New passphrase: ")?,
        };
        warn_if_short(&passphrase);
        Ok(passphrase)
    }
}

/// A password of something else: from the terminal, or all of standard input where that is none.
pub(crate) fn read_password(prompt: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    if io::stdin().is_terminal() {
        return ask_twice(prompt).inspect(|password| warn_if_short(password));
    }
    let (mut bytes, _) = file::read(Path::new("-"), MAX_SIZE)
        .map_err(|error| Failure::Failed(format!("cannot read the password from standard input: {error}")))?;
    let length = bytes.trim_ascii_end().len();
    bytes.truncate(length);
    warn_if_short(&bytes);
    Ok(bytes)
}

/// Says so where trying all of them does not take long.
fn warn_if_short(passphrase: &[u8]) {
    if passphrase.len() < SHORT {
        terminal::note(&format!(
            "warning: a passphrase of fewer than {SHORT} characters is soon guessed by whoever gets hold of the file; five random words \
             are better"
        ));
    }
}

fn ask_twice(prompt: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let passphrase = refuse_empty(ask(prompt)?)?;
    if ask("Once more: ")? != passphrase {
        return Err(Failure::Failed("the two passphrases differ: run the command again".to_string()));
    }
    Ok(passphrase)
}

fn ask(prompt: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    rpassword::prompt_password(prompt).map(|text| Zeroizing::new(text.into_bytes())).map_err(|error| {
        Failure::Failed(match error.kind() {
            io::ErrorKind::Interrupted => "interrupted: nothing was done".to_string(),
            _ => format!("there is no terminal to ask at ({error}): name a file with the passphrase"),
        })
    })
}

fn first_line(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let name = FileName::of(path);
    let fail = |why: &str| Failure::Failed(format!("cannot read the passphrase file {name}: {why}"));
    let (mut bytes, warning) = file::read(path, MAX_SIZE).map_err(|error| fail(&error.to_string()))?;
    if let Some(warning) = warning {
        terminal::note(&warning);
    }
    let length = bytes.iter().position(|&byte| byte == b'\n').unwrap_or(bytes.len());
    if length >= MAX_SIZE {
        return Err(fail(&format!("its first line is longer than {MAX_SIZE} bytes")));
    }
    bytes.truncate(length);
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
    Ok(bytes)
}

fn refuse_empty(passphrase: Zeroizing<Vec<u8>>) -> Result<Zeroizing<Vec<u8>>, Failure> {
    if passphrase.is_empty() {
        return Err(Failure::Failed("an empty passphrase protects nothing: choose another".to_string()));
    }
    Ok(passphrase)
}
