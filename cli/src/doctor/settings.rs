//! The configuration of the server, if there is one.

use std::{
    env,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use pkdns::config::{Config, ConfigError};

use super::finding::Finding;
use crate::terminal::printable;

const CHECK: &str = "configuration";

/// Where the server looks for its configuration, in the home of its user.
const PLACE: &str = ".pkdns/pkdns.toml";

/// Mistakes that are listed.
const MOST: usize = 5;

/// The configuration that counts for the other checks, and what to say about it. Without a file, or with one that is wrong,
/// these are the defaults.
pub(super) fn read(named: Option<&Path>) -> (Config, Finding) {
    let Some(path) = named.map(Path::to_path_buf).or_else(|| usual(env::home_dir())) else {
        let finding = Finding::ok(CHECK, format!("there is no ~/{PLACE}, so the defaults hold"));
        return (Config::default(), finding);
    };
    let loaded = Config::load(&path);
    let finding = judge(&path, loaded.as_ref().err());
    (loaded.unwrap_or_default(), finding)
}

/// The file, where it is there.
fn usual(home: Option<PathBuf>) -> Option<PathBuf> {
    // One that cannot be reached is not absent.
    let is_absent =
        |path: &Path| path.symlink_metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound);
    home.map(|home| home.join(PLACE)).filter(|path| !is_absent(path))
}

fn judge(path: &Path, error: Option<&ConfigError>) -> Finding {
    match error {
        None => Finding::ok(CHECK, format!("{} has no mistakes", path.display())),
        Some(ConfigError::Invalid(mistakes)) => {
            let mut shown: Vec<String> =
                mistakes.iter().take(MOST).map(|mistake| printable(&mistake.to_string())).collect();
            if mistakes.len() > MOST {
                shown.push(format!("and {} more", mistakes.len() - MOST));
            }
            Finding::failed(
                CHECK,
                shown.join("; "),
                "correct it, see with pkdns --check, and restart pkdns; the defaults hold for the checks below",
            )
        }
        // It says itself what to do.
        Some(error) => Finding::failed(
            CHECK,
            printable(&error.to_string()),
            "the defaults hold for the checks below; name another file with --config",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::doctor::finding::Verdict;

    #[test]
    fn a_file_is_judged_by_its_mistakes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pkdns.toml");
        let judged = |text: &str| {
            fs::write(&path, text).unwrap();
            read(Some(&path))
        };
        let (config, finding) = judged("fallback_dns = '192.0.2.53'");
        assert_eq!(
            (config.fallback_dns[0].to_string().as_str(), finding.verdict),
            ("192.0.2.53:53", Verdict::Ok)
        );
        for (text, parts) in [
            ("listn = '127.0.0.1:53'", ["pkdns.toml:1: ", "did you mean `listen`?"]),
            ("\nlisten = []\nfallback_dns = []", ["pkdns.toml:2: listen: ", "; "]),
        ] {
            let (config, finding) = judged(text);
            assert_eq!((config, finding.verdict), (Config::default(), Verdict::Failed));
            assert!(parts.iter().all(|part| finding.seen.contains(part)), "{}", finding.seen);
            assert!(finding.advice.unwrap().contains("pkdns --check"));
        }
        let (_, finding) = read(Some(&directory.path().join("absent")));
        assert!(finding.verdict == Verdict::Failed && finding.seen.contains("absent: "), "{}", finding.seen);
    }

    #[test]
    fn a_file_at_home_counts_where_there_is_one() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(usual(None), None);
        assert_eq!(usual(Some(home.path().to_path_buf())), None);
        let path = home.path().join(PLACE);
        fs::create_dir(path.parent().unwrap()).unwrap();
        fs::write(&path, "").unwrap();
        assert_eq!(usual(Some(home.path().to_path_buf())), Some(path));
    }
}
