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
    toml_rest::TakenOut,
    toml_text::{Parsed, TomlMistake, TomlMistakeKind, options_here, parse_toml, text_of, unknown_option},
};

/// A configuration larger than this many bytes is some other file.
const MAX_FILE_SIZE: u64 = 1 << 20;

/// Why a configuration cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
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
    /// The values, with the defaults where the file says nothing, or something that is not understood. Not checked yet.
    pub config: Config,
    path: PathBuf,
    lines: BTreeMap<String, usize>,
    /// Unknown keys and values of the wrong type.
    mistakes: Vec<Mistake>,
    taken_out: TakenOut,
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
        Self {
            config: Config::default(),
            path: path.to_owned(),
            lines: BTreeMap::new(),
            mistakes: Vec::new(),
            taken_out: TakenOut::default(),
        }
    }

    /// Reads a file. [`Self::check`] says what is wrong with it.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, is not TOML, or has so many mistakes that nothing else can be said of it.
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
    /// When the text is not TOML, or has so many mistakes that nothing else can be said of it.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let Parsed { value, mistakes, mut taken_out, lines } = parse_toml::<Config>(text);
        for mistake in &mistakes {
            if let TomlMistakeKind::Unknown { name, .. } = &mistake.kind {
                homes_of(name).into_iter().for_each(|home| taken_out.add(&in_section(home, name)));
            }
        }
        let mistakes = mistakes.into_iter().map(|mistake| Mistake {
            path: Some(path.to_owned()),
            line: mistake.line,
            message: explain(mistake, &lines),
        });
        let mistakes = mistakes.collect();
        match value {
            Some(config) => Ok(Self { config, path: path.to_owned(), lines, mistakes, taken_out }),
            None => Err(ConfigError::Invalid(mistakes)),
        }
    }

    /// Whether the file itself says something about `key`, which is written `section.name`.
    pub fn sets(&self, key: &str) -> bool {
        self.lines.contains_key(key)
    }

    /// Forgets the line of `key`: a flag took its place, and the file is not to blame for the value.
    pub fn overrule(&mut self, key: &str) {
        self.lines.remove(key);
        self.taken_out.remove(key);
    }

    /// The configuration, if nothing is wrong with it.
    ///
    /// # Errors
    ///
    /// All mistakes, and every [`Fault`] that is not a consequence of one, by the lines that they come from.
    pub fn check(mut self) -> Result<Config, ConfigError> {
        let mut mistakes = std::mem::take(&mut self.mistakes);
        let faults = self.config.faults();
        // Where a value was not understood, there is a default now, of which nobody said that it goes with the others.
        let is_certain = |fault: &&Fault| !fault.keys().any(|key| self.taken_out.holds(key));
        mistakes.extend(faults.iter().filter(is_certain).map(|fault| self.locate(fault)));
        if mistakes.is_empty() {
            return Ok(self.config);
        }
        mistakes.sort_by_key(|mistake| (mistake.line.is_none(), mistake.line));
        Err(ConfigError::Invalid(mistakes))
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
        // An option and its other name.
        TomlMistakeKind::Other(message) => match message.strip_prefix("duplicate field ") {
            Some(option) => format!("{option} is written under two names: keep one of them"),
            None => message,
        },
    };
    let here = lines.iter().filter(|(_, at)| Some(**at) == line).map(|(key, _)| key);
    match here.max_by_key(|key| key.len()) {
        Some(key) if !message.contains(key.as_str()) => format!("{key}: {message}"),
        _ => message,
    }
}

/// Options that two sections have, of which one is nearly always meant.
const USUAL_HOMES: [(&str, &str); 1] = [("allow", "[access]")];

