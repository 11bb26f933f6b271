//! What a server that runs is asked for by signals, one after the other: another configuration, or another process in its place.
//! And what the service manager is told of it.

use std::{env, io, net::SocketAddr, process::Command};

use nix::{
    sys::signal::{Signal as SignalNumber, kill},
    unistd::Pid,
};
use tokio::{signal::unix::Signal, task::spawn_blocking};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{
    reloading::Reloading,
    server::Control,
    service_manager,
    succession::{Predecessor, SuccessionError, Successor},
};

/// Addresses in the line of status.
const SHOWN_ADDRESSES: usize = 4;

/// Attends to a server that runs.
pub(super) struct Attendant {
    upgrade: Signal,
    reloading: Reloading,
    control: Control,
    /// What to tell of it in a line.
    status: String,
    shutdown: CancellationToken,
    /// Why no other process can take its place, if that is so.
    obstacle: Option<&'static str>,
}

impl Attendant {
    /// `obstacle` says why no process can take the place of this one at the signal `upgrade`. `addresses` are served.
    pub(super) fn new(
        upgrade: Signal,
        reloading: Reloading,
        control: Control,
        shutdown: CancellationToken,
        obstacle: Option<&'static str>,
        addresses: &[SocketAddr],
    ) -> Self {
        Self { upgrade, reloading, control, status: status(addresses), shutdown, obstacle }
    }

    /// Until the server stops, or another process serves in its place. That one has to be told by `predecessor` when it
    /// may.
    pub(super) async fn attend(mut self, predecessor: Option<Predecessor>) {
        if self.shutdown.run_until_cancelled(self.control.started()).await.is_none() {
            return;
        }
        if let Some(predecessor) = predecessor
            && let Err(error) = blocking(move || predecessor.take_over()).await
        {
            error!("the process that this one replaces does not stop: {error}");
            self.shutdown.cancel();
            return;
        }
        service_manager::ready(&self.status);
        let has_left = CancellationToken::new();
        let control = self.control.clone();
        let watchdog = service_manager::watchdog(move || control.is_alive());
        tokio::spawn(has_left.clone().run_until_cancelled_owned(watchdog));
        let shutdown = self.shutdown.clone();
        if shutdown.run_until_cancelled(self.until_succeeded()).await.is_none() {
            service_manager::stopping();
        }
        has_left.cancel();
    }

    /// While another process starts, nothing is reloaded: it would look for addresses that this one has just taken.
    async fn until_succeeded(&mut self) {
        loop {
            tokio::select! {
                is_asked_for = self.reloading.wanted() => self.reload(is_asked_for).await,
                _ = self.upgrade.recv() => if self.is_succeeded().await { return },
            }
        }
    }

    async fn reload(&mut self, is_asked_for: bool) {
        if let Some(reloaded) = self.reloading.reload(is_asked_for).await {
            // Each address for questions is there once.
            let over_udp = reloaded.listening.iter().filter(|(protocol, _)| *protocol == "udp");
            self.status = status(&over_udp.map(|(_, address)| *address).collect::<Vec<_>>());
        }
        service_manager::ready(&self.status);
    }

    /// Tries to have another process take the place of this one.
    async fn is_succeeded(&mut self) -> bool {
        if let Some(obstacle) = self.obstacle {
            warn!("SIGUSR2: {obstacle}");
            return false;
        }
        info!("SIGUSR2: starting another process in the place of this one");
        service_manager::status("starting a successor");
        match self.hand_over().await {
            Ok(process) => {
                info!("process {process} serves from now on; this one ends when its connections have");
                self.pass_on(process);
                true
            }
            Err(error) => {
                warn!("no other process takes over, and this one goes on: {error}");
                service_manager::ready(&self.status);
                false
            }
        }
    }

    /// Whoever has asked for a reload meanwhile gets it from `process`, which may have read the configuration before.
    fn pass_on(&mut self, process: u32) {
        if !self.reloading.is_asked_for() {
            return;
        }
        info!("SIGHUP is passed on to process {process}");
        let process = i32::try_from(process).map(Pid::from_raw);
        if let Ok(process) = process
            && let Err(error) = kill(process, SignalNumber::SIGHUP)
        {
            warn!("process {process} cannot be told to read the configuration again: {error}");
        }
    }

    /// Returns the number of the process that serves from now on.
    async fn hand_over(&self) -> Result<u32, SuccessionError> {
        let heirlooms = self.control.heirlooms()?;
        let successor = blocking(move || {
            let successor = Successor::start(same_command(), &heirlooms)?;
            successor.wait_for_files()?;
            Ok(successor)
        })
        .await?;
        if self.control.lend_files().await {
            info!("packets are kept in memory until process {} has them", successor.process());
        } else {
            warn!("the disk takes long to write the last packets");
        }
        let served = blocking(move || {
            successor.serve()?;
            let process = successor.process();
            // First, so that the manager knows whom to believe when that one speaks.
            service_manager::succeeded_by(process);
            successor.appoint().map(|()| process)
        })
        .await;
        match served {
            Ok(_) => self.control.leave(),
            Err(_) => self.control.take_files_back().await,
        }
        served
    }
}

/// What is served, in a line: the first few addresses.
fn status(addresses: &[SocketAddr]) -> String {
    let shown: Vec<_> = addresses.iter().take(SHOWN_ADDRESSES).map(SocketAddr::to_string).collect();
    let shown = shown.join(", ");
    match addresses.len().saturating_sub(SHOWN_ADDRESSES) {
        0 => format!("answering on {shown}"),
        more => format!("answering on {shown} and {more} more"),
    }
}

/// What this process was started as. The path leads to the new program, and is not that of the file which runs, as that may
/// have been removed or renamed.
fn same_command() -> Command {
    let mut arguments = env::args_os();
    let mut command = Command::new(arguments.next().unwrap_or_else(|| "pkdns".into()));
    command.args(arguments);
    command
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SuccessionError> + Send + 'static,
) -> Result<T, SuccessionError> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}
