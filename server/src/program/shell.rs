//! What shells and manuals know of a command line, made from the command line itself: completions and manual pages. Pure.

use std::io;

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;

/// A manual page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManualPage {
    /// The name of its file, as in `pkdns-status.1`.
    pub file_name: String,
    /// The page, for `man`.
    pub text: String,
}

/// The completions of a program for a shell.
pub fn completions(command: &Command, shell: Shell) -> String {
    let name = command.get_name();
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command.clone(), name, &mut text);
    let text = String::from_utf8_lossy(&text).into_owned();
    if shell == Shell::Bash {
        // A hyphen in the name is replaced in two ways (clap issue 6421), so that no option of a command is completed.
        let prefix = |hyphen: &str| format!("{}__subcmd__", name.replace('-', hyphen));
        return text.replace(&prefix("__subcmd__"), &prefix("__"));
    }
    text
}

/// The page of a program first, and then one for each of its commands that its help lists.
///
/// # Errors
///
/// Where a page cannot be made, which no command line of ours leads to.
pub fn manual_pages(command: &Command) -> io::Result<Vec<ManualPage>> {
    let name = command.get_name().to_owned();
    let mut command = command.clone().disable_help_subcommand(true);
    command.build();
    let mut pages = vec![page(&name, command.clone())?];
    // Global options are in each of them already.
    for subcommand in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        pages.push(page(&format!("{name}-{}", subcommand.get_name()), subcommand.clone())?);
    }
    Ok(pages)
}

fn page(name: &str, command: Command) -> io::Result<ManualPage> {
    let mut text = Vec::new();
    Man::new(command).render(&mut text)?;
    Ok(ManualPage { file_name: format!("{name}.1"), text: String::from_utf8_lossy(&text).into_owned() })
}
