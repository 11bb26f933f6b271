//! Why a site cannot be shown, and the page that says so.

use http::StatusCode;
use thiserror::Error;

use super::names::SiteName;
use crate::edge::html::escape;

/// Why there is no connection to a site.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Failure {
    /// There is no such name.
    #[error("{0}")]
    Absent(String),
    /// The name has no address, or none that may be connected to.
    #[error("{0}")]
    NoAddress(String),
    /// The name leads in a circle, or too far.
    #[error("{0}")]
    Chain(String),
    /// The request was sent by this bridge itself, to which the site's address leads.
    #[error("the address in the records of this name leads back to this server")]
    Loop,
    /// The name has records, and none that say how TLS is verified.
    #[error("{0}")]
    NoTls(String),
    /// This server does not lead there.
    #[error("{0}")]
    Denied(String),
    /// What the name leads to could not be found out.
    #[error("{0}")]
    Lookup(String),
    /// The site could not be connected to.
    #[error("{0}")]
    Unreachable(String),
    /// The site showed another key than it has to.
    #[error("the site showed {shown} instead of {expected}")]
    AnotherKey {
        /// What it had to show.
        expected: String,
        /// What it has shown.
        shown: String,
    },
    /// The site ended the handshake, or speaks no TLS.
    #[error("{0}")]
    HandshakeRefused(String),
    /// The site did not answer in time.
    #[error("{0}")]
    TimedOut(String),
    /// There are as many connections to this site as there may be.
    #[error("this server has too many connections to this site open")]
    SiteFull,
    /// There is no connection to the site, and clients are not told why: they could learn what is at an address that they cannot
    /// reach themselves.
    #[error("{0}")]
    Withheld(Box<Failure>),
}

/// What is told of [`Failure::Withheld`].
const WITHHELD: &str = "the site is at an address that not everybody can reach, and the log of this server (at the level debug) says why there is no \
                        connection to it";

