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

/// A server that greets like a Redis, and then says `first` once and `endless` again and again, asked or not.
struct Babbler {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

impl Babbler {
    async fn start(greeting: &'static [u8], first: &'static [u8], endless: &'static [u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (mut task, counter) = (JoinSet::new(), connections.clone());
        task.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let connections = counter.clone();
                tokio::spawn(async move {
                    let _ = stream.read(&mut [0; 64]).await;
                    let _ = stream.write_all(greeting).await;
                    connections.fetch_add(1, Ordering::SeqCst);
                    let mut next = first;
                    while stream.write_all(next).await.is_ok() {
                        if !endless.is_empty() {
                            next = endless;
                            sleep(Duration::from_millis(1)).await;
                        } else if stream.read(&mut [0; 4096]).await.unwrap_or(0) == 0 {
                            break;
                        }
                    }
                });
            }
        });
        Self { address, connections, _task: task }
    }

    /// Looks up until there have been some connections.
    async fn look_up(&self) {
        let store = Store::new(&format!("redis://{}", self.address));
        let end = Instant::now() + PATIENCE;
        while self.connections.load(Ordering::SeqCst) < 3 {
            assert!(Instant::now() < end);
            let found = timeout(PATIENCE, store.store.get(&keypair(1).public_key())).await.expect("an end");
            assert_eq!(found, None);
            sleep(Duration::from_millis(2)).await;
        }
    }
}

#[tokio::test]
async fn a_reply_without_an_end_is_cut_off_when_its_time_is_over() {
    let string: &[u8] = b"$9223372036854775807\r\n";
    for (greeting, first, endless) in [
        (&b"+PONG\r\n"[..], string, &[0; 1 << 10][..]),
        (b"+PONG\r\n", b"*2147483647\r\n", b":1\r\n"),
        (b"+PONG\r\n", b"+", b"1"),
        (b"", string, &[0; 1 << 10]),
    ] {
        Babbler::start(greeting, first, endless).await.look_up().await;
    }
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
