//! What a whole server answers, told in the text files beside this one: one file a topic, found by itself.
//!
//! A file has sections, and in them one thing a line. A line that starts with `#` is a comment.
//!
//!     key alice               the records of a key's packet follow, as in a zone file; names in data are complete
//!     www 300 CNAME {alice}.  {alice} is its name; {ALICE} in upper case, {Alice} in both, {alice'} otherwise spelled
//!     key eve wire            the packet's DNS message follows in hexadecimal; 'www' stands for a label
//!     key bob absent          a key that was never published; `unreachable`: one that nobody can be asked about
//!     icann                   the records of the upstream resolver follow, with complete names
//!     config                  options of the server follow, in TOML
//!     ask www.{alice} A       asked over UDP and then TCP; more words: udp, tcp, rd=0, do, edns=no, edns=4096
//!     NOERROR                 the code; more words: tc, `ede 22`. Then all records of the reply, in order:
//!     {alice}. 300 A 192.0.2.1              in the answer section; 60..300 is a range of TTLs, `*` any data
//!     authority {alice}. 60 SOA *           in another section
//!     upstream example.com. A               what the upstream was asked for this; without such a line, nothing
//!
//! A reply has to have those records and no others, each in the order, spelling and data that the file says, and a
//! TTL that has only counted down by the time that passed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod run;
mod script;

use std::path::{Path, PathBuf};

use script::Script;

#[tokio::test]
async fn every_scenario_is_answered_as_it_says() {
    let files = files();
    assert!(files.len() > 10, "the files are not where they were");
    let mut failures = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match Script::parse(&text) {
            Ok(script) => failures.extend(script.run(&name).await),
            Err(error) => failures.push(format!("{name}:{error}")),
        }
    }
    assert!(failures.is_empty(), "{} questions failed\n\n{}", failures.len(), failures.join("\n"));
}

#[tokio::test]
async fn a_reply_that_differs_is_a_failure_that_shows_where() {
    let script = "\
key alice
www 300 A 192.0.2.1
www 300 A 192.0.2.2
ask www.{alice} A udp
NOERROR
www.{alice}. 300 A 192.0.2.1
www.{alice}. 299 A 192.0.2.2";
    let failures = Script::parse(script).unwrap().run("example.txt").await;
    let expected = "\
example.txt:4: ask www.{alice} A udp, over UDP
    NOERROR
    www.{alice}. 300 A 192.0.2.1
  - www.{alice}. 299 A 192.0.2.2
  + www.{alice}. 300 A 192.0.2.2
";
    assert_eq!(failures, [expected]);
    for (wrong, right) in [
        ("NXDOMAIN", "NOERROR"),
        ("NOERROR\nupstream example.com. A", "NOERROR"),
        ("NOERROR tc", "NOERROR"),
        ("NOERROR ede 3", "NOERROR"),
        ("WWW.{alice}. 300 A 192.0.2.1", "www.{alice}. 300 A 192.0.2.1"),
        ("www.{alice}. 300 A 192.0.2.2", "www.{alice}. 300 A 192.0.2.1"),
        ("www.{alice}. 300 A 192.0.2.1\n", ""),
        ("authority www.{alice}. 300 A 192.0.2.1", "www.{alice}. 300 A 192.0.2.1"),
        ("www.{alice}. 100..299 A *", "www.{alice}. 300 A 192.0.2.1"),
    ] {
        let holds =
            "key alice\nwww 300 A 192.0.2.1\nask www.{alice} A udp\nNOERROR\nwww.{alice}. 300 A 192.0.2.1";
        assert_eq!(Script::parse(holds).unwrap().run("holds").await, Vec::<String>::new());
        let fails =
            if right.is_empty() { format!("{holds}\n{wrong}") } else { holds.replacen(right, wrong, 1) };
        // The zone's own line reads otherwise, so that only the expectation was replaced.
        assert_eq!(Script::parse(&fails).unwrap().run("fails").await.len(), 1, "{fails}");
    }
}

#[test]
fn a_file_that_says_nothing_or_nonsense_is_an_error() {
    for (text, error) in [
        ("key alice\n@ 300 A 192.0.2.1", "1: nothing is asked"),
        ("key alice\n@ 300 A 192.0.2.1\nask {alice} A", "3: a code such as NOERROR is missing"),
        ("key alice\nask {alicia} A\nNOERROR", "2: no key is called `alicia`"),
        ("key alice\n@ 300 A 192.0.2\nask {alice} A\nNOERROR", "2: "),
        ("key alice\nask {alice} A soon\nNOERROR", "2: `soon` says nothing about a question"),
        ("key alice\nask {alice} A\nNOERROR maybe", "3: `maybe` says nothing about a reply"),
        ("config\nverbos = true\nask example.com A\nNOERROR", "1: "),
        ("@ 300 A 192.0.2.1\nask example.com A\nNOERROR", "1: there is no section yet"),
    ] {
        let Err(said) = Script::parse(text) else { panic!("{text}") };
        assert!(said.starts_with(error), "{said} is not {error}");
    }
}

/// The scenarios, in the order of their names.
fn files() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|end| end == "txt")).collect();
    files.sort();
    files
}
