//! The return codes that a router is answered with.

use std::net::IpAddr;

use ipnet::Ipv6Net;

use crate::zone_file::ExternalAddresses;

/// What is answered for a name. Clients read the first word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReturnCode {
    /// The address is new.
    Good(ExternalAddresses),
    /// It is known already.
    Unchanged(ExternalAddresses),
    /// Wrong user or password.
    BadAuthentication,
    /// This user has no such name here.
    NoHost,
    /// It is no name of a public key.
    NotAName,
    /// More names than one request may have.
    TooManyNames,
    /// An option that only some services have: to take a name off the network.
    NotOffered,
    /// What was told is no address.
    NoAddress,
    /// IPv6 alone was spoken of, and there is no address of it.
    NoIpv6,
    /// A network was told, and which host in it is meant is not configured.
    Prefix(Ipv6Net),
    /// The address is of a private network.
    Private(IpAddr),
    /// Too many requests.
    Abuse,
    /// It is no router that asks.
    BadAgent,
    /// The address could not be kept, or too many others are to be.
    Failure,
}

impl ReturnCode {
    /// One line.
    pub fn line(self) -> String {
        let list = |addresses: ExternalAddresses| {
            let v4 = addresses.ipv4.map(|address| address.to_string());
            v4.into_iter()
                .chain(addresses.ipv6.map(|address| address.to_string()))
                .collect::<Vec<_>>()
                .join(",")
        };
        match self {
            // A family that was taken back is no address to repeat.
            Self::Good(addresses) => format!("good {}", list(addresses)).trim_end().to_string(),
            Self::Unchanged(addresses) => format!("nochg {}", list(addresses)).trim_end().to_string(),
            Self::BadAuthentication => "badauth".to_string(),
            Self::NoHost => "nohost".to_string(),
            Self::NotAName => "notfqdn".to_string(),
            Self::TooManyNames => "numhost".to_string(),
            Self::NotOffered => "!donator".to_string(),
            Self::NoAddress => "dnserr myip is not an address".to_string(),
            Self::NoIpv6 => "dnserr myipv6 is empty".to_string(),
            Self::Prefix(prefix) => {
                format!(
                    "dnserr {prefix} is the prefix of a network: set ipv6_host, or have the router send an address"
                )
            }
            Self::Private(address) => {
                format!(
                    "dnserr {address} is of a private network: have the router send myip, or set allow_private"
                )
            }
            Self::Abuse => "abuse".to_string(),
            Self::BadAgent => "badagent".to_string(),
            Self::Failure => "911".to_string(),
        }
    }

    /// What it means for whoever reads the log, where the line does not say so.
    pub(in crate::serve) fn reason(self) -> Option<&'static str> {
        match self {
            Self::Good(_)
            | Self::Unchanged(_)
            | Self::NoAddress
            | Self::NoIpv6
            | Self::Prefix(_)
            | Self::Private(_) => None,
            Self::BadAuthentication => Some("the user or the password is wrong, or none was sent"),
            Self::NoHost => Some("this user has no such key here"),
            Self::NotAName => Some("hostname is missing, or is no name of a key"),
            Self::TooManyNames => Some("more names than one request may have"),
            Self::NotOffered => Some("a packet cannot be taken back"),
            Self::Abuse => Some("too many requests of this address in a minute"),
            Self::BadAgent => Some("a web page or a link had a browser send it"),
            Self::Failure => Some("too many others wait, or it could not be written down"),
        }
    }
}
