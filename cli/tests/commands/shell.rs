//! Completions and manual pages, as the programs read them that they are for.

use std::{fs, process::Command};

use pkdns_testing::{
    program::{directory, run},
    programs,
};

#[test]
fn bash_completes_commands_and_options() {
    let directory = directory();
    let completions = run(directory.path(), &["completions", "bash"]);
    assert_eq!((completions.code, completions.err.as_str()), (0, ""));
    fs::write(directory.path().join("completions"), &completions.out).unwrap();
    let Some(bash) = programs::find("bash", |_| true, "bash") else { return };
    let syntax = Command::new(&bash).arg("-n").arg(directory.path().join("completions")).output().unwrap();
    assert!(syntax.status.success() && syntax.stderr.is_empty(), "{syntax:?}");
    // As bash does it for a word and the one before.
    let script = r#"
        source ./completions || exit
        [[ $(complete -p pkdns-cli) =~ -F\ ([^ ]+) ]] && function=${BASH_REMATCH[1]}
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_POINT=${#COMP_LINE}
        "$function" "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    for (words, expected) in [
        (["pkdns-cli", "pub"].as_slice(), ["publickey", "publish"].as_slice()),
        (&["pkdns-cli", "doc"], &["doctor"]),
        (&["pkdns-cli", "publish", "--zone"], &["--zone-file"]),
        (&["pkdns-cli", "resolve", "--boot"], &["--bootstrap"]),
    ] {
        let mut command = Command::new(&bash);
        command.args(["--norc", "-c", script, "bash"]).args(words).current_dir(directory.path());
        let completed = command.output().unwrap();
        let lines = String::from_utf8(completed.stdout).unwrap();
        assert_eq!(lines.split_whitespace().collect::<Vec<_>>(), expected, "{words:?}");
    }
}

#[test]
fn every_shell_has_completions() {
    let directory = directory();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let completions = run(directory.path(), &["completions", shell]);
        assert!(
            completions.code == 0 && completions.out.contains("republish"),
            "{shell}: {}",
            completions.err
        );
    }
}

#[test]
fn every_command_has_a_manual_page_that_groff_takes_without_a_warning() {
    let directory = directory();
    let written = run(directory.path(), &["man", "--out", "man/man1"]);
    assert_eq!((written.code, written.out.as_str(), written.err.as_str()), (0, "", ""));
    let groff = programs::find("groff", |_| true, "groff-base");
    let mut names = Vec::new();
    for entry in fs::read_dir(directory.path().join("man/man1")).unwrap() {
        let path = entry.unwrap().path();
        names.push(path.file_stem().unwrap().to_string_lossy().into_owned());
        let Some(groff) = &groff else { continue };
        let page = Command::new(groff).args(["-man", "-Tutf8", "-ww"]).arg(&path).output().unwrap();
        let complaints = String::from_utf8_lossy(&page.stderr);
        assert!(page.status.success() && complaints.is_empty(), "{}: {complaints}", path.display());
        assert!(page.stdout.len() > 500, "{}", path.display());
    }
    // One for each command that help lists, and one for them all.
    let help = run(directory.path(), &["--help"]).out;
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let commands = commands.lines().take_while(|line| !line.is_empty());
    let commands = commands.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let commands = commands.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help");
    let mut expected: Vec<String> = commands.map(|name| format!("pkdns-cli-{name}")).collect();
    expected.push("pkdns-cli".to_string());
    names.sort_unstable();
    expected.sort_unstable();
    assert_eq!(names, expected);
    // The page that is printed is the first of them, and names no page that is not there.
    let page = run(directory.path(), &["man"]).out;
    assert_eq!(page, fs::read_to_string(directory.path().join("man/man1/pkdns-cli.1")).unwrap());
    assert!(page.contains("pkdns\\-cli\\-publish(1)") && !page.contains("help(1)"), "{page}");
}
