use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use pkdns_dht::signed_packet::{Keypair, PublicKey};
use tempfile::TempDir;
use tokio::task::yield_now;

use super::*;
use crate::keeper::StateDirectory;

const PASSWORD: &str = "correct horse";

/// How long something may be held up that ought not to be; a test that goes well waits for none of it.
const LIMIT: Duration = Duration::from_secs(20);

pub(super) fn public_key(seed: u8) -> PublicKey {
    Keypair::from_secret_key(&[seed; 32]).public_key()
}

pub(super) fn client(last: u8) -> IpAddr {
    [198, 51, 100, last].into()
}

pub(super) fn visitor(address: IpAddr) -> Visitor {
    Visitor { address, is_encrypted: false, is_tls: false, may_be_a_proxy: false }
}

/// The addresses of the first key.
pub(super) async fn known(accounts: &Accounts) -> ExternalAddresses {
    *accounts.read().await[&public_key(1).to_z32()].addresses.borrow()
}

fn account(state: &StateDirectory, key: &PublicKey, password: &str) -> Account {
    Account {
        user: "router".to_string(),
        password: password.to_string(),
        ipv6_host: None,
        file: state.addresses(key),
        addresses: watch::channel(ExternalAddresses::default()).0,
    }
}

/// Accounts of these keys, whose hashes are not of any algorithm.
pub(super) fn accounts(seeds: impl Iterator<Item = u8>) -> (TempDir, Accounts) {
    let directory = tempfile::tempdir().unwrap();
    let state = StateDirectory::open(directory.path()).unwrap();
    let account = |seed| {
        let key = public_key(seed);
        (key.to_z32(), account(&state, &key, &format!("hash {seed} of {PASSWORD}")))
    };
    let accounts = seeds.map(account).collect();
    (directory, Arc::new(RwLock::new(accounts)))
}

/// Compares without any labour.
fn compare(password: &[u8], hash: &str) -> bool {
    std::str::from_utf8(password).is_ok_and(|password| hash.ends_with(&format!(" of {password}")))
}

pub(super) fn quick() -> Labour {
    Labour { compare: Box::new(compare), save: Box::new(|_, _| Ok(())), note: Box::new(|_| ()) }
}

pub(super) fn headers_of(user: &str, password: &str) -> HeaderMap {
    let value = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
    HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())])
}

pub(super) fn headers() -> HeaderMap {
    headers_of("router", PASSWORD)
}

fn uri(query: &str) -> Uri {
    format!("/nic/update?{query}").parse().unwrap()
}

/// What names these keys.
fn query(seeds: impl Iterator<Item = u8>, more: &str) -> Uri {
    let names: Vec<String> = seeds.map(|seed| public_key(seed).to_z32()).collect();
    uri(&format!("hostname={}{more}", names.join(",")))
}

fn told(codes: &[ReturnCode]) -> Vec<String> {
    codes.iter().map(|code| code.line()).collect()
}

/// An update of the first key in a task of its own, by `client`.
fn begin(
    updates: &Updates,
    password: &str,
    address: &str,
    client: IpAddr,
) -> tokio::task::JoinHandle<Vec<ReturnCode>> {
    let (updates, uri) = (updates.clone(), query(1..2, &format!("&myip={address}")));
    let headers = headers_of("router", password);
    tokio::spawn(async move { updates.tell(&uri, "", &headers, client).await })
}

async fn until(condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(LIMIT, waiting).await.unwrap();
}

#[tokio::test]
async fn a_password_that_was_hashed_for_each_key_is_that_of_each() {
    let directory = tempfile::tempdir().unwrap();
    let state = StateDirectory::open(directory.path()).unwrap();
    let keys = [1, 2].map(public_key);
    let hashed = || password::hash(PASSWORD.as_bytes()).unwrap();
    let accounts = keys.each_ref().map(|key| (key.to_z32(), account(&state, key, &hashed())));
    assert_ne!(accounts[0].1.password, accounts[1].1.password, "each hash has its own salt");
    let updates = Updates::new(Arc::new(RwLock::new(HashMap::from(accounts))), false);
    let codes = updates.tell(&query(1..3, "&myip=198.51.100.7"), "", &headers(), client(1)).await;
    assert_eq!(told(&codes), ["good 198.51.100.7", "good 198.51.100.7"]);
    assert_eq!(state.addresses(&keys[1]).load().unwrap().ipv4, Some([198, 51, 100, 7].into()));
}

#[tokio::test]
async fn an_address_reaches_whoever_keeps_the_key_since_the_configuration_was_read() {
    let (_directory, accounts) = accounts(1..2);
    let key = public_key(1).to_z32();
    let before = accounts.read().await[&key].clone();
    let since = Account { addresses: watch::channel(ExternalAddresses::default()).0, ..before };
    let updates = Updates::working(accounts.clone(), false, quick());
    // The configuration is read while the password is compared.
    let reading = async { accounts.write().await.insert(key, since.clone()) };
    let (uri, headers) = (query(1..2, "&myip=198.51.100.7"), headers());
    let (codes, _) = tokio::join!(updates.tell(&uri, "", &headers, client(1)), reading);
    assert_eq!(told(&codes), ["good 198.51.100.7"]);
    assert_eq!(since.addresses.borrow().ipv4, Some([198, 51, 100, 7].into()));
}

