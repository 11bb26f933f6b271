//! The program as an operator meets it: exit codes, what is printed where, and signals.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail where it stands")]

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    path::Path,
    process::{Command, Output, Stdio},
    thread,
    time::Duration,
};

use pkdns_testing::{process::Killed, wait};
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

/// Serves without looking anything up.
const QUIET: &str = "listen = '127.0.0.1:0'\nfallback_dns = '127.0.0.1:9'\n[dht]\nenabled = false\n";

fn directory_with(text: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("pkdns.toml"), text).unwrap();
    directory
}

fn pkdns(directory: &Path, flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pkdns"));
    command.arg("--pkdns-dir").arg(directory).args(flags).env_remove("RUST_LOG");
    command
}

fn run(text: &str, flags: &[&str]) -> Output {
    pkdns(directory_with(text).path(), flags).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn check_exits_0_for_a_sound_configuration() {
    // In a container there is a warning of what listens elsewhere.
    let text_of_file =
        "listen = '127.0.0.1:0'\n[relay]\nenabled = true\n[doh]\nplain_listen = '127.0.0.1:0'\n";
    let output = run(text_of_file, &["--check"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains("the configuration is valid"));
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn check_opens_what_the_configuration_names() {
    let encrypted = "[doh]\nenabled = true\ncert_path = '/nope/cert.pem'\nkey_path = '/nope/key.pem'\n";
    let output = run(encrypted, &["--check"]);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(1), ""));
    let message = text(&output.stderr);
    for option in ["doh.cert_path: /nope/cert.pem: ", "doh.key_path: /nope/key.pem: "] {
        assert!(message.contains(option), "{message}");
    }
}

/// Made for this test, and used nowhere.
const RSA_OF_1024_BITS: &str = "\
-----BEGIN PRIVATE KEY-----\n\
MIICdgIBADANBgkqhkiG9w0BAQEFAASCAmAwggJcAgEAAoGBAMqT/Gd+WKi8LKuE\n\
rvGTsS67Ol959CNQuOHOwwFIUcxzz+nzOx7mtxNwdet3XyW+Oku0w3+Dta6Q3efJ\n\
5V2cv97kx9xdSasm+x6FgNJdkLvqesiyWVIIRLz++LBs+Tjn+eXP3SD1lmiljDVV\n\
GIEgcSh8tVyqrPmEuf2Tp7uAYWlZAgMBAAECgYBaRipDoH037Gtnn8AqLWvW7F5t\n\
77XJCw7oqbAi4Sx6lN2BXv/onF3XTtVtsgt3kVb/J7W7HGGZQjtxMHqDBfhGOzGU\n\
kA/ZZ5R27iC3eMsu+qwSYbwR5/3dgBwnxt9cZOI/VV6yDn+3Ytu9imSjjGXAV/UJ\n\
jWxX96QxK4Apu0BAtQJBAPfdd81jgZInBF4al7ehdBFCxSobnAANr/8JX47cxTrj\n\
az6yXs+lf5+MALrPTh7Ni1l0Fs8KuArn4xC/UIpVt1MCQQDROgWZNpv10AEPvnek\n\
x9ia8oc6hWZDrtrgzWcWljr13PczNUO/CN4hqfu66zS7oB5c8mvwxwPuvDVsrONw\n\
4yMjAkEA46CV1x9c7PW8Axf04QT67KcfHo6Ac2Qejt7yzOZekrgr00ZH3/YjAEi4\n\
mtaq7YriQGJmV/mGDy3pz4WC16fkVQJAD7xeaWyLBEzVl5qKoxEIwHaXJxabX2HK\n\
QngQVcmMu6sXyHksFDUVh9CiByfjem0Le5AcACrnp8/t8LN8E6RxowJANtkf0PhK\n\
zJlKdVBeefEyoUklykdVkClYMpnpSo2XN4yo8Mb9KenY5SrXIg34w2XCf1f+vgvq\n\
np2oqxRnfNmr9g==\n\
-----END PRIVATE KEY-----\n";

#[test]
fn check_says_what_to_do_about_a_key_that_cannot_be_used() {
    let made = || rcgen::generate_simple_self_signed(["dns.example".to_string()]).unwrap();
    let (certificate, other) = (made().cert.pem(), made().signing_key.serialize_pem());
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("cert.pem"), certificate).unwrap();
    let files = format!(
        "[doh]\nenabled = true\ncert_path = '{}'\nkey_path = '{}'\n",
        path("cert.pem").display(),
        path("key.pem").display()
    );
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    for (key, expected) in [
        (RSA_OF_1024_BITS, "make one of ECDSA P-256, Ed25519, or RSA with 2048 bits or more"),
        (&other, "is the key of another certificate: name the one that belongs to it"),
        (
            encrypted,
            "is encrypted with a passphrase, which nobody is there to type: decrypt it with openssl pkey",
        ),
    ] {
        fs::write(path("key.pem"), key).unwrap();
        let output = run(&files, &["--check"]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("doh.key_path: ") && said.contains(expected), "{said}");
    }
}

