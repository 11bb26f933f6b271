//! Questions and answers on a stream, each after its length (RFC 7766), in whatever order the answers come.

use std::{
    collections::{HashMap, hash_map::Entry},
    io,
    sync::Mutex,
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{ExchangeError, MAX_IN_FLIGHT, lock};

/// Questions that wait to be written.
const QUEUE: usize = 64;

/// A server that does not read for this long has gone.
const WRITE_TIME: Duration = Duration::from_secs(5);

/// Passes questions to the task that serves the stream.
#[derive(Debug)]
pub(super) struct Carrier {
    questions: mpsc::Sender<Asked>,
}

#[derive(Debug)]
struct Asked {
    message: Vec<u8>,
    answer: oneshot::Sender<Vec<u8>>,
}

/// The future serves `stream` until it ends or fails.
pub(super) fn start<S>(stream: S) -> (Carrier, impl Future<Output = ()> + Send)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (questions, queue) = mpsc::channel(QUEUE);
    (Carrier { questions }, serve(stream, queue))
}

impl Carrier {
    /// Chooses the id of `message` itself.
    pub(super) async fn exchange(&self, message: &[u8]) -> Result<Vec<u8>, ExchangeError> {
        let closed = || ExchangeError::Unreachable(io::ErrorKind::ConnectionReset);
        let (answer, answered) = oneshot::channel();
        self.questions.send(Asked { message: message.to_vec(), answer }).await.map_err(|_| closed())?;
        answered.await.map_err(|_| closed())
    }
}

/// When this ends, all who wait are told by their channels.
async fn serve(stream: impl AsyncRead + AsyncWrite, questions: mpsc::Receiver<Asked>) {
    let waiting = Mutex::new(Waiting::default());
    let (input, output) = tokio::io::split(stream);
    // Apart, so that a server that waits for us to read does not keep us from it by not reading itself.
    let ended = tokio::select! {
        ended = write_questions(output, questions, &waiting) => ended,
        ended = read_answers(BufReader::new(input), &waiting) => ended,
    };
    if let Err(error) = ended {
        tracing::debug!("connection to an upstream ended: {error}");
    }
}

async fn write_questions(
    mut output: impl AsyncWrite + Unpin,
    mut questions: mpsc::Receiver<Asked>,
    waiting: &Mutex<Waiting>,
) -> io::Result<()> {
    let mut asked = Vec::with_capacity(QUEUE);
    while questions.recv_many(&mut asked, QUEUE).await > 0 {
        let mut bytes = Vec::new();
        for Asked { message, answer } in asked.drain(..) {
            let Some((_, rest)) = message.split_first_chunk::<2>() else { continue };
            let size = u16::try_from(message.len()).map_err(io::Error::other)?;
            let id = lock(waiting).add(answer);
            bytes.extend_from_slice(&size.to_be_bytes());
            bytes.extend_from_slice(&id.to_be_bytes());
            bytes.extend_from_slice(rest);
        }
        timeout(WRITE_TIME, async {
            output.write_all(&bytes).await?;
            output.flush().await
        })
        .await??;
    }
    Ok(())
}

async fn read_answers(mut input: impl AsyncRead + Unpin, waiting: &Mutex<Waiting>) -> io::Result<()> {
    loop {
        let mut response = vec![0; usize::from(input.read_u16().await?)];
        input.read_exact(&mut response).await?;
        let id = response.first_chunk::<2>().map(|id| u16::from_be_bytes(*id));
        if let Some(answer) = id.and_then(|id| lock(waiting).questions.remove(&id)) {
            // Fails when nobody waits any more.
            let _ = answer.send(response);
        }
    }
}

/// Who waits for which answer, by the id on the stream.
#[derive(Default)]
struct Waiting {
    questions: HashMap<u16, oneshot::Sender<Vec<u8>>>,
    next_id: u16,
}

impl Waiting {
    /// Not many more than [`MAX_IN_FLIGHT`] questions are still waited for, so that there is an id for each.
    fn add(&mut self, answer: oneshot::Sender<Vec<u8>>) -> u16 {
        if self.questions.len() >= MAX_IN_FLIGHT {
            self.questions.retain(|_, answer| !answer.is_closed());
        }
        loop {
            let id = self.next_id;
            self.next_id = id.wrapping_add(1);
            if let Entry::Vacant(free) = self.questions.entry(id) {
                free.insert(answer);
                return id;
            }
        }
    }
}
