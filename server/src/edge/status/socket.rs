//! The socket of `pkdns status`. Whoever connects gets one JSON document and the end; nothing is read from anybody.

use std::{
    fs::{self, DirBuilder, Metadata, Permissions},
    io::{self, Read},
    os::unix::{
        fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt},
        net::UnixStream,
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use nix::unistd::geteuid;
use thiserror::Error;
use tokio::{
    io::AsyncWriteExt,
    net::{UnixListener, UnixStream as Connection},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::debug;

use super::Status;

/// Who asks is a person, or a script that watches.
const MAX_CONNECTIONS: usize = 4;

/// A document fits the buffer of a socket, or is read at once.
const WRITE_DEADLINE: Duration = Duration::from_secs(2);

/// A server that is alive writes at once.
const READ_DEADLINE: Duration = Duration::from_secs(5);

/// Far more than a document with as many upstreams as there may be.
const MAX_DOCUMENT: u64 = 4 << 20;

/// After a connection could not be taken, for want of descriptors.
const PAUSE: Duration = Duration::from_millis(200);

/// A socket that only its user and root may connect to.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and number of the file, to tell it from one that another process has put in its place.
    identity: (u64, u64),
}

/// Why there is no socket to ask for the status.
#[derive(Debug, Error)]
pub enum SocketError {
    /// Another server answers there.
    #[error("{} is the socket of another pkdns that runs; give this one another --pkdns-dir or status.path", .0.display())]
    InUse(PathBuf),
    /// There is something else.
    #[error("{} is not a socket; remove it or write another status.path", .0.display())]
    NotASocket(PathBuf),
    /// It cannot be made.
    #[error("{}: {source}; check status.path and that pkdns may write there", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Socket {
    /// Listens at `path`, in a directory that is made where there is none. What a server left behind that did not come
    /// to its end is replaced. Must be called in a Tokio runtime.
    ///
    /// # Errors
    ///
    /// When another server listens there, or the file cannot be made.
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        let failed = |source| SocketError::Io { path: path.to_owned(), source };
        match path.symlink_metadata() {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(SocketError::NotASocket(path.to_owned()));
            }
            Ok(_) if UnixStream::connect(path).is_ok() => return Err(SocketError::InUse(path.to_owned())),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
            DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        }
        // Under another name first, so that nobody can connect before the rights are set, and a stale socket is replaced
        // in one step.
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push("~");
        let new = path.with_file_name(name);
        let _ = fs::remove_file(&new);
        let listener = UnixListener::bind(&new).map_err(failed)?;
        let placed = fs::set_permissions(&new, Permissions::from_mode(0o600))
            .and_then(|()| new.symlink_metadata())
            .and_then(|made| fs::rename(&new, path).map(|()| identity(&made)));
        let identity = placed.inspect_err(|_| drop(fs::remove_file(&new))).map_err(failed)?;
        Ok(Self { listener, path: path.to_owned(), identity })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Answers whoever may ask until `stop` is cancelled, and removes the file then.
    pub async fn serve(
        self,
        read: impl Fn() -> Status + Send + Sync + 'static,
        stop: CancellationToken,
        tasks: TaskTracker,
    ) {
        let read = Arc::new(read);
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let accepting = async {
            loop {
                let Ok(place) = places.clone().acquire_owned().await else { return };
                let Ok((connection, _)) = self.listener.accept().await else {
                    sleep(PAUSE).await;
                    continue;
                };
                if !may_ask(&connection) {
                    continue;
                }
                let read = read.clone();
                tasks.spawn(async move {
                    let _place = place;
                    if !matches!(timeout(WRITE_DEADLINE, write(connection, &read())).await, Ok(Ok(()))) {
                        debug!("somebody asked for the status and did not read it");
                    }
                });
            }
        };
        stop.run_until_cancelled(accepting).await;
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // A successor may have put its own in this place.
        if self.path.symlink_metadata().is_ok_and(|found| identity(&found) == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// The rights of the file say so already, where systems heed them.
fn may_ask(connection: &Connection) -> bool {
    connection.peer_cred().is_ok_and(|peer| peer.uid() == 0 || peer.uid() == geteuid().as_raw())
}

async fn write(mut connection: Connection, status: &Status) -> io::Result<()> {
    let mut document = serde_json::to_vec(status)?;
    document.push(b'\n');
    connection.write_all(&document).await?;
    connection.shutdown().await
}

/// Why there is no status to show.
#[derive(Debug, Error)]
pub enum AskError {
    /// There is no socket.
    #[error("no pkdns runs with this directory: there is no {}; name its directory with --pkdns-dir, or its socket with --socket", .0.display())]
    Absent(PathBuf),
    /// There is a socket, and nobody behind it.
    #[error("no pkdns runs: {} was left behind by one that was killed", .0.display())]
    NobodyThere(PathBuf),
    /// It belongs to somebody else.
    #[error("{} may be asked only by the user that pkdns runs as and by root; try with sudo", .0.display())]
    Denied(PathBuf),
    /// It was no document.
    #[error("{} gave no status: {reason}", path.display())]
    NoStatus {
        /// The socket.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// Asks the server that listens at `path`. Returns what it said, and its meaning. Blocks for some seconds at most.
///
/// # Errors
///
/// When nobody answers there.
pub fn ask(path: &Path) -> Result<(String, Status), AskError> {
    let no_status = |reason: String| AskError::NoStatus { path: path.to_owned(), reason };
    let mut connection = UnixStream::connect(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => AskError::Absent(path.to_owned()),
        io::ErrorKind::ConnectionRefused => AskError::NobodyThere(path.to_owned()),
        io::ErrorKind::PermissionDenied => AskError::Denied(path.to_owned()),
        _ => no_status(error.to_string()),
    })?;
    let mut document = String::new();
    connection
        .set_read_timeout(Some(READ_DEADLINE))
        .and_then(|()| (&mut connection).take(MAX_DOCUMENT).read_to_string(&mut document))
        .map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => no_status("it did not answer in time".into()),
            _ => no_status(error.to_string()),
        })?;
    if document.is_empty() {
        return Err(AskError::Denied(path.to_owned()));
    }
    let status = serde_json::from_str(&document)
        .map_err(|error| no_status(format!("its answer is not the status of a pkdns ({error})")))?;
    Ok((document, status))
}

#[cfg(test)]
mod tests {
    use std::{io::Write, os::unix::net::UnixListener as Plain, thread};

    use tempfile::TempDir;

    use super::*;

    fn place() -> (TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/status.sock");
        (directory, path)
    }

    fn serve(path: &Path) -> (CancellationToken, tokio::task::JoinHandle<()>) {
        let stop = CancellationToken::new();
        let socket = Socket::bind(path).unwrap();
        let read = || Status { version: "1.2.3".into(), ..Status::default() };
        (stop.clone(), tokio::spawn(socket.serve(read, stop, TaskTracker::new())))
    }

    async fn asked(path: &Path) -> Result<Status, AskError> {
        let path = path.to_owned();
        tokio::task::spawn_blocking(move || ask(&path)).await.unwrap().map(|(_, status)| status)
    }

    #[tokio::test]
    async fn whoever_may_ask_gets_the_status_and_the_file_goes_with_the_server() {
        let (_directory, path) = place();
        let (stop, serving) = serve(&path);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        for _ in 0..3 * MAX_CONNECTIONS {
            assert_eq!(asked(&path).await.unwrap().version, "1.2.3");
        }
        stop.cancel();
        serving.await.unwrap();
        assert!(!path.exists());
        assert!(matches!(asked(&path).await, Err(AskError::Absent(_))));
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_one_that_is_alive_is_not() {
        let (_directory, path) = place();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        drop(Plain::bind(&path).unwrap());
        assert!(matches!(asked(&path).await, Err(AskError::NobodyThere(_))));
        let (stop, serving) = serve(&path);
        assert!(matches!(Socket::bind(&path), Err(SocketError::InUse(_))));
        assert_eq!(asked(&path).await.unwrap().version, "1.2.3");
        stop.cancel();
        serving.await.unwrap();
        fs::write(&path, "something else").unwrap();
        assert!(matches!(Socket::bind(&path), Err(SocketError::NotASocket(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "something else");
    }

    #[tokio::test]
    async fn what_a_successor_has_put_in_its_place_is_left_alone() {
        let (_directory, path) = place();
        let (stop, serving) = serve(&path);
        fs::rename(&path, path.with_extension("old")).unwrap();
        let successor = serve(&path);
        stop.cancel();
        serving.await.unwrap();
        assert_eq!(asked(&path).await.unwrap().version, "1.2.3");
        successor.0.cancel();
    }

    #[tokio::test]
    async fn those_who_do_not_read_hold_up_nobody_for_long() {
        let (_directory, path) = place();
        let (stop, serving) = serve(&path);
        let idle: Vec<_> = (0..20).filter_map(|_| UnixStream::connect(&path).ok()).collect();
        assert_eq!(asked(&path).await.unwrap().version, "1.2.3");
        drop(idle);
        stop.cancel();
        serving.await.unwrap();
    }

    #[test]
    fn what_is_no_status_is_said_to_be_none() {
        let (directory, _) = place();
        let path = directory.path().join("other.sock");
        let listener = Plain::bind(&path).unwrap();
        let answering = thread::spawn(move || {
            for answer in [&b"220 mail.example\r\n"[..], b""] {
                listener.accept().unwrap().0.write_all(answer).unwrap();
            }
        });
        let error = ask(&path).unwrap_err();
        assert!(error.to_string().contains("not the status of a pkdns"), "{error}");
        assert!(matches!(ask(&path), Err(AskError::Denied(_))));
        answering.join().unwrap();
    }
}
