//! Frame Streams to a collector: the protocol that carries dnstap, <https://farsightsec.github.io/fstrm/>. Its crate
//! `framestream` writes files, and has no handshake.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    time::Duration,
};

use nix::unistd::gethostname;
use tracing::{info, warn};

use super::{
    dnstap::{self, Tapped},
    queue::{Inbox, Next},
};
use crate::base::{backoff::Backoff, config::DnstapTarget};

const CONTENT_TYPE: &[u8] = b"protobuf:dnstap.Dnstap";

const ACCEPT: u32 = 1;
const START: u32 = 2;
const STOP: u32 = 3;
const READY: u32 = 4;
const FINISH: u32 = 5;

/// The only field of a control frame.
const FIELD_CONTENT_TYPE: u32 = 1;

/// Largest control frame that is read, in bytes.
const MAX_CONTROL_SIZE: usize = 512;

/// A collector that takes no bytes, or does not answer, for so long is left.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Between two tries to reach it.
const PAUSES: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(60) };

/// Bytes that are written at once.
const BATCH: usize = 64 * 1024;

/// The thread looks for the end of the process this often, when nothing is asked.
const IDLE: Duration = Duration::from_secs(60);

/// Whom frames go to, and as whom we speak.
pub(super) struct Collector {
    to: DnstapTarget,
    identity: String,
    version: String,
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// What a batch ends with.
enum After {
    More,
    End(Next<Tapped>),
}

impl Collector {
    /// `identity` is the host name when empty.
    pub(super) fn new(to: DnstapTarget, identity: &str) -> Self {
        let host_name = || gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default();
        let identity = if identity.is_empty() { host_name() } else { identity.to_owned() };
        Self { to, identity, version: format!("pkdns {}", env!("CARGO_PKG_VERSION")) }
    }

    /// Sends all that comes. What comes while there is no connection waits, as far as the queue has room. Runs until the
    /// end.
    pub(super) fn feed(self, inbox: Inbox<Tapped>) {
        let mut stream = None;
        loop {
            let (frames, after) = self.batch(&inbox);
            match after {
                After::More => self.send(&frames, &mut stream, &inbox),
                After::End(_told_when_dropped) => {
                    // One try: at the end nobody waits for a collector that has gone.
                    if stream.is_none() && !frames.is_empty() {
                        stream = self.connect().ok();
                    }
                    if let Some(stream) = &mut stream
                        && stream.write_all(&frames).is_ok()
                    {
                        let _ = finish(stream);
                    }
                    return;
                }
            }
        }
    }

    /// Waits for messages, and takes those that are there.
    fn batch(&self, inbox: &Inbox<Tapped>) -> (Vec<u8>, After) {
        let mut frames = Vec::new();
        let mut next = inbox.next(IDLE);
        loop {
            match next {
                Next::Item(tapped) => {
                    let payload = dnstap::encode(tapped, &self.identity, &self.version);
                    // A message has 64 KiB at most.
                    frames.extend_from_slice(&(payload.len() as u32).to_be_bytes());
                    frames.extend_from_slice(&payload);
                }
                Next::Nothing => return (frames, After::More),
                end @ Next::End(_) => return (frames, After::End(end)),
            }
            if frames.len() >= BATCH {
                return (frames, After::More);
            }
            next = inbox.next_at_hand();
        }
    }

    /// Writes frames, to a new connection where the old one is lost.
    fn send(&self, frames: &[u8], stream: &mut Option<Box<dyn Stream>>, inbox: &Inbox<Tapped>) {
        if frames.is_empty() {
            return;
        }
        let mut failures = 0_u32;
        let mut is_said = false;
        while !inbox.is_abandoned() {
            let error = match stream {
                Some(open) => match open.write_all(frames) {
                    Ok(()) => return,
                    Err(error) => error,
                },
                None => match self.connect() {
                    Ok(open) => {
                        info!("dnstap.to: {} takes messages", self.to);
                        *stream = Some(open);
                        continue;
                    }
                    Err(error) => error,
                },
            };
            let was_open = stream.take().is_some();
            if !is_said {
                warn!(
                    "dnstap.to: {}: {error}; trying again, and messages beyond those that may wait are left out",
                    self.to
                );
                is_said = true;
            }
            if !was_open {
                failures = failures.saturating_add(1);
                std::thread::sleep(PAUSES.after(failures));
            }
        }
    }

