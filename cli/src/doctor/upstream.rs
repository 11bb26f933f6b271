//! Whether the resolvers answer that pkdns forwards other names to.

use hickory_proto::{
    op::ResponseCode,
    rr::{DNSClass, Name, RecordType},
};
use pkdns::{
    config::{Preset, UpstreamAddress},
    message::Question,
    sources::forward::{Asker, ForwardError, Forwarder, TlsClient, has_route},
};

use super::finding::{Finding, Verdict};
use crate::dns::{self, Reply, code};

const CHECK: &str = "upstream";

/// A name that every resolver knows (RFC 2606).
pub(super) const ORDINARY_NAME: &str = "example.com";

/// What a resolver said when it was asked for it.
#[derive(Debug)]
pub(super) enum Observed {
    /// It was not asked: this machine has no route to it, as to IPv6 where it has IPv4 alone.
    NoRoute,
    Plain {
        udp: Reply,
        tcp: Reply,
    },
    /// Over TLS or HTTPS: the response code, and how many records came.
    Encrypted(Result<(ResponseCode, usize), String>),
}

pub(super) fn ordinary_name() -> Name {
    dns::complete(ORDINARY_NAME)
}

pub(super) async fn observe(upstream: &UpstreamAddress, tls: &TlsClient) -> Observed {
    if !has_route(upstream.socket_address()) {
        return Observed::NoRoute;
    }
    let name = ordinary_name();
    if let Some(address) = upstream.plain() {
        let [udp, tcp] = dns::ask_both(address, &name, RecordType::A).await;
        return Observed::Plain { udp, tcp };
    }
    let forwarder = Forwarder::new(vec![upstream.clone()], tls);
    let Some(question) = Question::new(&name, RecordType::A, DNSClass::IN) else {
        return Observed::Encrypted(Err("it cannot be asked".to_string()));
    };
    let answer = forwarder.ask(Asker::Own, &question, false, false).await;
    let answer = answer.map(|message| (message.code, message.answers.len()));
    Observed::Encrypted(answer.map_err(|error| match error {
        ForwardError::Unusable(what) => what.to_string(),
        _ => "there is no answer".to_string(),
    }))
}

/// What is to be said of several. Where one answers, the others are not missed.
pub(super) fn judge_all(observed: &[(&UpstreamAddress, Observed)]) -> Vec<Finding> {
    let findings: Vec<_> = observed.iter().map(|(upstream, observed)| judge(upstream, observed)).collect();
    if findings.iter().all(|finding| finding.verdict == Verdict::Failed) {
        return findings;
    }
    let without_harm =
        |((upstream, observed), finding): (&(&UpstreamAddress, Observed), Finding)| match observed {
            Observed::NoRoute => Finding::skipped(
                CHECK,
                &format!("this machine has no route to {}", told(upstream)),
                "nothing to do while another one answers: pkdns leaves this one out",
            ),
            _ => finding.softened(),
        };
    observed.iter().zip(findings).map(without_harm).collect()
}

/// As it is asked, with the name that it goes by.
fn told(upstream: &UpstreamAddress) -> String {
    match Preset::of(upstream) {
        Some(preset) => format!("{upstream} ({})", preset.name),
        None => upstream.to_string(),
    }
}

