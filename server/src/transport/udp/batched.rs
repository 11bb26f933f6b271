//! One thread per socket, many datagrams per system call. A thread, because a task would pay for every wake with
//! calls that say when to read; blocked in the call that reads, it costs nothing until a query comes.

use std::{
    io,
    net::Shutdown,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use socket2::SockRef;
use tokio::{runtime::Handle, sync::oneshot, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    Failures, MAX_READ_AFTER_STOP, Port,
    batch::{Batch, Wait},
};
use crate::service::Respond;

/// Starts the thread of one socket, and the task that stops it.
pub(super) fn start<R: Respond>(port: &Arc<Port<R>>, stop: &CancellationToken) -> io::Result<()> {
    let (ended, mut end) = oneshot::channel::<()>();
    let stopper = Stopper { port: port.clone(), stopped: Arc::default() };
    let (port, stopped, runtime) = (port.clone(), stopper.stopped.clone(), Handle::current());
    thread::Builder::new().name("udp".into()).spawn({
        let port = port.clone();
        move || {
            // Dropped last, even in a panic: who waits for the end finds the socket closed.
            let (_ended, port) = (ended, port);
            let _runtime = runtime.enter();
            run(&port, &stopped);
        }
    })?;
    let stop = stop.clone();
    port.tasks.spawn(async move {
        if stop.run_until_cancelled(&mut end).await.is_none() {
            drop(stopper);
            let _ = end.await;
        }
    });
    Ok(())
}

/// Stops the thread when it is dropped, be it with the runtime.
struct Stopper<R> {
    port: Arc<Port<R>>,
    stopped: Arc<AtomicBool>,
}

impl<R> Drop for Stopper<R> {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
        // Linux wakes whoever waits to receive, now and from now on, and still hands out what has arrived; only then
        // it says that the socket is not connected.
        let _ = SockRef::from(&self.port.socket).shutdown(Shutdown::Read);
    }
}

fn run<R: Respond>(port: &Arc<Port<R>>, stopped: &AtomicBool) {
    let mut batch = Batch::new(port.wildcard);
    let mut failures = Failures::default();
    while !stopped.load(Ordering::Acquire) {
        match batch.receive(&port.socket, Wait::ForOne) {
            Ok(_) => {
                failures.succeeded();
                answer(port, &mut batch);
            }
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
