//! A certificate from an authority that speaks ACME (RFC 8555): ordered, proven, fetched, and renewed in time.

mod client;
mod schedule;

use std::{
    fmt, fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use instant_acme::{
    Account, AccountCredentials, AuthorizationHandle, AuthorizationStatus, ChallengeType, Identifier,
    NewAccount, NewOrder, Order, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::time::{sleep, timeout};
use tokio_rustls::rustls::{crypto::ring, pki_types::PrivatePkcs8KeyDer, sign::CertifiedKey};

use super::{
    CertificateError, Connections, directory, end,
    files::certified_key,
    shown::{Challenges, Shown},
};
use crate::{
    config::{self, AcmeChallenge},
    private_file,
};
use client::Client;
use schedule::{back_off, time_left};

/// Who we are to the authority. The key in it can do all that we can do there.
const ACCOUNT_NAME: &str = "acme-account.json";

/// Key and certificate chain, in one file, so that they are of one age.
const CERTIFICATE_NAME: &str = "acme.pem";

/// The kind of certificate that authorities give for addresses.
const PROFILE_FOR_ADDRESSES: &str = "shortlived";

/// How long an authority may take to see that the names are ours, and how long to sign.
const PATIENCE: RetryPolicy = RetryPolicy::new().timeout(Duration::from_secs(60));

/// How long all of it may take.
const ORDER_DEADLINE: Duration = Duration::from_secs(300);

/// The clock is looked at this often at least: it may be set, and machines sleep.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// Obtains certificates and keeps them.
pub(super) struct Acme {
    names: Vec<String>,
    directory: PathBuf,
    settings: config::Acme,
    client: Client,
}

/// Why there is no new certificate.
#[derive(Debug, Error)]
enum AcmeError {
    #[error(transparent)]
    Protocol(#[from] instant_acme::Error),
    #[error("it does not offer the challenge {0}")]
    NoChallenge(&'static str),
    #[error("it could not see that {0} is ours; can it reach this server there?")]
    Unproven(String),
    #[error("the order ended as {0:?}")]
    Order(OrderStatus),
    #[error("what it gave is no certificate for our key")]
    NotACertificate,
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error("it took more than {ORDER_DEADLINE:?}")]
    Deadline,
    #[error("what it gave has to be renewed at once; is the clock of this machine right?")]
    DueAtOnce,
}

#[derive(Serialize, Deserialize)]
struct StoredAccount {
    directory: String,
    credentials: AccountCredentials,
}

impl Acme {
    pub(super) fn new(settings: &config::Certificate, acme: &config::Acme, connections: Connections) -> Self {
        Self {
            names: settings.names.clone(),
            directory: directory(settings),
            settings: acme.clone(),
            client: Client::new(connections),
        }
    }

    /// What was obtained before, whatever its age: an old certificate can be overridden by hand, none cannot.
    pub(super) fn stored(&self) -> Result<Option<Arc<CertifiedKey>>, CertificateError> {
        stored(&self.directory)
    }

    /// Obtains a certificate whenever one is due. Does not end.
    pub(super) async fn run(&self, shown: &Shown) {
        let mut failures = 0;
        let mut held = self.stored().ok().flatten().and_then(|certificate| end::read(&certificate));
        loop {
            let left = time_left(held.as_ref(), &self.names, SystemTime::now());
            if !left.is_zero() {
                sleep(left.min(LONGEST_SLEEP)).await;
                continue;
            }
            let outcome = timeout(ORDER_DEADLINE, self.obtain(shown.challenges())).await;
            shown.challenges().clear();
            let error = match outcome.unwrap_or(Err(AcmeError::Deadline)) {
                Ok(certificate) => {
                    tracing::info!("new certificate from {self} for {}", self.names.join(", "));
                    held = end::read(&certificate);
                    shown.show(certificate);
                    if !time_left(held.as_ref(), &self.names, SystemTime::now()).is_zero() {
                        failures = 0;
                        continue;
                    }
                    AcmeError::DueAtOnce
                }
                Err(error) => error,
            };
            let wait = back_off(failures);
            failures = failures.saturating_add(1);
            tracing::warn!("no certificate from {self}: {error}; trying again in {} s", wait.as_secs());
            sleep(wait).await;
        }
    }

    async fn obtain(&self, challenges: &Challenges) -> Result<Arc<CertifiedKey>, AcmeError> {
        let account = self.account().await?;
        let identifiers: Vec<Identifier> = self
            .names
            .iter()
            .map(|name| name.parse().map_or_else(|_| Identifier::Dns(name.clone()), Identifier::Ip))
            .collect();
        let profile = self.profile(&account, &identifiers);
        let mut order = NewOrder::new(&identifiers);
        if let Some(profile) = &profile {
            order = order.profile(profile);
        }
        let mut order = match account.new_order(&order).await {
            Ok(order) => order,
            Err(error) => {
                // An authority that has forgotten us is told anew who we are the next time.
                if is_unknown_account(&error) {
                    let _ = fs::remove_file(self.directory.join(ACCOUNT_NAME));
                }
                return Err(error.into());
            }
        };
        self.prove(&mut order, challenges).await?;
        let key = KeyPair::generate().map_err(CertificateError::Make)?;
        let mut request = CertificateParams::new(self.names.clone()).map_err(CertificateError::Make)?;
        request.distinguished_name = DistinguishedName::new();
        let request = request.serialize_request(&key).map_err(CertificateError::Make)?;
        order.finalize_csr(request.der()).await?;
        let chain = order.poll_certificate(&PATIENCE).await?;
        let pem = format!("{}{chain}", key.serialize_pem());
        let certificate =
            certified_key(pem.as_bytes(), pem.as_bytes()).map_err(|_| AcmeError::NotACertificate)?;
        self.keep(CERTIFICATE_NAME, pem.as_bytes())?;
        Ok(certificate)
    }

    /// Our account with the authority, made if need be.
    async fn account(&self) -> Result<Account, AcmeError> {
        let builder = || Account::builder_with_http(Box::new(self.client.clone()));
        let stored = fs::read(self.directory.join(ACCOUNT_NAME)).ok();
        let stored = stored.and_then(|bytes| serde_json::from_slice::<StoredAccount>(&bytes).ok());
        if let Some(stored) = stored.filter(|stored| stored.directory == self.settings.directory) {
            return Ok(builder().from_credentials(stored.credentials).await?);
        }
        let contact = [&self.settings.contact[..]];
        let new = NewAccount {
            contact: if self.settings.contact.is_empty() { &[] } else { &contact },
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let (account, credentials) = builder().create(&new, self.settings.directory.clone(), None).await?;
        let stored = StoredAccount { directory: self.settings.directory.clone(), credentials };
        let stored = serde_json::to_vec(&stored).map_err(|error| CertificateError::State {
            path: self.directory.join(ACCOUNT_NAME),
            source: error.into(),
        })?;
        self.keep(ACCOUNT_NAME, &stored)?;
        Ok(account)
    }

    fn profile(&self, account: &Account, identifiers: &[Identifier]) -> Option<String> {
        if !self.settings.profile.is_empty() {
            return Some(self.settings.profile.clone());
        }
        let has_address = identifiers.iter().any(|identifier| matches!(identifier, Identifier::Ip(_)));
        let is_offered = account.profiles().any(|profile| profile.name == PROFILE_FOR_ADDRESSES);
        (has_address && is_offered).then(|| PROFILE_FOR_ADDRESSES.to_owned())
    }

    /// Shows the authority what it wants to see for each name.
    async fn prove(&self, order: &mut Order, challenges: &Challenges) -> Result<(), AcmeError> {
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let authorization = authorization?;
            if authorization.status != AuthorizationStatus::Valid {
                self.prove_one(authorization, challenges).await?;
            }
        }
        match order.poll_ready(&PATIENCE).await? {
            OrderStatus::Ready | OrderStatus::Valid => Ok(()),
            OrderStatus::Invalid => Err(AcmeError::Unproven(reason(order).await)),
            other => Err(AcmeError::Order(other)),
        }
    }

    async fn prove_one(
        &self,
        mut authorization: AuthorizationHandle<'_>,
        challenges: &Challenges,
    ) -> Result<(), AcmeError> {
        let (kind, name) = match self.settings.challenge {
            AcmeChallenge::TlsAlpn01 => (ChallengeType::TlsAlpn01, "tls-alpn-01"),
            AcmeChallenge::Http01 => (ChallengeType::Http01, "http-01"),
        };
        let mut challenge = authorization.challenge(kind).ok_or(AcmeError::NoChallenge(name))?;
        let proof = challenge.key_authorization();
        match self.settings.challenge {
            AcmeChallenge::Http01 => challenges.add_file(&challenge.token, proof.as_str()),
            AcmeChallenge::TlsAlpn01 => {
                let host = challenge.identifier().to_string();
                let certificate = challenge_certificate(&host, proof.digest().as_ref())?;
                challenges.add_certificate(server_name(&host), certificate);
            }
        }
        Ok(challenge.set_ready().await?)
    }

    fn keep(&self, name: &str, bytes: &[u8]) -> Result<(), CertificateError> {
        let path = self.directory.join(name);
        private_file::replace(&path, bytes).map_err(|source| CertificateError::State { path, source })
    }
}

/// Which name failed, and what the authority says of it.
async fn reason(order: &mut Order) -> String {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let _ = authorization.refresh().await;
        let name = authorization.identifier().to_string();
        if let Some(error) = authorization.challenges.iter().find_map(|challenge| challenge.error.as_ref()) {
            return format!("{name} ({error})");
        }
    }
    "each name".to_owned()
}

/// What was obtained before and is kept in `directory`.
fn stored(directory: &Path) -> Result<Option<Arc<CertifiedKey>>, CertificateError> {
    let path = directory.join(CERTIFICATE_NAME);
    match fs::read(&path) {
        Ok(pem) => match certified_key(&pem, &pem) {
            Ok(certificate) => Ok(Some(certificate)),
            Err(_) => Err(CertificateError::NoCertificate(path)),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CertificateError::State { path, source }),
    }
}

/// Reads what was obtained before, if anything was.
pub(super) fn check(directory: &Path) -> Result<(), CertificateError> {
    stored(directory).map(drop)
}

fn is_unknown_account(error: &instant_acme::Error) -> bool {
    let instant_acme::Error::Api(problem) = error else { return false };
    problem.r#type.as_deref().is_some_and(|kind| kind.ends_with(":accountDoesNotExist"))
}

/// The name that stands in the handshake of a challenge (RFC 8738 section 6 for addresses).
fn server_name(host: &str) -> String {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        Ok(IpAddr::V6(address)) => {
            let nibbles = address.octets().into_iter().rev().flat_map(|byte| [byte & 15, byte >> 4]);
            nibbles.map(|nibble| format!("{nibble:x}.")).collect::<String>() + "ip6.arpa"
        }
        Err(_) => host.to_ascii_lowercase(),
    }
}

/// RFC 8737 section 3. `digest` is a SHA-256.
fn challenge_certificate(host: &str, digest: &[u8]) -> Result<Arc<CertifiedKey>, AcmeError> {
    let digest: [u8; 32] = digest.try_into().map_err(|_| AcmeError::NotACertificate)?;
    let mut parameters = CertificateParams::new([host.to_owned()]).map_err(CertificateError::Make)?;
    parameters.custom_extensions = vec![CustomExtension::new_acme_identifier(&digest)];
    let key = KeyPair::generate().map_err(CertificateError::Make)?;
    let certificate = parameters.self_signed(&key).map_err(CertificateError::Make)?;
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let key = ring::sign::any_supported_type(&key.into()).map_err(|_| AcmeError::NotACertificate)?;
    // Unchecked, because the check refuses a critical extension that it does not know.
    Ok(Arc::new(CertifiedKey::new(vec![certificate.der().clone()], key)))
}

impl fmt::Display for Acme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.settings.directory)
    }
}

