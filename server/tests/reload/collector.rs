//! A collector of dnstap: the reading side of Frame Streams, <https://farsightsec.github.io/fstrm/>.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
};
use tokio_util::sync::CancellationToken;

const ACCEPT: u32 = 1;
const START: u32 = 2;
const STOP: u32 = 3;
const READY: u32 = 4;
const FINISH: u32 = 5;

/// Frames that have come. Clones are the same collector.
#[derive(Clone, Default)]
pub(crate) struct Collector(Arc<Mutex<Vec<Vec<u8>>>>);

impl Collector {
    /// Takes frames at a Unix socket, until `stop`.
    pub(crate) fn start(socket: &Path, stop: &CancellationToken) -> Self {
        let (collector, listener) = (Self::default(), UnixListener::bind(socket).unwrap());
        let taking = collector.clone();
        let accept = async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(taking.clone().take(stream));
            }
        };
        tokio::spawn(stop.clone().run_until_cancelled_owned(accept));
        collector
    }

    /// The first frame that contains these bytes.
    pub(crate) fn with(&self, part: &[u8]) -> Option<Vec<u8>> {
        let frames = self.0.lock().unwrap();
        frames.iter().find(|frame| contains(frame, part)).cloned()
    }

    /// Takes what comes over one connection, which ends when it says so.
    async fn take(self, mut stream: UnixStream) {
        let content_type = control(&mut stream, READY).await;
        write_control(&mut stream, ACCEPT, &content_type).await;
        assert_eq!(control(&mut stream, START).await, content_type);
        while let Ok(size) = stream.read_u32().await {
            if size == 0 {
                assert_eq!(control_body(&mut stream).await, (STOP, Vec::new()));
                return write_control(&mut stream, FINISH, &[]).await;
            }
            let mut frame = vec![0; size as usize];
            stream.read_exact(&mut frame).await.unwrap();
            self.0.lock().unwrap().push(frame);
        }
    }
}

pub(crate) fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// The field of a control frame of this kind.
async fn control(stream: &mut UnixStream, kind: u32) -> Vec<u8> {
    assert_eq!(stream.read_u32().await.unwrap(), 0, "a control frame begins as an empty one");
    let (found, field) = control_body(stream).await;
    assert_eq!(found, kind);
    field
}

/// Kind and field.
async fn control_body(stream: &mut UnixStream) -> (u32, Vec<u8>) {
    let size = stream.read_u32().await.unwrap() as usize;
    let kind = stream.read_u32().await.unwrap();
    let mut field = vec![0; size - 4];
    stream.read_exact(&mut field).await.unwrap();
    (kind, field)
}

async fn write_control(stream: &mut UnixStream, kind: u32, field: &[u8]) {
    let size = 4 + u32::try_from(field.len()).unwrap();
    let frame = [&0_u32.to_be_bytes()[..], &size.to_be_bytes(), &kind.to_be_bytes(), field].concat();
    // Who has gone hears nothing.
    let _ = stream.write_all(&frame).await;
}
