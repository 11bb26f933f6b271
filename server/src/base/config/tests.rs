use std::{collections::BTreeSet, path::Path};

use proptest::prelude::*;

use super::*;

const DESIGN_EXAMPLE: &str = r#"
fallback_dns = "8.8.8.8:53"
[doh]
enabled = true
port = 443
cert_path = "/path/to/cert.pem"
key_path = "/path/to/key.pem"
[rate_limit]
requests_per_minute = 100
burst_size = 20
[cache]
max_entries = 10000
ttl_seconds = 300
"#;

fn parse(text: &str) -> Result<Config, ConfigError> {
    ConfigFile::parse(Path::new("pkdns.toml"), text)?.check()
}

fn config(text: &str) -> Config {
    parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn mistake(text: &str) -> String {
    parse(text).expect_err(text).to_string()
}

/// A configuration in which every option differs from its default.
fn everything_set() -> Config {
    config(
        r#"
        listen = "127.0.0.1:5300"
        fallback_dns = ["9.9.9.9", "[2620:fe::fe]:5353", "tls://dns.quad9.net@9.9.9.9", "https://1.1.1.1"]
        fallback_ca_path = "/authority"
        verbose = true
        reload_on_change = true
        connections_per_client = 16
        proxy_protocol = true
        [names]
        suffixes = ["pk.example.net", "lan"]
        keep_browsers = true
        [local]
        records = "nas.lan A 192.168.1.9"
        hosts_file = "/etc/hosts"
        zone = ["lan", "home.arpa"]
        [dht]
        bootstrap = ["127.0.0.1:6881", "[::1]:6881"]
        relays = ["https://relay.example/pkarr", "http://127.0.0.1:6881"]
        enabled = false
        max_datagrams_per_second = 10
        max_nodes = 512
        keep_alive_per_hour = 20
        nodes_path = "/dht-nodes"
        [cache]
        max_entries = 1
        ttl_seconds = 2
        max_ttl_seconds = 3
        negative_ttl_seconds = 4
        max_stale_seconds = 5
        path = "/packets"
        disk_megabytes = 100
        redis = "redis://127.0.0.1"
        [rate_limit]
        requests_per_minute = 6
        burst_size = 7
        dht_requests_per_minute = 8
        dht_burst_size = 9
        [access]
        allow = ["0.0.0.0/0"]
        deny = "192.0.2.7"
        [delegation]
        enabled = false
        port = 10
        allow_private = true
        [denied_keys]
        blocked = "/denied"
        censored = "https://lists.example/keys"
        filtered = ["/unwanted"]
        refresh_seconds = 60
        [operator]
        name = "Example"
        contact = "mailto:abuse@example.net"
        policy = "https://example.net/policy"
        [bridge]
        listen = "127.0.0.1:443"
        plain_listen = "127.0.0.1:80"
        addresses = ["192.0.2.1", "2001:db8::1"]
        exempt = "8qhdp5s8jjmxmqam3bpg9kzeg7x8teztuwrfgxw5ikn9z5bt15uy"
        clients_of = "https"
        max_connections = 12
        [doh]
        enabled = true
        listen = ["127.0.0.1:11"]
        cert_path = "/cert"
        key_path = "/key"
        plain_listen = "127.0.0.1:12"
        trusted_proxies = ["10.0.0.0/8"]
        client_address_header = "X-Real-IP"
        proxy_protocol = true
        hosts = "dns.example"
        max_connections = 14
        connections_per_client = 15
        [dot]
        enabled = true
        listen = "127.0.0.1"
        connections_per_client = 17
        proxy_protocol = false
        cert_path = "/cert2"
        key_path = "/key2"
        [certificate]
        names = ["dns.example", "192.0.2.1"]
        self_signed = true
        path = "/certificates"
        [acme]
        enabled = true
        directory = "https://127.0.0.1/directory"
        contact = "mailto:admin@example.com"
        challenge = "http-01"
        profile = "shortlived"
        ca_path = "/authority"
        [relay]
        enabled = true
        reads_per_minute = 1
        read_burst_size = 2
        writes_per_minute = 3
        write_burst_size = 4
        [memory]
        unread_megabytes = 32
        [metrics]
        listen = "127.0.0.1:13"
        [log]
        format = "json"
        [query_log]
        level = "truncated"
        path = "/queries.log"
        format = "json"
        [dnstap]
        to = "/dnstap.sock"
        clients = "full"
        identity = "one"
        [[forward]]
        zone = "lan"
        to = ["192.168.1.1", "tls://192.168.1.2"]
        [[origin]]
        name = "keys.example.net"
        name_servers = ["ns1.keys.example.net"]
        zone_file = "/keys.example.net.zone"
        allow_private = true
        lookups_per_minute = 31
        [status]
        path = "/status.sock"
        "#,
    )
}

/// Every option as `section.name`.
fn option_names(config: &Config) -> BTreeSet<String> {
    let text = toml::to_string(config).unwrap();
    let table: toml::Table = text.parse().unwrap();
    let mut names = BTreeSet::new();
    for (key, value) in table {
        match value {
            toml::Value::Table(section) => names.extend(section.keys().map(|name| format!("{key}.{name}"))),
            _ => drop(names.insert(key)),
        }
    }
    names
}

#[test]
fn the_template_is_the_default_configuration() {
    assert_eq!(config(TEMPLATE), Config::default());
    assert_eq!(config(""), Config::default());
}

#[test]
fn the_template_names_every_option() {
    let mut section = String::new();
    let mut named = BTreeSet::new();
    for line in TEMPLATE.lines() {
        // A list of tables, which is one option.
        if let Some(list) = line.strip_prefix("# [[").and_then(|rest| rest.strip_suffix("]]")) {
            named.insert(list.to_owned());
            section = format!("{list}.");
        } else if let Some(header) = line.strip_prefix('[') {
            section = header.replace(']', ".");
        } else if let Some((name, _)) = line.trim_start_matches("# ").split_once(" = ")
            && !name.contains(' ')
        {
            named.insert(format!("{section}{name}"));
        } else if ["forward.", "origin."].contains(&section.as_str()) && line.is_empty() {
            section.clear();
        }
    }
    named.retain(|name| !name.starts_with("forward.") && !name.starts_with("origin."));
    named.remove("doh.port"); // Short for doh.listen.
    assert_eq!(named, option_names(&everything_set()));
}

#[test]
fn the_example_of_the_design_loads_and_means_what_it_says() {
    let config = config(DESIGN_EXAMPLE);
    assert_eq!(config.fallback_dns, ["8.8.8.8:53".parse().unwrap()]);
    assert!(config.doh.enabled);
    assert_eq!(config.doh.listen, ["0.0.0.0:443".parse().unwrap()]);
    assert_eq!(config.doh.cert_path.as_deref(), Some(Path::new("/path/to/cert.pem")));
    assert_eq!(config.doh.key_path.as_deref(), Some(Path::new("/path/to/key.pem")));
    assert_eq!((config.rate_limit.requests_per_minute, config.rate_limit.burst_size), (100, 20));
    assert_eq!((config.cache.max_entries, config.cache.ttl_seconds), (10_000, 300));
    let unset = Config::default();
    assert_eq!(config.cache.max_ttl_seconds, unset.cache.max_ttl_seconds);
    assert_eq!(config.listen, unset.listen);
}

#[test]
fn what_is_printed_loads_again() {
    for config in [Config::default(), everything_set(), config(DESIGN_EXAMPLE)] {
        let text = toml::to_string_pretty(&config).unwrap();
        assert_eq!(parse(&text).unwrap(), config, "{text}");
        let text = config.commented();
        assert_eq!(parse(&text).unwrap(), config, "{text}");
    }
}

#[test]
fn what_is_printed_with_comments_sets_no_default() {
    let text = Config::default().commented();
    assert!(
        text.contains("# its default, if there is one.") && text.contains("\n# ttl_seconds = 300\n"),
        "{text}"
    );
    let set = |text: &str| {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with(['#', '[']));
        lines.map(String::from).collect::<Vec<_>>()
    };
    assert_eq!(set(&text), [""; 0]);
    let text = config("verbose = true\n[cache]\nttl_seconds = 7\n[dot]\ncert_path = '/c'").commented();
    assert_eq!(set(&text), ["verbose = true", "ttl_seconds = 7", "cert_path = \"/c\""]);
}

