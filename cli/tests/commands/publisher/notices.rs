//! What a service manager is told, through a socket as systemd's.

use std::{
    os::unix::net::UnixDatagram,
    path::PathBuf,
    sync::mpsc::{Receiver, channel},
    thread,
    time::Instant,
};

use pkdns_testing::{process::Process, program};

use super::{LIMIT, World, world};

const CONFIG: &str = "state = 'state'\n[[identity]]\nseed = 'seed'\nrecords = '@ 300 A 192.0.2.1'\n";

/// A service manager that wants to hear every second that the service is alive.
struct Manager {
    notices: Receiver<String>,
    path: PathBuf,
    heard: Vec<String>,
}

impl Manager {
    fn new(world: &World) -> Self {
        let path = world.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let (sender, notices) = channel();
        // As systemd does, it listens all the time: whoever is not listened to waits.
        thread::spawn(move || {
            let mut notice = [0; 4096];
            while let Ok(size) = socket.recv(&mut notice) {
                if sender.send(String::from_utf8(notice[..size].to_vec()).unwrap()).is_err() {
                    return;
                }
            }
        });
        Self { notices, path, heard: Vec::new() }
    }

    fn start(&self, world: &World, arguments: &[&str]) -> Process {
        self.start_command(world.command(arguments))
    }

    fn start_command(&self, mut command: std::process::Command) -> Process {
        command.env("NOTIFY_SOCKET", &self.path).env("WATCHDOG_USEC", "1000000").env_remove("WATCHDOG_PID");
        Process::start(command)
    }

    /// The next notice with this line in it.
    #[track_caller]
    fn wait_for(&mut self, line: &str) -> String {
        let end = Instant::now() + LIMIT;
        loop {
            let rest = end.saturating_duration_since(Instant::now());
            let Ok(notice) = self.notices.recv_timeout(rest) else {
                panic!("no {line} among {:#?}", self.heard);
            };
            self.heard.push(notice.clone());
            if notice.lines().any(|told| told == line) {
                return notice;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_manager_is_told_that_serve_is_ready_alive_reloading_and_stopping() {
    let world = world().await;
    world.file("publisher.toml", CONFIG);
    let mut manager = Manager::new(&world);
    let mut publisher = manager.start(&world, &["serve"]);
    manager.wait_for("READY=1");
    manager.wait_for("STATUS=1 of 1 zones published");
    for _ in 0..3 {
        manager.wait_for("WATCHDOG=1");
    }
    publisher.signal("HUP");
    let reloading = manager.wait_for("RELOADING=1");
    // Of the clock that sd_notify(3) names, without which systemd does not believe it.
    assert!(reloading.contains("\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(manager.wait_for("READY=1").trim_end(), "READY=1\nSTATUS=1 of 1 zones published");
    publisher.wait_for("read again");
    world.file("publisher.toml", "nonsense");
    manager.wait_for("RELOADING=1");
    let ready = manager.wait_for("READY=1");
    assert!(
        ready.contains("STATUS=1 of 1 zones published; going on as before: ") && ready.contains("line 1"),
        "{ready}"
    );
    publisher.signal("TERM");
    manager.wait_for("STOPPING=1");
    assert_eq!(publisher.wait(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_manager_is_told_what_a_watch_has_done() {
    let world = world().await;
    world.file("zone", "@ 300 A 192.0.2.1\n");
    let mut manager = Manager::new(&world);
    let publisher = manager.start(&world, &["publish", "seed", "zone", "--watch"]);
    let ready = manager.wait_for("READY=1");
    assert!(ready.contains("STATUS=published on ") && ready.contains("; again in 5"), "{ready}");
    manager.wait_for("WATCHDOG=1");
    publisher.signal("TERM");
    manager.wait_for("STOPPING=1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_without_a_network_has_started_and_says_what_it_waits_for() {
    let world = world().await;
    world.file("zone", "@ 300 A 192.0.2.1\n");
    let mut manager = Manager::new(&world);
    // A service manager that waits for the start of this would hold up others, or end it.
    let mut publisher = manager.start_command(program::command(
        world.path(),
        &["--bootstrap", "127.0.0.1:9", "publish", "seed", "zone", "--watch"],
    ));
    let ready = manager.wait_for("READY=1");
    assert!(ready.contains("could not be joined") && ready.contains("; again in "), "{ready}");
    publisher.wait_for("trying again in ");
    publisher.wait_for("trying again in ");
    assert_eq!(publisher.stop(), Some(0));
}