fn explain_unknown(unknown: &str, known: &[String]) -> String {
    if let Some((_, home)) = USUAL_HOMES.iter().find(|(name, _)| *name == unknown) {
        return format!("`{unknown}` belongs under {home}");
    }
    let homes = homes_of(unknown);
    let older = OLDER.iter().find(|(name, _)| *name == unknown).map(|(_, today)| today);
    match older.filter(|_| homes.len() != 1) {
        Some(today) => format!("{}. It was one of older releases: {today}", options_here(unknown, known)),
        None => unknown_option(unknown, known, &homes),
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

/// An option of a section, whose header is empty text for the top of the file.
fn in_section(header: &str, name: &str) -> String {
    match header.trim_matches(['[', ']']) {
        "" => name.to_owned(),
        section => format!("{section}.{name}"),
    }
}

/// The headers of the sections that have an option of this name. Empty text stands for the top of the file.
fn homes_of(name: &str) -> Vec<&'static str> {
    let mut header = "";
    let mut homes = Vec::new();
    let mut is_in_list = false;
    for line in TEMPLATE.lines() {
        // A list of sections is an example with options of its own.
        is_in_list = line.starts_with("# [[") || is_in_list && !line.is_empty();
        if is_in_list {
            continue;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(text: &str) -> Vec<String> {
        let checked = ConfigFile::parse(Path::new("pkdns.toml"), text).and_then(ConfigFile::check);
        checked.err().map(|error| error.to_string().lines().map(String::from).collect()).unwrap_or_default()
    }

    #[test]
    fn one_run_tells_what_is_unknown_what_has_no_value_and_what_does_not_go_together() {
        let text = "listn = '127.0.0.1:53'\n[dht]\nbootstrap = ['node.example']\n[cache]\nmax_entries = 0\nttl_seconds = 'x'\n\
                    [delegation]\nport = 0\n[[forward]]\nzone = 'a..b'\nto = '192.0.2.1'\n[[forward]]\nzone = 'lan'\ntoo = '192.0.2.1'\n";
        let told = mistakes(text);
        let expected = [
            "pkdns.toml:1: there is no option `listn`; did you mean `listen`?",
            "pkdns.toml:3: dht.bootstrap: \"node.example\" has no port",
            "pkdns.toml:5: cache.max_entries: 0 is not from 1",
            "pkdns.toml:6: cache.ttl_seconds: ",
            "pkdns.toml:8: delegation.port: must not be 0",
            "pkdns.toml:9: forward.zone: \"a..b\" has two dots in a row",
            "pkdns.toml:14: there is no option `too`; did you mean `to`?",
        ];
        assert_eq!(told.len(), expected.len(), "{told:#?}");
        for (told, expected) in told.iter().zip(expected) {
            assert!(told.starts_with(expected), "{told}\nexpected {expected}");
        }
    }

    /// What stands beside an option that is not understood is not judged by the default of that.
    #[test]
    fn what_is_misspelt_or_has_no_value_is_one_mistake_and_not_two() {
        let key = "8pinxxgqs41n4aididenw5apqp1urfmzdztr8jt4abrkdn435ewo";
        let of_keys = format!("[names]\nsuffixes = 'pk'\n[local]\nrecords = ['{key}.key A 192.0.2.1']");
        for text in [
            "listen = '127.0.0.1:5300'\nfallback_dns = '127.0.0.1'",
            "listen = '127.0.0.1:5300'\n[[forward]]\nzone = 'lan'\nto = '127.0.0.1'",
            "[dht]\nenabled = false\nbootstrap = []\nmax_datagrams_per_second = 0",
            "[cache]\nttl_seconds = 90000\nmax_ttl_seconds = 90000",
            "[cache]\nttl_seconds = 9\nmax_ttl_seconds = 9",
            "[rate_limit]\nrequests_per_minute = 0\nburst_size = 0\ndht_requests_per_minute = 0\ndht_burst_size = 0",
            "[doh]\nenabled = true\ncert_path = 'c'\nkey_path = 'k'",
            "[doh]\nenabled = true\n[certificate]\nself_signed = true",
            "[doh]\nenabled = true\n[acme]\nenabled = true\n[certificate]\nnames = 'dns.example'",
            "[dot]\nenabled = true\n[doh]\ncert_path = 'c'\nkey_path = 'k'",
            "[dot]\nenabled = true\ncert_path = 'c'\nkey_path = 'k'",
            "[relay]\nenabled = true\n[doh]\nplain_listen = '127.0.0.1:80'",
            "[relay]\nenabled = true\n[doh]\nenabled = true\nport = 443\n[certificate]\nself_signed = true",
            "[relay]\nreads_per_minute = 0\nread_burst_size = 0\nwrites_per_minute = 0\nwrite_burst_size = 0",
            &of_keys,
        ] {
            assert_eq!(mistakes(text), [""; 0], "{text}");
            for line in text.lines().filter(|line| line.contains(" = ")) {
                let (name, value) = line.split_once(" = ").unwrap();
                for wrong in [format!("{name} = {{}}"), format!("{name}x = {value}")] {
                    let told = mistakes(&text.replacen(line, &wrong, 1));
                    assert_eq!(told.len(), 1, "{wrong} in\n{text}\n{told:#?}");
                }
            }
        }
        // In the place of another section, of a whole section, and a section that is misspelt.
        for text in ["[cache]\nfallback_dns = '192.0.2.1'", "cache = 3", "[chache]\nmax_ttl_seconds = 9"] {
            assert_eq!(mistakes(text).len(), 1, "{text}");
        }
    }

    #[test]
    fn a_flag_says_what_the_file_says_wrongly() {
        let text = "listen = '127.0.0.1:5300x'\nfallback_dns = '127.0.0.1'";
        let mut file = ConfigFile::parse(Path::new("pkdns.toml"), text).unwrap();
        file.config.listen = vec!["127.0.0.1:53".parse().unwrap()];
        file.overrule("listen");
        let told = file.check().unwrap_err().to_string();
        assert_eq!(told.lines().count(), 2, "{told}");
    }
}
