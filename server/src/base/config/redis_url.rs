//! The address of a shared Redis as people write it.

use std::{fmt, path::PathBuf, str::FromStr};

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

use super::relay_url::{is_host, split_port};

const REDIS_PORT: u16 = 6379;

/// What is written in the place of a password.
const HIDDEN: &str = "***";

/// Nodes of a cluster that are asked first; the others are learned from them.
const MAX_HOSTS: usize = 16;

/// Where a Redis, or a cluster of them, is found and how to log in. Written with `***` for the password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisUrl {
    /// At least one; several in a cluster only.
    pub(crate) addresses: Vec<RedisAddress>,
    /// Whether each node holds a part of the keys.
    pub(crate) is_cluster: bool,
    pub(crate) is_tls: bool,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Password>,
    pub(crate) database: u16,
}

/// Where one Redis listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RedisAddress {
    /// A name or an IP address, IPv6 without brackets, and a port.
    Tcp(String, u16),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// A password, which is not printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Password(String);

/// Why a text is not the address of a Redis. Says nothing of the text, in which a password may stand anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RedisUrlError {
    /// It has another scheme, or none.
    #[error(
        "write redis://HOST, rediss://HOST (TLS), redis-cluster://HOST,HOST, rediss-cluster://HOST,HOST or unix:///PATH"
    )]
    Scheme,
    /// A user without a password, or escapes that are none.
    #[error(
        "write the login as :PASSWORD@ or USER:PASSWORD@, with special characters percent-encoded, such as %40 for @"
    )]
    Login,
    /// It was printed by `--print-config`.
    #[error("`***` is how --print-config hides the password; write the password itself")]
    Hidden,
    /// The host is neither a name nor an address.
    #[error("the host is not a name or an IP address; write an IPv6 address in brackets")]
    Host,
    /// The port is not a number that fits.
    #[error("the port must be a number from 1 to 65535")]
    Port,
    /// What stands behind the hosts is not a database.
    #[error(
        "only the number of a database may follow the host, as in redis://HOST/1, and nothing at all in a cluster"
    )]
    Database,
    /// More hosts than are asked.
    #[error("names more than {MAX_HOSTS} hosts; the first few of a cluster know the others")]
    Hosts,
    /// The path of the socket does not begin at the root.
    #[error("the path of the socket must be absolute, as in unix:///run/redis/redis.sock")]
    Path,
}

impl RedisUrl {
    fn scheme(&self) -> &'static str {
        match (&self.addresses.first(), self.is_cluster, self.is_tls) {
            (Some(RedisAddress::Unix(_)), ..) => "unix",
            (_, false, false) => "redis",
            (_, false, true) => "rediss",
            (_, true, false) => "redis-cluster",
            (_, true, true) => "rediss-cluster",
        }
    }
}

impl Password {
    /// For the server that it belongs to, and nobody else.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl FromStr for RedisUrl {
    type Err = RedisUrlError;

    fn from_str(text: &str) -> Result<Self, RedisUrlError> {
        let (scheme, rest) = text.trim().split_once("://").ok_or(RedisUrlError::Scheme)?;
        let (is_cluster, is_tls) = match scheme.to_ascii_lowercase().as_str() {
            "redis" => (false, false),
            "rediss" => (false, true),
            "redis-cluster" => (true, false),
            "rediss-cluster" => (true, true),
            "unix" => return parse_socket(rest),
            _ => return Err(RedisUrlError::Scheme),
        };
        // A password may hold any character, a host no `@`.
        let (login, rest) = rest.rsplit_once('@').map_or((None, rest), |(login, rest)| (Some(login), rest));
        let (user, password) = parse_login(login)?;
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let database = match path {
            "" => 0,
            _ if is_cluster => return Err(RedisUrlError::Database),
            number => number.parse().map_err(|_| RedisUrlError::Database)?,
        };
        let separator = |character| is_cluster && character == ',';
        let addresses = hosts.split(separator).map(parse_host).collect::<Result<Vec<_>, _>>()?;
        if addresses.len() > MAX_HOSTS {
            return Err(RedisUrlError::Hosts);
        }
        Ok(Self { addresses, is_cluster, is_tls, user, password, database })
    }
}

fn parse_socket(rest: &str) -> Result<RedisUrl, RedisUrlError> {
    let (login, path) = match rest.rsplit_once("@/") {
        Some((login, _)) if !rest.starts_with('/') => (Some(login), rest.get(login.len() + 1..)),
        _ => (None, Some(rest)),
    };
    let (user, password) = parse_login(login)?;
    let path = path.filter(|path| path.starts_with('/') && path.len() > 1).ok_or(RedisUrlError::Path)?;
    let addresses = vec![RedisAddress::Unix(path.into())];
    Ok(RedisUrl { addresses, is_cluster: false, is_tls: false, user, password, database: 0 })
}

fn parse_login(login: Option<&str>) -> Result<(Option<String>, Option<Password>), RedisUrlError> {
    let Some(login) = login else { return Ok((None, None)) };
    let (user, password) = login.split_once(':').ok_or(RedisUrlError::Login)?;
    let decode = |text| percent_decode_str(text).decode_utf8().map_err(|_| RedisUrlError::Login);
    let (user, password) = (decode(user)?, decode(password)?);
    match &*password {
        "" => Err(RedisUrlError::Login),
        HIDDEN => Err(RedisUrlError::Hidden),
        password => {
            Ok((Some(user.into_owned()).filter(|user| !user.is_empty()), Some(Password(password.into()))))
        }
    }
}

