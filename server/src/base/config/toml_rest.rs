//! What is left of a text when its mistakes are taken out, so that the others are found as well.

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use toml::{
    Spanned,
    de::{DeArray, DeTable, DeValue, Deserializer},
};

use super::toml_text::{MAX_MISTAKES, TomlMistake, TomlMistakeKind, kind_of, line_of, nearest};

/// Stands for an option of a section that nobody can guess.
const UNKNOWN: &str = "?";

/// Stands for the number of sections in a list.
const NUMBER: &str = "*";

/// The options that a text says in a way that could not be read. Their values are not known, and hold a default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TakenOut(BTreeSet<Vec<String>>);

impl TakenOut {
    /// Whether this option may have been taken out, by itself or with its section: `cache.ttl_seconds`, `identity.0.seed` in the
    /// first section of a list. `identity.*` asks whether some of these sections were, and `identity.0.?` whether one of
    /// them held an option that is like no other.
    pub fn holds(&self, key: &str) -> bool {
        let path: Vec<String> = key.split('.').map(String::from).collect();
        (1..=path.len()).any(|length| path.get(..length).is_some_and(|part| self.0.contains(part)))
    }

    /// Notes that this option was meant by another name.
    pub fn add(&mut self, key: &str) {
        self.0.insert(key.split('.').map(String::from).collect());
    }

    /// Forgets it: its value comes from somewhere else.
    pub fn remove(&mut self, key: &str) {
        self.0.retain(|path| path.join(".") != key);
    }

    fn take_option(&mut self, mut path: Vec<String>, kind: &TomlMistakeKind) {
        if let (TomlMistakeKind::Unknown { name, known }, Some(last)) = (kind, path.last_mut()) {
            *last = nearest(name, known.iter().map(String::as_str)).unwrap_or(UNKNOWN).to_owned();
        }
        self.0.insert(path);
    }

    /// A section of a list leaves its place to the next one.
    fn take_section(&mut self, path: Vec<String>) {
        let index = path.last().and_then(|index| index.parse::<usize>().ok());
        let Some((index, (_, list))) = index.zip(path.split_last()) else {
            self.0.insert(path);
            return;
        };
        let renumbered = |mut other: Vec<String>| {
            let is_inside = other.starts_with(list);
            let place = other.get_mut(list.len()).filter(|_| is_inside);
            if let Some((place, number)) =
                place.and_then(|it| it.parse::<usize>().ok().map(|number| (it, number)))
            {
                if number == index {
                    return None;
                }
                *place = (if number > index { number - 1 } else { number }).to_string();
            }
            Some(other)
        };
        self.0 = std::mem::take(&mut self.0).into_iter().filter_map(renumbered).collect();
        self.0.insert(list.iter().cloned().chain([NUMBER.to_owned()]).collect());
    }

    /// Whether the option of this name is missing in a section because it was misspelt there, or wrong.
    fn explains(&self, section: &[String], name: &str) -> bool {
        [name, UNKNOWN].iter().any(|name| self.0.contains(&[section, &[(*name).to_owned()]].concat()))
    }
}

/// What is wrong is taken out, and the rest read again, as the library tells one mistake at a time. The value is that of the
/// rest.
pub(super) fn deserialize<T: DeserializeOwned>(
    text: &str,
    mut rest: Spanned<DeTable<'_>>,
) -> (Option<T>, Vec<TomlMistake>, TakenOut) {
    let (mut mistakes, mut taken_out) = (Vec::new(), TakenOut::default());
    while mistakes.len() < MAX_MISTAKES {
        let error = match T::deserialize(Deserializer::from(rest.clone())) {
            Ok(value) => return (Some(value), mistakes, taken_out),
            Err(error) => error,
        };
        let span = error.span();
        let kind = kind_of(error.message());
        let line = span.as_ref().map(|span| line_of(text, span));
        // That of the whole text is empty.
        let place = span.filter(|span| !span.is_empty()).map(|span| span.start);
        let path = match &kind {
            // What is missing cannot be taken out, but the section that means nothing without it.
            TomlMistakeKind::Missing(_) => place.and_then(|at| section_at(rest.get_ref(), at)),
            _ => place.and_then(|at| option_at(rest.get_ref(), at)),
        };
        let is_explained = match (&kind, &path) {
            (TomlMistakeKind::Missing(name), Some(section)) => taken_out.explains(section, name),
            (TomlMistakeKind::Missing(_), None) => !mistakes.is_empty(),
            _ => false,
        };
        let is_gone = path.as_ref().is_some_and(|path| remove(rest.get_mut(), path));
        match path {
            Some(path) if matches!(kind, TomlMistakeKind::Missing(_)) => taken_out.take_section(path),
            Some(path) => taken_out.take_option(path, &kind),
            None => {}
        }
        if !is_explained {
            mistakes.push(TomlMistake { line, kind });
        }
        if !is_gone {
            break;
        }
    }
    (None, mistakes, taken_out)
}

