//! `[operator]`: who runs this server, and where to write to about it.

use http::Uri;
use serde::{Deserialize, Serialize};

use super::{Config, address, check::Faults};

/// Longest name and address, in bytes: they stand on a page.
const MAX_LENGTH: usize = 200;

/// More ways to write to one operator nobody reads.
const MAX_CONTACTS: usize = 4;

/// Who runs this server. Nothing is said of it without a contact.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Operator {
    /// What the operator is called.
    pub name: String,
    /// Where to write to, the best first: addresses that begin with `mailto:`, `https:` or `tel:`.
    #[serde(deserialize_with = "address::texts")]
    pub contact: Vec<String>,
    /// The page with the operator's rules.
    pub policy: String,
}

impl Config {
    pub(super) fn check_operator(&self, faults: &mut Faults) {
        let Operator { name, contact, policy } = &self.operator;
        faults.add_if(
            name.len() > MAX_LENGTH || name.contains(char::is_control),
            "operator.name",
            "is one line of at most 200 bytes",
        );
        faults.add_if(contact.len() > MAX_CONTACTS, "operator.contact", "names more than 4; list the best");
        for address in contact {
            if let Some(advice) = contact_fault(address) {
                faults.add("operator.contact", advice);
            }
        }
        let is_page = policy.is_empty() || policy.starts_with("https://") && is_address(policy);
        faults.add_if(
            !is_page,
            "operator.policy",
            "must be the address of a page, as in \"https://example.net/policy\"",
        );
        faults.add_with_if(
            contact.is_empty() && !(name.is_empty() && policy.is_empty()),
            "operator.contact",
            &["operator.name", "operator.policy"],
            "is missing: without it /abuse and security.txt are not served; write \"mailto:abuse@example.net\"",
        );
    }
}

/// RFC 9116 section 2.5.3 wants a URI.
fn contact_fault(text: &str) -> Option<String> {
    if let Some(mailbox) = text.strip_prefix("mailto:") {
        let is_mailbox = mailbox.split_once('@').is_some_and(|(user, host)| {
            !user.is_empty() && host.contains('.') && !host.contains('@') && !host.starts_with('.')
        });
        return (!is_mailbox || !is_address(text))
            .then(|| format!("\"{text}\" has no address such as abuse@example.net behind mailto:"));
    }
    if text.starts_with("https://") || text.starts_with("tel:") {
        return (!is_address(text)).then(|| format!("\"{text}\" is not an address"));
    }
    match text.contains('@') && !text.contains(':') {
        true => Some(format!("write \"mailto:{text}\", as security.txt has it (RFC 9116)")),
        false => Some(format!(
            "\"{text}\" does not begin with mailto:, https:// or tel:, as security.txt wants it (RFC 9116)"
        )),
    }
}

/// Characters of a URI (RFC 3986), without those that end a text in HTML.
fn is_address(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"\"'<>\\^`{|}".contains(&byte);
    let is_sound = text.len() <= MAX_LENGTH && text.bytes().all(is_plain);
    is_sound && (!text.starts_with("https://") || text.parse::<Uri>().is_ok())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::base::config::ConfigFile;

    fn mistakes(text: &str) -> String {
        let file = ConfigFile::parse(Path::new("pkdns.toml"), &format!("[operator]\n{text}"));
        file.and_then(ConfigFile::check).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_contact_is_an_address_that_security_txt_takes() {
        for sound in [
            "contact = 'mailto:abuse@example.net'",
            "contact = ['https://example.net/report?a=b&c=d', 'tel:+1-201-555-0123']\npolicy = 'https://example.net/p'",
            "contact = 'mailto:abuse+pk@example.net'\nname = 'Bücher & Co'",
            "name = ''",
        ] {
            assert_eq!(mistakes(sound), "", "{sound}");
        }
        for (text, part) in [
            ("contact = 'abuse@example.net'", "operator.contact: write \"mailto:abuse@example.net\""),
            ("contact = 'http://example.net'", "does not begin with"),
            ("contact = 'mailto:abuse'", "has no address"),
            ("contact = 'mailto:a@b@example.net'", "has no address"),
            ("contact = 'mailto:abuse@example.net\">'", "has no address"),
            ("contact = 'https://example.net/a b'", "is not an address"),
            ("contact = 'https://example.net/\"><script>'", "is not an address"),
            ("name = 'Example'", "operator.contact: is missing"),
            ("policy = 'https://example.net/p'", "operator.contact: is missing"),
            (
                "contact = 'tel:+1'\npolicy = 'example.net/p'",
                "operator.policy: must be the address of a page",
            ),
            ("contact = 'tel:+1'\nname = \"a\\nb\"", "operator.name: is one line"),
            ("contact = ['tel:1', 'tel:2', 'tel:3', 'tel:4', 'tel:5']", "names more than 4"),
        ] {
            assert!(mistakes(text).contains(part), "{text}: {}", mistakes(text));
        }
    }
}
