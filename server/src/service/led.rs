//! Who is led to the bridge, and by which questions. Asked for every query, so that it looks at bytes.

use hickory_proto::rr::{DNSClass, RecordType};

use super::Transport;
use crate::base::{
    config::{Bridge, LedClients},
    message::Question,
};

/// Letters and digits in the label of a key.
const KEY_LABEL_SIZE: u8 = 52;

/// The listeners whose clients are led to the bridge. None, where there is no bridge.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Led {
    dns: bool,
    tls: bool,
    https: bool,
    http: bool,
}

impl Led {
    pub(super) fn new(bridge: &Bridge) -> Self {
        let has = |clients| bridge.is_enabled() && bridge.clients_of.contains(&clients);
        Self {
            dns: has(LedClients::Dns),
            tls: has(LedClients::Tls),
            https: has(LedClients::Https),
            http: has(LedClients::Http),
        }
    }

    /// Whether the answer to a question that came in there may be the bridge. Every other is the same for all clients, and kept
    /// once for all of them.
    pub(super) fn leads(&self, transport: Transport, question: &Question) -> bool {
        let is_led = match transport {
            Transport::Udp | Transport::Tcp => self.dns,
            Transport::Tls => self.tls,
            Transport::Http => self.https,
            Transport::PlainHttp => self.http,
        };
        is_led
            && matches!(question.record_type(), RecordType::A | RecordType::AAAA | RecordType::HTTPS)
            && question.class() == DNSClass::IN
            && may_have_suffix(question.wire_name())
    }
}

/// Whether a name has a label that may be a key, and another behind it: no certificate can be made for a bare key.
fn may_have_suffix(mut name: &[u8]) -> bool {
    while let Some((length @ 1.., rest)) = name.split_first() {
        name = rest.get(usize::from(*length)..).unwrap_or_default();
        if *length == KEY_LABEL_SIZE && name.first().is_some_and(|length| *length > 0) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::message::absolute_name;

    const KEY: &str = "8qhdp5s8jjmxmqam3bpg9kzeg7x8teztuwrfgxw5ikn9z5bt15uy";

    fn leads(bridge: &str, transport: Transport, name: &str, record_type: RecordType) -> bool {
        let led = Led::new(&toml::from_str(bridge).unwrap());
        led.leads(
            transport,
            &Question::new(&absolute_name(name).unwrap(), record_type, DNSClass::IN).unwrap(),
        )
    }

    #[test]
    fn clients_of_the_listeners_that_are_named_are_led_and_no_others() {
        use Transport::{Http, PlainHttp, Tcp, Tls, Udp};
        let name = format!("{KEY}.key");
        for (bridge, expected) in [
            ("", &[][..]),
            ("clients_of = ['dns']", &[]),
            ("listen = '127.0.0.1'", &[Udp, Tcp, Tls, Http, PlainHttp]),
            ("listen = '127.0.0.1'\nclients_of = ['dns']", &[Udp, Tcp]),
            ("listen = '127.0.0.1'\nclients_of = ['tls']", &[Tls]),
            ("listen = '127.0.0.1'\nclients_of = ['https']", &[Http]),
            ("listen = '127.0.0.1'\nclients_of = ['http']", &[PlainHttp]),
        ] {
            for transport in [Udp, Tcp, Tls, Http, PlainHttp] {
                let is_led = leads(bridge, transport, &name, RecordType::A);
                assert_eq!(is_led, expected.contains(&transport), "{bridge} {transport:?}");
            }
        }
    }

    #[test]
    fn only_what_a_site_is_found_by_may_be_answered_otherwise() {
        for (name, record_type, expected) in [
            (format!("{KEY}.key"), RecordType::A, true),
            (format!("www.{KEY}.key"), RecordType::AAAA, true),
            (format!("www.{KEY}.pk.example.net"), RecordType::HTTPS, true),
            (format!("www.{KEY}.key"), RecordType::TXT, false),
            (format!("_443._tcp.{KEY}.key"), RecordType::TLSA, false),
            (KEY.to_string(), RecordType::A, false),
            (format!("www.{KEY}"), RecordType::A, false),
            ("www.example.com".into(), RecordType::A, false),
            (".".into(), RecordType::A, false),
        ] {
            let is_led = leads("listen = '127.0.0.1'", Transport::Udp, &name, record_type);
            assert_eq!(is_led, expected, "{name} {record_type}");
        }
    }
}