fn judge(asked: &UpstreamAddress, observed: &Observed) -> Finding {
    const OTHER: &str = "name a resolver that does in fallback_dns, or with --forward";
    let upstream = told(asked);
    let refusal = |response: ResponseCode, records: usize| match response {
        ResponseCode::NoError if records > 0 => None,
        ResponseCode::NoError | ResponseCode::NXDomain => Some(Finding::warning(
            CHECK,
            format!("{upstream} knows no address of {ORDINARY_NAME}"),
            "it filters names, or has no way to the Internet; name another in fallback_dns if that is not meant",
        )),
        other => Some(Finding::failed(
            CHECK,
            format!("{upstream} answers {} when asked for {ORDINARY_NAME}", code(other)),
            format!("it does not resolve names for this machine: {OTHER}"),
        )),
    };
    let well = |how: &str| Finding::ok(CHECK, format!("{upstream} answers{how}"));
    match observed {
        Observed::NoRoute => Finding::failed(
            CHECK,
            format!("this machine has no route to {upstream}"),
            format!("connect it to a network (ip route and ip -6 route show what it has), or {OTHER}"),
        ),
        Observed::Encrypted(Ok((response, records))) => {
            refusal(*response, *records).unwrap_or_else(|| well(""))
        }
        Observed::Encrypted(Err(why)) => Finding::failed(
            CHECK,
            format!("{upstream}: {why}"),
            format!(
                "check its address, the name before the @, which its certificate has to be for, and the network: {OTHER}"
            ),
        ),
        Observed::Plain { udp: Reply::Said(udp), tcp: Reply::Said(tcp) } => {
            let refused = refusal(udp.code, udp.records).or_else(|| refusal(tcp.code, tcp.records));
            refused.unwrap_or_else(|| well(" over UDP and TCP"))
        }
        Observed::Plain { udp: Reply::Said(_), tcp } => Finding::warning(
            CHECK,
            format!("{upstream} answers over UDP, but over TCP {}", tcp.told()),
            "large answers need TCP: let TCP port 53 out through the firewall, or name another resolver",
        ),
        Observed::Plain { udp, tcp: Reply::Said(_) } => Finding::failed(
            CHECK,
            format!("{upstream} answers over TCP, but over UDP {}", udp.told()),
            format!(
                "let UDP port 53 out through the firewall, or forward over TLS, which needs none: --forward tls://{}",
                asked.socket_address().ip()
            ),
        ),
        Observed::Plain { udp, .. } => Finding::failed(
            CHECK,
            format!("{upstream}: over UDP and TCP {}", udp.told()),
            format!("check the network and the address: {OTHER}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(observed: &Observed) -> (Verdict, String) {
        let finding = judge(&"192.0.2.53".parse().unwrap(), observed);
        (finding.verdict, format!("{} {}", finding.seen, finding.advice.unwrap_or_default()))
    }

    fn found() -> Reply {
        Reply::of(ResponseCode::NoError, 1, None)
    }

    #[test]
    fn each_way_to_answer_has_its_verdict() {
        let nothing = || Reply::of(ResponseCode::NXDomain, 0, None);
        let refused = || Reply::of(ResponseCode::Refused, 0, None);
        for (udp, tcp, verdict, part) in [
            (found(), found(), Verdict::Ok, "192.0.2.53:53 answers over UDP and TCP"),
            (found(), Reply::Closed, Verdict::Warning, "let TCP port 53 out"),
            (Reply::Silent, found(), Verdict::Failed, "--forward tls://192.0.2.53"),
            (Reply::Silent, Reply::Silent, Verdict::Failed, "over UDP and TCP there is no answer"),
            (Reply::Closed, Reply::Closed, Verdict::Failed, "nothing listens"),
            (nothing(), nothing(), Verdict::Warning, "knows no address of example.com"),
            (Reply::of(ResponseCode::NoError, 0, None), found(), Verdict::Warning, "knows no address"),
            (refused(), refused(), Verdict::Failed, "answers REFUSED"),
            (found(), refused(), Verdict::Failed, "--forward"),
        ] {
            let (judged, text) = judged(&Observed::Plain { udp, tcp });
            assert!(judged == verdict && text.contains(part), "{part}: {text}");
        }
        for (answer, verdict, part) in [
            (Ok((ResponseCode::NoError, 2)), Verdict::Ok, "answers"),
            (Ok((ResponseCode::ServFail, 0)), Verdict::Failed, "SERVFAIL"),
            (Err("there is no answer".to_string()), Verdict::Failed, "certificate"),
            (
                Err("it answers with text/html".to_string()),
                Verdict::Failed,
                "53: it answers with text/html check",
            ),
        ] {
            let (judged, text) = judged(&Observed::Encrypted(answer));
            assert!(judged == verdict && text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn a_resolver_that_goes_by_a_name_is_told_with_it() {
        let quad9 = pkdns::config::PRESETS[0].upstreams().next().unwrap();
        let finding = judge(&quad9, &Observed::Encrypted(Ok((ResponseCode::NoError, 1))));
        assert_eq!(finding.seen, "https://dns.quad9.net@9.9.9.9:443/dns-query (quad9) answers");
    }

    #[test]
    fn one_resolver_of_several_that_fails_is_a_warning_and_one_without_a_route_is_not_missed() {
        let upstream = "192.0.2.53".parse().unwrap();
        let well = || Observed::Plain { udp: found(), tcp: found() };
        let bad = || Observed::Plain { udp: Reply::Silent, tcp: Reply::Silent };
        use Verdict::{Failed, Ok, Skipped, Warning};
        for (observed, expected) in [
            (vec![well(), bad(), Observed::NoRoute], vec![Ok, Warning, Skipped]),
            (vec![Observed::NoRoute, well()], vec![Skipped, Ok]),
            (vec![bad(), Observed::NoRoute], vec![Failed, Failed]),
            (vec![Observed::NoRoute], vec![Failed]),
        ] {
            let observed: Vec<_> = observed.into_iter().map(|one| (&upstream, one)).collect();
            let findings = judge_all(&observed);
            assert_eq!(findings.iter().map(|finding| finding.verdict).collect::<Vec<_>>(), expected);
            assert!(findings.iter().all(|finding| (finding.verdict == Ok) == finding.advice.is_none()));
        }
    }
}
