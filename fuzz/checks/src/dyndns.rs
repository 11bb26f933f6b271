//! The input is what a router sends, in lines: its address, the value of `Authorization`, and the query or the form.

use std::net::{IpAddr, Ipv6Addr};

use base64::{Engine, engine::general_purpose::STANDARD};
use pkdns::{base::access::is_private, zone_file::ExternalAddresses};
use pkdns_cli::serve::protocol::{MAX_NAMES, ReturnCode, Update, credentials, key, meant};

/// What was known before, and the host of the keys that have one.
const KNOWN: ExternalAddresses = ExternalAddresses { ipv4: None, ipv6: Some(Ipv6Addr::LOCALHOST) };
const HOST: Ipv6Addr = Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 7);

/// Panics where the module does, or where it breaks a promise.
pub fn check(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut lines = text.splitn(3, '\n');
    let (Some(client), Some(header), Some(query)) = (lines.next(), lines.next(), lines.next()) else {
        return;
    };
    check_credentials(header);
    let Ok(client) = client.parse::<IpAddr>() else { return };
    match Update::read(query) {
        Ok(Update { names, addresses }) => {
            assert!((1..=MAX_NAMES).contains(&names.len()) && !names.iter().any(String::is_empty));
            names.iter().for_each(|name| check_name(name));
            for allow_private in [false, true] {
                let (change, left_out) = meant(addresses.clone(), client, allow_private);
                // These go into the log.
                left_out.iter().for_each(|left_out| check_line(&left_out.to_string()));
                match change {
                    Ok(change) => {
                        check_addresses(change.addresses(), allow_private);
                        let for_host = change.for_host(Some(HOST));
                        assert!(for_host.is_ok(), "{for_host:?}");
                        for outcome in [for_host, change.for_host(None)] {
                            check_change(outcome.map(|change| {
                                assert_eq!(change.prefix(), None, "a prefix is no address of a host");
                                (change.of(KNOWN), change.addresses())
                            }));
                        }
                    }
                    Err(word) => check_line(&word.line()),
                }
            }
        }
        Err(word) => check_line(&word.line()),
    }
}

/// Whatever is read from the header is in it.
fn check_credentials(header: &str) {
    let Some(given) = credentials(header) else { return };
    assert!(!given.user.contains(':'));
    let both = [given.user.as_bytes(), b":", &given.password].concat();
    let again = credentials(&format!("Basic {}", STANDARD.encode(both)));
    assert!(again.is_some_and(|again| again.user == given.user && again.password == given.password));
}

fn check_name(name: &str) {
    match key(name) {
        Ok(found) => assert_eq!(key(&found.to_z32()), Ok(found), "{name}"),
        Err(code) => assert_eq!(code, ReturnCode::NotAName),
    }
}

/// What is told is what would be published.
fn check_change(outcome: Result<(ExternalAddresses, ExternalAddresses), ReturnCode>) {
    match outcome {
        Ok((known, told)) => {
            assert!(told.ipv4.is_none() || known.ipv4 == told.ipv4);
            assert!(told.ipv6.is_none() || known.ipv6 == told.ipv6);
            for code in [ReturnCode::Good(told), ReturnCode::Unchanged(told)] {
                check_line(&code.line());
            }
        }
        Err(word) => check_line(&word.line()),
    }
}

fn check_addresses(told: ExternalAddresses, allow_private: bool) {
    let addresses = [told.ipv4.map(IpAddr::from), told.ipv6.map(IpAddr::from)];
    for address in addresses.into_iter().flatten() {
        assert!(!address.is_unspecified(), "this stands for no address");
        assert!(allow_private || !is_private(address), "{address} means nothing on the Internet");
    }
}

fn check_line(line: &str) {
    assert!(line.chars().all(|character| character == ' ' || character.is_ascii_graphic()), "{line:?}");
}
