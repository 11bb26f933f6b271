use super::*;

const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$2tYwmKKLQkwcU1TkIZwD8Q";

fn mistake(text: &str) -> String {
    Config::parse(text).unwrap_err()
}

#[test]
fn everything_that_can_be_said_is_understood() {
    let text = format!(
        "state = 'state'\nbootstrap = ['127.0.0.1:6881']\nrelays = ['https://relay.example']\n\
         [dyndns]\nlisten = ['127.0.0.1:8245']\ncert_path = 'c'\nkey_path = 'k'\n\
         trusted_proxies = ['127.0.0.0/8', '::1']\nallow_private = true\n\
         [detection]\nservices = ['https://ip.example']\nipv6_from_interface = true\nallow_private = true\n\
         [[identity]]\nseed = 'a.seed'\npassphrase_file = 'p'\nzone_file = 'a.zone'\ninterval = '30m'\n\
         relays = []\naddress = 'dyndns'\nuser = 'router'\npassword = '{HASH}'\nipv6_host = '::20'\n\
         force = true\n\
         [identity.certificate]\norigin = 'pk.example.net'\nnames = ['www']\nwildcard = true\nchallenge = 'dns-01'\n\
         directory = 'd'\nreload = 'true'\nauthority = 'https://a.example/dir'\nauthority_ca = 'c'\n\
         email = 'a@b.example'\nresolver = '192.0.2.1'\nname_servers = ['192.0.2.2:5353', '2001:db8::1']\n\
         [[identity]]\nseed = 'b.seed'\nrecords = '@ A 192.0.2.1'\naddress = 'detect'\n"
    );
    let config = Config::parse(&text).unwrap();
    assert_eq!(config.identities.len(), 2);
    assert_eq!(config.identities[1].interval, Interval::default());
}

/// Blocks of the documents that are configurations.
fn documented() -> Vec<&'static str> {
    let documents =
        [include_str!("../../../../docs/publish.md"), include_str!("../../../../docs/dyn-dns.md")];
    let blocks = documents.iter().flat_map(|document| document.split("```toml\n# publisher.toml").skip(1));
    blocks.map(|rest| rest.split_once("```").unwrap().0.split_once('\n').unwrap().1).collect()
}

#[test]
fn configurations_in_the_documents_are_understood() {
    assert_eq!(documented().len(), 4);
    for text in documented() {
        assert!(Config::parse(text).is_ok(), "{text}: {:?}", Config::parse(text));
    }
}

#[test]
fn every_option_is_in_the_document() {
    let (_, reference) = include_str!("../../../../docs/publish.md").split_once("### Every option").unwrap();
    let certificate = "[[identity]]\nseed = 'a'\n[identity.certificate]\n";
    for section in ["", "[dyndns]\n", "[detection]\n", "[[identity]]\n", certificate] {
        let message = mistake(&format!("{section}nonsense = 1\n"));
        let (_, expected) = message.split_once("the options are ").unwrap();
        let expected = expected.split("; ").next().unwrap();
        for option in expected.split(", ") {
            let known = [format!("`{option}`"), format!("`[{option}]`"), format!("`[[{option}]]`")];
            assert!(known.iter().any(|option| reference.contains(option)), "{option} of {section}");
        }
    }
}

#[test]
fn a_mistake_names_its_line_or_identity_and_what_to_write() {
    for (text, part) in [
        ("", "identity"),
        ("identity = []", "nothing to publish"),
        ("state = 'a'", "there is no [[identity]], so there is nothing to publish"),
        (
            "[identity]\nseed = 'a'\nzone_file = 'z'",
            "line 1: each identity has a section of its own: write [[identity]]",
        ),
        ("[[identity]]\nsed = 'a'\nzone_file = 'z'", "did you mean `seed`?"),
        ("[[identity]]\nzone_file = 'z'", "line 1: `seed` is missing here: write seed = "),
        (
            "state = 1\nrelay = []\n[[identity]]\nseed = 'a'\nzone_file = 'z'\nforce = 'no'",
            "line 1: state: expected a text in quotes; line 2: there is no option `relay`; did you mean `relays`?",
        ),
        ("[dyndns]\nlisten = ['[::1]:1']\n[dyndns]\n", "`dyndns` is there already, in line 1"),
        ("state = 1\nstate2 = 2", "line 1"),
        (
            "[[identity]]\nseed = 'a'\nzone = 'z'",
            "line 3: there is no option `zone`; did you mean `zone_file`?",
        ),
        ("[[identity]]\nseed = 'a'", "identity \"a\": it has no zone: write zone_file"),
        ("[[identity]]\nseed = 'a'\nzone_file = 'z'\nrecords = ''", "exclude each other"),
        ("[[identity]]\nseed = 'a'\nzone_file = 'z'\ninterval = '1s'", "from 1m to 24h"),
        ("[[identity]]\nseed = 'a'\nzone_file = 'z'\naddress = 'dyndns'", "needs a user and a password"),
        ("[[identity]]\nseed = 'a'\nzone_file = 'z'\nuser = 'u'", "need address"),
        ("[[identity]]\nseed = 'a'\nzone_file = 'z'\nipv6_host = '::20'", "needs address = \"dyndns\""),
        ("[[identity]]\nseed = 'a'\nzone_file = 'z'\nipv6_host = '20'", "line 4"),
        ("[dyndns]\nlisten = []\n[[identity]]\nseed = 'a'\nzone_file = 'z'", "dyndns.listen is empty"),
        ("[[identity]]\nseed = 'a'\nzone_file = 'z'\ncertificate = { }", "line 4: `origin` is missing"),
        (
            "[[identity]]\nseed = 'a'\nzone_file = 'z'\ncertificate = { origin = 'a b' }",
            "identity \"a\": certificate: origin: expected the name of a zone",
        ),
        (
            "[[identity]]\nseed = 'a'\nzone_file = 'z'\ncertificate = { origin = 'a.b', webroot = 'w' }",
            "certificate: webroot is for http-01 alone",
        ),
        (
            "[[identity]]\nseed = 'a'\nzone_file = 'z'\n\
             certificate = { origin = 'a.b', challenge = 'http-01', wildcard = true }",
            "a wildcard needs the challenge dns-01",
        ),
        (
            "[[identity]]\nseed = 'a'\nzone_file = 'z'\ncertificate = { origin = 'a.b', challenge = 'http' }",
            "line 4: certificate: expected ",
        ),
        (
            "user = 'u'\n[[identity]]\nseed = 'a'\nzone_file = 'z'",
            "line 1: `user` belongs under [[identity]]",
        ),
        ("[dyndns]\nallow_private = true", "`listen` is missing here: write listen = "),
        (
            "[[identity]]\nseed = 'a'\nzone_file = 'z'\ncertificate = { origin = 'a.b', email = 'me' }",
            "email: expected an address",
        ),
        (
            "[[identity]]\nseed = 'a'\nzone_file = 'z'\ncertificate = { origin = 'a.b', directory = 'd' }\n\
             [[identity]]\nseed = 'b'\nzone_file = 'z'\ncertificate = { origin = 'a.b', directory = 'd' }\n",
            "\"d\" is for one certificate; write another for each identity",
        ),
        (
            "[dyndns]\nlisten = ['[::1]:1']\ncert_path = 'c'\n[[identity]]\nseed = 'a'\nzone_file = 'z'",
            "go together",
        ),
    ] {
        let message = mistake(text);
        assert!(message.contains(part), "{text}: {message}");
    }
}