/// systemd 252 tells what `ExecReload=` runs where the credentials are, and lets it look at none: each reload would fail.
#[test]
fn check_takes_no_credentials_for_missing_that_systemd_keeps_from_it() {
    let directory = directory_with(
        "fallback_ca_path = '$CREDENTIALS_DIRECTORY/ca.pem'\n\
         [doh]\nenabled = true\ncert_path = '$CREDENTIALS_DIRECTORY/cert.pem'\n\
         key_path = '$CREDENTIALS_DIRECTORY/key.pem'\n",
    );
    let check = |credentials: &Path| {
        let mut command = pkdns(directory.path(), &["--check"]);
        let output = command.env("CREDENTIALS_DIRECTORY", credentials).output().unwrap();
        (output.status.code(), text(&output.stderr))
    };
    let (code, said) = check(Path::new("/nope"));
    assert_eq!(code, Some(0), "{said}");
    for options in ["fallback_ca_path: systemd gives", "doh.cert_path and doh.key_path: systemd gives"] {
        assert!(said.contains(options), "{said}");
    }
    // Those that are to be seen are looked at.
    let (code, said) = check(directory.path());
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("cert.pem: No such file"), "{said}");
}

#[test]
fn check_tells_all_mistakes_of_a_file_in_the_words_of_the_format() {
    let output = run("verbose = 1\n[cache]\nmax_entries = -5\n[general]\nsocket = ''\n", &["--check"]);
    let message = text(&output.stderr);
    for part in [
        "pkdns.toml:1: verbose: expected true or false; found 1",
        "pkdns.toml:3: cache.max_entries: expected a whole number from 0; found -5",
        "pkdns.toml:4: there is no option `general` here",
        "write `listen` for `socket`",
    ] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(message.lines().count(), 3, "{message}");
}

