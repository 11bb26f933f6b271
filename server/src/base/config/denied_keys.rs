//! `[denied_keys]`: lists of keys that are not answered for.

use std::{fmt, ops::RangeInclusive, path::PathBuf, str::FromStr};

use http::Uri;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{
    Config,
    address::parse_list,
    check::{Faults, is_key_label},
    relay_url::{is_host, split_port},
};

/// Each may take 16 MB of memory, and is looked through for each question about a key.
const MAX_LISTS: usize = 16;

/// How often a list is fetched, in seconds: whoever serves it has many to serve, and a key that was taken off it should not
/// have to wait for longer than a week.
const REFRESH: RangeInclusive<u64> = 60..=7 * 86_400;

/// Lists of keys that are not answered for, by the reason that is given.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeniedKeys {
    /// By the operator's own decision.
    #[serde(deserialize_with = "lists")]
    pub blocked: Vec<DenyList>,
    /// Because somebody else demands it, as a court does.
    #[serde(deserialize_with = "lists")]
    pub censored: Vec<DenyList>,
    /// Because the clients asked for it.
    #[serde(deserialize_with = "lists")]
    pub filtered: Vec<DenyList>,
    /// Seconds between two looks at lists on other servers.
    pub refresh_seconds: u64,
}

/// Where a list is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum DenyList {
    /// On this machine.
    File(PathBuf),
    /// On a server that speaks HTTPS.
    Url(ListUrl),
}

/// The address of a list.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ListUrl(Uri);

impl ListUrl {
    /// As a request takes it.
    pub fn uri(&self) -> &Uri {
        &self.0
    }
}

impl Default for DeniedKeys {
    fn default() -> Self {
        Self { blocked: Vec::new(), censored: Vec::new(), filtered: Vec::new(), refresh_seconds: 3600 }
    }
}

impl DeniedKeys {
    /// All lists, with the options that name them.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &DenyList)> {
        let Self { blocked, censored, filtered, .. } = self;
        let named = [
            ("denied_keys.blocked", blocked),
            ("denied_keys.censored", censored),
            ("denied_keys.filtered", filtered),
        ];
        named.into_iter().flat_map(|(name, lists)| lists.iter().map(move |list| (name, list)))
    }
}

impl FromStr for DenyList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() {
            return Err("\"\" is neither a file nor an address: leave the list out".into());
        }
        match text.split_once("://") {
            None => Ok(Self::File(text.into())),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => read_url(rest).map(Self::Url),
            Some(("http" | "HTTP", _)) => Err(format!(
                "`{text}`: anybody on the way could change a list that comes over plain HTTP; write https://, or fetch it \
                 to a file"
            )),
            Some(_) => Err(format!("`{text}`: a list is the path of a file or begins with https://")),
        }
    }
}

/// What follows `https://`.
fn read_url(rest: &str) -> Result<ListUrl, String> {
    let text = format!("https://{rest}");
    let (authority, _) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if authority.contains('@') || rest.contains('#') {
        return Err(format!("`{text}`: the address of a list has no user and no `#`"));
    }
    let (host, _) = split_port(authority)
        .ok_or_else(|| format!("`{text}`: the port must be a number from 1 to 65535"))?;
    let host = host.to_ascii_lowercase();
    if !is_host(&host) {
        return Err(format!("`{text}`: the host is not a name or an IP address"));
    }
    if host.split('.').any(is_key_label) {
        return Err(format!("`{text}`: a list cannot be at a key, which it may deny"));
    }
    text.parse().map(ListUrl).map_err(|_| format!("`{text}` is not an address: write https://HOST/PATH"))
}

impl fmt::Display for DenyList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Url(url) => url.fmt(f),
        }
    }
}

impl fmt::Display for ListUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for DenyList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl Serialize for DenyList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn lists<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<DenyList>, D::Error> {
    parse_list(deserializer, "a list or several", str::parse)
}

impl Config {
    pub(super) fn check_denied_keys(&self, faults: &mut Faults) {
        let denied = &self.denied_keys;
        let all: Vec<_> = denied.all().collect();
        if let Some((name, _)) = all.get(MAX_LISTS) {
            faults.add(name, format!("names more than {MAX_LISTS} lists, with the others; merge some"));
        }
        for (at, (name, list)) in all.iter().enumerate() {
            if all.iter().take(at).any(|(_, other)| other == list) {
                faults.add(name, format!("names {list} twice; one reason is enough"));
            }
        }
        if !REFRESH.contains(&denied.refresh_seconds) {
            let (least, most) = REFRESH.into_inner();
            faults.add("denied_keys.refresh_seconds", format!("must be {least} to {most}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::base::config::ConfigFile;

    #[test]
    fn a_list_is_a_file_or_an_address_that_nobody_on_the_way_can_change() {
        for (text, expected) in [
            ("/etc/pkdns/denied", "/etc/pkdns/denied"),
            ("denied keys", "denied keys"),
            ("https://lists.example/keys", "https://lists.example/keys"),
            ("HTTPS://Lists.example:8443/keys?v=1", "https://lists.example:8443/keys?v=1"),
            ("https://[::1]/keys", "https://[::1]/keys"),
            ("https://lists.example", "https://lists.example/"),
        ] {
            let list: DenyList = text.parse().expect(text);
            assert_eq!(list.to_string().to_ascii_lowercase(), expected, "{text}");
            assert_eq!(list.to_string().parse(), Ok(list.clone()));
            assert_eq!(matches!(list, DenyList::Url(_)), expected.starts_with("https"), "{text}");
        }
        let key = "8pinxxgqs41n4aididenw5apqp1urfmzdztr8jt4abrkdn435ewo";
        for (text, part) in [
            ("", "neither a file"),
            ("http://lists.example/keys", "plain HTTP"),
            ("ftp://lists.example/keys", "begins with https://"),
            ("https://user@lists.example/", "no user"),
            ("https://lists.example/#a", "no user and no `#`"),
            ("https://lists.example:0/", "the port"),
            ("https:///keys", "the host"),
            ("https://a b/", "the host"),
            ("https://lists.example/a b", "is not an address"),
            (&format!("https://{key}.pk.example.net/"), "at a key"),
        ] {
            let error = text.parse::<DenyList>().expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn what_cannot_be_a_set_of_lists_is_a_mistake_with_its_line() {
        let many: Vec<_> = (0..17).map(|number| format!("'/{number}'")).collect();
        for (text, begin) in [
            ("blocked = 'a'\nfiltered = ['b', 'a']", "pkdns.toml:3: denied_keys.filtered: names a twice"),
            ("refresh_seconds = 59", "pkdns.toml:2: denied_keys.refresh_seconds: must be 60 to 604800"),
            (&format!("censored = [{}]", many.join(", ")), "pkdns.toml:2: denied_keys.censored: names more"),
            ("blocked = 'http://lists.example'", "pkdns.toml:2: denied_keys.blocked: `http://lists.example`"),
        ] {
            let text = format!("[denied_keys]\n{text}");
            let file = ConfigFile::parse(Path::new("pkdns.toml"), &text);
            let error = file.and_then(ConfigFile::check).expect_err(&text).to_string();
            assert!(error.starts_with(begin), "{error}");
        }
    }
}
