//! The site of the sample key: what a testnet shows to whoever comes for that name.
//!
//! Anybody can sign for the sample key, and so write what its packet holds. That is why nothing else of this server is to be
//! had under its name, and why all that is shown of the packet is escaped.

mod picture;
mod records;

use std::{
    fmt,
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header},
    response::IntoResponse,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use pkdns_dht::signed_packet::{MAX_DNS_SIZE, PublicKey};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use super::{
    host,
    pages::{html::fill, with_headers},
};
use crate::{
    base::{config::Config, message::absolute_name},
    resolver::name::{Route, Suffixes},
    sources::packets::{Found, PacketAnswer, Packets},
};
use records::{escape, rows};

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("style.css");

/// Where `pkdns-cli --testnet` joins the DHT.
const USUAL_BOOTSTRAP: &str = "127.0.0.1:6881";

/// The site of one key. Cheap to clone.
#[derive(Clone)]
pub struct SampleSite(Arc<Inner>);

struct Inner {
    key: PublicKey,
    suffixes: Suffixes,
    /// The first of them, for people.
    suffix: String,
    packets: Packets,
    /// The options by which `pkdns-cli` uses the same DHT.
    network: String,
    /// What does not change: picture, icon and style.
    template: String,
    content_security_policy: HeaderValue,
}

impl fmt::Debug for SampleSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SampleSite").field(&self.0.key).finish()
    }
}

