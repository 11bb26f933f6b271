//! Whether a request is for the site that its connection was opened for. Pure.

use super::key_of;

/// Whether `host`, with its port or without, is a name of the site on a connection that asked for `name`.
///
/// Everything below the key of `identity` is, whatever suffix it has. A name below another key that leads here by an alias is the
/// one that the connection asked for: a bridge asks without the suffix, with which the browser names the host.
pub(super) fn is_of_site(host: &str, name: Option<&str>, identity: &str) -> bool {
    let host = match host.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => host,
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    let below = below_key(host);
    let is_below = below.as_ref().is_some_and(|(_, key)| key == identity);
    is_below
        || name.is_some_and(|name| {
            host.eq_ignore_ascii_case(name) || below.is_some() && below == below_key(name)
        })
}

/// The labels before the key, and the key.
fn below_key(name: &str) -> Option<(Vec<String>, String)> {
    let mut labels: Vec<&str> = name.split('.').collect();
    while let Some(label) = labels.pop() {
        if let Some(key) = key_of(label) {
            return Some((labels.iter().map(|label| label.to_ascii_lowercase()).collect(), key));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret_key::SecretKey;

    #[test]
    fn a_host_is_below_the_key_of_the_site_or_is_what_the_connection_asked_for() {
        let key = |seed| SecretKey::from_seed(&[seed; 32]).public_key().to_z32();
        let (own, other) = (key(1), key(2));
        let alias = format!("shop.{other}");
        for (host, name, expected) in [
            (format!("{own}.key"), Some(&own), true),
            (format!("{own}.key:8443"), Some(&own), true),
            (own.to_ascii_uppercase() + ".KEY.", Some(&own), true),
            (format!("www.{own}"), Some(&own), true),
            (format!("www.{own}.key"), None, true),
            (format!("{alias}.key"), Some(&alias), true),
            (format!("SHOP.{other}"), Some(&alias), true),
            (format!("other.{other}.key"), Some(&alias), false),
            (format!("{other}.key"), Some(&own), false),
            (format!("{other}.key"), None, false),
            ("evil.example".to_string(), Some(&own), false),
            ("127.0.0.1".to_string(), None, false),
            ("[::1]:443".to_string(), Some(&own), false),
            (String::new(), Some(&own), false),
        ] {
            assert_eq!(is_of_site(&host, name.map(String::as_str), &own), expected, "{host} {name:?}");
        }
    }
}