#[test]
fn fallback_dns_is_one_address_or_a_list() {
    let one = config("fallback_dns = '9.9.9.9'");
    assert_eq!(one.fallback_dns, ["9.9.9.9:53".parse().unwrap()]);
    let list = config("fallback_dns = ['9.9.9.9:5353', '2620:fe::fe']");
    assert_eq!(list.fallback_dns, ["9.9.9.9:5353".parse().unwrap(), "[2620:fe::fe]:53".parse().unwrap()]);
}

#[test]
fn a_resolver_may_go_by_its_name_and_an_unknown_name_is_an_error_with_its_line() {
    let mixed = config("fallback_dns = ['192.168.1.1', 'quad9']").fallback_dns;
    let shown: Vec<_> = mixed.iter().map(ToString::to_string).collect();
    assert_eq!(shown[0], "192.168.1.1:53");
    assert!(shown[1..].iter().all(|upstream| upstream.starts_with("https://dns.quad9.net@")), "{shown:?}");
    let message = mistake("verbose = true\nfallback_dns = 'quad8'");
    assert!(
        message.starts_with("pkdns.toml:2: fallback_dns: ") && message.contains("cloudflare"),
        "{message}"
    );
}

#[test]
fn an_encrypted_upstream_without_an_address_is_an_error_with_its_line() {
    for upstream in ["tls://dns.example", "https://dns.example/dns-query"] {
        let message = mistake(&format!("verbose = true\nfallback_dns = ['9.9.9.9', '{upstream}']"));
        assert!(message.starts_with("pkdns.toml:2: fallback_dns: "), "{message}");
        assert!(message.contains("add the address"), "{message}");
    }
}

