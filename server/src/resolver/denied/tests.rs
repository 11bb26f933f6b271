use std::{fs, time::Duration};

use pkdns_dht::signed_packet::Keypair;
use tokio::time::sleep;

use super::*;
use crate::base::watched_files::LOOK_INTERVAL;

fn key(seed: u8) -> PublicKey {
    Keypair::from_secret_key(&[seed; 32]).public_key()
}

fn config(text: &str) -> Config {
    toml::from_str(text).unwrap()
}

fn open(config: &Config) -> DeniedKeys {
    DeniedKeys::open(config, &Arc::default(), &DeniedLookups::default())
}

/// Connections to nobody.
fn connector() -> crate::sources::connector::Connector {
    let tls = crate::sources::forward::TlsClient::new(None).unwrap().for_tls();
    crate::sources::connector::Connector::new((*tls).clone(), Arc::new(|_| Box::pin(async { Vec::new() })))
}

#[test]
fn the_first_reason_counts_and_without_lists_nothing_is_noted() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    fs::write(path("one"), key(1).to_z32()).unwrap();
    fs::write(path("both"), format!("{}\n{}\n", key(1), key(2))).unwrap();
    let text = format!(
        "[denied_keys]\nblocked = '{}'\ncensored = '{}'\nfiltered = '{}'",
        path("one"),
        path("both"),
        path("none")
    );
    let denied = open(&config(&text));
    assert_eq!(
        [1, 2, 3].map(|seed| denied.of(&key(seed))),
        [Some(Denial::Blocked), Some(Denial::Censored), None]
    );
    assert!(denied.judge(&key(3)).revision.is_some());
    let readings = denied.readings();
    assert_eq!(readings.iter().map(|list| list.keys).collect::<Vec<_>>(), [1, 2, 0]);
    assert!(readings[2].fault.as_ref().is_some_and(|fault| fault.contains("No such file")), "{readings:?}");
    assert_eq!(open(&Config::default()).judge(&key(1)), Verdict::default());
}

#[test]
fn a_list_that_cannot_be_read_at_a_reload_says_what_it_said() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("list");
    fs::write(&path, key(1).to_z32()).unwrap();
    let denied = open(&config(&format!("denied_keys.blocked = '{}'", path.display())));
    fs::remove_file(&path).unwrap();
    // With another reason.
    let lists = denied.renewed(&config(&format!("denied_keys.filtered = '{}'", path.display())));
    assert_eq!(denied.of(&key(1)), Some(Denial::Blocked), "nothing changes before it is replaced");
    denied.replace(lists);
    assert_eq!(denied.of(&key(1)), Some(Denial::Filtered));
    denied.replace(denied.renewed(&Config::default()));
    assert!(denied.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_file_that_changes_puts_answers_out_of_date_and_one_that_is_gone_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("list");
    fs::write(&path, key(1).to_z32()).unwrap();
    let revisions = Arc::<Revisions>::default();
    let settings = config(&format!("denied_keys.blocked = '{}'", path.display()));
    let denied = DeniedKeys::open(&settings, &revisions, &DeniedLookups::default());
    let watching = tokio::spawn(denied.clone().watch(connector()));
    let noted = |seed| denied.judge(&key(seed)).revision.unwrap();
    let [first, second, third] = [1, 2, 3].map(noted);
    fs::write(&path, format!("nonsense\n{}\n", key(2))).unwrap();
    // Reading takes real time, which a paused clock leaves for what blocks.
    while denied.of(&key(2)).is_none() {
        sleep(LOOK_INTERVAL).await;
    }
    assert_eq!(denied.of(&key(1)), None);
    assert!(!revisions.is_current(first) && !revisions.is_current(second) && revisions.is_current(third));
    for text in [None, Some("<html>")] {
        match text {
            None => fs::remove_file(&path).unwrap(),
            Some(text) => fs::write(&path, text).unwrap(),
        }
        while denied.readings()[0].fault.is_none() {
            sleep(LOOK_INTERVAL).await;
        }
        assert_eq!(denied.of(&key(2)), Some(Denial::Blocked));
        fs::write(&path, format!("{}\n# {text:?}\n", key(2))).unwrap();
        while denied.readings()[0].fault.is_some() {
            sleep(LOOK_INTERVAL).await;
        }
    }
    watching.abort();
}

/// A list that nobody has seen before is not waited for: the server starts without it, and says so.
#[tokio::test(start_paused = true)]
async fn a_server_of_lists_that_is_not_there_is_told_of_and_asked_again() {
    let denied = open(&config("denied_keys.blocked = 'https://lists.example/keys'"));
    let watching = tokio::spawn(denied.clone().watch(connector()));
    while denied.readings()[0].fault.is_none() {
        sleep(Duration::from_secs(1)).await;
    }
    let reading = &denied.readings()[0];
    assert!(reading.fault.as_ref().is_some_and(|fault| fault.contains("has no address")), "{reading:?}");
    assert_eq!((reading.keys, reading.age), (0, None));
    assert_eq!(denied.of(&key(1)), None);
    assert!(!watching.is_finished());
    watching.abort();
}
