//! `completions` and `man`: what shells and manuals know of the command line, made from the command line itself.

use std::{fs, path::PathBuf};

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::{failure::Failure, seed::FileName, terminal};

const NAME: &str = "pkdns-cli";

/// Print the completions of a shell
///
/// Put the output where the shell looks for it, for example in /usr/share/bash-completion/completions/pkdns-cli
#[derive(Args)]
pub(crate) struct CompletionsArguments {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Print the manual page, or write one for each command to a directory
#[derive(Args)]
pub(crate) struct ManArguments {
    /// Directory for all pages, for example /usr/local/share/man/man1
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(crate) fn print_completions(arguments: &CompletionsArguments) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut crate::Arguments::command(), NAME, &mut text);
    let text = String::from_utf8_lossy(&text);
    if arguments.shell == Shell::Bash {
        // A hyphen in the name is replaced in two ways (clap issue 6421), so that no option of a command is completed.
        return terminal::print(&text.replace("pkdns__subcmd__cli__subcmd__", "pkdns__cli__subcmd__"));
    }
    terminal::print(&text)
}

pub(crate) fn write_manual(arguments: &ManArguments) -> Result<(), Failure> {
    let mut command = crate::Arguments::command().name(NAME).disable_help_subcommand(true);
    command.build();
    let Some(directory) = &arguments.out else {
        return terminal::print(&page(command)?);
    };
    let fail = |path: &PathBuf, error| {
        let path = FileName::of(path);
        Failure::Failed(format!(
            "cannot write {path}: {error}; choose a directory that this user may write to"
        ))
    };
    fs::create_dir_all(directory).map_err(|error| fail(directory, error))?;
    // Global options are in each of them already.
    let commands = command.get_subcommands().filter(|command| !command.is_hide_set());
    let mut pages = vec![(NAME.to_string(), page(command.clone())?)];
    for subcommand in commands {
        let name = format!("{NAME}-{}", subcommand.get_name());
        pages.push((name, page(subcommand.clone())?));
    }
    for (name, text) in pages {
        let path = directory.join(format!("{name}.1"));
        fs::write(&path, text).map_err(|error| fail(&path, error))?;
    }
    Ok(())
}

fn page(command: clap::Command) -> Result<String, Failure> {
    let mut text = Vec::new();
    Man::new(command)
        .render(&mut text)
        .map_err(|error| Failure::Failed(format!("cannot make a manual page: {error}")))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
