//! `generate`: a new key.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use crate::{failure::Failure, seed, terminal};

/// Make a new key and write its seed to a file
///
/// The seed is the secret: whoever has it owns the zone. It is written to a new file that only you can read, and is
/// never printed. Keep a copy in a safe place, for without it the zone cannot be changed or kept alive.
#[derive(Args)]
pub(crate) struct Arguments {
    /// File to write the seed to; it must not exist yet [default: the first 8 characters of the key, and ".seed"]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Generated<'a> {
    key: &'a str,
    seed_file: &'a Path,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.out.as_deref() == Some(Path::new("-")) {
        return Err(Failure::Failed(
            "a seed is only ever written to a file: name one with --out".to_string(),
        ));
    }
    let secret_key = seed::random()?;
    let file = arguments.out.clone().unwrap_or_else(|| seed::default_path(&secret_key));
    seed::write_new(&file, &secret_key)?;
    let key = secret_key.public_key().to_z32();
    if arguments.json {
        return terminal::print_json(&Generated { key: &key, seed_file: &file });
    }
    // More than the key alone: 52 characters redirected to a file would pass for a seed.
    let file = file.display();
    terminal::print(&format!(
        "Public key:  {key}\n\
         Seed file:   {file}  (the secret; keep a copy in a safe place)\n\
         \n\
         Write a zone file, for example:\n  \
           echo '@ 300 IN A 192.0.2.1' > zone.txt\n\
         and publish it:\n  \
           pkdns-cli publish {file} zone.txt"
    ))
}
