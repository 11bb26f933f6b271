//! Whether the resolvers answer that pkdns forwards other names to.

use hickory_proto::{op::ResponseCode, rr::RecordType};
use pkdns::{
    config::{Preset, UpstreamAddress},
    sources::forward::{Forwarder, TlsClient, has_route},
};

use super::finding::{Finding, Verdict};
use crate::dns::{self, ORDINARY_NAME, Reply, Response, code};

const CHECK: &str = "upstream";

/// What a resolver said when it was asked for an ordinary name.
#[derive(Debug)]
pub(super) enum Observed {
    /// It was not asked: this machine has no route to it, as to IPv6 where it has IPv4 alone.
    NoRoute,
    /// Over UDP and TCP.
    Plain([Reply; 2]),
    /// Over TLS or HTTPS.
    Encrypted(Reply),
}

pub(super) async fn observe(upstream: &UpstreamAddress, tls: &TlsClient) -> Observed {
    let name = dns::complete(ORDINARY_NAME);
    match upstream.plain() {
        _ if !has_route(upstream.socket_address()) => Observed::NoRoute,
        Some(address) => Observed::Plain(dns::ask_both(address, &name, RecordType::A).await),
        None => {
            let forwarder = Forwarder::new(vec![upstream.clone()], tls);
            Observed::Encrypted(dns::ask_through(&forwarder, &name).await)
        }
    }
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
                &format!("this machine has no route to {}", described(upstream)),
                "nothing to do while another one answers: pkdns leaves this one out",
            ),
            _ => finding.softened(),
        };
    observed.iter().zip(findings).map(without_harm).collect()
}

/// As it is asked, with the name that it goes by.
fn described(upstream: &UpstreamAddress) -> String {
    match Preset::of(upstream) {
        Some(preset) => format!("{upstream} ({})", preset.name),
        None => upstream.to_string(),
    }
}

fn judge(asked: &UpstreamAddress, observed: &Observed) -> Finding {
    const OTHER: &str = "name a resolver that does in fallback_dns, or with --forward";
    let upstream = described(asked);
    let refusal = |response: &Response| match response.code {
        ResponseCode::NoError if !response.answers.is_empty() => None,
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
        Observed::Encrypted(Reply::Response(response)) => refusal(response).unwrap_or_else(|| well("")),
        Observed::Encrypted(reply) => Finding::failed(
            CHECK,
            format!("{upstream}: {}", reply.describe()),
            format!(
                "check its address, the name before the @, which its certificate has to be for, and the network: {OTHER}"
            ),
        ),
        Observed::Plain([Reply::Response(udp), Reply::Response(tcp)]) => {
            refusal(udp).or_else(|| refusal(tcp)).unwrap_or_else(|| well(" over UDP and TCP"))
        }
        Observed::Plain([Reply::Response(_), tcp]) => Finding::warning(
            CHECK,
            format!("{upstream} answers over UDP, but over TCP {}", tcp.describe()),
            "large answers need TCP: let TCP port 53 out through the firewall, or name another resolver",
        ),
        Observed::Plain([udp, Reply::Response(_)]) => Finding::failed(
            CHECK,
            format!("{upstream} answers over TCP, but over UDP {}", udp.describe()),
            format!(
                "let UDP port 53 out through the firewall, or forward over TLS, which needs none: --forward tls://{}",
                asked.socket_address().ip()
            ),
        ),
        Observed::Plain([udp, _]) => Finding::failed(
            CHECK,
            format!("{upstream}: over UDP and TCP {}", udp.describe()),
            format!("check the network and the address: {OTHER}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found() -> Reply {
        Reply::of(ResponseCode::NoError, 1, None)
    }

    #[test]
    fn each_way_to_answer_has_its_verdict() {
        let upstream = "192.0.2.53".parse().unwrap();
        let of = |code| Reply::of(code, 0, None);
        let (nothing, refused) = (of(ResponseCode::NXDomain), of(ResponseCode::Refused));
        for (udp, tcp, verdict, part) in [
            (found(), found(), Verdict::Ok, "192.0.2.53:53 answers over UDP and TCP"),
            (found(), Reply::Closed, Verdict::Warning, "let TCP port 53 out"),
            (Reply::Silent, found(), Verdict::Failed, "--forward tls://192.0.2.53"),
            (Reply::Silent, Reply::Silent, Verdict::Failed, "over UDP and TCP there is no answer"),
            (Reply::Closed, Reply::Closed, Verdict::Failed, "nothing listens"),
            (nothing.clone(), nothing, Verdict::Warning, "knows no address of example.com"),
            (of(ResponseCode::NoError), found(), Verdict::Warning, "knows no address"),
            (refused.clone(), refused.clone(), Verdict::Failed, "answers REFUSED"),
            (found(), refused, Verdict::Failed, "--forward"),
        ] {
            judge(&upstream, &Observed::Plain([udp, tcp])).assert(verdict, &[part]);
        }
        for (reply, verdict, part) in [
            (found(), Verdict::Ok, "answers"),
            (of(ResponseCode::ServFail), Verdict::Failed, "SERVFAIL"),
            (Reply::Silent, Verdict::Failed, "there is no answer -> check its address"),
            (
                Reply::Broken("it answers with text/html".to_string()),
                Verdict::Failed,
                "53: it answers with text/html",
            ),
        ] {
            judge(&upstream, &Observed::Encrypted(reply)).assert(verdict, &[part]);
        }
    }

    #[test]
    fn a_resolver_that_goes_by_a_name_is_told_with_it() {
        let quad9 = pkdns::config::PRESETS[0].upstreams().next().unwrap();
        let finding = judge(&quad9, &Observed::Encrypted(found()));
        assert_eq!(finding.seen, "https://dns.quad9.net@9.9.9.9:443/dns-query (quad9) answers");
    }

    #[test]
    fn one_resolver_of_several_that_fails_is_a_warning_and_one_without_a_route_is_not_missed() {
        let upstream = "192.0.2.53".parse().unwrap();
        let well = || Observed::Plain([found(), found()]);
        let bad = || Observed::Plain([Reply::Silent, Reply::Silent]);
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
            findings.iter().for_each(|finding| finding.assert(finding.verdict, &[]));
        }
    }
}