#[test]
fn check_exits_1_and_says_where_the_mistake_is() {
    let output = run("\nverbos = true\n", &["--check"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let message = text(&output.stderr);
    assert!(
        message.contains("pkdns.toml:2: there is no option `verbos`; did you mean `verbose`?"),
        "{message}"
    );
    assert_eq!(message.lines().count(), 1, "{message}");
}

#[test]
fn a_server_with_a_mistake_in_its_configuration_does_not_start() {
    for (file, flags) in
        [("listen = []", &[][..]), ("", &["-f", "tls://dns.example"]), ("", &["-c", "/absent.toml"])]
    {
        let output = run(file, flags);
        assert_eq!(output.status.code(), Some(1), "{file} {flags:?}");
        let message = text(&output.stderr);
        assert!(!message.is_empty() && !message.contains("panicked"), "{message}");
    }
}

#[test]
fn the_printed_configuration_loads_again_and_holds_the_flags() {
    let printed = run("[cache]\nttl_seconds = 7\n", &["--print-config", "-v", "-f", "9.9.9.9"]);
    assert_eq!(printed.status.code(), Some(0));
    let first = text(&printed.stdout);
    assert!(
        first.contains("ttl_seconds = 7") && first.contains("9.9.9.9:53") && first.contains("verbose = true")
    );
    assert_eq!(text(&run(&first, &["--print-config"]).stdout), first);
    // It may be the service's that is made of this, which has its socket where systemd says.
    assert!(!first.contains("status.sock"), "{first}");
}

#[test]
fn the_password_of_a_redis_is_never_printed() {
    let with = |url: &str| format!("[cache]\nredis = '{url}'\n");
    let printed = run(&with("redis://me:secret@localhost"), &["--print-config"]);
    let printed = text(&printed.stdout);
    assert!(printed.contains("redis = \"redis://me:***@localhost:6379\""), "{printed}");
    // A file made of it does not start a server that cannot log in.
    let (masked, mistyped) =
        (run(&printed, &["--check"]), run(&with("redis://secret@localhost"), &["--check"]));
    for (output, advice) in [(masked, "write the password"), (mistyped, "write the login as")] {
        assert_eq!(output.status.code(), Some(1));
        let message = text(&output.stderr);
        assert!(message.contains("cache.redis: ") && message.contains(advice), "{message}");
        assert!(!message.contains("secret"), "{message}");
    }
}

#[test]
fn help_and_version_are_not_errors() {
    for flag in ["--help", "--version"] {
        let output = run("", &[flag]);
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output.stdout).contains("pkdns"));
    }
}

#[test]
fn a_manual_page_is_written_for_the_server_and_for_each_of_its_commands() {
    let directory = tempfile::tempdir().unwrap();
    let pages = directory.path().join("man/man1");
    let output = pkdns(directory.path(), &["man", "--out", &pages.to_string_lossy()]).output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
    let mut names: Vec<_> = fs::read_dir(&pages)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["pkdns-completions.1", "pkdns-man.1", "pkdns-status.1", "pkdns.1"]);
    let printed = text(&run("", &["man"]).stdout);
    assert_eq!(printed, fs::read_to_string(pages.join("pkdns.1")).unwrap());
    for expected in ["pkdns\\-status(1)", "\\-\\-testnet", "\\-\\-print\\-config"] {
        assert!(printed.contains(expected), "{expected}: {printed}");
    }
    assert!(!printed.contains("help(1)"), "there is no such page: {printed}");
}

#[test]
fn a_manual_that_cannot_be_written_is_an_error_that_names_its_place() {
    let output = run("", &["man", "--out", "/dev/null/man1"]);
    assert_eq!(output.status.code(), Some(1));
    let message = text(&output.stderr);
    assert!(message.contains("/dev/null/man1") && message.contains("choose a directory"), "{message}");
}

#[test]
fn every_shell_completes_the_flags_of_the_server() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = run("", &["completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{shell}");
        let completions = text(&output.stdout);
        assert!(
            completions.contains("print-config") && completions.contains("status"),
            "{shell}: {completions}"
        );
    }
}

