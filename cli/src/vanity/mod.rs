//! `vanity`: a key that looks as wanted.

mod estimate;
mod search;

use std::{
    fs::{self, OpenOptions},
    io,
    path::{Path, PathBuf},
    pin::pin,
    process, thread,
    time::Instant,
};

use clap::Args;
use pkdns_dht::signed_packet::{PublicKey, Signer};
use serde::Serialize;
use tokio::time::{Duration, MissedTickBehavior, interval_at};

use crate::{
    failure::Failure,
    generate, network,
    secret_key::SecretKey,
    seed::{self, EncryptionArguments, FileName, SeedError},
    systemd::Stop,
    terminal,
};
use estimate::{Chance, Progress, count};
pub use search::{Found, Method, Pattern, Secret, Task};
use search::{Search, search};

/// Each is compared with every key.
const MAX_PATTERNS: usize = 100;

/// How often a waiting user is told.
const INTERVAL: Duration = Duration::from_secs(1);

/// Search for a key that begins or ends with a text
///
/// Each further character takes 32 times as long. Keys have only the characters ybndrfg8ejkmcpqxot1uwisza345h769, and
/// end with y or o. Any of the patterns will do; what is found first is taken.
///
/// The secret is written to a new file that only you can read, and never printed. It is one that pkdns-cli can sign
/// with, but it has no seed: the fast way to try keys gives only what is otherwise computed from a seed. Other programs
/// and recovery files want a seed; --portable searches for one, about two hundred times slower.
///
/// A search remembers nothing and writes nothing before it has found a key. It can be stopped at any time, and a new one
/// is as likely to find a key soon as the old one was.
#[derive(Args)]
pub(crate) struct Arguments {
    /// What the key begins with
    #[arg(value_name = "PATTERN", value_parser = Pattern::beginning, required_unless_present = "suffix")]
    prefix: Vec<Pattern>,
    /// What the key ends with instead; repeat it for more
    #[arg(long, value_name = "TEXT", value_parser = Pattern::end)]
    suffix: Vec<Pattern>,
    /// Search for a seed, which other programs can use as well; this is much slower
    #[arg(long)]
    portable: bool,
    /// Number of keys to find, with a file for each
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    count: u32,
    /// Number of threads that search [default: one for each core]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// File to write the secret to; it must not exist yet [default: KEY.seed]
    ///
    /// KEY stands for the first 8 characters of the key.
    #[arg(long, value_name = "FILE", conflicts_with = "count")]
    out: Option<PathBuf>,
    #[command(flatten)]
    encryption: EncryptionArguments,
    /// Print one line of JSON for each key
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    key: &'a str,
    seed_file: &'a Path,
    /// What the key begins or ends with.
    pattern: String,
    /// Whether the file holds a seed.
    portable: bool,
    /// Keys tried so far.
    tries: u64,
    seconds: f64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let patterns: Vec<_> = arguments.prefix.iter().chain(&arguments.suffix).cloned().collect();
    if patterns.len() > MAX_PATTERNS {
        return Err(Failure::Failed(format!(
            "{} patterns are too many: give at most {MAX_PATTERNS}",
            patterns.len()
        )));
    }
    check_writable(arguments.out.as_deref())?;
    let passphrase = arguments.encryption.new_passphrase()?;
    let passphrase = passphrase.as_ref().map(|passphrase| passphrase.as_slice());
    network::block_on(find(arguments, patterns, passphrase))
}

