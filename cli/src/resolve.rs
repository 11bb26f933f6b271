//! `resolve`: what the DHT holds of a key.

use std::path::PathBuf;

use clap::Args;
use pkdns_dht::{
    Evidence,
    signed_packet::{MAX_DNS_SIZE, SignedPacket},
};
use serde::Serialize;

use crate::{
    failure::{EXIT_CODES, Failure},
    name::{self, PublicName},
    network, publish,
    records::{self, TextRecord},
    seed::{self, PassphraseArguments},
    sources::{Holdings, RelayReport},
    terminal,
    time::{age, now},
};

/// Look up the records of a key, or of a name in its zone, on the DHT
#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    /// KEY, KEY.key, NAME.KEY, pk:KEY or the address of a page, in any case
    #[arg(value_parser = name::parse, required_unless_present = "seed", conflicts_with = "seed")]
    name: Option<PublicName>,
    /// Seed file of the key, in place of the key
    #[arg(long, value_name = "FILE")]
    seed: Option<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseArguments,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Resolved {
    key: String,
    /// Microseconds since 1970, by the owner's clock.
    timestamp: u64,
    /// Seconds; negative where the packet is dated in the future.
    age: i64,
    /// Bytes of the 1000 that a packet may hold.
    size: usize,
    nodes_queried: u32,
    nodes_responded: u32,
    /// What the relays gave, if any were named.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    relays: Vec<RelayReport>,
    records: Vec<TextRecord>,
    /// Where an alias leads to that the packet does not hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    leads_to: Option<String>,
}

pub(crate) fn run(arguments: &Arguments, network: &network::NetworkArguments) -> Result<(), Failure> {
    let name = &arguments.name()?;
    network::block_on(async {
        terminal::progress("searching the DHT…");
        let Holdings { dht, relays, newest } = network.sources()?.read(&name.key).await?;
        let packet = match (newest, &dht) {
            (Some(packet), _) => packet,
            (None, Err(_)) => {
                return Err(Failure::Unreachable(format!(
                    "no relay holds a packet of {}, and the DHT, which may hold one, could not be asked: try again",
                    name.key
                )));
            }
            (None, Ok((_, evidence))) => return Err(absent(name, *evidence)),
        };
        let now = now();
        let resolved =
            Resolved { relays, ..resolved(&packet, dht.ok().map(|(_, evidence)| evidence), name, now)? };
        if arguments.json {
            terminal::print_json(&resolved)
        } else {
            terminal::print(&report(&resolved, now))?;
            if let Some(page) = publish::page(&resolved.records) {
                terminal::hint(&format!("Open it in a browser that asks a pkdns:\n  {page}"));
            }
            Ok(())
        }
    })
}

impl Arguments {
    fn name(&self) -> Result<PublicName, Failure> {
        match (&self.name, &self.seed) {
            (Some(name), _) => Ok(name.clone()),
            (None, Some(file)) => {
                Ok(PublicName::of(seed::secret_key(file, self.passphrase.source())?.public_key()))
            }
            (None, None) => Err(Failure::Failed("a key is needed, or --seed with its seed file".to_string())),
        }
    }
}

fn absent(name: &PublicName, evidence: Evidence) -> Failure {
    Failure::Failed(format!(
        "there is no packet of {}: {} of {} DHT nodes answered, and none of them holds one; check the key, or have its owner \
         publish it",
        name.key, evidence.responded, evidence.queried
    ))
}

/// Without the relays. `evidence` is that of the DHT, if it could be asked.
fn resolved(
    packet: &SignedPacket,
    evidence: Option<Evidence>,
    name: &PublicName,
    now: u64,
) -> Result<Resolved, Failure> {
    let all = records::read(packet.dns(), packet.key());
    let count = all.len();
    let (records, leads_to) = if name.is_apex { (all, None) } else { led_to(&all, &name.name) };
    if records.is_empty() && !name.is_apex {
        return Err(Failure::Failed(format!(
            "there is no {} in the packet of its key, signed {}, which holds {count} records of other names: resolve the key alone to see them",
            name.name.trim_end_matches('.'),
            age(packet.timestamp(), now),
        )));
    }
    let seconds = i64::try_from(now.abs_diff(packet.timestamp()) / 1_000_000).unwrap_or(i64::MAX);
    Ok(Resolved {
        key: packet.key().to_z32(),
        timestamp: packet.timestamp(),
        age: if now < packet.timestamp() { -seconds } else { seconds },
        size: packet.dns().len(),
        nodes_queried: evidence.map_or(0, |evidence| evidence.queried),
        nodes_responded: evidence.map_or(0, |evidence| evidence.responded),
        relays: Vec::new(),
        records,
        leads_to,
    })
}

