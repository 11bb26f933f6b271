//! What the authorities of this server may sign for.

use std::path::{Path, PathBuf};

use pkdns::{base::watched_files, edge::certificates::AuthorityReading};

use super::finding::Finding;

const CHECK: &str = "authorities";

/// The certificates that clients import, in the directory of certificates.
const FILES: [&str; 2] = ["ca.pem", "bridge-ca.pem"];

/// Bytes of a file: a certificate has some hundred.
const MAX_SIZE: u64 = 1 << 16;

/// Those that are there and can be read by this user.
pub(super) fn observe(directory: &Path) -> Vec<(PathBuf, AuthorityReading)> {
    let files = FILES.map(|name| directory.join(name)).into_iter();
    let read = |path: PathBuf| {
        let text = watched_files::read(&path, MAX_SIZE).unwrap_or_default();
        AuthorityReading::of_pem(&text).into_iter().map(move |authority| (path.clone(), authority))
    };
    files.flat_map(read).collect()
}

/// `None` where there is none.
pub(super) fn judge(observed: &[(PathBuf, AuthorityReading)]) -> Option<Finding> {
    let open = observed.iter().find(|(_, authority)| authority.constraints.is_none());
    if let Some((path, _)) = open {
        let path = path.display();
        return Some(Finding::warning(
            CHECK,
            format!(
                "{path} may sign for any name on the Internet to those who have imported it, as an earlier release made it"
            ),
            format!(
                "remove {path} but not its key, and restart pkdns, which makes one that may sign for this server alone; import \
                 that, and remove the old one where it was imported"
            ),
        ));
    }
    let seen: Vec<_> = observed
        .iter()
        .filter_map(|(path, authority)| {
            let constraints = authority.constraints.as_ref()?;
            Some(format!("{} may sign for {constraints}", path.display()))
        })
        .collect();
    (!seen.is_empty()).then(|| Finding::ok(CHECK, seen.join("; ")))
}

#[cfg(test)]
mod tests {
    use std::{fs, time::SystemTime};

    use pkdns::edge::certificates::BridgeAuthority;

    use super::*;
    use crate::doctor::finding::Verdict;

    #[test]
    fn one_that_may_sign_for_anything_is_warned_of_with_how_to_replace_it() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(judge(&observe(directory.path())), None);
        BridgeAuthority::open(directory.path(), &["key".to_owned()], SystemTime::now()).unwrap();
        let finding = judge(&observe(directory.path())).unwrap();
        assert_eq!(finding.verdict, Verdict::Ok);
        assert!(
            finding.seen.ends_with("bridge-ca.pem may sign for names under .key only"),
            "{}",
            finding.seen
        );
        let open = rcgen::generate_simple_self_signed(["x.example".to_owned()]).unwrap().cert.pem();
        fs::write(directory.path().join("ca.pem"), open).unwrap();
        let finding = judge(&observe(directory.path())).unwrap();
        assert_eq!(finding.verdict, Verdict::Warning);
        assert!(finding.seen.contains("ca.pem may sign for any name"), "{}", finding.seen);
        assert!(finding.advice.unwrap().contains("but not its key"));
    }
}
