//! Reloads and hand-overs of the same server: whoever comes next gets what is listened on now.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use pkdns_testing::{
    programs::find,
    upgrade::{
        clients::{ask_over_tcp, ask_over_udp},
        server::{Place, Server, send},
    },
};

use super::{
    PATIENCE,
    activation::{ALONE, Manager, activated, free_port},
};

/// An address that is not answered for so long is served by nobody, or by somebody who is very busy.
const MOMENT: Duration = Duration::from_millis(500);

fn answers(address: SocketAddr, name: &str) -> bool {
    ask_over_udp(address, &format!("u{name}.load.lan"), PATIENCE)
        && ask_over_tcp(address, &format!("t{name}.load.lan"))
}

#[test]
fn a_successor_serves_what_reloads_have_left_and_takes_reloads_itself() {
    let place = Place::with(&format!("listen = '127.0.0.1:0'\n{ALONE}"));
    let path = place.path().join("notify");
    let manager = Manager::new(&path);
    let mut command = place.command();
    command.env("NOTIFY_SOCKET", &path);
    let mut server = Server::start(command);
    let first = server.log.address("udp");
    manager.hear("READY=1");
    // An address more.
    place.configure(&format!("listen = ['127.0.0.1:0', '127.0.0.2:0']\n{ALONE}"));
    server.send("HUP");
    manager.hear("RELOADING=1");
    let ready = manager.hear("READY=1");
    let second = server.log.wait_for("listening udp 127.0.0.2:");
    let second: SocketAddr = second.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(ready.contains(&second.to_string()), "{ready}");
    assert!(answers(first, "1") && answers(second, "2"));
    let successor = server.upgrade();
    assert!(server.wait().success(), "{:#?}", server.log.lines());
    manager.hear("STATUS=starting a successor");
    manager.hear("MAINPID=");
    manager.hear("READY=1");
    assert!(answers(first, "3") && answers(second, "4"), "{:#?}", server.log.lines());
    // An address less, which the one after that does not get.
    place.configure(&format!("listen = '127.0.0.2:0'\n{ALONE}"));
    send("HUP", successor);
    server.log.wait_for(&format!("no longer listening udp and tcp {first}"));
    manager.hear("RELOADING=1");
    manager.hear("READY=1");
    send("USR2", successor);
    let last = server.log.wait_for_successor(2);
    assert!(answers(second, "5"), "{:#?}", server.log.lines());
    // A thread for UDP hears of its stop in a moment.
    let end = Instant::now() + PATIENCE;
    while ask_over_udp(first, "u6.load.lan", MOMENT) {
        assert!(Instant::now() < end, "{:#?}", server.log.lines());
    }
    let lines = server.log.lines();
    assert!(!lines.iter().any(|line| line.contains("handed over and is closed")), "{lines:#?}");
    send("TERM", last);
    server.log.wait_for_end();
}

#[test]
fn a_reload_keeps_what_a_service_manager_has_assigned() {
    let Some(program) = find("systemd-socket-activate", |_| true, "systemd") else { return };
    let port = free_port();
    let place = Place::with(&format!("listen = '127.0.0.1:0'\n{ALONE}"));
    let mut server = activated(&program, port, "dns", &place);
    server.log.wait_for("Listening on");
    let address = ([127, 0, 0, 1], port).into();
    assert!(answers(address, "1"), "{:#?}", server.log.lines());
    place.configure(&format!("listen = '127.0.0.2:0'\nmetrics.listen = '127.0.0.1:0'\n{ALONE}"));
    server.send("HUP");
    server.log.wait_for("listening metrics");
    assert!(answers(address, "2"), "{:#?}", server.log.lines());
    let successor = server.upgrade();
    assert!(server.wait().success());
    assert!(answers(address, "3"), "{:#?}", server.log.lines());
    let lines = server.log.lines();
    let is_wrong = |line: &&String| line.contains("no longer") || line.contains("udp 127.0.0.2");
    assert_eq!(lines.iter().find(is_wrong), None);
    send("TERM", successor);
    server.log.wait_for_end();
}
