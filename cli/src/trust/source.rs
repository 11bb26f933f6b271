//! Where the certificates of a server's authorities are read: in its directory, in a file, or from its pages.

use std::{
    env, fmt, fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use http::{StatusCode, Uri};
use pkdns::{base::watched_files, config::Config, edge::certificates::AuthorityReading};
use tokio::time::timeout;

use super::name::hex;
use crate::{
    failure::Failure,
    http_client::HttpClient,
    network,
    terminal::{self, printable, quoted},
};

/// The directory of pkdns in the home of its user, its configuration in it, and what it signs with.
pub(crate) const DIRECTORY: &str = ".pkdns";
const CONFIGURATION: &str = "pkdns.toml";
const CERTIFICATES: &str = "certificates";

/// What clients import, of the bridge and of the server's own listeners, in a directory and among the pages.
const FILES: [&str; 2] = [BRIDGE, LOCAL];
const BRIDGE: &str = "bridge-ca.pem";
const LOCAL: &str = "ca.pem";

/// Bytes of a file or a page: a certificate has some hundred.
const MAX_SIZE: usize = 1 << 20;

/// How long a page may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// What a server's authorities are found by.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// A directory of pkdns, or a PEM file.
    Path(PathBuf),
    /// The pages of a server over HTTPS.
    Pages(Uri),
}

/// An authority, and where it has been read.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) authority: AuthorityReading,
    pub(super) from: String,
    /// Whether nobody between us and the server can have put another one in its place.
    pub(super) is_certain: bool,
    /// The fingerprint of the authority that certified the server which handed this one out: who is certain of that one is
    /// certain of this.
    vouched_by: Option<String>,
}

/// As a shell takes it, from wherever it is run.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => {
                let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
                f.write_str(&quoted(&path.display().to_string()))
            }
            Self::Pages(uri) => f.write_str(&quoted(&uri.to_string())),
        }
    }
}

/// Where the server of this user is.
pub(super) fn usual() -> Place {
    Place::Path(env::home_dir().unwrap_or_default().join(DIRECTORY))
}

/// As it stands on the command line.
pub(super) fn place(text: &str) -> Result<Place, String> {
    match text.split_once("://") {
        None => Ok(Place::Path(text.into())),
        Some(("https", _)) => {
            let uri: Option<Uri> = text.parse().ok();
            let uri = uri.filter(|uri| uri.host().is_some_and(|host| !host.is_empty()));
            uri.map(Place::Pages).ok_or_else(|| "expected https://HOST or https://HOST:PORT".to_owned())
        }
        Some(_) => {
            Err("expected a directory, a PEM file, or an address that begins with https://".to_owned())
        }
    }
}

