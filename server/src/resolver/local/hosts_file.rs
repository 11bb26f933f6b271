//! Files in the form of `/etc/hosts`: an address a line, and its names. Pure.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use hickory_proto::rr::Name;

use super::MAX_RECORDS;
use crate::base::message::absolute_name;

/// The name that Debian has for the first address of IPv6 that is not for single machines.
const IP6_LOCALNET: Ipv6Addr = Ipv6Addr::new(0xfe00, 0, 0, 0, 0, 0, 0, 0);

/// What a file says.
#[derive(Debug, Default, PartialEq)]
pub(super) struct HostsFile {
    pub(super) hosts: Vec<Host>,
    /// What was left out of it.
    pub(super) mistakes: Vec<Mistake>,
}

/// An address and its names, of which the first is the one that the address is said to have.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Host {
    pub(super) address: IpAddr,
    /// In lower case; at least one.
    pub(super) names: Vec<Name>,
}

/// Something in a line that means nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    /// From 1.
    line: usize,
    reason: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.line, self.reason)
    }
}

/// Reads a file, without names that `is_key` says are keys', and without what is about this machine alone: addresses of
/// loopback, among them the 127.0.1.1 that Debian gives to a machine's own name, multicast and broadcast, and `localhost`.
///
/// # Errors
///
/// When there are too many names.
pub(super) fn read(bytes: &[u8], is_key: impl Fn(&Name) -> bool) -> Result<HostsFile, String> {
    let (mut file, mut count) = (HostsFile::default(), 0);
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    for (line, bytes) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        let said = bytes.split(|byte| *byte == b'#').next().unwrap_or_default();
        let mut mistake = |reason: String| file.mistakes.push(Mistake { line, reason });
        let Ok(text) = std::str::from_utf8(said) else {
            mistake("this line is not UTF-8".into());
            continue;
        };
        let mut words = text.split_whitespace();
        let Some(first) = words.next() else { continue };
        let address = match first.parse() {
            Ok(address) if is_of_one_machine(address) => continue,
            Ok(address) => address,
            // With its interface, which is one of this machine.
            Err(_) if first.split_once('%').is_some_and(|(it, _)| it.parse::<Ipv6Addr>().is_ok()) => continue,
            Err(_) => {
                mistake(format!("`{first}` is not an IP address: write the address first, then its names"));
                continue;
            }
        };
        let mut names = Vec::with_capacity(1);
        for word in words {
            match host_name(word) {
                Some(name) if is_key(&name) => {
                    mistake(format!("`{word}` is a key's name, whose zone only its packet can change"));
                }
                Some(name) if is_localhost(&name) => {}
                Some(name) => names.push(name),
                // Lists of names to block have such lines.
                None if word.parse::<IpAddr>().is_ok() => {}
                None => mistake(format!(
                    "`{word}` is not a host name: letters, digits, - and _ are allowed, other alphabets as xn--…"
                )),
            }
        }
        count += names.len();
        if count > MAX_RECORDS {
            return Err(format!("it has more than {MAX_RECORDS} names"));
        }
        if !names.is_empty() {
            file.hosts.push(Host { address, names });
        }
    }
    Ok(file)
}

/// Whether an address means something on the machine with the file alone, or is no machine's. 0.0.0.0 and :: stay: they are
/// how such files block names.
fn is_of_one_machine(address: IpAddr) -> bool {
    let address = address.to_canonical();
    address.is_loopback()
        || address.is_multicast()
        || address == Ipv4Addr::BROADCAST
        || address == IP6_LOCALNET
}

fn host_name(word: &str) -> Option<Name> {
    let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_name = word.bytes().all(is_name_byte) && word.parse::<IpAddr>().is_err();
    absolute_name(word).filter(|name| is_name && !name.is_root())
}

fn is_localhost(name: &Name) -> bool {
    name.iter().next_back() == Some(b"localhost")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What Debian, Ubuntu and macOS write, with addresses of a LAN among it.
    const USUAL: &str = "\u{feff}127.0.0.1\tlocalhost
127.0.1.1\tdesk.lan desk
192.168.1.9\tNAS.lan nas   # the one in the cellar
fd00::9 nas.lan

::1     localhost ip6-localhost ip6-loopback
fe00::0 ip6-localnet
ff00::0 ip6-mcastprefix
ff02::1 ip6-allnodes
255.255.255.255 broadcasthost
fe80::1%lo0 localhost
192.168.1.1 localhost router.lan.\r
0.0.0.0 0.0.0.0
0.0.0.0 ads.example.com
";

    fn hosts(text: &[u8]) -> (Vec<String>, Vec<String>) {
        let file = read(text, |name| name.to_ascii() == "key.").unwrap();
        let host = |host: &Host| {
            let names: Vec<_> = host.names.iter().map(Name::to_ascii).collect();
            format!("{} {}", host.address, names.join(" "))
        };
        (file.hosts.iter().map(host).collect(), file.mistakes.iter().map(Mistake::to_string).collect())
    }

    #[test]
    fn what_is_of_the_machine_alone_is_left_out_and_the_rest_is_not() {
        let (hosts, mistakes) = hosts(USUAL.as_bytes());
        let expected = [
            "192.168.1.9 nas.lan. nas.",
            "fd00::9 nas.lan.",
            "192.168.1.1 router.lan.",
            "0.0.0.0 ads.example.com.",
        ];
        assert_eq!((hosts, mistakes), (expected.map(String::from).into(), Vec::new()));
    }

    #[test]
    fn a_bad_line_is_left_out_and_told_with_its_number() {
        let text = b"nas.lan 192.168.1.9\n192.168.1.8 a..b good.lan *.lan\n# \xe9\n192.168.1.7 \xe9\n192.168.1.6 KEY\n\
            192.168.1.5\n192.168.1.4 b\xc3\xbcro.lan\n";
        let (hosts, mistakes) = hosts(text);
        assert_eq!(hosts, ["192.168.1.8 good.lan."]);
        let begins = ["1: `nas.lan`", "2: `a..b`", "2: `*.lan`", "4: this line", "5: `KEY`", "7: `büro.lan`"];
        assert_eq!(mistakes.len(), begins.len(), "{mistakes:?}");
        for (mistake, begin) in mistakes.iter().zip(begins) {
            assert!(mistake.starts_with(begin), "{mistake}");
        }
    }

    #[test]
    fn a_file_with_too_many_names_is_refused_as_a_whole() {
        let line = |number: usize| format!("10.0.0.1 n{number}.lan\n");
        let text: String = (0..MAX_RECORDS).map(line).collect();
        assert_eq!(read(text.as_bytes(), |_| false).unwrap().hosts.len(), MAX_RECORDS);
        assert!(read((text + &line(MAX_RECORDS)).as_bytes(), |_| false).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_end_the_server(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes, |_| false);
        }
    }
}