#[tokio::test]
async fn a_wrong_password_costs_one_comparison_whoever_the_user_is_and_whatever_is_named() {
    let (_directory, accounts) = accounts(1..=200);
    let comparisons = Arc::new(AtomicUsize::new(0));
    let counted = comparisons.clone();
    let counting = move |password: &[u8], hash: &str| {
        counted.fetch_add(1, Ordering::SeqCst);
        compare(password, hash)
    };
    let updates = Updates::working(accounts, false, Labour { compare: Box::new(counting), ..quick() });
    let wrong = ["badauth"; 1];
    for (number, (user, password, uri, expected, cost)) in [
        ("router", "guess", query(1..2, ""), &wrong[..], 1),
        ("router", "guess", query(1..21, ""), &wrong, 1),
        ("router", "guess", query(201..203, ""), &wrong, 1),
        ("router", "guess", uri("hostname=nonsense"), &wrong, 1),
        ("router", "guess", uri(""), &wrong, 1),
        ("nobody", "guess", query(1..21, ""), &wrong, 1),
        ("nobody", PASSWORD, query(201..202, ""), &wrong, 1),
        ("router", PASSWORD, query(201..202, "&myip=198.51.100.7"), &["nohost"], 1),
        ("router", PASSWORD, uri("hostname=nonsense"), &["notfqdn"], 1),
        ("router", PASSWORD, query(1..22, ""), &["numhost"], 1),
        ("router", PASSWORD, query(1..2, "&myip=198.51.100.7"), &["good 198.51.100.7"], 1),
        ("router", PASSWORD, query(1..21, "&myip=198.51.100.7"), &["nochg 198.51.100.7"], 20),
    ]
    .into_iter()
    .enumerate()
    {
        comparisons.store(0, Ordering::SeqCst);
        let codes = updates.tell(&uri, "", &headers_of(user, password), client(number as u8)).await;
        assert_eq!(told(&codes)[..expected.len()], *expected, "{number}");
        assert_eq!(comparisons.load(Ordering::SeqCst), cost, "{number}");
    }
}

