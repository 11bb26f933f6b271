//! Texts that anybody may have written, in pages of HTML. Pure.

/// A text as it may stand in an element or in an attribute with double quotes: no markup, and nothing that hides, reorders or
/// ends what stands around it.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            _ if character.is_control() || is_invisible(character) => escaped.push('\u{fffd}'),
            _ => escaped.push(character),
        }
    }
    escaped
}

/// Characters that have no shape of their own, or change the direction of others (UAX 9, "Trojan source").
fn is_invisible(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_character_ends_what_it_stands_in_or_hides_anything() {
        for character in (0..=0x10_ffff_u32).filter_map(char::from_u32) {
            let escaped = escape(&character.to_string());
            let is_plain = !escaped.contains(['<', '>', '"', '\'']) && !escaped.contains(char::is_control);
            assert!(is_plain && !escaped.contains(is_invisible), "{character:?}: {escaped:?}");
        }
        assert_eq!(escape("a & b\u{202e}</p>"), "a &amp; b\u{fffd}&lt;/p&gt;");
        assert_eq!(escape("Bücher"), "Bücher");
    }
}
