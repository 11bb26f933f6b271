//! The program `pkdns-cli`: keys, zones and the DHT from the command line.
//!
//! This library is internal to the program. It exists so that benchmarks, tests and fuzz targets can use parts of the program, promises no stability,
//! and changes without notice; `pkdns` is the library for others.

mod certificate;
mod child;
mod command_line;
mod connect;
mod core_files;
mod dns;
mod doctor;
mod external_address;
mod failure;
mod generate;
mod http_client;
mod import;
mod input;
mod keeper;
mod name;
mod name_servers;
mod network;
#[doc(hidden)]
pub mod packet;
mod publickey;
mod publish;
mod publisher;
mod qr;
#[doc(hidden)]
pub mod records;
mod republish;
mod resolve;
mod secret_key;
#[doc(hidden)]
pub mod seed;
#[doc(hidden)]
pub mod serve;
mod servers;
mod shell;
mod sources;
mod systemd;
mod terminal;
#[cfg(test)]
mod testing;
mod testnet;
mod time;
mod trust;
#[doc(hidden)]
pub mod vanity;
mod zone;
mod zone_file;
mod zone_source;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::{EXIT_CODES, Failure};

/// Make keys, publish zone files to the Mainline DHT and resolve public-key domains.
#[derive(Parser)]
#[command(version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(flatten)]
    network: network::NetworkArguments,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Certificate(certificate::Arguments),
    Completions(shell::CompletionsArguments),
    Connect(connect::Arguments),
    Doctor(doctor::Arguments),
    Generate(generate::Arguments),
    Import(import::Arguments),
    Export(import::ExportArguments),
    Man(shell::ManArguments),
    Publickey(publickey::Arguments),
    Publish(publish::Arguments),
    Password(serve::PasswordArguments),
    Republish(republish::Arguments),
    Resolve(resolve::Arguments),
    Serve(serve::Arguments),
    Servers(servers::Arguments),
    Testnet(testnet::Arguments),
    Trust(trust::Arguments),
    Vanity(vanity::Arguments),
    Zone(zone::Arguments),
}

/// What stands in a message in place of what looks like a seed.
const SECRET: &str = "(this looks like a seed, which belongs into a file and not on the command line)";

/// The whole program, with the arguments of this process.
pub fn main() -> ExitCode {
    core_files::forbid();
    match run(command_line::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if failure != Failure::OutputClosed {
                terminal::fail(&failure.to_string(), failure.exit_code());
            }
            failure.exit_code().into()
        }
    }
}

/// Ends the program with help, or with a message on usage. That repeats what it refuses, which may be a seed in place of
/// its file.
fn refuse(error: &clap::Error) -> ! {
    let arguments = std::env::args_os().filter_map(|argument| argument.into_string().ok());
    let values = arguments.map(|argument| match argument.split_once('=') {
        Some((_, value)) => value.to_string(),
        None => argument,
    });
    let secrets: Vec<String> = values.filter(|value| seed::looks_like_a_secret(value)).collect();
    if !error.use_stderr() || (secrets.is_empty() && !terminal::is_json()) {
        error.exit();
    }
    let message = error.render().to_string();
    let hide = |message: String, secret: &String| match name::length_near_a_key(secret) {
        // Whoever copied a key by a double click is not to look for a seed.
        Some(length) => message.replace(secret.as_str(), &format!("({length} characters)")),
        None => message.replace(secret.as_str(), SECRET),
    };
    command_line::end(&secrets.iter().fold(message, hide), error.exit_code())
}

fn run(Arguments { network, command }: Arguments) -> Result<(), Failure> {
    let network = network.with_environment()?;
    match command {
        Command::Certificate(arguments) => certificate::run(&arguments, &network),
        Command::Completions(arguments) => shell::print_completions(&arguments),
        Command::Connect(arguments) => connect::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments, &network),
        Command::Man(arguments) => shell::write_manual(&arguments),
        Command::Generate(arguments) => generate::run(&arguments),
        Command::Import(arguments) => import::run(&arguments),
        Command::Export(arguments) => import::export(&arguments),
        Command::Publickey(arguments) => publickey::run(&arguments),
        Command::Publish(arguments) => publish::run(&arguments, &network),
        Command::Password(arguments) => serve::hash_password(&arguments),
        Command::Serve(arguments) => serve::run(&arguments, &network),
        Command::Servers(arguments) => servers::run(&arguments),
        Command::Republish(arguments) => republish::run(&arguments, &network),
        Command::Resolve(arguments) => resolve::run(&arguments, &network),
        Command::Testnet(arguments) => testnet::run(&arguments),
        Command::Trust(arguments) => trust::run(&arguments),
        Command::Vanity(arguments) => vanity::run(&arguments),
        Command::Zone(arguments) => zone::run(&arguments),
    }
}