async fn find(
    arguments: &Arguments,
    patterns: Vec<Pattern>,
    passphrase: Option<&[u8]>,
) -> Result<(), Failure> {
    // First of all, so that a signal that comes early is not lost.
    let mut stopped = pin!(Stop::new()?.requested());
    let threads = match arguments.threads {
        Some(threads) => threads.into(),
        None => thread::available_parallelism().map_or(1, usize::from),
    };
    let method = if arguments.portable { Method::Seeds } else { Method::Walk };
    let began = Instant::now();
    let mut search = search(patterns, method, threads).map_err(|error| {
        Failure::Failed(format!("cannot start {threads} threads: {error}: try --threads 1"))
    })?;
    let chance = Chance(search.task().patterns().probability());
    terminal::note(&format!(
        "searching for {} on {threads} thread{}: {} tries expected",
        search.task().patterns().shown(),
        if threads == 1 { "" } else { "s" },
        count(chance.tries(arguments.count)),
    ));

    let (keys, mut found, mut tries_before) = (arguments.count, 0, 0);
    let mut ticks = interval_at(tokio::time::Instant::now() + INTERVAL, INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_first_tick = true;
    while found < keys {
        tokio::select! {
            biased;
            () = &mut stopped => return Err(stopped_early(search.task().tries(), found)),
            next = search.next() => {
                terminal::clear_status();
                let next = next.ok_or_else(|| Failure::Failed("the search ended by itself: report this".to_string()))?;
                let next = next.map_err(|error| SeedError::Random(error.0.to_string()))?;
                found += 1;
                tries_before = search.task().tries();
                if found == keys {
                    // The cores are free while the file is written.
                    search.task().stop();
                }
                keep(arguments, &search, &next, began, passphrase)?;
            }
            _ = ticks.tick() => {
                let tries = search.task().tries();
                let in_vain = tries.saturating_sub(tries_before);
                let progress = Progress { chance, keys, found, tries, in_vain, elapsed: began.elapsed() };
                if is_first_tick {
                    terminal::note(&progress.forecast());
                    is_first_tick = false;
                } else {
                    terminal::status(&progress.line());
                }
            }
        }
    }
    Ok(())
}

/// Whether the secret can be written when it is found, which may take days: makes a file and takes it away again.
fn check_writable(out: Option<&Path>) -> Result<(), Failure> {
    if out == Some(Path::new("-")) {
        return Err(Failure::Failed(
            "a seed is only ever written to a file: name one with --out".to_string(),
        ));
    }
    let file = out.map_or_else(|| PathBuf::from(format!("vanity-{}.seed", process::id())), Path::to_path_buf);
    let name = FileName::of(&file);
    let made = OpenOptions::new().write(true).create_new(true).open(&file);
    made.and_then(|_| fs::remove_file(&file)).map_err(|error| {
        Failure::from(match error.kind() {
            io::ErrorKind::AlreadyExists => SeedError::Exists { file: name },
            _ => SeedError::Write { file: name, error },
        })
    })
}

fn stopped_early(tries: u64, found: u32) -> Failure {
    terminal::clear_status();
    let (tries, written) = (
        count(tries as f64),
        match found {
            0 => "no key was found and nothing was written".to_string(),
            1 => "1 key was found and written".to_string(),
            found => format!("{found} keys were found and written"),
        },
    );
    Failure::Failed(format!(
        "stopped by a signal after {tries} tries: {written}. There is nothing to resume, for a new search is as likely \
         to find a key soon as this one was"
    ))
}

/// Writes the secret of a key and says where.
fn keep(
    arguments: &Arguments,
    search: &Search,
    found: &Found,
    began: Instant,
    passphrase: Option<&[u8]>,
) -> Result<(), Failure> {
    let secret_key = verified(found)?;
    let key = secret_key.public_key().to_z32();
    let file = write(arguments.out.as_deref(), &secret_key, &key, passphrase)?;
    if arguments.json {
        return terminal::print_json(&Report {
            key: &key,
            seed_file: &file,
            pattern: search.task().patterns().of(found.key).map(Pattern::shown).unwrap_or_default(),
            portable: arguments.portable,
            tries: search.task().tries(),
            seconds: (began.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
        });
    }
    let note = if arguments.portable { "" } else { ", for pkdns-cli alone" };
    let next_steps = match arguments.count {
        1 => format!("\n\n{}", generate::next_steps(&file)),
        _ => String::new(),
    };
    terminal::print(&format!(
        "Public key:  {key}\n\
         Seed file:   {}  (the secret{note}; keep a copy in a safe place){next_steps}",
        file.display(),
    ))
}

/// The file is named after the key unless told otherwise. Keys that begin alike get their whole name.
fn write(
    out: Option<&Path>,
    secret_key: &SecretKey,
    key: &str,
    passphrase: Option<&[u8]>,
) -> Result<PathBuf, Failure> {
    if let Some(file) = out {
        seed::write_new(file, secret_key, passphrase)?;
        return Ok(file.to_path_buf());
    }
    let file = seed::default_path(secret_key);
    match seed::write_new(&file, secret_key, passphrase) {
        Err(SeedError::Exists { .. }) => {
            let file = PathBuf::from(format!("{key}.seed"));
            seed::write_new(&file, secret_key, passphrase)?;
            Ok(file)
        }
        written => Ok(written.map(|()| file)?),
    }
}

/// The secret key, if it is that of the key that was found and others will believe what it signs.
fn verified(found: &Found) -> Result<SecretKey, Failure> {
    const TEXT: &[u8] = b"pkdns vanity";
    let secret_key = match &found.secret {
        Secret::Seed(seed) => Some(SecretKey::from_seed(seed)),
        Secret::Expanded(bytes) => SecretKey::from_expanded(bytes),
    };
    secret_key
        .filter(|secret_key| {
            let signature = secret_key.sign(TEXT);
            PublicKey::try_from(&found.key).is_ok_and(|key| {
                key == secret_key.public_key() && key.verify(TEXT, &(&signature).into()).is_ok()
            })
        })
        .ok_or_else(|| {
            Failure::Failed(
                "the key found does not belong to its secret, and was not written: report this".to_string(),
            )
        })
}
