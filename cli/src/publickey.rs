//! `publickey`: the key of a seed file.

use clap::Args;
use serde::Serialize;

use crate::{
    failure::Failure,
    qr,
    seed::{self, PassphraseArguments, SeedArguments},
    terminal,
};

/// Print the public key of a seed file
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    seed: SeedArguments,
    #[command(flatten)]
    passphrase: PassphraseArguments,
    /// Also print a QR code, with which a phone opens the page of the key
    #[arg(long)]
    qr: bool,
    /// Print one line of JSON
    #[arg(long, conflicts_with = "qr")]
    json: bool,
}

#[derive(Serialize)]
struct Key {
    key: String,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let public_key = seed::secret_key(arguments.seed.file()?, arguments.passphrase.source())?.public_key();
    let key = public_key.to_z32();
    if arguments.json {
        return terminal::print_json(&Key { key });
    }
    if arguments.qr {
        return terminal::print(&format!("{key}\n\n{}", qr::code(&public_key)?));
    }
    terminal::print(&key)
}
