//! `pkdns-cli`: keys, zones and the DHT from the command line.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

/// What strangers make `serve` take is given back to the system when it is over.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    pkdns_cli::main()
}
