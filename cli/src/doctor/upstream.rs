//! Whether the resolvers answer that pkdns forwards other names to.

use hickory_proto::{
    op::ResponseCode,
    rr::{DNSClass, Name, RecordType},
};
use pkdns::{
    config::UpstreamAddress,
    forward::{Asker, ForwardError, Forwarder, TlsClient},
    message::Question,
};

use super::{
    dns::{self, Reply, code},
    finding::{Finding, Verdict},
};

const CHECK: &str = "upstream";

/// A name that every resolver knows (RFC 2606).
pub(super) const ORDINARY_NAME: &str = "example.com";

/// What a resolver said when it was asked for it.
#[derive(Debug)]
pub(super) enum Observed {
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

/// Where one of several answers, the others are not missed.
pub(super) fn settle(findings: Vec<Finding>) -> Vec<Finding> {
    if findings.iter().any(|finding| finding.verdict != Verdict::Failed) {
        findings.into_iter().map(Finding::softened).collect()
    } else {
        findings
    }
}

pub(super) fn judge(upstream: &UpstreamAddress, observed: &Observed) -> Finding {
    const OTHER: &str = "name a resolver that does in fallback_dns, or with --forward";
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
                upstream.socket_address().ip()
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
    fn one_resolver_of_several_that_fails_is_a_warning() {
        let (well, bad) = (Finding::ok("a", "b"), Finding::failed("a", "b", "c"));
        let verdicts = |findings| settle(findings).iter().map(|finding| finding.verdict).collect::<Vec<_>>();
        assert_eq!(verdicts(vec![well, bad.clone()]), [Verdict::Ok, Verdict::Warning]);
        assert_eq!(verdicts(vec![bad.clone(), bad]), [Verdict::Failed, Verdict::Failed]);
    }
}
