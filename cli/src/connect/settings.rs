//! Where names are sent, and which, as other programs write it in their files.

use std::{
    fmt,
    net::{SocketAddr, UdpSocket},
    str::FromStr,
};

use pkdns::config::{DNS_PORT, parse_address};

/// Longest name, as text (RFC 1035 section 2.3.4).
const LONGEST_NAME: usize = 253;

/// Longest label.
const LONGEST_LABEL: usize = 63;

/// The address of pkdns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Server(pub(super) SocketAddr);

impl Server {
    /// As dnsmasq has it: `127.0.0.1#5300`.
    pub(super) fn with_number_sign(&self) -> String {
        format!("{}#{}", self.host(), self.0.port())
    }

    /// As Unbound has it: `127.0.0.1@5300`.
    pub(super) fn with_at(&self) -> String {
        format!("{}@{}", self.host(), self.0.port())
    }

    /// Without the port. A link-local address has its interface behind it.
    pub(super) fn host(&self) -> String {
        match self.0 {
            SocketAddr::V6(address) if address.scope_id() != 0 => {
                format!("{}%{}", address.ip(), address.scope_id())
            }
            address => address.ip().to_string(),
        }
    }

    pub(super) fn has_usual_port(&self) -> bool {
        self.0.port() == DNS_PORT
    }

    /// Whether it is an address of this machine.
    pub(super) fn is_on_this_machine(&self) -> bool {
        // Only the own addresses can be bound.
        self.0.ip().is_loopback() || UdpSocket::bind(SocketAddr::new(self.0.ip(), 0)).is_ok()
    }
}

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let address = parse_address(text, DNS_PORT).map_err(|error| error.to_string())?;
        match () {
            () if address.ip().is_unspecified() || address.ip().is_multicast() => {
                Err(format!("`{text}` is no address to ask: write the one of pkdns, such as 127.0.0.1:5300"))
            }
            () if address.port() == 0 => Err(format!("`{text}`: the port must be a number from 1 to 65535")),
            () => Ok(Self(address)),
        }
    }
}

/// A zone whose names are sent to pkdns. In lower case, of letters that no file takes for anything else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Suffix(String);

impl FromStr for Suffix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = text.trim_matches('.').to_ascii_lowercase();
        let is_label = |label: &str| {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            (1..=LONGEST_LABEL).contains(&label.len())
                && label.bytes().all(is_plain)
                && !label.starts_with('-')
        };
        if name.len() <= LONGEST_NAME && name.split('.').all(is_label) {
            Ok(Self(name))
        } else {
            Err("expected a suffix of pkdns, such as key".to_owned())
        }
    }
}

impl fmt::Display for Suffix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_as_each_program_reads_it() {
        for (text, dnsmasq, unbound) in [
            ("127.0.0.1:5300", "127.0.0.1#5300", "127.0.0.1@5300"),
            ("192.168.1.2", "192.168.1.2#53", "192.168.1.2@53"),
            ("[::1]:5300", "::1#5300", "::1@5300"),
        ] {
            let server: Server = text.parse().unwrap();
            assert_eq!([server.with_number_sign(), server.with_at()], [dnsmasq, unbound]);
        }
    }

    #[test]
    fn what_cannot_be_asked_is_refused_with_what_to_write() {
        for (text, part) in [
            ("0.0.0.0:53", "such as 127.0.0.1:5300"),
            ("[::]:53", "such as 127.0.0.1:5300"),
            ("127.0.0.1:0", "from 1 to 65535"),
            ("dns.example.net", "is not an IP address"),
        ] {
            let error = text.parse::<Server>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    /// It is written into files of root.
    #[test]
    fn a_suffix_cannot_say_anything_else_to_the_program_that_reads_it() {
        for (text, expected) in [("key", "key"), (".KEY.", "key"), ("pk.example", "pk.example")] {
            assert_eq!(text.parse::<Suffix>().unwrap().to_string(), expected);
        }
        let long = "a".repeat(64);
        for text in
            ["", ".", "a..b", "key/", "key\nserver=1", "a b", "../key", "\"", "-x", long.as_str(), "bücher"]
        {
            assert!(text.parse::<Suffix>().is_err(), "{text}");
        }
    }
}
