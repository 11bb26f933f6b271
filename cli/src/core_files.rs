//! No core file is left of this program: it would hold the secrets that were in memory.

use nix::sys::resource::{Resource, rlim_t, setrlimit};

use crate::terminal;

/// Linux hands the memory of a program to systemd-coredump and the like even where the limit is 0, but not where it is 1,
/// which is too little for any file as well.
const MOST: rlim_t = if cfg!(target_os = "linux") { 1 } else { 0 };

/// Forbids them, for this program and those that it starts.
pub(crate) fn forbid() {
    if let Err(error) = setrlimit(Resource::RLIMIT_CORE, MOST, MOST) {
        terminal::note(&format!("warning: a crash could leave secrets in a core file: {error}"));
    }
}
