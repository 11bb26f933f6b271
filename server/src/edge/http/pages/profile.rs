//! Settings that an Apple device installs: the resolver, and the authorities that it needs. Pure.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::html::{escape, fill};

const PROFILE: &str = include_str!("profile.xml");

const AUTHORITY: &str = include_str!("profile_authority.xml");

/// The profile for a server that is reached at `authority`, which is `host` and perhaps a port. `certificates` are in PEM.
pub(super) fn profile(doh: &str, host: &str, authority: &str, certificates: &[&str]) -> String {
    let with_certificate = |(number, pem): (usize, &&str)| {
        let data = certificate_data(pem);
        // The same for the same certificate, so that a device does not collect them.
        let id = identifier("authority", &data);
        let name = format!("Certificate authority {} of {host}", number + 1);
        fill(AUTHORITY, &[("data", &data), ("id", &id), ("name", &escape(&name))])
    };
    let certificates: String = certificates.iter().enumerate().map(with_certificate).collect();
    let values = [
        ("doh", doh),
        ("host", host),
        ("profile_id", &identifier("profile", authority)),
        ("settings_id", &identifier("settings", authority)),
        ("certificates", &certificates),
    ];
    fill(PROFILE, &values)
}

/// What stands between the lines of a PEM text, which is base64.
fn certificate_data(pem: &str) -> String {
    pem.lines().map(str::trim).filter(|line| !line.starts_with("-----")).collect()
}

/// A UUID (version 8, RFC 9562) that is the same for the same server, so that a profile replaces its older self.
fn identifier(purpose: &str, authority: &str) -> String {
    let half = |part: u8| {
        let mut hasher = DefaultHasher::new();
        (part, purpose, authority).hash(&mut hasher);
        hasher.finish()
    };
    let (high, low) = (half(0) & !0xf000 | 0x8000, half(1) & !(0xc0 << 56) | 0x80 << 56);
    format!(
        "{:08X}-{:04X}-{:04X}-{:04X}-{:012X}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_is_the_same_each_time_and_another_for_another_server() {
        let of = |host: &str| profile(&format!("https://{host}/dns-query"), host, host, &[]);
        let text = of("dns.example");
        assert!(text.contains("<string>https://dns.example/dns-query</string>") && !text.contains("{{"));
        assert!(!text.contains("com.apple.security.root"));
        assert_eq!(of("dns.example"), text);
        assert_ne!(identifier("profile", "dns.example"), identifier("profile", "dns2.example"));
        let id = identifier("profile", "dns.example");
        assert_eq!((id.len(), &id[14..15]), (36, "8"), "{id}");
        assert!("89AB".contains(&id[19..20]), "{id}");
    }

    #[test]
    fn each_authority_is_in_the_profile_as_it_is() {
        let pems = ["one", "two"]
            .map(|data| format!("-----BEGIN CERTIFICATE-----\n{data}A\r\nBB==\n-----END CERTIFICATE-----\n"));
        let text = profile("https://a/dns-query", "a", "a", &[&pems[0], &pems[1]]);
        for data in ["<data>oneABB==</data>", "<data>twoABB==</data>"] {
            assert!(text.contains(data), "{text}");
        }
        assert_eq!(text.matches("<string>com.apple.security.root</string>").count(), 2);
        assert_eq!(text.matches("<dict>").count(), text.matches("</dict>").count());
    }
}