impl Failure {
    /// The status of the response that says so.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Absent(_) => StatusCode::NOT_FOUND,
            Self::Denied(_) => StatusCode::FORBIDDEN,
            Self::Loop => StatusCode::LOOP_DETECTED,
            Self::SiteFull => StatusCode::SERVICE_UNAVAILABLE,
            Self::Lookup(_) | Self::TimedOut(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::NoAddress(_)
            | Self::Chain(_)
            | Self::NoTls(_)
            | Self::Unreachable(_)
            | Self::AnotherKey { .. }
            | Self::HandshakeRefused(_)
            | Self::Withheld(_) => StatusCode::BAD_GATEWAY,
        }
    }

    /// The same for programs: a field `Proxy-Status` with one of the errors that it has (RFC 9209 section 2.3), and what the page says.
    pub(super) fn proxy_status(&self) -> String {
        let error = match self {
            Self::Absent(_) => "destination_not_found",
            Self::NoAddress(_) => "destination_ip_unroutable",
            Self::Chain(_) | Self::Lookup(_) => "dns_error",
            Self::Loop => "proxy_loop_detected",
            Self::NoTls(_) | Self::HandshakeRefused(_) => "tls_protocol_error",
            Self::Denied(_) => "http_request_denied",
            Self::Unreachable(_) | Self::Withheld(_) => "destination_unavailable",
            Self::AnotherKey { .. } => "tls_certificate_error",
            Self::TimedOut(_) => "connection_timeout",
            Self::SiteFull => "connection_limit_reached",
        };
        // A string there has no other characters (RFC 8941 section 3.3.3).
        let plain = |character: char| match character {
            '"' | '\\' => '\'',
            ' '..='~' => character,
            _ => '?',
        };
        let details: String = self.what().chars().take(LONGEST).map(plain).collect();
        format!("pkdns-bridge; error={error}; details=\"{details}\"")
    }

    /// In a sentence.
    fn what(&self) -> String {
        match self {
            Self::Withheld(_) => sentence(WITHHELD),
            other => sentence(&other.to_string()),
        }
    }

    fn title(&self) -> &'static str {
        match self {
            Self::Absent(_) => "There is no such site",
            Self::NoAddress(_) => "This site has no address that can be connected to",
            Self::Chain(_) => "The records of this site lead nowhere",
            Self::Loop => "The address of this site leads back here",
            Self::NoTls(_) => "This site has no HTTPS that can be verified",
            Self::Denied(_) => "This server does not open this site",
            Self::Lookup(_) => "The address of this site could not be found",
            Self::Unreachable(_) => "This site cannot be reached",
            Self::AnotherKey { .. } => "This site did not prove that it is the one you asked for",
            Self::HandshakeRefused(_) => "This site does not speak HTTPS with us",
            Self::TimedOut(_) => "This site did not answer in time",
            Self::SiteFull => "There are too many connections to this site",
            Self::Withheld(_) => "This site could not be verified",
        }
    }

    /// What happened, as HTML.
    fn account(&self) -> String {
        match self {
            Self::AnotherKey { expected, shown } => format!(
                "<p>Whoever answered at the site's address has shown another key than the site's signed records ask for. Nothing that \
                 you wanted to send has been sent there.</p><dl><dt>Expected</dt><dd>{}</dd><dt>Shown</dt><dd>{}</dd></dl>",
                escaped(expected),
                escaped(shown)
            ),
            other => format!("<p>{}</p>", escaped(&other.what())),
        }
    }

    fn for_visitors(&self) -> &'static str {
        match self {
            Self::Absent(_) => {
                "Compare the address with the one that you were given, letter by letter: it is a key, and one wrong letter makes another."
            }
            Self::NoTls(_) => {
                "The same address with http:// in place of https:// may work. What you send and read there can be read and changed on the way."
            }
            Self::NoAddress(_) => {
                "If the site is in your own network, whoever runs this server can allow its address. Otherwise its owner has to put it right."
            }
            Self::Chain(_) | Self::Loop => {
                "Only the owner of the site can put this right. Tell the owner what is shown above."
            }
            Self::Denied(_) => "Ask whoever runs this server why, or use another one.",
            Self::Lookup(_) => "Try again in a minute.",
            Self::Unreachable(_) | Self::HandshakeRefused(_) | Self::TimedOut(_) => {
                "Try again later. The site may be switched off."
            }
            Self::AnotherKey { .. } => {
                "Do not send passwords or anything else to this site by another way now. Somebody between this server and the site may be pretending to be it, or its owner has made a mistake: tell the owner what is shown above."
            }
            Self::SiteFull => "Try again in a minute.",
            Self::Withheld(_) => "Try again later, or ask whoever runs this server.",
        }
    }

    fn for_owners(&self) -> &'static str {
        match self {
            Self::Absent(_) => {
                "Publish the key's records again, and look at them with pkdns-cli resolve. Nodes forget them after some two hours, so let pkdns-cli publish --watch or serve publish them again and again."
            }
            Self::NoTls(_) => {
                "Publish a TLSA record (3 1 1) of the certificate that the site shows, or let pkdns-cli serve end TLS with the key."
            }
            Self::NoAddress(_) => {
                "Publish an A or AAAA record with the public address of the machine that the site is on. For an address in a private network, the server needs allow_private = true under [delegation]."
            }
            Self::Chain(_) => {
                "Look at the CNAME and HTTPS records with pkdns-cli resolve, and let them lead to the site in a few steps."
            }
            Self::Loop => {
                "Publish the address of the machine that the site itself is on. Where that machine and this server share a public address, port 80 of that address has to lead to the site."
            }
            Self::Denied(_) => "Ask whoever runs this server.",
            Self::Lookup(_) => "Publish the records again if this goes on for longer.",
            Self::Unreachable(_) | Self::TimedOut(_) => {
                "Check that the address and the port in the records are right, that the site runs, and that a firewall or a router lets connections through."
            }
            Self::AnotherKey { .. } => {
                "Publish the record that belongs to the certificate which the site shows now, or let it show the key of the records. After a certificate was renewed with a new key, its TLSA record has to be new as well."
            }
            Self::HandshakeRefused(_) => {
                "The port in the records has to speak TLS 1.3, or TLS 1.2 with a certificate for which there is a TLSA record."
            }
            Self::SiteFull => "Nothing is wrong with the site.",
            Self::Withheld(_) => {
                "Check that the address and the port in the records are right, that the site runs, and that it shows the key of its records. The log of this server tells which of these it is."
            }
        }
    }

    /// The page for whoever asked for `site`.
    pub(super) fn page(&self, site: &SiteName) -> String {
        let (title, account) = (self.title(), self.account());
        let (visitors, owners, name) = (self.for_visitors(), self.for_owners(), escaped(&site.text));
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"robots\" content=\"noindex\">\n<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n\
             <h1>{title}</h1>\n<p class=\"name\">{name}</p>\n{account}\n<h2>If you are a visitor</h2>\n<p>{visitors}</p>\n\
             <h2>If this is your site</h2>\n<p>{owners}</p>\n\
             <p class=\"from\">This page is from the DNS server that connects you to sites under keys, and not from the site.</p>\n\
             </main>\n</body>\n</html>\n"
        )
    }
}

