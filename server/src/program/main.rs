//! `pkdns`: the server as a program, which is a part of the library.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

/// What a flood took is given back to the system when it is over.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    pkdns::run()
}
