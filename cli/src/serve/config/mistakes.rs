//! What to say of a configuration that cannot be read: which line, which option, and what to write.

use pkdns::config::{TomlMistake, TomlMistakeKind, parse_toml, unknown_option};

use super::Config;

/// As [`pkdns::config`] says it.
const LIST: &str = "a list in brackets";

/// What to write for an option that cannot be left out.
const EXAMPLES: [(&str, &str); 3] = [
    ("seed", "seed = \"my.seed\", the seed file of the key"),
    ("origin", "origin = \"pk.example.net\", the zone in which the key is a name"),
    ("listen", "listen = [\"192.168.1.20:8245\"], the address that routers are told"),
];

/// The sections, and a text in which nothing is wrong but an option that they do not have.
const SECTIONS: [(&str, &str); 5] = [
    ("", "? = 1"),
    ("[dyndns]", "[dyndns]\n? = 1"),
    ("[detection]", "[detection]\n? = 1"),
    ("[[identity]]", "[[identity]]\n? = 1"),
    ("[identity.certificate]", "[[identity]]\nseed = 's'\n[identity.certificate]\n? = 1"),
];

/// A mistake with its line. What stands in place of what is expected is not repeated: it may be a password.
pub(super) fn told(TomlMistake { line, kind }: TomlMistake, text: &str) -> String {
    let message = match kind {
        TomlMistakeKind::Unknown { name, known } => unknown_option(&name, &known, &homes_of(&name)),
        TomlMistakeKind::Missing(name) => {
            let example = EXAMPLES.iter().find(|(option, _)| *option == name);
            let example = example.map_or_else(String::new, |(_, example)| format!(": write {example}"));
            format!("`{name}` is missing here{example}")
        }
        TomlMistakeKind::Value { expected, found } if expected == LIST && found == "a section" => {
            "each identity has a section of its own: write [[identity]], with two brackets".to_string()
        }
        TomlMistakeKind::Value { expected, .. } => format!("{}expected {expected}", option(line, text)),
        TomlMistakeKind::Other(message) => match message.split_once(", expected ") {
            Some((_, expected)) => format!("{}expected {expected}", option(line, text)),
            None => format!("{}{message}", option(line, text)),
        },
    };
    match line {
        Some(line) => format!("line {line}: {message}"),
        None => message,
    }
}

/// The option at the beginning of a line, for a message. Whatever else stands there is not repeated.
fn option(line: Option<usize>, text: &str) -> String {
    let name = line.and_then(|line| text.lines().nth(line.checked_sub(1)?)?.split_once('='));
    let name = name.map(|(name, _)| name.trim()).filter(|name| !homes_of(name).is_empty());
    name.map_or_else(String::new, |name| format!("{name}: "))
}

/// The sections that have an option of this name. Empty text stands for the top of the file.
fn homes_of(name: &str) -> Vec<&'static str> {
    let has_it = |text: &str| {
        let mistakes = parse_toml::<Config>(&text.replace('?', "nonsense")).mistakes;
        mistakes.into_iter().any(|TomlMistake { kind, .. }| match kind {
            TomlMistakeKind::Unknown { known, .. } => known.iter().any(|known| known == name),
            _ => false,
        })
    };
    SECTIONS.iter().filter(|(_, text)| has_it(text)).map(|(section, _)| *section).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_option_is_known_by_its_sections() {
        for (name, homes) in [
            ("state", &[""][..]),
            ("relays", &["", "[[identity]]"]),
            ("trusted_proxies", &["[dyndns]"]),
            ("allow_private", &["[dyndns]", "[detection]"]),
            ("seed", &["[[identity]]"]),
            ("origin", &["[identity.certificate]"]),
            ("nonsense", &[]),
        ] {
            assert_eq!(homes_of(name), homes, "{name}");
        }
    }

    #[test]
    fn of_a_line_only_the_name_of_an_option_is_repeated() {
        let text = "seed = 1\nhunter2 = 1\n  force = 'x'\n";
        assert_eq!([1, 2, 3, 9].map(|line| option(Some(line), text)), ["seed: ", "", "force: ", ""]);
    }
}
