//! The databases of browsers.

use std::fs;

use super::{User, has_certutil, tree};

/// A profile of Firefox that has been used.
fn make_profile(user: &User) -> &'static str {
    let profile = ".mozilla/firefox/abcd.default-esr";
    fs::create_dir_all(user.path(profile)).unwrap();
    let list = "[Profile0]\nName=default-esr\nIsRelative=1\nPath=abcd.default-esr\n";
    fs::write(user.path(".mozilla/firefox/profiles.ini"), list).unwrap();
    user.certutil(profile, &["-N", "--empty-password"]);
    profile
}

#[test]
fn what_is_installed_is_believed_for_web_servers_and_removed_without_a_trace() {
    if !has_certutil() {
        return;
    }
    let user = User::new();
    let profile = make_profile(&user);
    let before = tree(user.home.path());
    let in_profile = user.certutil(profile, &["-L"]);

    let said = user.trust(&["install", "--only", "browsers", "--dry-run"]);
    assert!(said.code == 0 && said.out.matches("would add").count() == 2, "{}{}", said.out, said.err);
    assert_eq!(tree(user.home.path()), before, "a dry run changes nothing");

    let said = user.trust(&["install", "--only", "browsers"]);
    assert!(said.code == 0 && said.out.lines().count() == 2, "{}{}", said.out, said.err);
    assert!(said.out.lines().all(|line| line.starts_with("added         pkdns bridge ")), "{}", said.out);
    for database in [".pki/nssdb", profile] {
        let list = user.certutil(database, &["-L"]);
        let entry = list.lines().find(|line| line.starts_with("pkdns bridge ")).expect(&list);
        assert!(entry.trim_end().ends_with(" C,,"), "for web servers alone: {entry}");
    }
    let shown = user.trust(&["show", "--json"]).json();
    let authority = &shown["authorities"][0];
    assert_eq!(authority["may_sign_for"], "names under .key only");
    assert_eq!(
        (authority["constrained"].as_bool(), authority["certain"].as_bool()),
        (Some(true), Some(true))
    );
    let places: Vec<_> =
        authority["installed_in"].as_array().unwrap().iter().map(|place| place.as_str().unwrap()).collect();
    assert!(places.iter().any(|place| place.contains("abcd.default-esr (Firefox)")), "{places:?}");
    assert!(places.iter().any(|place| place.contains(".pki/nssdb (Chromium")), "{places:?}");

    let said = user.trust(&["install", "--only", "browsers", "--json"]).json();
    let outcomes: Vec<_> =
        said["changes"].as_array().unwrap().iter().map(|change| &change["outcome"]).collect();
    assert_eq!(outcomes, ["unchanged", "unchanged"]);

    // A new key: the old one is removed as well.
    fs::remove_dir_all(user.path(".pkdns")).unwrap();
    let other = User::new();
    let place = other.path(".pkdns").display().to_string();
    assert_eq!(user.trust(&["install", "--only", "browsers", "--server", &place]).code, 0);
    assert_eq!(user.certutil(profile, &["-L"]).matches("pkdns bridge ").count(), 2);
    let said = user.trust(&["remove", "--only", "browsers", "--server", &place]);
    assert!(said.code == 0 && said.out.matches("removed").count() == 2, "{}{}", said.out, said.err);
    assert_eq!(user.certutil(profile, &["-L"]).matches("pkdns bridge ").count(), 1);
    let said = user.trust(&["remove", "--only", "browsers"]);
    assert!(said.code == 0 && said.out.matches("removed").count() == 2, "{}{}", said.out, said.err);
    let said = user.trust(&["remove", "--only", "browsers"]);
    assert!(said.code == 0 && said.err.contains("nothing to change"), "{}{}", said.out, said.err);

    let after = tree(user.home.path());
    assert_eq!(user.certutil(profile, &["-L"]), in_profile);
    let is_of_pkdns = |path: &std::path::Path| path.starts_with(user.path(".pkdns"));
    // A database is not the same bytes after something was in it, and nobody takes away one that was there.
    let is_database =
        |path: &std::path::Path| path.starts_with(user.path(profile)) && path.extension().is_some();
    let of = |tree: &std::collections::BTreeMap<std::path::PathBuf, Vec<u8>>| -> Vec<_> {
        let kept = tree.iter().filter(|(path, _)| !is_of_pkdns(path));
        kept.map(|(path, bytes)| (path.clone(), if is_database(path) { Vec::new() } else { bytes.clone() }))
            .collect()
    };
    assert!(of(&after) == of(&before), "{:?}", after.keys());
}

