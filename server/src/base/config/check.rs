//! What types alone cannot say about a configuration: checks between values.

use std::{
    fmt,
    net::{Ipv6Addr, SocketAddr},
    ops::RangeInclusive,
};

use super::{Cache, Config, RateLimit, UpstreamAddress, is_own_address};
use crate::base::access::Allowed;

/// The greatest time to live of DNS (RFC 2181 section 8), in seconds. Also keeps sums with a clock's time in range.
const MAX_SECONDS: u64 = 0x7fff_ffff;

/// The caches set aside room for this many entries when they are made; more would not fit any machine.
const MAX_ENTRIES: usize = 10_000_000;

/// `<key>.` before a suffix takes 53 bytes of the 255 that a name may have; this leaves room for labels before it.
const MAX_SUFFIX_LENGTH: usize = 190;

/// Nodes of the DHT that may be known. Fewer would make searches long; more would take longer to ask than they live.
pub(crate) const NODES: RangeInclusive<usize> = 256..=1 << 20;

/// As many stores as fit into an hour, 16 of some seconds each at a time.
const MAX_KEEP_ALIVE: u32 = 50_000;

/// All relays are asked at once.
const MAX_RELAYS: usize = 8;

pub(super) const BURST_OF_ZERO: &str =
    "is 0, so every request would be refused; write at least 1, or set the rate to 0 to switch it off";

const MAX_LABEL_LENGTH: usize = 63;
const KEY_LENGTH: usize = 52;
const KEY_ALPHABET: &[u8] = b"ybndrfg8ejkmcpqxot1uwisza345h769";

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The option, as `section.name`.
    pub key: &'static str,
    /// Other options without whose values it would be none.
    pub others: &'static [&'static str],
    /// What is wrong and what to write instead.
    pub advice: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.advice)
    }
}

impl Fault {
    /// All options that have a part in it.
    pub(super) fn keys(&self) -> impl Iterator<Item = &'static str> {
        self.others.iter().copied().chain([self.key])
    }
}

