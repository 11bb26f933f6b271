//! Files that include others.

use std::fs;

use tempfile::TempDir;

use super::*;

/// A folder with `files`, and what the first of them comes to.
fn read(files: &[(&str, &str)]) -> (TempDir, Result<Vec<String>, String>) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let result = read_in(&folder, files[0].0);
    (folder, result)
}

fn read_in(folder: &TempDir, name: &str) -> Result<Vec<String>, String> {
    let file = open(&folder.path().join(name)).map_err(|error| error.to_string())?;
    let records = file.records(&key(), &ExternalAddresses::default()).map_err(|error| error.to_string())?;
    let shown = records::read(&packet::compose(&records, &key()).unwrap(), &key());
    Ok(shown.iter().map(TextRecord::to_string).collect())
}

fn error(files: &[(&str, &str)]) -> String {
    read(files).1.unwrap_err()
}

#[test]
fn an_included_file_has_an_origin_of_its_own_and_leaves_no_other_behind() {
    let (folder, shown) = read(&[
        (
            "zone",
            "$TTL 60\nwww A 192.0.2.1\n$INCLUDE \"sub/mail.zone\" mail ; its servers\n  TXT www\nlast A 192.0.2.9\n",
        ),
        ("sub/mail.zone", "\u{feff}@ MX 10 a\n$ORIGIN deep\na A 192.0.2.2\n$INCLUDE ./last"),
        ("last", "b A 192.0.2.3 ; no end of line"),
    ]);
    let mx = format!("mail 60 MX 10 a.mail.{}.", key());
    let expected = [
        "www 60 A 192.0.2.1",
        &mx,
        "a.deep.mail 60 A 192.0.2.2",
        "b.deep.mail 60 A 192.0.2.3",
        "www 60 TXT \"www\"",
        "last 60 A 192.0.2.9",
    ];
    assert_eq!(shown.unwrap(), expected);
    let file = open(&folder.path().join("zone")).unwrap();
    let folder = folder.path().canonicalize().unwrap();
    let files: Vec<_> = files(&file).map(|file| file.canonicalize().unwrap()).collect();
    assert_eq!(files, ["zone", "sub/mail.zone", "last"].map(|name| folder.join(name)));
}

#[test]
fn nothing_outside_of_the_folder_is_included() {
    let expected =
        "line 1, column 10: expected a file in the folder of the zone file: no \"..\", no absolute path";
    for name in
        ["../zone", "/etc/passwd", "a/../../zone", "a/../zone", "..", ".", "/", "\"\"", "\\046\\046/zone"]
    {
        let message = error(&[("sub/zone", &format!("$INCLUDE {name}\n")), ("zone", "@ A 192.0.2.1")]);
        assert!(message.contains(expected), "{name}: {message}");
    }
    let message = error(&[("zone", "@ A 192.0.2.1\n$include missing")]);
    assert!(message.contains("line 2, column 10: cannot read \"missing\": No such file"), "{message}");
    let message = error(&[("zone", "$INCLUDE sub"), ("sub/other", "")]);
    assert!(message.contains("cannot read \"sub\": it is not a file"), "{message}");
    let error = from_bytes(b"@ A 192.0.2.1\n$INCLUDE other").unwrap_err().to_string();
    assert!(error.starts_with("line 2, column 1: $INCLUDE works in files only"), "{error}");
}

#[test]
fn a_symbolic_link_is_followed_within_the_folder_only() {
    use std::os::unix::fs::symlink;
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "@ TXT secret").unwrap();
    let (folder, _) = read(&[("zone", "$INCLUDE link"), ("other", "@ A 192.0.2.1")]);
    symlink("other", folder.path().join("link")).unwrap();
    assert_eq!(read_in(&folder, "zone").unwrap(), ["@ 3600 A 192.0.2.1"]);
    for (target, link) in [(outside.path().join("secret"), "link"), (outside.path().to_path_buf(), "sub")] {
        let _ = fs::remove_file(folder.path().join("link"));
        symlink(target, folder.path().join(link)).unwrap();
        fs::write(
            folder.path().join("zone"),
            format!("$INCLUDE {}", ["link", "sub/secret"][usize::from(link == "sub")]),
        )
        .unwrap();
        let message = read_in(&folder, "zone").unwrap_err();
        assert!(message.contains("a symbolic link leads out of the folder"), "{message}");
    }
    // The zone file itself may be reached through a link; its folder is where it lies.
    symlink(folder.path().join("other"), outside.path().join("zone")).unwrap();
    assert!(read_in(&outside, "zone").is_ok());
}

