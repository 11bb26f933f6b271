//! A line of a list of public servers: what it says, and how the server is asked. Pure.

use std::net::{IpAddr, SocketAddr};

use http::Uri;
use pkdns::config::UpstreamAddress;

/// Ports where an address names none (RFC 7858, RFC 8484).
const TLS_PORT: u16 = 853;
const HTTPS_PORT: u16 = 443;

/// Most servers of a list.
const MOST: usize = 1000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) number: usize,
    pub(super) address: String,
    pub(super) operator: String,
    pub(super) place: Place,
}

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// Over UDP and TCP.
    Dns(SocketAddr),
    Dot {
        host: String,
        port: u16,
    },
    Doh {
        host: String,
        port: u16,
        path: String,
    },
}

/// All lines but comments, or the number of the first that is wrong, and why.
pub(super) fn read(text: &str) -> Result<Vec<Line>, (usize, String)> {
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let number = index + 1;
        if lines.len() == MOST {
            return Err((number, format!("a list has at most {MOST} servers: divide it")));
        }
        lines.push(one(number, line).map_err(|why| (number, why))?);
    }
    Ok(lines)
}

fn one(number: usize, line: &str) -> Result<Line, String> {
    let mut words = line.splitn(3, char::is_whitespace).map(str::trim);
    let (Some(protocol), Some(address), Some(operator)) = (words.next(), words.next(), words.next()) else {
        return Err(
            "expected PROTOCOL ADDRESS OPERATOR, as in: doh https://dns.example.net/dns-query Example, \
                    mailto:dns@example.net"
                .to_owned(),
        );
    };
    // More than one space may stand between the first two.
    let (address, operator) = match address.is_empty() {
        true => operator.split_once(char::is_whitespace).unwrap_or((operator, "")),
        false => (address, operator),
    };
    if operator.trim().is_empty() {
        return Err("the operator is missing: a name, and a way to reach them".to_owned());
    }
    let place = match protocol {
        "dns" => address
            .parse()
            .map(Place::Dns)
            .map_err(|_| format!("{address}: expected IP:PORT, such as 192.0.2.1:53 or [2001:db8::1]:53"))?,
        "dot" => {
            let expected = || format!("{address}: expected HOST or HOST:PORT, such as dns.example.net:853");
            let uri: Uri = format!("https://{address}/").parse().map_err(|_| expected())?;
            let is_host = !address.contains('/');
            let (host, port) = host_and_port(&uri, TLS_PORT).filter(|_| is_host).ok_or_else(expected)?;
            Place::Dot { host, port }
        }
        "doh" => {
            let expected = || format!("{address}: expected a URL such as https://dns.example.net/dns-query");
            let uri: Uri = address.parse().map_err(|_| expected())?;
            let is_https = uri.scheme_str() == Some("https") && uri.query().is_none();
            let (host, port) = host_and_port(&uri, HTTPS_PORT).filter(|_| is_https).ok_or_else(expected)?;
            Place::Doh { host, port, path: uri.path().to_owned() }
        }
        other => return Err(format!("{other}: the protocol is dns, dot or doh")),
    };
    Ok(Line { number, address: address.to_owned(), operator: operator.trim().to_owned(), place })
}

fn host_and_port(uri: &Uri, port: u16) -> Option<(String, u16)> {
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
    let host = authority.host().trim_matches(['[', ']']);
    (!host.is_empty()).then(|| (host.to_owned(), authority.port_u16().unwrap_or(port)))
}

impl Place {
    pub(super) fn protocol(&self) -> &'static str {
        match self {
            Self::Dns(_) => "dns",
            Self::Dot { .. } => "dot",
            Self::Doh { .. } => "doh",
        }
    }

    /// The name that has to be looked up.
    pub(super) fn host(&self) -> Option<&str> {
        match self {
            Self::Dns(_) => None,
            Self::Dot { host, .. } | Self::Doh { host, .. } => Some(host),
        }
    }

    /// The server at one of the addresses of its name.
    pub(super) fn at(&self, ip: IpAddr) -> Option<UpstreamAddress> {
        let name = |host: &str, port: u16| match host.parse::<IpAddr>() {
            Ok(_) => SocketAddr::new(ip, port).to_string(),
            Err(_) => format!("{host}@{}", SocketAddr::new(ip, port)),
        };
        match self {
            Self::Dns(address) => Some(UpstreamAddress::Plain(*address)),
            Self::Dot { host, port } => format!("tls://{}", name(host, *port)).parse().ok(),
            Self::Doh { host, port, path } => format!("https://{}{path}", name(host, *port)).parse().ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_the_project_can_be_read() {
        read(super::super::OWN_LIST).unwrap();
    }

    #[test]
    fn each_protocol_has_its_form_of_an_address() {
        let text = "# a comment\n\ndns 192.0.2.1:53  Example, mailto:dns@example.net\n\
                    dot   dns.example.net:853 Example\ndot dns.example.net Example\n\
                    doh https://dns.example.net/dns-query https://example.net/\n doh\thttps://[2001:db8::1]:8443/q E\n";
        let lines = read(text).unwrap();
        let ip = "192.0.2.7".parse().unwrap();
        let asked: Vec<_> = lines.iter().map(|line| line.place.at(ip).unwrap().to_string()).collect();
        assert_eq!(
            asked,
            [
                "192.0.2.1:53",
                "tls://dns.example.net@192.0.2.7:853",
                "tls://dns.example.net@192.0.2.7:853",
                "https://dns.example.net@192.0.2.7:443/dns-query",
                "https://192.0.2.7:8443/q",
            ]
        );
        assert_eq!((lines[0].number, lines[0].operator.as_str()), (3, "Example, mailto:dns@example.net"));
        assert_eq!(lines[1].address, "dns.example.net:853");
    }

    #[test]
    fn a_line_that_is_wrong_is_named_with_what_belongs_there() {
        for (line, part) in [
            ("doh", "PROTOCOL ADDRESS OPERATOR"),
            ("dns 192.0.2.1:53", "PROTOCOL ADDRESS OPERATOR"),
            ("dns  192.0.2.1:53", "the operator is missing"),
            ("dns dns.example.net E", "expected IP:PORT"),
            ("dot https://dns.example.net/ E", "expected HOST or HOST:PORT"),
            ("doh dns.example.net E", "expected a URL"),
            ("doh http://dns.example.net/dns-query E", "expected a URL"),
            ("doh https://user@dns.example.net/dns-query E", "expected a URL"),
            ("doq dns.example.net E", "dns, dot or doh"),
        ] {
            let (number, why) = read(&format!("# list\n{line}\n")).unwrap_err();
            assert!(number == 2 && why.contains(part), "{line}: {why}");
        }
        let long = "dns 192.0.2.1:53 E\n".repeat(1001);
        assert_eq!(read(&long).unwrap_err().0, 1001);
    }
}
