use hickory_proto::rr::{
    Name, RData, Record, RecordType,
    rdata::{NULL, TXT},
};
use pkdns_dht::signed_packet::{Keypair, SignedPacket};

use super::*;
use crate::{
    base::{config::Config, metrics::Farthest},
    resolver::{OwnZone, inspection::InspectedRecord},
    sources::packets::Found,
};

/// A zone with these records, as it would be looked at.
fn inspected(records: Vec<Record>) -> Inspected {
    let packet = SignedPacket::sign(&Keypair::from_secret_key(&[1; 32]), 1, &[0; 12]).unwrap();
    let time = Duration::from_secs(5);
    let shown = |record: Record| InspectedRecord { signed_ttl: record.ttl, record, is_withheld: false };
    Inspected {
        found: Found { packet, age: time, fresh_for: time, refresh_in: time, stale: None },
        from: Farthest::Dht,
        records: records.into_iter().map(shown).collect(),
        is_readable: true,
        sighting: Sighting::default(),
    }
}

fn html(outcome: &Outcome) -> String {
    let about = About::new(&Config::default(), std::sync::Arc::new(OwnZone::new()), None, Vec::new());
    let origin =
        Origin { scheme: "https", host: "dns.example".into(), port: None, authority: "dns.example".into() };
    let key = Keypair::from_secret_key(&[1; 32]).public_key();
    Page { about: &about, origin: &origin, key: &key, now: UNIX_EPOCH + Duration::from_secs(9) }.html(outcome)
}

/// What stands outside of tags. Fails where a tag is none of ours or an attribute could end early.
fn texts(page: &str) -> String {
    let (mut texts, mut rest) = (String::new(), page);
    while let Some((text, tag)) = rest.split_once('<') {
        texts += text;
        let (tag, after) = tag.split_once('>').expect("a tag that ends");
        let is_ours = |byte: u8| byte.is_ascii_alphanumeric() || b" \n=\"/-_.:;,#%()!".contains(&byte);
        assert!(tag.bytes().all(is_ours), "<{tag}>");
        assert_eq!(tag.matches('"').count() % 2, 0, "<{tag}>");
        let name: String =
            tag.trim_start_matches('/').chars().take_while(char::is_ascii_alphanumeric).collect();
        let known = [
            "h1", "h2", "h3", "span", "dl", "dt", "dd", "div", "a", "form", "button", "table", "thead",
            "tbody", "tr", "th", "td", "p", "code", "svg", "rect", "path", "ol", "li", "input",
        ];
        assert!(known.contains(&&*name), "<{tag}>");
        rest = after;
    }
    texts + rest
}

#[test]
fn no_byte_of_a_record_gets_out_of_its_cell() {
    let all: Vec<u8> = (0..=u8::MAX).collect();
    let mut records = Vec::new();
    for label in all.chunks(32) {
        let name = Name::from_labels([label, &b"x"[..]]).unwrap();
        records.push(Record::from_rdata(name, 60, RData::TXT(TXT::from_bytes(vec![label]))));
    }
    for hostile in [
        "</td><script>alert(1)</script>",
        "\" onmouseover=\"alert(1)",
        "{{key}}{{find}}",
        "&lt;b&gt;",
        "\u{202e}gnirts\u{2066}",
        "<!--",
    ] {
        let owner = Name::from_labels([&hostile.as_bytes()[..hostile.len().min(40)], &b"x"[..]]).unwrap();
        records.push(Record::from_rdata(owner, 60, RData::TXT(TXT::from_bytes(vec![hostile.as_bytes()]))));
    }
    records.push(Record::from_rdata(
        Name::root(),
        60,
        RData::Unknown { code: RecordType::from(65_280), rdata: NULL::with(all) },
    ));
    let count = records.len();
    let page = html(&Outcome::Packet(Box::new(inspected(records))));
    assert_eq!(page.matches("<tr><td").count(), count, "{page}");
    let texts = texts(&page);
    for character in texts.chars() {
        let is_odd =
            character.is_control() && character != '\n' || ('\u{200b}'..='\u{206f}').contains(&character);
        assert!(!is_odd && !matches!(character, '<' | '>' | '"'), "{character:?}");
    }
    // Each ampersand begins one of the few references that we write.
    for reference in texts.split('&').skip(1) {
        let known = ["amp;", "lt;", "gt;", "quot;", "#39;"];
        assert!(
            known.iter().any(|known| reference.starts_with(known)),
            "&{}",
            &reference[..reference.len().min(9)]
        );
    }
    assert!(!page.contains("<script>") && page.contains("&lt;script&gt;"), "it is shown as what it is");
}

#[test]
fn every_outcome_has_a_page_that_says_what_to_do() {
    for (outcome, part) in [
        (Outcome::Absent, "pkdns-cli publish"),
        (
            Outcome::Denied("the operator of this server denies this key"),
            "The operator of this server denies this key.",
        ),
        (Outcome::Failed(ResolveError::LookupQuota), "Wait a minute"),
        (
            Outcome::Failed(ResolveError::Network(pkdns_dht::NetworkError::NotReady)),
            "The DHT has not been joined yet.",
        ),
        (Outcome::Failed(ResolveError::Deadline), "load the page again"),
    ] {
        let page = html(&outcome);
        assert!(page.contains(part), "{page}");
        texts(&page);
    }
}

#[test]
fn a_time_is_told_in_its_two_greatest_units() {
    for (seconds, text) in
        [(0, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (7200, "2 h 0 min"), (90_000, "1 d 1 h")]
    {
        assert_eq!(duration(Duration::from_secs(seconds)), text);
    }
}

#[test]
fn a_name_is_shown_without_its_zone() {
    let zone = "8qhdp5s8jjmxmqam3bpg9kzeg7x8teztuwrfgxw5ikn9z5bt15uy.";
    assert_eq!(own_part(zone, zone), "@");
    assert_eq!(own_part(&format!("_a.b.{zone}"), zone), "_a.b");
    assert_eq!(own_part("elsewhere.", zone), "elsewhere.");
}
