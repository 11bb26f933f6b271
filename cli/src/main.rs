//! `pkdns-cli`: keys, zones and the DHT from the command line.

mod doctor;
mod external_address;
mod failure;
mod generate;
mod keeper;
mod name;
mod network;
mod packet;
mod publickey;
mod publish;
mod publisher;
mod records;
mod republish;
mod resolve;
mod seed;
mod serve;
mod service;
mod shell;
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
    Completions(shell::CompletionsArguments),
    Doctor(doctor::Arguments),
    Generate(generate::Arguments),
    Man(shell::ManArguments),
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
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if failure != Failure::OutputClosed {
                terminal::note(&format!("error: {failure}"));
            }
            failure.exit_code()
        }
    }
}

fn run(Arguments { network, command }: Arguments) -> Result<(), Failure> {
    match command {
        Command::Completions(arguments) => shell::print_completions(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments, &network),
        Command::Man(arguments) => shell::write_manual(&arguments),
        Command::Generate(arguments) => generate::run(&arguments),
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