/// Whoever may write to the folder could make the way lead elsewhere while it is looked at.
#[test]
fn a_way_that_changes_meanwhile_does_not_lead_out_of_the_folder() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("file"), "@ TXT secret").unwrap();
    let (folder, _) = read(&[("zone", "$INCLUDE sub/file"), ("sub/file", "@ A 192.0.2.1")]);
    let [sub, inside, link] = ["sub", "inside", "link"].map(|name| folder.path().join(name));
    std::os::unix::fs::symlink(outside.path(), &link).unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                for (from, to) in [(&sub, &inside), (&link, &sub), (&sub, &link), (&inside, &sub)] {
                    fs::rename(from, to).unwrap();
                }
            }
        });
        let found: Vec<_> = (0..5000).filter_map(|_| read_in(&folder, "zone").ok()).collect();
        is_over.store(true, Ordering::Relaxed);
        assert!(found.iter().all(|records| records == &["@ 3600 A 192.0.2.1"]), "{found:?}");
    });
}

#[test]
fn loops_depth_and_size_are_bounded() {
    for files in [
        vec![("zone", "$INCLUDE zone")],
        vec![("zone", "$INCLUDE a"), ("a", "$INCLUDE b"), ("b", "\n$INCLUDE ./a")],
    ] {
        let message = error(&files);
        assert!(message.contains("column 10: this file includes itself, through this line"), "{message}");
    }
    // Twice in a row is no loop.
    let twice = read(&[("zone", "$INCLUDE a x\n$INCLUDE a y"), ("a", "@ A 192.0.2.1")]).1;
    assert_eq!(twice.unwrap(), ["x 3600 A 192.0.2.1", "y 3600 A 192.0.2.1"]);

    let texts: Vec<_> = (1..=9).map(|next| (next.to_string(), format!("$INCLUDE {}", next + 1))).collect();
    let files = |last| -> Vec<_> {
        let names = texts.iter().take(last).map(|(name, text)| (name.as_str(), text.as_str()));
        names.chain([(texts.get(last).map_or("10", |(name, _)| name.as_str()), "@ A 192.0.2.1")]).collect()
    };
    assert!(read(&files(8)).1.is_ok());
    assert!(error(&files(9)).contains("more than 8 deep"));

    let half = ";".repeat(MAX_SIZE / 2);
    let message = error(&[("zone", "$INCLUDE a\n$INCLUDE a\n"), ("a", &half)]);
    assert!(
        message.contains("line 2, column 10: cannot read \"a\": the zone file and what it includes"),
        "{message}"
    );
}

#[test]
fn an_error_names_the_file_that_it_is_in() {
    let message = error(&[("zone", "$INCLUDE a"), ("a", "\nwww A 192.0.2.256")]);
    let expected = "a\": line 2, column 7: expected IPv4 address; found \"192.0.2.256\"";
    assert!(message.ends_with(expected), "{message}");
    let message = error(&[("zone", "$INCLUDE a b..c"), ("a", "")]);
    assert!(message.contains("zone\": line 1, column 12: expected a domain name without empty"), "{message}");
    let message = error(&[("zone", "www A 192.0.2.1\n$INCLUDE a"), ("a", "; x\nwww CNAME @")]);
    assert!(message.contains("a\": line 2, column 1: a CNAME must be"), "{message}");
    let message = error(&[("zone", "$INCLUDE a b c"), ("a", "")]);
    assert!(message.contains("line 1, column 14: expected the end of the line"), "{message}");
    let message = error(&[("zone", "\n $INCLUDE a"), ("a", "")]);
    assert!(message.contains("there is none"), "{message}");
    assert!(error(&[("zone", "")]).contains("zone\": the zone file holds no records: write one"));
}