impl Config {
    /// Everything that keeps this configuration from being served. Empty when it is sound.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Faults(Vec::new());
        self.check_addresses(&mut faults);
        for suffix in &self.names.suffixes {
            if let Some(advice) = suffix_fault(suffix) {
                faults.add("names.suffixes", advice);
            }
        }
        self.check_origins(&mut faults);
        self.check_local(&mut faults);
        self.check_dht(&mut faults);
        check_cache(&self.cache, &mut faults);
        check_rate_limit(&self.rate_limit, &mut faults);
        faults.add_if(
            self.access.allow.is_empty(),
            "access.allow",
            "is empty, so nobody would be served; list ranges, or remove it to serve private networks",
        );
        for (key, text) in [("identity.version", &self.identity.version), ("identity.id", &self.identity.id)]
        {
            faults.add_if(
                text.len() > 255,
                key,
                "must not be longer than 255 bytes, as much as a TXT string holds",
            );
        }
        faults.add_if(
            self.delegation.port == 0,
            "delegation.port",
            "must not be 0; write 53, where name servers listen",
        );
        self.check_denied_keys(&mut faults);
        self.check_operator(&mut faults);
        self.check_bridge(&mut faults);
        self.check_certificates(&mut faults);
        self.check_relay(&mut faults);
        self.check_logs(&mut faults);
        faults.0.extend(self.memory.fault());
        faults.0.extend(self.status.fault());
        faults.0
    }

    /// What to say to whoever answers everybody and has left the quotas as they were: strangers aim replies at others.
    pub fn open_resolver(&self) -> Option<String> {
        let limit = &self.rate_limit;
        let is_open = self
            .access
            .allow
            .iter()
            .any(|allowed| matches!(allowed, Allowed::Range(range) if range.prefix_len() == 0));
        let (option, served) = match is_open {
            true => ("access.allow", "is served"),
            false => ("origin", "is answered about origins"),
        };
        let is_generous = match limit.requests_per_minute {
            0 => true,
            rate => rate >= RateLimit::default().requests_per_minute,
        };
        let each = match limit.requests_per_minute {
            0 => "as many queries as it likes".to_string(),
            rate => format!("{rate} queries a minute"),
        };
        let advice = match is_open {
            true => {
                "open resolvers are found and abused within hours, so lower rate_limit.requests_per_minute and burst_size, or \
                 list your own networks"
            }
            false => {
                "over UDP an address may be forged, and answers go there, so lower rate_limit.requests_per_minute and \
                 burst_size, to 1200 and 600 as on a public server"
            }
        };
        ((is_open || !self.origin.is_empty()) && is_generous)
            .then(|| format!("{option}: everybody {served}, each with {each}; {advice}"))
    }

    fn check_addresses(&self, faults: &mut Faults) {
        faults.add_if(
            self.listen.is_empty(),
            "listen",
            "is empty, so nothing would be served; write [\"127.0.0.1:53\"]",
        );
        faults.add_if(
            self.fallback_dns.is_empty(),
            "fallback_dns",
            "is empty, so only keys would resolve; write an address such as \"8.8.8.8:53\"",
        );
        self.check_upstreams("fallback_dns", &self.fallback_dns, faults);
        self.check_forward(faults);
    }

    pub(super) fn check_upstreams(
        &self,
        key: &'static str,
        upstreams: &[UpstreamAddress],
        faults: &mut Faults,
    ) {
        for upstream in upstreams {
            let address = upstream.socket_address();
            // Addresses of other interfaces are not known here; the server recognises its own questions when they come
            // back.
            let is_own = |own: &&SocketAddr| {
                upstream.plain().is_some_and(|upstream| is_own_address(upstream, &[**own]))
            };
            if address.port() == 0 || address.ip().is_unspecified() || address.ip().is_multicast() {
                faults.add(key, format!("{upstream} cannot be asked; write the resolver's own address"));
            } else if let Some(own) = self.listen.iter().find(is_own) {
                faults.add_with(
                    key,
                    &["listen"],
                    format!("{upstream} is this server itself (it listens on {own}); write another resolver"),
                );
            }
        }
    }

    fn check_dht(&self, faults: &mut Faults) {
        faults.add_with_if(
            self.dht.enabled && self.dht.bootstrap.is_empty(),
            "dht.bootstrap",
            &["dht.enabled"],
            "is empty, so the DHT could never be joined; list nodes as HOST:PORT, or write enabled = false",
        );
        faults.add_with_if(
            self.dht.enabled && self.dht.max_datagrams_per_second == 0,
            "dht.max_datagrams_per_second",
            &["dht.enabled"],
            "is 0, so nothing could ever be asked; write enabled = false to switch the DHT off",
        );
        if !NODES.contains(&self.dht.max_nodes) {
            let (least, most) = NODES.into_inner();
            faults.add("dht.max_nodes", format!("must be {least} to {most}"));
        }
        if self.dht.keep_alive_per_hour > MAX_KEEP_ALIVE {
            faults.add("dht.keep_alive_per_hour", format!("must not be over {MAX_KEEP_ALIVE}"));
        }
        if self.dht.relays.len() > MAX_RELAYS {
            faults.add(
                "dht.relays",
                format!("names more than {MAX_RELAYS}, each of which is asked for every key"),
            );
        }
        for node in &self.dht.bootstrap {
            if let Some(advice) = bootstrap_fault(node) {
                faults.add("dht.bootstrap", advice);
            }
        }
    }
}

pub(super) struct Faults(Vec<Fault>);

impl Faults {
    pub(super) fn add(&mut self, key: &'static str, advice: impl Into<String>) {
        self.add_with(key, &[], advice);
    }

    /// A fault that `others` have a part in.
    pub(super) fn add_with(
        &mut self,
        key: &'static str,
        others: &'static [&'static str],
        advice: impl Into<String>,
    ) {
        self.0.push(Fault { key, others, advice: advice.into() });
    }

    pub(super) fn add_if(&mut self, wrong: bool, key: &'static str, advice: &str) {
        self.add_with_if(wrong, key, &[], advice);
    }

    pub(super) fn add_with_if(
        &mut self,
        wrong: bool,
        key: &'static str,
        others: &'static [&'static str],
        advice: &str,
    ) {
        if wrong {
            self.add_with(key, others, advice);
        }
    }
}

fn check_cache(cache: &Cache, faults: &mut Faults) {
    if !(1..=MAX_ENTRIES).contains(&cache.max_entries) {
        faults.add("cache.max_entries", format!("{} is not from 1 to {MAX_ENTRIES}", cache.max_entries));
    }
    for (key, seconds) in [
        ("cache.ttl_seconds", cache.ttl_seconds),
        ("cache.max_ttl_seconds", cache.max_ttl_seconds),
        ("cache.negative_ttl_seconds", cache.negative_ttl_seconds),
        ("cache.max_stale_seconds", cache.max_stale_seconds),
    ] {
        if seconds > MAX_SECONDS {
            faults.add(key, format!("{seconds} is too long; the longest is {MAX_SECONDS} seconds"));
        }
    }
    if cache.disk_megabytes == 0 {
        let fault = "0 leaves no room for packets; set cache.path = \"\" to keep them in memory only";
        faults.add("cache.disk_megabytes", fault.to_owned());
    }
    if cache.ttl_seconds > cache.max_ttl_seconds {
        faults.add_with(
            "cache.ttl_seconds",
            &["cache.max_ttl_seconds"],
            format!(
                "{} is more than max_ttl_seconds, which is {}; lower the one or raise the other",
                cache.ttl_seconds, cache.max_ttl_seconds
            ),
        );
    }
}

