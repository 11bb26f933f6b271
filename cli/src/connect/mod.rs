//! `connect`: the resolver that this machine has sends names of keys to pkdns, and all others where it sent them before.

mod change;
mod machine;
mod marked;
mod plan;
mod resolved;
mod settings;
mod system;
mod verify;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use clap::Args;
use pkdns::config::DNS_PORT;

use crate::{dns::server_address, failure::Failure, network, terminal};
use change::Present;
use machine::Root;
use plan::{Plan, Wish};
use settings::{Server, Suffix};
use system::System;

/// Where pkdns is looked for: port 53, and the port that the documents have for it beside another resolver.
const USUAL: [u16; 2] = [DNS_PORT, 5300];

/// Let this machine resolve names of keys, and leave all other names as they are
///
/// The resolver that this machine uses sends names that end in .key to pkdns, and every other name where it has sent it before.
/// Everything that will be changed is shown first. Afterwards a name is asked for, to see that it works. --undo takes back
/// exactly what was changed.
///
/// Keys without a suffix cannot be sent to pkdns in this way, because a resolver does not know them from other names: write
/// KEY.key.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Address of pkdns [default: 127.0.0.1, on whichever of the ports 53 and 5300]
    ///
    /// Port 53 unless another is given.
    #[arg(long, value_name = "ADDR")]
    server: Option<Server>,
    /// What resolves names on this machine [default: whatever it is found to be]
    #[arg(long, value_enum)]
    system: Option<System>,
    /// Ending of the names to send there; repeat it for more
    ///
    /// One of `[names] suffixes` in the configuration of pkdns.
    #[arg(long, value_name = "NAME", default_value = "key")]
    suffix: Vec<Suffix>,
    /// Let sites under keys have addresses of your own network
    ///
    /// Otherwise dnsmasq (stop-dns-rebind) or Unbound (private-address) may take these out of answers.
    #[arg(long)]
    private_addresses: bool,
    /// Resolver to ask whether it works [default: the one of this machine]
    #[arg(long, value_name = "ADDR", value_parser = server_address)]
    resolver: Option<SocketAddr>,
    /// Change the files of an image below this directory; run nothing, and ask nobody
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Do not ask before the change
    #[arg(long)]
    yes: bool,
    /// Show what would be changed, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Take the change back
    ///
    /// This works while pkdns is down, too.
    #[arg(long, conflicts_with_all = ["server", "system", "suffix", "private_addresses", "resolver"])]
    undo: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let root = Root::new(arguments.root.as_deref());
    if arguments.undo {
        return take_back(arguments, &root);
    }
    network::block_on(connect(arguments, &root))
}

async fn connect(arguments: &Arguments, root: &Root) -> Result<(), Failure> {
    let before = change::present(root)?;
    let connected = before.first().and_then(|file| plan::system_of(file.path));
    let named = arguments.system.or(connected);
    if before.is_empty()
        && let Some(asked) = connected_by_others(arguments, root).await
    {
        let sends = verify::sends_keys(first_suffix(arguments)?);
        return terminal::print(&format!("{asked} {sends} already; nothing was changed"));
    }
    let server = server(arguments, root).await?;
    let system = match named {
        Some(system) => system,
        None => system::choose(&root.look().await, &server, &arguments.suffix).map_err(Failure::Failed)?,
    };
    no_other_system(&before, system)?;
    let wish = Wish {
        server,
        suffixes: arguments.suffix.clone(),
        with_private_addresses: arguments.private_addresses,
    };
    let plan = plan::plan(system, &root.machine(&server), &wish).map_err(Failure::Failed)?;

    let Some(shown) = shown(root, &plan)? else {
        terminal::print(&format!(
            "{} sends these names to {} already; nothing was changed",
            system.title(),
            server.0
        ))?;
        return verify(arguments, root, system, None).await;
    };
    terminal::print(&format!(
        "{}: names that end in {} go to {}, and all others where they go now\n\n{shown}",
        system.title(),
        endings(&arguments.suffix),
        server.0
    ))?;
    if arguments.dry_run {
        return Ok(());
    }
    confirm(arguments, "Change this?")?;
    let others = match root.is_image() {
        true => None,
        false => Some(verify::resolves_others(resolver(arguments, root)).await),
    };
    change::make(root, system, &plan, &before)?;
    if root.is_image() {
        return terminal::print(&not_run(&plan));
    }
    verify(arguments, root, system, others).await
}

