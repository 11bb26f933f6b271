use std::fs;

use clap::CommandFactory;
use tempfile::TempDir;

use super::*;
use crate::base::config::UpstreamAddress;

fn settle(home: &Path, flags: &str) -> Result<Settings, String> {
    let arguments = Arguments::try_parse_from(["pkdns"].into_iter().chain(flags.split_whitespace()))
        .map_err(|error| error.to_string())?;
    arguments.settle(Some(home), None).map_err(|error| error.to_string())
}

fn home_with(text: &str) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join(".pkdns")).unwrap();
    fs::write(home.path().join(".pkdns/pkdns.toml"), text).unwrap();
    home
}

fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn upstreams(texts: &[&str]) -> Vec<UpstreamAddress> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn the_flags_are_well_formed() {
    Arguments::command().debug_assert();
}

#[test]
fn short_help_has_a_line_for_each_option_and_long_help_says_more() {
    let mut command = Arguments::command();
    command.build();
    for command in command.get_subcommands().chain([&command]).filter(|command| command.get_name() != "help")
    {
        let name = command.get_name();
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        assert!(!about.is_empty() && about.len() <= 80 && !about.contains('\n'), "{name}: {about}");
        for argument in command.get_arguments() {
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            let id = argument.get_id();
            assert!(!help.is_empty() && help.len() <= 80 && !help.contains('\n'), "{name} {id}: {help}");
            assert!(
                !help.contains(". "),
                "{name} {id}: the second sentence belongs into a paragraph: {help}"
            );
        }
    }
    let (short, long) = (command.render_help().to_string(), command.render_long_help().to_string());
    for part in ["Exit codes:", "SIGUSR2", "It answers names under keys"] {
        assert!(long.contains(part) && !short.contains(part), "{part}: {short}");
    }
}

#[test]
fn without_a_file_the_defaults_are_served() {
    let home = tempfile::tempdir().unwrap();
    let settings = settle(home.path(), "").unwrap();
    let mut expected = Config::default();
    expected.dht.nodes_path = Some(home.path().join(".pkdns/dht-nodes"));
    expected.cache.path = Some(home.path().join(".pkdns/packets"));
    expected.certificate.path = Some(home.path().join(".pkdns/certificates"));
    expected.status.path = Some(home.path().join(".pkdns/status.sock"));
    assert_eq!(settings.config, expected);
    assert_eq!(settings.source, Source::Defaults(home.path().join(".pkdns/pkdns.toml")));
    assert_eq!(settings.action, Action::Serve);
    assert!(!settings.testnet && !settings.sample_upstream);
    assert_eq!(settings.warnings(), [""; 0]);
}

#[test]
fn the_file_is_pkdns_toml_in_the_directory_unless_config_names_one() {
    let home = home_with("fallback_dns = '1.1.1.1'");
    fs::write(home.path().join("pkdns.toml"), "fallback_dns = '2.2.2.2'").unwrap();
    fs::write(home.path().join("other.toml"), "fallback_dns = '3.3.3.3'").unwrap();
    for (flags, expected) in [
        ("".to_owned(), "1.1.1.1:53"),
        (format!("-p {}", home.path().display()), "2.2.2.2:53"),
        ("--pkdns-dir=~".into(), "2.2.2.2:53"),
        ("-c ~/other.toml".into(), "3.3.3.3:53"),
        (format!("--config {}/other.toml -p /nowhere", home.path().display()), "3.3.3.3:53"),
    ] {
        let config = settle(home.path(), &flags).unwrap().config;
        assert_eq!(config.fallback_dns, upstreams(&[expected]), "{flags}");
    }
}

