//! What goes on while a configuration is read again.

use super::*;

#[tokio::test]
async fn an_address_that_is_being_written_while_the_configuration_is_read_is_not_missed() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("seed"), "11".repeat(32)).unwrap();
    let hash = super::super::password::OF_NOBODY;
    let config = |interval: &str| {
        let text = format!(
            "[dyndns]\nlisten = ['127.0.0.1:0']\n[[identity]]\nseed = 'seed'\nrecords = '@ A {{external_ipv4}}'\n\
             address = 'dyndns'\nuser = 'router'\npassword = '{hash}'\ninterval = '{interval}'\n"
        );
        std::fs::write(path("publisher.toml"), text).unwrap();
        Config::read(&path("publisher.toml")).unwrap()
    };
    let network = Network::join_for_long(&["127.0.0.1:9".to_string()]).unwrap();
    let state = StateDirectory::open(&path("state")).unwrap();
    let accounts = Accounts::default();
    let mut identities = Identities::new(network, state, accounts.clone());
    identities.take(&config("1h")).await.unwrap();
    let writing = accounts.read().await.values().next().unwrap().addresses.clone();
    identities.take(&config("2h")).await.unwrap();
    let told = ExternalAddresses { ipv4: Some([198, 51, 100, 7].into()), ipv6: None };
    writing.send_replace(told);
    assert_eq!(*accounts.read().await.values().next().unwrap().addresses.borrow(), told);
}

#[tokio::test]
async fn addresses_are_looked_for_as_long_as_an_identity_wants_them() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("seed"), "11".repeat(32)).unwrap();
    let config = |address: &str| {
        let text = format!(
            "detection.services = ['http://127.0.0.1:9/']\n\
             [[identity]]\nseed = 'seed'\nrecords = '@ A 192.0.2.1'\naddress = '{address}'\n"
        );
        std::fs::write(path("publisher.toml"), text).unwrap();
        Config::read(&path("publisher.toml")).unwrap()
    };
    let network = Network::join_for_long(&["127.0.0.1:9".to_string()]).unwrap();
    let state = StateDirectory::open(&path("state")).unwrap();
    let mut identities = Identities::new(network, state, Accounts::default());
    for (address, is_looked_for) in [("none", false), ("detect", true), ("detect", true), ("none", false)] {
        identities.take(&config(address)).await.unwrap();
        assert_eq!(identities.detection.is_some(), is_looked_for, "{address}");
    }
}

#[tokio::test]
async fn an_order_that_is_ended_shows_nothing_any_more_before_its_records_go() {
    let order = Arc::new(());
    let its = order.clone();
    let keeping = AbortOnDropHandle::new(tokio::spawn(async move {
        std::future::pending::<()>().await;
        drop(its);
    }));
    tokio::task::yield_now().await;
    certificates::end(keeping).await;
    assert_eq!(Arc::strong_count(&order), 1);
}
