//! Verdicts about an origin, of what somebody could see.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, UNIX_EPOCH},
};

use hickory_proto::{
    op::ResponseCode,
    rr::{
        RData, Record,
        rdata::{A, CAA},
    },
};
use pkdns::{edge::certificates::Look, metrics::CertificateReading};

use super::verdicts::*;
use crate::{
    dns::{self, Reply},
    doctor::finding::{Finding, Verdict},
    failure::Failure,
    name_servers::{NameServer, Word},
};

fn said(code: ResponseCode, is_authoritative: bool, data: Vec<RData>) -> Reply {
    let mut reply = Reply::of(code, data.len(), None);
    if let Reply::Said(said) = &mut reply {
        said.is_authoritative = is_authoritative;
        let name = dns::complete("pk.test");
        said.answers = data.into_iter().map(|data| Record::from_rdata(name.clone(), 30, data)).collect();
    }
    reply
}

fn word(reply: Reply) -> Word {
    Word { server: "ns.test (192.0.2.1)".to_string(), reply }
}

fn address() -> RData {
    RData::A(A::new(192, 0, 2, 7))
}

#[track_caller]
fn assert_found(finding: &Finding, verdict: Verdict, part: &str) {
    let text = format!("{} -> {}", finding.seen, finding.advice.clone().unwrap_or_default());
    assert!(finding.verdict == verdict && text.contains(part), "{:?} {text}", finding.verdict);
    assert_eq!(finding.advice.is_none(), verdict == Verdict::Ok, "{text}");
}

#[test]
fn a_delegation_that_leads_nowhere_is_told_from_one_server_alone() {
    let server = |name: &str, addresses: &[&str]| NameServer {
        name: name.to_string(),
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
    };
    let one = server("ns1.test", &["192.0.2.1:53"]);
    for (servers, verdict, part) in [
        (vec![one.clone(), server("ns2.test", &["192.0.2.2:53"])], Verdict::Ok, "ns1.test, ns2.test"),
        (vec![one.clone()], Verdict::Warning, "a second name server"),
        (vec![one.clone(), server("ns2.test", &[])], Verdict::Failed, "ns2.test has no address -> give each"),
    ] {
        assert_found(&judge_delegation("pk.test", &Ok(servers), false), verdict, part);
    }
    let failure = Failure::Failed("pk.test has no name servers".to_string());
    assert_found(&judge_delegation("pk.test", &Err(failure), false), Verdict::Failed, "-> delegate pk.test");
    assert_found(&judge_delegation("pk.test", &Ok(vec![one]), true), Verdict::Skipped, "--name-server");
}

#[test]
fn a_name_server_has_to_speak_for_the_zone_over_both() {
    let good = || said(ResponseCode::NoError, true, vec![address()]);
    let no_route = || Reply::Broken("no route".to_string());
    for (udp, tcp, verdict, part) in [
        (good(), good(), Verdict::Ok, "over UDP and TCP"),
        (good(), Reply::Silent, Verdict::Failed, "over TCP there is no answer -> see that pkdns listens"),
        (Reply::Closed, good(), Verdict::Failed, "over UDP nothing listens"),
        (
            said(ResponseCode::Refused, false, vec![]),
            good(),
            Verdict::Failed,
            "REFUSED -> write an [[origin]]",
        ),
        (said(ResponseCode::NoError, false, vec![address()]), good(), Verdict::Failed, "without authority"),
        (said(ResponseCode::NoError, true, vec![]), good(), Verdict::Failed, "no record -> it has no SOA"),
        (said(ResponseCode::ServFail, false, vec![]), good(), Verdict::Failed, "SERVFAIL"),
        (no_route(), no_route(), Verdict::Skipped, "no route"),
    ] {
        assert_found(&judge_server(&word(udp), &tcp), verdict, part);
    }
}

