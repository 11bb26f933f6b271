//! No core file is left of this program: it would hold the secrets that were in memory.

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, rlim_t, setrlimit};

use crate::terminal;

/// Linux hands the memory of a program to systemd-coredump and the like even where the limit is 0, but not where it is
/// 1, which is too little for any file as well.
const MOST: rlim_t = 1;

/// Forbids them, for this program and those that it starts.
pub(crate) fn forbid() {
    let (now, highest) = getrlimit(Resource::RLIMIT_CORE).unwrap_or((RLIM_INFINITY, RLIM_INFINITY));
    let limit = MOST.min(highest);
    // A service that may not change its limits is started with one of 0.
    if let Err(error) = setrlimit(Resource::RLIMIT_CORE, limit, limit)
        && now > limit
    {
        terminal::note(&format!("warning: a crash could leave secrets in a core file: {error}"));
    }
}