#[test]
fn what_is_not_a_relay_is_an_error_with_its_line() {
    let message = mistake("[dht]\nrelays = ['https://relay.example', 'https://me@relay.example']");
    assert!(message.starts_with("pkdns.toml:2: dht.relays: `https://me@relay.example`: "), "{message}");
    let many = (0..9).map(|n| format!("'https://{n}.example'")).collect::<Vec<_>>().join(", ");
    let message = mistake(&format!("[dht]\nrelays = [{many}]"));
    assert!(message.starts_with("pkdns.toml:2: dht.relays: names more than 8"), "{message}");
}

#[test]
fn an_unknown_key_is_an_error_with_its_line_and_the_nearest_option() {
    for (text, expected) in [
        ("\n\nverbos = true", "pkdns.toml:3: there is no option `verbos`; did you mean `verbose`?"),
        (
            "[cache]\nTTL_second = 3",
            "pkdns.toml:2: there is no option `TTL_second`; did you mean `ttl_seconds`?",
        ),
        ("[doh]\ncert = 'x'\n", "pkdns.toml:2: there is no option `cert`; did you mean `cert_path`?"),
        (
            "[dot]\nport = 1\n",
            "there is no option `port` here; the options are enabled, listen, cert_path, key_path",
        ),
        ("[doh]\ncert_pat = 'x'\n", "pkdns.toml:2: there is no option `cert_pat`; did you mean `cert_path`?"),
        ("[chache]\n", "pkdns.toml:1: there is no option `chache`; did you mean `cache`?"),
        ("max_entries = 1", "pkdns.toml:1: `max_entries` belongs under [cache]"),
        (
            "[cache]\nfallback_dns = '1.1.1.1'",
            "pkdns.toml:2: `fallback_dns` belongs above the first [section]",
        ),
        ("[names]\nallow = []", "pkdns.toml:2: `allow` belongs under [access]"),
        (
            "[general]\nsocket = ''",
            "there is no option `general` here; the options are listen, fallback_dns,",
        ),
    ] {
        let message = mistake(text);
        assert!(message.contains(expected), "{message}\nexpected {expected}");
    }
}

