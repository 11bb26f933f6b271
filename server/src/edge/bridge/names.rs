//! Which names are sites of the bridge. Pure.

use hickory_proto::rr::Name;

use crate::{
    base::message::absolute_name,
    resolver::name::{Route, Suffixes},
};

/// A name below a key and a suffix, or of the key itself with the suffix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteName {
    /// Absolute.
    pub name: Name,
    /// The same in lower case and without the final dot, as clients write it.
    pub text: String,
    /// The key's bytes, which all names of one site share.
    pub key: [u8; 32],
}

impl SiteName {
    /// What a client asks for as `host`, without a port. `None` where that is no name of a key behind one of `suffixes`: for no
    /// other is there a certificate.
    pub fn read(host: &str, suffixes: &Suffixes) -> Option<Self> {
        let text = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if text.is_empty() || !text.bytes().all(is_plain) {
            return None;
        }
        let name = absolute_name(&text)?;
        let Route::PublicKey(found) = suffixes.classify(&name) else { return None };
        let has_suffix = found.apex.iter().len() > 1;
        has_suffix.then(|| Self { name, text, key: *found.key.as_bytes() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "yqrx81zchh6aotjj85s96gdqbmsoprxr3ks6ks6y8eccpj8b7oiy";

    #[test]
    fn names_behind_a_suffix_are_sites_and_no_others() {
        let suffixes = Suffixes::new(["key", "pk.example.net"]);
        let read = |host: &str| SiteName::read(host, &suffixes).map(|site| site.text);
        for host in [format!("{KEY}.key"), format!("www.{KEY}.key"), format!("a_b.{KEY}.pk.example.net")] {
            assert_eq!(read(&host), Some(host.clone()));
            assert_eq!(read(&format!("{}.", host.to_uppercase())), Some(host));
        }
        for host in [
            "",
            ".",
            "example.com",
            "key",
            KEY,
            &format!("www.{KEY}"),
            &format!("{KEY}.com"),
            &format!("{KEY}.key:443"),
        ] {
            assert_eq!(read(host), None, "{host}");
        }
        for host in ["a b", "a\\.b", "a\u{e4}", "*", "<b>", "..a"] {
            assert_eq!(read(&format!("{host}.{KEY}.key")), None, "{host}");
        }
    }

    #[test]
    fn all_names_of_a_site_have_its_key() {
        let suffixes = Suffixes::new(["key"]);
        let read = |host: String| SiteName::read(&host, &suffixes).unwrap();
        let (apex, below) = (read(format!("{KEY}.key")), read(format!("a.b.{KEY}.KEY")));
        assert_eq!(apex.key, below.key);
        assert_eq!(below.name.to_ascii(), format!("a.b.{KEY}.key."));
    }
}