    fn connect(&self) -> io::Result<Box<dyn Stream>> {
        let mut stream: Box<dyn Stream> = match &self.to {
            DnstapTarget::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(TIMEOUT))?;
                stream.set_write_timeout(Some(TIMEOUT))?;
                Box::new(stream)
            }
            DnstapTarget::Tcp(address) => {
                let stream = TcpStream::connect_timeout(address, TIMEOUT)?;
                stream.set_read_timeout(Some(TIMEOUT))?;
                stream.set_write_timeout(Some(TIMEOUT))?;
                Box::new(stream)
            }
        };
        start(&mut stream)?;
        Ok(stream)
    }
}

/// Agrees with the reader on what is sent.
fn start(stream: &mut (impl Read + Write)) -> io::Result<()> {
    stream.write_all(&control(READY, Some(CONTENT_TYPE)))?;
    let accepted = read_control(stream, ACCEPT)?;
    let is_ours = |field: &[u8]| field == CONTENT_TYPE;
    if !content_types(&accepted).any(is_ours) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the reader does not take dnstap"));
    }
    stream.write_all(&control(START, Some(CONTENT_TYPE)))
}

/// Says that this was all, and hears that it has come.
fn finish(stream: &mut (impl Read + Write)) -> io::Result<()> {
    stream.write_all(&control(STOP, None))?;
    read_control(stream, FINISH).map(drop)
}

/// A control frame: an empty frame as a sign, and then its length, its kind and its field.
fn control(kind: u32, content_type: Option<&[u8]>) -> Vec<u8> {
    let mut body = kind.to_be_bytes().to_vec();
    if let Some(content_type) = content_type {
        body.extend_from_slice(&FIELD_CONTENT_TYPE.to_be_bytes());
        body.extend_from_slice(&(content_type.len() as u32).to_be_bytes());
        body.extend_from_slice(content_type);
    }
    [&0_u32.to_be_bytes()[..], &(body.len() as u32).to_be_bytes(), &body].concat()
}

/// Reads a control frame of one kind; returns its fields.
fn read_control(stream: &mut impl Read, kind: u32) -> io::Result<Vec<u8>> {
    let mut number = || {
        let mut bytes = [0; 4];
        stream.read_exact(&mut bytes).map(|()| u32::from_be_bytes(bytes))
    };
    let (sign, size, found) = (number()?, number()?, number()?);
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    if sign != 0 || found != kind || !(4..=MAX_CONTROL_SIZE).contains(&size) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the reader does not speak Frame Streams"));
    }
    let mut fields = vec![0; size - 4];
    stream.read_exact(&mut fields)?;
    Ok(fields)
}

