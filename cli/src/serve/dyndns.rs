//! `/nic/update`: where routers tell their addresses.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use axum::{
    Extension, Router,
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use pkdns::{http::Visitor, rate_limit::RateLimiter, signed_packet::PublicKey};
use tokio::{
    sync::{Mutex, RwLock, watch},
    task::spawn_blocking,
};

use super::{
    password,
    protocol::{Told, Update, Word, credentials, key, meant, merge},
};
use crate::{keeper::AddressFile, terminal, zone_file::ExternalAddresses};

/// Requests of one client in a minute, and at once. A router comes once a day, and a guesser gets no further.
const PER_MINUTE: u32 = 30;
const BURST: u32 = 10;

/// What a router may tell about one key.
#[derive(Clone)]
pub(super) struct Account {
    pub(super) user: String,
    /// The hash of the password.
    pub(super) password: String,
    pub(super) file: AddressFile,
    pub(super) addresses: watch::Sender<ExternalAddresses>,
}

/// By key in z-base-32. Another map takes its place when the configuration changes.
pub(super) type Accounts = Arc<RwLock<HashMap<String, Account>>>;

/// Takes what routers tell.
#[derive(Clone)]
pub(super) struct Updates(Arc<Inner>);

struct Inner {
    accounts: Accounts,
    quota: RateLimiter,
    allow_private: bool,
    /// Passwords are compared one after the other: each takes 19 MiB and a core. Addresses are kept one after the
    /// other as well.
    turn: Mutex<()>,
}

impl Updates {
    pub(super) fn new(accounts: Accounts, allow_private: bool) -> Self {
        let quota = RateLimiter::new(PER_MINUTE, BURST);
        Self(Arc::new(Inner { accounts, quota, allow_private, turn: Mutex::default() }))
    }

    /// The routes.
    pub(super) fn routes(self) -> Router {
        Router::new()
            .route("/nic/update", get(update))
            .fallback((
                StatusCode::NOT_FOUND,
                "There is nothing here. Routers tell their addresses at /nic/update\n",
            ))
            .with_state(self)
    }

    async fn tell(&self, query: &str, headers: &HeaderMap, client: IpAddr) -> Vec<Word> {
        let Inner { accounts, quota, allow_private, turn } = &*self.0;
        if !quota.admit(client) {
            return vec![Word::Abuse];
        }
        let header = headers.get(header::AUTHORIZATION).and_then(|header| header.to_str().ok());
        let Some(given) = header.and_then(credentials) else { return vec![Word::BadAuthentication] };
        let _turn = turn.lock().await;
        // A user may have several keys, with a password each or one for all, of which each may have a hash of its own.
        let user = given.user;
        let mut hashes: Vec<String> = {
            let accounts = accounts.read().await;
            let theirs = accounts.values().filter(|account| account.user == user);
            theirs.map(|account| account.password.clone()).collect()
        };
        hashes.sort_unstable();
        hashes.dedup();
        let right = spawn_blocking(move || {
            if hashes.is_empty() {
                // Whoever guesses does not learn from the time that it takes which users there are.
                password::verify(&given.password, password::OF_NOBODY);
            }
            hashes.retain(|hash| password::verify(&given.password, hash));
            hashes
        });
        let right = right.await.unwrap_or_default();
        if right.is_empty() {
            return vec![Word::BadAuthentication];
        }
        let Update { names, addresses } = match Update::read(query) {
            Ok(update) => update,
            Err(word) => return vec![word],
        };
        // Looked up again: the configuration may have been read meanwhile, and then others keep the keys.
        let accounts = accounts.read().await;
        let account_of = |key: &PublicKey| {
            accounts
                .get(&key.to_z32())
                .filter(|account| account.user == user && right.contains(&account.password))
        };
        names.iter().map(|name| tell_one(account_of, name, addresses, client, *allow_private)).collect()
    }
}

