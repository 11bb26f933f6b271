//! What the log says at the start of who is served: whoever is not, sees REFUSED and does not know why.

use super::{Access, Config};
use crate::base::access::Allowed;

/// Networks that are named. More would hide the rest of the log.
const MOST: usize = 12;

impl Config {
    /// Who gets answers from a server that others can reach, unless everybody does. For people.
    pub fn served(&self) -> Option<String> {
        let (doh, dot) = (&self.doh, &self.dot);
        let of_doh = doh.listen.iter().filter(|_| doh.enabled);
        let of_dot = dot.listen.iter().filter(|_| dot.enabled);
        let all = self.listen.iter().chain(of_doh).chain(of_dot).chain(&doh.plain_listen);
        let is_reached = all.into_iter().any(|address| !address.ip().is_loopback());
        let allow = &self.access.allow;
        let is_everybody =
            allow.iter().any(|allowed| matches!(allowed, Allowed::Range(range) if range.prefix_len() == 0));
        if !is_reached || is_everybody {
            return None;
        }
        let whom = if *allow == Access::default().allow {
            "this machine and private networks".to_owned()
        } else {
            let named: Vec<_> = allow.iter().take(MOST).map(ToString::to_string).collect();
            let more = if allow.len() > MOST { ", …" } else { "" };
            format!("{}{more}", named.join(", "))
        };
        Some(format!("answering {whom} alone, and refusing all other clients; access.allow says whom"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_others_reach_says_whom_it_answers() {
        for (text, expected) in [
            ("", Some("answering this machine and private networks alone, and refusing all other clients")),
            ("listen = '127.0.0.1:53'", None),
            (
                "listen = '127.0.0.1:53'\n[doh]\nplain_listen = ['192.0.2.1:80']",
                Some("this machine and private"),
            ),
            ("listen = '127.0.0.1:53'\n[dot]\nlisten = ['192.0.2.1:853']", None),
            ("[access]\nallow = ['10.0.0.0/8', 'connected']", Some("answering 10.0.0.0/8, connected alone")),
            ("[access]\nallow = ['0.0.0.0/0']", None),
        ] {
            let config: Config = toml::from_str(text).unwrap();
            let served = config.served();
            assert_eq!(served.is_some(), expected.is_some(), "{text}: {served:?}");
            assert!(expected.is_none_or(|part| served.unwrap().contains(part)), "{text}");
        }
    }
}
