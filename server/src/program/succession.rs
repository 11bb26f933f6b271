//! A new process of this program takes the place of the old one and loses nothing: it gets the listening sockets
//! themselves, so that what lies in their buffers is read by whoever comes first.
//!
//! Both talk over a socket that is the standard input of the new one. One message each, the first with the number of
//! those that follow, which carry a socket each:
//!
//! | From | Message | |
//! |---|---|---|
//! | old | `pkdns 1 NUMBER` | the version of this table |
//! | old | `NAME assigned` or `NAME bound` | a listening socket, see [`Heirloom`] |
//! | new | `files` | the configuration is in order: the files of the old one are wanted |
//! | old | `files` | they are closed |
//! | new | `serving` | everything listens and is answered |
//! | old | `take over` | the service manager knows who the new one is; the old one takes in nothing more |
//!
//! Whichever ends before that leaves the other where it was: the old one serves, the new one does not start.

use std::{
    env, io,
    io::{IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
    os::unix::process::parent_id,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use listenfd::ListenFd;
use nix::unistd::{close, dup2_stdin};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
    sockopt::{Timeout, set_socket_timeout},
};
use thiserror::Error;
use tracing::warn;

use crate::{edge::transport::Heirloom, program::service_manager};

/// Names the process that we are to succeed, to tell it from any other parent.
const VARIABLE: &str = "PKDNS_PREDECESSOR";

const VERSION: &str = "1";

/// For reading the configuration and certificates. The old process serves meanwhile as ever.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// For everything from then on, while the old process serves from memory.
const SERVE_DEADLINE: Duration = Duration::from_secs(20);

/// A new process that gives up may say so in the log for so long.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A message takes less.
const MAX_MESSAGE: usize = 64;

/// Sockets that are handed over, at most: some hundred addresses on a machine of some hundred cores.
const MAX_SOCKETS: usize = 65_536;

/// Why another process does not take our place.
#[derive(Debug, Error)]
pub enum SuccessionError {
    /// It has ended.
    #[error("it has ended; the log says why")]
    Ended,
    /// It takes too long.
    #[error("it made no progress for {} s", .0.as_secs())]
    Late(Duration),
    /// It says what it should not.
    #[error("it does not understand this version")]
    Foreign,
    /// The system did not do what it was told.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The new process, as the old one sees it. Ended when it is dropped before it has taken over, which
/// blocks for up to a second.
#[derive(Debug)]
pub struct Successor {
    channel: Channel,
    child: Child,
    has_taken_over: bool,
}

/// The old process, as the new one sees it.
#[derive(Debug)]
pub struct Predecessor(Channel);

/// What there was when this process began.
#[derive(Debug, Default)]
pub struct Origin {
    /// The process that this one succeeds.
    pub predecessor: Option<Predecessor>,
    /// Sockets of that one, or of a service manager.
    pub heirlooms: Vec<Heirloom>,
}

#[derive(Debug)]
struct Channel(OwnedFd);

impl Origin {
    /// Looks at the environment. To be called before there is a second thread.
    ///
    /// # Errors
    ///
    /// When there is a predecessor that cannot be understood.
    pub fn find() -> Result<Self, SuccessionError> {
        let is_meant = env::var(VARIABLE).is_ok_and(|text| text == parent_id().to_string());
        if !is_meant {
            return Ok(Self { predecessor: None, heirlooms: of_service_manager() });
        }
        let channel = Channel(io::stdin().as_fd().try_clone_to_owned()?);
        // Nobody else is to read from it by mistake.
        dup2_stdin(std::fs::File::open("/dev/null")?).map_err(io::Error::from)?;
        let heirlooms = channel.receive_heirlooms()?;
        Ok(Self { predecessor: Some(Predecessor(channel)), heirlooms })
    }
}

impl Predecessor {
    /// Returns when the files of packets and of DHT nodes are free. Blocks.
    ///
    /// # Errors
    ///
    /// When the old process does not give them, and goes on.
    pub fn ask_for_files(&self) -> Result<(), SuccessionError> {
        self.0.say("files", None)?;
        self.0.expect("files", SERVE_DEADLINE)
    }

    /// Everything is answered. Returns when the old process leaves that to us. Blocks.
    ///
    /// # Errors
    ///
    /// When the old process has gone or goes on: then this one is too many.
    pub fn take_over(self) -> Result<(), SuccessionError> {
        self.0.say("serving", None)?;
        self.0.expect("take over", SERVE_DEADLINE)
    }
}

impl Successor {
    /// Runs `command`, and hands the sockets over. Blocks.
    ///
    /// # Errors
    ///
    /// When it cannot be run.
    pub fn start(mut command: Command, heirlooms: &[Heirloom]) -> Result<Self, SuccessionError> {
        let (near, far) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(io::Error::from)?;
        for variable in service_manager::OF_ONE_PROCESS {
            command.env_remove(variable);
        }
        let child = command.env(VARIABLE, std::process::id().to_string()).stdin(Stdio::from(far)).spawn()?;
        // The command holds the far end as well, and we are to notice when the process ends.
        drop(command);
        let successor = Self { channel: Channel(near), child, has_taken_over: false };
        successor.channel.send_heirlooms(heirlooms)?;
        Ok(successor)
    }

    /// Its number.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Returns when it needs our files. Blocks.
    ///
    /// # Errors
    ///
    /// When it has found something wrong, or takes too long.
    pub fn wait_for_files(&self) -> Result<(), SuccessionError> {
        self.channel.expect("files", START_DEADLINE)
    }

    /// Our files are closed. Returns when it answers. Blocks.
    ///
    /// # Errors
    ///
    /// When it does not.
    pub fn serve(&self) -> Result<(), SuccessionError> {
        self.channel.say("files", None)?;
        self.channel.expect("serving", SERVE_DEADLINE)
    }

    /// It is the service from now on.
    ///
    /// # Errors
    ///
    /// When it has just ended.
    pub fn appoint(mut self) -> Result<(), SuccessionError> {
        self.channel.say("take over", None)?;
        self.has_taken_over = true;
        Ok(())
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        if self.has_taken_over {
            return;
        }
        let end = Instant::now() + LAST_WORDS;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < end {
            sleep(LAST_WORDS / 20);
        }
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Channel {
    fn send_heirlooms(&self, heirlooms: &[Heirloom]) -> Result<(), SuccessionError> {
        self.say(&format!("pkdns {VERSION} {}", heirlooms.len()), None)?;
        for Heirloom { socket, name, is_assigned } in heirlooms {
            let origin = if *is_assigned { "assigned" } else { "bound" };
            self.say(&format!("{name} {origin}"), Some(socket))?;
        }
        Ok(())
    }

    fn receive_heirlooms(&self) -> Result<Vec<Heirloom>, SuccessionError> {
        let (greeting, _) = self.hear(SERVE_DEADLINE)?;
        let number = greeting.strip_prefix(&format!("pkdns {VERSION} ")).and_then(|text| text.parse().ok());
        let number: usize = number.filter(|number| *number <= MAX_SOCKETS).ok_or(SuccessionError::Foreign)?;
        let mut heirlooms = Vec::new();
        for _ in 0..number {
            let (text, socket) = self.hear(SERVE_DEADLINE)?;
            let (name, origin) = text.split_once(' ').ok_or(SuccessionError::Foreign)?;
            let socket = socket.ok_or(SuccessionError::Foreign)?;
            heirlooms.push(Heirloom { socket, name: name.to_owned(), is_assigned: origin == "assigned" });
        }
        Ok(heirlooms)
    }

    fn expect(&self, text: &str, limit: Duration) -> Result<(), SuccessionError> {
        let (heard, _) = self.hear(limit)?;
        if heard == text { Ok(()) } else { Err(SuccessionError::Foreign) }
    }

    fn say(&self, text: &str, socket: Option<&OwnedFd>) -> Result<(), SuccessionError> {
        set_socket_timeout(&self.0, Timeout::Send, Some(SERVE_DEADLINE)).map_err(io::Error::from)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let rights = socket.map(AsFd::as_fd);
        if let Some(rights) = &rights {
            // There is room for one.
            control.push(SendAncillaryMessage::ScmRights(std::slice::from_ref(rights)));
        }
        match sendmsg(&self.0, &[IoSlice::new(text.as_bytes())], &mut control, SendFlags::NOSIGNAL) {
            Ok(_) => Ok(()),
            Err(error) => Err(failed(error.into(), SERVE_DEADLINE)),
        }
    }

    fn hear(&self, limit: Duration) -> Result<(String, Option<OwnedFd>), SuccessionError> {
        set_socket_timeout(&self.0, Timeout::Recv, Some(limit)).map_err(io::Error::from)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut text = [0; MAX_MESSAGE];
        let received =
            recvmsg(&self.0, &mut [IoSliceMut::new(&mut text)], &mut control, RecvFlags::CMSG_CLOEXEC)
                .map_err(|error| failed(error.into(), limit))?;
        let socket = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut sockets) => sockets.next(),
            _ => None,
        });
        let text =
            text.get(..received.bytes).filter(|text| !text.is_empty()).ok_or(SuccessionError::Ended)?;
        let text = String::from_utf8(text.to_vec()).map_err(|_| SuccessionError::Foreign)?;
        Ok((text, socket))
    }
}

fn failed(error: io::Error, limit: Duration) -> SuccessionError {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => SuccessionError::Late(limit),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => SuccessionError::Ended,
        _ => SuccessionError::Io(error),
    }
}