#[test]
fn all_mistakes_are_told_at_once_and_none_twice() {
    let text = "state = 1\n[dyndns]\nlisten = []\ncert_path = 'c'\n[[identity]]\nsed = 'a'\nzone_file = 'z'\n\
                [[identity]]\nzone_file = 'z'\n[[identity]]\nseed = 'c'\nforce = 'no'\n[[identity]]\nseed = 'd'\n\
                zone_file = 'z'\nrecords = ''\naddress = 'dyndns'\n";
    let message = mistake(text);
    for part in [
        "line 1: state: expected a text",
        "line 6: there is no option `sed`",
        "line 8: `seed` is missing",
        "line 12: force: expected true or false",
        "dyndns.listen is empty",
        "go together",
        "identity \"c\": it has no zone",
        "identity \"d\": zone_file and records exclude",
        "identity \"d\": address = \"dyndns\" needs a user",
    ] {
        assert_eq!(message.matches(part).count(), 1, "{part} in {message}");
    }
    // That the first identity has no `seed` is the same mistake as its `sed`.
    assert!(!message.contains("line 5:"), "{message}");
}

#[test]
fn what_is_misspelt_or_has_no_value_is_one_mistake() {
    let text = format!(
        "[dyndns]\nlisten = ['127.0.0.1:8245']\ncert_path = 'c'\nkey_path = 'k'\n[[identity]]\nseed = 'a'\n\
         zone_file = 'z'\naddress = 'dyndns'\nuser = 'u'\npassword = '{HASH}'\nipv6_host = '::20'\n"
    );
    assert!(Config::parse(&text).is_ok());
    for line in text.lines().filter(|line| line.contains(" = ")) {
        let (name, value) = line.split_once(" = ").unwrap();
        for wrong in [format!("{name} = {{}}"), format!("{name}x = {value}"), format!("zz = {value}")] {
            let message = mistake(&text.replacen(line, &wrong, 1));
            let count =
                ["line ", "identity \"a\"", "dyndns.", NO_IDENTITY].map(|part| message.matches(part).count());
            assert_eq!(count.iter().sum::<usize>(), 1, "{wrong}: {message}");
        }
    }
    let many = "[[identity]]\nseed = 'a'\n".repeat(40);
    assert!(mistake(&many).ends_with("; and 8 more"));
}

#[test]
fn a_password_that_is_no_hash_is_refused_and_not_repeated() {
    let message = mistake(
        "[dyndns]\nlisten = ['[::1]:1']\n[[identity]]\nseed = 'a'\nzone_file = 'z'\naddress = 'dyndns'\nuser = 'u'\n\
         password = 'hunter2'",
    );
    assert!(message.contains("pkdns-cli password") && !message.contains("hunter2"), "{message}");
    let message = mistake("[[identity]]\nseed = 'a'\nzone_file = 'z'\npassword = hunter2\n");
    assert!(message.contains("line 4") && !message.contains("hunter2"), "{message}");
    for line in ["password = 4711", "user = 4711", "force = '4711'", "address = '4711'", "interval = '4711'"]
    {
        let message = mistake(&format!("[[identity]]\nseed = 'a'\nzone_file = 'z'\n{line}\n"));
        let name = line.split(' ').next().unwrap();
        let begins = format!("line 4: {name}: expected ");
        assert!(message.starts_with(&begins) && !message.contains("4711"), "{line}: {message}");
    }
}