#[test]
fn dht_nodes_are_kept_in_the_directory_unless_the_file_says_where_and_never_those_of_a_testnet() {
    for (text, flags, expected) in [
        ("", "", Some(".pkdns/dht-nodes")),
        ("", "-p ~/elsewhere", Some("elsewhere/dht-nodes")),
        ("dht.nodes_path = '~/nodes'", "", Some("nodes")),
        ("dht.nodes_path = '/nodes'", "", Some("/nodes")),
        ("", "--testnet", None),
        ("dht.nodes_path = '/nodes'", "--testnet", None),
    ] {
        let home = home_with(text);
        let nodes_path = settle(home.path(), flags).unwrap().config.dht.nodes_path;
        assert_eq!(nodes_path, expected.map(|path| home.path().join(path)), "{text} {flags}");
    }
}

#[test]
fn packets_are_kept_in_the_directory_unless_the_file_says_where_or_nowhere_and_never_those_of_a_testnet() {
    for (text, flags, expected) in [
        ("", "", Some(".pkdns/packets")),
        ("", "-p ~/elsewhere", Some("elsewhere/packets")),
        ("cache.path = '~/kept'", "", Some("kept")),
        ("cache.path = ''", "", Some("")),
        ("cache.path = '/kept'", "--testnet", None),
    ] {
        let home = home_with(text);
        let cache = settle(home.path(), flags).unwrap().config.cache;
        let expected = expected.filter(|path| !path.is_empty()).map(|path| home.path().join(path));
        assert_eq!(cache.directory(), expected.as_deref(), "{text} {flags}");
    }
}

#[test]
fn a_missing_file_is_an_error_only_when_it_was_asked_for() {
    let home = tempfile::tempdir().unwrap();
    let message = settle(home.path(), "-c ~/absent.toml").unwrap_err();
    assert!(message.contains("absent.toml: "), "{message}");
    settle(home.path(), "-p ~/absent").unwrap();
}

#[test]
fn a_file_that_cannot_be_reached_is_not_taken_for_absent() {
    let home = home_with("");
    // A file in place of the directory; one that is closed to this user is the same to all but root.
    let message = settle(home.path(), "-p ~/.pkdns/pkdns.toml").unwrap_err();
    assert!(message.contains("pkdns.toml/pkdns.toml: ") && !message.contains("there is no"), "{message}");
}

#[test]
fn flags_win_over_the_file() {
    let home = home_with("listen = '127.0.0.1:1'\nfallback_dns = '1.1.1.1'");
    let config = settle(home.path(), "-l [::1]:2 -l 127.0.0.3 -f 9.9.9.9 -f tls://8.8.8.8").unwrap().config;
    assert_eq!(config.listen, addresses(&["[::1]:2", "127.0.0.3:53"]));
    assert_eq!(config.fallback_dns, upstreams(&["9.9.9.9:53", "tls://8.8.8.8:853"]));
    let config = settle(home.path(), "-f google -f 192.168.1.1").unwrap().config;
    let google = ["https://dns.google@8.8.8.8", "https://dns.google@2001:4860:4860::8888"];
    assert_eq!(config.fallback_dns, upstreams(&[google[0], google[1], "192.168.1.1"]));
    assert!(settle(home.path(), "-f goggle").unwrap_err().contains("did you mean `google`?"));
}

#[test]
fn a_flag_that_wins_over_what_the_file_says_says_so() {
    for (text, flags, expected) in [
        ("listen = '127.0.0.1:1'", "-l 0.0.0.0:5300", Some("--listen")),
        ("listen = '127.0.0.1:1'", "-l 127.0.0.1:1", None),
        ("verbose = true", "-l 0.0.0.0:5300", None),
        ("listen = '127.0.0.1:1'", "", None),
        ("fallback_dns = ['9.9.9.9', '1.1.1.1']", "-f 9.9.9.9", Some("--forward")),
        ("fallback_dns = 'quad9'", "-f quad9", None),
        ("fallback_dns = 'quad9'", "", None),
        ("verbose = true", "-f 9.9.9.9", None),
    ] {
        let warnings = settle(home_with(text).path(), flags).unwrap().warnings();
        let expected: Vec<_> =
            expected.iter().map(|flag| format!("pkdns.toml does not count: {flag}")).collect();
        assert_eq!(warnings.len(), expected.len(), "{text} {flags}: {warnings:?}");
        assert!(warnings.iter().zip(&expected).all(|(it, expected)| it.contains(expected)), "{warnings:?}");
    }
}

