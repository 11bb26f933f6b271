//! The status for people: plain words in 80 columns, and what to do about what is wrong. Pure.

use std::{
    fmt::Write,
    time::{Duration, UNIX_EPOCH},
};

use super::{Caches, CertificateStatus, Counts, DenyListStatus, DhtStatus, Status, UpstreamStatus};

/// As wide as terminals are at least.
const WIDTH: usize = 80;

/// Where what is said of something begins.
const INDENT: usize = 14;

/// Of a DHT that answers less than this something keeps replies away; in the open, dead nodes leave half of it.
const POOR_SHARE: f64 = 0.25;

/// A share of so few requests says nothing.
const ENOUGH_REQUESTS: u64 = 100;

/// A certificate is renewed long before this is left of it.
const FEW_DAYS: i64 = 14;

/// The whole of it. Ends in a newline.
pub fn table(status: &Status) -> String {
    let mut page = Page(String::new());
    let state = if status.ready { "ready" } else { "not ready" };
    page.row("pkdns", &format!("{}, process {}, {state}", status.version, status.process_id));
    page.row("running for", &time(status.uptime_seconds));
    page.row("listening", &status.listening.join(", "));
    let by_code = status.queries.values().fold(Counts::new(), |mut sum, counts| {
        counts.iter().for_each(|(code, count)| *sum.entry(code.clone()).or_default() += count);
        sum
    });
    page.row("answers", &or_none(&counts(&by_code)));
    let by_transport: Counts =
        status.queries.iter().map(|(name, counts)| (name.clone(), counts.values().sum())).collect();
    page.row_unless_empty("  over", &counts(&by_transport));
    page.row_unless_empty("no answer", &counts(&status.unanswered));
    page.row_unless_empty("refused", &counts(&status.refusals));
    page.row("connections", &or_none(&counts(&status.connections)));
    page.row_unless_empty("bridge", &counts(&status.bridge));
    page.row_unless_empty("TLS failures", &counts(&status.tls_handshake_failures));
    for line in caches(&status.caches) {
        page.row("caches", &line);
    }
    if let Some(dht) = &status.dht {
        page.row("DHT", &dht_line(dht));
    }
    for upstream in &status.upstreams {
        page.row("upstream", &upstream_line(upstream));
    }
    for certificate in &status.certificates {
        page.row("certificate", &certificate_line(certificate));
    }
    for list in &status.denied.lists {
        page.row("deny list", &deny_list_line(list));
    }
    page.row_unless_empty("denied", &counts(&status.denied.lookups));
    if let Some(reload) = &status.last_reload {
        let outcome = if reload.succeeded { "in effect" } else { "failed, the log says why" };
        page.row("last reload", &format!("{} ago, {outcome}", time(reload.seconds_ago)));
    }
    page.row_unless_empty("process", &process(status));
    for hint in hints(status) {
        page.paragraph("! ", &hint);
    }
    page.0
}

struct Page(String);

impl Page {
    /// A title the first time that it comes, and what there is to say beside it.
    fn row(&mut self, title: &str, text: &str) {
        let is_repeated = self
            .0
            .lines()
            .rfind(|line| !line.starts_with(' '))
            .is_some_and(|line| line.get(..INDENT).is_some_and(|start| start.trim_end() == title));
        let title = if is_repeated { "" } else { title };
        self.paragraph(&format!("{title:<INDENT$}"), text);
    }

    fn row_unless_empty(&mut self, title: &str, text: &str) {
        if !text.is_empty() {
            self.row(title, text);
        }
    }

    /// Breaks lines between words. A word that is too long has a line of its own.
    fn paragraph(&mut self, start: &str, text: &str) {
        let indent = start.len();
        self.0.push_str(start);
        let mut column = indent;
        for word in text.split_whitespace().map(printable) {
            let width = word.chars().count();
            if column > indent && column + 1 + width > WIDTH {
                self.0.push('\n');
                self.0.extend(std::iter::repeat_n(' ', indent));
                column = indent;
            } else if column > indent {
                self.0.push(' ');
                column += 1;
            }
            self.0.push_str(&word);
            column += width;
        }
        self.0.truncate(self.0.trim_end_matches(' ').len());
        self.0.push('\n');
    }
}

/// Names in certificates and texts of others must not drive the terminal.
fn printable(word: &str) -> String {
    word.chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect()
}

fn or_none(text: &str) -> String {
    if text.is_empty() { "none".to_owned() } else { text.to_owned() }
}

/// The largest first.
fn counts(counts: &Counts) -> String {
    let mut counts: Vec<_> = counts.iter().filter(|(_, count)| **count > 0).collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let texts: Vec<_> = counts.iter().map(|(name, count)| format!("{} {name}", number(**count))).collect();
    texts.join(", ")
}