/// Sockets that systemd, or whoever speaks like it, has bound for us (sd_listen_fds(3)). Those of a kind that we cannot serve
/// are closed, with a warning.
fn of_service_manager() -> Vec<Heirloom> {
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':').map(|name| if name.is_empty() { "unknown" } else { name });
    let mut sockets = ListenFd::from_env();
    let mut heirlooms = Vec::new();
    for index in 0..sockets.len() {
        let name = names.next().unwrap_or("unknown").to_owned();
        let stream = sockets.take_tcp_listener(index).map(|it| it.map(OwnedFd::from));
        let taken = stream.or_else(|_| sockets.take_udp_socket(index).map(|it| it.map(OwnedFd::from)));
        match taken {
            Ok(Some(socket)) => heirlooms.push(Heirloom { socket, name, is_assigned: true }),
            Ok(None) => {}
            Err(error) => {
                warn!(
                    "a socket was handed over as `{name}` and is closed: {error}; use ListenStream= and ListenDatagram="
                );
                if let Ok(Some(descriptor)) = sockets.take_raw_fd(index) {
                    let _ = close(descriptor);
                }
            }
        }
    }
    heirlooms
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    fn pair() -> (Channel, Channel) {
        let (one, other) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        (Channel(one), Channel(other))
    }

    #[test]
    fn sockets_arrive_with_their_names_and_are_the_same() {
        let (old, new) = pair();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let heirlooms: Vec<_> = [("dns", false), ("https", true)]
            .map(|(name, is_assigned)| Heirloom {
                socket: socket.try_clone().unwrap().into(),
                name: name.into(),
                is_assigned,
            })
            .into();
        old.send_heirlooms(&heirlooms).unwrap();
        let received = new.receive_heirlooms().unwrap();
        let known: Vec<_> = received.iter().map(|it| (it.name.as_str(), it.is_assigned)).collect();
        assert_eq!(known, [("dns", false), ("https", true)]);
        for Heirloom { socket, .. } in received {
            assert_eq!(UdpSocket::from(socket).local_addr().unwrap(), address);
        }
    }

    #[test]
    fn whoever_is_late_gone_or_foreign_is_told_apart() {
        let (old, new) = pair();
        let limit = Duration::from_millis(10);
        assert!(matches!(old.expect("files", limit), Err(SuccessionError::Late(_))));
        new.say("something", None).unwrap();
        assert!(matches!(old.expect("files", limit), Err(SuccessionError::Foreign)));
        old.say("pkdns 2 0", None).unwrap();
        assert!(matches!(new.receive_heirlooms(), Err(SuccessionError::Foreign)));
        drop(new);
        assert!(matches!(old.expect("files", limit), Err(SuccessionError::Ended)));
        assert!(matches!(old.say("files", None), Err(SuccessionError::Ended)));
    }

    #[test]
    fn a_program_that_is_not_there_or_ends_at_once_does_not_succeed_us() {
        assert!(matches!(Successor::start(Command::new("/nowhere/pkdns"), &[]), Err(SuccessionError::Io(_))));
        // It may have ended before it is written to.
        let ended =
            Successor::start(Command::new("true"), &[]).and_then(|successor| successor.wait_for_files());
        assert!(matches!(ended, Err(SuccessionError::Ended)), "{ended:?}");
    }
}
