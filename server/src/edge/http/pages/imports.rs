//! The authorities that a visitor's device has to be told to trust: which there are, where their certificates are, and what
//! whoever holds them could do.

use super::{About, html::escape, setup::copyable};
use crate::edge::certificates::{AuthorityCertificate, AuthorityReading};

/// A certificate to import.
struct File {
    name: &'static str,
    /// What programs that want a name for it are given.
    label: &'static str,
}

const OWN: File = File { name: "ca.pem", label: "pkdns" };
const BRIDGE: File = File { name: "bridge-ca.pem", label: "pkdns-bridge" };

/// Which authorities there are: one of the server itself, without which DNS over HTTPS does not work, and one of the bridge,
/// without which HTTPS under keys does not.
#[derive(Clone, Copy)]
pub(super) struct Imports<'a> {
    own: Option<&'a AuthorityCertificate>,
    has_bridge: bool,
}

impl<'a> Imports<'a> {
    pub(super) fn new(about: &'a About) -> Self {
        Self { own: about.authorities.first(), has_bridge: about.bridge_authority.is_some() }
    }

    /// Whether there is anything to import.
    pub(super) fn are_any(self) -> bool {
        self.own.is_some() || self.has_bridge
    }

    fn files(self) -> impl Iterator<Item = File> {
        self.own.map(|_| OWN).into_iter().chain(self.has_bridge.then_some(BRIDGE))
    }

    /// The first step of a list: to download what there is, and what to do with it. Empty where there is nothing.
    pub(super) fn step(self, how: &str) -> String {
        let what = match (self.own.is_some(), self.has_bridge) {
            (true, true) => {
                "Download the certificates of <a href=\"/ca.pem\" download>this server's authority</a> and, for HTTPS under \
                 keys, of <a href=\"/bridge-ca.pem\" download>the bridge's authority</a>. What follows is to be done for each."
            }
            (true, false) => {
                "<a href=\"/ca.pem\" download>Download the certificate</a> of this server's authority."
            }
            (false, true) => {
                "For HTTPS under keys, <a href=\"/bridge-ca.pem\" download>download the certificate</a> of the bridge's \
                 authority."
            }
            (false, false) => return String::new(),
        };
        format!("<li>{what} {how}</li>")
    }

    /// A command for each file, given its name and a label.
    pub(super) fn commands(self, command: impl Fn(&str, &str) -> String) -> String {
        let commands: Vec<_> = self.files().map(|file| command(file.name, file.label)).collect();
        copyable(&commands.join("\n"))
    }

    /// What they are, in the middle of a sentence.
    pub(super) fn named(self) -> Option<&'static str> {
        match (self.own.is_some(), self.has_bridge) {
            (true, true) => Some("the authority of this server and that of its bridge"),
            (true, false) => Some("the authority of this server"),
            (false, true) => Some("the authority of its bridge"),
            (false, false) => None,
        }
    }

    /// What to consider before the authority of the server is trusted. The bridge has a card that says so of its own.
    pub(super) fn warning(self) -> String {
        let Some(own) = self.own else { return String::new() };
        let read = AuthorityReading::of_pem(own.pem().as_bytes());
        // What cannot be read is taken for one that may sign for anything.
        let power = match read.into_iter().next().and_then(|authority| authority.constraints) {
            Some(constraints) => format!(
                "Its authority may sign for {}, and devices refuse whatever else it signs.",
                escape(&constraints.to_string())
            ),
            None => "Only do this if you know who runs this server: whoever holds its authority could vouch for any site to \
                     your device."
                .to_owned(),
        };
        format!(
            "<p class=\"warning\">This server signs its own certificate, so each device has to be told once to trust it. The \
             steps below say how. {power}</p>"
        )
    }
}
