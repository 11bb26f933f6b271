//! The command line as it is taken, and how it is told what is wrong with one.

use std::{env, process};

use clap::{Arg, Command, CommandFactory, FromArgMatches, error::ErrorKind};

use crate::{Arguments, terminal};

/// Commands that use neither the DHT nor a relay. They take the options of the network, as all commands do, and their help
/// is silent about them.
const WITHOUT_NETWORK: [&str; 13] = [
    "completions",
    "connect",
    "export",
    "generate",
    "import",
    "man",
    "password",
    "publickey",
    "servers",
    "testnet",
    "trust",
    "vanity",
    "zone",
];

/// What is wanted of this process. Ends it with help, or with a message on usage.
pub(crate) fn parse() -> Arguments {
    if wants_json(env::args_os().filter_map(|argument| argument.into_string().ok())) {
        terminal::speak_json();
    }
    let mut command = command();
    let parsed = command.try_get_matches_from_mut(env::args_os());
    let parsed = parsed.and_then(|matches| {
        Arguments::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
    });
    parsed.unwrap_or_else(|error| crate::refuse(&error))
}

/// The command line as help, shells and manuals show it.
pub(crate) fn command() -> Command {
    let command = Arguments::command();
    let of_network = command.get_arguments().filter(|argument| argument.is_global_set());
    let hidden: Vec<Arg> = of_network.map(|argument| argument.clone().hide(true)).collect();
    command.mut_subcommands(|subcommand| match WITHOUT_NETWORK.contains(&subcommand.get_name()) {
        true => subcommand.args(hidden.clone()),
        false => subcommand,
    })
}

/// Ends the program as for any other mistake on the command line of `name`.
pub(crate) fn misused(name: &str, kind: ErrorKind, message: &str) -> ! {
    let mut command = command();
    command.build();
    let error = match command.find_subcommand_mut(name) {
        Some(subcommand) => subcommand.error(kind, message),
        None => command.error(kind, message),
    };
    crate::refuse(&error)
}

/// Ends the program with what clap says of a mistake. A program is told the mistake alone.
pub(crate) fn end(message: &str, exit_code: i32) -> ! {
    if terminal::is_json() {
        terminal::fail(mistake(message), u8::try_from(exit_code).unwrap_or(u8::MAX));
    } else {
        terminal::note(message.trim_end());
    }
    process::exit(exit_code)
}

/// What clap says, without how the command is used.
fn mistake(message: &str) -> &str {
    let end = ["\n\nUsage:", "\n\nFor more information"].iter().filter_map(|rest| message.find(rest)).min();
    let mistake = end.and_then(|end| message.get(..end)).unwrap_or(message);
    mistake.strip_prefix("error: ").unwrap_or(mistake).trim()
}

/// Whether `--json` is among the arguments. Asked before they are understood, as what is wrong with them is told in JSON, too.
fn wants_json(arguments: impl Iterator<Item = String>) -> bool {
    arguments.take_while(|argument| argument != "--").any(|argument| argument == "--json")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The longest text of an option in `-h`: beside its name it fits a terminal.
    const SHORT: usize = 80;

    /// All commands, and those below them.
    fn all(command: &Command) -> Vec<&Command> {
        let below = command.get_subcommands().filter(|command| command.get_name() != "help").flat_map(all);
        [command].into_iter().chain(below).collect()
    }

    #[test]
    fn the_command_line_is_well_formed() {
        command().debug_assert();
    }

    #[test]
    fn short_help_has_a_line_for_each_option_and_long_help_says_more() {
        let mut built = command();
        built.build();
        for command in all(&built) {
            let name = command.get_name();
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            assert!(!about.is_empty() && about.len() <= SHORT && !about.contains('\n'), "{name}: {about}");
            for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
                let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
                let id = argument.get_id();
                assert!(
                    !help.is_empty() && help.len() <= SHORT && !help.contains('\n'),
                    "{name} {id}: {help}"
                );
                // `-h` would show this one in `--help` as well.
                assert!(
                    !help.contains(". "),
                    "{name} {id}: the second sentence belongs into a paragraph: {help}"
                );
            }
        }
        for name in ["publish", "serve", "generate", "doctor", "certificate"] {
            let command = built.find_subcommand(name).unwrap().clone();
            let (short, long) = (command.clone().render_help(), command.clone().render_long_help());
            assert!(short.to_string().len() < long.to_string().len(), "{name}");
        }
    }

    #[test]
    fn commands_without_a_network_take_its_options_and_their_help_is_silent_about_them() {
        let mut built = command();
        built.build();
        for command in built.get_subcommands().filter(|command| command.get_name() != "help") {
            let name = command.get_name();
            let mut help = command.clone();
            let shows = help.render_long_help().to_string().contains("--bootstrap");
            assert_eq!(shows, !WITHOUT_NETWORK.contains(&name), "{name}");
        }
        let words = ["pkdns-cli", "generate", "--bootstrap", "127.0.0.1:6881", "--relay", "http://127.0.0.1"];
        assert!(command().try_get_matches_from(words).is_ok());
        let words = ["pkdns-cli", "--testnet", "trust", "show", "--testnet"];
        assert!(command().try_get_matches_from(words).is_ok());
    }

    #[test]
    fn json_is_wanted_where_the_option_is_one() {
        let wants = |words: &str| wants_json(words.split(' ').map(String::from));
        assert!(wants("pkdns-cli resolve --json KEY") && wants("pkdns-cli resolve --nonsense --json"));
        assert!(!wants("pkdns-cli zone --from-json x") && !wants("pkdns-cli publish -- --json zone"));
    }

    #[test]
    fn a_program_is_told_the_mistake_without_the_usage() {
        let error = command().try_get_matches_from(["pkdns-cli", "generate", "--nonsense"]).unwrap_err();
        assert_eq!(mistake(&error.to_string()), "unexpected argument '--nonsense' found");
        let error = command().try_get_matches_from(["pkdns-cli", "resolve", "nokey"]).unwrap_err();
        let mistake = mistake(&error.to_string()).to_owned();
        assert!(mistake.ends_with("with or without \".key\" after it"), "{mistake}");
    }
}