#[test]
fn verbose_in_the_file_is_heeded() {
    for (text, flags, expected) in [
        ("verbose = true", "", true),
        ("", "-v", true),
        ("verbose = false", "--verbose", true),
        ("", "", false),
    ] {
        assert_eq!(settle(home_with(text).path(), flags).unwrap().config.verbose, expected, "{text} {flags}");
    }
}

#[test]
fn a_flag_that_makes_no_sense_is_an_error_that_says_why() {
    let home = tempfile::tempdir().unwrap();
    for (flags, part) in [
        ("-f tls://dns.example", "add the address"),
        ("-f dns.example", "is not an IP address"),
        ("-l 127.0.0.1:x", "the port must be"),
        ("--check --print-config", "cannot be used with"),
        ("-l 127.0.0.1:5300 -f 127.0.0.1:5300", "is this server itself"),
        ("--verbos", "'--verbose'"),
    ] {
        let message = settle(home.path(), flags).unwrap_err();
        assert!(message.contains(part), "{flags}: {message}");
    }
}

#[test]
fn a_mistake_in_the_file_is_reported_with_its_line() {
    let home = home_with("\n[delegation]\nport = 0\n");
    let message = settle(home.path(), "--check").unwrap_err();
    assert!(message.contains(".pkdns/pkdns.toml:3: delegation.port: "), "{message}");
}

#[test]
fn a_testnet_listens_on_its_own_port_unless_told_otherwise() {
    for (text, flags, expected) in [
        ("", "--testnet", "127.0.0.1:5300"),
        ("listen = '127.0.0.1:1'", "--testnet", "127.0.0.1:1"),
        ("listen = '127.0.0.1:1'", "--testnet -l 127.0.0.1:0", "127.0.0.1:0"),
    ] {
        let settings = settle(home_with(text).path(), flags).unwrap();
        assert_eq!(settings.config.listen, addresses(&[expected]), "{text} {flags}");
        assert!(settings.testnet && settings.sample_upstream);
    }
}

#[test]
fn a_testnet_decides_what_the_file_leaves_open_and_nothing_else() {
    let all = Unsaid { http: true, https: true, names: true, certificates: true };
    for (text, flags, expected) in [
        ("", "--testnet", all),
        ("", "--testnet -l 127.0.0.1:5305", all),
        ("", "", Unsaid::default()),
        ("doh.plain_listen = []", "--testnet", Unsaid { http: false, ..all }),
        ("doh.enabled = false", "--testnet", Unsaid { https: false, ..all }),
        (
            "[doh]\nenabled = true\nport = 8444\n[certificate]\nself_signed = true",
            "--testnet",
            Unsaid { https: false, ..all },
        ),
        ("certificate.names = 'localhost'", "--testnet", Unsaid { names: false, ..all }),
        ("certificate.path = '/kept'", "--testnet", Unsaid { certificates: false, ..all }),
    ] {
        assert_eq!(settle(home_with(text).path(), flags).unwrap().unsaid, expected, "{text} {flags}");
    }
}

#[test]
fn a_testnet_forwards_only_to_who_is_named_by_flag() {
    let settings = settle(home_with("fallback_dns = '1.1.1.1'").path(), "--testnet -f 9.9.9.9").unwrap();
    assert!(!settings.sample_upstream);
    assert_eq!(settings.config.fallback_dns, upstreams(&["9.9.9.9:53"]));
}

