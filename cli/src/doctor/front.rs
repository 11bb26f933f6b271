//! A resolver that stands in front of pkdns: which names of keys it lets through, and what helps where it does not. Its traps
//! are those of docs/lan-resolvers.md.

use std::net::SocketAddr;

use hickory_proto::{op::ResponseCode, rr::RecordType};
use pkdns::resolver::error::ResolveError;
use pkdns_dht::signed_packet::PublicKey;

use super::{
    finding::Finding,
    server::{CHECK, Kind},
};
use crate::{
    dns::{self, OfKey, Over, Reply, code},
    terminal::printable,
};

/// For programs that it is not said of here.
const HOW: &str = "as docs/lan-resolvers.md says for it";

/// What a server is asked about itself. The first tells which program it is.
const ABOUT_ITSELF: [&str; 3] = ["version.bind.", "id.server.", "authors.bind."];

/// What a server said, over UDP.
#[derive(Debug)]
pub(super) struct Observed {
    about_itself: [Reply; 3],
    /// One that nobody has published or asked for.
    key: String,
    /// Behind which keys are found as well.
    suffix: String,
    /// About the key, as in [`forms`]: the answer, and without validation where that failed.
    names: [(Reply, Option<Reply>); 4],
}

/// The ways in which a key's name is written, with `key` for the key.
fn forms(key: &str, suffix: &str) -> [String; 4] {
    [key.to_owned(), format!("www.{key}"), format!("{key}.{suffix}"), format!("www.{key}.{suffix}")]
}

/// Of pkdns itself: other questions show how it is.
const NOT_ASKED: (Reply, Option<Reply>) = (Reply::Silent, None);

/// What became of a name of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Passage {
    /// pkdns has answered.
    Through,
    /// It did, and was not believed.
    Distrusted,
    /// Somebody else says that there is no such name.
    Denied,
    /// SERVFAIL, with or without validation.
    Failed,
    /// Not asked for this client, or nothing that can be used.
    Unusable,
}

/// Nobody must have asked `server` for `key` before: what it has heard of a name, it may say of all its types.
pub(super) async fn observe(server: SocketAddr, key: &PublicKey, suffix: &str) -> Observed {
    let (key, suffix) = (key.to_z32(), suffix.to_owned());
    let [version, id, authors] = ABOUT_ITSELF.map(|name| dns::ask_about_itself(server, name));
    let (version, id, authors) = tokio::join!(version, id, authors);
    let mut observed = Observed { about_itself: [version, id, authors], key, suffix, names: [NOT_ASKED; 4] };
    if observed.is_pkdns() {
        return observed;
    }
    let ask = async |name: String| {
        let name = dns::complete(&name);
        // Of a type that no rule of a resolver spares.
        let reply = dns::ask(server, &name, RecordType::A, Over::Udp).await;
        let unchecked = match reply.code() {
            Some(ResponseCode::ServFail) => {
                Some(dns::ask_with(dns::UNCHECKED, server, &name, RecordType::A).await)
            }
            _ => None,
        };
        (reply, unchecked)
    };
    let [a, b, c, d] = forms(&observed.key, &observed.suffix).map(ask);
    let (a, b, c, d) = tokio::join!(a, b, c, d);
    observed.names = [a, b, c, d];
    observed
}

impl Observed {
    /// Whether it is pkdns itself. A resolver answers or refuses such questions by itself, and does not pass them on, as far
    /// as it knows them. The last one it may not know.
    pub(super) fn is_pkdns(&self) -> bool {
        let refusal = ResolveError::Class.extended_error();
        let is_ours = |reply: &Reply| {
            reply.response().is_some_and(|response| response.extended_error.as_ref() == Some(&refusal))
        };
        let is_told = |reply: &Reply| !reply.answers().is_empty();
        let [version, id, authors] = &self.about_itself;
        is_ours(version) || is_ours(id) || (is_told(version) && is_told(id) && is_ours(authors))
    }

    /// What it calls itself.
    fn version(&self) -> Option<String> {
        self.about_itself[0].texts().into_iter().next().filter(|text| !text.is_empty())
    }
}

fn passage(reply: &Reply, unchecked: Option<&Reply>, key: &str) -> Passage {
    match reply.of_key(key) {
        OfKey::Answered => Passage::Through,
        OfKey::Denied => Passage::Denied,
        OfKey::Failed if unchecked.is_some_and(|reply| reply.of_key(key) == OfKey::Answered) => {
            Passage::Distrusted
        }
        OfKey::Failed => Passage::Failed,
        OfKey::Refused | OfKey::Unusable => Passage::Unusable,
    }
}