#[tokio::test]
async fn comparisons_do_not_pile_up_behind_clients_that_have_left() {
    let (_directory, accounts) = accounts(1..2);
    let (release, released) = mpsc::channel::<()>();
    let (released, begun) = (Mutex::new(released), Arc::new(AtomicUsize::new(0)));
    let (counted, under_way) = (begun.clone(), AtomicUsize::new(0));
    let held_up = move |password: &[u8], hash: &str| {
        counted.fetch_add(1, Ordering::SeqCst);
        assert_eq!(under_way.fetch_add(1, Ordering::SeqCst), 0, "two at once");
        let _ = released.lock().unwrap().recv_timeout(LIMIT);
        under_way.fetch_sub(1, Ordering::SeqCst);
        compare(password, hash)
    };
    let updates = Updates::working(accounts, false, Labour { compare: Box::new(held_up), ..quick() });
    for number in 0..7 {
        let leaving = begin(&updates, "guess", "", client(number));
        let waits = || updates.0.comparing.queued() > 0 || begun.load(Ordering::SeqCst) == 1;
        until(waits).await;
        leaving.abort();
        let _ = leaving.await;
    }
    assert_eq!((begun.load(Ordering::SeqCst), updates.0.comparing.queued()), (1, 0));
    let router = begin(&updates, PASSWORD, "198.51.100.7", client(9));
    until(|| updates.0.comparing.queued() == 1).await;
    // One that was left behind, and its own.
    release.send(()).unwrap();
    release.send(()).unwrap();
    assert_eq!(told(&router.await.unwrap()), ["good 198.51.100.7"]);
    assert_eq!(begun.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn who_floods_guesses_delays_a_router_by_one_turn_and_has_few_in_line() {
    let (_directory, accounts) = accounts(1..2);
    let (release, released) = mpsc::channel::<()>();
    let (released, order) = (Mutex::new(released), Arc::new(Mutex::new(Vec::new())));
    let noted = order.clone();
    let in_order = move |password: &[u8], hash: &str| {
        let _ = released.lock().unwrap().recv_timeout(LIMIT);
        noted.lock().unwrap().push(String::from_utf8(password.to_vec()).unwrap());
        compare(password, hash)
    };
    let updates = Updates::working(accounts, false, Labour { compare: Box::new(in_order), ..quick() });
    let flood: Vec<_> = (0..8).map(|_| begin(&updates, "guess", "", client(66))).collect();
    until(|| updates.0.comparing.queued() == TURNS.queued_per_client).await;
    let router = begin(&updates, PASSWORD, "198.51.100.7", client(1));
    until(|| updates.0.comparing.queued() == TURNS.queued_per_client + 1).await;
    (0..6).for_each(|_| release.send(()).unwrap());
    assert_eq!(told(&router.await.unwrap()), ["good 198.51.100.7"]);
    let mut answers = Vec::new();
    for guess in flood {
        answers.extend(told(&guess.await.unwrap()));
    }
    answers.sort_unstable();
    assert_eq!(answers, [vec!["911"; 3], vec!["badauth"; 5]].concat());
    let order = order.lock().unwrap();
    assert!(order.iter().take(3).any(|password| password == PASSWORD), "{order:?}");
}

#[tokio::test]
async fn a_slow_disk_holds_up_neither_a_reload_nor_guesses_nor_the_runtime() {
    let (_directory, accounts) = accounts(1..2);
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let (saving, is_saving) = mpsc::channel();
    let slow = move |_: &AddressFile, _: &ExternalAddresses| {
        saving.send(thread::current().id()).unwrap();
        released.lock().unwrap().recv_timeout(LIMIT).map_err(|_| Failure::Failed("held up".to_string()))
    };
    let updates = Updates::working(accounts.clone(), false, Labour { save: Box::new(slow), ..quick() });
    let router = begin(&updates, PASSWORD, "198.51.100.7", client(1));
    until(|| updates.0.writing.in_flight() == 1).await;
    assert_ne!(is_saving.recv_timeout(LIMIT).unwrap(), thread::current().id());
    // As a reload does.
    assert!(accounts.try_write().is_ok());
    let guess = begin(&updates, "guess", "198.51.100.7", client(2)).await.unwrap();
    assert_eq!(told(&guess), ["badauth"]);
    release.send(()).unwrap();
    assert_eq!(told(&router.await.unwrap()), ["good 198.51.100.7"]);
}

#[tokio::test]
async fn what_was_told_last_of_a_key_is_written_last_though_its_client_has_left() {
    let (_directory, accounts) = accounts(1..2);
    let (release, released) = mpsc::channel::<()>();
    let (released, written) = (Mutex::new(released), Arc::new(Mutex::new(Vec::new())));
    let noted = written.clone();
    let slow = move |_: &AddressFile, addresses: &ExternalAddresses| {
        let _ = released.lock().unwrap().recv_timeout(LIMIT);
        noted.lock().unwrap().push(addresses.ipv4.unwrap().to_string());
        Ok(())
    };
    let updates = Updates::working(accounts.clone(), false, Labour { save: Box::new(slow), ..quick() });
    let first = begin(&updates, PASSWORD, "198.51.100.1", client(1));
    until(|| updates.0.writing.in_flight() == 1).await;
    first.abort();
    let _ = first.await;
    let second = begin(&updates, PASSWORD, "198.51.100.2", client(2));
    until(|| updates.0.writing.queued() == 1).await;
    yield_now().await;
    assert!(written.lock().unwrap().is_empty());
    release.send(()).unwrap();
    release.send(()).unwrap();
    assert_eq!(told(&second.await.unwrap()), ["good 198.51.100.2"]);
    assert_eq!(*written.lock().unwrap(), ["198.51.100.1", "198.51.100.2"]);
    assert_eq!(known(&accounts).await.ipv4, Some([198, 51, 100, 2].into()));
}

#[tokio::test]
async fn a_web_page_moves_no_address_and_a_browser_is_asked_for_no_password() {
    let (_directory, accounts) = accounts(1..2);
    let updates = Updates::working(accounts.clone(), false, quick());
    let ask = async |with_password: bool, lines: &[(&'static str, &str)]| {
        let mut headers = if with_password { headers() } else { HeaderMap::new() };
        headers.insert(header::HOST, "192.168.1.20:8245".parse().unwrap());
        headers.extend(lines.iter().map(|(name, value)| (name.parse().ok(), value.parse().unwrap())));
        let uri = query(1..2, "&myip=198.51.100.66");
        update(State(updates.clone()), Extension(visitor(client(1))), uri, headers, Bytes::new()).await
    };
    // As often as uses up the quota of whoever is behind that address, if it did.
    for _ in 0..BURST {
        for foreign in [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("origin", "https://evil.example"),
            ("referer", "http://evil.example/"),
            ("upgrade-insecure-requests", "1"),
        ] {
            assert_eq!(ask(true, &[foreign]).await.status(), StatusCode::FORBIDDEN, "{foreign:?}");
        }
    }
    assert_eq!(known(&accounts).await, ExternalAddresses::default());
    let browser = ask(false, &[("accept-language", "de")]).await;
    assert_eq!(browser.status(), StatusCode::FORBIDDEN);
    assert!(!browser.headers().contains_key(header::WWW_AUTHENTICATE));
    let program = ask(false, &[]).await;
    assert_eq!(program.status(), StatusCode::UNAUTHORIZED);
    assert!(program.headers().contains_key(header::WWW_AUTHENTICATE));
    assert_eq!(ask(true, &[]).await.status(), StatusCode::OK);
}