/// Starts the server and reads its log until it serves signals.
fn start(directory: &Path) -> (Killed, impl Iterator<Item = String>) {
    let mut server = Killed(pkdns(directory, &[]).stderr(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(server.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("configured by")), "the server ended");
    (server, lines)
}

#[test]
fn sigterm_and_ctrl_c_end_with_exit_code_0() {
    for signal in ["TERM", "INT"] {
        let directory = directory_with(QUIET);
        let (mut server, lines) = start(directory.path());
        server.signal(signal);
        let log: Vec<_> = lines.collect();
        assert_eq!(server.wait().unwrap().code(), Some(0), "{log:?}");
        assert!(log.iter().any(|line| line.contains(&format!("SIG{signal}"))), "{log:?}");
    }
}

#[test]
fn sighup_leaves_the_server_running_and_says_what_it_did() {
    let directory = directory_with(QUIET);
    let (mut server, mut lines) = start(directory.path());
    server.signal("HUP");
    assert!(lines.any(|line| line.contains("reloaded: nothing has changed")), "the server ended");
    server.signal("TERM");
    let log: Vec<_> = lines.collect();
    assert_eq!(server.wait().unwrap().code(), Some(0), "{log:?}");
}

#[test]
fn a_server_whose_log_nobody_reads_any_more_goes_on() {
    let directory = directory_with(QUIET);
    let (mut server, lines) = start(directory.path());
    // Closes the pipe: what is written there is an error from now on.
    drop(lines);
    for signal in ["HUP", "HUP", "TERM"] {
        server.signal(signal);
    }
    assert_eq!(server.wait().unwrap().code(), Some(0));
}

/// An upstream that says of every name that it has no such record.
fn upstream() -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut message = [0; 4096];
        while let Ok((size, peer)) = socket.recv_from(&mut message) {
            (message[2], message[3]) = (0x81, 0x80);
            let _ = socket.send_to(&message[..size], peer);
        }
    });
    address
}

fn connect_from(client: Ipv4Addr, server: SocketAddr) -> Option<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((client, 0)).into()).unwrap();
    socket.connect(&server.into()).ok()?;
    Some(socket.into())
}

/// Each with half a query, so that it is waited for.
fn take_what_there_is(server: SocketAddr) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for host in 0..600 {
        // By turns one that is denied and one that is not.
        let client = Ipv4Addr::new(127, 0, 1 + host as u8 % 2, 1 + (host / 2 % 20) as u8);
        if let Some(mut stream) = connect_from(client, server) {
            let _ = stream.write_all(&[0, 30]);
            held.push(stream);
        }
    }
    held
}

#[test]
fn names_are_looked_up_whatever_connections_strangers_and_clients_open() {
    const LIMIT: usize = 300;
    let text = format!(
        "listen = '127.0.0.1:0'\nfallback_dns = '{}'\n[dht]\nenabled = false\n[access]\ndeny = '127.0.1.0/24'\n",
        upstream()
    );
    let directory = directory_with(&text);
    let command = pkdns(directory.path(), &[]);
    let mut limited = Command::new("sh");
    limited.arg("-c").arg(format!("ulimit -n {LIMIT}; exec \"$0\" \"$@\"")).arg(command.get_program());
    limited.args(command.get_args()).env_remove("RUST_LOG").stderr(Stdio::piped());
    let mut server = Killed(limited.spawn().unwrap());
    let mut lines = BufReader::new(server.stderr.take().unwrap()).lines().map_while(Result::ok);
    let mut is_said = false;
    let address: SocketAddr = lines
        .find_map(|line| {
            is_said |= line.contains("may open 300 files") && line.contains("LimitNOFILE");
            line.split("listening tcp ").nth(1)?.parse().ok()
        })
        .unwrap();
    assert!(is_said, "fewer connections than wished for are said in the log");
    let log = thread::spawn(move || lines.collect::<Vec<_>>());
    let held = take_what_there_is(address);
    let open = || fs::read_dir(format!("/proc/{}/fd", server.id())).map(Iterator::count);
    wait::until_or_show(|| open().is_ok_and(|open| open > LIMIT / 4), open);
    let socket = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, 200), 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut codes = Vec::new();
    for name in b'a'..b'f' {
        let question = [&[7, name, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, name, 7], &b"example\0\0\x01\0\x01"[..]];
        socket.send_to(&question.concat(), address).unwrap();
        let mut reply = [0; 512];
        socket.recv(&mut reply).unwrap();
        codes.push(reply[3] & 0x0f);
    }
    let open = open().unwrap();
    drop(held);
    server.signal("TERM");
    let log = log.join().unwrap();
    assert_eq!(codes, [0; 5], "{log:?}");
    assert!(open < LIMIT, "{open} of {LIMIT} descriptors");
    assert!(!log.iter().any(|line| line.contains("does not answer")), "{log:?}");
}