#[test]
fn a_value_of_the_wrong_type_is_an_error_with_its_line_and_key() {
    for (text, expected) in [
        ("verbose = 1", "pkdns.toml:1: verbose: "),
        ("[cache]\n\nmax_entries = -1", "pkdns.toml:3: cache.max_entries: "),
        ("[rate_limit]\nburst_size = 4294967296", "pkdns.toml:2: rate_limit.burst_size: "),
        ("listen = 53", "pkdns.toml:1: listen: "),
        ("listen = ['localhost:53']", "pkdns.toml:1: listen: `localhost:53` is not an IP address"),
        ("[access]\nallow = ['lan']", "pkdns.toml:2: access.allow: `lan` is not an address range"),
        ("[metrics]\nlisten = '127.0.0.1'", "metrics.listen: `127.0.0.1` needs a port"),
        ("[doh]\nport = 1\nlisten = '::1'", "pkdns.toml:3: doh.listen: `listen` is written under two names"),
        ("[doh]\nport = 65536", "pkdns.toml:2: doh.port: "),
        ("cache = 3", "pkdns.toml:1: cache: "),
        ("a = b", "pkdns.toml:1: "),
        ("verbose = true\nverbose = true", "pkdns.toml:2: "),
        ("[cache", "pkdns.toml:1: "),
    ] {
        let message = mistake(text);
        assert!(message.contains(expected), "{message}\nexpected {expected}");
        assert!(!message.contains('\n'), "{message}");
    }
}

