//! Runs other programs, and does not wait for them without end.

use std::{
    io::{self, Read, Write},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

/// How long another program may take. Services that restart, and bundles that are made anew, take some seconds.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// How often is looked whether it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What is read of each of its outputs. A program that says more than that has its pipe closed.
const MAX_OUTPUT: u64 = 16 << 20;

/// Runs a program to its end with this input, which fits a pipe. One that does not end in time is killed, with its group of processes if
/// it leads one.
///
/// # Errors
///
/// When it cannot be run, or does not end in time.
pub(crate) fn run(command: &mut Command, input: &[u8], deadline: Duration) -> io::Result<Output> {
    let end = Instant::now() + deadline;
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let [stdout, stderr] = [collected(child.stdout.take()), collected(child.stderr.take())];
    // A program that does not read its input says why by its end.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(input));
    let late = || {
        let why = format!("it did not end within {} s, and was killed", deadline.as_secs());
        io::Error::new(io::ErrorKind::TimedOut, why)
    };
    let Some(status) = ended(&mut child, end)? else {
        kill(&mut child);
        return Err(late());
    };
    // What it has left behind may hold its outputs open.
    let read = |output: Receiver<Vec<u8>>| {
        output.recv_timeout(end.saturating_duration_since(Instant::now()).max(LOOK_EVERY))
    };
    match (read(stdout), read(stderr)) {
        (Ok(stdout), Ok(stderr)) => Ok(Output { status, stdout, stderr }),
        _ => {
            kill(&mut child);
            Err(late())
        }
    }
}

/// `None` if it has not ended in time.
fn ended(child: &mut Child, end: Instant) -> io::Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= end {
            return Ok(None);
        }
        thread::sleep(LOOK_EVERY);
    }
}

fn kill(child: &mut Child) {
    // There is no such group unless it leads one.
    if let Ok(group) = i32::try_from(child.id()) {
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// All that comes out of a pipe until its end.
fn collected(pipe: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.map(|pipe| pipe.take(MAX_OUTPUT).read_to_end(&mut bytes));
        // Nobody waits any more for a program that was killed.
        let _ = sender.send(bytes);
    });
    receiver
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;

    use super::*;

    fn shell(text: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", text]);
        command
    }

    #[test]
    fn a_program_reads_its_input_and_what_it_says_is_heard() {
        let output = run(&mut shell("cat; echo fault >&2; exit 3"), b"word", DEADLINE).unwrap();
        assert_eq!((&output.stdout[..], &output.stderr[..]), (&b"word"[..], &b"fault\n"[..]));
        assert_eq!(output.status.code(), Some(3));
        // More than a pipe holds.
        let output = run(&mut shell("head -c 1000000 /dev/zero"), b"", DEADLINE).unwrap();
        assert_eq!(output.stdout.len(), 1_000_000);
    }

    #[test]
    fn a_program_that_does_not_end_is_killed_with_what_it_has_started() {
        let directory = tempfile::tempdir().unwrap();
        let pid = directory.path().join("pid");
        let text = format!("sleep 600 & echo $! > '{}'; wait", pid.display());
        let error = run(shell(&text).process_group(0), b"", Duration::from_secs(3)).unwrap_err();
        assert_eq!(error.to_string(), "it did not end within 3 s, and was killed");
        let started = std::fs::read_to_string(&pid).unwrap();
        let stat = format!("/proc/{}/stat", started.trim());
        let is_gone = || std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
        let begun = Instant::now();
        while !is_gone() {
            assert!(begun.elapsed() < DEADLINE, "{started}");
            thread::sleep(LOOK_EVERY);
        }
    }
}
