//! One certificate from an authority: ordered, proven, fetched. Shared by the server and by whoever keeps a site.

use std::{
    fmt, fs,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, Error, Identifier, NewAccount, NewOrder, Order,
    OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio_rustls::rustls::sign::CertifiedKey;

use super::{AcmeError, CertificateError, Challenge, Connections, Proof, Prover, client::Client};
use crate::{
    base::{metrics::CertificateReading, private_file},
    edge::certificates::{end, files::certified_key},
};

/// The kind of certificate that authorities give for addresses.
const PROFILE_FOR_ADDRESSES: &str = "shortlived";

/// How long an authority may take to see that the names are ours, and how long to sign.
const PATIENCE: RetryPolicy = RetryPolicy::new().timeout(Duration::from_secs(60));

/// An authority that speaks ACME, and our account with it.
pub struct AcmeAuthority {
    directory: String,
    contact: String,
    profile: String,
    account: PathBuf,
    /// For who makes the account: those who come meanwhile take the same.
    entry: Semaphore,
    client: Client,
}

/// A certificate that has just been obtained, and its key.
#[derive(Clone)]
pub struct NewCertificate {
    /// The key, PEM. Nobody else has it.
    pub key: String,
    /// The certificate and those that certify it, PEM.
    pub chain: String,
    pub(in crate::edge::certificates) certified: Arc<CertifiedKey>,
}

#[derive(Serialize, Deserialize)]
struct StoredAccount {
    directory: String,
    credentials: AccountCredentials,
}

impl AcmeAuthority {
    /// `directory` is the address of the authority. `contact`, such as `mailto:…`, and `profile` are not told when empty.
    /// The account is kept in the file `account`; its key can do all that we can do there.
    pub fn new(
        directory: &str,
        contact: &str,
        profile: &str,
        account: &Path,
        connections: Connections,
    ) -> Self {
        Self {
            directory: directory.to_owned(),
            contact: contact.to_owned(),
            profile: profile.to_owned(),
            account: account.to_owned(),
            entry: Semaphore::new(1),
            client: Client::new(connections),
        }
    }

    /// Orders a certificate for `names`, which may be wildcards and addresses, and lets `prover` show that they are ours.
    /// This agrees to the authority's terms of service. No limit of time but those of each request and of `prover`.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub async fn obtain(
        &self,
        names: &[String],
        challenge: Challenge,
        prover: &impl Prover,
    ) -> Result<NewCertificate, AcmeError> {
        let obtained = self.try_to_obtain(names, challenge, prover).await;
        obtained.map_err(|error| match error {
            AcmeError::Protocol(error) => AcmeError::of(error, self.client.not_before()),
            error => error,
        })
    }

    async fn try_to_obtain(
        &self,
        names: &[String],
        challenge: Challenge,
        prover: &impl Prover,
    ) -> Result<NewCertificate, AcmeError> {
        prover.note("ordering a certificate");
        let account = self.account().await?;
        let identifiers: Vec<Identifier> = names
            .iter()
            .map(|name| name.parse().map_or_else(|_| Identifier::Dns(name.clone()), Identifier::Ip))
            .collect();
        let profile = self.profile(&account, names);
        let mut order = NewOrder::new(&identifiers);
        if let Some(profile) = &profile {
            order = order.profile(profile);
        }
        let mut order = match account.new_order(&order).await {
            Ok(order) => order,
            Err(error) => {
                // An authority that has forgotten us is told anew who we are the next time.
                if AcmeError::is_unknown_account(&error) {
                    let _ = fs::remove_file(&self.account);
                }
                return Err(error.into());
            }
        };
        prove(&mut order, challenge, prover).await?;
        prover.note("waiting for the signature");
        let key = KeyPair::generate().map_err(CertificateError::Make)?;
        let mut request = CertificateParams::new(names).map_err(CertificateError::Make)?;
        request.distinguished_name = DistinguishedName::new();
        let request = request.serialize_request(&key).map_err(CertificateError::Make)?;
        order.finalize_csr(request.der()).await?;
        let chain = order.poll_certificate(&PATIENCE).await?;
        let key = key.serialize_pem();
        let certified =
            certified_key(chain.as_bytes(), key.as_bytes()).map_err(|_| AcmeError::NotACertificate)?;
        Ok(NewCertificate { key, chain, certified })
    }

    /// Our account with the authority, made if need be.
    async fn account(&self) -> Result<Account, AcmeError> {
        let _permit = self.entry.acquire().await;
        let builder = || Account::builder_with_http(Box::new(self.client.clone()));
        let stored = fs::read(&self.account).ok();
        let stored = stored.and_then(|bytes| serde_json::from_slice::<StoredAccount>(&bytes).ok());
        if let Some(stored) = stored.filter(|stored| stored.directory == self.directory) {
            return Ok(builder().from_credentials(stored.credentials).await?);
        }
        let contact = [&self.contact[..]];
        let new = NewAccount {
            contact: if self.contact.is_empty() { &[] } else { &contact },
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let (account, credentials) = builder().create(&new, self.directory.clone(), None).await?;
        let state = |source| AcmeError::from(CertificateError::State { path: self.account.clone(), source });
        let stored = StoredAccount { directory: self.directory.clone(), credentials };
        let stored = serde_json::to_vec(&stored).map_err(|error| state(error.into()))?;
        private_file::replace(&self.account, &stored).map_err(state)?;
        Ok(account)
    }

    fn profile(&self, account: &Account, names: &[String]) -> Option<String> {
        if !self.profile.is_empty() {
            return Some(self.profile.clone());
        }
        let has_address = names.iter().any(|name| name.parse::<IpAddr>().is_ok());
        let is_offered = account.profiles().any(|profile| profile.name == PROFILE_FOR_ADDRESSES);
        (has_address && is_offered).then(|| PROFILE_FOR_ADDRESSES.to_owned())
    }
}

/// Shows the authority what it wants to see for each name. All of it is shown before it looks at any: two names may need a
/// record at the same place.
async fn prove(order: &mut Order, challenge: Challenge, prover: &impl Prover) -> Result<(), AcmeError> {
    let mut proofs = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let offered = authorization.challenge(challenge.kind());
        proofs.push(Proof::of(&offered.ok_or(AcmeError::NoChallenge(challenge))?)?);
    }
    if !proofs.is_empty() {
        prover.show(&proofs).await.map_err(AcmeError::NotShown)?;
    }
    prover.note("waiting for the authority to look");
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        if let Some(mut offered) = authorization.challenge(challenge.kind()) {
            offered.set_ready().await?;
        }
    }
    match order.poll_ready(&PATIENCE).await {
        Ok(OrderStatus::Ready | OrderStatus::Valid) => Ok(()),
        Ok(OrderStatus::Invalid) => Err(unproven(order, None).await),
        Ok(other) => Err(AcmeError::Order(other)),
        // What it says of the order as a whole says less than what it says of a name.
        Err(error @ (Error::Api(_) | Error::Timeout(_))) => Err(unproven(order, Some(error)).await),
        Err(error) => Err(error.into()),
    }
}

/// Which name failed, and what the authority says of it; or else what it says of the order.
async fn unproven(order: &mut Order, of_order: Option<Error>) -> AcmeError {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let _ = authorization.refresh().await;
        let name = authorization.identifier().to_string();
        if let Some(error) = authorization.challenges.iter().find_map(|challenge| challenge.error.clone()) {
            return AcmeError::Unproven { name, problem: Some(error) };
        }
    }
    match of_order {
        Some(error) => error.into(),
        None => AcmeError::Unproven { name: "each name".to_owned(), problem: None },
    }
}

impl NewCertificate {
    /// Its names, and from when to when it is valid; `None` if it cannot be read.
    pub fn reading(&self) -> Option<CertificateReading> {
        end::read(&self.certified)
    }
}

/// Without the key.
impl fmt::Debug for NewCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewCertificate").field("chain", &self.chain).finish_non_exhaustive()
    }
}

/// Its address.
impl fmt::Display for AcmeAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.directory)
    }
}

impl fmt::Debug for AcmeAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcmeAuthority").field("directory", &self.directory).finish_non_exhaustive()
    }
}