/// The records of a name, and of those that its aliases lead to inside of the packet. And the name to which they lead out of
/// it.
fn led_to(all: &[TextRecord], name: &str) -> (Vec<TextRecord>, Option<String>) {
    let mut names = vec![name.to_string()];
    let mut records: Vec<TextRecord> = Vec::new();
    let mut leads_to = None;
    // A name that has been seen is not followed again, so that this ends.
    for at in 0.. {
        let Some(name) = names.get(at).cloned() else { break };
        let owner = owner_of(all, &name);
        if at > 0 && !all.iter().any(|record| record.name == owner) {
            leads_to = Some(name.clone());
        }
        for record in all.iter().filter(|record| record.name == owner) {
            let target = record.data.to_ascii_lowercase();
            if record.record_type == "CNAME" && !names.contains(&target) {
                names.push(target);
            }
            records.push(record.clone());
        }
    }
    (records, leads_to)
}

/// Whose records a resolver answers with: those of the name itself, or of the wildcard right below the closest name above it
/// that there is (RFC 4592 section 3.3.1).
fn owner_of(all: &[TextRecord], name: &str) -> String {
    let is_there = |name: &str| {
        all.iter().any(|record| {
            let above = record.name.strip_suffix(name);
            above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
        })
    };
    if is_there(name) {
        return name.to_owned();
    }
    let above = name.match_indices('.').filter_map(|(at, _)| name.get(at + 1..));
    let closest = above.filter(|above| !above.is_empty()).find(|above| is_there(above));
    closest.map_or_else(|| name.to_owned(), |above| format!("*.{above}"))
}

fn report(resolved: &Resolved, now: u64) -> String {
    let Resolved { key, timestamp, size, nodes_queried: queried, nodes_responded: responded, .. } = resolved;
    let dht = match queried {
        0 => "the DHT could not be asked".to_string(),
        _ => format!("{responded} of {queried} DHT nodes answered"),
    };
    let relays = resolved.relays.iter().map(|report| match (report.timestamp, &report.error) {
        (Some(signed), _) if signed == *timestamp => format!("{} has this packet\n", report.relay),
        (Some(_), _) => format!("{} has an older packet\n", report.relay),
        (None, None) => format!("{} has no packet\n", report.relay),
        (None, Some(_)) => format!("{} could not be asked\n", report.relay),
    });
    let relays: String = relays.collect();
    let records = match resolved.records.as_slice() {
        [] => "The packet holds no records.\n".to_string(),
        records => records::table(records),
    };
    let elsewhere = resolved.leads_to.as_ref().map_or_else(String::new, |name| {
        format!(
            "\nThe alias leads to {name}, which this packet does not hold: a resolver finds its address.\n"
        )
    });
    format!(
        "{key}\n\
         signed {}, {size} of {MAX_DNS_SIZE} bytes, {dht}\n\
         {relays}\n\
         {records}{elsewhere}",
        age(*timestamp, now),
    )
}

#[cfg(test)]
mod tests {
    use pkdns_dht::signed_packet::PublicKey;

    use super::*;
    use crate::testing::{from_hex, key, secret_key};

    const EVIDENCE: Evidence = Evidence { queried: 20, responded: 17, held: 0 };

    /// A packet made with pkarr.
    const PACKET_B: &str = "\
        3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29\
        9880b266202612827e0a2776ecc7720b72d64ae7f566dc8ffd8b2216b9b8f943\
        3f348a069f445f0fc89f7cd19eefac2a657a47959378c3388fda2de0cb24640d\
        00060a24181e4000\
        0000800000000004000000003438\
        70696e787867717334316e346169646964656e773561707170317572666d7a647a7472386a74346162726b646e34333565776f\
        00000100010000012c00047f000001\
        03777777c00c000500010000012c0002c00c\
        065f7075626b79c00c001000010000003c000403763d31\
        c00c0041000100000e1000090001000003000220fb";

    /// Packet A: one record.
    const PACKET_A: &str = "\
        3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29\
        3539735e64a70c9dee5df9ae8fdeb8d382785d88fe0001a3cb3a151056bd9065\
        537f575de517477abd70d69cf88224de9ecbfda54fc1ce75bfe0db665871af03\
        0000000000000001\
        0000800000000001000000003438\
        70696e787867717334316e346169646964656e773561707170317572666d7a647a7472386a74346162726b646e34333565776f\
        00000100010000003c00047f000001";