/// With a comma before each three digits.
fn number(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn time(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

fn caches(caches: &Caches) -> Vec<String> {
    let asked = caches.answer_hits + caches.answer_misses;
    let mut lines = vec![match asked {
        0 => "answers: not asked yet".to_owned(),
        asked => format!(
            "answers: {} of {} from the cache ({:.1} %)",
            number(caches.answer_hits),
            number(asked),
            caches.answer_hits as f64 / asked as f64 * 100.0
        ),
    }];
    let mut packets = format!("packets: {} in memory", number(caches.packets_in_memory));
    if let Some(on_disk) = caches.packets_on_disk {
        let _ = write!(packets, ", {} on disk", number(on_disk));
    }
    lines.push(packets);
    if let Some(failed) = caches.shared_store_failed {
        lines.push(format!("Redis: {}", if failed { "cannot be used now" } else { "in use" }));
    }
    lines
}

fn dht_line(dht: &DhtStatus) -> String {
    let mut line = format!("{} nodes; in the last minute ", number(dht.nodes));
    match dht.reply_share {
        Some(share) => {
            let requests = number(dht.requests);
            let _ = write!(line, "{:.0} % of {requests} requests answered", share * 100.0);
        }
        None => line.push_str("nothing was asked"),
    }
    if let Some(round_trip) = dht.round_trip_ms {
        let _ = write!(line, ", round trip {round_trip:.0} ms");
    }
    let (under_way, waiting) = (number(dht.lookups_in_flight), number(dht.lookups_queued));
    let _ = write!(line, "; {under_way} lookups under way, {waiting} waiting");
    line
}

fn upstream_line(upstream: &UpstreamStatus) -> String {
    let mut line = upstream.address.clone();
    if upstream.zone != "." {
        let _ = write!(line, " for {}", upstream.zone);
    }
    let _ = write!(line, ": {}", upstream.state);
    if let Some(left) = upstream.left_alone_seconds {
        let _ = write!(line, " for {left:.0} s");
    }
    if let Some(latency) = upstream.latency_ms {
        let _ = write!(line, ", {latency:.0} ms");
    }
    match upstream.last_answer_seconds {
        Some(ago) => {
            let _ = write!(line, ", last answer {} ago", time(ago));
        }
        None => line.push_str(", no answer yet"),
    }
    let requests = counts(&upstream.requests);
    if !requests.is_empty() {
        let _ = write!(line, "; {requests}");
    }
    line
}

fn certificate_line(certificate: &CertificateStatus) -> String {
    let names = if certificate.names.is_empty() { "no name".into() } else { certificate.names.join(", ") };
    let left = match certificate.days_left {
        days @ ..0 => format!("ended {} days ago", days.unsigned_abs()),
        days => format!("{days} days left"),
    };
    format!("{names}: until {}, {left}", date(certificate.expires_timestamp))
}

fn deny_list_line(list: &DenyListStatus) -> String {
    let mut line = format!("{}: {} keys {}", list.name, number(list.keys), list.reason);
    match list.age_seconds {
        Some(age) => {
            let _ = write!(line, ", as of {} ago", time(age));
        }
        None => line.push_str(", not read yet"),
    }
    line
}

/// As in `06 Nov 2026`.
fn date(timestamp: u64) -> String {
    // The library takes years of four digits.
    let last = 253_402_300_799;
    let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(timestamp.min(last)));
    date.get(5..16).unwrap_or_default().to_owned()
}

fn process(status: &Status) -> String {
    let process = &status.process;
    let mut parts = Vec::new();
    if let Some(bytes) = process.resident_bytes {
        parts.push(format!("{} MB of memory", number(bytes / 1_000_000)));
    }
    if let Some((open, max)) = process.open_descriptors.zip(process.max_descriptors) {
        parts.push(format!("{} of {} descriptors", number(open), number(max)));
    }
    if let Some(seconds) = process.cpu_seconds {
        parts.push(format!("{seconds:.1} s of CPU"));
    }
    parts.join(", ")
}

/// What is wrong, and what to do about it.
fn hints(status: &Status) -> Vec<String> {
    let mut hints: Vec<String> = status.missing.clone();
    let upstreams = &status.upstreams;
    if !upstreams.is_empty() && upstreams.iter().all(|upstream| upstream.state != "in use") {
        hints.push(
            "no upstream is in use: check the network and fallback_dns; pkdns-cli doctor asks each".into(),
        );
    }
    if let Some(dht) = &status.dht {
        let is_poor = dht.reply_share.is_some_and(|share| share < POOR_SHARE);
        if is_poor && dht.requests >= ENOUGH_REQUESTS {
            hints.push(
                "few DHT nodes answer: a firewall or the network of the hoster may drop UDP; see Troubleshooting in \
                 docs/operating.md, or name a relay in dht.relays"
                    .into(),
            );
        }
    }
    for certificate in status.certificates.iter().filter(|certificate| certificate.days_left < FEW_DAYS) {
        let names = certificate.names.join(", ");
        hints.push(format!("the certificate for {names} ends soon or has ended: renew it"));
    }
    if status.caches.disk_failed {
        hints.push(
            "packets are not kept on disk: it cannot be written to; see the log, and cache.path".into(),
        );
    }
    if status.caches.shared_store_failed == Some(true) {
        hints.push("the Redis that servers share does not answer: see the log, and cache.redis".into());
    }
    if status.last_reload.as_ref().is_some_and(|reload| !reload.succeeded) {
        hints.push("the configuration was not read again: pkdns --check says what is wrong with it".into());
    }
    for list in &status.denied.lists {
        if let Some(fault) = &list.fault {
            hints.push(format!("the deny list {} is not up to date: {fault}", list.name));
        }
    }
    let process = &status.process;
    if process.open_descriptors.zip(process.max_descriptors).is_some_and(|(open, max)| open > max / 10 * 8) {
        hints.push("most descriptors are in use: raise the limit (LimitNOFILE=, ulimit -n)".into());
    }
    hints
}

#[cfg(test)]
mod tests;
