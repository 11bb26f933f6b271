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
    doctor::finding::Verdict,
    failure::Failure,
    name_servers::{NameServer, Statement},
};

fn said(code: ResponseCode, is_authoritative: bool, data: Vec<RData>) -> Reply {
    let name = dns::complete("pk.test");
    let records = data.into_iter().map(|data| Record::from_rdata(name.clone(), 30, data));
    let mut reply = Reply::with(code, records.collect(), None);
    if let Reply::Response(response) = &mut reply {
        response.is_authoritative = is_authoritative;
    }
    reply
}

fn statement(reply: Reply) -> Statement {
    Statement { server: "ns.test (192.0.2.1)".to_string(), reply }
}

fn address() -> RData {
    RData::A(A::new(192, 0, 2, 7))
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
        judge_delegation("pk.test", &Ok(servers), false).assert(verdict, &[part]);
    }
    let failure = Failure::Failed("pk.test has no name servers".to_string());
    judge_delegation("pk.test", &Err(failure), false).assert(Verdict::Failed, &["-> delegate pk.test"]);
    judge_delegation("pk.test", &Ok(vec![one]), true).assert(Verdict::Skipped, &["--name-server"]);
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
        judge_server(&statement(udp), &tcp).assert(verdict, &[part]);
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
        let statements: Vec<Statement> = replies.into_iter().map(statement).collect();
        judge_key("KEY.pk.test", &statements).assert(verdict, &[part]);
    }
}

#[test]
fn who_may_certify_a_key_is_read_from_the_nearest_records() {
    let caa = |issuer: Option<&str>| RData::CAA(CAA::new_issue(false, issuer.map(dns::complete), Vec::new()));
    let mail = RData::CAA(CAA::new_iodef(false, "mailto:a@b.test".parse().unwrap()));
    let judged =
        |data: Vec<RData>| judge_permission("pk.test", &[statement(said(ResponseCode::NoError, true, data))]);
    assert_eq!(judged(vec![]), None);
    for (data, verdict, part) in [
        (vec![caa(Some("letsencrypt.org"))], Verdict::Ok, "allows letsencrypt.org"),
        (vec![caa(None)], Verdict::Failed, "forbids every authority -> write CAA 0 issue"),
        (vec![caa(Some("other.example"))], Verdict::Warning, "allows other.example, and not letsencrypt.org"),
        (vec![caa(None), caa(Some("letsencrypt.org"))], Verdict::Ok, "allows letsencrypt.org"),
        (vec![mail], Verdict::Ok, "forbids no authority"),
    ] {
        judged(data).unwrap().assert(verdict, &[part]);
    }
    let failing = judge_permission("pk.test", &[statement(said(ResponseCode::ServFail, false, vec![]))]);
    failing.unwrap().assert(Verdict::Failed, &["take that for a no"]);
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
        judge_certificates(&looks, now).assert(verdict, &[part]);
    }
    let closed = || Err(io::ErrorKind::ConnectionRefused.into());
    judge_port("port 80", &[(at(1), Ok(()))]).assert(Verdict::Ok, &["192.0.2.1:443"]);
    let silent = Err(io::ErrorKind::TimedOut.into());
    judge_port("port 80", &[(at(1), silent)]).assert(Verdict::Warning, &["no answer"]);
    judge_port("port 443", &[(at(1), closed())]).assert(Verdict::Failed, &["nothing listens"]);
}
