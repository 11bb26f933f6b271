//! A zone as people see it. Pure.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pkdns_dht::signed_packet::{MAX_DNS_SIZE, PublicKey};

use super::{
    About, Origin,
    html::{escape, fill},
    qr,
    zone::{FIND, Outcome},
    zone_json::{WrittenRecord, date, seconds_since, source, written},
};
use crate::{
    resolver::{error::ResolveError, inspection::Inspected},
    sources::packets::Sighting,
};

const PAGE: &str = include_str!("../zone.html");

pub(super) struct Page<'a> {
    pub(super) about: &'a About,
    pub(super) origin: &'a Origin,
    pub(super) key: &'a PublicKey,
    pub(super) now: SystemTime,
}

impl Page<'_> {
    /// What stands between head and foot.
    pub(super) fn html(&self, outcome: &Outcome) -> String {
        match outcome {
            Outcome::Packet(inspected) => self.zone(inspected),
            Outcome::Absent => self.nothing(
                "This key has no zone",
                "Nobody has published one for it, or its nodes have forgotten it: they drop what is not stored again within a \
                 few hours. If it is your key, <code>pkdns-cli publish</code> stores its zone, and <code>--watch</code> keeps it \
                 there.",
            ),
            Outcome::Denied(reason) => self.nothing(
                "This key is not answered for",
                &format!("{}. Other servers may still answer for it.", escape(&capitalised(reason))),
            ),
            Outcome::Failed(ResolveError::LookupQuota | ResolveError::QueryQuota) => self.nothing(
                "Too many lookups",
                "You have asked for as many keys as this server lets one visitor ask for. Wait a minute, then load the page \
                 again.",
            ),
            Outcome::Failed(error) => self.nothing(
                "The DHT cannot be asked now",
                &format!(
                    "{}. That says nothing about the key: load the page again in a moment.",
                    escape(&capitalised(&error.to_string()))
                ),
            ),
        }
    }

    fn nothing(&self, title: &str, text: &str) -> String {
        let key = self.key.to_z32();
        format!(
            "<h1 class=\"plain\">{title}</h1><p><span class=\"over\">Key</span><span class=\"key\">{key}</span></p>\
             <p class=\"lead\">{text}</p><div class=\"actions\"><a class=\"button\" href=\"/zone/{key}\">Look again</a></div>\
             <h2>Look up another key</h2>{}",
            FIND
        )
    }

    fn zone(&self, inspected: &Inspected) -> String {
        let key = self.key.to_z32();
        let address = format!("http://{}/", self.about.host_of(&key));
        let page = format!("{}/zone/{key}", self.origin.url());
        let records = match inspected.is_readable {
            true => self.records(&written(inspected)),
            false => String::from(
                "<p class=\"warning\">The key has signed this packet, and the DNS message in it cannot be read. It is answered as \
                 if there were none.</p>",
            ),
        };
        fill(
            PAGE,
            &[
                ("key", &key),
                ("notice", &notice(inspected)),
                ("facts", &self.facts(inspected)),
                ("records", &records),
                ("address", &address),
                ("page", &page),
                ("qr", &qr::drawing(&address, "QR code with the address of the site")),
                ("history", &self.history(&inspected.sighting)),
                ("find", FIND),
            ],
        )
    }

    fn facts(&self, inspected: &Inspected) -> String {
        let packet = &inspected.found.packet;
        let signed = UNIX_EPOCH.checked_add(Duration::from_micros(packet.timestamp()));
        let age = match signed.map(|signed| self.now.duration_since(signed)) {
            Some(Ok(age)) => format!("{} ago", duration(age)),
            // By a clock that is ahead of ours.
            Some(Err(_)) | None => "in the future, by the clock of its owner".to_owned(),
        };
        let from = match source(inspected.from) {
            "memory" => "The memory of this server",
            "disk" => "The disk of this server",
            "shared_store" => "The store that this server shares with others",
            _ if self.about.has_relays => "The DHT, or a relay",
            _ => "The DHT",
        };
        let heard = format!("heard of in the network {} ago", duration(inspected.found.age));
        let holders = match inspected.sighting.holders {
            Some(holders) => (
                format!("{} of {}", holders.held, holders.responded),
                format!(
                    "that answered, {} ago",
                    duration(Duration::from_secs(seconds_since(holders.counted, self.now)))
                ),
            ),
            None if source(inspected.from) == "dht" => {
                ("Not known yet".to_owned(), "the search goes on: load the page again in a moment".to_owned())
            }
            None => ("Not counted".to_owned(), "since this server started".to_owned()),
        };
        let size = packet.dns().len();
        let part = size * 100 / MAX_DNS_SIZE;
        let meter = format!(
            "<svg class=\"meter\" viewBox=\"0 0 100 8\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
             <rect class=\"all\" width=\"100\" height=\"8\" rx=\"4\"/><rect class=\"part\" width=\"{part}\" height=\"8\" rx=\"4\"/></svg>"
        );
        let fact = |name: &str, value: &str, note: &str| {
            format!("<div><dt>{name}</dt><dd>{value}<span class=\"note\">{note}</span></dd></div>\n")
        };
        [
            fact("Signature", "<span class=\"yes\">Verified</span>", "by this server, with the key itself"),
            fact("Signed", &age, &date(packet.timestamp())),
            fact("Came from", from, &heard),
            fact("Nodes that hold it", &holders.0, &holders.1),
            fact("Size", &format!("{size} of {MAX_DNS_SIZE} bytes"), &meter),
        ]
        .concat()
    }

    fn records(&self, records: &[WrittenRecord]) -> String {
        if records.is_empty() {
            return "<p>The packet has no records of this key.</p>".to_owned();
        }
        let zone = format!("{}.", self.key.to_z32());
        let rows: String = records
            .iter()
            .map(|record| {
                let withheld = match record.is_withheld {
                    true => " <span class=\"badge bad\">not answered here: a private address</span>",
                    false => "",
                };
                let signed = match record.ttl == record.signed_ttl {
                    true => String::new(),
                    false => format!(" title=\"signed with {}\"", record.signed_ttl),
                };
                format!(
                    "<tr><td class=\"name\">{}</td><td class=\"type\">{}</td><td class=\"number\"{signed}>{}</td>\
                     <td class=\"data\">{}{withheld}</td></tr>\n",
                    escape(own_part(&record.name, &zone)),
                    escape(&record.record_type),
                    record.ttl,
                    escape(&record.data)
                )
            })
            .collect();
        format!(
            "<div class=\"scroll\" role=\"region\" aria-labelledby=\"records\" tabindex=\"0\"><table class=\"records\">\
             <thead><tr><th scope=\"col\">Name</th><th scope=\"col\">Type</th><th scope=\"col\" class=\"number\">TTL</th>\
             <th scope=\"col\">Data</th></tr></thead><tbody>\n{rows}</tbody></table></div>\
             <p class=\"note\">As they are answered now. <code>@</code> is the key itself. The TTL is in seconds, and counts down from \
             what was signed until this server asks the network again.</p>"
        )
    }

    fn history(&self, sighting: &Sighting) -> String {
        if sighting.versions.is_empty() {
            return "<p>This server has not seen a newer packet arrive since it started.</p>".to_owned();
        }
        let rows: String = sighting
            .versions
            .iter()
            .map(|version| {
                let seen = duration(Duration::from_secs(seconds_since(version.seen, self.now)));
                format!("<li>Signed {}, seen here {seen} ago</li>", date(version.timestamp))
            })
            .collect();
        format!(
            "<ol>{rows}</ol><p class=\"note\">The last eight packets that this server saw, since it started, as long as it \
             remembers the key. It does not keep older packets.</p>"
        )
    }
}

/// What is to be said before anything else.
fn notice(inspected: &Inspected) -> String {
    let Some(why) = inspected.found.stale else { return String::new() };
    let why = escape(&why.to_string());
    format!("<p class=\"warning\">This is the last known packet, past its time: {why}.</p>")
}

/// A name without the zone that it is in.
fn own_part<'a>(name: &'a str, zone: &str) -> &'a str {
    match name.strip_suffix(zone) {
        Some("") => "@",
        Some(rest) => rest.strip_suffix('.').unwrap_or(rest),
        None => name,
    }
}

/// A sentence begins with a capital.
fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(char::to_uppercase).into_iter().flatten();
    first.chain(characters).collect()
}

/// In the two greatest units.
pub(super) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, ..) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests;
