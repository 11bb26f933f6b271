//! Sockets that a service manager has bound, and what it is told.

use std::{
    fs,
    net::{TcpListener, UdpSocket},
    os::unix::net::UnixDatagram,
    path::Path,
    process::Command,
    time::Instant,
};

use pkdns_testing::{
    programs::find,
    upgrade::{
        clients::{ask_over_tcp, ask_over_udp},
        server::{Place, Server, send},
    },
};

use super::PATIENCE;

/// Answers without asking anybody.
pub(crate) const ALONE: &str =
    "fallback_dns = '127.0.0.1:9'\nlocal.records = ['*.load.lan A 192.0.2.1']\n[dht]\nenabled = false\n";

/// A port that nobody has, for UDP and TCP, just now.
pub(crate) fn free_port() -> u16 {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        if UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// systemd's own program binds the sockets, UDP and TCP in one process each, and runs pkdns at the first query.
pub(crate) fn activated(program: &Path, port: u16, name: &str, place: &Place) -> Server {
    let address = format!("127.0.0.1:{port}");
    let name = format!("--fdname={name}");
    let mut command = Command::new(program);
    command
        .args(["--datagram", "--listen", &address, &name])
        .arg(program)
        .args(["--listen", &address, &name]);
    command.arg(place.program()).arg("--pkdns-dir").arg(place.path()).env_remove("NOTIFY_SOCKET");
    Server::spawn(command)
}

#[test]
fn sockets_of_systemd_are_served_by_their_address_or_by_their_name() {
    let Some(program) = find("systemd-socket-activate", |_| true, "systemd") else { return };
    // By the address, whatever the name is; and by the name, whatever the configuration says.
    for name in ["pkdns.socket", "dns"] {
        let port = free_port();
        let listen = if name == "dns" { "127.0.0.1:0".into() } else { format!("127.0.0.1:{port}") };
        let place = Place::with(&format!("listen = '{listen}'\n{ALONE}"));
        let mut server = activated(&program, port, name, &place);
        server.log.wait_for("Listening on");
        // What came before pkdns did is answered.
        let address = ([127, 0, 0, 1], port).into();
        assert!(ask_over_udp(address, "first.load.lan", PATIENCE), "{:#?}", server.log.lines());
        assert!(ask_over_tcp(address, "second.load.lan"));
        assert_eq!(server.log.address("udp"), address);
        server.send("TERM");
        assert!(server.wait().success());
        let lines = server.log.lines();
        assert!(!lines.iter().any(|line| line.contains("handed over")), "{lines:#?}");
    }
}

#[test]
fn a_socket_that_is_of_no_use_is_closed_and_named() {
    let Some(program) = find("systemd-socket-activate", |_| true, "systemd") else { return };
    let port = free_port();
    let place = Place::with(&format!("listen = '127.0.0.1:0'\n{ALONE}"));
    let mut server = activated(&program, port, "other", &place);
    server.log.wait_for("Listening on");
    // Wakes it, and is lost.
    assert!(!ask_over_udp(
        ([127, 0, 0, 1], port).into(),
        "first.load.lan",
        std::time::Duration::from_millis(100)
    ));
    for protocol in ["udp", "tcp"] {
        server.log.wait_for(&format!(
            "the socket `other`, {protocol} 127.0.0.1:{port}, was handed over and is closed"
        ));
    }
    assert!(ask_over_udp(server.log.address("udp"), "second.load.lan", PATIENCE));
    server.send("TERM");
    assert!(server.wait().success());
}

/// A service manager that listens to what is said to it.
pub(crate) struct Manager(UnixDatagram);

impl Manager {
    pub(crate) fn new(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    /// The next message with `part` in it. Signs of life are told apart from all else.
    pub(crate) fn hear(&self, part: &str) -> String {
        let (mut message, end) = ([0; 4096], Instant::now() + PATIENCE);
        loop {
            let size = self.0.recv(&mut message).unwrap_or_else(|error| panic!("{error}: no `{part}`"));
            let text = String::from_utf8_lossy(&message[..size]).into_owned();
            if text.contains(part) {
                return text;
            }
            assert!(text.starts_with("WATCHDOG=1") && Instant::now() < end, "no `{part}` but {text}");
        }
    }
}

#[test]
fn the_manager_hears_when_it_is_ready_alive_succeeded_and_stopping() {
    let place = Place::with(&format!("listen = '127.0.0.1:0'\n{ALONE}"));
    let path = place.path().join("notify");
    let manager = Manager::new(&path);
    let mut command = place.command();
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "400000");
    let mut server = Server::start(command);
    let ready = manager.hear("READY=1");
    assert!(ready.contains(&format!("STATUS=answering on {}", server.log.address("udp"))), "{ready}");
    for _ in 0..3 {
        manager.hear("WATCHDOG=1");
    }
    server.send("USR2");
    manager.hear("STATUS=starting a successor");
    let main = manager.hear("MAINPID=");
    let successor: u32 = main.trim().strip_prefix("MAINPID=").unwrap().parse().unwrap();
    assert_ne!(successor, server.id());
    manager.hear("READY=1");
    assert!(server.wait().success());
    // Of the successor, as the other has gone.
    manager.hear("WATCHDOG=1");
    send("TERM", successor);
    manager.hear("STOPPING=1");
    server.log.wait_for_end();
}

#[test]
fn a_certificate_that_is_a_credential_is_found() {
    let place = Place::with("");
    let made = rcgen::generate_simple_self_signed(["localhost".to_string()]).unwrap();
    let credentials = place.path().join("credentials");
    fs::create_dir(&credentials).unwrap();
    fs::write(credentials.join("cert.pem"), made.cert.pem()).unwrap();
    fs::write(credentials.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    place.configure(&format!(
        "listen = '127.0.0.1:0'\n{ALONE}[doh]\nenabled = true\nlisten = '127.0.0.1:0'\n\
         cert_path = '$CREDENTIALS_DIRECTORY/cert.pem'\nkey_path = '$CREDENTIALS_DIRECTORY/key.pem'\n"
    ));
    let check = |directory: Option<&Path>| {
        let mut command = place.command();
        command.arg("--check").env_remove("CREDENTIALS_DIRECTORY");
        let output = command.envs(directory.map(|path| ("CREDENTIALS_DIRECTORY", path))).output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let (is_valid, said) = check(None);
    assert!(is_valid && said.contains("LoadCredential="), "{said}");
    let (is_valid, said) = check(Some(&credentials));
    assert!(is_valid && !said.contains("LoadCredential="), "{said}");
    let mut command = place.command();
    command.env("CREDENTIALS_DIRECTORY", &credentials);
    let server = Server::start(command);
    server.log.wait_for("listening https");
}
