//! A PKARR relay on loopback that says what a test decides, byte by byte where that matters.

use std::{
    collections::HashMap,
    future::Future,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::sleep,
};

/// A relay that runs as long as this is held.
pub struct ScriptedRelay {
    pub address: SocketAddr,
    state: Arc<State>,
    _tasks: JoinSet<()>,
}

/// A request that it got.
#[derive(Debug, Clone)]
pub struct Received {
    /// `GET /path`
    pub line: String,
    /// By names in lower case.
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

/// What it says to a request.
pub struct Reply {
    wait: Duration,
    bytes: Vec<u8>,
    then: Then,
}

enum Then {
    ReadOn,
    Close,
    Hang,
}

#[derive(Default)]
struct State {
    received: Mutex<Vec<Received>>,
    connections: AtomicUsize,
}

type Script = dyn Fn(&Received) -> Reply + Send + Sync;

impl Reply {
    /// An answer with `headers`, each `name: value`.
    pub fn answer(status: u16, headers: &[&str], body: &[u8]) -> Self {
        let mut head = format!("HTTP/1.1 {status} said\r\ncontent-length: {}\r\n", body.len());
        for header in headers {
            head += &format!("{header}\r\n");
        }
        // RFC 9110 section 8.6: these have no body and must not announce one.
        if matches!(status, 204 | 304) {
            head = head.replace("content-length: 0\r\n", "");
        }
        Self::raw([head.as_bytes(), b"\r\n", body].concat())
    }

    pub fn status(status: u16) -> Self {
        Self::answer(status, &[], b"")
    }

    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self { wait: Duration::ZERO, bytes: bytes.into(), then: Then::ReadOn }
    }

    pub fn silence() -> Self {
        Self { then: Then::Hang, ..Self::raw("") }
    }

    /// Only later.
    pub fn after(self, milliseconds: u64) -> Self {
        Self { wait: Duration::from_millis(milliseconds), ..self }
    }

    /// And nothing more on this connection, which stays open.
    pub fn then_hangs(self) -> Self {
        Self { then: Then::Hang, ..self }
    }

    /// And closes the connection.
    pub fn then_closes(self) -> Self {
        Self { then: Then::Close, ..self }
    }
}

impl ScriptedRelay {
    pub async fn start(script: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_over(|tcp: TcpStream| async { Ok(tcp) }, script).await
    }

    /// As [`ScriptedRelay::start`], over what `accept` makes of a connection.
    pub async fn start_over<S, F>(
        accept: impl Fn(TcpStream) -> F + Send + Sync + 'static,
        script: impl Fn(&Received) -> Reply + Send + Sync + 'static,
    ) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
        F: Future<Output = io::Result<S>> + Send + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let state = Arc::new(State::default());
        let (shared, script) = (state.clone(), Arc::new(script) as Arc<Script>);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let (accepting, script, state) = (accept(tcp), script.clone(), shared.clone());
                connections.spawn(async move {
                    // A client may leave in the middle of anything.
                    if let Ok(stream) = accepting.await {
                        let _ = serve(stream, &script, &state).await;
                    }
                });
            }
        });
        Self { address, state, _tasks: tasks }
    }

    /// Its address as people write it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests that it got so far.
    pub fn received(&self) -> Vec<Received> {
        self.state.received.lock().expect("no panic while held").clone()
    }

    /// The connections that were made to it so far.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    script: &Arc<Script>,
    state: &State,
) -> io::Result<()> {
    let mut unread = Vec::new();
    loop {
        let received = read_request(&mut stream, &mut unread).await?;
        let reply = script(&received);
        state.received.lock().expect("no panic while held").push(received);
        sleep(reply.wait).await;
        stream.write_all(&reply.bytes).await?;
        stream.flush().await?;
        match reply.then {
            Then::ReadOn => {}
            Then::Close => return stream.shutdown().await,
            Then::Hang => std::future::pending().await,
        }
    }
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin), unread: &mut Vec<u8>) -> io::Result<Received> {
    let head = loop {
        if let Some(end) = unread.windows(4).position(|window| window == b"\r\n\r\n") {
            break unread.drain(..end + 4).collect::<Vec<_>>();
        }
        read_more(stream, unread).await?;
    };
    let head = String::from_utf8(head).expect("a head in ASCII");
    let mut lines = head.lines();
    let line = lines.next().expect("a request line").trim_end_matches(" HTTP/1.1").to_owned();
    let headers: HashMap<_, _> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.get("content-length").map_or(0, |length| length.parse().expect("a number"));
    while unread.len() < length {
        read_more(stream, unread).await?;
    }
    Ok(Received { line, headers, body: unread.drain(..length).collect() })
}

async fn read_more(stream: &mut (impl AsyncRead + Unpin), unread: &mut Vec<u8>) -> io::Result<()> {
    match stream.read_buf(unread).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}
