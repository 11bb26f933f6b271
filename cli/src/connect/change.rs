//! Makes a change to a system, shows it before, and takes it back as a whole where a part of it fails.

use std::{
    io::{self, ErrorKind},
    os::unix::process::CommandExt,
    process::Command,
};

use super::{
    machine::Root,
    marked::{self, Found},
    plan::{PATHS, Plan, PlannedFile, Words, system_of, undo},
    system::System,
};
use crate::{child, failure::Failure, terminal};

/// A file of ours that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Present {
    pub(super) path: &'static str,
    /// Without the mark. `None`: somebody has edited it.
    pub(super) text: Option<String>,
}

/// What we have written before.
pub(super) fn present(root: &Root) -> Result<Vec<Present>, Failure> {
    let mut present = Vec::new();
    // What lies elsewhere is not of this image, and not to be removed with it.
    for path in PATHS.into_iter().filter(|path| is_inside(root, path)) {
        match marked::look(&root.at(path)).map_err(|error| unreadable(path, &error))? {
            Found::Ours(text) => present.push(Present { path, text: Some(text) }),
            Found::Edited => present.push(Present { path, text: None }),
            Found::Nothing | Found::Foreign => {}
        }
    }
    Ok(present)
}

/// Whether a file of an image is in it, and not where a link leads out of it.
fn is_inside(root: &Root, path: &str) -> bool {
    !root.is_image() || marked::is_inside(&root.at("/"), &root.at(path))
}

fn unreadable(path: &str, error: &io::Error) -> Failure {
    Failure::Failed(format!("cannot read {path}: {error}; {}", for_root(error)))
}

/// Behind an error.
fn for_root(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::PermissionDenied => "run this with sudo",
        ErrorKind::NotFound => "see that this program is installed here, or name another with --system",
        ErrorKind::ReadOnlyFilesystem => {
            "the system is read-only: make this change where it is built, with --root"
        }
        _ => "mend that and try again",
    }
}

/// What a file is about to become, for people. `None`: it is as it shall be.
pub(super) fn shown(root: &Root, file: &PlannedFile) -> Result<Option<String>, Failure> {
    let path = root.at(&file.path);
    if !is_inside(root, &file.path) {
        return Err(Failure::Failed(format!(
            "{} is outside of the image: a link leads there; replace that link by a directory, or connect the machine itself",
            path.display()
        )));
    }
    let old = match marked::look(&path).map_err(|error| unreadable(&file.path, &error))? {
        Found::Nothing => String::new(),
        Found::Ours(text) if text == file.text => return Ok(None),
        Found::Ours(text) => text,
        Found::Edited => {
            return Err(Failure::Failed(format!(
                "pkdns-cli wrote {0}, and somebody has edited it since, so it stays as it is: move what you need out of it, remove it (sudo rm \
                 {0}), and try again",
                path.display()
            )));
        }
        Found::Foreign => {
            return Err(Failure::Failed(format!(
                "{} exists already, and pkdns-cli did not write it: move it away, or see whether it does what you want",
                path.display()
            )));
        }
    };
    let verb = if old.is_empty() { "write" } else { "change" };
    Ok(Some(format!("{verb} {}\n{}{}", path.display(), lines("- ", &old), lines("+ ", &file.text))))
}

/// Each line behind a sign.
pub(super) fn lines(sign: &str, text: &str) -> String {
    text.lines().map(|line| format!("  {}\n", format!("{sign}{line}").trim_end())).collect()
}

/// Commands for people, one on a line.
pub(super) fn commands(words: &[Words]) -> String {
    words.iter().map(|words| format!("run {}\n", words.join(" "))).collect()
}

/// Writes the files and runs the commands. If anything fails, all is as before.
pub(super) fn make(root: &Root, system: System, plan: &Plan, before: &[Present]) -> Result<(), Failure> {
    let mut written = Vec::new();
    let made = plan.files.iter().try_for_each(|file| {
        marked::write(&root.at(&file.path), &file.text).map_err(|error| {
            format!("cannot write {}: {error}; {}", root.at(&file.path).display(), for_root(&error))
        })?;
        written.push(file.path.as_str());
        Ok(())
    });
    let made = made.and_then(|()| if root.is_image() { Ok(()) } else { run_all(&plan.commands) });
    let Err(why) = made else { return Ok(()) };
    let undo = undo(system, root.services(), &written);
    let run =
        |commands: &[Words]| commands.iter().filter(|_| !root.is_image()).for_each(|words| drop(run(words)));
    run(&undo.before);
    let old = |path: &str| before.iter().find(|file| file.path == path).and_then(|file| file.text.as_ref());
    let mut replaced = written.iter().filter_map(|path| Some((path, old(path)?)));
    let restored = replaced.try_for_each(|(path, text)| {
        marked::write(&root.at(path), text).map_err(|error| format!("cannot restore {path}: {error}"))
    });
    let new: Vec<_> = written.iter().filter(|path| old(path).is_none()).map(|path| root.at(path)).collect();
    let removed =
        marked::remove(&new).map_err(|(path, error)| format!("cannot remove {}: {error}", path.display()));
    run(&undo.after);
    let end = match restored.and(removed) {
        Ok(()) => "all is as it was before".to_owned(),
        Err(problem) => problem,
    };
    Err(Failure::Failed(format!("{why}; {end}")))
}

/// Removes files of ours that nobody has edited, and has the systems forget them.
pub(super) fn take_back(root: &Root, present: &[Present]) -> Result<(), Failure> {
    let undos = undos(root, present);
    let mut problems = Vec::new();
    let mut run_here = |commands: &[Words]| {
        for words in commands.iter().filter(|_| !root.is_image()) {
            if let Err(why) = run(words) {
                problems.push(why);
            }
        }
    };
    undos.iter().for_each(|undo| run_here(&undo.before));
    let paths: Vec<_> = present.iter().map(|file| root.at(file.path)).collect();
    marked::remove(&paths).map_err(|(path, error)| {
        Failure::Failed(format!("cannot remove {}: {error}; {}", path.display(), for_root(&error)))
    })?;
    undos.iter().for_each(|undo| run_here(&undo.after));
    match problems.as_slice() {
        [] => Ok(()),
        problems => Err(Failure::Failed(format!("the files are gone, but {}", problems.join("; and ")))),
    }
}

/// What takes these files back, for each system that has one.
pub(super) fn undos(root: &Root, present: &[Present]) -> Vec<super::plan::Undo> {
    let systems = System::ALL.into_iter().filter_map(|system| {
        let found: Vec<_> =
            present.iter().map(|file| file.path).filter(|path| system_of(path) == Some(system)).collect();
        (!found.is_empty()).then(|| undo(system, root.services(), &found))
    });
    systems.collect()
}

fn run_all(commands: &[Words]) -> Result<(), String> {
    commands.iter().try_for_each(|words| run(words))
}

/// Runs a command to its end, if that comes within a minute. What it says is for whoever waits.
pub(super) fn run(words: &[String]) -> Result<(), String> {
    let Some((program, arguments)) = words.split_first() else { return Ok(()) };
    terminal::progress(&format!("running {}", words.join(" ")));
    let mut command = Command::new(program);
    match child::run(command.args(arguments).process_group(0), b"", child::DEADLINE) {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let said: Vec<_> = said.lines().map(terminal::printable).collect();
            Err(format!("{} failed ({}): {}", words.join(" "), output.status, said.join(" ").trim()))
        }
        Err(error) => Err(format!("{} cannot be run to its end: {error}", words.join(" "))),
    }
}
