//! Servers that are no Redis.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::{PATIENCE, Store, keypair};

/// More than the kernel holds for one connection, and far less than would hurt.
const MUCH: usize = 32 << 20;

/// A server that greets like a Redis, and then says `first` and `endless` again and again, asked or not.
struct Babbler {
    address: SocketAddr,
    /// Bytes that were taken from it on one connection, at most.
    most: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

impl Babbler {
    async fn start(greeting: &'static [u8], first: &'static [u8], endless: &'static [u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (most, connections) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut task = JoinSet::new();
        let counters = (most.clone(), connections.clone());
        task.spawn(async move {
            let (most, connections) = counters;
            while let Ok((mut stream, _)) = listener.accept().await {
                let (most, connections) = (most.clone(), connections.clone());
                tokio::spawn(async move {
                    let _ = stream.read(&mut [0; 64]).await;
                    let _ = stream.write_all(greeting).await;
                    connections.fetch_add(1, Ordering::SeqCst);
                    let mut taken = 0;
                    let mut next = first;
                    while taken < 4 * MUCH && stream.write_all(next).await.is_ok() {
                        taken += next.len();
                        most.fetch_max(taken, Ordering::SeqCst);
                        if !endless.is_empty() {
                            next = endless;
                        } else if stream.read(&mut [0; 4096]).await.unwrap_or(0) == 0 {
                            break;
                        }
                    }
                });
            }
        });
        Self { address, most, connections, _task: task }
    }

    /// Looks up until there have been some connections.
    async fn look_up(&self) -> Store {
        let store = Store::new(&format!("redis://{}", self.address));
        let end = Instant::now() + PATIENCE;
        while self.connections.load(Ordering::SeqCst) < 3 {
            assert!(Instant::now() < end);
            let found = timeout(PATIENCE, store.store.get(&keypair(1).public_key())).await.expect("an end");
            assert_eq!(found, None);
            sleep(Duration::from_millis(2)).await;
        }
        store
    }
}

#[tokio::test]
async fn a_reply_without_an_end_is_cut_off() {
    let zeros: &[u8] = &[0; 1 << 16];
    let digits: &[u8] = &[b'1'; 1 << 16];
    let numbers: &'static [u8] = b":1\r\n".repeat(1 << 14).leak();
    for (first, endless) in [
        (&b"$9223372036854775807\r\n"[..], zeros),
        (b"$536870912\r\n", zeros),
        (b"*2147483647\r\n", numbers),
        (b":", digits),
        (b"+", digits),
        (b"-ERR ", digits),
        (b"", b"+OK\r\n"),
        (b"", b">2\r\n+message\r\n+x\r\n"),
    ] {
        let babbler = Babbler::start(b"+PONG\r\n", first, endless).await;
        babbler.look_up().await;
        let most = babbler.most.load(Ordering::SeqCst);
        assert!(most < MUCH, "{most} bytes after {:?}", String::from_utf8_lossy(first));
    }
}

#[tokio::test]
async fn an_endless_greeting_is_cut_off() {
    let babbler = Babbler::start(b"", b"$9223372036854775807\r\n", &[0; 1 << 16]).await;
    babbler.look_up().await;
    assert!(babbler.most.load(Ordering::SeqCst) < MUCH);
}

#[tokio::test]
async fn garbage_is_no_answer_and_no_end() {
    let nested: &'static [u8] = b"*1\r\n".repeat(5000).leak();
    for garbage in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        b"\0\xff\xfe\r\n",
        b"$-5\r\n",
        b"$x\r\n",
        b"*-7\r\n",
        b"%-1\r\n",
        b"|-1\r\n+x\r\n",
        b"|0\r\n+x\r\n",
        b"=3\r\nx\r\n\r\n",
        b"=-1\r\n",
        b"!-1\r\n",
        b">0\r\n",
        b">1\r\n:1\r\n",
        b"#x\r\n",
        b",inf\r\n",
        b"(12345678901234567890\r\n",
        b"_\r\n",
        b"+OK\r\n",
        b"*0\r\n",
        b":9223372036854775807\r\n",
        b"$3\r\nabc\r\n",
        b"-MOVED\r\n",
        b"-MOVED 1 127.0.0.1:1\r\n",
        b"-MOVED x y z\r\n",
        b"-\r\n",
        b"-\x1b[2J\r\n",
        b"+\xff\r\n",
        nested,
    ] {
        let babbler = Babbler::start(b"+PONG\r\n", garbage, b"").await;
        let store = Store::new(&format!("redis://{}", babbler.address));
        let lookups = &store.metrics.lookups;
        let end = Instant::now() + PATIENCE;
        while lookups.failed.get() + lookups.rejected.get() + lookups.absent.get() == 0
            && babbler.connections.load(Ordering::SeqCst) < 3
        {
            assert!(Instant::now() < end, "{:?}", store.metrics);
            assert_eq!(store.store.get(&keypair(1).public_key()).await, None);
            sleep(Duration::from_millis(2)).await;
        }
        assert_eq!(lookups.found.get(), 0);
    }
}
