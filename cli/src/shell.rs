//! `completions` and `man`: what shells and manuals know of the command line, made from the command line itself.

use std::{fs, path::PathBuf};

use clap::Args;
use clap_complete::Shell;
use pkdns::program::shell::{ManualPage, completions, manual_pages};

use crate::{command_line, failure::Failure, seed::FileName, terminal};

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
    terminal::print(&completions(&command(), arguments.shell))
}

pub(crate) fn write_manual(arguments: &ManArguments) -> Result<(), Failure> {
    let pages = manual_pages(&command())
        .map_err(|error| Failure::Failed(format!("cannot make a manual page: {error}")))?;
    let Some(directory) = &arguments.out else {
        return pages.first().map_or(Ok(()), |page| terminal::print(&page.text));
    };
    let fail = |path: &PathBuf, error| {
        let path = FileName::of(path);
        Failure::Failed(format!(
            "cannot write {path}: {error}; choose a directory that this user may write to"
        ))
    };
    fs::create_dir_all(directory).map_err(|error| fail(directory, error))?;
    for ManualPage { file_name, text } in pages {
        let path = directory.join(file_name);
        fs::write(&path, text).map_err(|error| fail(&path, error))?;
    }
    Ok(())
}

fn command() -> clap::Command {
    command_line::command().name(NAME)
}