impl SampleSite {
    /// As configured. `None` where there is no sample key, which is to say without `--testnet`.
    pub fn new(config: &Config, packets: &Packets) -> Option<Self> {
        let key = PublicKey::try_from(config.names.example.as_deref()?).ok()?;
        let bootstrap = config.dht.bootstrap.first().map_or("", String::as_str);
        let network = match bootstrap {
            USUAL_BOOTSTRAP => "--testnet".to_owned(),
            other => format!("--bootstrap {}", escape(other)),
        };
        let picture = picture::of(key.as_bytes());
        let icon = format!("data:image/svg+xml,{}", utf8_percent_encode(&picture, NON_ALPHANUMERIC));
        let text = key.to_z32();
        let values = [
            ("style", STYLE),
            ("icon", &icon),
            ("picture", &picture),
            ("short", &shortened(&text)),
            ("key", &in_groups(&text)),
        ];
        let hash = BASE64_STANDARD.encode(Sha256::digest(STYLE));
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{hash}'; img-src data:; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'"
        );
        Some(Self(Arc::new(Inner {
            key,
            suffixes: Suffixes::new(config.names.suffixes.iter().map(String::as_str)),
            suffix: config.names.suffixes.first().cloned().unwrap_or_default(),
            packets: packets.clone(),
            network,
            template: fill(PAGE, &values),
            content_security_policy: policy.parse().ok()?,
        })))
    }

    /// Whether a request is for the key, bare or with a suffix, or for a name below it.
    pub(super) fn is_meant(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let name = host::named(uri, headers).and_then(absolute_name);
        let route = name.map(|name| self.0.suffixes.classify(&name));
        matches!(route, Some(Route::PublicKey(name)) if name.key == self.0.key)
    }

    /// The answer to a request of `client` for which [`Self::is_meant`] holds.
    pub(super) async fn answer<B>(&self, client: IpAddr, request: &Request<B>) -> Response<Body> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET, HEAD")]).into_response();
        }
        if request.uri().path() != "/" {
            let text = "There is nothing here. The page of this key is at /.\n";
            return with_headers((StatusCode::NOT_FOUND, text).into_response());
        }
        // One question for each page at most: the packet stays in memory.
        let found = match self.0.packets.get(&self.0.key, client, || true).await {
            Ok(PacketAnswer::Found(found)) => Some(found),
            Ok(PacketAnswer::Absent(_)) | Err(_) => None,
        };
        let host = host::named(request.uri(), request.headers()).unwrap_or_default();
        let page = self.page(host, found.as_ref(), SystemTime::now());
        let mut response =
            with_headers(([(header::CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response());
        let policy = self.0.content_security_policy.clone();
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
        response
    }

    fn page(&self, host: &str, found: Option<&Found>, now: SystemTime) -> String {
        let (steps, packet) = match found {
            Some(found) => (steps(found, now), packet(found)),
            None => (
                "<li>The key has no packet in this DHT now: nodes forget what nobody publishes again.</li>"
                    .to_owned(),
                String::new(),
            ),
        };
        let values = [
            ("network", &*self.0.network),
            ("suffix", &escape(&self.0.suffix)),
            ("host", &escape(host)),
            ("steps", &steps),
            ("packet", &packet),
        ];
        fill(&self.0.template, &values)
    }
}

/// How the name was resolved, from the second step on.
fn steps(found: &Found, now: SystemTime) -> String {
    let packet = &found.packet;
    let signed = SystemTime::UNIX_EPOCH.checked_add(Duration::from_micros(packet.timestamp()));
    let age = signed.and_then(|signed| now.duration_since(signed).ok()).unwrap_or_default();
    let held = match found.age {
        age if age < Duration::from_secs(2) => "just now".to_owned(),
        age => format!("{} ago and has been in memory since", in_words(age)),
    };
    let leads = match packet_address(packet.dns()) {
        Some(address) => format!(
            "The packet says that the address is <code>{address}</code>. Your browser went there, and found pkdns once \
             more, which is the web server here too."
        ),
        None => {
            "The packet has no address any more: somebody else has signed another one meanwhile.".to_owned()
        }
    };
    format!(
        "<li>pkdns looked for the key in a DHT, the network in which BitTorrent clients find each other, and got one packet \
         of {} bytes. It came {held}.</li>\n\
         <li>pkdns checked the signature, which was made {} ago. The name is the key, so that there was nobody \
         to be trusted.</li>\n\
         <li>{leads}</li>",
        packet.dns().len(),
        in_words(age),
    )
}

fn packet_address(dns: &[u8]) -> Option<IpAddr> {
    let addresses = crate::base::message::read_records(dns);
    addresses.iter().find_map(|record| crate::base::message::address(&record.data))
}

/// All that the packet holds.
fn packet(found: &Found) -> String {
    let packet = &found.packet;
    let signed = i128::from(packet.timestamp()).saturating_mul(1000);
    let signed = OffsetDateTime::from_unix_timestamp_nanos(signed).ok().map(|time| {
        let (date, clock) = (time.date(), time.time());
        let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
        let (hour, minute, second) = (clock.hour(), clock.minute(), clock.second());
        format!("Signed on {year:04}-{month:02}-{day:02} at {hour:02}:{minute:02}:{second:02} UTC. ")
    });
    let signature: String = packet.signature().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!(
        "<h2>What the key has signed</h2>\n\
         <div class=\"card\" tabindex=\"0\"><table>\n\
         <tr><th>Name</th><th>TTL</th><th>Type</th><th>Data</th></tr>\n\
         {}</table></div>\n\
         <p class=\"facts\">{}{} of {MAX_DNS_SIZE} bytes are used. The signature begins with <code>{signature}</code>.</p>",
        rows(packet.dns(), packet.key()),
        signed.unwrap_or_default(),
        packet.dns().len(),
    )
}

/// A time that is near enough for people.
fn in_words(time: Duration) -> String {
    let seconds = time.as_secs();
    let (number, unit) = match seconds {
        0..=119 => (seconds, "second"),
        120..=7199 => (seconds / 60, "minute"),
        7200..=172_799 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{number} {unit}{}", if number == 1 { "" } else { "s" })
}

/// The two ends of a key.
fn shortened(key: &str) -> String {
    let (start, end) = (key.get(..8).unwrap_or(key), key.get(key.len().saturating_sub(4)..).unwrap_or(""));
    format!("{start}…{end}")
}

/// Four characters at a time, between which a line may end.
fn in_groups(key: &str) -> String {
    let groups = key.as_bytes().chunks(4).map(|group| String::from_utf8_lossy(group));
    groups.collect::<Vec<_>>().join("<wbr>")
}

#[cfg(test)]
mod tests;