#[test]
fn values_that_contradict_each_other_are_errors_with_their_line() {
    let key = "8pinxxgqs41n4aididenw5apqp1urfmzdztr8jt4abrkdn435ewo";
    for (text, expected) in [
        ("listen = []".to_owned(), "pkdns.toml:1: listen: is empty"),
        ("fallback_dns = []".into(), "pkdns.toml:1: fallback_dns: is empty"),
        ("fallback_dns = '0.0.0.0'".into(), "fallback_dns: 0.0.0.0:53 cannot be asked"),
        ("fallback_dns = '8.8.8.8:0'".into(), "fallback_dns: 8.8.8.8:0 cannot be asked"),
        (
            "fallback_dns = 'tls://0.0.0.0'".into(),
            "fallback_dns: tls://0.0.0.0:853 cannot be asked; write the resolver's own address",
        ),
        ("fallback_dns = '127.0.0.1'".into(), "fallback_dns: 127.0.0.1:53 is this server itself"),
        (
            "[cache]\nttl_seconds = 90000".into(),
            "pkdns.toml:2: cache.ttl_seconds: 90000 is more than max_ttl_seconds",
        ),
        (
            "[cache]\nmax_ttl_seconds = 9".into(),
            "pkdns.toml:1: cache.ttl_seconds: 300 is more than max_ttl_seconds",
        ),
        ("[cache]\nmax_stale_seconds = 9000000000".into(), "cache.max_stale_seconds: 9000000000 is too long"),
        ("[cache]\nmax_entries = 0".into(), "cache.max_entries: 0 is not from 1"),
        (
            "[cache]\nmax_entries = 9000000000000000".into(),
            "cache.max_entries: 9000000000000000 is not from 1",
        ),
        ("[rate_limit]\nburst_size = 0".into(), "pkdns.toml:2: rate_limit.burst_size: is 0"),
        ("[rate_limit]\ndht_burst_size = 0".into(), "pkdns.toml:2: rate_limit.dht_burst_size: is 0"),
        (
            "[dht]\nbootstrap = ['node.example']".into(),
            "pkdns.toml:2: dht.bootstrap: \"node.example\" has no port",
        ),
        ("[dht]\nbootstrap = [':6881']".into(), "dht.bootstrap: \":6881\" has no host"),
        ("[dht]\nbootstrap = ['n:0']".into(), "dht.bootstrap: \"n:0\": the port must be"),
        (
            "[dht]\nbootstrap = ['::1:6881']".into(),
            "dht.bootstrap: \"::1:6881\" is an IPv6 address without brackets",
        ),
        ("[dht]\nbootstrap = ['[::g]:6881']".into(), "dht.bootstrap: \"[::g]:6881\" has no IPv6 address"),
        ("[dht]\nmax_datagrams_per_second = 0".into(), "dht.max_datagrams_per_second: is 0"),
        ("[dht]\nmax_nodes = 255".into(), "dht.max_nodes: must be 256 to 1048576"),
        ("[dht]\nmax_nodes = 1048577".into(), "dht.max_nodes: must be 256 to 1048576"),
        ("[dht]\nbootstrap = []".into(), "dht.bootstrap: is empty"),
        ("[query_log]\npath = '/var/log/'".into(), "pkdns.toml:2: query_log.path: is a directory"),
        (format!("[dnstap]\nto = '/{}'", "d".repeat(107)), "pkdns.toml:2: dnstap.to: is longer than the 107"),
        (format!("[dnstap]\nidentity = '{}'", "d".repeat(256)), "pkdns.toml:2: dnstap.identity: must not"),
        ("[delegation]\nport = 0".into(), "pkdns.toml:2: delegation.port: must not be 0"),
        ("[access]\nallow = []".into(), "pkdns.toml:2: access.allow: is empty"),
        ("[names]\nsuffixes = ['']".into(), "pkdns.toml:2: names.suffixes: \"\" is not a name"),
        ("[names]\nsuffixes = ['.key']".into(), "names.suffixes: write \"key\""),
        ("[names]\nsuffixes = ['a..b']".into(), "names.suffixes: \"a..b\" has two dots"),
        ("[names]\nsuffixes = ['a b']".into(), "names.suffixes: \"a b\" is not made of letters"),
        (format!("[names]\nsuffixes = ['{key}']"), "is a key and cannot be part of a suffix"),
        (format!("[names]\nsuffixes = ['{}']", "a".repeat(64)), "is longer than the 63 characters"),
        (format!("[names]\nsuffixes = ['{}']", "a.".repeat(120)), "is longer than 190 characters"),
        ("[doh]\nenabled = true\nkey_path = '/k'".into(), "pkdns.toml:1: doh.cert_path: is missing"),
        ("[dot]\nenabled = true\ncert_path = '/c'".into(), "pkdns.toml:1: dot.key_path: is missing"),
    ] {
        let message = mistake(&text);
        assert!(message.contains(expected), "{message}\nexpected {expected}");
    }
}

#[test]
fn the_older_name_of_connections_per_client_means_the_same_and_both_are_an_error() {
    let older = config("[doh]\nmax_connections_per_client = 7").doh;
    assert_eq!(older, config("[doh]\nconnections_per_client = 7").doh);
    assert_eq!(older.connections_per_client, Some(7));
    let message = mistake("[doh]\nmax_connections_per_client = 7\nconnections_per_client = 7");
    assert!(message.starts_with("pkdns.toml:3: ") && message.contains("under two names"), "{message}");
    for (text, key) in [
        ("connections_per_client = 0", "connections_per_client: is 0"),
        ("[dot]\nconnections_per_client = 0", "dot.connections_per_client: is 0"),
        ("[doh]\nmax_connections_per_client = 0", "doh.connections_per_client: is 0"),
    ] {
        assert!(mistake(text).contains(key), "{}", mistake(text));
    }
}

#[test]
fn all_contradictions_are_reported_at_once() {
    let message = mistake("listen = []\n[delegation]\nport = 0");
    assert_eq!(message.lines().count(), 2, "{message}");
}