/// No script, no image, no frame: nothing but text and this style.
pub(super) const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const STYLE: &str = "body{margin:0;font:1rem/1.5 system-ui,sans-serif;color:#222;background:#fff}main{max-width:42rem;margin:0 auto;\
                     padding:2rem 1rem}h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:1.5rem}.name,dd{font-family:monospace;\
                     overflow-wrap:anywhere}dt{font-weight:600}dd{margin:0 0 .5rem}.from{margin-top:2rem;color:#666;font-size:.9rem}\
                     @media(prefers-color-scheme:dark){body{color:#ddd;background:#161616}.from{color:#999}}";

/// Longest text of others that is shown, in characters.
const LONGEST: usize = 1000;

/// What others have written, as text in HTML, and not all of it if it is long.
fn escaped(text: &str) -> String {
    let end = text.char_indices().nth(LONGEST).map_or(text.len(), |(end, _)| end);
    escape(text.get(..end).unwrap_or_default())
}

/// With a capital letter and a full stop.
fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let Some(first) = characters.next() else { return String::new() };
    let stop = if text.ends_with(['.', '!', '?']) { "" } else { "." };
    first.to_uppercase().chain(characters).collect::<String>() + stop
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolver::name::Suffixes;

    fn site() -> SiteName {
        let host = "www.yqrx81zchh6aotjj85s96gdqbmsoprxr3ks6ks6y8eccpj8b7oiy.key";
        SiteName::read(host, &Suffixes::new(["key"])).unwrap()
    }

    #[test]
    fn what_others_have_written_stays_text() {
        let hostile = "<script>alert(1)</script>\" onload='x' & \u{202e}gpj.exe\0";
        for failure in [
            Failure::AnotherKey { expected: hostile.into(), shown: hostile.into() },
            Failure::Lookup(hostile.into()),
            Failure::Unreachable(hostile.into()),
        ] {
            let page = failure.page(&site());
            for part in ["<script", "alert(1)<", "'x'", "\" onload", " & ", "\u{202e}", "\0"] {
                assert!(!page.contains(part), "{part:?} is in\n{page}");
            }
            assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "{page}");
        }
        let long = Failure::Unreachable("x".repeat(100_000)).page(&site());
        assert!(long.len() < 8000, "{}", long.len());
    }

    #[test]
    fn a_page_says_what_was_expected_and_what_was_shown_and_what_can_be_done() {
        let failure = Failure::AnotherKey { expected: "the key abc".into(), shown: "the key def".into() };
        let page = failure.page(&site());
        for part in
            ["the key abc", "the key def", "If you are a visitor", "If this is your site", &site().text]
        {
            assert!(page.contains(part), "{part} is not in\n{page}");
        }
        assert_eq!(sentence("there is none"), "There is none.");
    }

    #[test]
    fn of_an_address_that_a_client_cannot_reach_nothing_is_told() {
        let told = |failure| {
            let failure = Failure::Withheld(Box::new(failure));
            (failure.status(), failure.proxy_status(), failure.page(&site()))
        };
        let first = told(Failure::Unreachable("no connection to 127.0.0.1:22: refused".into()));
        assert!(first.2.contains("could not be verified"), "{}", first.2);
        for failure in [
            Failure::AnotherKey { expected: "the key abc".into(), shown: "the key def".into() },
            Failure::HandshakeRefused("an alert".into()),
            Failure::TimedOut("ten seconds".into()),
        ] {
            let kind = format!("{failure:?}");
            assert!(told(failure) == first, "{kind}");
        }
    }

    #[test]
    fn programs_are_told_what_the_page_says() {
        let failure = Failure::AnotherKey { expected: "the \"key\" \r\nabc".into(), shown: "\u{fc}".into() };
        assert_eq!(
            failure.proxy_status(),
            "pkdns-bridge; error=tls_certificate_error; details=\"The site showed ? instead of the 'key' ??abc.\""
        );
        assert!(Failure::Unreachable("x".repeat(5000)).proxy_status().len() < 1100);
    }
}
