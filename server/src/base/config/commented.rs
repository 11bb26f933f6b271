//! A configuration as a file with the template's comments.

use std::{collections::BTreeSet, fmt::Write};

use toml::{Table, Value};

use super::{Config, TEMPLATE};

/// Of the template, whose options are not all commented out, and what is so instead.
const ABOUT_COMMENTED: (&str, &str) = (
    "An option that is commented out has no\n# default.",
    "An option that is commented out has\n# its default, if there is one.",
);

impl Config {
    /// The template with the values that differ from the defaults. All else is commented out, so that a later default takes
    /// effect.
    pub fn commented(&self) -> String {
        let (own, defaults) = (table(self), table(&Self::default()));
        let (mut text, mut section) = (String::new(), String::new());
        let mut written = BTreeSet::new();
        // An array may go on over lines.
        let mut is_within = false;
        for line in TEMPLATE.replace(ABOUT_COMMENTED.0, ABOUT_COMMENTED.1).lines() {
            if is_within {
                is_within = line != "]";
                continue;
            }
            if let Some(header) = line.strip_prefix('[') {
                section = header.trim_end_matches(']').to_owned();
            }
            let option = line.strip_prefix("# ").unwrap_or(line).split_once(" = ");
            let Some((name, value)) = option.filter(|(name, _)| !name.contains(' ')) else {
                push(&mut text, line);
                continue;
            };
            is_within = value == "[" && !line.starts_with('#');
            let set = of(&own, &section, name).filter(|own| of(&defaults, &section, name) != Some(own));
            match set {
                Some(own) if written.insert((section.clone(), name.to_owned())) => {
                    push(&mut text, &format!("{name} = {own}"));
                }
                _ if line.starts_with('#') => push(&mut text, line),
                _ => {
                    let default = of(&defaults, &section, name).map(ToString::to_string);
                    push(&mut text, &format!("# {name} = {}", default.as_deref().unwrap_or(value)));
                }
            }
        }
        // What is in them are texts and lists of them, which can be written.
        for zone in &self.forward {
            let _ = write!(text, "\n[[forward]]\n{}", toml::to_string(zone).unwrap_or_default());
        }
        for origin in &self.origin {
            let _ = write!(text, "\n[[origin]]\n{}", toml::to_string(origin).unwrap_or_default());
        }
        text
    }
}

fn push(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

fn table(config: &Config) -> Table {
    Table::try_from(config).unwrap_or_default()
}

/// An option of a section, or of the top where that is empty.
fn of<'a>(table: &'a Table, section: &str, name: &str) -> Option<&'a Value> {
    match section {
        "" => table.get(name),
        _ => table.get(section)?.get(name),
    }
}
