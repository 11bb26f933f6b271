//! The command that makes another program take a new certificate.

use std::{
    io,
    os::{fd::AsFd, unix::process::CommandExt},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::time::{Instant, sleep};

use super::{files::Files, names::SiteNames};
use crate::failure::Failure;

/// How long it may take. Servers that finish what they are doing first do so on their own time.
const DEADLINE: Duration = Duration::from_secs(60);

/// How often is looked whether it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Runs `command` with the shell, in a group of processes of its own that ends with it.
///
/// # Errors
///
/// When it cannot be run, fails, or does not end in time.
pub(super) async fn run(command: &str, files: &Files, names: &SiteNames) -> Result<(), Failure> {
    let fail = |why: String| {
        Failure::Failed(format!(
            "the new certificate is in {}, but the reload command {why}: mend it, or run it by hand",
            files.directory().display()
        ))
    };
    let started = start(command, files, names).map_err(|error| fail(format!("cannot be run ({error})")))?;
    match ended(started, DEADLINE).await {
        Ok(Some(status)) if status.success() => Ok(()),
        Ok(Some(status)) => Err(fail(match status.code() {
            Some(code) => format!("ended with exit status {code}"),
            None => "was killed by a signal".to_string(),
        })),
        Ok(None) => Err(fail(format!("did not end within {} s", DEADLINE.as_secs()))),
        Err(error) => Err(fail(format!("cannot be waited for ({error})"))),
    }
}

/// What it prints goes to standard error: standard output may be JSON.
fn start(command: &str, files: &Files, names: &SiteNames) -> io::Result<Running> {
    let child = Command::new("/bin/sh")
        .args(["-c", command])
        .env("PKDNS_CERTIFICATE", files.certificate())
        .env("PKDNS_KEY", files.key())
        .env("PKDNS_NAMES", names.all().join(" "))
        .stdin(Stdio::null())
        .stdout(io::stderr().as_fd().try_clone_to_owned()?)
        .process_group(0)
        .spawn()?;
    Ok(Running(child))
}

/// Kills it and what it has started if nobody has waited for its end.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(Some(_))) {
            return;
        }
        if let Ok(group) = i32::try_from(self.0.id()) {
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
        let _ = self.0.wait();
    }
}

/// `None` if it has not ended in time.
async fn ended(mut running: Running, deadline: Duration) -> io::Result<Option<ExitStatus>> {
    let end = Instant::now() + deadline;
    loop {
        if let Some(status) = running.0.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= end {
            return Ok(None);
        }
        sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::key;

    async fn run_here(command: &str) -> Result<(), Failure> {
        let names = SiteNames::new(&key(), "test", &[], false).unwrap();
        run(command, &Files::new("/certificates".as_ref()), &names).await
    }

    #[tokio::test]
    async fn the_status_of_a_command_is_reported_and_it_knows_the_files() {
        assert_eq!(
            run_here(
                "test \"$PKDNS_CERTIFICATE $PKDNS_KEY\" = '/certificates/cert.pem /certificates/key.pem'"
            )
            .await,
            Ok(())
        );
        let message = run_here("exit 7").await.unwrap_err().to_string();
        assert!(
            message.contains("ended with exit status 7") && message.contains("/certificates"),
            "{message}"
        );
        assert!(run_here("kill -9 $$").await.unwrap_err().to_string().contains("killed by a signal"));
        assert!(run_here("no-such-program-anywhere").await.unwrap_err().to_string().contains("127"));
    }

    #[tokio::test]
    async fn a_command_that_does_not_end_is_killed_with_what_it_has_started() {
        let directory = tempfile::tempdir().unwrap();
        let pid = directory.path().join("pid");
        let names = SiteNames::new(&key(), "test", &[], false).unwrap();
        let command = format!("sleep 600 & echo $! > '{}'; wait", pid.display());
        let running = start(&command, &Files::new(directory.path()), &names).unwrap();
        let child = loop {
            let text = std::fs::read_to_string(&pid).unwrap_or_default();
            if let Ok(child) = text.trim().parse::<i32>() {
                break child;
            }
            sleep(LOOK_EVERY).await;
        };
        assert_eq!(ended(running, Duration::from_millis(1)).await.unwrap(), None);
        let is_gone = || {
            let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ")
        };
        while !is_gone() {
            sleep(LOOK_EVERY).await;
        }
    }
}
