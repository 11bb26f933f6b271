//! The foot of every page: who runs this server, what it writes down, and which release it is. Pure.

use super::html::escape;
use crate::base::config::{Config, DnstapClients, QueryLogLevel};

/// Which release this is, and where its source is.
pub(super) const VERSION: &str = concat!(
    "<p>pkdns ",
    env!("CARGO_PKG_VERSION"),
    " · <a href=\"",
    env!("CARGO_PKG_REPOSITORY"),
    "\" rel=\"noreferrer\">Source</a></p>"
);

/// As configured, in HTML.
pub(super) fn footer(config: &Config) -> String {
    format!("{}<p>{}</p>{VERSION}", operator(config), what_is_kept(config))
}

fn operator(config: &Config) -> String {
    let operator = &config.operator;
    let Some(first) = operator.contact.first() else { return String::new() };
    let name = match operator.name.as_str() {
        "" => String::new(),
        name => format!("Run by {}. ", escape(name)),
    };
    let shown = first.strip_prefix("mailto:").unwrap_or(first);
    let policy = match operator.policy.as_str() {
        "" => String::new(),
        page => format!(" · <a href=\"{}\">Rules</a>", escape(page)),
    };
    format!(
        "<p>{name}Contact: <a href=\"{}\">{}</a>{policy} · <a href=\"/abuse\">Report a key</a></p>",
        escape(first),
        escape(shown)
    )
}

/// What the configuration has written down of those who ask. No promise: it is what is so now.
fn what_is_kept(config: &Config) -> String {
    let log = match config.query_log.level {
        _ if config.verbose => {
            "The log of this server has each question, with the address that it came from."
        }
        QueryLogLevel::Full => "This server writes down each question, with the address that it came from.",
        QueryLogLevel::Truncated => {
            "This server writes down each question, with the network that it came from (the first 24 bits of an IPv4 address, \
             48 of IPv6)."
        }
        QueryLogLevel::Counts => {
            "This server counts questions. It writes down neither names nor who asks for them."
        }
        QueryLogLevel::Off => "This server writes down neither names nor who asks for them.",
    };
    let copies = match (&config.dnstap.to, config.dnstap.clients) {
        (None, _) => "",
        (Some(_), DnstapClients::Truncated) => {
            " A collector of its operator gets a copy of each question, with the network that it came from."
        }
        (Some(_), DnstapClients::Full) => {
            " A collector of its operator gets a copy of each question, with the address that it came from."
        }
    };
    let relayed = " Names that are no keys go on to other resolvers, which do not learn who asked.";
    format!("{log}{copies}{relayed}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> String {
        footer(&toml::from_str(text).unwrap())
    }

    #[test]
    fn what_is_said_to_be_written_down_is_what_the_configuration_has_written_down() {
        for (text, said) in [
            ("", "writes down neither names"),
            ("verbose = true", "with the address that it came from"),
            ("query_log.level = 'counts'", "counts questions"),
            ("query_log.level = 'truncated'", "with the network"),
            ("query_log.level = 'full'", "with the address that it came from"),
            (
                "dnstap.to = 'tcp://127.0.0.1:6000'",
                "collector of its operator gets a copy of each question, with the network",
            ),
            (
                "dnstap = { to = 'tcp://127.0.0.1:6000', clients = 'full' }",
                "copy of each question, with the address",
            ),
        ] {
            assert!(of(text).contains(said), "{text}: {}", of(text));
        }
        assert!(!of("dnstap = { to = 'tcp://127.0.0.1:6000' }\nverbose = true").contains("neither"));
    }

    #[test]
    fn the_operator_is_named_with_a_way_to_write_and_no_markup_of_its_own() {
        let text = of("operator.contact = ['mailto:a@example.net', 'tel:+1']\noperator.name = '<b>R&D</b>'");
        assert!(text.contains(
            "Run by &lt;b&gt;R&amp;D&lt;/b&gt;. Contact: <a href=\"mailto:a@example.net\">a@example.net</a>"
        ));
        assert!(!of("").contains("Contact") && !of("").contains("/abuse"), "nobody to write to");
        assert!(of("").contains(env!("CARGO_PKG_VERSION")));
    }
}
