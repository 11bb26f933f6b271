//! TOML as people write it: all its mistakes at once, with their lines, and in the words of the format.

use std::{collections::BTreeMap, ops::Range};

use serde::de::DeserializeOwned;
use toml::de::DeTable;

use super::toml_rest::{TakenOut, deserialize};

/// Most mistakes that are looked for in one text.
pub(super) const MAX_MISTAKES: usize = 32;

/// Quotation marks of word processors.
const TYPOGRAPHIC: [char; 7] = ['“', '”', '„', '‘', '’', '«', '»'];

/// One thing that is wrong with a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TomlMistake {
    /// Line, from 1, if it is in one place.
    pub line: Option<usize>,
    /// What is wrong.
    pub kind: TomlMistakeKind,
}

/// What is wrong with a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TomlMistakeKind {
    /// There is no such option.
    Unknown {
        /// What stands there.
        name: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// An option without which the section means nothing.
    Missing(String),
    /// A value of another kind.
    Value {
        /// What belongs there, in the words of the format.
        expected: String,
        /// What stands there, unless that is a text, which may be a secret.
        found: String,
    },
    /// The text is no TOML, or a value says why it is none.
    Other(String),
}

/// What a text says.
pub struct Parsed<T> {
    /// The value: where there are mistakes, that of the rest, if it has one.
    pub value: Option<T>,
    /// All that is wrong, in the order of the lines.
    pub mistakes: Vec<TomlMistake>,
    /// What the rest is lacking.
    pub taken_out: TakenOut,
    /// The line of each key, written `section.name`.
    pub lines: BTreeMap<String, usize>,
}

/// Reads a text.
pub fn parse_toml<T: DeserializeOwned>(text: &str) -> Parsed<T> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut lines = BTreeMap::new();
    collect_lines(text, "", table.get_ref(), &mut lines);
    if !errors.is_empty() {
        let mistakes = in_order(errors.iter().map(|error| syntax(text, error)).collect());
        return Parsed { value: None, mistakes, taken_out: TakenOut::default(), lines };
    }
    let (value, mistakes, taken_out) = deserialize(text, table);
    Parsed { value, mistakes: in_order(mistakes), taken_out, lines }
}

/// The option that was probably meant.
pub fn nearest<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let likeness = |name: &str| strsim::jaro_winkler(&unknown.to_ascii_lowercase(), name);
    known.max_by(|a, b| likeness(a).total_cmp(&likeness(b))).filter(|near| likeness(near) > 0.8)
}

/// What to say of an option that there is not. `homes` are the sections that have one of this name, and empty text stands for
/// the top of the file.
pub fn unknown_option(name: &str, known: &[String], homes: &[&str]) -> String {
    match homes {
        [""] => return format!("`{name}` belongs above the first [section]"),
        [home] => return format!("`{name}` belongs under {home}"),
        _ => {}
    }
    match nearest(name, known.iter().map(String::as_str)) {
        Some(near) => format!("there is no option `{name}`; did you mean `{near}`?"),
        None => options_here(name, known),
    }
}

/// The same where nothing is known that could be meant.
pub(super) fn options_here(name: &str, known: &[String]) -> String {
    format!("there is no option `{name}` here; the options are {}", known.join(", "))
}

/// The text of a file. `Err` says in which line it is no UTF-8.
///
/// # Errors
///
/// The line, from 1.
pub fn text_of(bytes: Vec<u8>) -> Result<String, usize> {
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        line_of_bytes(error.as_bytes(), valid)
    })
}

/// By line, each line once: a second message about one is mostly a consequence of the first.
fn in_order(mut mistakes: Vec<TomlMistake>) -> Vec<TomlMistake> {
    mistakes.sort_by_key(|mistake| mistake.line);
    mistakes.dedup_by(|later, first| later.line.is_some() && later.line == first.line);
    mistakes.truncate(MAX_MISTAKES);
    mistakes
}

pub(super) fn kind_of(message: &str) -> TomlMistakeKind {
    let message = message.trim();
    if let Some(names) = message.strip_prefix("unknown field ") {
        // serde writes: `unknown`, expected one of `known`, `known`, …
        let mut names = names.split('`').skip(1).step_by(2).map(String::from);
        let name = names.next().unwrap_or_default();
        return TomlMistakeKind::Unknown { name, known: names.collect() };
    }
    if let Some(name) = message.strip_prefix("missing field ") {
        return TomlMistakeKind::Missing(name.trim_matches('`').to_string());
    }
    let found = ["invalid type: ", "invalid value: "].iter().find_map(|start| message.strip_prefix(start));
    match found.and_then(|found| found.rsplit_once(", expected ")) {
        Some((found, expected)) => {
            TomlMistakeKind::Value { expected: expected_words(expected), found: found_words(found) }
        }
        None => TomlMistakeKind::Other(message.replace('\n', ", ")),
    }
}

/// What belongs somewhere, in the words of the format and not of the language that this is written in.
fn expected_words(expected: &str) -> String {
    let expected = expected.trim().trim_matches('`');
    match expected {
        "usize" | "u64" => "a whole number from 0".to_string(),
        "u32" => format!("a whole number from 0 to {}", u32::MAX),
        "u16" => format!("a whole number from 0 to {}", u16::MAX),
        "u8" => format!("a whole number from 0 to {}", u8::MAX),
        "a boolean" | "bool" => "true or false".to_string(),
        "a string" | "string" | "path string" | "a character string" => "a text in quotes".to_string(),
        "a sequence" => "a list in brackets".to_string(),
        "a map" => "a section".to_string(),
        other if other.starts_with("struct ") => {
            "a section, which begins with its name in brackets".to_string()
        }
        other => other.to_string(),
    }
}