fn content_types(mut fields: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (kind, rest) = fields.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (field, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        fields = rest;
        (u32::from_be_bytes(*kind) == FIELD_CONTENT_TYPE).then_some(field)
    })
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, os::unix::net::UnixListener, sync::mpsc, thread, time::SystemTime};

    use super::*;
    use crate::{
        base::metrics::StripedCounter,
        service::query_log::{
            Protocol,
            dnstap::Kind,
            queue::{Losses, Queue, queue},
        },
    };

    /// A reader that says these bytes, whatever it hears.
    struct Scripted {
        says: VecDeque<u8>,
        heard: Vec<u8>,
    }

    impl Read for Scripted {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.says.read(buffer)
        }
    }

    impl Write for Scripted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.heard.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn start_with(says: Vec<u8>) -> (io::Result<()>, Vec<u8>) {
        let mut reader = Scripted { says: says.into(), heard: Vec::new() };
        (start(&mut reader), reader.heard)
    }

    #[test]
    fn a_reader_is_asked_for_what_it_takes_before_anything_is_sent() {
        let (started, heard) = start_with(control(ACCEPT, Some(CONTENT_TYPE)));
        assert!(started.is_ok());
        assert_eq!(heard, [control(READY, Some(CONTENT_TYPE)), control(START, Some(CONTENT_TYPE))].concat());
        assert_eq!(control(READY, None), [0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 4]);
        for says in [
            Vec::new(),
            control(ACCEPT, None),
            control(ACCEPT, Some(b"protobuf:other")),
            control(FINISH, Some(CONTENT_TYPE)),
            b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
            [&[0; 4][..], &u32::MAX.to_be_bytes(), &[0; 64]].concat(),
            [&[0; 4][..], &3_u32.to_be_bytes(), &ACCEPT.to_be_bytes()].concat(),
            [control(ACCEPT, Some(CONTENT_TYPE))].concat()[..30].to_vec(),
        ] {
            let (started, heard) = start_with(says.clone());
            assert!(started.is_err(), "{says:?}");
            assert_eq!(heard, control(READY, Some(CONTENT_TYPE)), "{says:?}");
        }
    }

    fn tapped() -> Tapped {
        Tapped {
            kind: Kind::ClientQuery,
            client: [192, 0, 2, 0].into(),
            protocol: Protocol::Udp,
            asked: SystemTime::now(),
            took: Duration::ZERO,
            message: vec![0; 1000].into(),
        }
    }

    fn feed(path: std::path::PathBuf) -> (Queue<Tapped>, StripedCounter, thread::JoinHandle<()>) {
        let lost = StripedCounter::default();
        let (queue, inbox) = queue(10, 8000, Losses::new("dnstap", lost.clone()));
        let collector = Collector::new(DnstapTarget::Unix(path), "");
        (queue, lost, thread::spawn(move || collector.feed(inbox)))
    }

    #[test]
    fn a_collector_that_accepts_no_connection_costs_messages_and_the_thread_ends_with_the_server() {
        let directory = tempfile::tempdir().unwrap();
        let (queue, lost, thread) = feed(directory.path().join("nobody"));
        // More than a batch and a queue have room for.
        for _ in 0..200 {
            queue.push(tapped(), 1000);
        }
        assert!(lost.get() > 0);
        drop(queue);
        thread.join().unwrap();
    }

    /// A collector that takes one message and goes.
    fn take_one(listener: &UnixListener) -> Vec<u8> {
        let (mut stream, _) = listener.accept().unwrap();
        assert_eq!(content_types(&read_control(&mut stream, READY).unwrap()).next(), Some(CONTENT_TYPE));
        stream.write_all(&control(ACCEPT, Some(CONTENT_TYPE))).unwrap();
        read_control(&mut stream, START).unwrap();
        let mut size = [0; 4];
        stream.read_exact(&mut size).unwrap();
        let mut payload = vec![0; u32::from_be_bytes(size) as usize];
        stream.read_exact(&mut payload).unwrap();
        payload
    }

    #[test]
    fn what_comes_while_there_is_no_collector_is_sent_to_the_next_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("collector");
        let (queue, lost, _thread) = feed(path.clone());
        queue.push(tapped(), 1000);
        let expected = dnstap::encode(tapped(), "", "").len();
        for _ in 0..2 {
            let listener = UnixListener::bind(&path).unwrap();
            let (taken, payload) = mpsc::channel();
            thread::spawn(move || taken.send(take_one(&listener)));
            let payload = payload.recv_timeout(Duration::from_secs(30)).expect("a message");
            assert!(payload.len() > expected);
            // The next message meets a closed connection.
            std::fs::remove_file(&path).unwrap();
            queue.push(tapped(), 1000);
        }
        assert_eq!(lost.get(), 0);
    }

    #[test]
    fn a_collector_that_says_nothing_holds_up_its_own_thread_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("silent");
        let listener = UnixListener::bind(&path).unwrap();
        let (queue, lost, _thread) = feed(path);
        queue.push(tapped(), 1000);
        let (_silent, _) = listener.accept().unwrap();
        for _ in 0..200 {
            queue.push(tapped(), 1000);
        }
        assert!(lost.get() > 0);
    }
}
