//! Names as a zone file has them.

use domain::base::name::ToName;

/// A name in full. The `domain` crate leaves characters as they are that mean something else in a zone file.
pub fn escaped_name(name: &impl ToName) -> String {
    escaped_labels(name.iter_labels().filter(|label| !label.is_root()).map(|label| label.as_slice()))
}

/// As [`escaped_name`], of the labels of any name, without the root.
pub fn escaped_labels<'a>(labels: impl Iterator<Item = &'a [u8]>) -> String {
    let mut text = String::new();
    for label in labels {
        for &byte in label {
            match byte {
                // Alone, it would stand for the origin.
                b'@' if label.len() > 1 => text.push('@'),
                b'.' | b'\\' | b'"' | b';' | b'(' | b')' | b'@' | b'$' => {
                    text.extend(['\\', char::from(byte)])
                }
                b'!'..=b'~' => text.push(char::from(byte)),
                _ => text.push_str(&format!("\\{byte:03}")),
            }
        }
        text.push('.');
    }
    if text.is_empty() { ".".to_string() } else { text }
}
