//! What Android wants for its Private DNS, and whether this server has it. Pure.

use std::{iter, net::IpAddr};

use crate::base::config::TLS_PORT;

/// HTML that says what to enter, or what this server lacks. `host` is where the page was opened and `names` are others of this
/// server; `convinces` says whether the certificate of DNS over TLS, on `tls_port`, is one of a public authority for a name.
pub(super) fn advice(
    tls_port: Option<u16>,
    host: &str,
    names: &[String],
    convinces: impl Fn(&str) -> bool,
) -> String {
    let is_name = |host: &&str| host.parse::<IpAddr>().is_err();
    let all: Vec<&str> = iter::once(host).chain(names.iter().map(String::as_str)).filter(is_name).collect();
    let lacking = match (tls_port, all.iter().find(|name| convinces(name))) {
        (Some(TLS_PORT), Some(name)) => {
            return format!(
                "Settings, Network &amp; internet, <em>Private DNS</em>: choose <em>Private DNS provider hostname</em> and \
                 enter <code>{name}</code>."
            );
        }
        (Some(TLS_PORT), None) => match all.first() {
            Some(name) => {
                format!("This server has no certificate of a public authority for <code>{name}</code>.")
            }
            None => {
                "This server is known by its address alone, and no address can be entered there.".to_owned()
            }
        },
        (Some(port), _) => format!("This server speaks DNS over TLS on port {port}."),
        (None, _) => "This server does not serve DNS over TLS.".to_owned(),
    };
    format!(
        "<em>Private DNS</em> in the settings of Android cannot use this server yet. It takes the name of a host, speaks DNS \
         over TLS on port 853, and believes public authorities alone, whatever you import. {lacking} What makes it possible: \
         <code>[dot]</code> on port 853, and a certificate of a public authority for the name of this server, which \
         <code>[acme]</code> obtains where the Internet reaches it."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_public_certificate_on_port_853_is_what_to_enter() {
        let names = ["192.0.2.1".to_owned(), "dns.example".to_owned()];
        let is_public = |name: &str| name == "dns.example";
        for host in ["dns.example", "192.0.2.1", "2001:db8::1", "pkdns.lan"] {
            let text = advice(Some(853), host, &names, is_public);
            assert!(text.contains("and enter <code>dns.example</code>"), "{host}: {text}");
        }
    }

    #[test]
    fn what_cannot_be_is_not_advised_and_what_is_lacking_is_said() {
        let lan = ["192.168.1.2".to_owned()];
        for (tls_port, host, names, is_public, part) in [
            (None, "dns.example", &[][..], true, "does not serve"),
            (Some(8853), "dns.example", &[], true, "on port 8853"),
            (
                Some(853),
                "dns.example",
                &[],
                false,
                "no certificate of a public authority for <code>dns.example</code>",
            ),
            // Even with a certificate of a public authority for the address.
            (Some(853), "192.168.1.2", &lan, true, "no address can be entered"),
            (Some(853), "2001:db8::1", &[], true, "no address can be entered"),
        ] {
            let text = advice(tls_port, host, names, |_| is_public);
            assert!(text.contains(part) && text.contains("<code>[acme]</code>"), "{host}: {text}");
            assert!(!text.contains("enter <code>"), "{host}: {text}");
        }
    }
}