fn parse_host(authority: &str) -> Result<RedisAddress, RedisUrlError> {
    let (host, port) = split_port(authority).ok_or(RedisUrlError::Port)?;
    if !is_host(host) {
        return Err(RedisUrlError::Host);
    }
    let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    Ok(RedisAddress::Tcp(host, port.unwrap_or(REDIS_PORT)))
}

impl fmt::Display for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme())?;
        if self.password.is_some() {
            let user = self.user.as_deref().unwrap_or_default();
            write!(f, "{}:{HIDDEN}@", utf8_percent_encode(user, NON_ALPHANUMERIC))?;
        }
        for (at, address) in self.addresses.iter().enumerate() {
            write!(f, "{}{address}", if at == 0 { "" } else { "," })?;
        }
        if self.database != 0 {
            write!(f, "/{}", self.database)?;
        }
        Ok(())
    }
}

impl Serialize for RedisUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Reads an address; an empty text stands for none.
pub(super) fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<RedisUrl>, D::Error> {
    let text = String::deserialize(deserializer)?;
    Some(text.trim()).filter(|text| !text.is_empty()).map(str::parse).transpose().map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn url(text: &str) -> RedisUrl {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn an_address_is_a_scheme_a_login_hosts_and_a_database() {
        for (text, expected) in [
            ("redis://127.0.0.1", "redis://127.0.0.1:6379"),
            (" REDIS://Cache.Example:6380/0 ", "redis://cache.example:6380"),
            ("redis://my_redis/3", "redis://my_redis:6379/3"),
            ("rediss://[2001:db8::1]", "rediss://[2001:db8::1]:6379"),
            ("redis-cluster://10.0.0.1,10.0.0.2:7000", "redis-cluster://10.0.0.1:6379,10.0.0.2:7000"),
            ("rediss-cluster://[::1]:7000/", "rediss-cluster://[::1]:7000"),
            ("unix:///run/redis/redis.sock", "unix:///run/redis/redis.sock"),
            ("unix:///run/a@/b", "unix:///run/a@/b"),
        ] {
            assert_eq!(url(text).to_string(), expected);
            assert_eq!(url(expected), url(text));
        }
    }

    #[test]
    fn a_login_is_read_and_never_printed() {
        for (text, user, password, printed) in [
            ("redis://:secret@host", None, "secret", "redis://:***@host:6379"),
            ("redis://me:se%40cr%3Aet@host/1", Some("me"), "se@cr:et", "redis://me:***@host:6379/1"),
            ("redis://m%40e:s/e?c@r#et@host", Some("m@e"), "s/e?c@r#et", "redis://m%40e:***@host:6379"),
            ("redis-cluster://:secret@a,b", None, "secret", "redis-cluster://:***@a:6379,b:6379"),
            ("unix://me:secret@/run/redis.sock", Some("me"), "secret", "unix://me:***@/run/redis.sock"),
        ] {
            let url = url(text);
            assert_eq!(url.user.as_deref(), user, "{text}");
            assert_eq!(url.password.as_ref().map(Password::expose), Some(password), "{text}");
            assert_eq!(url.to_string(), printed);
            assert!(!format!("{url:?}").contains(password), "{url:?}");
            assert_eq!(printed.parse::<RedisUrl>(), Err(RedisUrlError::Hidden));
        }
    }

    #[test]
    fn what_is_no_address_says_what_to_write_and_nothing_of_the_text() {
        let many = format!("redis-cluster://{}", vec!["host"; 17].join(","));
        for (text, expected) in [
            ("127.0.0.1:6379", RedisUrlError::Scheme),
            ("http://:secret@host", RedisUrlError::Scheme),
            ("redis:/secret@host", RedisUrlError::Scheme),
            ("redis://secret@host", RedisUrlError::Login),
            ("redis://secret:@host", RedisUrlError::Login),
            ("redis://:%ff@host", RedisUrlError::Login),
            ("redis://", RedisUrlError::Host),
            ("redis://:secret", RedisUrlError::Port),
            ("redis://ho st", RedisUrlError::Host),
            ("redis://::1", RedisUrlError::Host),
            ("redis://host,secret", RedisUrlError::Host),
            ("redis://host:0", RedisUrlError::Port),
            ("redis://host:secret", RedisUrlError::Port),
            ("redis://host/secret", RedisUrlError::Database),
            ("redis://host/1?password=secret", RedisUrlError::Database),
            ("redis://host/65536", RedisUrlError::Database),
            ("redis-cluster://host/1", RedisUrlError::Database),
            ("redis-cluster://host,", RedisUrlError::Host),
            (&many, RedisUrlError::Hosts),
            ("unix://run/secret", RedisUrlError::Path),
            ("unix://", RedisUrlError::Path),
        ] {
            let error = text.parse::<RedisUrl>().expect_err(text);
            assert_eq!(error, expected, "{text}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_so_that_it_can_be_read_again(
            text in "(redis|rediss-cluster|unix)://(\\PC{0,4}:\\PC{1,4}@|)([a-z.]{0,9}|\\[::1\\])(:[0-9]{0,5}|)(/\\PC{0,4}|)"
        ) {
            if let Ok(url) = text.parse::<RedisUrl>() {
                let expected = if url.password.is_some() { Err(RedisUrlError::Hidden) } else { Ok(url.clone()) };
                prop_assert_eq!(url.to_string().parse(), expected);
            }
        }
    }
}
