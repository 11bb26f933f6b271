//! The input is the address of a shared Redis, as it stands in a configuration.

use pkdns::config::{RedisUrl, RedisUrlError};

/// Stands for a password, with what is around it.
const HIDDEN: &str = ":***@";

/// Panics where the module does, or where it breaks a promise.
pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(url) = text.parse::<RedisUrl>() else { return };
    let shown = url.to_string();
    let again = shown.parse::<RedisUrl>();
    // A path may hold anything.
    match shown.contains(HIDDEN) && !shown.starts_with("unix:///") {
        // What was printed is no configuration.
        true => assert_eq!(again, Err(RedisUrlError::Hidden), "{shown}"),
        false => assert_eq!(again.as_ref(), Ok(&url), "{shown}"),
    }
    // The rest of the address with a login that is known.
    let Some((scheme, rest)) = text.trim().split_once("://") else { return };
    let host =
        if scheme.eq_ignore_ascii_case("unix") { rest } else { rest.rsplit('@').next().unwrap_or(rest) };
    let with_login = format!("{scheme}://somebody:%50ASSWORD@{host}").parse::<RedisUrl>();
    let Ok(with_login) = with_login else { return };
    assert!(with_login.to_string().contains(HIDDEN), "{with_login}");
    for shown in [with_login.to_string(), format!("{with_login:?}")] {
        assert!(!shown.contains("PASSWORD"), "{shown}");
    }
}
