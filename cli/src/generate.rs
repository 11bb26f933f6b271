//! `generate`: a new key, its secret in a file and nowhere else.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use crate::{
    failure::Failure,
    qr,
    secret_key::SecretKey,
    seed::{self, EncryptionArguments},
    terminal,
};

/// Make a new key and write its secret to a seed file
///
/// The file can be read by you alone, is never overwritten, and its content is never printed. Keep a copy in a safe
/// place, for without it the zone cannot be changed or kept alive.
#[derive(Args)]
pub(crate) struct Arguments {
    /// File to write the seed to; it must not exist yet [default: KEY.seed]
    ///
    /// KEY stands for the first 8 characters of the key.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    encryption: EncryptionArguments,
    /// Make the key of 12 words, and write them to this file, which must not exist yet
    ///
    /// As Pubky Ring does. The words are not encrypted, even where the seed file is.
    #[arg(long, value_name = "FILE")]
    words_file: Option<PathBuf>,
    /// Also print a QR code, with which a phone opens the page of the key
    #[arg(long)]
    qr: bool,
    /// Print one line of JSON
    #[arg(long, conflicts_with = "qr")]
    json: bool,
}

#[derive(Serialize)]
struct Generated<'a> {
    key: &'a str,
    seed_file: &'a Path,
    #[serde(skip_serializing_if = "Option::is_none")]
    words_file: Option<&'a Path>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    for file in [&arguments.out, &arguments.words_file].into_iter().flatten() {
        seed::refuse_existing(file)?;
    }
    let passphrase = arguments.encryption.new_passphrase()?;
    let words_file = arguments.words_file.as_deref();
    let secret_key = words_file.map_or_else(seed::random, seed::random_words)?;
    let file = arguments.out.clone().unwrap_or_else(|| seed::default_path(&secret_key));
    let passphrase = passphrase.as_ref().map(|passphrase| passphrase.as_slice());
    if let Err(error) = seed::write_new(&file, &secret_key, passphrase) {
        words_file.into_iter().for_each(seed::remove);
        return Err(error.into());
    }
    report(arguments, &secret_key, &file)
}

fn report(arguments: &Arguments, secret_key: &SecretKey, file: &Path) -> Result<(), Failure> {
    let key = secret_key.public_key().to_z32();
    let words_file = arguments.words_file.as_deref();
    if arguments.json {
        return terminal::print_json(&Generated { key: &key, seed_file: file, words_file });
    }
    let words = words_file.map_or_else(String::new, |file| {
        format!(
            "Words:       {}  (as good as the seed file: write them down, then delete it)\n",
            file.display()
        )
    });
    let code =
        if arguments.qr { format!("\n{}\n", qr::code(&secret_key.public_key())?) } else { String::new() };
    // More than the key alone: 52 characters redirected to a file would pass for a seed.
    terminal::print(&format!(
        "Public key:  {key}\n\
         Seed file:   {}  (the secret; keep a copy in a safe place)\n\
         {words}{code}\n\
         {}",
        file.display(),
        next_steps(file)
    ))
}

/// What comes after a new key. `file` holds its secret.
pub(crate) fn next_steps(file: &Path) -> String {
    let zone = file.with_extension("zone");
    let [file, zone] = [file, &zone].map(|path| terminal::quoted(&path.display().to_string()));
    format!(
        "Write a zone file, with the address of your web server:\n  \
           echo '@ 300 IN A 192.0.2.1' > {zone}\n\
         and publish it. With --watch it stays published; without, the DHT forgets it after some two hours:\n  \
           pkdns-cli publish {file} {zone} --watch"
    )
}
