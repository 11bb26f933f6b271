//! The server as a program. Reads flags and the configuration file, starts the logs, and serves until it is
//! told to stop.
//!
//! Exits with 0 after a clean stop and with 1 when something is wrong with the flags, the configuration or the start.

use std::{
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{self, ExitCode},
    sync::Arc,
    time::Duration,
};

use clap::Parser;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use pkdns_dht::internal::internet_of_tests;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    arguments::{Action, Arguments, Description, Settings, StatusForm, StatusRequest},
    reloading::{CommandLine, Reloading},
    server::{FileFaults, Server, check_files, open_container},
    shell::{ManualPage, completions, manual_pages},
    succession::Origin,
    telemetry::{self, Priority, Verbosity, leads_to_journal, mark},
    testnet_mode::TestnetMode,
    upgrade::Attendant,
};
use crate::edge::{
    status::{AskError, Status, ask, table},
    transport::Inherited,
};

/// How long threads that block may take to come to an end after the server has.
const LONGEST_END: Duration = Duration::from_millis(500);

/// The program: its arguments are those of the process.
pub fn run() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are not errors. Nobody is left to tell when the terminal is gone.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    if env::var_os(internet_of_tests::VARIABLE).is_some_and(|value| value == "1") {
        internet_of_tests::switch_on();
    }
    let home = env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    // Of several, as systemd writes them, the first.
    let runtime = env::var("RUNTIME_DIRECTORY").ok();
    let runtime = runtime.as_deref().and_then(|paths| paths.split(':').next());
    let runtime = runtime.filter(|path| !path.is_empty()).map(PathBuf::from);
    let acted = if let Some(description) = arguments.describe(home.as_deref()) {
        describe(description)
    } else if let Some(request) = arguments.status(home.as_deref(), runtime.as_deref()) {
        show_status(&request)
    } else {
        let command_line = CommandLine { arguments, home, runtime };
        let settled = command_line.clone().settle().map_err(Into::into);
        settled.and_then(|settings| act(settings, command_line))
    };
    match acted {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let said = as_errors(&error.to_string());
            let said =
                if leads_to_journal() { mark(Priority::Error, said.as_bytes()) } else { said.into_bytes() };
            // Nobody is left to tell when the terminal is gone.
            let _ = io::stderr().write_all(&said);
            ExitCode::FAILURE
        }
    }
}

/// One error on each line, as clap writes those of the command line. Indented lines go on with the one above them.
fn as_errors(text: &str) -> String {
    let lines = text.lines().map(|line| match line.starts_with(' ') || line.is_empty() {
        true => format!("{line}\n"),
        false => format!("error: {line}\n"),
    });
    lines.collect()
}

fn act(settings: Settings, command_line: CommandLine) -> Result<(), Box<dyn std::error::Error>> {
    match settings.action {
        Action::Check => {
            let FileFaults { mistakes, warnings } = check_files(&settings.config);
            for warning in warnings_of(&settings).iter().chain(&warnings) {
                writeln!(io::stderr(), "warning: {warning}")?;
            }
            if !mistakes.is_empty() {
                return Err(mistakes.join("\n").into());
            }
            print(&format!("{}: the configuration is valid\n", settings.source))
        }
        Action::Print => print(&toml::to_string_pretty(&settings.config)?),
        Action::PrintCommented => print(&settings.config.commented()),
        Action::Serve => {
            let verbosity = telemetry::start(&settings.config.log, settings.config.verbose);
            // Before the runtime has threads.
            let origin = Origin::find()?;
            block_on(serve(settings, command_line, verbosity, origin))?
        }
    }
}

/// Tells shells and manuals of the command line.
fn describe(description: Description) -> Result<(), Box<dyn std::error::Error>> {
    let command = Arguments::description();
    let directory = match description {
        Description::Completions(shell) => return print(&completions(&command, shell)),
        Description::Manual { directory } => directory,
    };
    let pages = manual_pages(&command)?;
    let Some(directory) = directory else {
        return pages.first().map_or(Ok(()), |page| print(&page.text));
    };
    let failed = |path: &Path, error: io::Error| {
        format!("cannot write {}: {error}; choose a directory that this user may write to", path.display())
    };
    fs::create_dir_all(&directory).map_err(|error| failed(&directory, error))?;
    for ManualPage { file_name, text } in pages {
        let path = directory.join(file_name);
        fs::write(&path, text).map_err(|error| failed(&path, error))?;
    }
    Ok(())
}

/// Asks a server that runs.
fn show_status(request: &StatusRequest) -> Result<(), Box<dyn std::error::Error>> {
    let (document, status) = ask_one_of(&request.sockets)?;
    match request.form {
        StatusForm::Json => print(&document),
        StatusForm::Table => print(&table(&status)),
        StatusForm::Ready if status.ready => print("ready\n"),
        StatusForm::Ready => Err(format!("not ready\n  {}", status.missing.join("\n  ")).into()),
    }
}

/// The first that answers. If none does, why the first one did not.
fn ask_one_of(sockets: &[PathBuf]) -> Result<(String, Status), Box<dyn std::error::Error>> {
    let mut first = None;
    for socket in sockets {
        match ask(socket) {
            Err(error @ (AskError::Absent(_) | AskError::NobodyThere(_))) => {
                first.get_or_insert(error);
            }
            answered => return Ok(answered?),
        }
    }
    Err(first.map_or_else(
        || "status.path is empty in the configuration, so that no status is to be had".into(),
        Into::into,
    ))
}

