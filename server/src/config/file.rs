//! Reads the file and says, with line numbers, what is wrong with it.

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::{self, Read},
    ops::Range,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use thiserror::Error;
use toml::de::{DeTable, Deserializer};

use super::{Config, Fault, TEMPLATE};

/// A configuration larger than this many bytes is some other file.
const MAX_FILE_SIZE: u64 = 1 << 20;

/// Why a configuration cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {source}; write another file after --config, or make this one readable", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file says something that cannot be done. One line for each mistake, as `file:line: what to write instead`.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Invalid(Vec<Mistake>),
}

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The file, unless a flag or a default is what is wrong.
    pub path: Option<PathBuf>,
    /// Line in the file, from 1.
    pub line: Option<usize>,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.path {
            write!(f, "{}:", path.display())?;
            if let Some(line) = self.line {
                write!(f, "{line}:")?;
            }
            f.write_str(" ")?;
        }
        f.write_str(&self.message)
    }
}

/// A configuration, and which lines of which file it came from.
#[derive(Debug, Clone)]
pub struct ConfigFile {
    /// The values, with the defaults where the file says nothing. Not checked against each other yet.
    pub config: Config,
    path: PathBuf,
    lines: BTreeMap<String, usize>,
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or says something that cannot be done.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        ConfigFile::read(path)?.check()
    }
}

impl ConfigFile {
    /// The defaults, where there is no file at `path`.
    pub fn absent(path: &Path) -> Self {
        Self { config: Config::default(), path: path.to_owned(), lines: BTreeMap::new() }
    }

    /// Reads a file. Its values have their types; [`Self::check`] looks at them together.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, is not TOML, has an unknown key or a value of the wrong type.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text =
            read_text(path).map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        Self::parse(path, &text)
    }

    /// As [`Self::read`], from text that was read from `path`.
    ///
    /// # Errors
    ///
    /// When the text is not TOML, has an unknown key or a value of the wrong type.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let refuse = |error: &toml::de::Error, lines: &BTreeMap<String, usize>| {
            let line = error.span().map(|span| line_of(text, &span));
            let message = explain(error.message(), line, lines);
            ConfigError::Invalid(vec![Mistake { path: Some(path.to_owned()), line, message }])
        };
        let table = DeTable::parse(text).map_err(|error| refuse(&error, &BTreeMap::new()))?;
        let mut lines = BTreeMap::new();
        collect_lines(text, "", table.get_ref(), &mut lines);
        match Config::deserialize(Deserializer::from(table)) {
            Ok(config) => Ok(Self { config, path: path.to_owned(), lines }),
            Err(error) => Err(refuse(&error, &lines)),
        }
    }

    /// Whether the file itself says something about `key`, which is written `section.name`.
    pub fn sets(&self, key: &str) -> bool {
        self.lines.contains_key(key)
    }

    /// Forgets the line of `key`: a flag took its place, and the file is not to blame for the value.
    pub fn overrule(&mut self, key: &str) {
        self.lines.remove(key);
    }

    /// The configuration, if nothing is wrong with it.
    ///
    /// # Errors
    ///
    /// Every [`Fault`] with the line that it came from.
    pub fn check(self) -> Result<Config, ConfigError> {
        let faults = self.config.faults();
        if faults.is_empty() {
            return Ok(self.config);
        }
        Err(ConfigError::Invalid(faults.iter().map(|fault| self.locate(fault)).collect()))
    }

    fn locate(&self, fault: &Fault) -> Mistake {
        // The value may be a default that another value of its section does not go with.
        let section = fault.key.split_once('.').map(|(section, _)| section);
        let line = self.lines.get(fault.key).or_else(|| self.lines.get(section?)).copied();
        Mistake { path: line.map(|_| self.path.clone()), line, message: fault.to_string() }
    }
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_FILE_SIZE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_SIZE {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than any configuration"));
    }
    Ok(text)
}

fn collect_lines(text: &str, prefix: &str, table: &DeTable<'_>, lines: &mut BTreeMap<String, usize>) {
    for (key, value) in table {
        let path = format!("{prefix}{}", key.get_ref());
        if let Some(inner) = value.get_ref().as_table() {
            collect_lines(text, &format!("{path}."), inner, lines);
        }
        lines.insert(path, line_of(text, &key.span()));
    }
}

fn line_of(text: &str, span: &Range<usize>) -> usize {
    let before = text.as_bytes().get(..span.start).unwrap_or_default();
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

/// Adds the key to a message about a value, and to a message about an unknown key the one that was meant.
fn explain(message: &str, line: Option<usize>, lines: &BTreeMap<String, usize>) -> String {
    if let Some(names) = message.strip_prefix("unknown field ") {
        // serde writes: `unknown`, expected one of `known`, `known`, …
        let mut names = names.split('`').skip(1).step_by(2);
        let unknown = names.next().unwrap_or_default();
        return explain_unknown(unknown, &names.collect::<Vec<_>>());
    }
    let here = lines.iter().filter(|(_, at)| Some(**at) == line).map(|(key, _)| key);
    match here.max_by_key(|key| key.len()) {
        Some(key) if !message.contains(key.as_str()) => format!("{key}: {}", message.trim()),
        _ => message.trim().replace('\n', ", "),
    }
}

fn explain_unknown(unknown: &str, known: &[&str]) -> String {
    match homes_of(unknown).as_slice() {
        [""] => return format!("`{unknown}` belongs above the first [section]"),
        [home] => return format!("`{unknown}` belongs under {home}"),
        _ => {}
    }
    let likeness = |name: &str| strsim::jaro_winkler(&unknown.to_ascii_lowercase(), name);
    match known.iter().copied().max_by(|a, b| likeness(a).total_cmp(&likeness(b))) {
        Some(near) if likeness(near) > 0.8 => {
            format!("there is no option `{unknown}`; did you mean `{near}`?")
        }
        _ => format!("there is no option `{unknown}` here; the options are {}", known.join(", ")),
    }
}

/// The headers of the sections that have an option of this name. Empty text stands for the top of the file.
fn homes_of(name: &str) -> Vec<&'static str> {
    let mut header = "";
    let mut homes = Vec::new();
    for line in TEMPLATE.lines() {
        if line.starts_with('[') {
            header = line;
        } else if let Some((key, _)) = line.trim_start_matches("# ").split_once(" = ")
            && key == name
        {
            homes.push(header);
        }
    }
    homes
}
