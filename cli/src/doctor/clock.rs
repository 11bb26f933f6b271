//! Whether this machine's clock is right, by the dates of web servers.

use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use http::{Method, Uri, header::DATE};
use pkdns::sources::forward::TlsClient;
use tokio::time::timeout;

use super::finding::Finding;
use crate::{http_client::HttpClient, network};

const CHECK: &str = "clock";

/// Longest that a server may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// Servers that are asked, so that one with a wrong clock does not decide.
const MOST: usize = 3;

/// Asked where nobody else was named: operators whose servers are known to be on time.
const SERVERS: [&str; 3] = ["https://icanhazip.com", "https://api64.ipify.org", "https://www.cloudflare.com"];

/// The date has no fractions of a second, and took a way to come here.
const NEGLIGIBLE: i64 = 5;

/// More than this, in seconds, and two machines that publish one key do not agree who was last.
const GRAVE: i64 = 120;

const ADVICE: &str = "set the clock (timedatectl set-ntp true): packets are dated by it, a packet from a slow clock does \
                      not replace a newer one, and one from a fast clock keeps others from replacing it";

/// How far this machine's clock is ahead of a server's, in seconds, or why that is not known.
pub(super) type Reading = (String, Result<i64, String>);

/// The servers to ask: those that were `named`, or else `relays` and some on the Internet.
pub(super) fn servers(named: &[Uri], relays: &[String]) -> Vec<Uri> {
    let urls = relays.iter().map(String::as_str).chain(SERVERS);
    let usual = || urls.filter_map(|url| url.parse().ok()).take(MOST).collect();
    if named.is_empty() { usual() } else { named.iter().take(MOST).cloned().collect() }
}

pub(super) async fn observe(servers: &[Uri], tls: &TlsClient) -> Vec<Reading> {
    let client = HttpClient::new(tls, network::system_resolver());
    let readings = servers.iter().map(async |server| {
        let reading = timeout(DEADLINE, read(&client, server)).await;
        (server.to_string(), reading.unwrap_or_else(|_| Err("it did not answer in time".to_string())))
    });
    join_all(readings).await
}

async fn read(client: &HttpClient, server: &Uri) -> Result<i64, String> {
    let before = SystemTime::now();
    let response = client.request(Method::HEAD, server.clone()).await?;
    // In the middle between question and answer.
    let here = before + before.elapsed().unwrap_or_default() / 2;
    let date = response.headers().get(DATE).and_then(|date| date.to_str().ok());
    let date = date.and_then(|date| httpdate::parse_http_date(date).ok()).ok_or("it says no date")?;
    Ok(ahead(here, date))
}

fn ahead(here: SystemTime, there: SystemTime) -> i64 {
    let seconds = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
    match here.duration_since(there) {
        Ok(ahead) => seconds(ahead),
        Err(error) => -seconds(error.duration()),
    }
}

pub(super) fn judge(readings: &[Reading]) -> Finding {
    let mut known: Vec<(i64, &str)> = readings
        .iter()
        .filter_map(|(server, reading)| Some((*reading.as_ref().ok()?, server.as_str())))
        .collect();
    known.sort_unstable();
    let Some(&(ahead, server)) = known.get(known.len() / 2) else { return unknown(readings) };
    let direction = if ahead < 0 { "slow" } else { "fast" };
    let seen = format!("{} {direction} by {server}", told(ahead.unsigned_abs()));
    match ahead.abs() {
        0..=NEGLIGIBLE => Finding::ok(CHECK, format!("right within {NEGLIGIBLE} s by {server}")),
        ..=GRAVE => Finding::warning(CHECK, seen, ADVICE),
        _ => Finding::failed(CHECK, seen, ADVICE),
    }
}

fn unknown(readings: &[Reading]) -> Finding {
    let why = |(server, reading): &Reading| {
        reading.as_ref().err().map(|why| format!("{server}: {why}")).unwrap_or_default()
    };
    let whys: Vec<String> = readings.iter().map(why).collect();
    // What certificates say about the time needs no server's clock.
    let is_out_of_time = |why: &String| {
        why.contains("certificate") && (why.contains("expired") || why.contains("not valid yet"))
    };
    if !whys.is_empty() && whys.iter().all(is_out_of_time) {
        return Finding::failed(
            CHECK,
            format!("no certificate is valid at this time ({})", whys.join("; ")),
            ADVICE,
        );
    }
    let why = match whys.as_slice() {
        [] => "there is nobody to ask".to_string(),
        whys => format!("no server told the time ({})", whys.join("; ")),
    };
    let advice = "name a web server that can be reached with --clock, or compare the output of date with another clock";
    Finding::skipped(CHECK, &why, advice)
}

fn told(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} minutes", seconds / 60),
        7200..172_800 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Verdict;

    #[test]
    fn a_clock_is_judged_by_the_middle_of_what_servers_say() {
        let right = "right within 5 s by https://a.example/";
        let out_of_time = [
            Err("invalid peer certificate: certificate expired: verification time 1"),
            Err("invalid peer certificate: certificate not valid yet: verification time 1"),
        ];
        let unknown = "not checked, because";
        let cases: [(&[Result<i64, &str>], _, _); 12] = [
            (&[Ok(0)], Verdict::Ok, right),
            (&[Ok(-4), Err("silence")], Verdict::Ok, right),
            (&[Ok(1), Ok(-100_000), Ok(2)], Verdict::Ok, right),
            (&[Ok(40)], Verdict::Warning, "40 s fast by"),
            (&[Ok(-3600), Ok(-3601), Ok(0)], Verdict::Failed, "60 minutes slow by https://a.example/"),
            (&[Ok(86_400 * 400)], Verdict::Failed, "400 days fast"),
            (&[Ok(i64::MIN + 1)], Verdict::Failed, "days slow"),
            (&[Ok(3600)], Verdict::Failed, "timedatectl"),
            (&[], Verdict::Skipped, unknown),
            (&[Err("it cannot be reached")], Verdict::Skipped, unknown),
            (&[Err("certificate expired"), Err("silence")], Verdict::Skipped, unknown),
            // Certificates that are all out of time tell of the clock.
            (&out_of_time, Verdict::Failed, "timedatectl"),
        ];
        for (readings, verdict, part) in cases {
            let servers = ["https://a.example/", "https://b.example/", "https://c.example/"];
            let readings = readings.iter().zip(servers);
            let readings: Vec<Reading> = readings
                .map(|(reading, server)| (server.to_string(), reading.map_err(String::from)))
                .collect();
            judge(&readings).assert(verdict, &[part]);
        }
    }

    #[test]
    fn relays_are_asked_before_strangers_and_nobody_else_where_some_are_named() {
        let shown = |named: &[Uri], relays: &[String]| -> Vec<String> {
            servers(named, relays).iter().map(Uri::to_string).collect()
        };
        let relays = shown(&[], &["https://relay.example".to_string()]);
        assert!(relays.len() == 3 && relays[0] == "https://relay.example/", "{relays:?}");
        let named = shown(&["http://127.0.0.1:1/".parse().unwrap()], &["https://relay.example".to_string()]);
        assert_eq!(named, ["http://127.0.0.1:1/"]);
    }

    #[test]
    fn the_difference_has_the_sign_of_who_is_ahead() {
        let now = SystemTime::now();
        assert_eq!(ahead(now + Duration::from_secs(7), now), 7);
        assert_eq!(ahead(now, now + Duration::from_secs(7)), -7);
    }
}
