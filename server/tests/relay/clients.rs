//! Clients of others: each publishes through this server, a question to the server is answered from that, and each
//! resolves what another one has published. In front of a real DHT on loopback.

use std::{
    env,
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use pkdns_testing::{process::Killed, programs};
use tokio::task::spawn_blocking;

use super::{world::World, *};

/// Longest that a client may take for everything.
const PATIENCE: Duration = Duration::from_secs(60);

const PAUSE: Duration = Duration::from_millis(10);

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../testing/interop/relay_client.js");

/// Where CONTRIBUTING.md installs and builds them.
const INSTALLED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/interop");

/// A program that takes the relay, `publish TEXT` or `resolve KEY`.
struct Client {
    program: PathBuf,
    arguments: Vec<String>,
    /// Where it writes its text.
    label: &'static str,
    record_type: RecordType,
}

impl Client {
    /// `None`: it is not there, and that is to be accepted.
    fn of_rust(name: &str) -> Option<Self> {
        let program = rust_program(name)?;
        Some(Self { program, arguments: Vec::new(), label: "_text", record_type: RecordType::TXT })
    }

    fn of_npm(name: &str, label: &'static str, record_type: RecordType) -> Option<Self> {
        let modules = Path::new(INSTALLED).join("node_modules");
        let is_installed = modules.join("pkarr/package.json").is_file();
        let package = "Debian's nodejs, and the packages of npm as CONTRIBUTING.md says";
        let program = programs::find("node", |_| is_installed, package)?;
        let modules = modules.canonicalize().unwrap().to_str().unwrap().to_owned();
        Some(Self { program, arguments: vec![SCRIPT.into(), modules, name.into()], label, record_type })
    }

    async fn run(&self, relay: &str, command: &str, argument: &str) -> String {
        let arguments = self.arguments.iter().map(String::as_str).chain([relay, command, argument]);
        run(&self.program, &arguments.collect::<Vec<_>>()).await
    }
}

fn rust_program(name: &str) -> Option<PathBuf> {
    let program = format!("{INSTALLED}/cargo/debug/{name}");
    programs::find(&program, |_| true, "the relay clients as CONTRIBUTING.md says")
}

/// What it prints, without the end of the last line.
pub(crate) async fn run(program: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    // Everything is on loopback, whatever the machine has for the rest.
    for proxy in env::vars().map(|(name, _)| name).filter(|name| name.to_lowercase().ends_with("_proxy")) {
        command.env_remove(proxy);
    }
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut program = Killed(command.spawn().unwrap());
    let (output, errors) = (program.stdout.take().unwrap(), program.stderr.take().unwrap());
    let (output, errors) = (spawn_blocking(|| text_of(output)), spawn_blocking(|| text_of(errors)));
    let end = async {
        loop {
            match program.try_wait().unwrap() {
                Some(status) => return status,
                None => sleep(PAUSE).await,
            }
        }
    };
    let status = timeout(PATIENCE, end).await.unwrap_or_else(|_| panic!("{command:?} does not end"));
    let (output, errors) = (output.await.unwrap(), errors.await.unwrap());
    assert!(status.success(), "{command:?}: {errors}");
    output.trim_end().to_owned()
}

fn text_of(mut pipe: impl Read) -> String {
    let mut text = Vec::new();
    pipe.read_to_end(&mut text).unwrap();
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_each_client_publishes_is_answered_and_found_by_each_of_its_kind() {
    let clients = [
        Client::of_rust("pkarr_8"),
        Client::of_rust("pkarr_3"),
        Client::of_npm("pkarr", "_text", RecordType::TXT),
        Client::of_npm("pubky", "_pubky", RecordType::HTTPS),
    ];
    let clients: Vec<_> = clients.into_iter().flatten().collect();
    let world = World::start().await;
    // The text has to do for the Pubky SDK, which publishes keys.
    for (seed, publisher) in clients.iter().enumerate() {
        let text = keypair(seed as u8 + 1).to_z32();
        let key = publisher.run(&world.url(), "publish", &text).await;
        let answer = world.resolve(&format!("{}.{key}", publisher.label), publisher.record_type).await;
        assert!(answer.contains(&text), "{answer} of {}", publisher.program.display());
        for reader in clients.iter().filter(|reader| reader.label == publisher.label) {
            assert_eq!(reader.run(&world.url(), "resolve", &key).await, text);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_of_iroh_find_each_other_through_the_relay_and_through_dns() {
    let Some(iroh) = rust_program("iroh") else { return };
    let world = World::start().await;
    let (relay, dns) = (format!("{}/pkarr", world.url()), world.server.address.to_string());
    let key = run(&iroh, &[&relay, &dns, "key"]).await;
    let answer = world.resolve(&format!("_iroh.{key}.key"), RecordType::TXT).await;
    assert!(answer.contains("addr="), "{answer}");
}