#[test]
fn without_a_home_the_current_directory_stands_in_with_a_warning() {
    let settle = |flags: &[&str]| Arguments::try_parse_from(flags).unwrap().settle(None, None).unwrap();
    let settings = settle(&["pkdns"]);
    assert_eq!(settings.source, Source::Defaults("./.pkdns/pkdns.toml".into()));
    assert!(settings.warnings().iter().any(|warning| warning.contains("HOME is not set")));
    assert_eq!(settle(&["pkdns", "-p", "/nowhere"]).warnings(), [""; 0]);
}

#[test]
fn the_status_is_asked_for_where_the_server_would_answer() {
    for (text, flags, runtime, expected) in [
        ("", "", None, &[".pkdns/status.sock", "/run/pkdns/status.sock"][..]),
        ("", "", Some("run"), &["run/status.sock", ".pkdns/status.sock", "/run/pkdns/status.sock"]),
        ("", "-p ~/elsewhere", None, &["elsewhere/status.sock"]),
        ("status.path = '~/s'", "", Some("run"), &["s"]),
        ("status.path = ''", "", None, &[]),
        ("status.path = '/s'", "--socket ~/other", None, &["other"]),
        // A file that no server would take now.
        ("status.path = '/s'\nlisten = []", "", None, &["/s"]),
        ("listen = nonsense", "", None, &[".pkdns/status.sock", "/run/pkdns/status.sock"]),
    ] {
        let home = home_with(text);
        let runtime = runtime.map(|path| home.path().join(path));
        for flags in [format!("status {flags}"), format!("{flags} status")] {
            if flags.starts_with("--socket") {
                continue;
            }
            let arguments =
                Arguments::try_parse_from(["pkdns"].into_iter().chain(flags.split_whitespace())).unwrap();
            let request = arguments.status(Some(home.path()), runtime.as_deref()).unwrap();
            let expected: Vec<_> = expected.iter().map(|path| home.path().join(path)).collect();
            assert_eq!(request.sockets, expected, "{text} {flags}");
        }
    }
}

#[test]
fn the_socket_is_in_the_directory_or_where_systemd_says_and_a_testnet_has_none() {
    for (text, flags, runtime, expected) in [
        ("", "", None, Some(".pkdns/status.sock")),
        ("", "", Some("run"), Some("run/status.sock")),
        ("status.path = '~/s'", "", Some("run"), Some("s")),
        ("status.path = ''", "", None, Some("")),
        ("status.path = '/s'", "--testnet", None, None),
    ] {
        let home = home_with(text);
        let runtime = runtime.map(|path| home.path().join(path));
        let flags = ["pkdns"].into_iter().chain(flags.split_whitespace());
        let arguments = Arguments::try_parse_from(flags).unwrap();
        let config = arguments.settle(Some(home.path()), runtime.as_deref()).unwrap().config;
        let expected = expected.filter(|path| !path.is_empty()).map(|path| home.path().join(path));
        assert_eq!(config.status.socket(), expected.as_deref(), "{text}");
    }
}

#[test]
fn a_directory_with_a_long_name_costs_the_status_and_not_the_start() {
    let home = tempfile::tempdir().unwrap();
    let settings = settle(home.path(), &format!("-p {}/{}", home.path().display(), "x".repeat(100))).unwrap();
    assert_eq!(settings.config.status.path, None);
}

#[test]
fn the_status_is_shown_as_it_is_wished_for() {
    let form = |flags: &str| {
        let flags = ["pkdns", "status"].into_iter().chain(flags.split_whitespace());
        Arguments::try_parse_from(flags).ok()?.status(None, None).map(|request| request.form)
    };
    assert_eq!(form(""), Some(StatusForm::Table));
    assert_eq!(form("--json"), Some(StatusForm::Json));
    assert_eq!(form("--ready"), Some(StatusForm::Ready));
    assert_eq!(form("--ready --json"), None);
    assert_eq!(Arguments::try_parse_from(["pkdns"]).unwrap().status(None, None), None);
}
