//! `[bridge]`: sites under keys over HTTPS, for browsers that know nothing of keys.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Deserializer, Serialize};

use super::{
    Config, HTTP_PORT, HTTPS_PORT, address,
    check::{Faults, is_key_label},
};

/// As many addresses of one family fit an answer of 512 bytes.
const MAX_ADDRESSES: usize = 8;

/// Each question for an address is compared with all of them.
const MAX_EXEMPT: usize = 1000;

/// The bridge to sites under keys. Off without an address to listen on.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bridge {
    /// Where browsers come to over HTTPS. An address of `doh.listen` may be among them: then the name that a client asks
    /// for decides who answers it.
    #[serde(deserialize_with = "address::list::<HTTPS_PORT, _>")]
    pub listen: Vec<SocketAddr>,
    /// Where browsers come to in the clear, to be sent on to HTTPS. Without it, port 80 of each address of `listen` that
    /// has port 443, less what `doh.plain_listen` has already.
    #[serde(
        deserialize_with = "address::optional_list::<HTTP_PORT, _>",
        skip_serializing_if = "Option::is_none"
    )]
    pub plain_listen: Option<Vec<SocketAddr>>,
    /// What questions for the addresses of such sites are answered with. Without any, the addresses of `listen`, which
    /// must not be `0.0.0.0` or `[::]` then.
    #[serde(deserialize_with = "addresses")]
    pub addresses: Vec<IpAddr>,
    /// Keys and names below them that are left as their packets have them, with all that is below. Lower case, without
    /// `pk:` before and a dot behind them.
    #[serde(deserialize_with = "exempt")]
    pub exempt: Vec<String>,
    /// The listeners whose clients are led to the bridge.
    #[serde(deserialize_with = "clients_of")]
    pub clients_of: Vec<LedClients>,
    /// Connections of all clients at once, both ports together.
    pub max_connections: usize,
}

/// Listeners of the server, by what is spoken there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LedClients {
    /// DNS over UDP and TCP.
    Dns,
    /// DNS over TLS.
    Tls,
    /// DNS over HTTPS.
    Https,
    /// DNS over HTTP in the clear, for a proxy.
    Http,
}

fn addresses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpAddr>, D::Error> {
    address::parse_list(deserializer, "an address or a list of addresses", |text| {
        let advice =
            || format!("`{text}` is not an IP address: write `192.0.2.1` or `2001:db8::1`, without a port");
        text.trim().parse::<IpAddr>().map_err(|_| advice())
    })
}

fn exempt<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    address::parse_list(deserializer, "a name or a list of names", |text| {
        let name = text.trim().to_ascii_lowercase();
        let name = name.strip_prefix("pk:").unwrap_or(&name);
        Ok::<_, String>(name.strip_suffix('.').unwrap_or(name).to_owned())
    })
}

fn clients_of<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<LedClients>, D::Error> {
    address::parse_list(deserializer, "a kind of listener or a list of them", |text| match text.trim() {
        "dns" => Ok(LedClients::Dns),
        "tls" => Ok(LedClients::Tls),
        "https" => Ok(LedClients::Https),
        "http" => Ok(LedClients::Http),
        other => Err(format!("`{other}` is no kind of listener: write `dns`, `tls`, `https` or `http`")),
    })
}

impl Default for Bridge {
    fn default() -> Self {
        use LedClients::{Dns, Http, Https, Tls};
        Self {
            listen: Vec::new(),
            plain_listen: None,
            addresses: Vec::new(),
            exempt: Vec::new(),
            clients_of: vec![Dns, Tls, Https, Http],
            max_connections: 4096,
        }
    }
}

impl Bridge {
    /// Whether there is one.
    pub fn is_enabled(&self) -> bool {
        !self.listen.is_empty()
    }

    /// Where it listens in the clear, as configured or by default. Empty when it is off.
    pub fn plain_addresses(&self) -> Vec<SocketAddr> {
        let of_listen = || {
            let standard = self.listen.iter().filter(|address| address.port() == HTTPS_PORT);
            standard.map(|address| SocketAddr::new(address.ip(), HTTP_PORT)).collect()
        };
        match &self.plain_listen {
            _ if !self.is_enabled() => Vec::new(),
            Some(configured) => configured.clone(),
            None => of_listen(),
        }
    }

    /// What browsers are told to come to.
    pub fn shown_addresses(&self) -> Vec<IpAddr> {
        if !self.addresses.is_empty() {
            return self.addresses.clone();
        }
        let mut addresses = Vec::new();
        for address in self.listen.iter().map(SocketAddr::ip) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        addresses
    }
}

