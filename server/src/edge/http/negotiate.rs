//! What form of an answer a client would like best (RFC 9110 section 12.5.1).

use axum::http::{HeaderMap, header};

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// A DNS message.
    Message,
    /// JSON under the media type that the interfaces of others have for it.
    DnsJson,
    /// The same under a media type that browsers show.
    Json,
}

impl Format {
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Message => "application/dns-message",
            Self::DnsJson => "application/dns-json",
            Self::Json => "application/json",
        }
    }

    fn default_for(is_json: bool) -> Self {
        if is_json { Self::DnsJson } else { Self::Message }
    }
}

/// The form that `Accept` likes best; where it likes several equally, JSON for a question that came in parameters and a
/// message for one that came as a message. Where it names nothing that there is, that usual form all the same, as all public
/// servers do (RFC 9110 section 12.5.1 leaves it open): some clients ask for what others once called their media type.
/// `None` if it rules out whatever there is.
pub(super) fn negotiate(headers: &HeaderMap, is_json: bool) -> Option<Format> {
    let usual = Format::default_for(is_json);
    let mut values = headers.get_all(header::ACCEPT).iter();
    match (values.next(), values.next()) {
        (None, _) => return Some(usual),
        // What nearly everyone sends.
        (Some(only), None) if only == Format::Message.media_type() => return Some(Format::Message),
        (Some(only), None) if only == "*/*" => return Some(usual),
        _ => {}
    }
    let wishes: Vec<Wish<'_>> = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(Wish::read)
        .collect();
    if wishes.is_empty() {
        return Some(usual);
    }
    let is_browser = wishes.iter().any(|wish| wish.media_type.eq_ignore_ascii_case("text/html"));
    let usual = if is_json && is_browser { Format::Json } else { usual };
    let others =
        [Format::Message, Format::DnsJson, Format::Json].into_iter().filter(|format| *format != usual);
    let weigh = |format: Format| {
        let fitting = wishes.iter().filter_map(|wish| Some((wish.precision(format)?, wish.weight)));
        // The most precise word on a format is the one that counts.
        fitting.max().map(|(precision, weight)| (weight, precision)).filter(|(weight, _)| *weight > 0)
    };
    let mut best = weigh(usual).map(|weight| (weight, usual));
    for format in others {
        if let Some(weight) = weigh(format)
            && best.is_none_or(|(best, _)| weight > best)
        {
            best = Some((weight, format));
        }
    }
    let is_ruled_out = wishes.iter().any(|wish| wish.weight == 0 && wish.precision(usual).is_some());
    best.map(|(_, format)| format).or_else(|| (!is_ruled_out).then_some(usual))
}

/// One element of `Accept`.
struct Wish<'a> {
    media_type: &'a str,
    /// In thousandths.
    weight: u16,
}

impl<'a> Wish<'a> {
    fn read(element: &'a str) -> Option<Self> {
        let mut parts = element.split(';').map(str::trim);
        let media_type = parts.next().filter(|media_type| !media_type.is_empty())?;
        let weight = parts.find_map(|part| {
            let (name, value) = part.split_once('=')?;
            name.trim().eq_ignore_ascii_case("q").then(|| weight(value.trim()))
        });
        Some(Self { media_type, weight: weight.unwrap_or(1000) })
    }

    /// How precisely this means the format, or `None` if it means something else.
    fn precision(&self, format: Format) -> Option<u8> {
        let is = |media_type: &str| self.media_type.eq_ignore_ascii_case(media_type);
        match () {
            () if is(format.media_type()) => Some(2),
            () if is("application/*") => Some(1),
            () if is("*/*") => Some(0),
            () => None,
        }
    }
}

/// From 0 to 1 in thousandths; what cannot be read is taken for 1.
fn weight(text: &str) -> u16 {
    match text.parse::<f32>() {
        Ok(number) if (0.0..=1.0).contains(&number) => (number * 1000.0).round() as u16,
        _ => 1000,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn negotiated(values: &[&str], is_json: bool) -> Option<Format> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::ACCEPT, value.parse().unwrap());
        }
        negotiate(&headers, is_json)
    }

    #[test]
    fn the_form_that_is_liked_best_is_given() {
        use Format::{DnsJson, Json, Message};
        for (accept, message, json) in [
            (&[][..], Some(Message), Some(DnsJson)),
            (&["*/*"], Some(Message), Some(DnsJson)),
            (&[""], Some(Message), Some(DnsJson)),
            (&["application/*"], Some(Message), Some(DnsJson)),
            (&["application/dns-message"], Some(Message), Some(Message)),
            (&["Application/DNS-Message; q=0.5"], Some(Message), Some(Message)),
            (&["application/dns-json"], Some(DnsJson), Some(DnsJson)),
            (&["application/json"], Some(Json), Some(Json)),
            (&["application/dns-json, application/dns-message;q=0.9"], Some(DnsJson), Some(DnsJson)),
            (&["application/dns-json;q=0.1, application/dns-message"], Some(Message), Some(Message)),
            (&["application/dns-json, */*"], Some(DnsJson), Some(DnsJson)),
            (&["application/dns-message", "application/dns-json"], Some(Message), Some(DnsJson)),
            (&["text/html", "*/*;q=0.1"], Some(Message), Some(Json)),
            (
                &["text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"],
                Some(Message),
                Some(Json),
            ),
            (&["application/dns-message;q=0, */*"], Some(DnsJson), Some(DnsJson)),
            (&["application/dns-message;q=nonsense"], Some(Message), Some(Message)),
            (&["text/html"], Some(Message), Some(Json)),
            (&["application/dns-udpwireformat"], Some(Message), Some(DnsJson)),
            (&["application/dns+json"], Some(Message), Some(DnsJson)),
            (&["*/*;q=0"], None, None),
            (&["image/*, application/dns-message;q=0.0"], None, Some(DnsJson)),
        ] {
            assert_eq!(negotiated(accept, false), message, "{accept:?}");
            assert_eq!(negotiated(accept, true), json, "{accept:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        #[test]
        fn any_value_is_weighed(value in "[ -~]{0,60}") {
            let _ = (negotiated(&[&value], true), negotiated(&[&value], false));
        }
    }
}
