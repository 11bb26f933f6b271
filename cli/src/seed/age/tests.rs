use proptest::prelude::*;

use super::*;

const PASSPHRASE: &[u8] = b"correct horse";

fn sealed(text: &[u8]) -> Encrypted {
    seal(text, PASSPHRASE, 2, &[5; 48]).unwrap()
}

fn decrypt(bytes: &[u8], passphrase: &[u8]) -> Option<Vec<u8>> {
    Encrypted::parse(bytes).ok()?.decrypt(passphrase).map(|text| text.to_vec())
}

/// With another text in place of one of the header.
fn changed(from: &str, to: &str) -> Vec<u8> {
    let bytes = sealed(b"text").encode();
    let at = bytes.windows(from.len()).position(|part| part == from.as_bytes()).unwrap();
    [&bytes[..at], to.as_bytes(), &bytes[at + from.len()..]].concat()
}

#[test]
fn what_was_encrypted_is_decrypted_by_its_passphrase_alone() {
    let bytes = sealed(b"text").encode();
    assert!(is_age(&bytes));
    assert_eq!(decrypt(&bytes, PASSPHRASE).unwrap(), b"text");
    assert_eq!(decrypt(&bytes, b"correct hors"), None);
    let armored = armor::encode(&bytes);
    assert!(is_age(&armored) && armored.is_ascii());
    assert_eq!(decrypt(&armored, PASSPHRASE).unwrap(), b"text");
    let windows = String::from_utf8(armored).unwrap().replace('\n', "\r\n");
    assert_eq!(decrypt(format!("\n\n{windows}\n").as_bytes(), PASSPHRASE).unwrap(), b"text");
}

#[test]
fn no_byte_can_be_changed_added_or_taken_away() {
    let bytes = sealed(b"text").encode();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            assert_eq!(decrypt(&changed, PASSPHRASE), None, "byte {at}, bit {bit}");
        }
        assert_eq!(decrypt(&bytes[..at], PASSPHRASE), None, "{at} bytes");
    }
    assert_eq!(decrypt(&[bytes.as_slice(), b"\n"].concat(), PASSPHRASE), None);
}

#[test]
fn what_asks_for_too_much_is_refused_before_any_of_it_is_spent() {
    for (factor, refusal) in [
        ("20", Refusal::TooCostly),
        ("64", Refusal::TooCostly),
        ("300", Refusal::TooCostly),
        ("99999999999999999999", Refusal::TooCostly),
        ("02", Refusal::Damaged),
        ("0", Refusal::Damaged),
        ("+2", Refusal::Damaged),
        ("-1", Refusal::Damaged),
        ("", Refusal::Damaged),
        ("2 2", Refusal::Damaged),
    ] {
        let bytes = changed(" 2\n", &format!(" {factor}\n"));
        assert_eq!(Encrypted::parse(&bytes), Err(refusal), "{factor:?}");
    }
}

#[test]
fn a_file_for_the_holders_of_keys_is_told_from_one_that_is_damaged() {
    assert_eq!(Encrypted::parse(&changed("-> scrypt", "-> X25519")), Err(Refusal::NoPassphrase));
    for (from, to) in [("-> scrypt", "scrypt"), ("v1\n", "v2\n"), ("\n---", "\n"), ("\n--- ", "\n---")] {
        assert_eq!(Encrypted::parse(&changed(from, to)), Err(Refusal::Damaged), "{to:?}");
    }
    // A second recipient would be one that knows no passphrase.
    let doubled = changed("\n---", "\n-> scrypt YWFhYWFhYWFhYWFhYWFhYQ 2\n---");
    assert_eq!(Encrypted::parse(&doubled), Err(Refusal::Damaged));
}

#[test]
fn a_file_that_is_written_says_what_it_costs() {
    let text = encrypt(b"text", PASSPHRASE).unwrap();
    let encrypted = Encrypted::parse(&text).unwrap();
    assert_eq!(encrypted.work_factor, 17);
    assert_eq!(encrypted.decrypt(PASSPHRASE).unwrap().as_slice(), b"text");
    assert_ne!(encrypt(b"text", PASSPHRASE).unwrap(), text);
}

proptest! {
    #[test]
    fn anything_may_be_read(bytes: Vec<u8>, armored: bool) {
        let bytes = [VERSION, b"-> scrypt ", &bytes].concat();
        let _ = Encrypted::parse(&if armored { armor::encode(&bytes) } else { bytes });
    }

    #[test]
    fn text_form_is_read_as_it_was_written(bytes in prop::collection::vec(any::<u8>(), 1..300)) {
        prop_assert_eq!(armor::decode(&armor::encode(&bytes)), Some(bytes));
    }
}
