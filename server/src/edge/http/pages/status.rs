//! `/status`: how the server does, for whom `[status] allow` names.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::{
    body::Body,
    http::{HeaderMap, Method, Request, Response, StatusCode, header},
    response::IntoResponse,
};
use serde::Serialize;

use super::{
    MARK, Origin, PAGE, footer,
    html::{escape, fill},
    plot::plots,
    with_headers,
    zone::wants_json,
    zone_html::duration,
    zone_json::date_of,
};
use crate::edge::{
    http::Visitor,
    status::{Counts, Period, Status},
};

const STATUS_PATH: &str = "/status";

const CONTENT: &str = include_str!("status.html");

/// What is read for the page.
type Read = dyn Fn() -> (Status, Period, Period) + Send + Sync;

/// Shows how a server does. Cheap to clone.
#[derive(Clone)]
pub struct StatusPage(Arc<Read>);

impl fmt::Debug for StatusPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StatusPage")
    }
}

/// The status with what was seen in the last minutes, and in the last hour.
#[derive(Serialize)]
struct StatusJson<'a> {
    #[serde(flatten)]
    status: &'a Status,
    last_five_minutes: Period,
    last_hour: Period,
}

impl StatusPage {
    /// `read` says how the server does now, in the last minutes and in the last hour.
    pub fn new(read: impl Fn() -> (Status, Period, Period) + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// Whether a path is that of the page.
    pub(in crate::edge::http) fn is_at(path: &str) -> bool {
        path == STATUS_PATH
    }

    /// The answer to a request for it; `is_allowed` says whether the client may see it.
    pub(in crate::edge::http) fn answer<B>(
        &self,
        request: &Request<B>,
        visitor: Visitor,
        is_allowed: bool,
    ) -> Response<Body> {
        if !is_allowed {
            let why = "This page is for the operator of this server: [status] allow names who may see it.\n";
            return with_headers((StatusCode::FORBIDDEN, why).into_response());
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET, HEAD")]).into_response();
        }
        let (status, short, long) = (self.0)();
        let headers: &HeaderMap = request.headers();
        if wants_json(headers) {
            let all = StatusJson { status: &status, last_five_minutes: short, last_hour: long };
            let text = serde_json::to_string(&all).unwrap_or_default() + "\n";
            return with_headers(([(header::CONTENT_TYPE, "application/json")], text).into_response());
        }
        let origin = Origin::of(visitor, request.uri(), headers);
        let page = page(&status, &short, &long, &origin, SystemTime::now());
        with_headers(([(header::CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response())
    }
}

fn page(status: &Status, short: &Period, long: &Period, origin: &Origin, now: SystemTime) -> String {
    let badge = match status.ready {
        true => "<span class=\"badge\">ready</span>",
        false => "<span class=\"badge bad\">not ready</span>",
    };
    let missing: String =
        status.missing.iter().map(|what| format!("<p class=\"warning\">{}.</p>", escape(what))).collect();
    let main = fill(
        CONTENT,
        &[
            ("badge", badge),
            ("uptime", &duration(Duration::from_secs(status.uptime_seconds))),
            ("time", &date_of(now)),
            ("missing", &missing),
            ("short", &plots(short)),
            ("long", &plots(long)),
            ("dht", &dht(status)),
            ("upstreams", &upstreams(status)),
            ("totals", &totals(status)),
            ("page", &format!("{}{STATUS_PATH}", origin.url())),
        ],
    );
    fill(
        PAGE,
        &[
            ("title", "Status · pkdns"),
            ("attributes", " data-refresh=\"5\""),
            ("mark", MARK.trim_end()),
            ("main", &main),
            ("footer", footer::VERSION),
        ],
    )
}

fn fact(name: &str, value: &str) -> String {
    format!("<div><dt>{}</dt><dd>{value}</dd></div>\n", escape(name))
}

fn dht(status: &Status) -> String {
    let Some(dht) = &status.dht else { return "<p>It is switched off.</p>".to_owned() };
    let share = dht.reply_share.map_or_else(|| "–".to_owned(), |share| format!("{:.0} %", share * 100.0));
    let trip = dht.round_trip_ms.map_or_else(|| "–".to_owned(), |trip| format!("{trip:.0} ms"));
    let facts = [
        fact("Nodes known", &grouped(dht.nodes)),
        fact("Requests in the last minute", &grouped(dht.requests)),
        fact("Answered", &share),
        fact("Round trip", &trip),
        fact("Lookups under way", &grouped(dht.lookups_in_flight)),
        fact("Lookups that wait", &grouped(dht.lookups_queued)),
    ];
    format!("<dl class=\"facts\">{}</dl>", facts.concat())
}

fn upstreams(status: &Status) -> String {
    if status.upstreams.is_empty() {
        return "<p>There is none.</p>".to_owned();
    }
    let rows: String = status
        .upstreams
        .iter()
        .map(|upstream| {
            let latency = upstream.latency_ms.map_or_else(|| "–".to_owned(), |time| format!("{time:.0} ms"));
            let last = upstream.last_answer_seconds;
            let last = last.map_or_else(|| "–".to_owned(), |ago| duration(Duration::from_secs(ago)) + " ago");
            let all: u64 = upstream.requests.values().sum();
            let answered = upstream.requests.get("answered").copied().unwrap_or(0);
            format!(
                "<tr><td class=\"data\">{}</td><td>{}</td><td class=\"number\">{latency}</td><td class=\"number\">{last}</td>\
                 <td class=\"number\">{} of {}</td></tr>\n",
                escape(&upstream.address),
                escape(&upstream.state),
                grouped(answered),
                grouped(all)
            )
        })
        .collect();
    format!(
        "<div class=\"scroll\" role=\"region\" aria-label=\"Upstream resolvers\" tabindex=\"0\"><table><thead><tr>\
         <th scope=\"col\">Address</th><th scope=\"col\">State</th><th scope=\"col\" class=\"number\">Latency</th>\
         <th scope=\"col\" class=\"number\">Last answer</th><th scope=\"col\" class=\"number\">Answered</th></tr></thead>\
         <tbody>{rows}</tbody></table></div>"
    )
}

fn totals(status: &Status) -> String {
    let mut codes = Counts::new();
    for (code, count) in status.queries.values().flatten() {
        *codes.entry(code.clone()).or_default() += count;
    }
    let named = |counts: &Counts, what: &str| {
        counts
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(name, count)| fact(&format!("{what}{}", name.replace('_', " ")), &grouped(*count)))
            .collect::<String>()
    };
    let caches = &status.caches;
    let mut facts = named(&codes, "");
    facts += &named(&status.unanswered, "No reply: ");
    facts += &named(&status.refusals, "Refused: ");
    facts += &named(&status.connections, "Connections now: ");
    facts += &fact("Packets in memory", &grouped(caches.packets_in_memory));
    if let Some(packets) = caches.packets_on_disk {
        facts += &fact("Packets on disk", &grouped(packets));
    }
    if let Some(bytes) = status.process.resident_bytes {
        facts += &fact("Memory", &format!("{} MB", grouped(bytes / 1_000_000)));
    }
    for certificate in &status.certificates {
        let names = escape(&certificate.names.join(", "));
        facts += &fact(
            "Certificate",
            &format!("{} days left<span class=\"note\">{names}</span>", certificate.days_left),
        );
    }
    format!("<dl class=\"facts\">{facts}</dl>")
}

/// With commas between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && at % 3 == first {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_told_apart() {
        for (number, text) in
            [(0, "0"), (999, "999"), (1000, "1,000"), (12_345, "12,345"), (1_234_567, "1,234,567")]
        {
            assert_eq!(grouped(number), text);
        }
    }
}
