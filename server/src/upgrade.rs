//! What the service manager is told, and the process that takes our place at SIGUSR2.

use std::{env, io, process::Command};

use pkdns::{
    server::Control,
    service_manager,
    succession::{Predecessor, SuccessionError, Successor},
};
use tokio::{signal::unix::Signal, task::spawn_blocking};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

/// Attends to a server that runs.
pub(crate) struct Attendant {
    upgrade: Signal,
    control: Control,
    /// What to tell of it in a line.
    status: String,
    shutdown: CancellationToken,
    /// Why no other process can take its place, if that is so.
    obstacle: Option<&'static str>,
}

impl Attendant {
    /// `obstacle` says why no process can take the place of this one at the signal `upgrade`.
    pub(crate) fn new(
        upgrade: Signal,
        control: Control,
        status: String,
        shutdown: CancellationToken,
        obstacle: Option<&'static str>,
    ) -> Self {
        Self { upgrade, control, status, shutdown, obstacle }
    }

    /// Until the server stops, or another process serves in its place. That one has to be told by `predecessor` when it
    /// may.
    pub(crate) async fn attend(mut self, predecessor: Option<Predecessor>) {
        if self.shutdown.run_until_cancelled(self.control.started()).await.is_none() {
            return;
        }
        if let Some(predecessor) = predecessor
            && let Err(error) = blocking(move || predecessor.take_over()).await
        {
            error!("the process whose place this one was to take does not leave: {error}");
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

    async fn until_succeeded(&mut self) {
        while self.upgrade.recv().await.is_some() {
            if let Some(obstacle) = self.obstacle {
                warn!("SIGUSR2: {obstacle}");
                continue;
            }
            info!("SIGUSR2: starting another process in the place of this one");
            service_manager::status("starting a successor");
            match self.hand_over().await {
                Ok(process) => {
                    info!("process {process} serves from now on; this one ends when its connections have");
                    return;
                }
                Err(error) => {
                    warn!("no other process takes the place of this one, which goes on: {error}");
                    service_manager::ready(&self.status);
                }
            }
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