/// The verdict on a resolver that is not pkdns. `None`: nothing shows that there is a pkdns behind it.
pub(super) fn judge(address: SocketAddr, observed: &Observed) -> Option<(Finding, Kind)> {
    let all =
        observed.names.each_ref().map(|(reply, unchecked)| passage(reply, unchecked.as_ref(), &observed.key));
    let [bare, below, suffixed, below_suffixed] = all;
    // A forwarder whose resolver is gone may say nothing but its own name.
    let is_mute =
        observed.version().is_some() && observed.names.iter().all(|(reply, _)| *reply == Reply::Silent);
    let tells =
        |passage: &Passage| matches!(passage, Passage::Through | Passage::Distrusted | Passage::Failed);
    if !is_mute && !all.iter().any(tells) {
        return None;
    }
    let program = observed.version().unwrap_or_else(|| "a resolver that does not say which".to_owned());
    let program = program.as_str();
    let suffix = &observed.suffix;
    let told = forms("KEY", suffix).into_iter().zip(&observed.names).zip(all);
    let told = told.map(|((form, (reply, _)), passage)| match (passage, reply.code()) {
        (Passage::Through, _) => format!("{form} is answered"),
        (_, Some(said)) => format!("{form} is {}", code(said)),
        (_, None) => format!("{form}: {}", reply.describe()),
    });
    let told: Vec<String> = told.collect();
    let seen = format!("{address} is {}, not pkdns itself: {}", printable(program), told.join(", "));
    let is_through = |passage: Passage| passage == Passage::Through;
    let kind = if is_through(suffixed) { Kind::Front } else { Kind::Other };
    let finding = if all.into_iter().all(is_through) {
        Finding::ok(CHECK, format!("{address} is {}, and sends names of keys to pkdns", printable(program)))
    } else if is_through(suffixed) && is_through(below_suffixed) {
        Finding::warning(CHECK, seen, advice_for_bare_keys(program, suffix, bare, below))
    } else {
        let worst = if is_through(suffixed) { below_suffixed } else { suffixed };
        Finding::failed(CHECK, seen, advice_for_suffix(program, suffix, worst))
    };
    Some((finding, kind))
}

/// Where names with a suffix work.
fn advice_for_bare_keys(program: &str, suffix: &str, bare: Passage, below: Passage) -> String {
    let why = match (bare, below) {
        (Passage::Denied, Passage::Through) => {
            "domain-needed (in Pi-hole \"Never forward non-FQDN queries\") keeps names of one label back: remove that option"
        }
        (Passage::Through, _) => "it has no way to send names below a bare key alone to pkdns",
        _ if is_unbound(program) => {
            "it validates DNSSEC, or sends one zone alone to pkdns; bare keys cannot be exempted in Unbound"
        }
        (Passage::Distrusted | Passage::Failed, _) | (_, Passage::Distrusted | Passage::Failed) => {
            "it validates DNSSEC, and the signed root proves that there are no such names"
        }
        _ => "it does not send bare keys to pkdns (dnsmasq: server=//127.0.0.1#5300)",
    };
    format!("write KEY.{suffix} instead of KEY, which works: {why}")
}

/// Where they do not.
fn advice_for_suffix(program: &str, suffix: &str, passage: Passage) -> String {
    match passage {
        Passage::Distrusted => {
            let exempt = match () {
                () if is_unbound(program) => format!("domain-insecure: \"{suffix}\""),
                () if is_dnsmasq(program) => format!("server=/{suffix}/127.0.0.1#5300 with the address of pkdns"),
                () => HOW.to_owned(),
            };
            format!(
                "it validates DNSSEC, and the signed root proves that {suffix} does not exist: exempt that zone ({exempt})"
            )
        }
        Passage::Denied => {
            let send = match () {
                () if is_unbound(program) => format!("a forward-zone of the name \"{suffix}\""),
                () if is_dnsmasq(program) => format!("server=/{suffix}/127.0.0.1#5300"),
                () => HOW.to_owned(),
            };
            format!("let it send the zone {suffix} to pkdns ({send}), and see that pkdns has it in names.suffixes")
        }
        Passage::Through | Passage::Failed | Passage::Unusable => {
            "see whether pkdns runs where it sends such names, and ask pkdns itself: pkdns-cli doctor --server with the \
             address of pkdns, such as 127.0.0.1:5300"
                .to_owned()
        }
    }
}

fn is_unbound(program: &str) -> bool {
    program.starts_with("unbound")
}

/// Pi-hole's resolver is one, too.
fn is_dnsmasq(program: &str) -> bool {
    program.starts_with("dnsmasq")
}

#[cfg(test)]
impl Observed {
    /// Of pkdns itself.
    pub(super) fn of_pkdns() -> Self {
        let mut reply = Reply::of(ResponseCode::Refused, 0, None);
        if let Reply::Response(response) = &mut reply {
            response.extended_error = Some(ResolveError::Class.extended_error());
        }
        Self {
            about_itself: [reply.clone(), reply.clone(), reply],
            ..Self::of("", [const { Reply::Silent }; 4])
        }
    }