#[test]
fn a_database_that_somebody_else_uses_stays() {
    if !has_certutil() {
        return;
    }
    let user = User::new();
    assert_eq!(user.trust(&["install", "--only", "browsers"]).code, 0);
    let theirs = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap().cert.pem();
    fs::write(user.path("theirs.pem"), theirs).unwrap();
    let path = user.path("theirs.pem").display().to_string();
    user.certutil(".pki/nssdb", &["-A", "-t", ",,", "-n", "pkdns of somebody else", "-i", &path]);
    assert_eq!(user.trust(&["remove", "--only", "browsers"]).code, 0);
    let list = user.certutil(".pki/nssdb", &["-L"]);
    assert!(list.contains("pkdns of somebody else") && !list.contains("pkdns bridge"), "{list}");
}

#[test]
fn one_that_may_sign_for_any_name_is_refused_until_somebody_insists() {
    if !has_certutil() {
        return;
    }
    let user = User::new();
    user.write_authority(None);
    let said = user.trust(&["install", "--only", "browsers"]);
    assert!(said.code == 1 && said.err.contains("may sign for any name"), "{}", said.err);
    assert!(said.out.contains("pkdns bridge ") && !said.out.contains("pkdns local "), "{}", said.out);
    assert!(user.trust(&["show"]).out.contains("any name on the Internet"));
    let said = user.trust(&["install", "--only", "browsers", "--unconstrained"]);
    assert!(said.code == 0 && said.out.contains("added         pkdns local "), "{}{}", said.out, said.err);
}

#[test]
fn what_is_no_authority_or_not_there_is_said() {
    let user = User::new();
    let leaf = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap().cert.pem();
    fs::write(user.path("leaf.pem"), leaf).unwrap();
    let leaf = user.path("leaf.pem").display().to_string();
    user.trust(&["install", "--server", &leaf]).assert_failed(1, "is the certificate of a server");
    user.trust(&["show", "--server", "nowhere"])
        .assert_failed(1, "nowhere is not there: name the directory of pkdns");
    fs::create_dir(user.path("empty")).unwrap();
    user.trust(&["show", "--server", "empty"])
        .assert_failed(1, "there is no authority in empty: name the directory of pkdns");
    user.trust(&["show", "--server", "http://192.0.2.1/"]).assert_failed(2, "begins with https://");
    user.trust(&["install", "--fingerprint", &"0".repeat(64)])
        .assert_failed(1, "no authority has the fingerprint");
}

#[test]
fn the_key_is_never_opened() {
    let user = User::new();
    let key = user.path(".pkdns/certificates/bridge-ca.key");
    fs::remove_file(&key).unwrap();
    fs::create_dir(&key).unwrap();
    assert_eq!(user.trust(&["show"]).code, 0);
    assert!(user.bridge.certificate_path().ends_with(".pkdns/certificates/bridge-ca.pem"));
}

#[test]
fn a_place_that_may_not_be_looked_at_is_not_called_missing() {
    let user = User::new();
    let missing = user.path("missing").display().to_string();
    user.trust(&["show", "--server", &missing]).assert_failed(1, "missing is not there");
    // Root may look into every directory, but nobody gets through this one.
    std::os::unix::fs::symlink("closed", user.path("closed")).unwrap();
    let closed = user.path("closed/pkdns").display().to_string();
    user.trust(&["show", "--server", &closed]).assert_failed(1, "run this as a user who may read it");
}