impl fmt::Debug for Acme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acme")
            .field("names", &self.names)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_named_by_its_reverse_name() {
        for (host, name) in [
            ("Dns.Example", "dns.example".to_owned()),
            ("192.0.2.7", "7.2.0.192.in-addr.arpa".to_owned()),
            ("2001:db8::1", format!("1.{}8.b.d.0.1.0.0.2.ip6.arpa", "0.".repeat(23))),
        ] {
            assert_eq!(server_name(host), name);
        }
    }

    #[test]
    fn the_certificate_of_a_challenge_is_for_its_name_and_says_what_is_to_be_seen() {
        for host in ["dns.example", "192.0.2.7"] {
            let certificate = challenge_certificate(host, &[7; 32]).unwrap();
            let (_, parsed) = x509_parser::parse_x509_certificate(&certificate.cert[0]).unwrap();
            let extension = parsed
                .extensions()
                .iter()
                .find(|extension| extension.oid.to_id_string() == "1.3.6.1.5.5.7.1.31");
            let extension = extension.expect("acmeIdentifier");
            assert!(extension.critical);
            assert_eq!(extension.value, [&[4, 32], &[7; 32][..]].concat());
            assert!(end::read(&certificate).unwrap().names.contains(&host.to_owned()));
        }
        assert!(challenge_certificate("dns.example", &[7; 31]).is_err());
    }
}