/// Runs the server to its end. What blocks a thread is not waited for without end: the system's resolver, which looks for
/// a Redis by its name, may be asking the very server that has just stopped. Whatever must be on disk is there.
fn block_on<T>(serving: impl Future<Output = T>) -> io::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(serving);
    runtime.shutdown_timeout(LONGEST_END);
    Ok(outcome)
}

/// Those of the configuration, and of where it is served.
pub(super) fn warnings_of(settings: &Settings) -> Vec<String> {
    settings.warnings().into_iter().chain(open_container(&settings.config)).collect()
}

/// Writes to stdout. A reader that has seen enough, as in `pkdns --print-config | head`, is not an error.
fn print(text: &str) -> Result<(), Box<dyn std::error::Error>> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

async fn serve(
    settings: Settings,
    command_line: CommandLine,
    verbosity: Verbosity,
    origin: Origin,
) -> Result<(), Box<dyn std::error::Error>> {
    let shutdown = CancellationToken::new();
    Signals::new()?.watch(shutdown.clone());
    // From the start: who does not wait for these is ended by them. One that comes before the server runs is heard when it
    // does.
    let (hangup, upgrade) = (signal(SignalKind::hangup())?, signal(SignalKind::user_defined2())?);
    raise_descriptor_limit();
    info!("pkdns {}, configured by {}", env!("CARGO_PKG_VERSION"), settings.source);
    for warning in warnings_of(&settings) {
        warn!("{warning}");
    }
    if let Some(served) = settings.config.served() {
        info!("{served}");
    }
    let mut config = settings.config.clone();
    let testnet_mode = match settings.testnet {
        true => {
            let Settings { unsaid, sample_upstream, .. } = settings;
            let home = command_line.home.clone();
            Some(Arc::new(TestnetMode::start(&mut config, unsaid, sample_upstream, home).await?))
        }
        false => None,
    };
    let Origin { predecessor, heirlooms } = origin;
    if let Some(predecessor) = &predecessor {
        // What keeps us from starting does not disturb the process that serves.
        let FileFaults { mistakes, .. } = check_files(&config);
        if !mistakes.is_empty() {
            return Err(mistakes.join("\n").into());
        }
        predecessor.ask_for_files()?;
    }
    let server = Server::bind_with_inherited(config.clone(), Inherited::new(heirlooms))
        .map_err(|error| if testnet_mode.is_some() { TestnetMode::explain(error) } else { error.into() })?;
    if let Some(testnet_mode) = &testnet_mode {
        let stored = testnet_mode.publish().await?;
        print(&testnet_mode.introduction(&server, &config, stored))?;
    }
    let handle = server.reload_handle();
    let reloading = Reloading::new(command_line, &settings, handle, verbosity, testnet_mode.clone(), hangup);
    let obstacle = match (settings.testnet, process::id()) {
        (true, _) => Some("a testnet ends with its process, so that no other can take its place"),
        (_, 1) => {
            Some("a container ends with its first process, so that no other can take its place: restart it")
        }
        _ => None,
    };
    let attendant =
        Attendant::new(upgrade, reloading, server.control(), shutdown.clone(), obstacle, &server.addresses());
    tokio::spawn(attendant.attend(predecessor));
    server.run(shutdown).await;
    info!("stopped");
    Ok(())
}

/// Connections and questions to upstreams hold a descriptor each, up to some thousands; the usual soft limit is 1024.
fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map(|()| hard));
    match raised {
        Ok(limit) => debug!("up to {limit} open files"),
        Err(error) => warn!("the limit of open files stays as it is: {error}"),
    }
}

/// The signals that end this program.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Stops the server at the first SIGTERM or SIGINT, and the process at the second.
    fn watch(mut self, shutdown: CancellationToken) {
        tokio::spawn(async move {
            loop {
                let name = tokio::select! {
                    _ = self.terminate.recv() => "SIGTERM",
                    _ = self.interrupt.recv() => "SIGINT",
                };
                if shutdown.is_cancelled() {
                    warn!("{name} again: exiting without waiting for answers");
                    process::exit(1);
                }
                info!("{name}: answering what is in flight, then exiting");
                shutdown.cancel();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    };

    use super::*;

    #[test]
    fn each_mistake_begins_as_an_error_of_the_command_line_does() {
        assert_eq!(
            as_errors("a.toml:1: wrong\na.toml:2: wrong\n  try this"),
            "error: a.toml:1: wrong\nerror: a.toml:2: wrong\n  try this\n"
        );
    }

    #[test]
    fn a_thread_that_blocks_does_not_hold_up_the_end() {
        let has_ended = Arc::new(AtomicBool::new(false));
        let (release, released) = mpsc::channel::<()>();
        let blocking = has_ended.clone();
        block_on(async {
            let (started, running) = tokio::sync::oneshot::channel();
            tokio::task::spawn_blocking(move || {
                let _ = started.send(());
                // As a host name that nobody resolves; with an end, so that a mistake is a failure and not a hang.
                let _ = released.recv_timeout(Duration::from_secs(20));
                blocking.store(true, Ordering::SeqCst);
            });
            running.await.unwrap();
        })
        .unwrap();
        assert!(!has_ended.load(Ordering::SeqCst), "the end waited for it");
        drop(release);
    }
}
