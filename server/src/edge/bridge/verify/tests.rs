use proptest::prelude::*;
use tokio_rustls::rustls::crypto::ring;

use super::*;

fn key_info(key: &PublicKey) -> Vec<u8> {
    [&ED25519_PREFIX[..], key.as_bytes()].concat()
}

fn proof(key: Option<PublicKey>, certificates: Vec<Tlsa>) -> Proof {
    Proof { key, certificates }
}

#[test]
fn a_raw_key_is_compared_as_a_whole() {
    let key = pkarr::Keypair::from_secret_key(&[1; 32]).public_key();
    let ours = proof(Some(key.clone()), Vec::new());
    let shown = key_info(&key);
    assert_eq!(matched(&ours, Form::RawKey, &shown), Some(By::Key));
    for index in 0..shown.len() {
        let mut other = shown.clone();
        other[index] ^= 1;
        assert_eq!(matched(&ours, Form::RawKey, &other), None, "byte {index}");
    }
    let longer = [&shown[..], &[0]].concat();
    assert_eq!(matched(&ours, Form::RawKey, &longer), None);
    // A raw key is no certificate, and what is shown as one is not taken for the other.
    assert_eq!(matched(&ours, Form::Certificate, &shown), None);
}

#[test]
fn a_record_about_a_certificate_is_not_about_a_raw_key() {
    let key = pkarr::Keypair::from_secret_key(&[1; 32]).public_key();
    let shown = key_info(&key);
    for (selector, expected) in [(Selector::PublicKey, Some(By::Record)), (Selector::Certificate, None)] {
        let record = Tlsa { selector, matching: Matching::Exact, data: shown.clone() };
        assert_eq!(matched(&proof(None, vec![record]), Form::RawKey, &shown), expected);
    }
}

#[test]
fn nothing_is_verified_where_nothing_is_expected() {
    let key = pkarr::Keypair::from_secret_key(&[1; 32]).public_key();
    assert_eq!(matched(&proof(None, Vec::new()), Form::RawKey, &key_info(&key)), None);
    let empty = Tlsa { selector: Selector::PublicKey, matching: Matching::Exact, data: Vec::new() };
    let verifier = Verifier::new(proof(None, vec![empty]), Form::Certificate, &ring::default_provider());
    let name = ServerName::try_from("a").unwrap();
    let verified = verifier.verify_server_cert(&Vec::new().into(), &[], &name, &[], UnixTime::now());
    assert!(verified.is_err());
    assert_eq!(verifier.mismatch().unwrap().shown, "a certificate that cannot be read");
}

proptest! {
    #[test]
    fn no_certificate_is_too_odd_to_be_refused_in_words(shown: Vec<u8>, is_raw: bool) {
        let form = if is_raw { Form::RawKey } else { Form::Certificate };
        let key = pkarr::Keypair::from_secret_key(&[1; 32]).public_key();
        prop_assert_eq!(matched(&proof(Some(key), Vec::new()), form, &shown), None);
        prop_assert!(!super::shown(form, &shown).is_empty());
    }
}