fn found_words(found: &str) -> String {
    match found.split_once('`').and_then(|(kind, rest)| Some((kind.trim(), rest.split_once('`')?.0))) {
        Some(("integer" | "floating point" | "boolean", value)) => value.to_string(),
        _ if found.starts_with("string") => "a text".to_string(),
        _ if found == "sequence" => "a list".to_string(),
        _ if found == "map" => "a section".to_string(),
        _ => "something else".to_string(),
    }
}

fn syntax(text: &str, error: &toml::de::Error) -> TomlMistake {
    let message = error.message().trim().replace('\n', ", ");
    let Some(span) = error.span() else {
        return TomlMistake { line: None, kind: TomlMistakeKind::Other(message) };
    };
    let number = line_of(text, &span);
    let lines = || text.lines().enumerate().take(number);
    let line = lines().last().map_or("", |(_, line)| line);
    if message == "duplicate key" {
        let key = text.get(span).unwrap_or_default().trim();
        let is_first = |line: &str| {
            let line = line.trim();
            let name = line.trim_start_matches('[').trim_start();
            let rest = name.strip_prefix(key).map(str::trim_start);
            rest.is_some_and(|rest| rest.starts_with(['=', ']', '.']))
        };
        let first = lines().find(|(index, line)| index + 1 < number && is_first(line));
        let place = first.map_or_else(String::new, |(index, _)| format!(", in line {}", index + 1));
        let advice = format!("`{key}` is there already{place}: keep one, with all that belongs to it");
        return TomlMistake { line: Some(number), kind: TomlMistakeKind::Other(advice) };
    }
    let value = line.split_once('=').map_or(line, |(_, value)| value).trim_start();
    let mark = value.trim_start_matches('[').trim_start().chars().next();
    if let Some(mark) = mark.filter(|mark| TYPOGRAPHIC.contains(mark)) {
        let advice = format!(
            "{mark} is no quotation mark here: write the straight one, \", before and after the text"
        );
        return TomlMistake { line: Some(number), kind: TomlMistakeKind::Other(advice) };
    }
    // The list goes on to the next option, where the parser stumbles.
    let opened = lines().filter(|(_, line)| {
        let value = line.split_once('=').map_or("", |(_, value)| value).trim();
        value.starts_with('[') && !value.contains(']')
    });
    if message.contains("array")
        && let Some((index, _)) = opened.last()
    {
        let advice = "the list that begins here is not closed: write ] at its end".to_string();
        return TomlMistake { line: Some(index + 1), kind: TomlMistakeKind::Other(advice) };
    }
    TomlMistake { line: Some(number), kind: TomlMistakeKind::Other(message) }
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

pub(super) fn line_of(text: &str, span: &Range<usize>) -> usize {
    line_of_bytes(text.as_bytes(), span.start)
}

fn line_of_bytes(bytes: &[u8], at: usize) -> usize {
    let before = bytes.get(..at).unwrap_or_default();
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Example {
        #[serde(default)]
        count: u32,
        #[serde(default)]
        is_on: bool,
        #[serde(default)]
        names: Vec<String>,
        #[serde(default)]
        section: Vec<Section>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Section {
        name: String,
    }

    fn mistakes(text: &str) -> Vec<(usize, String)> {
        let mistakes = parse_toml::<Example>(text).mistakes.into_iter();
        mistakes
            .map(|TomlMistake { line, kind }| {
                let text = match kind {
                    TomlMistakeKind::Unknown { name, .. } => format!("unknown {name}"),
                    TomlMistakeKind::Missing(name) => format!("missing {name}"),
                    TomlMistakeKind::Value { expected, found } => format!("{expected}; {found}"),
                    TomlMistakeKind::Other(text) => text,
                };
                (line.unwrap_or(0), text)
            })
            .collect()
    }

    #[test]
    fn all_mistakes_are_told_in_the_words_of_the_format() {
        assert_eq!(
            mistakes(
                "other = 1\nis_on = 'yes'\ncount = -1\nnames = 'a'\n[[section]]\nnane = 'b'\nname = 1\n"
            ),
            [
                (1, "unknown other".to_string()),
                (2, "true or false; a text".to_string()),
                (3, "a whole number from 0 to 4294967295; -1".to_string()),
                (4, "a list in brackets; a text".to_string()),
                (6, "unknown nane".to_string()),
                (7, "a text in quotes; 1".to_string()),
            ]
        );
        assert_eq!(mistakes("[section]\nname = 'a'\n")[0].1, "a list in brackets; a section");
        assert_eq!(mistakes("[[section]]\n")[0].1, "missing name");
    }

    #[test]
    fn what_is_no_toml_is_explained() {
        let first = |text: &str| mistakes(text).remove(0);
        assert_eq!(
            first("count = 1\ncount = 2\n"),
            (2, "`count` is there already, in line 1: keep one, with all that belongs to it".to_string())
        );
        let (line, advice) = first("names = [“a”]\n");
        assert!(line == 1 && advice.starts_with("“ is no quotation mark here"), "{line}: {advice}");
        let unclosed = (1, "the list that begins here is not closed: write ] at its end".to_string());
        assert_eq!(first("names = ['a'\ncount = 1\n"), unclosed);
    }

    #[test]
    fn the_line_that_is_no_utf8_is_told() {
        assert_eq!(text_of(b"a\nb\n\xe9".to_vec()), Err(3));
        assert_eq!(text_of("é".into()), Ok("é".to_string()));
    }
}