impl Config {
    /// What to say where clients of other machines are told to come to this one's loopback address, which is that of their own.
    pub fn bridge_out_of_reach(&self) -> Option<String> {
        let bridge = &self.bridge;
        if !bridge.is_enabled() || !bridge.shown_addresses().iter().all(IpAddr::is_loopback) {
            return None;
        }
        let listeners = |clients: &LedClients| match clients {
            LedClients::Dns => self.listen.as_slice(),
            LedClients::Tls if self.dot.enabled => &self.dot.listen,
            LedClients::Https if self.doh.enabled => &self.doh.listen,
            LedClients::Http => &self.doh.plain_listen,
            LedClients::Tls | LedClients::Https => &[],
        };
        let mut led = bridge.clients_of.iter().flat_map(listeners);
        let open = led.find(|address| !address.ip().is_loopback())?;
        Some(format!(
            "bridge.addresses: clients of other machines, which may ask at {open}, are told that sites under keys are at a loopback \
             address, where they reach themselves; list the addresses of this machine at which they reach it, or leave their \
             listeners out of bridge.clients_of"
        ))
    }

    pub(super) fn check_bridge(&self, faults: &mut Faults) {
        let bridge = &self.bridge;
        if !bridge.is_enabled() {
            return;
        }
        faults.add_with_if(
            self.names.suffixes.is_empty(),
            "names.suffixes",
            &["bridge.listen"],
            "is empty, and the bridge can only serve names under a suffix; write [\"key\"]",
        );
        let shown = bridge.shown_addresses();
        if let Some(address) = shown.iter().find(|address| address.is_unspecified() || address.is_multicast())
        {
            faults.add_with(
                "bridge.addresses",
                &["bridge.listen"],
                match bridge.addresses.is_empty() {
                    true => format!("is missing, and browsers cannot come to {address}; list the addresses of this machine at \
                                     which they reach it"),
                    false => format!("{address} is nowhere that a browser can come to; write the address of this machine"),
                },
            );
        }
        faults.add_if(
            shown.len() > MAX_ADDRESSES,
            "bridge.addresses",
            &format!("names more than {MAX_ADDRESSES} addresses"),
        );
        faults.add_if(
            bridge.exempt.len() > MAX_EXEMPT,
            "bridge.exempt",
            &format!("names more than {MAX_EXEMPT} names"),
        );
        if let Some(name) = bridge.exempt.iter().find(|name| !self.is_below_key(name)) {
            faults.add_with(
                "bridge.exempt",
                &["names.suffixes"],
                format!(
                    "\"{name}\" is neither a key nor below one; write a key of 52 characters, with or without a suffix of \
                     names.suffixes, or a name below it such as ssh.<key>.key"
                ),
            );
        }
        faults.add_if(
            bridge.clients_of.is_empty(),
            "bridge.clients_of",
            "is empty, so nobody would be led to the bridge; write [\"dns\", \"tls\", \"https\", \"http\"], or remove bridge.listen",
        );
        faults.add_if(
            bridge.max_connections == 0,
            "bridge.max_connections",
            "is 0, so nobody could connect; write at least 1, or remove bridge.listen to switch the bridge off",
        );
    }

    /// Whether a name, in lower case, has a key as its last label, or as the last one before a suffix.
    fn is_below_key(&self, name: &str) -> bool {
        let before = |suffix: &String| name.strip_suffix(suffix.as_str())?.strip_suffix('.');
        let without = self.names.suffixes.iter().filter_map(before).chain([name]);
        let labels = |name: &str| name.split('.').all(|label| (1..=63).contains(&label.len()));
        without.into_iter().any(|name| labels(name) && name.rsplit('.').next().is_some_and(is_key_label))
    }
}

#[cfg(test)]
mod tests {
    use crate::base::config::{Config, ConfigFile};

