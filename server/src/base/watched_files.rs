//! Files that others write: read again when they change, and left as they were while they cannot be used.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
    sync::Arc,
    time::Duration,
};

use tokio::{task::spawn_blocking, time::sleep};

/// How often files are looked at. Who changes one wants to see it at work.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Reads a file of at most `limit` bytes. Blocks.
///
/// # Errors
///
/// When it cannot be read, is larger or is something else than a file.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    // Opening a named pipe would wait for somebody to write to it.
    if fs::metadata(path)?.is_file() {
        let mut bytes = Vec::new();
        File::open(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
        return match bytes.len() as u64 > limit {
            true => {
                Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {limit} bytes")))
            }
            false => Ok(bytes),
        };
    }
    Err(io::Error::other("it is not a file"))
}

/// Reads every [`LOOK_INTERVAL`] and gives new contents to `take`; both may block. What `take` has made of older ones stays
/// while there are none that it can use, and `complain` hears why, once: at the second look, since a file may be half
/// written at the first. `seen` is what the caller has read, taken and complained of.
///
/// Contents are compared as a whole: a new file may have the length and the time of the old one.
pub async fn watch<C: PartialEq + Send + Sync + 'static>(
    seen: Result<C, String>,
    read: impl Fn() -> Result<C, String> + Send + Sync + 'static,
    take: impl Fn(&C) -> Result<(), String> + Send + Sync + 'static,
    complain: impl Fn(&str),
) {
    let (mut seen, mut untold) = (Arc::new(seen), None);
    let (read, take) = (Arc::new(read), Arc::new(take));
    loop {
        sleep(LOOK_INTERVAL).await;
        let (before, read, take) = (seen.clone(), read.clone(), take.clone());
        let look = move || {
            let looked = read();
            let is_new = looked != *before;
            let fault = is_new.then(|| looked.as_ref().map_err(Clone::clone).and_then(|new| take(new)).err());
            (looked, fault)
        };
        match spawn_blocking(look).await {
            Ok((looked, Some(fault))) => (seen, untold) = (Arc::new(looked), fault),
            Ok((_, None)) => untold.take().iter().for_each(|fault: &String| complain(fault)),
            // The runtime ends.
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        sync::{Mutex, mpsc},
    };

    use super::*;

    /// What is taken and complained of, look by look. Contents that begin with "bad" cannot be used.
    async fn watched(first: Result<&str, &str>, looks: &[Result<&str, &str>]) -> Vec<String> {
        let owned = |look: &Result<&str, &str>| look.map(String::from).map_err(String::from);
        let (said, heard) = mpsc::channel();
        let (taken, complained) = (said.clone(), said);
        let rest: Mutex<VecDeque<_>> = Mutex::new(looks.iter().map(owned).collect());
        // What was read last stays.
        let last = owned(looks.last().expect("a look"));
        let count = u32::try_from(looks.len()).unwrap();
        let read = move || rest.lock().unwrap().pop_front().unwrap_or_else(|| last.clone());
        let take = move |new: &String| match new.starts_with("bad") {
            true => Err(format!("{new} is bad")),
            false => taken.send(format!("took {new}")).map_err(|error| error.to_string()),
        };
        let complain = |error: &str| complained.send(error.to_owned()).unwrap();
        let watching = watch(owned(&first), read, take, complain);
        let _ = tokio::time::timeout(LOOK_INTERVAL * (count + 3), watching).await;
        heard.try_iter().collect()
    }

    #[tokio::test(start_paused = true)]
    async fn new_contents_are_taken_at_once_and_faults_told_once() {
        let (gone, other) = (Err("gone"), Err("no right"));
        for (first, looks, expected) in [
            (Ok("a"), &[Ok("a"), Ok("b"), Ok("b"), Ok("c")][..], &["took b", "took c"][..]),
            (Ok("a"), &[gone, gone, gone], &["gone"]),
            (Ok("a"), &[gone, gone, Ok("a"), gone, gone], &["gone", "took a", "gone"]),
            // One that is being replaced.
            (Ok("a"), &[gone, Ok("b"), Ok("bad"), Ok("c")], &["took b", "took c"]),
            (Ok("a"), &[Ok("bad"), Ok("bad"), Ok("bad 2"), Ok("bad 2")], &["bad is bad", "bad 2 is bad"]),
            (Ok("a"), &[gone, gone, other, other], &["gone", "no right"]),
            // Of what was there first, the caller has spoken.
            (gone, &[gone, gone, Ok("a")], &["took a"]),
            (Ok("bad"), &[Ok("bad"), Ok("bad")], &[]),
        ] {
            assert_eq!(watched(first, looks).await, expected, "{first:?} {looks:?}");
        }
    }

    #[test]
    fn only_files_of_a_size_that_is_allowed_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        assert_eq!(read(&path, 4).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(read(&directory.path().join("none"), 5).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(read(directory.path(), 5).is_err());
    }
}
