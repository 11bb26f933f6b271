//! `/nic/update`: where routers tell their addresses.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use axum::{
    Extension, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::get,
};
use pkdns::{
    base::{
        client::Line,
        fair_queue::{FairQueue, Limits, Permit},
        rate_limit::RateLimiter,
    },
    edge::http::{self, Visitor},
};
use tokio::{
    sync::{RwLock, watch},
    task::spawn_blocking,
    time::timeout,
};

use super::{
    browser::{is_browser, page_from_elsewhere},
    password,
    protocol::{Change, Credentials, LeftOut, ReturnCode, Update, credentials, key, meant},
    pushes::{Push, Pushes, stray},
    refusals::Reason,
};
use crate::{failure::Failure, keeper::AddressFile, terminal, zone_file::ExternalAddresses};

/// Requests of one client in a minute, and at once. A router comes once a day, and a guesser gets no further.
const PER_MINUTE: u32 = 30;
const BURST: u32 = 10;

/// One at a time: a comparison of passwords takes 19 MiB and a core. As many may wait as there may be connections, and
/// of one client so few that a line of guesses is soon over.
const TURNS: Limits = Limits { in_flight: 1, queued: 512, queued_per_client: 4 };

/// The longest wait for a turn. Below what a request may take, so that the router is told.
const LONGEST_WAIT: Duration = Duration::from_secs(6);

/// A form in the body of a request, in bytes: as long as a query with all the names that there may be.
const MAX_FORM_SIZE: usize = 4096;

/// What connections may take. Routers come one by one and leave; a place is held by whoever does not.
pub(super) fn limits() -> http::Limits {
    http::Limits {
        connections: 512,
        connections_per_client: 16,
        head: Duration::from_secs(5),
        idle: Duration::from_secs(10),
        idle_when_crowded: Duration::from_secs(2),
        streams: 16,
        ..http::Limits::default()
    }
}

/// What a router may tell about one key.
#[derive(Clone)]
pub(super) struct Account {
    pub(super) user: String,
    /// The hash of the password.
    pub(super) password: String,
    /// What the address of its host is behind the prefix of the network, if a router may tell that alone.
    pub(super) ipv6_host: Option<Ipv6Addr>,
    pub(super) file: AddressFile,
    /// The same for as long as the key is told about, so that what is being written reaches whoever keeps it then.
    pub(super) addresses: watch::Sender<ExternalAddresses>,
}

/// By key in z-base-32. Another map takes its place when the configuration changes, which waits for nothing that takes
/// long: the lock is held to look something up.
pub(super) type Accounts = Arc<RwLock<HashMap<String, Account>>>;

/// Takes what routers tell.
#[derive(Clone)]
pub(super) struct Updates(Arc<Inner>);

struct Inner {
    accounts: Accounts,
    quota: RateLimiter,
    allow_private: bool,
    labour: Labour,
    /// Turns to compare passwords, and to write addresses: who came last is written last.
    comparing: FairQueue<Line>,
    writing: FairQueue<Line>,
    pages: Reason,
    crowds: Reason,
    pushes: Pushes,
    strays: Pushes,
}

/// What blocks a thread.
struct Labour {
    compare: Box<Compare>,
    save: Box<Save>,
    note: Box<Note>,
}

/// Whether the password is that of the hash.
type Compare = dyn Fn(&[u8], &str) -> bool + Send + Sync;

type Save = dyn Fn(&AddressFile, &ExternalAddresses) -> Result<(), Failure> + Send + Sync;

/// Writes a line into the log.
type Note = dyn Fn(&str) + Send + Sync;

impl Default for Labour {
    fn default() -> Self {
        Self {
            compare: Box::new(password::verify),
            save: Box::new(AddressFile::save),
            note: Box::new(terminal::note),
        }
    }
}

impl Updates {
    pub(super) fn new(accounts: Accounts, allow_private: bool) -> Self {
        Self::working(accounts, allow_private, Labour::default())
    }

    fn working(accounts: Accounts, allow_private: bool, labour: Labour) -> Self {
        Self(Arc::new(Inner {
            accounts,
            quota: RateLimiter::new(PER_MINUTE, BURST),
            allow_private,
            labour,
            comparing: FairQueue::new(TURNS),
            writing: FairQueue::new(TURNS),
            pages: Reason::default(),
            crowds: Reason::default(),
            pushes: Pushes::default(),
            strays: Pushes::default(),
        }))
    }

    /// The routes.
    pub(super) fn routes(self) -> Router {
        Router::new()
            .route("/nic/update", get(update).post(update))
            .layer(DefaultBodyLimit::max(MAX_FORM_SIZE))
            .fallback(nothing_here)
            .with_state(self)
    }

