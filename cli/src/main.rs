//! `pkdns-cli`: keys, zones and the DHT from the command line.

mod core_files;
mod external_address;
mod failure;
mod generate;
mod import;
mod keeper;
mod name;
mod network;
mod packet;
mod publickey;
mod publish;
mod publisher;
mod qr;
mod records;
mod republish;
mod resolve;
mod secret_key;
mod seed;
mod serve;
mod service;
mod sources;
mod terminal;
mod testnet;
mod time;
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
    Generate(generate::Arguments),
    Import(import::Arguments),
    Export(import::ExportArguments),
    Publickey(publickey::Arguments),
    Publish(publish::Arguments),
    Password(serve::PasswordArguments),
    Republish(republish::Arguments),
    Resolve(resolve::Arguments),
    Serve(serve::Arguments),
    Testnet(testnet::Arguments),
    Zone(zone::Arguments),
}

fn main() -> ExitCode {
    core_files::forbid();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if failure != Failure::OutputClosed {
                terminal::note(&format!("error: {failure}"));
            }
            failure.exit_code()
        }
    }
}

/// Says what is wrong with the command line, unless it repeats a secret that was given there by mistake.
fn usage(error: &clap::Error) -> ExitCode {
    let secret = std::env::args().find(|argument| {
        error.use_stderr()
            && seed::looks_like_a_secret(argument)
            && error.to_string().contains(argument.as_str())
    });
    if secret.is_some() {
        terminal::note(
            "error: this looks like a secret, which belongs into a file and not on the command line",
        );
        return ExitCode::from(2);
    }
    // With the terminal closed there is nobody to tell.
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

fn run(Arguments { network, command }: Arguments) -> Result<(), Failure> {
    match command {
        Command::Generate(arguments) => generate::run(&arguments),
        Command::Import(arguments) => import::run(&arguments),
        Command::Export(arguments) => import::export(&arguments),
        Command::Publickey(arguments) => publickey::run(&arguments),
        Command::Publish(arguments) => publish::run(&arguments, &network),
        Command::Password(arguments) => serve::hash_password(&arguments),
        Command::Serve(arguments) => serve::run(&arguments, &network),
        Command::Republish(arguments) => republish::run(&arguments, &network),
        Command::Resolve(arguments) => resolve::run(&arguments, &network),
        Command::Testnet(arguments) => testnet::run(&arguments),
        Command::Zone(arguments) => zone::run(&arguments),
    }
}
