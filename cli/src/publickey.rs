//! `publickey`: the key of a seed file.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::{failure::Failure, seed, terminal};

/// Print the public key of a seed file
#[derive(Args)]
pub(crate) struct Arguments {
    /// Seed file: 64 hexadecimal or 52 z-base-32 characters; "-" reads standard input
    #[arg(value_name = "SEEDFILE")]
    seed: PathBuf,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Key {
    key: String,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let key = seed::secret_key(&arguments.seed)?.public_key().to_z32();
    if arguments.json { terminal::print_json(&Key { key }) } else { terminal::print(&key) }
}
