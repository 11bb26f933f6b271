//! One thread per socket, many datagrams per system call. A thread, because a task would pay for every wake with
//! calls that say when to read; blocked in the call that reads, it costs nothing until a query comes.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{self, Duration},
};

use tokio::{runtime::Handle, sync::oneshot, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    Failures, MAX_READ_AFTER_STOP, Port, Pulse,
    batch::{Batch, Wait},
    pulse::Beats,
};
use crate::service::Respond;

/// A thread that waits to receive looks this often whether it is to stop. To shut the socket down would wake it at once, but
/// would do so for every process that shares the socket: our successor, or the service manager that has bound it.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Starts the thread of one socket, and the task that stops it.
pub(super) fn start<R: Respond>(port: Port<R>, stop: &CancellationToken) -> io::Result<Pulse> {
    // Whoever has bound the socket may have wanted otherwise.
    port.socket.set_nonblocking(false)?;
    port.socket.set_read_timeout(Some(LOOK_EVERY))?;
    let beats = Arc::<Beats>::default();
    let pulse = Pulse::new(beats.clone(), time::Instant::now());
    let (ended, mut end) = oneshot::channel::<()>();
    let stopper = Stopper(Arc::default());
    let (port, stopped, runtime) = (Arc::new(port), stopper.0.clone(), Handle::current());
    thread::Builder::new().name("udp".into()).spawn({
        let port = port.clone();
        move || {
            // Dropped last, even in a panic: who waits for the end finds the socket closed.
            let (_ended, port) = (ended, port);
            let _runtime = runtime.enter();
            run(&port, &stopped, &beats);
            beats.end();
        }
    })?;
    let stop = stop.clone();
    port.tasks.spawn(async move {
        if stop.run_until_cancelled(&mut end).await.is_none() {
            drop(stopper);
            let _ = end.await;
        }
    });
    Ok(pulse)
}

/// Stops the thread when it is dropped, be it with the runtime.
struct Stopper(Arc<AtomicBool>);

impl Drop for Stopper {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn run<R: Respond>(port: &Arc<Port<R>>, stopped: &AtomicBool, beats: &Beats) {
    let mut batch = Batch::new(port.wildcard);
    let mut failures = Failures::default();
    while !stopped.load(Ordering::Acquire) {
        beats.beat();
        match batch.receive(&port.socket, Wait::ForOne) {
            Ok(_) => {
                failures.succeeded();
                answer(port, &mut batch);
            }
            // Nothing came in all that time.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => thread::sleep(failures.failed(&error)),
        }
    }
    // What arrived before the stop is answered.
    let mut read = 0;
    while read < MAX_READ_AFTER_STOP {
        let Ok(received) = batch.receive(&port.socket, Wait::ForNone) else { break };
        answer(port, &mut batch);
        read += received.max(1);
    }
}

fn answer<R: Respond>(port: &Arc<Port<R>>, batch: &mut Batch) {
    let now = Instant::now();
    batch.answer(|request, peer, reply| port.answer(request, peer, now, reply));
    batch.send(&port.socket);
}
