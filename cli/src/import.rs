//! `import` and `export`: secrets from and for other programs.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::{
    failure::Failure,
    generate,
    seed::{self, PassphraseArguments, SeedArguments, Source},
    terminal,
};

/// Make a seed file of a secret in any form
///
/// Reads seeds in hexadecimal and z-base-32, age files with a passphrase, Pubky recovery files, and 12 or 24 words
/// (BIP-39) as Pubky Ring uses them. Every other command that takes a seed file reads these as well.
#[derive(Args)]
pub(crate) struct Arguments {
    /// File with the secret; "-" reads standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    passphrase: PassphraseArguments,
    /// Seed file to write; it must not exist yet
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Encrypt the seed file with a passphrase, as an age file
    #[arg(long)]
    encrypt: bool,
    /// With --encrypt: file whose first line is the new passphrase [default: ask]
    ///
    /// "-" reads standard input.
    #[arg(long, value_name = "FILE", requires = "encrypt")]
    new_passphrase_file: Option<PathBuf>,
}

/// Make a Pubky recovery file of a seed file
///
/// Pubky Ring and other programs of Pubky read it. All recovery files share one salt, so an attacker tries a passphrase
/// on all of them at once: use a long one, and seed files made with --encrypt for your own copies.
#[derive(Args)]
pub(crate) struct ExportArguments {
    #[command(flatten)]
    seed: SeedArguments,
    #[command(flatten)]
    passphrase: PassphraseArguments,
    /// Recovery file to write; it must not exist yet
    #[arg(long, value_name = "FILE")]
    recovery_file: PathBuf,
    /// File whose first line is the passphrase of the recovery file [default: ask]
    ///
    /// "-" reads standard input.
    #[arg(long, value_name = "FILE")]
    new_passphrase_file: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    seed::refuse_existing(&arguments.out)?;
    let source =
        new_source(&arguments.file, &arguments.passphrase, arguments.new_passphrase_file.as_deref())?;
    let secret_key = seed::secret_key(&arguments.file, arguments.passphrase.source())?;
    let passphrase = arguments.encrypt.then(|| source.new_passphrase()).transpose()?;
    seed::write_new(
        &arguments.out,
        &secret_key,
        passphrase.as_ref().map(|passphrase| passphrase.as_slice()),
    )?;
    let (key, file) = (secret_key.public_key(), arguments.out.display());
    let next_steps = generate::next_steps(&arguments.out);
    terminal::print(&format!("Public key:  {key}\nSeed file:   {file}\n\n{next_steps}"))
}

pub(crate) fn export(arguments: &ExportArguments) -> Result<(), Failure> {
    seed::refuse_existing(&arguments.recovery_file)?;
    let file = arguments.seed.file()?;
    let source = new_source(file, &arguments.passphrase, arguments.new_passphrase_file.as_deref())?;
    let secret_key = seed::secret_key(file, arguments.passphrase.source())?;
    let seed = secret_key.seed().ok_or(seed::SeedError::NoSeed)?;
    let passphrase = source.new_passphrase()?;
    seed::write_recovery_file(&arguments.recovery_file, seed, &passphrase)?;
    let (key, file) = (secret_key.public_key(), arguments.recovery_file.display());
    terminal::print(&format!("Public key:     {key}\nRecovery file:  {file}"))
}

/// Who knows the passphrase of the new file. Standard input is read once.
fn new_source<'a>(
    secret: &Path,
    passphrase: &PassphraseArguments,
    new_passphrase_file: Option<&'a Path>,
) -> Result<Source<'a>, Failure> {
    let standard_input = Path::new("-");
    let is_taken = secret == standard_input || passphrase.source() == Source::File(standard_input);
    if is_taken && new_passphrase_file == Some(standard_input) {
        return Err(Failure::Failed(
            "standard input cannot be both what is read and the new passphrase: name a file".to_string(),
        ));
    }
    Ok(Source::of(new_passphrase_file))
}
