//! The configuration taken anew while the server runs: at SIGHUP, and where the file says so when it changes.

use std::{
    io,
    path::PathBuf,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use tokio::{signal::unix::Signal, sync::mpsc, task::spawn_blocking};
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use super::{
    arguments::{Arguments, Settings, Source},
    run::warnings_of,
    server::{ReloadHandle, Reloaded},
    service_manager,
    telemetry::Verbosity,
    testnet_mode::TestnetMode,
};
use crate::base::{
    config::{Config, ConfigError},
    watched_files,
};

/// Larger files are refused by whoever reads them as a configuration.
const MAX_FILE_SIZE: u64 = 1 << 20;

/// The command line, which wins over the file each time that it is read.
#[derive(Debug, Clone)]
pub(super) struct CommandLine {
    pub(super) arguments: Arguments,
    pub(super) home: Option<PathBuf>,
    /// The directory that systemd gives for sockets.
    pub(super) runtime: Option<PathBuf>,
}

/// What takes the configuration anew.
pub(super) struct Reloading {
    command_line: CommandLine,
    handle: ReloadHandle,
    verbosity: Verbosity,
    testnet_mode: Option<Arc<TestnetMode>>,
    hangup: Signal,
    /// As it was taken last, also where it was refused.
    last: Config,
    file: PathBuf,
    /// A file that was there and is gone is a mistake. Without one at the start, the defaults are meant.
    is_file_there: bool,
    /// Told when the file is to be looked at.
    changes: (mpsc::Sender<()>, mpsc::Receiver<()>),
    /// Looks for changes of the file, where that is wanted.
    watch: Option<AbortOnDropHandle<()>>,
}

impl CommandLine {
    /// What the flags and the file ask for now. Blocks on the file.
    pub(super) fn settle(self) -> Result<Settings, ConfigError> {
        self.arguments.settle(self.home.as_deref(), self.runtime.as_deref())
    }
}

impl Reloading {
    /// `settings` are those that the server was started with, before the testnet_mode changed them.
    pub(super) fn new(
        command_line: CommandLine,
        settings: &Settings,
        handle: ReloadHandle,
        verbosity: Verbosity,
        testnet_mode: Option<Arc<TestnetMode>>,
        hangup: Signal,
    ) -> Self {
        let is_file_there = matches!(settings.source, Source::File(_));
        let (Source::File(file) | Source::Defaults(file)) = settings.source.clone();
        let changes = mpsc::channel(1);
        let last = settings.config.clone();
        let mut new = Self {
            command_line,
            handle,
            verbosity,
            testnet_mode,
            hangup,
            last,
            file,
            is_file_there,
            changes,
            watch: None,
        };
        new.watch_file();
        new
    }

    /// Returns when the configuration is to be taken anew, and whether that was asked for.
    pub(super) async fn wanted(&mut self) -> bool {
        tokio::select! {
            _ = self.hangup.recv() => {
                info!("SIGHUP: reading the configuration again");
                true
            }
            _ = self.changes.1.recv() => false,
        }
    }

    /// Whether SIGHUP has come since.
    pub(super) fn is_asked_for(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        matches!(self.hangup.poll_recv(&mut context), Poll::Ready(Some(())))
    }

    /// All of one reload. The service manager is told that it begins; that it has ended is left to whoever calls this.
    /// Returns what is in effect, if that is another configuration.
    pub(super) async fn reload(&mut self, is_asked_for: bool) -> Option<Reloaded> {
        let command_line = self.command_line.clone();
        let Ok(settled) = spawn_blocking(|| command_line.settle()).await else { return None };
        let settled = settled.and_then(|settings| match settings.source {
            Source::Defaults(path) if self.is_file_there => {
                Err(ConfigError::Unreadable { path, source: io::ErrorKind::NotFound.into() })
            }
            _ => Ok(settings),
        });
        // A change that SIGHUP came with is seen once more.
        if !is_asked_for && settled.as_ref().is_ok_and(|settings| settings.config == self.last) {
            return None;
        }
        service_manager::reloading();
        let read = settled.map(|settings| {
            for warning in warnings_of(&settings) {
                warn!("{warning}");
            }
            self.is_file_there = matches!(settings.source, Source::File(_));
            self.last = settings.config.clone();
            let mut config = settings.config;
            if let Some(testnet_mode) = &self.testnet_mode {
                testnet_mode.point_to_itself(&mut config, settings.unsaid);
            }
            config
        });
        let reloaded = self.handle.reload(read).await.ok()?;
        self.verbosity.set(self.last.verbose);
        self.watch_file();
        Some(reloaded)
    }

    /// As the configuration in effect wants it.
    fn watch_file(&mut self) {
        if !self.last.reload_on_change {
            self.watch = None;
            return;
        }
        if self.watch.is_some() {
            return;
        }
        let (file, command_line) = (self.file.clone(), self.command_line.clone());
        let read = move || {
            let named = |error| format!("{}: {error}", file.display());
            watched_files::read(&file, MAX_FILE_SIZE).map_err(named)
        };
        let (changed, broken) = (self.changes.0.clone(), self.changes.0.clone());
        // One that waits to be heard is enough: whoever hears it reads the file.
        let take = move |_: &Vec<u8>| {
            command_line.clone().settle().map_err(|error| error.to_string())?;
            let _ = changed.try_send(());
            Ok(())
        };
        let complain = move |_: &str| {
            let _ = broken.try_send(());
        };
        let seen = read();
        self.watch =
            Some(AbortOnDropHandle::new(tokio::spawn(watched_files::watch(seen, read, take, complain))));
    }
}