    /// `form`: what stands in the body, which has the form of a query.
    async fn tell(&self, uri: &Uri, form: &str, headers: &HeaderMap, client: IpAddr) -> Vec<ReturnCode> {
        let mut push = Push::default();
        let codes = self.try_to_tell(uri, form, headers, client, &mut push).await;
        let codes = codes.unwrap_or_else(|code| vec![code]);
        // Web pages are no routers, and are counted apart.
        if codes != [ReturnCode::BadAgent] {
            self.0.pushes.note(&push.line(client, &codes), |line| (self.0.labour.note)(line));
        }
        codes
    }

    async fn try_to_tell(
        &self,
        uri: &Uri,
        form: &str,
        headers: &HeaderMap,
        client: IpAddr,
        push: &mut Push,
    ) -> Result<Vec<ReturnCode>, ReturnCode> {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        // Before the quota: a page uses up what the router behind the same address needs.
        if let Some(header) = page_from_elsewhere(headers, uri.authority().map(|it| it.as_str()).or(host)) {
            self.0.pages.note(&format!(
                "an update was refused, because a web page or a link had a browser send it ({header}): routers and curl send \
                 no such header"
            ));
            return Err(ReturnCode::BadAgent);
        }
        if !self.0.quota.admit(client) {
            return Err(ReturnCode::Abuse);
        }
        let header = headers.get(header::AUTHORIZATION).and_then(|header| header.to_str().ok());
        let given = header.and_then(credentials).ok_or(ReturnCode::BadAuthentication)?;
        // What is wrong with it is not told to those who do not know the password.
        let update = Update::read(&[uri.query().unwrap_or_default(), form].join("&"));
        let keys = update.iter().flat_map(|update| &update.names).filter_map(|name| key(name).ok());
        let keys: Vec<String> = keys.map(|key| key.to_z32()).collect();
        let user = given.user.clone();
        // Who types the password in place of the user is not to find it in the log.
        push.user =
            self.0.accounts.read().await.values().any(|account| account.user == user).then(|| user.clone());
        let right = self.compare(given, keys, client).await?;
        if right.is_empty() {
            return Err(ReturnCode::BadAuthentication);
        }
        let Update { names, addresses } = update?;
        push.names.clone_from(&names);
        let (change, left_out): (_, Vec<LeftOut>) = meant(addresses, client, self.0.allow_private);
        push.left_out = left_out;
        if let Some(prefix) = change.ok().and_then(Change::prefix) {
            let accounts = self.0.accounts.read().await;
            let named = names.iter().filter_map(|name| accounts.get(&key(name).ok()?.to_z32()));
            push.left_out
                .extend(named.into_iter().any(|account| account.ipv6_host.is_none()).then_some(prefix));
        }
        self.keep(names, change, &user, &right, client).await
    }

    /// Which hashes are of the password, of those that matter. The work goes on when the client leaves, and its turn
    /// ends with it and not before.
    async fn compare(
        &self,
        given: Credentials,
        keys: Vec<String>,
        client: IpAddr,
    ) -> Result<Vec<String>, ReturnCode> {
        let turn = self.turn(&self.0.comparing, client).await?;
        let hashes = hashes_for(&*self.0.accounts.read().await, &given.user, &keys);
        let this = self.clone();
        let comparing = spawn_blocking(move || {
            let _turn = turn;
            right_ones(hashes, |hash| (this.0.labour.compare)(&given.password, hash))
        });
        comparing.await.map_err(|_| ReturnCode::Failure)
    }

    /// Writes down what was told about each name.
    async fn keep(
        &self,
        names: Vec<String>,
        change: Result<Change, ReturnCode>,
        user: &str,
        right: &[String],
        client: IpAddr,
    ) -> Result<Vec<ReturnCode>, ReturnCode> {
        let turn = self.turn(&self.0.writing, client).await?;
        // Looked up again: the configuration may have been read meanwhile, and then others keep the keys.
        let accounts = self.0.accounts.read().await;
        let account_of = |name: &String| {
            let account = accounts.get(&key(name)?.to_z32());
            let theirs = account.filter(|account| account.user == user && right.contains(&account.password));
            theirs.cloned().ok_or(ReturnCode::NoHost)
        };
        let told: Vec<Result<Account, ReturnCode>> = names.iter().map(account_of).collect();
        drop(accounts);
        let this = self.clone();
        let writing = spawn_blocking(move || {
            let _turn = turn;
            let tell = |account: Result<Account, ReturnCode>| {
                let account = account?;
                this.tell_one(&account, change?.for_host(account.ipv6_host)?)
            };
            told.into_iter().map(|account| tell(account).unwrap_or_else(|code| code)).collect()
        });
        writing.await.map_err(|_| ReturnCode::Failure)
    }