/// What was left to whoever runs the image.
fn not_run(plan: &Plan) -> String {
    let commands = change::commands(&plan.commands);
    if commands.is_empty() {
        "done".to_owned()
    } else {
        format!("done, without what takes effect on a system that runs:\n{commands}")
    }
}

/// The pkdns that names are sent to. Nothing is changed for one that does not answer.
async fn server(arguments: &Arguments, root: &Root) -> Result<Server, Failure> {
    let suffix = first_suffix(arguments)?;
    if root.is_image() {
        return arguments.server.ok_or_else(|| {
            Failure::Failed(
                "with --root nobody is asked: name the address of pkdns with --server, such as 127.0.0.1:5300".to_owned(),
            )
        });
    }
    // Once it is connected, it knows keys as well. Sent to itself, it would ask itself without end.
    let own = resolver(arguments, root);
    if arguments.server.is_some_and(|server| server.0 == own) {
        return Err(Failure::Failed(format!(
            "{own} is the resolver of this machine itself: name the address of pkdns with --server, such as 127.0.0.1:5300"
        )));
    }
    let candidates = match arguments.server {
        // With --dry-run nobody is asked, because nothing is changed.
        Some(server) if arguments.dry_run => return Ok(server),
        Some(server) => vec![server],
        None => {
            let usual = USUAL.map(|port| Server((Ipv4Addr::LOCALHOST, port).into()));
            usual.into_iter().filter(|server| server.0 != own).collect()
        }
    };
    let mut told = Vec::new();
    for server in candidates {
        let passage = verify::passage(server.0, suffix).await;
        if passage.is_through() {
            return Ok(server);
        }
        told.push(format!("{} {}", server.0, passage.describe(suffix)));
    }
    Err(Failure::Failed(format!(
        "no pkdns answers: {}. Start it, or name its address with --server; pkdns-cli doctor says what is wrong with one \
         that runs",
        told.join(", ")
    )))
}

/// The one by which it is seen whether it works.
fn first_suffix(arguments: &Arguments) -> Result<&Suffix, Failure> {
    arguments.suffix.first().ok_or_else(|| Failure::Failed("name a --suffix".to_owned()))
}

/// The resolver, if it knows keys without us: it is pkdns itself, or somebody has written a file of their own.
async fn connected_by_others(arguments: &Arguments, root: &Root) -> Option<SocketAddr> {
    if root.is_image() || arguments.dry_run {
        return None;
    }
    let asked = resolver(arguments, root);
    verify::passage(asked, arguments.suffix.first()?).await.is_through().then_some(asked)
}

/// Two systems that are connected are one too many: one of them is not in use, and would be forgotten.
fn no_other_system(before: &[Present], system: System) -> Result<(), Failure> {
    let others = before.iter().filter_map(|file| Some((file, plan::system_of(file.path)?)));
    match others.into_iter().find(|(_, other)| *other != system) {
        None => Ok(()),
        Some((file, other)) => Err(Failure::Failed(format!(
            "{} was connected before ({}): take that back with pkdns-cli connect --undo first",
            other.title(),
            file.path
        ))),
    }
}

/// All that the plan changes. `None`: nothing.
fn shown(root: &Root, plan: &Plan) -> Result<Option<String>, Failure> {
    let mut text = String::new();
    for file in &plan.files {
        text.push_str(&change::shown(root, file)?.unwrap_or_default());
    }
    if text.is_empty() && !plan.files.is_empty() {
        return Ok(None);
    }
    if !root.is_image() {
        text.push_str(&change::commands(&plan.commands));
    }
    for remark in &plan.remarks {
        text.push_str(&format!("note: {remark}\n"));
    }
    Ok(Some(text))
}

