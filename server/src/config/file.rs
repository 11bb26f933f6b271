//! Reads the file and says, with line numbers, what is wrong with it.

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use thiserror::Error;

use super::{
    Config, Fault, TEMPLATE,
    toml_text::{Parsed, TomlMistake, TomlMistakeKind, nearest, parse_toml, text_of},
};

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
        let bytes =
            read_bytes(path).map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        let text = text_of(bytes).map_err(|line| {
            let message = "this line is not UTF-8: save the file as UTF-8".to_owned();
            ConfigError::Invalid(vec![Mistake { path: Some(path.to_owned()), line: Some(line), message }])
        })?;
        Self::parse(path, &text)
    }

    /// As [`Self::read`], from text that was read from `path`.
    ///
    /// # Errors
    ///
    /// When the text is not TOML, or has unknown keys or values of the wrong type. All of them are in it.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let Parsed { value, lines } = parse_toml::<Config>(text);
        match value {
            Ok(config) => Ok(Self { config, path: path.to_owned(), lines }),
            Err(mistakes) => {
                let mistakes = mistakes.into_iter().map(|mistake| Mistake {
                    path: Some(path.to_owned()),
                    line: mistake.line,
                    message: explain(mistake, &lines),
                });
                Err(ConfigError::Invalid(mistakes.collect()))
            }
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

fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE_SIZE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_SIZE {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than any configuration"));
    }
    Ok(bytes)
}

/// Adds the key to a message about a value, and to a message about an unknown key the one that was meant.
fn explain(TomlMistake { line, kind }: TomlMistake, lines: &BTreeMap<String, usize>) -> String {
    let message = match kind {
        TomlMistakeKind::Unknown { name, known } => return explain_unknown(&name, &known),
        TomlMistakeKind::Missing(name) => format!("`{name}` is missing"),
        TomlMistakeKind::Value { expected, found } => format!("expected {expected}; found {found}"),
        TomlMistakeKind::Other(message) => message,
    };
    let here = lines.iter().filter(|(_, at)| Some(**at) == line).map(|(key, _)| key);
    match here.max_by_key(|key| key.len()) {
        Some(key) if !message.contains(key.as_str()) => format!("{key}: {message}"),
        _ => message,
    }
}

fn explain_unknown(unknown: &str, known: &[String]) -> String {
    match homes_of(unknown).as_slice() {
        [""] => return format!("`{unknown}` belongs above the first [section]"),
        [home] => return format!("`{unknown}` belongs under {home}"),
        _ => {}
    }
    let older = OLDER.iter().find(|(name, _)| *name == unknown).map(|(_, today)| today);
    if let (None, Some(near)) = (older, nearest(unknown, known.iter().map(String::as_str))) {
        return format!("there is no option `{unknown}`; did you mean `{near}`?");
    }
    let known = format!("there is no option `{unknown}` here; the options are {}", known.join(", "));
    match older {
        Some(today) => format!("{known}. It was one of older releases: {today}"),
        None => known,
    }
}

/// Options of pkdns before 1.0 that have no likeness to those of today, and what to write in their place.
const OLDER: [(&str, &str); 5] = [
    (
        "general",
        "write `listen` for `socket`, `fallback_dns` for `forward`, and doh.plain_listen for `dns_over_http_socket`",
    ),
    (
        "dns",
        "write cache.ttl_seconds and max_ttl_seconds for `min_ttl` and `max_ttl`, and rate_limit.requests_per_minute and \
         burst_size for `query_rate_limit` (of a second) and `query_rate_limit_burst`",
    ),
    ("dht_cache_mb", "write cache.max_entries"),
    ("dht_query_rate_limit", "write rate_limit.dht_requests_per_minute, which counts by the minute"),
    ("top_level_domain", "write names.suffixes"),
];

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