fn check_rate_limit(limit: &RateLimit, faults: &mut Faults) {
    faults.add_with_if(
        limit.requests_per_minute > 0 && limit.burst_size == 0,
        "rate_limit.burst_size",
        &["rate_limit.requests_per_minute"],
        BURST_OF_ZERO,
    );
    faults.add_with_if(
        limit.dht_requests_per_minute > 0 && limit.dht_burst_size == 0,
        "rate_limit.dht_burst_size",
        &["rate_limit.dht_requests_per_minute"],
        BURST_OF_ZERO,
    );
}

pub(super) fn suffix_fault(suffix: &str) -> Option<String> {
    if suffix.is_empty() {
        return Some("\"\" is not a name; keys without a suffix resolve anyway, so remove it".into());
    }
    if let Some(rest) = suffix.strip_prefix('.') {
        return Some(format!("write \"{rest}\", without the dot before it"));
    }
    if suffix.len() > MAX_SUFFIX_LENGTH {
        return Some(format!("\"{suffix}\" is longer than {MAX_SUFFIX_LENGTH} characters"));
    }
    suffix.split('.').find_map(|label| {
        if label.is_empty() {
            Some(format!("\"{suffix}\" has two dots in a row; keep one"))
        } else if label.len() > MAX_LABEL_LENGTH {
            Some(format!("\"{label}\" is longer than the {MAX_LABEL_LENGTH} characters of a label"))
        } else if is_key_label(label) {
            Some(format!("\"{label}\" is a key and cannot be part of a suffix"))
        } else if !label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
            Some(format!(
                "\"{label}\" is not made of letters, digits, - and _; write other alphabets as xn--…"
            ))
        } else {
            None
        }
    })
}

fn bootstrap_fault(node: &str) -> Option<String> {
    let Some((host, port)) = node.rsplit_once(':') else {
        return Some(format!(
            "\"{node}\" has no port; write HOST:PORT, such as \"router.bittorrent.com:6881\""
        ));
    };
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if bracketed.is_none() && host.contains(':') {
        return Some(format!("\"{node}\" is an IPv6 address without brackets; write [ADDRESS]:PORT"));
    }
    if bracketed.is_some_and(|address| address.parse::<Ipv6Addr>().is_err()) {
        return Some(format!("\"{node}\" has no IPv6 address in its brackets; write [ADDRESS]:PORT"));
    }
    if bracketed.is_none()
        && (host.is_empty() || host.contains(|c: char| c.is_whitespace() || "/@[]".contains(c)))
    {
        return Some(format!("\"{node}\" has no host before the port; write HOST:PORT"));
    }
    match port.parse::<u16>() {
        Ok(1..) => None,
        _ => Some(format!("\"{node}\": the port must be a number from 1 to 65535")),
    }
}

/// Whether a label, in lower case, could stand for a key.
pub(super) fn is_key_label(label: &str) -> bool {
    label.len() == KEY_LENGTH && label.bytes().all(|byte| KEY_ALPHABET.contains(&byte))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::base::config::ConfigFile;

    #[test]
    fn who_serves_everybody_with_the_default_quotas_is_warned() {
        let everybody = "[access]\nallow = ['127.0.0.0/8', '0.0.0.0/0']\n";
        let everybody_about_origins = "[[origin]]\nname = 'pk.example.net'\n";
        for (text, expected) in [
            (everybody.to_owned(), true),
            ("[access]\nallow = '::/0'\n".to_owned(), true),
            (format!("{everybody}[rate_limit]\nrequests_per_minute = 600\nburst_size = 100\n"), false),
            (format!("{everybody}[rate_limit]\nrequests_per_minute = 0\n"), true),
            ("[access]\nallow = '10.0.0.0/8'\n".to_owned(), false),
            (String::new(), false),
            (everybody_about_origins.to_owned(), true),
            (format!("[rate_limit]\nrequests_per_minute = 1200\n{everybody_about_origins}"), false),
        ] {
            let config = ConfigFile::parse(Path::new("pkdns.toml"), &text).unwrap().check().unwrap();
            let warning = config.open_resolver();
            let option =
                if text.contains("origin") { "origin: everybody" } else { "access.allow: everybody" };
            assert_eq!(warning.as_ref().is_some_and(|it| it.starts_with(option)), expected, "{text}");
            assert_eq!(warning.is_some(), expected, "{text}");
        }
    }
}