    fn packet(hex: &str) -> SignedPacket {
        let bytes = from_hex(hex);
        let key = PublicKey::try_from(&bytes[..32]).unwrap();
        let timestamp = u64::from_be_bytes(bytes[96..104].try_into().unwrap());
        SignedPacket::verify(key, timestamp, bytes[32..96].try_into().unwrap(), &bytes[104..]).unwrap()
    }

    fn shown(packet: &SignedPacket, name: &str, now: u64) -> String {
        report(&resolved(packet, Some(EVIDENCE), &name::parse(name).unwrap(), now).unwrap(), now)
    }

    #[test]
    fn a_packet_that_pkarr_made_is_shown_as_a_table() {
        let packet = packet(PACKET_B);
        let key = packet.key().to_z32();
        assert_eq!(
            shown(&packet, &key, packet.timestamp() + 185_000_000),
            format!(
                "{key}\n\
                 signed 3 minutes ago, 142 of 1000 bytes, 17 of 20 DHT nodes answered\n\
                 \n\
                 NAME    TTL   TYPE   DATA\n\
                 @       300   A      127.0.0.1\n\
                 www     300   CNAME  {key}.\n\
                 _pubky  60    TXT    \"v=1\"\n\
                 @       3600  HTTPS  1 . port=8443\n"
            )
        );
    }

    #[test]
    fn a_packet_from_long_ago_or_from_the_future_is_shown() {
        let packet = packet(PACKET_A);
        let key = packet.key().to_z32();
        assert!(shown(&packet, &key, 1_700_000_000_000_000).contains("signed 53 years ago, 80 of 1000"));
        assert!(shown(&packet, &key, 0).contains("signed 0 seconds in the future"));
    }

    #[test]
    fn a_name_below_the_key_is_shown_alone() {
        let packet = packet(PACKET_B);
        let text = shown(&packet, &format!("WWW.{}.key", packet.key()), packet.timestamp());
        assert!(text.contains("www   300   CNAME") && !text.contains("_pubky"), "{text}");
        // What a browser would get to is shown as well.
        assert!(text.contains("  A      127.0.0.1"), "{text}");
    }

    fn alias(name: &str, target: &str) -> TextRecord {
        TextRecord {
            owner: name.into(),
            name: name.into(),
            ttl: 1,
            record_type: "CNAME".into(),
            data: target.into(),
        }
    }

    #[test]
    fn aliases_that_lead_in_a_circle_are_followed_once() {
        let all = [alias("a.", "B."), alias("b.", "a."), alias("c.", "a.")];
        assert_eq!(led_to(&all, "a."), (all[..2].to_vec(), None));
    }

    #[test]
    fn an_alias_that_leads_out_of_the_packet_says_where_to() {
        let all = [alias("www.key.", "shop.key."), alias("shop.key.", "example.com.")];
        assert_eq!(led_to(&all, "www.key."), (all.to_vec(), Some("example.com.".into())));
        let resolved = Resolved {
            key: "key".into(),
            timestamp: 1,
            age: 0,
            size: 80,
            nodes_queried: 1,
            nodes_responded: 1,
            relays: Vec::new(),
            records: all.to_vec(),
            leads_to: Some("example.com.".into()),
        };
        assert!(report(&resolved, 1).ends_with(
            "leads to example.com., which this packet does not hold: a resolver finds its address.\n"
        ));
    }

    #[test]
    fn a_name_without_records_of_its_own_has_those_of_the_wildcard_above_it() {
        let all = [alias("*.key.", "a.key."), alias("a.b.key.", "a.key."), alias("*.b.key.", "c.key.")];
        for (name, expected) in [
            ("x.key.", "*.key."),
            ("x.y.key.", "*.key."),
            ("x.b.key.", "*.b.key."),
            ("a.b.key.", "a.b.key."),
            // It is there, without records: a name below it has some.
            ("b.key.", "b.key."),
            ("xkey.", "xkey."),
        ] {
            assert_eq!(owner_of(&all, name), expected, "{name}");
        }
    }

    #[test]
    fn a_name_that_the_packet_does_not_hold_is_a_failure() {
        let packet = packet(PACKET_B);
        let name = name::parse(&format!("mail.{}", packet.key())).unwrap();
        let Err(Failure::Failed(message)) = resolved(&packet, Some(EVIDENCE), &name, packet.timestamp())
        else {
            panic!("found mail");
        };
        assert!(
            message.starts_with(&format!("there is no mail.{} in the packet", packet.key())),
            "{message}"
        );
    }

    #[test]
    fn a_packet_without_records_is_shown() {
        let packet = SignedPacket::sign(&secret_key(), 1, &[0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        assert!(shown(&packet, &key().to_z32(), 1).ends_with("The packet holds no records.\n"));
    }
}