fn tell_one<'a>(
    account_of: impl Fn(&PublicKey) -> Option<&'a Account>,
    name: &str,
    told: Told,
    client: IpAddr,
    allow_private: bool,
) -> Word {
    let account = match key(name) {
        Ok(key) => account_of(&key),
        Err(word) => return word,
    };
    let Some(account) = account else { return Word::NoHost };
    let new = match meant(told, client, allow_private) {
        Ok(new) => new,
        Err(word) => return word,
    };
    let known = *account.addresses.borrow();
    let now = merge(known, new);
    if now == known {
        return Word::Unchanged(new);
    }
    // Kept before it is confirmed: the router does not come again for a day.
    if let Err(failure) = account.file.save(&now) {
        terminal::note(&format!("error: {failure}"));
        return Word::Failure;
    }
    account.addresses.send_replace(now);
    Word::Good(new)
}

async fn update(
    State(updates): State<Updates>,
    Extension(visitor): Extension<Visitor>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let words = updates.tell(&query.unwrap_or_default(), &headers, visitor.address).await;
    let text: String = words.iter().map(|word| word.line() + "\n").collect();
    let plain = [(header::CONTENT_TYPE, "text/plain"), (header::CACHE_CONTROL, "no-store")];
    match words.first() {
        Some(Word::BadAuthentication) => {
            let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"pkdns\"")];
            (StatusCode::UNAUTHORIZED, plain, challenge, text).into_response()
        }
        Some(Word::Abuse) => {
            (StatusCode::TOO_MANY_REQUESTS, plain, [(header::RETRY_AFTER, "60")], text).into_response()
        }
        _ => (plain, text).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use pkdns::signed_packet::Keypair;

    use super::*;
    use crate::keeper::StateDirectory;

    const PASSWORD: &str = "correct horse";

    fn account(state: &StateDirectory, key: &PublicKey) -> Account {
        Account {
            user: "router".to_string(),
            password: password::hash(PASSWORD.as_bytes()).unwrap(),
            file: state.addresses(key),
            addresses: watch::channel(ExternalAddresses::default()).0,
        }
    }

    fn headers() -> HeaderMap {
        let value = format!("Basic {}", STANDARD.encode(format!("router:{PASSWORD}")));
        HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())])
    }

    fn told(words: &[Word]) -> Vec<String> {
        words.iter().map(|word| word.line()).collect()
    }

    #[tokio::test]
    async fn a_password_that_was_hashed_for_each_key_is_that_of_each() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDirectory::open(directory.path()).unwrap();
        let keys = [1, 2].map(|seed| Keypair::from_secret_key(&[seed; 32]).public_key());
        let accounts = keys.each_ref().map(|key| (key.to_z32(), account(&state, key)));
        assert_ne!(accounts[0].1.password, accounts[1].1.password, "each hash has its own salt");
        let updates = Updates::new(Arc::new(RwLock::new(HashMap::from(accounts))), false);
        let query = format!("hostname={},{}&myip=198.51.100.7", keys[0], keys[1]);
        let words = updates.tell(&query, &headers(), [127, 0, 0, 1].into()).await;
        assert_eq!(told(&words), ["good 198.51.100.7", "good 198.51.100.7"]);
    }

    #[tokio::test]
    async fn an_address_reaches_whoever_keeps_the_key_since_the_configuration_was_read() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDirectory::open(directory.path()).unwrap();
        let key = Keypair::from_secret_key(&[1; 32]).public_key();
        let before = account(&state, &key);
        let since = Account { addresses: watch::channel(ExternalAddresses::default()).0, ..before.clone() };
        let accounts = Arc::new(RwLock::new(HashMap::from([(key.to_z32(), before)])));
        let updates = Updates::new(accounts.clone(), false);
        let (query, headers) = (format!("hostname={key}&myip=198.51.100.7"), headers());
        // The configuration is read while the password is compared.
        let reading = async { accounts.write().await.insert(key.to_z32(), since.clone()) };
        let (words, _) = tokio::join!(updates.tell(&query, &headers, [127, 0, 0, 1].into()), reading);
        assert_eq!(told(&words), ["good 198.51.100.7"]);
        assert_eq!(since.addresses.borrow().ipv4, Some([198, 51, 100, 7].into()));
    }
}