/// The authorities at `place`, and without one in the directory of pkdns of this user.
pub(super) fn read(place: Option<&Place>) -> Result<Vec<Found>, Failure> {
    match place {
        None => read(Some(&usual())),
        Some(Place::Path(path)) => match fs::metadata(path) {
            Ok(there) if there.is_dir() => read_directory(path),
            Ok(_) => {
                let found = read_file(path)?.unwrap_or_default();
                match found.is_empty() {
                    true => Err(failed(&format!("{} holds no certificate in PEM", path.display()))),
                    false => Ok(found),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(failed(&format!(
                "{} is not there: name the directory of pkdns, a PEM file, or https://HOST of the server with --server",
                path.display()
            ))),
            Err(error) => Err(unreadable(path, &error)),
        },
        Some(Place::Pages(uri)) => {
            let mut found = Vec::new();
            network::block_on(async {
                found = timeout(DEADLINE, download(uri)).await.map_err(|_| {
                    failed(&format!(
                        "{uri} does not answer within {} s: check the address",
                        DEADLINE.as_secs()
                    ))
                })??;
                Ok(())
            })?;
            Ok(found)
        }
    }
}

/// A directory of pkdns, or the one in it that it keeps certificates in.
fn read_directory(directory: &Path) -> Result<Vec<Found>, Failure> {
    let mut found = Vec::new();
    for place in [directory.to_owned(), certificates(directory)] {
        for file in FILES {
            found.extend(read_file(&place.join(file))?.unwrap_or_default());
        }
    }
    if found.is_empty() {
        return Err(failed(&format!(
            "there is no authority in {}: name the directory of pkdns, a PEM file, or https://HOST of the server with \
             --server; a server makes one with [bridge] listen or [certificate] self_signed",
            directory.display()
        )));
    }
    Ok(found)
}

/// Where a server with this directory keeps them.
fn certificates(directory: &Path) -> PathBuf {
    let config = Config::load(&directory.join(CONFIGURATION)).unwrap_or_default();
    certificates_of(&config, directory)
}

/// Where a server with this configuration and directory keeps what it signs with.
pub(crate) fn certificates_of(config: &Config, directory: &Path) -> PathBuf {
    let Some(path) = &config.certificate.path else { return directory.join(CERTIFICATES) };
    match (path.strip_prefix("~"), env::home_dir()) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.clone(),
    }
}

/// `None` if it is not there.
fn read_file(path: &Path) -> Result<Option<Vec<Found>>, Failure> {
    match watched_files::read(path, MAX_SIZE as u64) {
        Ok(text) => Ok(Some(all(&text, &path.display().to_string(), true))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(path, &error)),
    }
}

/// The directory of a service is closed to users.
fn unreadable(path: &Path, error: &io::Error) -> Failure {
    failed(&format!(
        "{}: {error}; run this as a user who may read it, such as root, or copy bridge-ca.pem or ca.pem from the certificates in it \
         and name the copy with --server, or name https://HOST of the server",
        path.display()
    ))
}

fn all(text: &[u8], from: &str, is_certain: bool) -> Vec<Found> {
    let found = |authority| Found { authority, from: from.to_owned(), is_certain, vouched_by: None };
    AuthorityReading::of_pem(text).into_iter().map(found).collect()
}

/// From a server that may be certified by nobody but the authority that is asked for.
async fn download(server: &Uri) -> Result<Vec<Found>, Failure> {
    let Some(host) = server.authority() else { return Err(failed("expected https://HOST")) };
    let certified = HttpClient::new(&network::authorities()?, network::system_resolver());
    let [bridge, local] = FILES.map(|file| format!("https://{host}/{file}").parse::<Uri>());
    let (Ok(bridge), Ok(local)) = (bridge, local) else { return Err(failed("expected https://HOST")) };
    let unreachable = |uri: &Uri, why| failed(&format!("{uri}: {why}; check that pkdns serves HTTPS there"));
    if let Ok(text) = page(&certified, &local).await {
        let mut found = all(&text, &local.to_string(), true);
        let text = page(&certified, &bridge).await.map_err(|why| unreachable(&bridge, why))?;
        found.extend(all(&text, &bridge.to_string(), true));
        return some(found, server);
    }
    let anybody = HttpClient::of_anyone(network::system_resolver())?;
    let text = page(&anybody, &local).await.map_err(|why| unreachable(&local, why))?;
    let mut found = all(&text, &local.to_string(), false);
    // One fingerprint is enough for people to compare: the connection over which the other comes is verified by this very
    // certificate. A second one beside it, whose fingerprint nobody compares, would have no better reason to be there than to
    // certify somebody else.
    let (client, vouched_by) = match found.as_slice() {
        [only] => {
            let client = HttpClient::of_authority(&only.authority.der, network::system_resolver())?;
            (client, Some(hex(&only.authority.fingerprint)))
        }
        [] => (anybody, None),
        [_, _, ..] => {
            return Err(failed(&format!(
                "{local} holds more than one certificate, which no pkdns does: somebody on the way may have put one there"
            )));
        }
    };
    let text = page(&client, &bridge).await.map_err(|why| unreachable(&bridge, why))?;
    let others = all(&text, &bridge.to_string(), false);
    found.extend(others.into_iter().map(|other| Found { vouched_by: vouched_by.clone(), ..other }));
    some(found, server)
}

fn some(found: Vec<Found>, server: &Uri) -> Result<Vec<Found>, Failure> {
    match found.is_empty() {
        true => Err(failed(&format!("{server} has no authority of its own: there is nothing to import"))),
        false => Ok(found),
    }
}

/// Nothing where the server says that there is nothing.
async fn page(client: &HttpClient, uri: &Uri) -> Result<Vec<u8>, String> {
    match client.page(uri.clone(), MAX_SIZE).await? {
        (StatusCode::OK, page) => Ok(page.to_vec()),
        (StatusCode::NOT_FOUND, _) => Ok(Vec::new()),
        (status, _) => Err(format!("it answers {status}")),
    }
}

/// Those of which we are certain: they were read here, or their fingerprint is one of those that are `expected`, or whoever
/// sits at the terminal has compared it.
pub(super) fn certain(found: Vec<Found>, expected: &[String]) -> Result<Vec<Found>, Failure> {
    let is_expected = |found: &Found| {
        let fingerprint = hex(&found.authority.fingerprint);
        // Nobody can make another one with a given fingerprint, but one with a given beginning of it.
        expected.iter().any(|expected| match found.is_certain {
            true => fingerprint.starts_with(expected.as_str()),
            false => fingerprint == *expected,
        })
    };
    if !expected.is_empty() {
        let is_vouched = |found: &&Found| {
            let voucher = found.vouched_by.as_ref();
            is_expected(found) || voucher.is_some_and(|voucher| expected.contains(voucher))
        };
        let chosen: Vec<_> = found.iter().filter(is_vouched).cloned().collect();
        let seen: Vec<_> = found.iter().map(|found| hex(&found.authority.fingerprint)).collect();
        return match chosen.is_empty() {
            true => Err(failed(&format!(
                "no authority has the fingerprint that you named, but {}: compare with what pkdns-cli trust show prints on the \
                 server, all 64 digits",
                seen.join(" and ")
            ))),
            false => Ok(chosen),
        };
    }
    let (mut certain, others): (Vec<_>, Vec<_>) = found.into_iter().partition(|found| found.is_certain);
    for found in others {
        let mut fingerprints = certain.iter().map(|certain: &Found| hex(&certain.authority.fingerprint));
        let is_vouched = fingerprints.any(|fingerprint| found.vouched_by.as_ref() == Some(&fingerprint));
        if !is_vouched {
            ask(&found)?;
        }
        certain.push(found);
    }
    Ok(certain)
}

fn ask(found: &Found) -> Result<(), Failure> {
    let (subject, fingerprint) = (printable(&found.authority.subject), found.authority.fingerprint_text());
    let why = format!(
        "anybody on the way may have replaced {}, because this machine cannot verify the server yet.\nThe fingerprint (SHA-256) \
         of {subject} is\n  {fingerprint}\nCompare it with what pkdns-cli trust show prints on the server",
        found.from
    );
    match terminal::confirm(&format!("{why}.\nIs it the same?"))? {
        Some(true) => Ok(()),
        Some(false) => Err(failed("nothing was changed, because the fingerprint was not confirmed")),
        None => Err(failed(&format!(
            "{why}, then run this again with --fingerprint {}",
            hex(&found.authority.fingerprint)
        ))),
    }
}

fn failed(message: &str) -> Failure {
    Failure::Failed(message.to_owned())
}