    fn said(text: &str) -> String {
        let checked = ConfigFile::parse("pkdns.toml".as_ref(), text).and_then(ConfigFile::check);
        checked.err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_bridge_that_cannot_be_reached_is_a_mistake_with_what_to_write() {
        for (text, begins) in [
            ("", ""),
            ("[bridge]\nlisten = '127.0.0.1:8443'", ""),
            ("[bridge]\nlisten = ['0.0.0.0', '[::]']\naddresses = ['192.0.2.1', '2001:db8::1']", ""),
            ("[bridge]\nlisten = '0.0.0.0:443'", "pkdns.toml:1: bridge.addresses: is missing"),
            (
                "[bridge]\nlisten = '127.0.0.1'\naddresses = ['0.0.0.0']",
                "pkdns.toml:3: bridge.addresses: 0.0.0.0 is nowhere",
            ),
            ("[bridge]\nlisten = '127.0.0.1'\nclients_of = []", "pkdns.toml:3: bridge.clients_of: is empty"),
            (
                "[bridge]\nlisten = '127.0.0.1'\nmax_connections = 0",
                "pkdns.toml:3: bridge.max_connections: is 0",
            ),
            (
                "[bridge]\nlisten = '127.0.0.1'\nexempt = 'example.com'",
                "pkdns.toml:3: bridge.exempt: \"example.com\" is",
            ),
            ("[bridge]\nlisten = '127.0.0.1'\nclients_of = 'udp'", "pkdns.toml:3: "),
            ("[bridge]\nlisten = '127.0.0.1'\naddresses = '192.0.2.1:443'", "pkdns.toml:3: "),
        ] {
            let said = said(text);
            assert!(said.starts_with(begins) && said.is_empty() == begins.is_empty(), "{text}\n{said}");
        }
    }

    #[test]
    fn a_name_is_exempt_in_any_spelling_that_is_known_for_it() {
        let key = "8qhdp5s8jjmxmqam3bpg9kzeg7x8teztuwrfgxw5ikn9z5bt15uy";
        for (exempt, is_sound) in [
            (key.to_string(), true),
            (format!("PK:{}.", key.to_uppercase()), true),
            (format!("{key}.key"), true),
            (format!("ssh.{key}.key."), true),
            (format!("ssh.{key}"), true),
            (format!("{key}.pk.example.net"), false),
            (format!("ssh..{key}"), false),
            (format!("ssh{key}"), false),
            ("key".into(), false),
            (String::new(), false),
        ] {
            let said = said(&format!("[bridge]\nlisten = '127.0.0.1'\nexempt = ['{exempt}']"));
            assert_eq!(said.is_empty(), is_sound, "{exempt}: {said}");
        }
        let read: Config = toml::from_str(&format!("[bridge]\nexempt = 'pk:{key}.key.'")).unwrap();
        assert_eq!(read.bridge.exempt, [format!("{key}.key")]);
    }

    #[test]
    fn one_text_is_as_good_as_a_list_of_one() {
        let one = "[bridge]\nlisten = '127.0.0.1'\naddresses = '192.0.2.1'\nclients_of = 'https'";
        let list = "[bridge]\nlisten = ['127.0.0.1']\naddresses = ['192.0.2.1']\nclients_of = ['https']";
        assert_eq!(
            toml::from_str::<Config>(one).unwrap().bridge,
            toml::from_str::<Config>(list).unwrap().bridge
        );
    }

    #[test]
    fn an_address_is_shown_once_and_the_first_one_first() {
        let shown = |text: &str| toml::from_str::<Config>(text).unwrap().bridge.shown_addresses();
        let addresses =
            shown("[bridge]\nlisten = ['127.0.0.2', '127.0.0.1', '127.0.0.2:8443', '127.0.0.1:8443']");
        assert_eq!(addresses.iter().map(ToString::to_string).collect::<Vec<_>>(), ["127.0.0.2", "127.0.0.1"]);
    }

    #[test]
    fn clients_of_other_machines_that_are_led_to_their_own_loopback_are_warned_of() {
        for (text, says) in [
            ("[bridge]", None),
            ("[bridge]\nlisten = '127.0.0.1'", Some("0.0.0.0:53")),
            ("listen = '127.0.0.1'\n[bridge]\nlisten = ['127.0.0.1', '[::1]']", None),
            ("listen = '192.0.2.1'\n[bridge]\nlisten = ['127.0.0.1', '[::1]']", Some("192.0.2.1:53")),
            ("listen = '192.0.2.1'\n[bridge]\nlisten = ['127.0.0.1', '192.0.2.1']", None),
            ("listen = '192.0.2.1'\n[bridge]\nlisten = '127.0.0.1'\naddresses = '192.0.2.1'", None),
            ("listen = '192.0.2.1'\n[bridge]\nlisten = '127.0.0.1'\nclients_of = 'https'", None),
            (
                "[doh]\nplain_listen = '192.0.2.1:80'\n[bridge]\nlisten = '127.0.0.1'\nclients_of = 'http'",
                Some("192.0.2.1:80"),
            ),
        ] {
            let said = toml::from_str::<Config>(text).unwrap().bridge_out_of_reach();
            assert_eq!(said.is_some(), says.is_some(), "{text}: {said:?}");
            assert!(says.is_none_or(|part| said.unwrap().contains(part)), "{text}");
        }
    }

    #[test]
    fn port_80_is_beside_port_443_and_beside_no_other() {
        let plain = |text: &str| toml::from_str::<Config>(text).unwrap().bridge.plain_addresses();
        assert_eq!(
            plain("[bridge]\nlisten = ['127.0.0.1', '[::1]:8443']"),
            ["127.0.0.1:80".parse().unwrap()]
        );
        assert_eq!(plain("[bridge]\nlisten = '127.0.0.1'\nplain_listen = []"), []);
        assert_eq!(plain("[bridge]\nplain_listen = '127.0.0.1'"), []);
    }
}