async fn verify(
    arguments: &Arguments,
    root: &Root,
    system: System,
    others: Option<bool>,
) -> Result<(), Failure> {
    let suffix = first_suffix(arguments)?;
    if arguments.dry_run || root.is_image() {
        return Ok(());
    }
    let (asked, passage) = verify::wait(|| resolver(arguments, root), suffix).await;
    if !passage.is_through() {
        return Err(Failure::Failed(format!(
            "the change was made, but {asked} {}: {}. pkdns-cli connect --undo takes the change back",
            passage.describe(suffix),
            passage.advice(system, suffix)
        )));
    }
    if others == Some(true) && !verify::resolves_others(asked).await {
        return Err(Failure::Failed(format!(
            "{asked} sends names of keys to pkdns, but does not find example.com any more, which it did before: take the \
             change back with pkdns-cli connect --undo"
        )));
    }
    terminal::print(&format!("done: {asked} {}", passage.describe(suffix)))
}

/// The resolver of this machine, or the one that it runs for others.
fn resolver(arguments: &Arguments, root: &Root) -> SocketAddr {
    let first = root.name_servers().first().copied();
    // A machine may ask another one itself.
    let is_for_others = matches!(arguments.system, Some(System::Dnsmasq | System::Unbound));
    let own = first.filter(|ip| ip.is_loopback() || !is_for_others);
    let usual = own.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    arguments.resolver.unwrap_or_else(|| SocketAddr::new(usual, DNS_PORT))
}

fn take_back(arguments: &Arguments, root: &Root) -> Result<(), Failure> {
    let present = change::present(root)?;
    let (ours, edited): (Vec<_>, Vec<_>) = present.into_iter().partition(|file| file.text.is_some());
    let told_of_edited = |end: &str| {
        let paths: Vec<_> = edited.iter().map(|file| root.at(file.path).display().to_string()).collect();
        format!(
            "{} was edited since, and stays: move what you need out of it, remove it (sudo rm {}){end}",
            paths.join(" and "),
            paths.join(" ")
        )
    };
    if ours.is_empty() {
        if edited.is_empty() {
            return terminal::print("there is nothing to take back");
        }
        let undos = change::undos(root, &edited);
        let after: Vec<_> =
            undos.iter().flat_map(|undo| undo.before.iter().chain(&undo.after).cloned()).collect();
        let after = if root.is_image() {
            String::new()
        } else {
            format!(", and then:\n{}", change::commands(&after).trim_end())
        };
        return Err(Failure::Failed(told_of_edited(&after)));
    }
    let mut text = String::new();
    let undos = change::undos(root, &ours);
    let runs =
        |commands: &[plan::Words]| if root.is_image() { String::new() } else { change::commands(commands) };
    for undo in &undos {
        text.push_str(&runs(&undo.before));
    }
    for file in &ours {
        text.push_str(&format!("remove {}\n", root.at(file.path).display()));
        text.push_str(&change::lines("- ", file.text.as_deref().unwrap_or_default()));
    }
    for undo in &undos {
        text.push_str(&runs(&undo.after));
    }
    terminal::print(&text)?;
    if arguments.dry_run {
        return Ok(());
    }
    confirm(arguments, "Take this back?")?;
    change::take_back(root, &ours)?;
    if !edited.is_empty() {
        return Err(Failure::Failed(told_of_edited("")));
    }
    terminal::print("done: names of keys are resolved like all others again")
}

/// Nothing is changed without a yes: a script has to say that it means it.
fn confirm(arguments: &Arguments, question: &str) -> Result<(), Failure> {
    match arguments.yes || terminal::confirm(question)? == Some(true) {
        true => Ok(()),
        false => Err(Failure::Failed("nothing was changed: answer y, or add --yes".to_owned())),
    }
}

/// `.key and .pk`.
fn endings(suffixes: &[Suffix]) -> String {
    suffixes.iter().map(|suffix| format!(".{suffix}")).collect::<Vec<_>>().join(" and ")
}