/// The innermost option at this place of the text. Sections of a list go by their number; a list of anything else is one
/// option.
fn option_at(table: &DeTable<'_>, at: usize) -> Option<Vec<String>> {
    inside(table, |table| option_at(table, at)).or_else(|| {
        let here = table.iter().find(|(key, value)| key.span().contains(&at) || value.span().contains(&at));
        here.map(|(key, _)| vec![key.get_ref().to_string()])
    })
}

/// As [`option_at`], the innermost section.
fn section_at(table: &DeTable<'_>, at: usize) -> Option<Vec<String>> {
    inside(table, |table| section_at(table, at)).or_else(|| {
        table.iter().find_map(|(key, value)| {
            let key = key.get_ref().to_string();
            let is_here =
                |value: &Spanned<DeValue<'_>>| value.get_ref().is_table() && value.span().contains(&at);
            let items = value.get_ref().as_array();
            match items.and_then(|items| items.iter().position(is_here)) {
                Some(index) => Some(vec![key, index.to_string()]),
                None => is_here(value).then(|| vec![key]),
            }
        })
    })
}

/// What `find` finds in the sections of a table, with the way to it.
fn inside(table: &DeTable<'_>, find: impl Fn(&DeTable<'_>) -> Option<Vec<String>>) -> Option<Vec<String>> {
    table.iter().find_map(|(key, value)| {
        let key = key.get_ref().to_string();
        match value.get_ref() {
            DeValue::Table(inner) => find(inner).map(|path| [vec![key], path].concat()),
            DeValue::Array(items) => items.iter().enumerate().find_map(|(index, item)| {
                let path = find(item.get_ref().as_table()?)?;
                Some([vec![key.clone(), index.to_string()], path].concat())
            }),
            _ => None,
        }
    })
}

/// Whether there was something.
fn remove(table: &mut DeTable<'_>, path: &[String]) -> bool {
    let Some((key, rest)) = path.split_first() else {
        return false;
    };
    if rest.is_empty() {
        return table.remove(key.as_str()).is_some();
    }
    match table.get_mut(key.as_str()).map(Spanned::get_mut) {
        Some(DeValue::Table(inner)) => remove(inner, rest),
        Some(DeValue::Array(items)) => remove_item(items, rest),
        _ => false,
    }
}

fn remove_item(items: &mut DeArray<'_>, path: &[String]) -> bool {
    let Some((index, rest)) = path.split_first() else {
        return false;
    };
    let Some(index) = index.parse::<usize>().ok().filter(|index| *index < items.len()) else {
        return false;
    };
    if rest.is_empty() {
        let others =
            std::mem::replace(items, DeArray::new()).into_iter().enumerate().filter(|(at, _)| *at != index);
        *items = others.map(|(_, item)| item).collect();
        return true;
    }
    match items.get_mut(index).map(Spanned::get_mut) {
        Some(DeValue::Table(inner)) => remove(inner, rest),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use crate::base::config::{Parsed, parse_toml};

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Example {
        #[serde(default)]
        count: u32,
        #[serde(default)]
        section: Vec<Section>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Section {
        name: String,
        size: Option<u32>,
    }

    #[test]
    fn the_rest_of_a_text_is_read_and_it_is_known_what_was_taken_out() {
        let text = "counter = 3\n[[section]]\nsize = 1\n[[section]]\nname = 'b'\nsize = 'x'\n[[section]]\nnane = 'c'\n\
                    [[section]]\nname = 'd'\nother = 1\n";
        let Parsed { value, mistakes, taken_out, .. } = parse_toml::<Example>(text);
        let named = |name: &str| Section { name: name.to_owned(), size: None };
        assert_eq!(value, Some(Example { count: 0, section: vec![named("b"), named("d")] }));
        // That `name` is missing in the third section is the same mistake as `nane`.
        let lines: Vec<_> = mistakes.iter().map(|mistake| mistake.line.unwrap()).collect();
        assert_eq!(lines, [1, 2, 6, 8, 11]);
        // The numbers are those of the rest.
        for (key, expected) in [
            ("count", true),
            ("section", false),
            ("section.*", true),
            ("section.0.size", true),
            ("section.0.name", false),
            ("section.0.?", false),
            ("section.1.size", false),
            ("section.1.?", true),
        ] {
            assert_eq!(taken_out.holds(key), expected, "{key}");
        }
        let taken_out = parse_toml::<Example>("section = 1\n").taken_out;
        assert!(
            taken_out.holds("section.*") && taken_out.holds("section.0.size") && !taken_out.holds("count")
        );
    }
}