#[test]
fn a_key_has_an_address_that_every_server_shows() {
    let (good, empty) =
        (said(ResponseCode::NoError, true, vec![address()]), said(ResponseCode::NoError, true, vec![]));
    for (replies, verdict, part) in [
        (vec![good.clone(), empty.clone()], Verdict::Ok, "is at 192.0.2.7"),
        (vec![empty.clone(), empty], Verdict::Failed, "has no address -> write a public A"),
        (
            vec![good.clone(), said(ResponseCode::NXDomain, true, vec![])],
            Verdict::Failed,
            "-> publish the zone",
        ),
        (vec![good, said(ResponseCode::ServFail, false, vec![])], Verdict::Failed, "try again in a minute"),
        (vec![Reply::Silent], Verdict::Failed, "nobody answers"),
    ] {
        let words: Vec<Word> = replies.into_iter().map(word).collect();
        assert_found(&judge_key("KEY.pk.test", &words), verdict, part);
    }
}

#[test]
fn who_may_certify_a_key_is_read_from_the_nearest_records() {
    let caa = |issuer: Option<&str>| RData::CAA(CAA::new_issue(false, issuer.map(dns::complete), Vec::new()));
    let mail = RData::CAA(CAA::new_iodef(false, "mailto:a@b.test".parse().unwrap()));
    let judged =
        |data: Vec<RData>| judge_permission("pk.test", &[word(said(ResponseCode::NoError, true, data))]);
    assert_eq!(judged(vec![]), None);
    for (data, verdict, part) in [
        (vec![caa(Some("letsencrypt.org"))], Verdict::Ok, "allows letsencrypt.org"),
        (vec![caa(None)], Verdict::Failed, "forbids every authority -> write CAA 0 issue"),
        (vec![caa(Some("other.example"))], Verdict::Warning, "allows other.example, and not letsencrypt.org"),
        (vec![caa(None), caa(Some("letsencrypt.org"))], Verdict::Ok, "allows letsencrypt.org"),
        (vec![mail], Verdict::Ok, "forbids no authority"),
    ] {
        assert_found(&judged(data).unwrap(), verdict, part);
    }
    let failing = judge_permission("pk.test", &[word(said(ResponseCode::ServFail, false, vec![]))]);
    assert_found(&failing.unwrap(), Verdict::Failed, "take that for a no");
}

#[test]
fn a_certificate_is_judged_by_its_worst_address_and_a_port_by_what_needs_it() {
    let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let day = Duration::from_secs(86_400);
    let at = |last: u8| SocketAddr::from(([192, 0, 2, last], 443));
    let shown = |days: u32, doubt: Option<&str>| {
        let reading = CertificateReading { names: vec!["a.test".into()], from: now, to: now + day * days };
        Ok(Look { certificate: Some(reading), doubt: doubt.map(String::from) })
    };
    let refused = || Err(io::Error::from(io::ErrorKind::ConnectionRefused));
    for (looks, verdict, part) in [
        (vec![shown(60, None)], Verdict::Ok, "believed by browsers"),
        (vec![shown(60, None), shown(3, None)], Verdict::Warning, "in 3 days -> see that it is renewed"),
        (vec![shown(60, None), refused()], Verdict::Failed, "192.0.2.2:443 shows none (nothing listens)"),
        (
            vec![shown(60, Some("UnknownIssuer"))],
            Verdict::Failed,
            "for a.test, which no browser believes: UnknownIssuer",
        ),
    ] {
        let looks: Vec<_> =
            looks.into_iter().enumerate().map(|(index, look)| (at(index as u8 + 1), look)).collect();
        assert_found(&judge_certificates(&looks, now), verdict, part);
    }
    assert_found(&judge_port("port 80", &[(at(1), Ok(()))]), Verdict::Ok, "192.0.2.1:443");
    assert_found(
        &judge_port("port 80", &[(at(1), Err(io::ErrorKind::TimedOut.into()))]),
        Verdict::Warning,
        "no answer",
    );
    assert_found(
        &judge_port("port 443", &[(at(1), Err(io::ErrorKind::ConnectionRefused.into()))]),
        Verdict::Failed,
        "nothing listens",
    );
}