#[test]
fn a_quota_that_is_off_needs_no_burst() {
    let limit = config("[rate_limit]\nrequests_per_minute = 0\nburst_size = 0").rate_limit;
    assert_eq!((limit.requests_per_minute, limit.burst_size), (0, 0));
}

#[test]
fn an_upstream_on_this_host_is_fine_when_it_is_not_this_server() {
    config("listen = '127.0.0.1:5300'\nfallback_dns = '127.0.0.1'");
    config("listen = '192.168.1.2'\nfallback_dns = '127.0.0.1'");
    config("listen = '0.0.0.0:53'\nfallback_dns = '::1'");
    config("listen = '127.0.0.1:853'\nfallback_dns = 'tls://127.0.0.1'");
    config("listen = '[::]:53'\nfallback_dns = '127.0.0.1'");
    mistake("listen = '[::]:53'\nfallback_dns = '::1'");
    mistake("listen = '0.0.0.0:53'\nfallback_dns = '127.0.0.53'");
    mistake("listen = '192.168.1.2'\nfallback_dns = '192.168.1.2'");
}

#[test]
fn suffixes_are_kept_in_lower_case_without_the_last_dot() {
    assert_eq!(config("[names]\nsuffixes = 'PK.Example.NET.'").names.suffixes, ["pk.example.net"]);
    assert_eq!(config("[names]\nsuffixes = []").names.suffixes, [""; 0]);
}

#[test]
fn ranges_may_be_single_addresses() {
    let access = config("[access]\ndeny = ['192.0.2.7', '2001:db8::1', '10.0.0.0/8']").access;
    let expected = ["192.0.2.7/32", "2001:db8::1/128", "10.0.0.0/8"];
    assert_eq!(access.deny, expected.map(|range| range.parse::<IpNet>().unwrap()));
}

#[test]
fn a_file_that_cannot_be_read_is_an_error_with_its_path() {
    let directory = tempfile::tempdir().unwrap();
    let absent = directory.path().join("absent.toml");
    for path in [absent.as_path(), directory.path()] {
        let message = Config::load(path).unwrap_err().to_string();
        assert!(message.starts_with(&path.display().to_string()), "{message}");
    }
    let latin = directory.path().join("latin.toml");
    std::fs::write(&latin, b"# caf\xe9").unwrap();
    assert!(Config::load(&latin).unwrap_err().to_string().contains("UTF-8"));
    let endless = directory.path().join("endless.toml");
    std::fs::write(&endless, "#".repeat(2 << 20)).unwrap();
    assert!(Config::load(&endless).unwrap_err().to_string().contains("larger than any configuration"));
}

#[test]
fn the_file_knows_what_it_sets_and_a_flag_takes_the_blame() {
    let mut file =
        ConfigFile::parse(Path::new("pkdns.toml"), "fallback_dns = '1.1.1.1'\n[cache]\nredis = ''").unwrap();
    assert!(file.sets("fallback_dns") && file.sets("cache.redis") && !file.sets("listen"));
    file.config.fallback_dns.clear();
    file.overrule("fallback_dns");
    let message = file.check().unwrap_err().to_string();
    assert!(message.starts_with("fallback_dns: is empty"), "{message}");
}

proptest! {
    #[test]
    fn any_text_is_a_configuration_or_an_error_with_a_message(text in "(\\PC|[\\n\\[\\]=\"'a-z_.0-9]){0,80}") {
        if let Err(error) = parse(&text) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn any_value_of_any_option_is_taken_or_refused(
        option in proptest::sample::select(option_names(&everything_set()).into_iter().collect::<Vec<_>>()),
        value in "('\\PC{0,60}'|-?[0-9]{1,20}|\\['[-:.a-z0-9/]{0,20}'\\]|true|\\{\\})",
    ) {
        let text = match option.split_once('.') {
            Some((section, name)) => format!("[{section}]\n{name} = {value}"),
            None => format!("{option} = {value}"),
        };
        if let Err(error) = parse(&text) {
            let message = error.to_string();
            prop_assert!(message.contains("pkdns.toml:"), "{message}");
        }
    }
}