    fn of(version: &str, names: [Reply; 4]) -> Self {
        let unknown = || Reply::of(ResponseCode::NotImp, 0, None);
        let names = names.map(|reply| (reply, None));
        Self {
            about_itself: [Reply::of_texts(&[version]), unknown(), unknown()],
            key: tests::KEY.to_owned(),
            suffix: "key".to_owned(),
            names,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Verdict;

    pub(super) const KEY: &str = "8pinxxgqs41n4aididenw5apqp1urfmzdztr8jt4abrkdn435ewo";
    const DOCUMENT: &str = include_str!("../../../docs/lan-resolvers.md");

    /// What is said of a name: `t`hrough, `d`enied, `s`ervfail, distrusted (`v`alidated), `r`efused.
    fn observed(version: &str, names: &str) -> Observed {
        let of_key = || Reply::of(ResponseCode::NXDomain, 0, Some(KEY));
        let failed = || Reply::of(ResponseCode::ServFail, 0, None);
        let mut observed = Observed::of(version, [const { Reply::Silent }; 4]);
        for (place, letter) in observed.names.iter_mut().zip(names.chars()) {
            *place = match letter {
                't' => (of_key(), None),
                'd' => (Reply::of(ResponseCode::NXDomain, 0, Some("")), None),
                's' => (failed(), Some(failed())),
                'v' => (failed(), Some(of_key())),
                _ => (Reply::of(ResponseCode::Refused, 0, None), None),
            };
        }
        observed
    }

    #[test]
    fn each_trap_has_its_row_of_the_table() {
        let server = "127.0.0.1:53".parse().unwrap();
        for (version, names, verdict, kind, part) in [
            ("dnsmasq-2.90", "tttt", Verdict::Ok, Kind::Front, "is dnsmasq-2.90, and sends"),
            ("dnsmasq-2.90", "dttt", Verdict::Warning, Kind::Front, "domain-needed"),
            ("dnsmasq-2.90", "tdtt", Verdict::Warning, Kind::Front, "below a bare key"),
            ("dnsmasq-2.90", "tvtt", Verdict::Warning, Kind::Front, "below a bare key"),
            ("dnsmasq-2.90", "ddtt", Verdict::Warning, Kind::Front, "server=//127.0.0.1#5300"),
            ("dnsmasq-2.90", "vvvv", Verdict::Failed, Kind::Other, "server=/key/127.0.0.1#5300"),
            ("unbound 1.17.1", "vvtt", Verdict::Warning, Kind::Front, "cannot be exempted in Unbound"),
            ("unbound 1.17.1", "ddtt", Verdict::Warning, Kind::Front, "cannot be exempted in Unbound"),
            ("unbound 1.17.1", "vvvv", Verdict::Failed, Kind::Other, "domain-insecure: \"key\""),
            ("unbound 1.17.1", "ttdd", Verdict::Failed, Kind::Other, "forward-zone"),
            ("unbound 1.17.1", "ssss", Verdict::Failed, Kind::Other, "doctor --server"),
            ("", "vvtt", Verdict::Warning, Kind::Front, "write KEY.key instead of KEY"),
            ("\u{1b}[31m", "vvvv", Verdict::Failed, Kind::Other, "docs/lan-resolvers.md"),
        ] {
            let (finding, judged) = judge(server, &observed(version, names)).expect(names);
            finding.assert(verdict, &[part]);
            assert_eq!(judged, kind, "{version} {names}");
            let text = format!("{finding:?}").to_lowercase();
            assert!(!text.contains("dht") && !finding.seen.contains('\u{1b}'), "{text}");
        }
        let mute = Observed::of("dnsmasq-2.90", [const { Reply::Silent }; 4]);
        let (finding, kind) = judge(server, &mute).unwrap();
        finding.assert(Verdict::Failed, &["doctor --server"]);
        assert_eq!(kind, Kind::Other);
        assert!(judge(server, &Observed::of("", [const { Reply::Silent }; 4])).is_none());
        for names in ["dddd", "rrrr", "drdr"] {
            assert!(judge(server, &observed("dnsmasq-2.90", names)).is_none(), "{names}");
        }
    }

    #[test]
    fn what_is_advised_stands_in_the_document() {
        for part in [
            "domain-needed",
            "domain-insecure: \"key\"",
            "server=/key/127.0.0.1#5300",
            "server=//127.0.0.1#5300",
        ] {
            assert!(DOCUMENT.contains(part), "{part}");
        }
    }

    #[test]
    fn pkdns_is_known_by_how_it_refuses_to_speak_of_itself() {
        assert!(Observed::of_pkdns().is_pkdns());
        assert!(!observed("dnsmasq-2.90", "tttt").is_pkdns());
        // One whose operator has it say something, too, unlike one that asks it what it does not know itself.
        let (told, mut spoken) = (observed("a name", "tttt").about_itself[0].clone(), Observed::of_pkdns());
        spoken.about_itself[0] = told.clone();
        spoken.about_itself[1] = told.clone();
        assert!(spoken.is_pkdns());
        spoken.about_itself[1] = Reply::of(ResponseCode::NotImp, 0, None);
        assert!(!spoken.is_pkdns());
    }
}