    /// Blocks on the disk.
    fn tell_one(&self, account: &Account, change: Change) -> Result<ReturnCode, ReturnCode> {
        let new = change.addresses();
        let known = *account.addresses.borrow();
        let now = change.of(known);
        if now == known {
            return Ok(ReturnCode::Unchanged(new));
        }
        // Kept before it is confirmed: the router does not come again for a day.
        if let Err(failure) = (self.0.labour.save)(&account.file, &now) {
            terminal::note(&format!("error: {failure}"));
            return Err(ReturnCode::Failure);
        }
        account.addresses.send_replace(now);
        Ok(ReturnCode::Good(new))
    }

    async fn turn(&self, queue: &FairQueue<Line>, client: IpAddr) -> Result<Permit<Line>, ReturnCode> {
        let turn = timeout(LONGEST_WAIT, queue.acquire(Line::of(client, true))).await;
        turn.ok().and_then(Result::ok).ok_or_else(|| {
            self.0.crowds.note(
                "an update was turned away, as too many wait for their passwords to be compared or for the disk",
            );
            ReturnCode::Failure
        })
    }
}

/// The hashes that a password is compared with, so that it may tell about these keys. A user may have several keys, with
/// a password each or one for all, of which each may have a hash of its own. Who names none of them is told so where the
/// password is that of the first. Never empty: whoever guesses does not learn from the time that it takes which users
/// there are.
fn hashes_for(accounts: &HashMap<String, Account>, user: &str, keys: &[String]) -> Vec<String> {
    let named = keys.iter().filter_map(|key| accounts.get(key)).filter(|account| account.user == user);
    let mut hashes: Vec<String> = Vec::new();
    for account in named {
        if !hashes.contains(&account.password) {
            hashes.push(account.password.clone());
        }
    }
    if hashes.is_empty() {
        let theirs = accounts.iter().filter(|(_, account)| account.user == user);
        let first = theirs.min_by_key(|(key, _)| *key).map(|(_, account)| account.password.as_str());
        hashes.push(first.unwrap_or(password::OF_NOBODY).to_string());
    }
    hashes
}

/// Those of the password. The first decides whether it is one at all, so that a guess costs one comparison.
fn right_ones(hashes: Vec<String>, mut is_right: impl FnMut(&str) -> bool) -> Vec<String> {
    let mut hashes = hashes.into_iter();
    let Some(first) = hashes.next().filter(|first| is_right(first)) else { return Vec::new() };
    std::iter::once(first).chain(hashes.filter(|hash| is_right(hash))).collect()
}

async fn update(
    State(updates): State<Updates>,
    Extension(visitor): Extension<Visitor>,
    uri: Uri,
    headers: HeaderMap,
    form: Bytes,
) -> Response {
    let codes = updates.tell(&uri, &String::from_utf8_lossy(&form), &headers, visitor.address).await;
    let text: String = codes.iter().map(|code| code.line() + "\n").collect();
    let plain = [(header::CONTENT_TYPE, "text/plain"), (header::CACHE_CONTROL, "no-store")];
    match codes.first() {
        // It is not asked for a password, and so has none to send along with what a page wants.
        Some(ReturnCode::BadAuthentication) if is_browser(&headers) => {
            (StatusCode::FORBIDDEN, plain, text).into_response()
        }
        Some(ReturnCode::BadAgent) => (StatusCode::FORBIDDEN, plain, text).into_response(),
        Some(ReturnCode::BadAuthentication) => {
            let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"pkdns\"")];
            (StatusCode::UNAUTHORIZED, plain, challenge, text).into_response()
        }
        Some(ReturnCode::Abuse) => {
            (StatusCode::TOO_MANY_REQUESTS, plain, [(header::RETRY_AFTER, "60")], text).into_response()
        }
        _ => (plain, text).into_response(),
    }
}

/// A router that was told another path says to its owner that it failed, and not why.
async fn nothing_here(
    State(updates): State<Updates>,
    Extension(visitor): Extension<Visitor>,
    uri: Uri,
) -> (StatusCode, &'static str) {
    let this = &updates.0;
    this.strays.note(&stray(visitor.address, uri.path()), |line| (this.labour.note)(line));
    (StatusCode::NOT_FOUND, "There is nothing here. Routers tell their addresses at /nic/update\n")
}

#[cfg(test)]
mod routers;
#[cfg(test)]
mod tests;
